// One kernel for each thing that the emulator does or finds. Blocks have 64 threads unless a test says otherwise.
#include <cuda.h>
#include <sm_61_intrinsics.h>

extern "C" __global__ void __launch_bounds__(64) reversed(float* __restrict__ x, float* __restrict__ y) {
  __shared__ alignas(64) float tile[64];
  tile[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
}

extern "C" __global__ void no_barrier(float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = tile[63 - threadIdx.x];
}

extern "C" __global__ void overwritten_too_early(float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[63 - threadIdx.x];
  tile[threadIdx.x] = 0;
}

extern "C" __global__ void two_writers(float* y) {
  __shared__ float tile[1];
  tile[0] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = tile[0];
}

extern "C" __global__ void unwritten(float* y) {
  __shared__ float tile[65];
  tile[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x + 1];
}

extern "C" __global__ void kept_from_the_last_block(float* y) {
  __shared__ float tile[64];
  if (blockIdx.x == 0) tile[threadIdx.x] = 1;
  y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void shared_bounds(float* y) {
  __shared__ float tile[64];
  __shared__ float other[64];
  other[threadIdx.x] = 1;
  tile[threadIdx.x + 1] = 1;
  y[threadIdx.x] = other[threadIdx.x];
}

extern "C" __global__ void global_bounds(float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; }

extern "C" __global__ void before_the_start(float* x, float* y) { y[threadIdx.x] = x[(int)threadIdx.x - 1]; }

extern "C" __global__ void far_out(float* x, float* y) { y[threadIdx.x] = x[2000000000]; }

extern "C" __global__ void no_memory(float* x, float* y) { y[threadIdx.x] = ((float*)((size_t)x & 64))[1]; }

extern "C" __global__ void misaligned(float* x, float* y) {
  float4 v = *(float4*)(x + threadIdx.x);
  y[threadIdx.x] = v.x;
}

extern "C" __global__ void register_bounds(float* x, float* y) {
  float r[4];
  for (int i = 0; i < 4; ++i) r[i] = x[i];
  y[threadIdx.x] = r[threadIdx.x];
}

extern "C" __global__ void register_unwritten(float* x, float* y) {
  float r[4];
  for (int i = 0; i < 3; ++i) r[i] = x[i];
  y[threadIdx.x] = r[threadIdx.x & 3];
}

extern "C" __global__ void adds_in_place(float* x, float* y) { y[threadIdx.x] = y[threadIdx.x] + x[threadIdx.x]; }

extern "C" __global__ void blocks_write_one_word(float* y) { y[threadIdx.x] = blockIdx.x; }

extern "C" __global__ void blocks_read_each_other(float* y) {
  y[blockIdx.x * 64 + threadIdx.x] = 1;
  if (blockIdx.x == 1) y[64 + threadIdx.x] += y[threadIdx.x];
}

extern "C" __global__ void threads_exchange_in_global_memory(float* y, float* z) {
  y[threadIdx.x] = threadIdx.x;
  __syncthreads();
  z[threadIdx.x] = y[63 - threadIdx.x];
}

extern "C" __global__ void threads_exchange_without_barrier(float* y, float* z) {
  y[threadIdx.x] = threadIdx.x;
  z[threadIdx.x] = y[63 - threadIdx.x];
}

extern "C" __global__ void some_end_early(float* y) {
  if (threadIdx.x >= 32) return;
  __syncthreads();
  y[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(float* y) {
  if (threadIdx.x >= 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}

extern "C" __global__ void shuffles(float* x, float* y) {
  float sum = x[threadIdx.x];
  for (int lane = 16; lane > 0; lane >>= 1) sum += __shfl_xor_sync(0xffffffff, sum, lane);
  float down = x[threadIdx.x];
  for (int lane = 16; lane > 0; lane >>= 1) down += __shfl_down_sync(0xffffffff, down, lane, 32);
  y[threadIdx.x] = sum;
  y[64 + threadIdx.x] = __shfl_sync(0xffffffff, down, 0);
  y[128 + threadIdx.x] = __shfl_up_sync(0xffffffff, x[threadIdx.x], 1, 8);
  y[192 + threadIdx.x] = __popc(__ballot_sync(0xffffffff, x[threadIdx.x] > 0)) + 100 * __any_sync(0xffffffff, threadIdx.x == 40) +
                         200 * __all_sync(0xffffffff, threadIdx.x < 64);
}

extern "C" __global__ void half_of_a_warp_shuffles(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffffff, (float)threadIdx.x, 1);
}

extern "C" __global__ void shuffle_from_outside_of_the_mask(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffff, (float)threadIdx.x, 16);
}

extern "C" __global__ void warp_exchange(float* y) {
  __shared__ float tile[64];
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = threadIdx.x + round;
    __syncwarp();
    y[threadIdx.x] = tile[threadIdx.x ^ 31];
    __syncwarp();
  }
}

extern "C" __global__ void warp_exchange_without_barrier(float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = threadIdx.x;
  y[threadIdx.x] = tile[threadIdx.x ^ 31];
}

extern "C" __global__ void warps_exchange_by_warp_barrier(float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = threadIdx.x;
  __syncwarp();
  y[threadIdx.x] = tile[threadIdx.x ^ 63];
}

extern "C" __global__ void one_lane_writes_what_its_warp_has_read(float* y) {
  __shared__ float words[2];
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) words[warp] = 1;
  __syncthreads();
  y[threadIdx.x] = words[warp];
  __syncwarp();
  if (threadIdx.x % 32 == 7) words[warp] = 2;
  __syncwarp();
  y[64 + threadIdx.x] = words[warp];
}

extern "C" __global__ void one_lane_writes_what_its_warp_reads(float* y) {
  __shared__ float words[2];
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) words[warp] = 1;
  __syncthreads();
  y[threadIdx.x] = words[warp];
  if (threadIdx.x % 32 == 7) words[warp] = 2;
}

extern "C" __global__ void one_lane_writes_what_both_warps_have_read(float* y) {
  __shared__ float word[1];
  if (threadIdx.x == 0) word[0] = 1;
  __syncthreads();
  y[threadIdx.x] = word[0];
  __syncwarp();
  if (threadIdx.x == 7) word[0] = 2;
}

extern "C" __global__ void atomics(float* x, float* y) {
  __shared__ float sum[1];
  if (threadIdx.x == 0) sum[0] = 0;
  __syncthreads();
  atomicAdd(&sum[0], x[blockIdx.x * 64 + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(y, sum[0]);
}

extern "C" __global__ void atomic_beside_a_store(float* y) {
  __shared__ float sum[1];
  if (threadIdx.x == 0) sum[0] = 0;
  atomicAdd(sum, 1.0f);
  __syncthreads();
  y[threadIdx.x] = sum[0];
}

__forceinline__ __device__ void copy_16(void* to, const void* from, int bytes) {
  unsigned int address = __cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}
__forceinline__ __device__ void commit() { asm volatile("cp.async.commit_group;"); }
__forceinline__ __device__ void wait_for_all_but_one() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
__forceinline__ __device__ void wait_for_all() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

extern "C" __global__ void asynchronous(float* x, float* y) {  // y: x, zeros, and half of each four
  extern __shared__ uchar buffer[];
  float* tile = (float*)buffer;
  copy_16(tile + threadIdx.x * 4, x + threadIdx.x * 4, 16);
  commit();
  copy_16(tile + 256 + threadIdx.x * 4, x + threadIdx.x * 4, 0);
  copy_16(tile + 512 + threadIdx.x * 4, x + threadIdx.x * 4, 8);
  commit();
  wait_for_all_but_one();
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += 64) y[i] = tile[255 - i];
  wait_for_all();
  __syncthreads();
  for (int i = 256 + threadIdx.x; i < 768; i += 64) y[i] = tile[i];
}

extern "C" __global__ void asynchronous_too_early(float* x, float* y) {
  __shared__ float tile[512];
  copy_16(tile + threadIdx.x * 4, x + threadIdx.x * 4, 16);
  commit();
  copy_16(tile + 256 + threadIdx.x * 4, x + threadIdx.x * 4, 16);
  commit();
  wait_for_all_but_one();
  __syncthreads();
  y[threadIdx.x] = tile[256 + threadIdx.x];
}

extern "C" __global__ void asynchronous_without_barrier(float* x, float* y) {
  __shared__ float tile[256];
  copy_16(tile + threadIdx.x * 4, x + threadIdx.x * 4, 16);
  commit();
  wait_for_all();
  y[threadIdx.x] = tile[255 - threadIdx.x];
}

extern "C" __global__ void asynchronous_over_what_is_read(float* x, float* y) {
  __shared__ float tile[256];
  copy_16(tile + threadIdx.x * 4, x + threadIdx.x * 4, 16);
  commit();
  wait_for_all();
  __syncthreads();
  y[threadIdx.x] = tile[255 - threadIdx.x];
  copy_16(tile + threadIdx.x * 4, x + threadIdx.x * 4, 16);
}

extern "C" __global__ void predicated_copy(float* x, float* y) {
  __shared__ float tile[256];
  unsigned int address = __cvta_generic_to_shared(tile + threadIdx.x * 4);
  __asm__ __volatile__(
      "{\n"
      " .reg .pred p;\n"
      " setp.eq.u32 p, %3, 1;\n"
      " @p cp.async.cg.shared.global [%0], [%1], %2;\n"
      " @!p st.shared.v4.u32 [%0], {%4, %4, %4, %4};\n"
      "}\n" ::"r"(address), "l"(x + threadIdx.x * 4), "n"(16), "r"((int)(threadIdx.x % 2 == 0)), "r"(0));
  commit();
  wait_for_all();
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += 64) y[i] = tile[i];
}

__device__ const float TABLE[4] = {1, 2, 3, 4};

extern "C" __global__ void arithmetic(float* x, float* y) {
  const float v = __ldg(x + threadIdx.x);
  int4 indices = make_int4(0, 1, 2, 3);
  float2 pair = make_float2(__expf(v), rsqrtf(fabsf(v) + 1));
  *(float4*)(y + threadIdx.x * 4) = make_float4(pair.x, pair.y, max(v, 0.0f), TABLE[threadIdx.x % 4] + indices.w);
}

__device__ float4 four_of(float first) {
  float4 v;
  v.x = first;
  v.y = first + 1;
  v.z = first + 2;
  v.w = first + 3;
  return v;
}

extern "C" __global__ void structs_are_returned(float* y) {
  __shared__ float4 tile[64];
  float4 own[2];
  tile[threadIdx.x] = four_of(threadIdx.x);
  own[1] = four_of(threadIdx.x * 100);
  own[0] = own[1];
  __syncthreads();
  *(float4*)(y + threadIdx.x * 8) = tile[63 - threadIdx.x];
  *(float4*)(y + threadIdx.x * 8 + 4) = own[0];
}

__device__ float4 ones() { return make_float4(1, 1, 1, 1); }
__device__ float4 zeros() {
  float4 v = {0, 0, 0, 0};
  return v;
}

extern "C" __global__ void constants(float* y) {
  __shared__ float4 tile[64];
  float4 own[3];
  float2 pair[2];
  tile[threadIdx.x] = make_float4(0, 0, 0, 0);
  own[0] = ones();
  own[1] = zeros();
  own[2] = {2, 2, 2, 2};
  pair[0] = make_float2(3, 3);
  pair[1] = float2{4, 4};
  __syncthreads();
  *(float4*)(y + threadIdx.x * 16) = tile[63 - threadIdx.x];
  *(float4*)(y + threadIdx.x * 16 + 4) = own[0];
  *(float4*)(y + threadIdx.x * 16 + 8) = own[1];
  *(float2*)(y + threadIdx.x * 16 + 12) = pair[0];
  y[threadIdx.x * 16 + 14] = own[2].x;
  y[threadIdx.x * 16 + 15] = pair[1].y;
}

extern "C" __global__ void constants_out_of_bounds(float* y) { *(float4*)(y + threadIdx.x * 4 + 4) = make_float4(0, 0, 0, 0); }

extern "C" __global__ void bytes(int* x, int* y) {
  int sum;
  asm volatile("dp4a.s32.u32 %0, %1, %2, %3;" : "=r"(sum) : "r"(x[threadIdx.x]), "r"(x[64 + threadIdx.x]), "r"(1));
  y[threadIdx.x] = sum;
  y[64 + threadIdx.x] = __dp4a(x[threadIdx.x], x[64 + threadIdx.x], 2);
}

extern "C" __global__ void added(float* a, float* b, float* y) { y[threadIdx.x] = a[threadIdx.x] + b[threadIdx.x]; }

extern "C" __global__ void nothing() {}

extern "C" __global__ void too_much_shared_memory(float* y) {
  __shared__ float first[8192];
  __shared__ float second[4097];
  first[threadIdx.x] = second[threadIdx.x] = 1;
  y[threadIdx.x] = first[threadIdx.x] + second[threadIdx.x];
}

extern "C" __global__ void misaligned_registers(float* x, float* y) {
  float r[8];
  for (int i = 0; i < 8; ++i) r[i] = x[i];
  float2 v = *(float2*)(r + 1);
  y[threadIdx.x] = v.x + v.y;
}

extern "C" __global__ void parts_of_vectors(float* x, float* y) {
  float4 v[1];
  v[0].x = x[threadIdx.x];
  v[0].w = 1;
  ((float*)v)[1] = 2;
  y[threadIdx.x] = v[0].x + ((float2*)v)[0].y + v[0].z;
}

extern "C" __global__ void positions(int* y) {
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  y[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = 1000 * block + thread;
}
