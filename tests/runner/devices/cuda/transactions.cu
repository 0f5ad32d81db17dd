extern "C" __global__ void strided(int* stride, float* x, float* y) {  // stride[0]: of shared memory; [1], [2]: stride and start in global memory
  __shared__ float tile[1056];
  const int lane = threadIdx.x;
  for (int i = lane; i < 1056; i += 32) tile[i] = 0;
  __syncthreads();
  const float v = tile[lane * stride[0]];
  y[lane] = v + x[lane * stride[1] + stride[2]];
}

extern "C" __global__ void vectors(float* x, float* y) {
  __shared__ alignas(16) float4 tile[32];
  __shared__ alignas(8) float2 pairs[32];
  tile[threadIdx.x] = *(float4*)(x + threadIdx.x * 4);
  pairs[threadIdx.x] = make_float2(1, 2);
  __syncthreads();
  *(float4*)(y + threadIdx.x * 4) = tile[threadIdx.x / 8 * 8];
  y[128 + threadIdx.x] = pairs[threadIdx.x ^ 1].x;
}

extern "C" __global__ void half_of_the_lanes(float* x, float* y) {
  if (threadIdx.x % 2 == 0)
    for (int i = 0; i < 3; ++i) y[threadIdx.x + 32 * i] = x[threadIdx.x];
}

extern "C" __global__ void rows(float* x, float* y) {
  y[blockIdx.x * 32 + threadIdx.x] = x[threadIdx.x];
}
