// One new token of each of ROWS sequences through LayerNorm, a linear layer with what surrounds it, and the head: a few
// vectors times a matrix.
//
// Nothing counts but the matrix: each number of it is read once, for all rows. To read 4 TB/s with 0.6 us of latency,
// 132 multiprocessors must each have 19 KB on their way. A block of 1,024 threads with 16 bytes each has 16 KB, and a
// multiprocessor one or two of them (of float64, and of many rows of bfloat16, half of that). In `decode_linear` a block
// has COLUMNS columns, the 32 bytes that memory moves at least, and all I rows of w. So there is no second stage that
// adds up parts, but of GPT-2's narrowest layers, 768 columns, only 96 blocks in float32 and 48 in bfloat16.
#include "common.h"
#include "gelu.h"

constexpr int COLUMNS = 32 / sizeof(stored);
constexpr int DEEP = WARP / COLUMNS;  // rows of w that a warp reads at once
constexpr int EACH = sizeof(stored) == 2 && ROWS > 4 ? 4 : 16 / sizeof(stored);  // numbers of w that a thread waits for
constexpr int WARPS = sizeof(real) == 4 ? 32 : 16;  // of a block at most: what its registers are enough for

enum Activation { NONE, TANH, EXACT };  // the GELU of decode_linear

__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int warp() { return threadIdx.x / WARP; }
__device__ inline int warps() { return blockDim.x / WARP; }

// What LayerNorm finds in a row: `rest` is what rounding left of a mean that is large beside what varies.
struct Moments {
  real mean, rest, rstd;
  __device__ real xhat(real x) const { return (x - mean - rest) * rstd; }
};

// A row's, in every lane of a warp.
__device__ inline Moments moments_of(const stored* x, int C, real eps) {
  real mean = 0, rest = 0, var = 0;
  for (int c = lane(); c < C; c += WARP) mean += (real)x[c];
  mean = warp_sum(mean) / C;
  for (int c = lane(); c < C; c += WARP) rest += (real)x[c] - mean;
  rest = warp_sum(rest) / C;
  for (int c = lane(); c < C; c += WARP) {
    real centred = (real)x[c] - mean - rest;
    var += centred * centred;
  }
  return {mean, rest, 1 / sqrt(warp_sum(var) / C + eps)};
}

// out = layernorm(x, w, b). A block has one row, of which each of its warps finds the moments. x, out: (ROWS, C);
// w: (C); b: (C) or null.
extern "C" __global__ void __launch_bounds__(256) decode_layernorm(
    const stored* x, const real* w, const real* b, stored* out, int C, real eps) {
  x += (size_t)blockIdx.x * C;
  out += (size_t)blockIdx.x * C;
  Moments of = moments_of(x, C, eps);
  for (int c = threadIdx.x; c < C; c += blockDim.x) out[c] = of.xhat(x[c]) * w[c] + (b ? b[c] : (real)0);
}

// out = residual + gelu(layernorm(x) @ w + bias), without layernorm, bias or residual where ln_w, bias or residual are
// null, and without gelu where it is NONE. A block has COLUMNS columns, a warp DEEP rows of w at once, a lane one number
// of them; the warps deal the rows out among them. x: (ROWS, I); ln_w: (I); ln_b: (I) or null; w: (I, O); bias: (O);
// residual, out: (ROWS, O).
extern "C" __global__ void __launch_bounds__(WARPS * WARP, 1) decode_linear(
    const stored* __restrict__ x, const real* __restrict__ ln_w, const real* __restrict__ ln_b, real eps,
    const stored* __restrict__ w, const real* bias, int gelu, const stored* residual, stored* __restrict__ out, int I,
    int O) {
  __shared__ Moments of[ROWS];
  __shared__ real sums[WARPS][ROWS][COLUMNS];
  if (ln_w) {
    for (int b = warp(); b < ROWS; b += warps()) {
      Moments its = moments_of(x + (size_t)b * I, I, eps);
      if (lane() == 0) of[b] = its;
    }
    __syncthreads();
  }
  const int column = blockIdx.x * COLUMNS + lane() % COLUMNS, step = warps() * DEEP;
  real sum[ROWS] = {};
  for (int first = warp() * DEEP + lane() / COLUMNS; first < I && column < O; first += EACH * step) {
    real loaded[EACH];
#pragma unroll
    for (int k = 0, i = first; k < EACH; k++, i += step) loaded[k] = i < I ? (real)w[(size_t)i * O + column] : (real)0;
#pragma unroll
    for (int k = 0, i = first; k < EACH; k++, i += step) {
      if (i >= I) break;
      const real gain = ln_w ? ln_w[i] : (real)1, shift = ln_b ? ln_b[i] : (real)0;
#pragma unroll
      for (int b = 0; b < ROWS; b++) {
        real xi = x[(size_t)b * I + i];
        if (ln_w) xi = of[b].xhat(xi) * gain + shift;
        sum[b] += xi * loaded[k];
      }
    }
  }
  // A column's sum: over the lanes that share it, then over the warps, in their order.
#pragma unroll
  for (int b = 0; b < ROWS; b++) {
    for (int distance = WARP / 2; distance >= COLUMNS; distance /= 2)
      sum[b] += __shfl_xor_sync(ALL_LANES, sum[b], distance);
    if (lane() < COLUMNS) sums[warp()][b][lane()] = sum[b];
  }
  __syncthreads();
  for (int place = threadIdx.x; place < ROWS * COLUMNS; place += blockDim.x) {
    const int b = place / COLUMNS, o = blockIdx.x * COLUMNS + place % COLUMNS;
    if (o >= O) continue;
    real h = 0;
    for (int of_warp = 0; of_warp < warps(); of_warp++) h += sums[of_warp][b][place % COLUMNS];
    if (bias) h += bias[o];
    if (gelu != NONE) h *= Phi(h, gelu == EXACT);
    if (residual) h += (real)residual[(size_t)b * O + o];
    out[(size_t)b * O + o] = h;
  }
}

// logits = x @ w^T. A warp has one row of w. x: (ROWS, C); w: (V, C); logits: (ROWS, V).
extern "C" __global__ void __launch_bounds__(256) decode_head(
    const stored* __restrict__ x, const stored* __restrict__ w, real* __restrict__ logits, int V, int C) {
  const int v = blockIdx.x * warps() + warp();
  if (v >= V) return;
  w += (size_t)v * C;
  real sum[ROWS] = {};
  for (int first = lane(); first < C; first += EACH * WARP) {
    real loaded[EACH];
#pragma unroll
    for (int k = 0, c = first; k < EACH; k++, c += WARP) loaded[k] = c < C ? (real)w[c] : (real)0;
#pragma unroll
    for (int k = 0, c = first; k < EACH; k++, c += WARP) {
      if (c >= C) break;
#pragma unroll
      for (int b = 0; b < ROWS; b++) sum[b] += (real)x[(size_t)b * C + c] * loaded[k];
    }
  }
#pragma unroll
  for (int b = 0; b < ROWS; b++) {
    real logit = warp_sum(sum[b]);
    if (lane() == 0) logits[(size_t)b * V + v] = logit;
  }
}
