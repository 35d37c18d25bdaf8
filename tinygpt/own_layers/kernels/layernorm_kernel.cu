// LayerNorm's forward: out = w * (x - mean(x)) / sqrt(var(x) + eps) + b, with a block for each row.
//
// x, out: (N, C), where N is gridDim.x; w: (C); b: (C) or null; mean, rstd: (N), rstd = 1 / sqrt(var + eps).
// blockDim.x is any multiple of 32 up to 1,024, and C any number, more than blockDim.x or fewer.

// The sum of x over the threads of the block, in every thread. parts: shared memory that no other sum has.
__device__ float block_sum(float x, float* parts) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) sum += parts[warp];
  return sum;
}

extern "C" __global__ void layernorm_forward(const float* x, const float* w, const float* b, float* out, float* mean,
                                             float* rstd, int C, float eps) {
  __shared__ float parts[2][32];
  x += (size_t)blockIdx.x * C;
  out += (size_t)blockIdx.x * C;

  float sum = 0;
  for (int c = threadIdx.x; c < C; c += blockDim.x) sum += x[c];
  float row_mean = block_sum(sum, parts[0]) / C;

  float squares = 0;
  for (int c = threadIdx.x; c < C; c += blockDim.x) squares += (x[c] - row_mean) * (x[c] - row_mean);
  float row_rstd = 1 / sqrtf(block_sum(squares, parts[1]) / C + eps);

  for (int c = threadIdx.x; c < C; c += blockDim.x) out[c] = (x[c] - row_mean) * row_rstd * w[c] + (b ? b[c] : 0);
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = row_mean;
    rstd[blockIdx.x] = row_rstd;
  }
}
