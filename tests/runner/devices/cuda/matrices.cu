// One warp. Fragments as in the PTX manual: lane 4 g + t.
#include <cuda_fp16.h>
#include <mma.h>

__device__ unsigned bits(float value) { return __float_as_uint(value); }
__device__ unsigned pair(const half* from) { return *(const unsigned*)from; }

extern "C" __global__ void tf32_k8(float* a, float* b, float* c) {  // 16 x 8, 8 x 8, 16 x 8
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  float d[4];
  d[0] = c[g * 8 + 2 * t], d[1] = c[g * 8 + 2 * t + 1], d[2] = c[(g + 8) * 8 + 2 * t], d[3] = c[(g + 8) * 8 + 2 * t + 1];
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(bits(a[g * 8 + t])), "r"(bits(a[(g + 8) * 8 + t])), "r"(bits(a[g * 8 + t + 4])), "r"(bits(a[(g + 8) * 8 + t + 4])),
        "r"(bits(b[t * 8 + g])), "r"(bits(b[(t + 4) * 8 + g])));
  c[g * 8 + 2 * t] = d[0], c[g * 8 + 2 * t + 1] = d[1], c[(g + 8) * 8 + 2 * t] = d[2], c[(g + 8) * 8 + 2 * t + 1] = d[3];
}

extern "C" __global__ void tf32_k4_rounded(float* a, float* b, float* c) {  // 16 x 4, 4 x 8, 16 x 8
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  unsigned a0, a1, b0;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(a0) : "f"(a[g * 4 + t]));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(a1) : "f"(a[(g + 8) * 4 + t]));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(b0) : "f"(b[t * 8 + g]));
  float d0, d1, d2, d3;
  asm volatile("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};\n"
               : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)
               : "r"(a0), "r"(a1), "r"(b0), "f"(0.0f), "f"(0.0f), "f"(0.0f), "f"(0.0f));
  *(float2*)(c + g * 8 + 2 * t) = make_float2(d0, d1);
  *(float2*)(c + (g + 8) * 8 + 2 * t) = make_float2(d2, d3);
}

extern "C" __global__ void f16_k16(half* a, half* b, float* c) {  // 16 x 16; the transposed 8 x 16; 16 x 8
  __shared__ alignas(16) half rows[256];
  __shared__ alignas(16) half columns[128];
  for (int i = threadIdx.x; i < 256; i += 32) rows[i] = a[i];
  for (int i = threadIdx.x; i < 128; i += 32) columns[i] = b[i];
  __syncthreads();
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  unsigned x[4], y[2];
  unsigned from = (unsigned)__cvta_generic_to_shared(rows + lane % 16 * 16 + lane / 16 * 8);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(from));
  from = (unsigned)__cvta_generic_to_shared(columns + lane % 8 * 16 + lane / 8 % 2 * 8);
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(y[0]), "=r"(y[1]) : "r"(from));
  float d[4] = {0, 0, 0, 0};
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

extern "C" __global__ void f16_k8_half_sums(half* a, half* b, half* c) {  // 16 x 8; 8 x 8; 16 x 8
  __shared__ alignas(16) half second[64];
  for (int i = threadIdx.x; i < 64; i += 32) second[i] = b[i];
  __syncthreads();
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  unsigned y, d0, d1;
  const unsigned from = (unsigned)__cvta_generic_to_shared(second + lane % 8 * 8);
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(y) : "r"(from));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3}, {%4}, {%5,%6};"
               : "=r"(d0), "=r"(d1)
               : "r"(pair(a + g * 8 + 2 * t)), "r"(pair(a + (g + 8) * 8 + 2 * t)), "r"(y), "r"(0), "r"(0));
  *(unsigned*)(c + g * 8 + 2 * t) = d0;
  *(unsigned*)(c + (g + 8) * 8 + 2 * t) = d1;
}

extern "C" __global__ void whole_matrices(half* a, half* b, float* c) {  // 16 x 16 each, the second one by columns
  using namespace nvcuda::wmma;
  fragment<accumulator, 16, 16, 16, float> sums;
  fragment<matrix_a, 16, 16, 16, half, row_major> first;
  fragment<matrix_b, 16, 16, 16, half, col_major> second;
  fill_fragment(sums, 1.0f);
  load_matrix_sync(first, a, 16);
  load_matrix_sync(second, b, 16);
  mma_sync(sums, first, second, sums);
  store_matrix_sync(c, sums, 16, mem_row_major);
}

extern "C" __global__ void to_half(float* x, half* y) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  y[i] = __float2half_rn(x[i]);
}

extern "C" __global__ void from_half(half* x, float* y) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  y[i] = __half2float(x[i]);
}

extern "C" __global__ void half_constants(half* y) {
  __shared__ half tile[32];
  __shared__ half2 pairs[32];
  half own[2];
  own[0] = __float2half_rn(0.0f);
  own[1] = half(1);
  tile[threadIdx.x] = __float2half_rn(2.0f);
  pairs[threadIdx.x] = __float2half2_rn(3.0f);
  __syncthreads();
  y[threadIdx.x] = own[0] + own[1] + tile[31 - threadIdx.x] + pairs[31 - threadIdx.x].y;
}

extern "C" __global__ void neighbours(half* x, half* y) {  // each thread writes half of a word
  __shared__ half tile[32];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[31 - threadIdx.x] + tile[threadIdx.x];
}
