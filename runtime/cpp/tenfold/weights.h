// weights.bin: the weights, where each intermediate tensor lies, and the calls of kernels. runtime/weights.py tells of the format.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "mapping.h"
#include "packed.h"
#include "tensors.h"

namespace tenfold {
namespace detail {

constexpr int64_t kMagic = 0x33646c6f666e6574;  // "tenfold3"
enum Kind : int64_t { kWeight, kArena, kOutput };

struct Entry {
  int64_t kind;
  Dtype dtype;
  int64_t offset;  // in the file or the arena; of an output: its position
  std::vector<int64_t> shape;
  int64_t bytes() const { return product(shape) * dtype.bits / 8; }
};

struct Operand {
  int64_t position;
  std::vector<int64_t> shape;
};

struct Step {
  std::string kernel;
  std::vector<Operand> operands;
};

// The table of the file. Every number in it that addresses memory is checked: here against the file, by `check` against the network.
class Weights {
 public:
  explicit Weights(const std::string& path) : file(path), mapping(unpacked(path, file)) {
    try {
      read();
    } catch (const Error& error) {
      throw Error(path + ": not the weights of a compiled network: " + error.what() + "; compile the network again");
    }
  }

  void check(const std::vector<Port>& inputs, const std::vector<Port>& outputs) const {
    size_t written = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      const Entry& each = entries[i];
      if (i && rank(each) < rank(entries[i - 1])) throw Error("its tensors are in another order than outputs, weights, arena");
      if (each.kind != kOutput) continue;
      if (each.offset != static_cast<int64_t>(written) || written >= outputs.size())
        throw Error("its outputs are not those of the network in their order");
      const Port& port = outputs[written++];
      const Dtype& dtype = dtype_of(port.dtype);
      if (part(port) != each.shape || dtype.code != each.dtype.code || dtype.bits != each.dtype.bits)
        throw Error("output '" + port.name + "' has another shape or type there");
    }
    if (written != outputs.size()) throw Error("it has fewer outputs than the network");
    for (const Step& step : steps) {
      for (const Operand& operand : step.operands) {
        uint64_t position = static_cast<uint64_t>(operand.position), beyond = position - inputs.size();
        if (position >= inputs.size() && beyond >= entries.size()) throw Error("there is no tensor " + std::to_string(operand.position));
        if (product(operand.shape) != product(position < inputs.size() ? part(inputs[position]) : entries[beyond].shape))
          throw Error("kernel '" + step.kernel + "' takes tensor " + std::to_string(position) + " in another shape");
      }
    }
    for (const Port& each : inputs) part(each);
    __extension__ unsigned __int128 needed = static_cast<uint64_t>(arena_bytes());
    for (const Port& each : outputs) needed += static_cast<uint64_t>(each.bytes());
    if (needed > static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE)) * static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)))
      throw Error("the network needs more memory than this machine has");
  }

  int64_t arena_bytes() const {
    int64_t end = 0;
    for (const Entry& each : entries)
      if (each.kind == kArena) end = std::max(end, each.offset + each.bytes());
    return end;
  }

  Mapping file;
  Mapping mapping;  // the file, or what it unpacks to
  int64_t pieces = 1;  // of the batch, which run one after the other
  std::vector<Entry> entries;
  std::vector<Step> steps;

 private:
  static int rank(const Entry& each) { return each.kind == kOutput ? 0 : each.kind == kWeight ? 1 : 2; }

  // The shape of one piece of an input or output.
  std::vector<int64_t> part(const Port& port) const {
    std::vector<int64_t> shape = port.shape;
    if (pieces > 1) {
      if (shape.empty() || shape[0] % pieces) throw Error("'" + port.name + "' does not fall into " + std::to_string(pieces) + " pieces");
      shape[0] /= pieces;
    }
    return shape;
  }

  int64_t word(size_t index) const {
    int64_t value;
    std::memcpy(&value, mapping.data() + 8 * index, 8);
    return value;
  }
  int64_t take() {
    if (next_ == end_) throw Error("its table is cut short");
    return word(next_++);
  }
  int64_t count(int64_t number) const {  // of things that take a word each, at least
    if (number < 0 || static_cast<uint64_t>(number) > end_ - next_) throw Error("its table is cut short");
    return number;
  }
  std::vector<int64_t> shape(int64_t bytes_each) {
    int64_t dimensions = take();
    if (dimensions < 0 || dimensions > static_cast<int64_t>(kMostDimensions)) throw Error("a tensor has no possible shape");
    std::vector<int64_t> sizes(static_cast<size_t>(dimensions));
    for (int64_t& size : sizes) size = take();
    return possible(sizes, bytes_each);
  }

  void read() {
    if (mapping.size() < 40 || word(0) != kMagic) throw Error("it does not begin as one");
    int64_t bytes = word(1), size = static_cast<int64_t>(mapping.size()), tensors = word(2), calls = word(3);
    if (bytes < 40 || bytes > size || bytes % 8) throw Error("its table is cut short");
    pieces = word(4);
    if (pieces < 1) throw Error("its batch is in " + std::to_string(pieces) + " pieces");
    end_ = static_cast<size_t>(bytes / 8);
    for (int64_t left = count(tensors); left > 0; --left) {
      int64_t kind = take(), code = take(), bits = take(), offset = take();
      const Dtype* found = nullptr;
      for (const Dtype& each : kDtypes)
        if (each.code == code && each.bits == bits) found = &each;
      if (kind < kWeight || kind > kOutput || !found) throw Error("a tensor is of no known kind or type");
      entries.push_back({kind, *found, offset, shape(bits / 8)});
      if (offset < 0 || offset > kMostBytes) throw Error("a tensor lies nowhere");
      if (kind != kOutput && offset % static_cast<int64_t>(kAlignment)) throw Error("a tensor does not lie at a multiple of 64 bytes");
      if (kind == kWeight && (offset < bytes || offset + entries.back().bytes() > size))
        throw Error("a weight lies outside it: it is cut short");
    }
    for (int64_t left = count(calls); left > 0; --left) {
      int64_t length = take();
      if (length < 0 || length > size) throw Error("its table is cut short");
      size_t words = static_cast<size_t>(count((length + 7) / 8));
      Step step{std::string(mapping.data() + 8 * next_, static_cast<size_t>(length)), {}};
      next_ += words;
      bool is_name = !step.kernel.empty() && step.kernel[0] != '_' && step.kernel[0] != '.';
      if (step.kernel == "main" || step.kernel == "tenfold_run") is_name = false;  // functions of the library, and no kernels
      for (char c : step.kernel) is_name = is_name && (std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.');
      if (!is_name) throw Error("'" + step.kernel.substr(0, 60) + "' is no name of a kernel");
      for (int64_t operands = count(take()); operands > 0; --operands) {
        int64_t position = take();
        step.operands.push_back({position, shape(1)});
      }
      steps.push_back(std::move(step));
    }
    if (next_ != end_) throw Error("its table is longer than what it lists");
  }

  size_t next_ = 5, end_ = 0;  // words of the table
};

}  // namespace detail
}  // namespace tenfold
