// A row of C numbers that one warp holds: lane l has the columns l, l + 32, l + 64 ... in its registers v[0], v[1],
// v[2] ..., so that neighbouring lanes read neighbouring numbers, and a row is read once, whatever is computed of it.
// There is room for PER_LANE * 32 >= C numbers; those beyond C are 0, so that sums may count them in.
#pragma once
#include "common.h"

typedef real Row[PER_LANE];

__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int column(int i) { return lane() + WARP * i; }

// Whether column(i) < C, so written that each i takes a comparison with a constant, and not a register of its own too.
__device__ inline bool is_column(int i, int C) { return WARP * i < C - lane(); }

__device__ inline void read_row(Row& v, const stored* x, int C) {
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) v[i] = is_column(i, C) ? (real)x[column(i)] : 0;
}

__device__ inline void write_row(stored* __restrict__ x, const Row& v, int C) {
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) {
    if (is_column(i, C)) x[column(i)] = v[i];
  }
}

__device__ inline real mean_of(const Row& v, int C) {
  real sum = 0;
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) sum += v[i];
  return warp_sum(sum) / C;
}

__device__ inline real mean_of_products(const Row& v, const Row& u, int C) {
  real sum = 0;
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) sum += v[i] * u[i];
  return warp_sum(sum) / C;
}

__device__ inline void subtract_mean(Row& v, int C) {
  real mean = mean_of(v, C);
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) {
    if (is_column(i, C)) v[i] -= mean;
  }
}

// x becomes xhat = (x - mean(x)) * rstd. Returns rstd = 1 / sqrt(var(x) + eps).
__device__ inline real normalise(Row& x, int C, real eps) {
  subtract_mean(x, C);
  subtract_mean(x, C);  // what rounding left of a mean that is large beside the rest
  real var = mean_of_products(x, x, C);
  real rstd = 1 / sqrt(var + eps);
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) x[i] *= rstd;
  return rstd;
}

// out = xhat * w + b; b may be null.
__device__ inline void stretch_and_move(Row& xhat, const real* w, const real* b, int C) {
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) {
    if (is_column(i, C)) xhat[i] = xhat[i] * w[column(i)] + (b ? b[column(i)] : (real)0);
  }
}

// dout becomes dx. On the way the row's share is added to dw and db, sums of this warp alone, each lane's columns to
// its own.
__device__ inline void row_backward(Row& dout, const Row& xhat, real rstd, const real* w, real* dw, real* db, int C) {
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) {
    if (is_column(i, C)) {
      dw[column(i)] += dout[i] * xhat[i];
      db[column(i)] += dout[i];
      dout[i] *= w[column(i)];
    }
  }
  Row& dxhat = dout;
  real mean = mean_of(dxhat, C);
  real along = mean_of_products(dxhat, xhat, C);
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) dxhat[i] = rstd * (dxhat[i] - mean - xhat[i] * along);
}

// The sums of a block's warps, which have C of dw and C of db each, warp after warp in `sums`.
__device__ inline real* zero_sums(real* sums, int C) {
  real* own = sums + 2 * C * (threadIdx.x / WARP);
  for (int c = lane(); c < 2 * C; c += WARP) own[c] = 0;
  __syncwarp();
  return own;
}

// The block's part of dw and of db, which may be null: its warps' sums, in their order.
__device__ inline void write_part(const real* sums, real* dw, real* db, int C) {
  __syncthreads();
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    real dw_sum = 0, db_sum = 0;
    for (int warp = 0; warp < blockDim.x / WARP; warp++) {
      dw_sum += sums[2 * C * warp + c];
      db_sum += sums[2 * C * warp + C + c];
    }
    dw[(size_t)blockIdx.x * C + c] = dw_sum;
    if (db) db[(size_t)blockIdx.x * C + c] = db_sum;
  }
}
