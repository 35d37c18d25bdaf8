// AdamW over a whole flat buffer, with the gradients' norm and their clipping.
//
// A step reads the gradients twice, for their norm and for the update, and all else once: 32 bytes for a parameter in
// float32, the least there is. All buffers are of n numbers, whole packs of 16 bytes.
#include "common.h"
#include "block.h"

constexpr int LOADS = 4;  // packs of 16 bytes that a thread waits for at once

// parts[block] = a part of the sum of dw * dw. A warp holds 32 packs side by side, and again further on; a thread has
// as many sums as it has numbers under way, so that each is of few terms, as in pairwise summation.
extern "C" __global__ void __launch_bounds__(256) sum_squares(const real* dw, real* parts, long long n) {
  __shared__ real of_warps[WARP];
  const long long packs = n / WIDTH, stride = (long long)gridDim.x * blockDim.x;
  const Pack* dw_packs = (const Pack*)dw;
  Pack sums[LOADS] = {};
  for (long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x; first < packs; first += LOADS * stride) {
    Pack g[LOADS] = {};
#pragma unroll
    for (int k = 0; k < LOADS; k++)
      if (first + k * stride < packs) g[k] = dw_packs[first + k * stride];
#pragma unroll
    for (int k = 0; k < LOADS; k++)
      for (int e = 0; e < WIDTH; e++) sums[k].x[e] += g[k].x[e] * g[k].x[e];
  }
  real sum = 0;
#pragma unroll
  for (int k = 0; k < LOADS; k++) {
    real of_pack = 0;
    for (int e = 0; e < WIDTH; e++) of_pack += sums[k].x[e];
    sum += of_pack;
  }
  sum = block_sum(sum, of_warps);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One step of AdamW: w, m and v in place. Every block adds up the parts of the norm for itself, in the same order; a
// warp holds 32 packs side by side of each buffer, and again further on. Weight decay is for the first n_decayed
// numbers, whole packs too. `now` has what changes from step to step: lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step)
// and 1 - lr * weight_decay, so that lr * m_hat is a multiple of m, and v_hat's root one of v's. rest1 and rest2 are
// 1 - beta1 and 1 - beta2, which here would be rounded twice.
extern "C" __global__ void __launch_bounds__(256) adamw(
    real* w, const real* dw, real* m, real* v, const real* parts, int n_parts, const real* now, real* norm, real beta1,
    real rest1, real beta2, real rest2, real eps, real max_norm, long long n, long long n_decayed) {
  __shared__ real of_warps[WARP];
  real sum = 0;
  for (int i = threadIdx.x; i < n_parts; i += blockDim.x) sum += parts[i];
  const real length = sqrt(block_sum(sum, of_warps));
  if (blockIdx.x == 0 && threadIdx.x == 0) *norm = length;
  const real longer = length + (real)1e-6;
  const bool clipped = max_norm > 0 && !(longer <= max_norm);  // so too if it is not a number
  const real scale = clipped ? max_norm / longer : 1;
  const real lr_corrected = now[0], root_correction = now[1], decay = now[2];

  const long long packs = n / WIDTH, stride = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += stride) {
    Pack ws = ((Pack*)w)[i], dws = ((const Pack*)dw)[i], ms = ((Pack*)m)[i], vs = ((Pack*)v)[i];
    const real decay_here = i * WIDTH < n_decayed ? decay : 1;
    for (int k = 0; k < WIDTH; k++) {
      const real g = dws.x[k] * scale;
      ms.x[k] = beta1 * ms.x[k] + rest1 * g;
      vs.x[k] = beta2 * vs.x[k] + rest2 * g * g;
      const real root_v_hat = sqrt(vs.x[k]) * root_correction;
      ws.x[k] = decay_here * ws.x[k] - lr_corrected * ms.x[k] / (root_v_hat + eps);
    }
    ((Pack*)w)[i] = ws;
    ((Pack*)m)[i] = ms;
    ((Pack*)v)[i] = vs;
  }
}
