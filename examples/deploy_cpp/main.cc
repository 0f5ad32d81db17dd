// Runs a network that `tenfold compile` wrote, without Python and without TVM: prints the largest numbers of each output, and the time.
//
//     deploy FOLDER INPUT... [--top N] [--runs N] [--threads N] [--batch N] [--gpu N]
//
// An input is a .npy file of the network's shape and type, or a raw file of as many bytes; one for each input, in the order of the network.
// Of a network that was compiled for several sizes, --batch takes the one with this batch; default: its first.
// Networks for GPUs run on the first one that can, or on that of --gpu, counted from 0.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "tenfold.h"
#include "tenfold_cuda.h"

namespace {

using tenfold::Error;
using tenfold::Port;
using Bytes = std::vector<char>;  // aligned for any number

struct Options {
  std::string folder;
  std::vector<std::string> inputs;
  long top = 5, runs = 20, threads = 0, batch = 0, gpu = -1;
};

Options parse(int count, char** words) {
  Options options;
  std::vector<std::string> names;
  for (int i = 1; i < count; ++i) {
    std::string word = words[i];
    long* number = word == "--top" ? &options.top : word == "--runs" ? &options.runs : word == "--threads" ? &options.threads : nullptr;
    if (word == "--batch") number = &options.batch;
    if (word == "--gpu") number = &options.gpu;
    if (!number) {
      if (word.rfind("--", 0) == 0) throw Error("there is no option " + word);
      names.push_back(word);
      continue;
    }
    char* end = nullptr;
    *number = ++i < count ? std::strtol(words[i], &end, 10) : 0;
    if (!end || *end || end == words[i] || *number < (number != &options.gpu) || *number > 65536)
      throw Error(word + " takes a number from " + (number == &options.gpu ? "0" : "1") + " to 65536");
  }
  if (names.size() < 2) throw Error("usage: deploy FOLDER INPUT... [--top N] [--runs N] [--threads N] [--batch N] [--gpu N]");
  options.folder = names[0];
  options.inputs.assign(names.begin() + 1, names.end());
  return options;
}

std::string shown(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");  // as a .npy file has it
}

// NumPy's short name of a type: <f4 for float32.
std::string short_name(const std::string& dtype) {
  for (const char* kind : {"float", "uint", "int"}) {
    if (dtype.rfind(kind, 0) != 0) continue;
    int bytes = std::atoi(dtype.c_str() + std::strlen(kind)) / 8;
    return (bytes == 1 ? "|" : "<") + std::string(1, kind[0]) + std::to_string(bytes);
  }
  return "|b1";
}

// The array in a file; Error if it is another than the network takes.
Bytes read(const std::string& path, const Port& port) {
  std::ifstream file(path, std::ios::binary);
  Bytes content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) throw Error(path + ": can't be read");
  if (content.size() >= 10 && std::memcmp(content.data(), "\x93NUMPY", 6) == 0) {  // then its version, the length of its head, and that
    bool is_long = content[6] > 1;
    size_t length = 0, begin = is_long ? 12 : 10;
    for (size_t i = begin; i-- > 8;) length = length << 8 | (i < content.size() ? static_cast<unsigned char>(content[i]) : 0);
    if (begin + length > content.size()) throw Error(path + ": it is cut short");
    std::string head(content.data() + begin, length);
    std::string type = "'descr': '" + short_name(port.dtype) + "'", shape = "'shape': " + shown(port.shape);
    for (const std::string& fact : {type, shape, std::string("'fortran_order': False")})
      if (head.find(fact) == std::string::npos)
        throw Error(path + ": input '" + port.name + "' needs " + port.dtype + " of shape " + shown(port.shape) + ", in C order");
    content.erase(content.begin(), content.begin() + static_cast<long>(begin + length));
  }
  if (static_cast<int64_t>(content.size()) != port.bytes())
    throw Error(path + ": it has " + std::to_string(content.size()) + " bytes, not the " + std::to_string(port.bytes()) + " of input '" +
                port.name + "'");
  return content;
}

template <typename Number>
void print_largest(const Bytes& bytes, long top) {
  std::vector<Number> numbers(bytes.size() / sizeof(Number));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  std::vector<size_t> order(numbers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  size_t count = std::min(order.size(), static_cast<size_t>(top));
  std::partial_sort(order.begin(), order.begin() + static_cast<long>(count), order.end(), [&](size_t a, size_t b) {
    return numbers[a] != numbers[b] ? numbers[a] > numbers[b] : a < b;
  });
  for (size_t i = 0; i < count; ++i) std::printf("  %6zu  %.7g\n", order[i], static_cast<double>(numbers[order[i]]));
}

void print(const Port& port, const Bytes& bytes, long top) {
  std::printf("%s  %s%s\n", tenfold::one_line(port.name).c_str(), port.dtype.c_str(), shown(port.shape).c_str());
  if (port.dtype == "float32") print_largest<float>(bytes, top);
  if (port.dtype == "float64") print_largest<double>(bytes, top);
  if (port.dtype == "int64") print_largest<int64_t>(bytes, top);
  if (port.dtype == "int32") print_largest<int32_t>(bytes, top);
}

template <typename Network>
void deploy(const Options& options, Network& net, const std::string& where) {
  if (net.inputs().size() != options.inputs.size())
    throw Error(options.folder + ": it has " + std::to_string(net.inputs().size()) + " inputs, and there are " +
                std::to_string(options.inputs.size()) + " files");
  std::vector<Bytes> arrays;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (size_t i = 0; i < options.inputs.size(); ++i) arrays.push_back(read(options.inputs[i], net.inputs()[i]));
  for (const Port& port : net.outputs()) arrays.emplace_back(static_cast<size_t>(port.bytes()));
  for (Bytes& each : arrays) inputs.size() < options.inputs.size() ? inputs.push_back(each.data()) : outputs.push_back(each.data());

  net.run(inputs, outputs);  // the first run is slower: threads start, memory is touched
  std::vector<double> times;
  for (long i = 0; i < options.runs; ++i) {
    auto begin = std::chrono::steady_clock::now();
    net.run(inputs, outputs);
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  for (size_t i = 0; i < outputs.size(); ++i) print(net.outputs()[i], arrays[options.inputs.size() + i], options.top);
  std::nth_element(times.begin(), times.begin() + options.runs / 2, times.end());
  std::printf("%.3f ms (median of %ld runs on %s)\n", times[static_cast<size_t>(options.runs / 2)], options.runs, where.c_str());
}

void deploy(const Options& options) {
  if (std::ifstream(options.folder + "/model.cuda")) {
    if (options.threads) throw Error("--threads is for CPUs, and " + options.folder + " runs on a GPU");
    if (options.batch) throw Error("--batch is for networks of several sizes, and " + options.folder + " has one");
    tenfold::GpuNetwork net(options.folder, static_cast<int>(options.gpu));
    deploy(options, net, "GPU " + std::to_string(net.device()) + ", with copies");
  } else {
    if (options.gpu >= 0) throw Error("--gpu is for networks that are compiled for GPUs, and " + options.folder + " is for a CPU");
    tenfold::Sizes sizes(options.folder, static_cast<int>(options.threads));
    tenfold::Network& net = options.batch ? sizes.batch(options.batch) : sizes[0];
    deploy(options, net, std::to_string(net.threads()) + " threads");
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    deploy(parse(count, words));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "deploy: %s\n", error.what());
    return 2;
  }
}
