// PTX instructions: ptx.py turns inline assembly into calls of these.
#pragma once
#include "half.h"

EMULATOR_INLINE inline uint32_t __cvta_generic_to_shared(const void* pointer) { return emulator_shared_address(pointer); }
EMULATOR_INLINE inline char* emulator_ptx_shared(uint64_t address) { return emulator_shared_pointer(address); }
EMULATOR_INLINE inline char* emulator_ptx_shared(const void* pointer) { return emulator_shared_pointer(reinterpret_cast<uintptr_t>(pointer)); }
template <typename T>
EMULATOR_INLINE inline char* emulator_ptx_global(T* pointer) { return (char*)pointer; }
EMULATOR_INLINE inline char* emulator_ptx_global(uint64_t address) { return reinterpret_cast<char*>(address); }
EMULATOR_INLINE inline uint32_t emulator_ptx_word(uint32_t bits) { return bits; }
EMULATOR_INLINE inline uint32_t emulator_ptx_word(int bits) { return bits; }
EMULATOR_INLINE inline uint32_t emulator_ptx_word(float value) { return emulator_bits<uint32_t>(value); }

// Products of four bytes each.
template <typename A, typename B>
EMULATOR_INLINE inline int emulator_dot(uint32_t a, uint32_t b, int sum) {
  for (int i = 0; i < 4; ++i) sum += int(A(a >> 8 * i)) * int(B(b >> 8 * i));
  return sum;
}

// Round to TF32: to nearest, ties away from zero.
EMULATOR_INLINE inline uint32_t emulator_tf32(float value) {
  const uint32_t bits = emulator_bits<uint32_t>(value);
  return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & 0xffffe000;
}

// Results first, then sums, as in `mma.sync d, a, b, c`.
template <typename A0, typename A1, typename B0>
EMULATOR_INLINE inline void emulator_ptx_mma_tf32(int line, float& d0, float& d1, float& d2, float& d3, A0 a0, A1 a1, B0 b0, float c0, float c1, float c2, float c3) {
  float c[4] = {c0, c1, c2, c3};
  const uint32_t a[2] = {emulator_ptx_word(a0), emulator_ptx_word(a1)}, b[1] = {emulator_ptx_word(b0)};
  emulator_mma_tf32(c, a, b, 4, line);
  d0 = c[0], d1 = c[1], d2 = c[2], d3 = c[3];
}
template <typename A, typename B>
EMULATOR_INLINE inline void emulator_ptx_mma_tf32(int line, float& d0, float& d1, float& d2, float& d3, A a0, A a1, A a2, A a3, B b0, B b1, float c0, float c1,
                                  float c2, float c3) {
  float c[4] = {c0, c1, c2, c3};
  const uint32_t a[4] = {emulator_ptx_word(a0), emulator_ptx_word(a1), emulator_ptx_word(a2), emulator_ptx_word(a3)};
  const uint32_t b[2] = {emulator_ptx_word(b0), emulator_ptx_word(b1)};
  emulator_mma_tf32(c, a, b, 8, line);
  d0 = c[0], d1 = c[1], d2 = c[2], d3 = c[3];
}
EMULATOR_INLINE inline void emulator_ptx_mma_f16(int line, float& d0, float& d1, float& d2, float& d3, uint32_t a0, uint32_t a1, uint32_t b0, float c0, float c1,
                                 float c2, float c3) {
  float c[4] = {c0, c1, c2, c3};
  const uint32_t a[2] = {a0, a1}, b[1] = {b0};
  emulator_mma_f16(c, a, b, 8, line);
  d0 = c[0], d1 = c[1], d2 = c[2], d3 = c[3];
}
EMULATOR_INLINE inline void emulator_ptx_mma_f16(int line, float& d0, float& d1, float& d2, float& d3, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                 uint32_t b0, uint32_t b1, float c0, float c1, float c2, float c3) {
  float c[4] = {c0, c1, c2, c3};
  const uint32_t a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
  emulator_mma_f16(c, a, b, 16, line);
  d0 = c[0], d1 = c[1], d2 = c[2], d3 = c[3];
}
// Sums in half precision.
template <typename D, typename... Rest>
EMULATOR_INLINE inline void emulator_ptx_mma_f16_sums(int line, D& d0, D& d1, Rest... rest) {
  constexpr int n = sizeof...(rest);
  const uint32_t words[n] = {uint32_t(rest)...};
  float c[4];
  for (int i = 0; i < 4; ++i) c[i] = emulator_from_half(words[n - 2 + i / 2] >> 16 * (i % 2));
  emulator_mma_f16(c, words, words + (n - 2) * 2 / 3, n == 8 ? 16 : 8, line);
  d0 = emulator_to_half(c[0]) | uint32_t(emulator_to_half(c[1])) << 16;
  d1 = emulator_to_half(c[2]) | uint32_t(emulator_to_half(c[3])) << 16;
}

// Bytes: eight rows and 16 terms, or 16 rows and 16 or 32 terms. Their fragments have one word for each eight rows and 16 terms.
template <typename A, typename B>
EMULATOR_INLINE inline void emulator_ptx_mma_bytes(int line, int& d0, int& d1, uint32_t a0, uint32_t b0, int c0, int c1) {
  int c[2] = {c0, c1};
  emulator_mma_bytes(c, &a0, &b0, 8, 16, (A(-1) < 0) + 2 * (B(-1) < 0), line);
  d0 = c[0], d1 = c[1];
}
template <typename A, typename B, typename... Rest>
EMULATOR_INLINE inline void emulator_ptx_mma_bytes(int line, int& d0, int& d1, int& d2, int& d3, Rest... rest) {
  constexpr int n = sizeof...(rest) - 4, a = n * 2 / 3;  // words of both operands, and of the first one
  const uint32_t words[n + 4] = {uint32_t(rest)...};
  int c[4];
  memcpy(c, words + n, sizeof c);
  emulator_mma_bytes(c, words, words + a, 16, a * 8, (A(-1) < 0) + 2 * (B(-1) < 0), line);
  d0 = c[0], d1 = c[1], d2 = c[2], d3 = c[3];
}

template <bool TRANSPOSED, typename... D>
EMULATOR_INLINE inline void emulator_ptx_ldmatrix(int line, const char* row, D&... to) {
  uint32_t loaded[sizeof...(to)];
  emulator_ldmatrix(loaded, sizeof...(to), TRANSPOSED, row, line);
  int i = 0;
  ((to = loaded[i++]), ...);
}

// Several words are one access.
template <typename... T>
EMULATOR_INLINE inline void emulator_ptx_store(char* to, T... values) {
  typedef uint32_t Words __attribute__((vector_size(4 * sizeof...(values))));
  const uint32_t array[] = {emulator_ptx_word(values)...};
  *reinterpret_cast<Words*>(to) = emulator_bits<Words>(array);
}
template <typename... T>
EMULATOR_INLINE inline void emulator_ptx_load(const char* from, T&... to) {
  typedef uint32_t Words __attribute__((vector_size(4 * sizeof...(to))));
  const Words words = *reinterpret_cast<const Words*>(from);
  uint32_t array[sizeof...(to)];
  memcpy(array, &words, sizeof array);
  int i = 0;
  ((to = emulator_bits<T>(array[i++])), ...);
}
EMULATOR_INLINE inline void emulator_ptx_copy(char* to, const char* from, int bytes) { emulator_copy(to, from, bytes, bytes); }
EMULATOR_INLINE inline void emulator_ptx_copy(char* to, const char* from, int bytes, int filled) { emulator_copy(to, from, bytes, filled); }
