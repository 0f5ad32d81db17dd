// Runs a network that Tenfold has compiled, without Python and without TVM. C++17, Linux, x86-64 or aarch64.
//
//     tenfold::Network net("out");            // the folder that `tenfold compile` wrote
//     std::vector<float> y = net.run(x);      // or, whatever the ports: net.run({x, mask}, {y, z}), with pointers
//
// Compile with -std=c++17 -pthread, link with -rdynamic (CMake: ENABLE_EXPORTS): the network's library calls functions of the program.
// An artifact is code: load what you would run as a program. More in docs/cpp.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tenfold/interface.h"
#include "tenfold/library.h"
#include "tenfold/manifest.h"
#include "tenfold/mapping.h"
#include "tenfold/tensors.h"
#include "tenfold/weights.h"
#include "tenfold/workspaces.h"

namespace tenfold {

// A loaded network. It serves one call at a time; several threads may call it, and take turns.
class Network {
 public:
  // threads: 0 for those of the manifest, at most the physical cores that this process may use.
  explicit Network(const std::string& folder, int threads = 0) : Network(folder, detail::read_manifest(folder), threads) {}

  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  int threads() const { return static_cast<int>(line_.threads); }

  // Runs it on arrays in the order of `inputs()`, and writes those of `outputs()`. Their sizes are `Port::bytes()`; inputs and outputs do
  // not overlap. Throws Error where an input holds NaN or infinity.
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs) {
    if (inputs.size() != inputs_.size() || outputs.size() != outputs_.size())
      throw Error(folder_ + ": it has " + std::to_string(inputs_.size()) + " inputs and " + std::to_string(outputs_.size()) + " outputs");
    std::lock_guard<std::mutex> hold(running_);
    for (size_t i = 0; i < ports_.size(); ++i) {
      bool is_input = i < inputs.size();
      const Port& port = is_input ? inputs_[i] : outputs_[i - inputs.size()];
      ports_[i].data = is_input ? const_cast<void*>(inputs[i]) : outputs[i - inputs.size()];
      if (reinterpret_cast<uintptr_t>(ports_[i].data) % (ports_[i].bits / 8) || (!ports_[i].data && port.bytes()))
        throw Error(folder_ + ": '" + port.name + "' has no array, or at an address that no " + port.dtype + " has");
    }
    call(line_);
  }

  // The same for one input and one output of float32.
  std::vector<float> run(const std::vector<float>& input) {
    if (inputs_.size() != 1 || outputs_.size() != 1 || inputs_[0].dtype != "float32" || outputs_[0].dtype != "float32")
      throw Error(folder_ + ": it has other ports than one input and one output of float32");
    if (static_cast<int64_t>(input.size()) != inputs_[0].elements())
      throw Error(folder_ + ": input '" + inputs_[0].name + "' has " + std::to_string(inputs_[0].elements()) + " numbers, not " +
                  std::to_string(input.size()));
    std::vector<float> output(static_cast<size_t>(outputs_[0].elements()));
    run({input.data()}, {output.data()});
    return output;
  }

 protected:
  Network(const std::string& folder, const detail::Manifest& manifest, int threads)
      : folder_(folder), inputs_(manifest.inputs), outputs_(manifest.outputs), weights_(folder + "/weights.bin") {
    if (threads < 0 || threads > detail::kMostThreads) throw Error("threads must be between 1 and " + std::to_string(detail::kMostThreads));
    detail::check_hash(folder + "/weights.bin", weights_.file, manifest.weights_sha256);
    if (!manifest.library_sha256.empty())
      detail::check_hash(folder + "/model.so", detail::Mapping(folder + "/model.so"), manifest.library_sha256);
    if (weights_.steps.empty())
      throw NeedsTvm(folder + ": it is no straight line of kernels, and needs TVM's virtual machine: run it with Python (tenfold.load)");
    if (manifest.pieces && manifest.pieces != weights_.pieces)
      throw Error(folder + ": its manifest and its weights name different pieces of the batch: compile the network again");
    try {
      weights_.check(inputs_, outputs_);
    } catch (const Error& error) {
      throw Error(folder + ": its weights do not fit the network: " + error.what() + "; compile the network again");
    }
    library_ = std::make_unique<detail::Library>(folder + "/model.so");
    int64_t bytes = (weights_.arena_bytes() + 4095) / 4096 * 4096;
    arena_.reset(static_cast<char*>(std::aligned_alloc(4096, static_cast<size_t>(std::max<int64_t>(bytes, 4096)))));
    if (!arena_) throw Error(folder + ": there is no memory for it");
    line_.threads = threads ? threads : std::min(manifest.threads, detail::physical_cores());
    lay_out();
  }

  // Calls the kernels of a line on the ports that were told last.
  void call(detail::Line& line) {
    std::vector<detail::Any> arguments{{0, 0, detail::word_of(&line)}};
    for (detail::Tensor& each : ports_) arguments.push_back({detail::kTensor, 0, detail::word_of(&each)});
    detail::raised().clear();
    detail::Any result;
    if (library_->run(nullptr, arguments.data(), static_cast<int32_t>(arguments.size()), &result))
      throw Error(folder_ + ": the compiled code failed: " + detail::raised().substr(0, detail::raised().find('\n')));
    if (result.value) throw Error(folder_ + ": input '" + inputs_[static_cast<size_t>(result.value - 1)].name + "' holds NaN or infinity");
  }

  detail::Line line_;
  std::vector<detail::Call> calls_;  // for each step of weights_

 private:
  struct Free {
    void operator()(char* data) const { std::free(data); }
  };

  // Lays out the arguments of all kernels, once: of a call, nothing changes but where its inputs and outputs lie.
  void lay_out() {
    std::vector<std::pair<detail::Dtype, char*>> tensors;  // those that operands know by their positions
    for (const Port& each : inputs_) tensors.push_back({detail::dtype_of(each.dtype), nullptr});
    for (const detail::Entry& each : weights_.entries) {
      char* memory = each.kind == detail::kWeight ? weights_.mapping.data() : arena_.get();
      tensors.push_back({each.dtype, each.kind == detail::kOutput ? nullptr : memory + each.offset});
    }
    for (const detail::Step& step : weights_.steps) {
      std::vector<detail::Any>& arguments = arguments_.emplace_back();
      for (const detail::Operand& operand : step.operands) {
        size_t position = static_cast<size_t>(operand.position);
        const auto& [dtype, data] = tensors[position];
        detail::Tensor& tensor = tensor_of(dtype, operand.shape);
        tensor.data = data;
        if (position < inputs_.size() + outputs_.size())
          places_.push_back({&tensor, operand.position, detail::product(operand.shape) * dtype.bits / 8});
        arguments.push_back({detail::kTensor, 0, detail::word_of(&tensor)});
      }
      calls_.push_back({library_->kernel(step.kernel), arguments.data(), static_cast<int64_t>(arguments.size())});
    }
    for (const std::vector<Port>* each : {&inputs_, &outputs_})
      for (const Port& port : *each) ports_.push_back(tensor_of(detail::dtype_of(port.dtype), port.shape));
    line_.use_threads = library_->use_threads;
    line_.launch = library_->launch;
    line_.pieces = weights_.pieces;
    line_.inputs = static_cast<int64_t>(inputs_.size());
    line_.calls = static_cast<int64_t>(calls_.size());
    line_.places = static_cast<int64_t>(places_.size());
    line_.call = calls_.data();
    line_.place = places_.data();
  }

  detail::Tensor& tensor_of(const detail::Dtype& dtype, const std::vector<int64_t>& shape) {
    std::vector<int64_t>& sizes = sizes_.emplace_back(shape);
    std::vector<int64_t>& strides = sizes_.emplace_back(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    detail::Tensor& tensor = tensors_.emplace_back();
    tensor.ndim = static_cast<int32_t>(shape.size());
    tensor.code = dtype.code;
    tensor.bits = dtype.bits;
    tensor.shape = sizes.data();
    tensor.strides = strides.data();
    return tensor;
  }

  std::string folder_;
  std::vector<Port> inputs_, outputs_;
  detail::Workspaces workspaces_;

 protected:
  detail::Weights weights_;

 private:
  std::unique_ptr<char, Free> arena_;
  std::unique_ptr<detail::Library> library_;
  std::mutex running_;
  std::deque<std::vector<int64_t>> sizes_;  // deques: what is in them stays where it is
  std::deque<detail::Tensor> tensors_;
  std::deque<std::vector<detail::Any>> arguments_;
  std::vector<detail::Place> places_;
  std::vector<detail::Tensor> ports_;
};

}  // namespace tenfold
