// GELU of x + b both ways, b being of the last axis, or absent. EXACT says which Phi: 0 for the tanh form, 1 for erf.
// Phi is computed anew on the way back: that is cheaper than to read it.
#include "common.h"
#include "columns.h"
#include "gelu.h"

// Phi', phi being Phi(x).
__device__ inline real density(real x, real phi) {
  if (EXACT) return exp(-x * x / 2) * (SQRT_2_OVER_PI / 2);
  real du = SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x);
  return 2 * phi * (1 - phi) * du;
}

// A block has 32 columns, and a warp every eighth of its part of the rows; so in backward.
extern "C" __global__ void gelu_forward(const stored* x, const real* b, stored* out, size_t size, int C) {
  real bias = b && column() < C ? b[column()] : 0;
  for (size_t i = first(C); i < size; i += EACH * step(C)) {
    real h[EACH];
    load(h, x, i, size, C);
    for (int k = 0; k < EACH; k++) {
      h[k] += bias;
      h[k] *= Phi(h[k], EXACT);
    }
    store(out, h, i, size, C);
  }
}

// dx may be dout: a thread has read what it overwrites. parts, (gridDim.y, C) or null, gets the sums of dx over the rows
// that the blocks of each blockIdx.y have; all of them together are b's gradient.
extern "C" __global__ void gelu_backward(
    const stored* dout, const stored* x, const real* b, stored* dx, real* parts, size_t size, int C) {
  __shared__ real of_warps[WARP][WARP];
  real bias = b && column() < C ? b[column()] : 0;
  real sum = 0;
  for (size_t i = first(C); i < size; i += EACH * step(C)) {
    real h[EACH], d[EACH];
    load(h, x, i, size, C);
    load(d, dout, i, size, C);
    for (int k = 0; k < EACH; k++) {
      h[k] += bias;
      real phi = Phi(h[k], EXACT);
      d[k] *= phi + h[k] * density(h[k], phi);
      sum += d[k];
    }
    store(dx, d, i, size, C);
  }
  if (!parts) return;
  sum = sum_of_warps(sum, of_warps);
  if (threadIdx.y == 0 && column() < C) parts[(size_t)blockIdx.y * C + column()] = sum;
}
