// cp.async into two buffers, a last block that adds up, and an exchange through shared memory within a warp.
#include <cuda_pipeline.h>

// A block of 64 threads a row, 256 columns at a time.
extern "C" __global__ void row_sums(const float* x, float* out, int C) {
  __shared__ __align__(16) float tile[2][256];
  __shared__ float half[2];
  const float* row = x + (size_t)blockIdx.x * C;
  int t = threadIdx.x;
  int n = C / 256;
  float sum = 0;
  cp_async16(&tile[0][t * 4], row + t * 4);
  cp_commit();
  for (int k = 0; k < n; k++) {
    if (k + 1 < n) cp_async16(&tile[(k + 1) % 2][t * 4], row + (k + 1) * 256 + t * 4);
    cp_commit();
    cp_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += tile[k % 2][(t + 1) % 64 + i * 64];  // what other threads have copied
    __syncthreads();
  }
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (t % 32 == 0) half[t / 32] = sum;
  __syncthreads();
  if (t == 0) out[blockIdx.x] = half[0] + half[1];
}

// The last block to finish adds up what all have found, in a fixed order.
extern "C" __global__ void total(const float* x, float* partial, unsigned* done, float* out, int n) {
  __shared__ bool last;
  float sum = 0;
  for (int i = blockIdx.x * 32 + threadIdx.x; i < n; i += gridDim.x * 32) sum += x[i];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_down_sync(0xffffffffu, sum, distance);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    sum = 0;
    for (int b = 0; b < gridDim.x; b++) sum += partial[b];
    *out = sum;
  }
}

// Each warp reverses its 32 numbers.
extern "C" __global__ void reverse(const float* x, float* out) {
  __shared__ float s[128];
  int i = blockIdx.x * 128 + threadIdx.x;
  int first = threadIdx.x / 32 * 32;
  s[threadIdx.x] = x[i];
  __syncwarp();
  out[i] = s[first + 31 - threadIdx.x % 32];
}

// The rest of a copy is filled with zeros.
extern "C" __global__ void filled(const float* x, float* out) {
  __shared__ __align__(16) float s[4];
  __pipeline_memcpy_async(s, x, 16, 8);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  for (int i = 0; i < 4; i++) out[i] = s[i];
}
