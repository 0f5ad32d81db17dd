// Vector types. What makes one gives a copy of something in memory: storing it is one access, and one that the compiler marks.
// (It marks neither what a call returns into memory, nor a constant.)
#pragma once
#include <cstdint>

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

#define EMULATOR_MAKES __attribute__((always_inline, unused)) static inline
#define EMULATOR_VECTORS(scalar, name, align2, align4)                                                                         \
  struct alignas(sizeof(scalar)) name##1 { scalar x; };                                                                         \
  struct alignas(align2) name##2 { scalar x, y; };                                                                              \
  struct alignas(sizeof(scalar)) name##3 { scalar x, y, z; };                                                                   \
  struct alignas(align4) name##4 { scalar x, y, z, w; };                                                                        \
  EMULATOR_MAKES name##1 make_##name##1(scalar x) { name##1 made = {x}; asm volatile("" : "+m"(made)); return made; }                                                                       \
  EMULATOR_MAKES name##2 make_##name##2(scalar x, scalar y) { name##2 made = {x, y}; asm volatile("" : "+m"(made)); return made; }                                                          \
  EMULATOR_MAKES name##3 make_##name##3(scalar x, scalar y, scalar z) { name##3 made = {x, y, z}; asm volatile("" : "+m"(made)); return made; }                                             \
  EMULATOR_MAKES name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { name##4 made = {x, y, z, w}; asm volatile("" : "+m"(made)); return made; }

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
