// Vector types. Those who make one are no inline functions, so that it stays one value, and one access when it is stored.
#pragma once
#include <cstdint>

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

#define EMULATOR_MAKES __attribute__((noinline, unused, no_sanitize("thread"))) static
#define EMULATOR_VECTORS(scalar, name, align2, align4)                                                                         \
  struct alignas(sizeof(scalar)) name##1 { scalar x; };                                                                         \
  struct alignas(align2) name##2 { scalar x, y; };                                                                              \
  struct alignas(sizeof(scalar)) name##3 { scalar x, y, z; };                                                                   \
  struct alignas(align4) name##4 { scalar x, y, z, w; };                                                                        \
  EMULATOR_MAKES name##1 make_##name##1(scalar x) { return {x}; }                                                                       \
  EMULATOR_MAKES name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                                                          \
  EMULATOR_MAKES name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }                                             \
  EMULATOR_MAKES name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

EMULATOR_VECTORS(float, float, 8, 16)
EMULATOR_VECTORS(double, double, 16, 16)
EMULATOR_VECTORS(int, int, 8, 16)
EMULATOR_VECTORS(unsigned, uint, 8, 16)
EMULATOR_VECTORS(short, short, 4, 8)
EMULATOR_VECTORS(unsigned short, ushort, 4, 8)
EMULATOR_VECTORS(signed char, char, 2, 4)
EMULATOR_VECTORS(unsigned char, uchar, 2, 4)
EMULATOR_VECTORS(long, long, 16, 16)
EMULATOR_VECTORS(long long, longlong, 16, 16)
#undef EMULATOR_VECTORS
#undef EMULATOR_MAKES
