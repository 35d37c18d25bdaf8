// Softmax over rows of V scores, a warp a row: lane l has the columns l, l + 32, l + 64 ...
#include "common.h"

// x, out: (N, V). A row of nothing but -inf gives zeros.
extern "C" __global__ void softmax_forward(const real* x, real* out, int N, int V) {
  int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (row >= N) return;
  x += (size_t)row * V;
  out += (size_t)row * V;
  real largest = x[0];
  for (int c = lane; c < V; c += WARP) largest = max(largest, x[c]);
  largest = warp_max(largest);
  if (isinf(largest)) largest = 0;
  real total = 0;
  for (int c = lane; c < V; c += WARP) total += exp(x[c] - largest);
  total = warp_sum(total);
  if (total == 0) total = 1;
  for (int c = lane; c < V; c += WARP) out[c] = exp(x[c] - largest) / total;
}

// dx = out * (dout - sum(dout * out)). dout, out, dx: (N, V).
extern "C" __global__ void softmax_backward(const real* dout, const real* out, real* dx, int N, int V) {
  int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (row >= N) return;
  dout += (size_t)row * V;
  out += (size_t)row * V;
  dx += (size_t)row * V;
  real along = 0;
  for (int c = lane; c < V; c += WARP) along += dout[c] * out[c];
  along = warp_sum(along);
  for (int c = lane; c < V; c += WARP) dx[c] = out[c] * (dout[c] - along);
}
