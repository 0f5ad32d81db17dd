// Matrices of a warp (nvcuda::wmma). Which lane holds which element is the hardware's secret: here lane l holds the l-th part of the rows.
#pragma once
#include "cuda_fp16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32;
}

template <typename T>
struct EmulatorElement {
  typedef T type;
  static float read(T value) { return float(value); }
};
template <>
struct EmulatorElement<precision::tf32> {
  typedef float type;
  static float read(float value) { return emulator_bits<float>(emulator_bits<uint32_t>(value) & 0xffffe000); }
};

template <typename Use, int M, int N, int K, typename T, typename Layout = void>
struct fragment {
  typedef typename EmulatorElement<T>::type element;
  static constexpr int rows = std::is_same<Use, matrix_b>::value ? K : M, columns = std::is_same<Use, matrix_a>::value ? K : N;
  static constexpr int num_elements = rows * columns / 32;
  element x[num_elements];
  static constexpr bool by_columns = std::is_same<Layout, col_major>::value;
};

EMULATOR_INLINE inline int emulator_lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32; }

// Where element i of a lane lies in memory.
template <typename F>
EMULATOR_INLINE inline long emulator_offset(int i, unsigned stride, bool by_columns) {
  const int number = emulator_lane() * F::num_elements + i, row = number / F::columns, column = number % F::columns;
  return by_columns ? long(column) * stride + row : long(row) * stride + column;
}

template <typename F, typename V>
EMULATOR_INLINE inline void fill_fragment(F& to, V value) {
  for (auto& x : to.x) x = typename F::element(value);
}
template <typename F, typename P>
EMULATOR_INLINE inline void load_matrix_sync(F& to, const P* from, unsigned stride) {
  for (int i = 0; i < F::num_elements; ++i) to.x[i] = from[emulator_offset<F>(i, stride, F::by_columns)];
}
template <typename F, typename P>
EMULATOR_INLINE inline void load_matrix_sync(F& to, const P* from, unsigned stride, layout_t layout) {
  for (int i = 0; i < F::num_elements; ++i) to.x[i] = from[emulator_offset<F>(i, stride, layout == mem_col_major)];
}
template <typename P, typename F>
EMULATOR_INLINE inline void store_matrix_sync(P* to, const F& from, unsigned stride, layout_t layout) {
  for (int i = 0; i < F::num_elements; ++i) to[emulator_offset<F>(i, stride, layout == mem_col_major)] = from.x[i];
}

template <int M, int N, int K, typename TD, typename TA, typename LA, typename TB, typename LB, typename TC>
EMULATOR_INLINE inline void mma_sync(fragment<accumulator, M, N, K, TD>& d, const fragment<matrix_a, M, N, K, TA, LA>& a, const fragment<matrix_b, M, N, K, TB, LB>& b,
                     const fragment<accumulator, M, N, K, TC>& c) {
  float fa[M * K / 32], fb[K * N / 32], sums[M * N / 32];
  for (int i = 0; i < M * K / 32; ++i) fa[i] = EmulatorElement<TA>::read(a.x[i]);
  for (int i = 0; i < K * N / 32; ++i) fb[i] = EmulatorElement<TB>::read(b.x[i]);
  for (int i = 0; i < M * N / 32; ++i) sums[i] = float(c.x[i]);
  emulator_wmma(sums, fa, fb, M, N, K, -1);  // no line of the source
  for (int i = 0; i < M * N / 32; ++i) d.x[i] = TD(sums[i]);
}

}  // namespace wmma
}  // namespace nvcuda
