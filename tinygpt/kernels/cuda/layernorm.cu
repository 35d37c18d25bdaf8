// LayerNorm, a warp a row, which is read once and stays in registers; backward computes xhat anew from x.
#include "rows.h"

// A warp normalises one row. x, out: (N, C); w: (C); b: (C) or null.
extern "C" __global__ void __launch_bounds__(256) layernorm_forward(
    const stored* x, const real* w, const real* b, stored* __restrict__ out, int N, int C, real eps) {
  int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= N) return;
  Row v;
  read_row(v, x + (size_t)row * C, C);
  normalise(v, C, eps);
  stretch_and_move(v, w, b, C);
  write_row(out + (size_t)row * C, v, C);
}

// The rows are dealt to all warps of the grid. A warp adds up dw and db over its rows, a block over its warps: what it
// writes, dw[block] and db[block], is its part. x, dout, dx: (N, C); w: (C); dw: (blocks, C); db: (blocks, C) or null.
extern "C" __global__ void __launch_bounds__(256) layernorm_backward(
    const stored* x, const real* w, const stored* dout, stored* __restrict__ dx, real* dw, real* db, int N, int C,
    real eps) {
  extern __shared__ real sums[];  // (warps, 2, C)
  real* own = zero_sums(sums, C);
  int warps = blockDim.x / WARP;
  for (int row = blockIdx.x * warps + threadIdx.x / WARP; row < N; row += gridDim.x * warps) {
    Row xhat, d;
    read_row(xhat, x + (size_t)row * C, C);
    read_row(d, dout + (size_t)row * C, C);
    real rstd = normalise(xhat, C, eps);
    row_backward(d, xhat, rstd, w, own, own + C, C);
    write_row(dx + (size_t)row * C, d, C);
  }
  write_part(sums, dw, db, C);
}
