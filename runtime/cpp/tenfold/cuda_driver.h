// NVIDIA's driver, loaded when it is needed: programs are built without CUDA. Signatures are those of cuda.h of CUDA 13.
#pragma once

#include <dlfcn.h>

#include <cctype>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tensors.h"

namespace tenfold {
namespace detail {

struct KernelNode {  // CUDA_KERNEL_NODE_PARAMS_v2; kern and ctx stay empty where func is set
  void* func;
  unsigned grid[3], block[3], shared_bytes;
  void **parameters, **extra, *kern, *ctx;
};

// The functions that are called, by the names that the library has them by.
class CudaDriver {
 public:
  static CudaDriver& get() {
    static CudaDriver* driver = new CudaDriver;  // stays: networks that live until the program ends still call it
    return *driver;
  }

#define TENFOLD_CUDA(field, name, ...) int (*field)(__VA_ARGS__) = symbol<int (*)(__VA_ARGS__)>(#name);
  TENFOLD_CUDA(init, cuInit, unsigned)
  TENFOLD_CUDA(driver_version, cuDriverGetVersion, int*)
  TENFOLD_CUDA(error_string, cuGetErrorString, int, const char**)
  TENFOLD_CUDA(device_count, cuDeviceGetCount, int*)
  TENFOLD_CUDA(device_get, cuDeviceGet, int*, int)
  TENFOLD_CUDA(device_attribute, cuDeviceGetAttribute, int*, int, int)
  TENFOLD_CUDA(context_retain, cuDevicePrimaryCtxRetain, void**, int)
  TENFOLD_CUDA(context_release, cuDevicePrimaryCtxRelease_v2, int)
  TENFOLD_CUDA(context_push, cuCtxPushCurrent_v2, void*)
  TENFOLD_CUDA(context_pop, cuCtxPopCurrent_v2, void**)
  TENFOLD_CUDA(allocate, cuMemAlloc_v2, uint64_t*, size_t)
  TENFOLD_CUDA(release, cuMemFree_v2, uint64_t)
  TENFOLD_CUDA(copy_in, cuMemcpyHtoDAsync_v2, uint64_t, const void*, size_t, void*)
  TENFOLD_CUDA(copy_out, cuMemcpyDtoHAsync_v2, void*, uint64_t, size_t, void*)
  TENFOLD_CUDA(fill, cuMemsetD8Async, uint64_t, unsigned char, size_t, void*)
  TENFOLD_CUDA(stream_create, cuStreamCreate, void**, unsigned)
  TENFOLD_CUDA(stream_destroy, cuStreamDestroy_v2, void*)
  TENFOLD_CUDA(stream_wait, cuStreamSynchronize, void*)
  TENFOLD_CUDA(module_load, cuModuleLoadData, void**, const void*)
  TENFOLD_CUDA(module_unload, cuModuleUnload, void*)
  TENFOLD_CUDA(module_function, cuModuleGetFunction, void**, void*, const char*)
  TENFOLD_CUDA(function_attribute, cuFuncSetAttribute, void*, int, int)
  TENFOLD_CUDA(graph_create, cuGraphCreate, void**, unsigned)
  TENFOLD_CUDA(graph_destroy, cuGraphDestroy, void*)
  TENFOLD_CUDA(graph_add_kernel, cuGraphAddKernelNode_v2, void**, void*, void* const*, size_t, const KernelNode*)
  TENFOLD_CUDA(graph_instantiate, cuGraphInstantiateWithFlags, void**, void*, unsigned long long)
  TENFOLD_CUDA(graph_launch, cuGraphLaunch, void*, void*)
  TENFOLD_CUDA(executable_destroy, cuGraphExecDestroy, void*)
#undef TENFOLD_CUDA

  // Throws Error where a function has failed.
  void check(int status, const char* what) const {
    if (!status) return;
    const char* words = nullptr;
    error_string(status, &words);
    throw Error(std::string("the NVIDIA driver: ") + what + ": " + (words ? words : "error " + std::to_string(status)));
  }

  // The GPU that runs code with these features, by its number: the one that is asked for, or the first that can.
  int device_for(const std::vector<std::string>& features, int asked) const {
    int count = 0, found = -1;
    check(device_count(&count), "cuDeviceGetCount");
    if (asked >= count) throw Error("there is no GPU " + std::to_string(asked) + ": this machine has " + std::to_string(count));
    for (int index = asked < 0 ? 0 : asked; index < (asked < 0 ? count : asked + 1) && found < 0; ++index) {
      int device = 0, major = 0, minor = 0;
      check(device_get(&device, index), "cuDeviceGet");
      check(device_attribute(&major, 75, device), "cuDeviceGetAttribute");  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
      check(device_attribute(&minor, 76, device), "cuDeviceGetAttribute");
      for (const std::string& feature : features) found = runs(feature, major, minor) ? index : found;
    }
    std::string held;
    for (const std::string& feature : features) held += (held.empty() ? "" : ", ") + feature;
    if (found < 0) throw Error("it holds code for " + held + ", and no GPU here runs that");
    return found;
  }

 private:
  CudaDriver() {
    check(init(0), "cuInit");
    int version = 0;
    check(driver_version(&version), "cuDriverGetVersion");
    if (version < 13000) throw Error("this NVIDIA driver is for CUDA " + std::to_string(version / 1000) + ", the code needs 13: update it");
  }

  template <typename Function>
  Function symbol(const char* name) {
    if (!library_) library_ = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library_) throw Error("this machine has no NVIDIA driver (libcuda.so.1 can't be loaded)");
    void* found = dlsym(library_, name);
    if (!found) throw Error(std::string("the NVIDIA driver has no ") + name + ": it is too old, update it");
    return reinterpret_cast<Function>(found);
  }

  // sm_86: machine code for GPUs of its generation that are no older; compute_80: what any that is no older translates.
  static bool runs(const std::string& feature, int major, int minor) {
    size_t line = feature.find('_');
    if (line == std::string::npos || feature.size() < line + 3) return false;
    for (size_t i = line + 1; i < feature.size(); ++i)
      if (!std::isdigit(static_cast<unsigned char>(feature[i]))) return false;
    int number = std::atoi(feature.c_str() + line + 1), here = 10 * major + minor;
    std::string kind = feature.substr(0, line);
    return number <= here && (kind == "compute" || (kind == "sm" && number / 10 == major));
  }

  inline static void* library_ = nullptr;
};

}  // namespace detail
}  // namespace tenfold
