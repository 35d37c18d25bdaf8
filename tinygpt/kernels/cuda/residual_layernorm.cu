// sum = x + dropout(a), out = layernorm(sum), a warp a row; backward computes xhat anew from sum, and dropout's bits
// anew from their hash. With -DDROPOUT=0 nothing is dropped.
#include "rows.h"

// Dropout of a row of `a`: of token row % T in sequence row / T of a batch that begins with number `first` of all. key:
// finalised; threshold: p * 2^32; scale: 1 / (1 - p).
__device__ inline void drop(
    Row& a, int row, int C, uint64 key, uint64 first, int T, uint32 threshold, real scale) {
  uint64 batch_key = row_key(key, first + row / T);
  uint32 place = (uint32)(row % T) * (uint32)C;
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) a[i] *= kept(batch_key, place + column(i), threshold, scale);
}

__device__ inline void add_row(Row& v, const stored* x, int C) {
  Row u;
  read_row(u, x, C);
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) v[i] += u[i];
}

// A warp adds and normalises one row. x, a, sum, out: (N, C); w: (C); b: (C) or null.
extern "C" __global__ void __launch_bounds__(256) residual_layernorm_forward(
    const stored* x, const stored* a, const real* w, const real* b, stored* __restrict__ sum,
    stored* __restrict__ out, int N, int C, real eps, uint64 key, uint64 first, int T, uint32 threshold, real scale) {
  int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= N) return;
  Row v;
  read_row(v, a + (size_t)row * C, C);
  if (DROPOUT) drop(v, row, C, key, first, T, threshold, scale);
  add_row(v, x + (size_t)row * C, C);
  write_row(sum + (size_t)row * C, v, C);
  normalise(v, C, eps);
  stretch_and_move(v, w, b, C);
  write_row(out + (size_t)row * C, v, C);
}

// As layernorm_backward, with the gradient that reached the sum itself: dx = dsum + layernorm's. dsum: (N, C) or null;
// da: (N, C), and null without dropout, where it is dx.
extern "C" __global__ void __launch_bounds__(256) residual_layernorm_backward(
    const stored* sum, const real* w, const stored* dsum, const stored* dout, stored* __restrict__ dx,
    stored* __restrict__ da, real* dw, real* db, int N, int C, real eps, uint64 key, uint64 first, int T, uint32 threshold, real scale) {
  extern __shared__ real sums[];  // (warps, 2, C)
  real* own = zero_sums(sums, C);
  int warps = blockDim.x / WARP;
  for (int row = blockIdx.x * warps + threadIdx.x / WARP; row < N; row += gridDim.x * warps) {
    Row xhat, d;
    read_row(xhat, sum + (size_t)row * C, C);
    read_row(d, dout + (size_t)row * C, C);
    real rstd = normalise(xhat, C, eps);
    row_backward(d, xhat, rstd, w, own, own + C, C);
    if (dsum) add_row(d, dsum + (size_t)row * C, C);
    write_row(dx + (size_t)row * C, d, C);
    if (DROPOUT) {
      drop(d, row, C, key, first, T, threshold, scale);
      write_row(da + (size_t)row * C, d, C);
    }
  }
  write_part(sums, dw, db, C);
}
