// Vector types. What makes one gives a copy of something in memory: storing it is one access, and one that the compiler marks.
// (It marks neither what a call returns into memory, nor a constant.)
#pragma once
#include <cstdint>
#include <cstring>

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

template <typename Vector, typename Scalar, typename... Rest>
EMULATOR_INLINE inline Vector emulator_vector(Scalar first, Rest... rest) {
  typedef Scalar Packed __attribute__((vector_size(sizeof(Scalar) * (1 + sizeof...(rest)))));
  const Packed packed = {first, rest...};
  Vector made;
  memcpy(&made, &packed, sizeof made);
  asm volatile("" : "+m"(made));
  return made;
}

#define EMULATOR_VECTORS(scalar, name, align2, align4)                                                                                    \
  struct alignas(sizeof(scalar)) name##1 { scalar x; };                                                                                    \
  struct alignas(align2) name##2 { scalar x, y; };                                                                                         \
  struct alignas(sizeof(scalar)) name##3 { scalar x, y, z; };                                                                              \
  struct alignas(align4) name##4 { scalar x, y, z, w; };                                                                                   \
  EMULATOR_INLINE inline name##1 make_##name##1(scalar x) { return {x}; }                                                                  \
  EMULATOR_INLINE inline name##2 make_##name##2(scalar x, scalar y) { return emulator_vector<name##2>(x, y); }                             \
  EMULATOR_INLINE inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }                                        \
  EMULATOR_INLINE inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return emulator_vector<name##4>(x, y, z, w); }

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
