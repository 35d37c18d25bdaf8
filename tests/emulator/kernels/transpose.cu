// out (C, R) = in (R, C) transposed, by tiles of 32 x 32, in blocks of (32, 8) threads. With PAD = 1 the rows of a tile
// begin in different banks; with PAD = 0 a column lies in one bank.
#ifndef PAD
#define PAD 1
#endif

extern "C" __global__ void transpose(const float* in, float* out, int R, int C) {
  __shared__ float tile[32][32 + PAD];
  int c = blockIdx.x * 32 + threadIdx.x;
  int r = blockIdx.y * 32 + threadIdx.y;
  for (int i = 0; i < 32; i += 8) {
    if (r + i < R && c < C) tile[threadIdx.y + i][threadIdx.x] = in[(size_t)(r + i) * C + c];
  }
  __syncthreads();
  c = blockIdx.y * 32 + threadIdx.x;
  r = blockIdx.x * 32 + threadIdx.y;
  for (int i = 0; i < 32; i += 8) {
    if (r + i < C && c < R) out[(size_t)(r + i) * R + c] = tile[threadIdx.x][threadIdx.y + i];
  }
}

extern "C" __global__ void transpose_naive(const float* in, float* out, int R, int C) {
  int c = blockIdx.x * 32 + threadIdx.x;
  int r = blockIdx.y * 32 + threadIdx.y;
  for (int i = 0; i < 32; i += 8) {
    if (r + i < R && c < C) out[(size_t)c * R + r + i] = in[(size_t)(r + i) * C + c];
  }
}
