// Runs a network that Tenfold has compiled for NVIDIA's GPUs, through the driver alone: the program is built without CUDA. C++17, Linux.
//
//     tenfold::GpuNetwork net("out");         // the folder that `tenfold compile --target cuda` wrote
//     net.run({x}, {y});                      // arrays of the CPU, as of tenfold::Network
//
// Compile with -std=c++17 -pthread, link with -ldl.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tenfold/cuda_code.h"
#include "tenfold/cuda_driver.h"
#include "tenfold/manifest.h"
#include "tenfold/mapping.h"
#include "tenfold/tensors.h"
#include "tenfold/weights.h"

namespace tenfold {

// A loaded network. It serves one call at a time; several threads may call it, and take turns.
class GpuNetwork {
 public:
  // device: the GPU, by the driver's count; -1 for the first that can run it.
  explicit GpuNetwork(const std::string& folder, int device = -1) : folder_(folder) {
    detail::Manifest manifest = detail::read_manifest(folder, "model.cuda");
    inputs_ = manifest.inputs;
    outputs_ = manifest.outputs;
    detail::Weights weights(folder + "/weights.bin");
    detail::check_hash(folder + "/weights.bin", weights.file, manifest.weights_sha256);
    detail::check_hash(folder + "/model.cuda", detail::Mapping(folder + "/model.cuda"), manifest.library_sha256);
    try {
      weights.check(inputs_, outputs_);
      if (weights.pieces != 1 || weights.steps.empty()) throw Error("it is not one fixed order of kernels");
    } catch (const Error& error) {
      throw Error(folder + ": its weights do not fit the network: " + error.what() + "; compile the network again");
    }
    code_ = std::make_unique<detail::CudaCode>(folder + "/model.cuda");
    try {
      cuda_ = &detail::CudaDriver::get();
      index_ = cuda_->device_for(manifest.features, device);
      start(weights);
    } catch (const Error& error) {
      stop();
      throw Error(folder + ": " + error.what());
    }
  }
  GpuNetwork(const GpuNetwork&) = delete;
  GpuNetwork& operator=(const GpuNetwork&) = delete;
  ~GpuNetwork() { stop(); }

  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  int device() const { return index_; }

  // Runs it on arrays in the order of `inputs()`, and writes those of `outputs()`. Their sizes are `Port::bytes()`. Throws Error where an
  // input of float32 or float64 holds NaN or infinity.
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs) {
    if (inputs.size() != inputs_.size() || outputs.size() != outputs_.size())
      throw Error(folder_ + ": it has " + std::to_string(inputs_.size()) + " inputs and " + std::to_string(outputs_.size()) + " outputs");
    for (size_t i = 0; i < inputs.size(); ++i)
      if (!finite(inputs_[i], inputs[i])) throw Error(folder_ + ": input '" + inputs_[i].name + "' holds NaN or infinity");
    std::lock_guard<std::mutex> hold(running_);
    Current current(*this);
    for (size_t i = 0; i < inputs.size(); ++i)
      check(cuda_->copy_in(address(i), inputs[i], static_cast<size_t>(inputs_[i].bytes()), stream_), "cuMemcpyHtoDAsync");
    check(cuda_->graph_launch(executable_, stream_), "cuGraphLaunch");
    for (size_t i = 0; i < outputs.size(); ++i) {
      size_t bytes = static_cast<size_t>(outputs_[i].bytes());
      check(cuda_->copy_out(outputs[i], address(inputs.size() + i), bytes, stream_), "cuMemcpyDtoHAsync");
    }
    check(cuda_->stream_wait(stream_), "cuStreamSynchronize");
  }

 private:
  // Makes the GPU's context that of the thread, while it lives.
  struct Current {
    explicit Current(GpuNetwork& net) : cuda(net.cuda_) { cuda->check(cuda->context_push(net.context_), "cuCtxPushCurrent"); }
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
    ~Current() {
      void* popped = nullptr;
      cuda->context_pop(&popped);
    }
    detail::CudaDriver* cuda;
  };

  void check(int status, const char* what) const { cuda_->check(status, what); }
  uint64_t address(size_t tensor) const { return memory_ + static_cast<uint64_t>(offsets_[tensor]); }
  static int64_t padded(int64_t bytes) { return (bytes + 255) / 256 * 256; }

  template <typename Number>
  static bool all_finite(const void* data, int64_t count) {
    const Number* numbers = static_cast<const Number*>(data);
    for (int64_t i = 0; i < count; ++i)
      if (!std::isfinite(numbers[i])) return false;
    return true;
  }
  static bool finite(const Port& port, const void* data) {
    if (port.dtype == "float32") return all_finite<float>(data, port.elements());
    return port.dtype != "float64" || all_finite<double>(data, port.elements());
  }

  // Offsets of all tensors, by the positions that operands know: inputs, outputs and weights, then the arena; behind it the buffers.
  int64_t lay_out(const detail::Weights& weights, int64_t& scratch) {
    int64_t end = 0;
    for (const Port& each : inputs_) offsets_.push_back(end), end += padded(each.bytes());
    for (const detail::Entry& each : weights.entries)
      if (each.kind != detail::kArena) offsets_.push_back(end), end += padded(each.bytes());
    for (const detail::Entry& each : weights.entries)
      if (each.kind == detail::kArena) offsets_.push_back(end + each.offset);
    scratch = end += padded(weights.arena_bytes());
    int64_t most = 0;
    for (const auto& [name, routine] : code_->routines) {
      int64_t all = 0;
      for (int64_t bytes : routine.scratch) all += padded(bytes);
      most = std::max(most, all);
    }
    return end + most;
  }

  void start(const detail::Weights& weights) {
    check(cuda_->device_get(&device_, index_), "cuDeviceGet");
    check(cuda_->context_retain(&context_, device_), "cuDevicePrimaryCtxRetain");
    Current current(*this);
    check(cuda_->module_load(&module_, code_->fatbin.data()), "cuModuleLoadData");
    check(cuda_->stream_create(&stream_, 1), "cuStreamCreate");  // CU_STREAM_NON_BLOCKING
    int64_t scratch = 0, bytes = lay_out(weights, scratch);
    check(cuda_->allocate(&memory_, static_cast<size_t>(std::max<int64_t>(bytes, 1))), "cuMemAlloc");
    check(cuda_->fill(memory_, 0, static_cast<size_t>(bytes), stream_), "cuMemsetD8Async");
    for (size_t i = 0; i < weights.entries.size(); ++i) {
      const detail::Entry& each = weights.entries[i];
      if (each.kind != detail::kWeight) continue;
      const char* from = weights.mapping.data() + each.offset;
      check(cuda_->copy_in(address(inputs_.size() + i), from, static_cast<size_t>(each.bytes()), stream_), "cuMemcpyHtoDAsync");
    }
    check(cuda_->stream_wait(stream_), "cuStreamSynchronize");
    check(cuda_->graph_create(&graph_, 0), "cuGraphCreate");
    for (const detail::Step& step : weights.steps) add(step, memory_ + static_cast<uint64_t>(scratch));
    check(cuda_->graph_instantiate(&executable_, graph_, 0), "cuGraphInstantiate");
    check(cuda_->graph_launch(executable_, stream_), "cuGraphLaunch");  // on zeros: what fails, fails here
    check(cuda_->stream_wait(stream_), "cuStreamSynchronize");
  }

  void add(const detail::Step& step, uint64_t scratch) {
    auto found = code_->routines.find(step.kernel);
    if (found == code_->routines.end()) throw Error("model.cuda has no kernel '" + step.kernel + "': compile the network again");
    std::vector<uint64_t> operands;
    for (const detail::Operand& each : step.operands) operands.push_back(address(static_cast<size_t>(each.position)));
    for (int64_t bytes : found->second.scratch) operands.push_back(scratch), scratch += static_cast<uint64_t>(padded(bytes));
    for (const detail::CudaLaunch& launch : found->second.launches) {
      void *function = nullptr, *node = nullptr;
      check(cuda_->module_function(&function, module_, launch.kernel.c_str()), "cuModuleGetFunction");
      if (launch.shared_bytes > 48 << 10)  // 8: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        check(cuda_->function_attribute(function, 8, static_cast<int>(launch.shared_bytes)), "cuFuncSetAttribute");
      std::vector<void*> parameters;
      for (size_t position : launch.arguments) {
        if (position >= operands.size()) throw Error("kernel '" + step.kernel + "' takes more than the network gives it");
        parameters.push_back(&operands[position]);
      }
      detail::KernelNode params{function, {}, {}, launch.shared_bytes, parameters.data(), nullptr, nullptr, nullptr};
      std::memcpy(params.grid, launch.grid, sizeof params.grid);
      std::memcpy(params.block, launch.block, sizeof params.block);
      check(cuda_->graph_add_kernel(&node, graph_, &last_, last_ ? 1 : 0, &params), "cuGraphAddKernelNode");
      last_ = node;
    }
  }

  void stop() {
    if (!context_) return;
    if (!cuda_->context_push(context_)) {
      if (executable_) cuda_->executable_destroy(executable_);
      if (graph_) cuda_->graph_destroy(graph_);
      if (memory_) cuda_->release(memory_);
      if (stream_) cuda_->stream_destroy(stream_);
      if (module_) cuda_->module_unload(module_);
      void* popped = nullptr;
      cuda_->context_pop(&popped);
    }
    cuda_->context_release(device_);
    context_ = nullptr;
  }

  std::string folder_;
  std::vector<Port> inputs_, outputs_;
  std::unique_ptr<detail::CudaCode> code_;
  detail::CudaDriver* cuda_ = nullptr;
  int index_ = 0, device_ = 0;
  void *context_ = nullptr, *module_ = nullptr, *stream_ = nullptr, *graph_ = nullptr, *executable_ = nullptr, *last_ = nullptr;
  uint64_t memory_ = 0;
  std::vector<int64_t> offsets_;
  std::mutex running_;
};

}  // namespace tenfold
