// Functions of CUDA C: arithmetic, warps, atomics.
#pragma once

template <typename To, typename From>
EMULATOR_INLINE inline To emulator_bits(const From& value) {
  static_assert(sizeof(To) == sizeof(From), "bits");
  To to;
  memcpy(&to, &value, sizeof to);
  return to;
}
EMULATOR_INLINE inline unsigned __float_as_uint(float x) { return emulator_bits<unsigned>(x); }
EMULATOR_INLINE inline int __float_as_int(float x) { return emulator_bits<int>(x); }
EMULATOR_INLINE inline float __uint_as_float(unsigned x) { return emulator_bits<float>(x); }
EMULATOR_INLINE inline float __int_as_float(int x) { return emulator_bits<float>(x); }

// max and min of floats take the number when the other is NaN, as the hardware does.
EMULATOR_INLINE inline float max(float a, float b) { return fmaxf(a, b); }
EMULATOR_INLINE inline float min(float a, float b) { return fminf(a, b); }
EMULATOR_INLINE inline double max(double a, double b) { return fmax(a, b); }
EMULATOR_INLINE inline double min(double a, double b) { return fmin(a, b); }
#define EMULATOR_EXTREMA(type)                                       \
  inline type max(type a, type b) { return a > b ? a : b; }          \
  inline type min(type a, type b) { return a < b ? a : b; }
EMULATOR_EXTREMA(int)
EMULATOR_EXTREMA(unsigned)
EMULATOR_EXTREMA(long)
EMULATOR_EXTREMA(unsigned long)
EMULATOR_EXTREMA(long long)
EMULATOR_EXTREMA(unsigned long long)
#undef EMULATOR_EXTREMA

EMULATOR_INLINE inline float __expf(float x) { return expf(x); }
EMULATOR_INLINE inline float __exp10f(float x) { return powf(10, x); }
EMULATOR_INLINE inline float __logf(float x) { return logf(x); }
EMULATOR_INLINE inline float __log2f(float x) { return log2f(x); }
EMULATOR_INLINE inline float __log10f(float x) { return log10f(x); }
EMULATOR_INLINE inline float __sinf(float x) { return sinf(x); }
EMULATOR_INLINE inline float __cosf(float x) { return cosf(x); }
EMULATOR_INLINE inline float __tanf(float x) { return tanf(x); }
EMULATOR_INLINE inline float __tanhf(float x) { return tanhf(x); }
EMULATOR_INLINE inline float __powf(float x, float y) { return powf(x, y); }
EMULATOR_INLINE inline float __fdividef(float x, float y) { return x / y; }
EMULATOR_INLINE inline float __frcp_rn(float x) { return 1 / x; }
EMULATOR_INLINE inline float __fsqrt_rn(float x) { return sqrtf(x); }
EMULATOR_INLINE inline float __fadd_rn(float x, float y) { return x + y; }
EMULATOR_INLINE inline float __fmul_rn(float x, float y) { return x * y; }
EMULATOR_INLINE inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
EMULATOR_INLINE inline float rsqrtf(float x) { return 1 / sqrtf(x); }
EMULATOR_INLINE inline double rsqrt(double x) { return 1 / sqrt(x); }
EMULATOR_INLINE inline float __saturatef(float x) { return fminf(fmaxf(x, 0), 1); }
EMULATOR_INLINE inline int __float2int_rn(float x) { return int(nearbyintf(x)); }
EMULATOR_INLINE inline int __float2int_rz(float x) { return int(x); }
EMULATOR_INLINE inline int __popc(unsigned x) { return __builtin_popcount(x); }
EMULATOR_INLINE inline int __ffs(int x) { return __builtin_ffs(x); }
EMULATOR_INLINE inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
EMULATOR_INLINE inline int __mul24(int x, int y) { return x * y; }
EMULATOR_INLINE inline unsigned __umulhi(unsigned x, unsigned y) { return uint64_t(x) * y >> 32; }
EMULATOR_INLINE inline int __mulhi(int x, int y) { return int64_t(x) * y >> 32; }
template <typename T>
EMULATOR_INLINE inline T __ldg(const T* address) { return *address; }

template <typename T>
EMULATOR_INLINE inline T emulator_shuffled(EmulatorShuffle how, int line, unsigned mask, T value, int lane, int width = 32) {
  static_assert(sizeof(T) <= 8, "value");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = emulator_shuffle(how, mask, bits, lane, width, line);
  memcpy(&value, &bits, sizeof value);
  return value;
}
#define __shfl_sync(...) emulator_shuffled(SHUFFLE_TO, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) emulator_shuffled(SHUFFLE_UP, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emulator_shuffled(SHUFFLE_DOWN, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) emulator_shuffled(SHUFFLE_XOR, __LINE__, __VA_ARGS__)
#define __any_sync(mask, predicate) int(emulator_vote(VOTE_ANY, mask, predicate, __LINE__))
#define __all_sync(mask, predicate) int(emulator_vote(VOTE_ALL, mask, predicate, __LINE__))
#define __ballot_sync(mask, predicate) emulator_vote(VOTE_BALLOT, mask, predicate, __LINE__)
#define __activemask() emulator_active(__LINE__)

// Atomics: of the blocks that run at the same time, too.
template <typename T, typename Change>
__attribute__((no_sanitize("thread"))) inline T emulator_change(T* address, Change change) {
  emulator_atomic(address, sizeof(T));
  T before, after;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  do after = change(before);
  while (!__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}
#define EMULATOR_ATOMIC(name, type, result) \
  __attribute__((no_sanitize("thread"))) inline type name(type* address, type value) { return emulator_change(address, [=](type old) -> type { return result; }); }
EMULATOR_ATOMIC(atomicAdd, float, old + value)
EMULATOR_ATOMIC(atomicAdd, double, old + value)
EMULATOR_ATOMIC(atomicAdd, int, old + value)
EMULATOR_ATOMIC(atomicAdd, unsigned, old + value)
EMULATOR_ATOMIC(atomicMax, int, old > value ? old : value)
EMULATOR_ATOMIC(atomicMax, unsigned, old > value ? old : value)
EMULATOR_ATOMIC(atomicMin, int, old < value ? old : value)
EMULATOR_ATOMIC(atomicMin, unsigned, old < value ? old : value)
EMULATOR_ATOMIC(atomicExch, int, value)
EMULATOR_ATOMIC(atomicExch, float, value)
#undef EMULATOR_ATOMIC
