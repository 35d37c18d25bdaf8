// LayerNorm forward, a block a row: each thread sums a strided part of the row, shared memory joins the warps' sums.
#ifndef REAL
#define REAL float
#endif
typedef REAL real;

__device__ inline real block_sum(real x, real* partial) {  // every thread gets the sum over the block
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  real sum = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) sum += partial[warp];
  __syncthreads();  // partial may be used again
  return sum;
}

extern "C" __global__ void layernorm(
    const real* x, const real* w, const real* b, real* out, real* mean, real* rstd, int C, real eps) {
  __shared__ real partial[32];
  extern __shared__ real row[];  // read once from global memory
  size_t start = (size_t)blockIdx.x * C;

  real sum = 0;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    row[c] = x[start + c];
    sum += row[c];
  }
  real m = block_sum(sum, partial) / C;

  real squares = 0;
  for (int c = threadIdx.x; c < C; c += blockDim.x) squares += (row[c] - m) * (row[c] - m);
  real r = rsqrt(block_sum(squares, partial) / C + eps);

  if (threadIdx.x == 0) {
    mean[blockIdx.x] = m;
    rstd[blockIdx.x] = r;
  }
  for (int c = threadIdx.x; c < C; c += blockDim.x) out[start + c] = (row[c] - m) * r * w[c] + b[c];
}
