// What a compiled network's library and its caller know of each other: DLPack, TVM's FFI, and codegen/call_list.cc.
#pragma once

#include <cstdint>

namespace tenfold {
namespace detail {

struct Tensor {  // DLTensor
  void* data = nullptr;
  int32_t device_type = 1, device_id = 0, ndim = 0;
  uint8_t code = 0, bits = 0;
  uint16_t lanes = 1;
  int64_t *shape = nullptr, *strides = nullptr;
  uint64_t byte_offset = 0;
};
struct Any {  // TVMFFIAny
  int32_t type_index = 0;
  uint32_t padding = 0;
  int64_t value = 0;
};
constexpr int32_t kTensor = 7;  // kTVMFFIDLTensorPtr
using Function = int (*)(void*, const Any*, int32_t, Any*);
using Task = int (*)(int, void*, void*);
struct Call {
  Function kernel;
  const Any* arguments;
  int64_t count;
};
struct Place {
  Tensor* tensor;
  int64_t port, bytes;
};
struct Line {
  void (*use_threads)(int) = nullptr;
  int (*launch)(Task, void*, int) = nullptr;
  int64_t threads = 1, pieces = 1, inputs = 0, calls = 0, places = 0;
  const Call* call = nullptr;
  const Place* place = nullptr;
};

inline int64_t word_of(void* pointer) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(pointer)); }

}  // namespace detail
}  // namespace tenfold
