// CUDA C for a C++ compiler of the host: what a kernel may use of the language, on the emulated machine.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <math.h>
#include <type_traits>
#include "device.h"

#define __CUDACC__ 1
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __CUDA_ARCH__ 900
#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __constant__ const
#define __launch_bounds__(...)
#define __forceinline__ inline
// The compiler tells of no store of a call's result when that is a struct. So there are no calls.
#define EMULATOR_INLINE __attribute__((always_inline))
#include "vectors.h"
#undef __noinline__
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __restrict

struct dim3 { unsigned x, y, z; };
#define EMULATOR_INDEX(which) (uint3{unsigned(emulator_index(which, 0)), unsigned(emulator_index(which, 1)), unsigned(emulator_index(which, 2))})
#define threadIdx EMULATOR_INDEX(0)
#define blockIdx EMULATOR_INDEX(1)
#define blockDim EMULATOR_INDEX(2)
#define gridDim EMULATOR_INDEX(3)
constexpr int warpSize = 32;

#define __syncthreads() emulator_barrier(__LINE__)
#define EMULATOR_WARP_BARRIER(mask, ...) emulator_warp_barrier(mask, __LINE__)
#define __syncwarp(...) EMULATOR_WARP_BARRIER(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu)
inline void __threadfence() {}
inline void __threadfence_block() {}

// An array of shared memory: one for all threads of the block.
#define EMULATOR_SHARED(type, name, dimensions) \
  type(&name) dimensions = *reinterpret_cast<type(*) dimensions>(emulator_shared(__COUNTER__, sizeof(type dimensions), sizeof(type), #name))
// An array of registers: one for each thread, which knows which elements hold values. If it is `written`, all do (NaN).
#ifdef EMULATOR_CHECKS
struct EmulatorRegisters {
  char* data;
  EmulatorRegisters(size_t bytes, size_t element, const char* name, bool written) : data(emulator_enter(bytes, element, name, written)) {}
  ~EmulatorRegisters() { emulator_leave(); }
};
#define EMULATOR_REGISTERS(type, name, dimensions, written)                                         \
  EmulatorRegisters emulator_of_##name{sizeof(type dimensions), sizeof(type), #name, written};      \
  type(&name) dimensions = *reinterpret_cast<type(*) dimensions>(emulator_of_##name.data)
#else
#define EMULATOR_REGISTERS(type, name, dimensions, written) alignas(64) type name dimensions
#endif

#include "intrinsics.h"
#include "ptx.h"
