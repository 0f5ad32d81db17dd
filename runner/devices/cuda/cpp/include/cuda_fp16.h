// Half precision: stored in 16 bits, computed in float and rounded once.
#pragma once
#include "../half.h"

struct __half {
  uint16_t bits;
  __half() = default;
  __half(float value) : bits(emulator_to_half(value)) {}
  __half(double value) : __half(float(value)) {}
  __half(int value) : __half(float(value)) {}
  __half(unsigned value) : __half(float(value)) {}
  __half(long value) : __half(float(value)) {}
  operator float() const { return emulator_from_half(bits); }
};
typedef __half half;
struct alignas(4) __half2 {
  __half x, y;
};
typedef __half2 half2;

#define EMULATOR_HALF_OPERATOR(sign)                                                               \
  EMULATOR_INLINE inline __half operator sign(__half a, __half b) { return __half(float(a) sign float(b)); }       \
  EMULATOR_INLINE inline __half& operator sign##=(__half& a, __half b) { return a = a sign b; }                    \
  EMULATOR_INLINE inline __half2 operator sign(__half2 a, __half2 b) { return {a.x sign b.x, a.y sign b.y}; }
EMULATOR_HALF_OPERATOR(+)
EMULATOR_HALF_OPERATOR(-)
EMULATOR_HALF_OPERATOR(*)
EMULATOR_HALF_OPERATOR(/)
#undef EMULATOR_HALF_OPERATOR
EMULATOR_INLINE inline __half operator-(__half a) { return __half(-float(a)); }
#define EMULATOR_HALF_COMPARISON(sign, name)                                      \
  EMULATOR_INLINE inline bool operator sign(__half a, __half b) { return float(a) sign float(b); } \
  EMULATOR_INLINE inline bool name(__half a, __half b) { return float(a) sign float(b); }
EMULATOR_HALF_COMPARISON(<, __hlt)
EMULATOR_HALF_COMPARISON(<=, __hle)
EMULATOR_HALF_COMPARISON(>, __hgt)
EMULATOR_HALF_COMPARISON(>=, __hge)
EMULATOR_HALF_COMPARISON(==, __heq)
EMULATOR_HALF_COMPARISON(!=, __hne)
#undef EMULATOR_HALF_COMPARISON

EMULATOR_INLINE inline __half2 make_half2(__half x, __half y) { return {x, y}; }
EMULATOR_INLINE inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
EMULATOR_INLINE inline __half2 __half2half2(__half x) { return {x, x}; }
EMULATOR_INLINE inline __half __low2half(__half2 a) { return a.x; }
EMULATOR_INLINE inline __half __high2half(__half2 a) { return a.y; }
EMULATOR_INLINE inline float __half2float(__half a) { return a; }
EMULATOR_INLINE inline __half __float2half(float a) { return a; }
EMULATOR_INLINE inline __half __float2half_rn(float a) { return a; }
EMULATOR_INLINE inline __half2 __float2half2_rn(float a) { return {a, a}; }
EMULATOR_INLINE inline __half2 __floats2half2_rn(float a, float b) { return {a, b}; }
EMULATOR_INLINE inline float2 __half22float2(__half2 a) { return {a.x, a.y}; }
EMULATOR_INLINE inline unsigned short __half_as_ushort(__half a) { return a.bits; }
EMULATOR_INLINE inline __half __ushort_as_half(unsigned short bits) { return emulator_bits<__half>(bits); }
EMULATOR_INLINE inline __half __hadd(__half a, __half b) { return a + b; }
EMULATOR_INLINE inline __half __hsub(__half a, __half b) { return a - b; }
EMULATOR_INLINE inline __half __hmul(__half a, __half b) { return a * b; }
EMULATOR_INLINE inline __half __hdiv(__half a, __half b) { return a / b; }
EMULATOR_INLINE inline __half __hneg(__half a) { return -a; }
EMULATOR_INLINE inline __half __habs(__half a) { return fabsf(a); }
EMULATOR_INLINE inline __half __hfma(__half a, __half b, __half c) { return __half(float(double(float(a)) * float(b) + float(c))); }
EMULATOR_INLINE inline __half2 __hadd2(__half2 a, __half2 b) { return a + b; }
EMULATOR_INLINE inline __half2 __hmul2(__half2 a, __half2 b) { return a * b; }
EMULATOR_INLINE inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
EMULATOR_INLINE inline __half __hmax(__half a, __half b) { return fmaxf(a, b); }
EMULATOR_INLINE inline __half __hmin(__half a, __half b) { return fminf(a, b); }
EMULATOR_INLINE inline bool __hisnan(__half a) { return float(a) != float(a); }
#define EMULATOR_HALF_FUNCTION(name, function) \
  EMULATOR_INLINE inline __half name(__half a) { return __half(function(float(a))); }
EMULATOR_HALF_FUNCTION(hexp, expf)
EMULATOR_HALF_FUNCTION(hexp2, exp2f)
EMULATOR_HALF_FUNCTION(hlog, logf)
EMULATOR_HALF_FUNCTION(hlog2, log2f)
EMULATOR_HALF_FUNCTION(hlog10, log10f)
EMULATOR_HALF_FUNCTION(hsqrt, sqrtf)
EMULATOR_HALF_FUNCTION(hrsqrt, rsqrtf)
EMULATOR_HALF_FUNCTION(hrcp, 1 / )
EMULATOR_HALF_FUNCTION(hsin, sinf)
EMULATOR_HALF_FUNCTION(hcos, cosf)
EMULATOR_HALF_FUNCTION(htanh, tanhf)
EMULATOR_HALF_FUNCTION(hfloor, floorf)
EMULATOR_HALF_FUNCTION(hceil, ceilf)
EMULATOR_HALF_FUNCTION(htrunc, truncf)
EMULATOR_HALF_FUNCTION(hrint, nearbyintf)
#undef EMULATOR_HALF_FUNCTION
