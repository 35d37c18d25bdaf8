// Attention of one new token over all before it, which `decode` in `tinygpt/layers/attention.py` defines; its key and
// value are stored on the way.
//
// A block has one head of one sequence, a warp every WARPS-th group of AT_ONCE positions, whose keys and values it has
// on their way together: of GPT-2's heads in float32 a block 32 KB, more than a multiprocessor's share of the bandwidth
// asks for (19 KB of a card with 4 TB/s), as with few sequences not all multiprocessors have a block.
#include "common.h"

constexpr int WARPS = 16;
constexpr int WIDE = 32 / sizeof(real);  // numbers of keys that a thread has on their way, and as many of values
constexpr int AT_ONCE = PER_LANE < WIDE ? WIDE / PER_LANE : 1;
constexpr real LOWEST = sizeof(real) == 4 ? -3e38 : -1e308;  // where a maximum begins

// A head's D numbers, over the lanes of a warp: lane l has l, l + 32, l + 64 ..., and 0 beyond D.
__device__ inline void load(real (&x)[PER_LANE], const stored* row, int D) {
#pragma unroll
  for (int j = 0; j < PER_LANE; j++) {
    const int d = threadIdx.x % WARP + WARP * j;
    x[j] = d < D ? (real)row[d] : (real)0;
  }
}

// out = softmax(q k^T * scale) v over the positions 0 .. start. qkv: (B, 3, H, D); keys, values: (B, H, S, D), which get
// the new ones at `start`; out: (B, H, D). Nobody reads that place: the new key and value are read from qkv.
extern "C" __global__ void __launch_bounds__(WARPS * WARP, 1) decode_attention(
    const stored* qkv, stored* keys, stored* values, stored* __restrict__ out, int start, int H, int S, int D,
    real scale) {
  __shared__ real tops[WARPS], totals[WARPS], outs[WARPS][PER_LANE * WARP];
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, b = blockIdx.x / H, h = blockIdx.x % H;
  const stored* query = qkv + ((size_t)b * 3 * H + h) * D;
  const stored *new_key = query + (size_t)H * D, *new_value = new_key + (size_t)H * D;
  keys += (size_t)blockIdx.x * S * D;
  values += (size_t)blockIdx.x * S * D;
  for (int d = threadIdx.x; d < D; d += WARPS * WARP) {
    keys[(size_t)start * D + d] = new_key[d];
    values[(size_t)start * D + d] = new_value[d];
  }

  real q[PER_LANE], o[PER_LANE] = {}, top = LOWEST, total = 0;
  load(q, query, D);
  for (int first = warp * AT_ONCE; first <= start; first += WARPS * AT_ONCE) {
    real k[AT_ONCE][PER_LANE], v[AT_ONCE][PER_LANE], score[AT_ONCE], higher = top;
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const int s = min(first + i, start);  // beyond start: once more, with no weight
      load(k[i], s == start ? new_key : keys + (size_t)s * D, D);
      load(v[i], s == start ? new_value : values + (size_t)s * D, D);
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      real sum = 0;
#pragma unroll
      for (int j = 0; j < PER_LANE; j++) sum += q[j] * k[i][j];
      score[i] = warp_sum(sum) * scale;
      higher = max(higher, score[i]);
    }
    const real shrink = exp(top - higher);  // a new maximum: what was added up is corrected
    top = higher;
    total *= shrink;
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) o[j] *= shrink;
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (first + i > start) break;
      const real weight = exp(score[i] - top);
      total += weight;
#pragma unroll
      for (int j = 0; j < PER_LANE; j++) o[j] += weight * v[i][j];
    }
  }

  // The warps' parts, in their order.
  if (lane == 0) {
    tops[warp] = top;
    totals[warp] = total;
  }
#pragma unroll
  for (int j = 0; j < PER_LANE; j++) outs[warp][lane + WARP * j] = o[j];
  __syncthreads();
  for (int d = threadIdx.x; d < D; d += WARPS * WARP) {
    real highest = tops[0], sum = 0, x = 0;
    for (int of_warp = 1; of_warp < WARPS; of_warp++) highest = max(highest, tops[of_warp]);
    for (int of_warp = 0; of_warp < WARPS; of_warp++) {
      const real shrink = exp(tops[of_warp] - highest);
      sum += totals[of_warp] * shrink;
      x += outs[of_warp][d] * shrink;
    }
    out[(size_t)blockIdx.x * D + d] = x / sum;
  }
}
