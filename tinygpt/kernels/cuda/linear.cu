// What a linear layer does beside its products: the bias, and its gradient.
#include "common.h"
#include "columns.h"

// out += b, in each row. A block has 32 columns, and a warp every eighth of its part of the rows; so below.
extern "C" __global__ void add_bias(stored* out, const real* b, size_t size, int C) {
  real bias = column() < C ? b[column()] : 0;
  for (size_t i = first(C); i < size; i += EACH * step(C)) {
    real x[EACH];
    load(x, out, i, size, C);
    for (int k = 0; k < EACH; k++) x[k] += bias;
    store(out, x, i, size, C);
  }
}

// The sums of dout's columns in gridDim.y parts: parts (gridDim.y, C).
extern "C" __global__ void sum_columns(const stored* dout, real* parts, size_t size, int C) {
  __shared__ real of_warps[WARP][WARP];
  real sum = 0;
  for (size_t i = first(C); i < size; i += EACH * step(C)) {
    real x[EACH];
    load(x, dout, i, size, C);
    for (int k = 0; k < EACH; k++) sum += x[k];
  }
  sum = sum_of_warps(sum, of_warps);
  if (threadIdx.y == 0 && column() < C) parts[(size_t)blockIdx.y * C + column()] = sum;
}
