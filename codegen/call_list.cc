// Runs a compiled network that is a straight line of kernels: one call from Python, and one of each kernel. The way through TVM's virtual
// machine, which checks some ten arguments for every kernel, takes 4 us more, and a small network has no more than 50.
//
// What is here knows nothing of memory: `runtime/call_list.py` lays out the arguments of all kernels once, when the network is loaded, and of
// a call nothing changes but where its inputs and outputs lie.

#include <tvm/ffi/c_api.h>

#include <algorithm>
#include <cstdint>

namespace {

struct Group {  // TVMParallelGroupEnv
  void* meeting;
  int32_t tasks;
};

using Task = int (*)(int task, Group* group, void* data);

struct Call {
  TVMFFISafeCallType kernel;
  const TVMFFIAny* arguments;
  int64_t count;
};

struct Place {  // where a kernel's argument has the address of an input or output
  DLTensor* tensor;
  int64_t port;
  int64_t bytes;  // of one piece of it
};

struct Line {
  void (*use_threads)(int);
  int (*launch)(Task, void* data, int tasks);
  int64_t threads;
  int64_t pieces;  // of the batch, one after the other
  int64_t inputs;
  int64_t calls;
  int64_t places;
  const Call* call;
  const Place* place;
};

constexpr int64_t kBlock = 4096;           // numbers that are looked at before it is asked whether one was not finite
constexpr int64_t kParallel = 16 * kBlock;  // from so many numbers on, all threads look

// NaN and infinity are the numbers whose exponent is all ones: adding its lowest bit carries into the sign.
template <typename Bits, Bits exponent>
bool finite(const Bits* numbers, int64_t count) {
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    int64_t end = std::min(begin + kBlock, count);
    Bits signs = 0;
    for (int64_t i = begin; i < end; ++i) signs |= static_cast<Bits>((numbers[i] & exponent) + (exponent & -exponent));
    if (signs & static_cast<Bits>(exponent + (exponent & -exponent))) return false;
  }
  return true;
}

bool finite(const void* data, int bits, int64_t begin, int64_t count) {
  if (bits == 16) return finite<uint16_t, 0x7c00>(static_cast<const uint16_t*>(data) + begin, count);
  if (bits == 32) return finite<uint32_t, 0x7f800000>(static_cast<const uint32_t*>(data) + begin, count);
  return finite<uint64_t, 0x7ff0000000000000>(static_cast<const uint64_t*>(data) + begin, count);
}

struct Search {
  const void* data;
  int bits;
  int64_t count;
};

// The pool may give fewer threads than were asked for: the group says how many there are.
int search_part(int task, Group* group, void* data) {
  const Search& all = *static_cast<const Search*>(data);
  int64_t begin = all.count * task / group->tasks, end = all.count * (task + 1) / group->tasks;
  return finite(all.data, all.bits, begin, end - begin) ? 0 : 1;
}

bool finite(const Line& line, const DLTensor& tensor, int64_t piece) {
  if (tensor.dtype.code != kDLFloat) return true;
  int64_t count = 1;
  for (int i = 0; i < tensor.ndim; ++i) count *= tensor.shape[i];
  count /= line.pieces;
  if (count < kParallel) return finite(tensor.data, tensor.dtype.bits, piece * count, count);
  Search search{static_cast<const char*>(tensor.data) + piece * count * tensor.dtype.bits / 8, tensor.dtype.bits, count};
  return line.launch(search_part, &search, static_cast<int>(line.threads)) == 0;
}

const DLTensor& tensor_of(const TVMFFIAny& argument) {
  if (argument.type_index == kTVMFFIDLTensorPtr) return *static_cast<const DLTensor*>(argument.v_ptr);
  return *reinterpret_cast<const DLTensor*>(reinterpret_cast<const char*>(argument.v_obj) + sizeof(TVMFFIObject));
}

}  // namespace

extern "C" {

// Arguments: the address of a line, its inputs, its outputs. Gives 0, or the number of an input, counted from 1, that holds NaN or infinity; then
// nothing has run, or only the pieces before. A kernel that fails has said why. Memory that kernels work in belongs to the line: one call at a
// time.
int __tvm_ffi_tenfold_run(void*, const TVMFFIAny* arguments, int32_t, TVMFFIAny* result) {
  const Line& line = *reinterpret_cast<const Line*>(arguments[0].v_int64);
  const TVMFFIAny* ports = arguments + 1;
  line.use_threads(static_cast<int>(line.threads));
  result->type_index = kTVMFFIInt;
  result->zero_padding = 0;
  for (int64_t piece = 0; piece < line.pieces; ++piece) {
    for (result->v_int64 = 1; result->v_int64 <= line.inputs; ++result->v_int64) {
      if (!finite(line, tensor_of(ports[result->v_int64 - 1]), piece)) return 0;
    }
    for (const Place* place = line.place; place != line.place + line.places; ++place) {
      place->tensor->data = static_cast<char*>(tensor_of(ports[place->port]).data) + piece * place->bytes;
    }
    for (const Call* call = line.call; call != line.call + line.calls; ++call) {
      TVMFFIAny nothing{};
      if (int failed = call->kernel(nullptr, call->arguments, static_cast<int32_t>(call->count), &nothing)) return failed;
    }
  }
  result->v_int64 = 0;
  return 0;
}

}  // extern "C"
