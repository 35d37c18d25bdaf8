// Causal attention without its (T, T) arrays: scores and weights exist a tile at a time, in registers. Dao,
// "FlashAttention-2", 2023 (arXiv:2307.08691); beside the lines stands what they are in `tinygpt/layers/attention.py`.
//
// A block takes ROWS queries, in the last kernel ROWS keys, of one head of one sequence; the keys, or queries, that
// those meet pass by in tiles of COLUMNS. Heads are read where they lie in qkv, (B, T, 3, H, D), and out, (B, T, H, D).
// The backward pass is two kernels that compute the weights once more each: so nothing is added up in a changing order.
#include "common.h"
#include "tiles.h"

constexpr real LOWEST = (real)-3e38;  // a masked score, whose weight is exp(LOWEST - highest), 0

// e^x for x <= 0. A card's quick one is off by 2 + 1.2 |x| in the last place: by least where a weight is large.
__device__ inline float quick_exp(float x) { return __expf(x); }
__device__ inline double quick_exp(double x) { return exp(x); }

// Which head of which sequence a block is for, and where its rows are in the arrays.
struct Head {
  int b, h, T, H, D;
  __device__ Head(int T, int H, int D) : b(blockIdx.x / H), h(blockIdx.x % H), T(T), H(H), D(D) {}
  __device__ Rows packed(const real* qkv, int part) const {  // (B, T, 3, H, D)
    return {(real*)qkv + ((size_t)b * T * 3 * H + part * H + h) * D, (size_t)3 * H * D, D};
  }
  __device__ Rows plain(const real* out) const {  // (B, T, H, D)
    return {(real*)out + ((size_t)b * T * H + h) * D, (size_t)H * D, D};
  }
  __device__ size_t row(int t) const { return (size_t)blockIdx.x * T + t; }  // of weights, in (B, H, T)
};

// What dropout multiplies a head's weight (t, s) by: keep / (1 - dropout).
struct Keep {
  uint64 key;
  uint32 first, T, threshold;
  real scale;
  __device__ Keep(const Head& head, uint64 key, uint64 row, uint32 threshold, real scale)
      : key(row_key(key, row + head.b)), first((uint32)head.h * head.T * head.T), T(head.T), threshold(threshold),
        scale(scale) {}
  __device__ real operator()(int t, int s) const { return kept(key, first + t * T + s, threshold, scale); }
};

// out = softmax(q k^T * scale) v. A tile may raise a row's highest score so far; then what was added up is corrected.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_forward(
    const real* qkv, real* out, real* highest, real* total, int T, int H, int D, real scale, uint64 key, uint64 row,
    uint32 threshold, real keep_scale) {
  extern __shared__ __align__(16) real shared[];
  real *q = shared, *k = q + ROWS * STRIDE, *v = k + COLUMNS * STRIDE, *scratch = v + COLUMNS * STRIDE;
  const Head head(T, H, D);
  const Keep keep(head, key, row, threshold, keep_scale);
  const int t0 = (gridDim.y - 1 - blockIdx.y) * ROWS, first = t0 + first_row();  // those with most keys begin
  real o[R][CHANNELS] = {}, top[R], sum[R] = {};
  EACH(i, R) top[i] = LOWEST;
  load<ROWS>(q, head.packed(qkv, 0), t0, T);
  for (int s0 = 0; s0 < min(t0 + ROWS, T); s0 += COLUMNS) {
    __syncthreads();  // the tiles before have been read
    load<COLUMNS>(k, head.packed(qkv, 1), s0, T);
    load<COLUMNS>(v, head.packed(qkv, 2), s0, T);
    __syncthreads();
    if (s0 >= first + WARP_ROWS) continue;  // later than all of this warp's queries
    real weights[R][C] = {};
    product_nt(weights, q, k);  // scores = q k^T * scale
    EACH(i, R) EACH(j, C) weights[i][j] *= scale;
    if (s0 + COLUMNS - 1 > first)
      EACH(i, R) EACH(j, C) if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = LOWEST;
    EACH(i, R) {
      real higher = top[i];
      EACH(j, C) higher = max(higher, weights[i][j]);
      higher = row_max(higher);
      const real shrink = quick_exp(top[i] - higher);
      top[i] = higher;
      sum[i] *= shrink;
      EACH(c, CHANNELS) o[i][c] *= shrink;
      EACH(j, C) sum[i] += weights[i][j] = quick_exp(weights[i][j] - higher);  // exps = exp(scores - max(scores))
    }
    if (DROPOUT) EACH(i, R) EACH(j, C) weights[i][j] *= keep(t0 + row_of(i), s0 + column_of(j));
    product_nn(o, weights, scratch, v);  // exps v
  }
  EACH(i, R) {
    const int t = t0 + row_of(i);
    sum[i] = row_sum(sum[i]);
    const real inverse = 1 / sum[i];
    EACH(c, CHANNELS) o[i][c] *= inverse;  // out = exps / sum(exps) v
    if (t < T && member() == 0) highest[head.row(t)] = top[i], total[head.row(t)] = sum[i];
  }
  store(head.plain(out), t0, T, o);
}

// dq = dscores k, and delta, the sum of dweights * weights in each row, which is that of dout * out.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_backward_q(
    const real* qkv, const real* out, const real* dout, const real* highest, const real* total, real* delta, real* dqkv,
    int T, int H, int D, real scale, uint64 key, uint64 row, uint32 threshold, real keep_scale) {
  extern __shared__ __align__(16) real shared[];
  real *q = shared, *g = q + ROWS * STRIDE, *k = g + ROWS * STRIDE, *v = k + COLUMNS * STRIDE;
  real* scratch = v + COLUMNS * STRIDE;
  const Head head(T, H, D);
  const Keep keep(head, key, row, threshold, keep_scale);
  const int t0 = (gridDim.y - 1 - blockIdx.y) * ROWS, first = t0 + first_row();
  load<ROWS>(q, head.packed(qkv, 0), t0, T);
  load<ROWS>(g, head.plain(dout), t0, T);
  __syncthreads();
  real dq[R][CHANNELS] = {}, top[R] = {}, inverse[R] = {}, d[R] = {};
  EACH(i, R) {
    const int t = t0 + row_of(i);
    if (t < T) {
      const real *o = head.plain(out).row(t), *its = g + row_of(i) * STRIDE;
      for (int c = member(); c < D; c += MEMBERS) d[i] += its[c] * o[c];
      top[i] = highest[head.row(t)], inverse[i] = 1 / total[head.row(t)];
    }
    d[i] = row_sum(d[i]);
    if (t < T && member() == 0) delta[head.row(t)] = d[i];
  }
  for (int s0 = 0; s0 < min(t0 + ROWS, T); s0 += COLUMNS) {
    __syncthreads();
    load<COLUMNS>(k, head.packed(qkv, 1), s0, T);
    load<COLUMNS>(v, head.packed(qkv, 2), s0, T);
    __syncthreads();
    if (s0 >= first + WARP_ROWS) continue;
    real weights[R][C] = {}, dscores[R][C] = {};
    product_nt(weights, q, k);  // scores = q k^T * scale
    EACH(i, R) EACH(j, C) weights[i][j] = quick_exp(weights[i][j] * scale - top[i]) * inverse[i];
    if (s0 + COLUMNS - 1 > first)
      EACH(i, R) EACH(j, C) if (s0 + column_of(j) > t0 + row_of(i)) weights[i][j] = 0;
    product_nt(dscores, g, v);  // dweights = dout v^T
    if (DROPOUT) EACH(i, R) EACH(j, C) dscores[i][j] *= keep(t0 + row_of(i), s0 + column_of(j));
    EACH(i, R) EACH(j, C) dscores[i][j] = weights[i][j] * (dscores[i][j] - d[i]);
    product_nn(dq, dscores, scratch, k);  // dq = dscores k * scale
  }
  EACH(i, R) EACH(c, CHANNELS) dq[i][c] *= scale;
  store(head.packed(dqkv, 0), t0, T, dq);
}

// What a row of weights needs: weights = exp(scores - highest) * inverse, dscores = weights * (dweights - delta)
struct __align__(16) Statistics {
  real highest, inverse, delta, unused;
};

// dk = dscores^T q and dv = dropped^T dout. Rows are keys and columns queries here: all is transposed.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_backward_kv(
    const real* qkv, const real* dout, const real* highest, const real* total, const real* delta, real* dqkv, int T,
    int H, int D, real scale, uint64 key, uint64 row, uint32 threshold, real keep_scale) {
  extern __shared__ __align__(16) real shared[];
  real *k = shared, *v = k + ROWS * STRIDE, *q = v + ROWS * STRIDE, *g = q + COLUMNS * STRIDE;
  Statistics* of = (Statistics*)(g + COLUMNS * STRIDE);
  real* scratch = (real*)(of + COLUMNS);
  const Head head(T, H, D);
  const Keep keep(head, key, row, threshold, keep_scale);
  const int s0 = blockIdx.y * ROWS, first = s0 + first_row();
  load<ROWS>(k, head.packed(qkv, 1), s0, T);
  load<ROWS>(v, head.packed(qkv, 2), s0, T);
  real dk[R][CHANNELS] = {}, dv[R][CHANNELS] = {};
  for (int t0 = s0; t0 < T; t0 += COLUMNS) {
    __syncthreads();
    load<COLUMNS>(q, head.packed(qkv, 0), t0, T);
    load<COLUMNS>(g, head.plain(dout), t0, T);
    if (threadIdx.x < COLUMNS) {
      const size_t t = head.row(t0 + threadIdx.x);
      of[threadIdx.x] = {};
      if (t0 + threadIdx.x < T) of[threadIdx.x] = {highest[t], 1 / total[t], delta[t], 0};
    }
    __syncthreads();
    if (t0 + COLUMNS <= first) continue;  // earlier than all of this warp's keys
    real weights[R][C] = {}, dscores[R][C] = {};
    product_nt(weights, k, q);  // scores^T = k q^T * scale
    EACH(j, C) {
      const Statistics its = of[column_of(j)];
      EACH(i, R) weights[i][j] = quick_exp(weights[i][j] * scale - its.highest) * its.inverse;
    }
    if (first + WARP_ROWS - 1 > t0)
      EACH(i, R) EACH(j, C) if (s0 + row_of(i) > t0 + column_of(j)) weights[i][j] = 0;
    product_nt(dscores, v, g);  // dweights^T = v dout^T
    EACH(i, R) EACH(j, C) {
      const real z = DROPOUT ? keep(t0 + column_of(j), s0 + row_of(i)) : 1;
      dscores[i][j] = weights[i][j] * (dscores[i][j] * z - of[column_of(j)].delta);
      weights[i][j] *= z;
    }
    product_nn(dv, weights, scratch, g);  // dv = dropped^T dout
    product_nn(dk, dscores, scratch, q);  // dk = dscores^T q * scale
  }
  EACH(i, R) EACH(c, CHANNELS) dk[i][c] *= scale;
  store(head.packed(dqkv, 1), s0, T, dk);
  store(head.packed(dqkv, 2), s0, T, dv);
}
