// Causal attention of bfloat16 heads on tensor cores. Dao, "FlashAttention-2", 2023 (arXiv:2307.08691); beside the
// lines stands what they are in `tinygpt/layers/attention.py`. Scores, weights and sums are float32.
//
// A block owns OWN queries, in the last kernel keys, of one head of one sequence, 16 M of them each of its four warps;
// the keys, or queries, that those meet pass by in tiles, of which the next is copied while one is multiplied. The
// backward pass is two kernels that compute the weights once more each: so nothing is added up in a changing order.
//
// Heads are read where they lie in qkv, (B, T, 3, H, D), and out, (B, T, H, D). Of each row of weights, lse is
// log2(sum(exp(scores))), and delta the sum of dweights * weights: (B, H, T rounded up to 128). Of each row and 32 keys
// mask is a word, in whose bits the forward pass writes down which weights dropout keeps.
#include "common.h"

#define EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)

constexpr int D = HEAD, ROW = 2 * D, WARPS = 4, THREADS = WARPS * WARP;  // ROW: bytes of a tile's row
constexpr float SCALE = D == 32 ? 0.17677669529663687f : D == 64 ? 0.125f : 0.08838834764831845f;  // D^-0.5
constexpr float SCALE_2 = SCALE * 1.4426950408889634f;  // 2^(SCALE_2 x) = e^(SCALE x)
constexpr float LOWEST = -1e30f;                        // a masked score, whose weight is 2^(LOWEST - highest), 0

// How a kernel is cut: OWN rows a block, 16 M each warp; tiles of ROWS that pass by; whether its own operands are HELD
// in registers or read from shared memory again for each tile; BLOCKS that a multiprocessor's registers have room for.
template <int m, int rows, bool held, int blocks, int own_tiles> struct Cut {
  static constexpr int M = m, OWN = 16 * WARPS * m, ROWS = rows, N = rows / 8, BLOCKS = blocks;
  static constexpr bool HELD = held;
  static constexpr int STREAM = own_tiles * OWN * ROW, STAGE = 2 * ROWS * ROW;  // where stages begin, bytes of one
  static constexpr int SUMS = STREAM + 2 * STAGE;  // then lse and delta of each stage
};
typedef Cut<2, D == 128 || DROPOUT ? 32 : 64, D == 32 || (D == 64 && !DROPOUT), 2, 1> Forward;
typedef Cut<D == 128 ? 1 : 2, 32, D == 128 || !DROPOUT, D == 32 && !DROPOUT ? 3 : 2, 2> BackwardQ;
typedef Cut<D == 128 ? 1 : 2, 32, false, 2, 2> BackwardKV;

// ---- tiles in shared memory, whose places are 32-bit addresses there ----

// Where 16-byte chunk `chunk` of `row` lies in a tile. Chunks change places within their row by the row's number, so
// that the eight rows that ldmatrix reads at once lie in different banks. With tiles on multiples of 256 bytes, chunk
// c + i lies at chunk_at(row, c) ^ 16 i if c and i share no bit.
__device__ inline uint32 chunk_at(int row, int chunk) {
  return row * ROW + (chunk ^ (D == 32 ? row / 2 % 4 : row % 8)) * 16;
}

// A thread's share in copying tiles of ROWS rows, one after the other: its first 16 bytes of the next tile, of which
// the others lie STEP rows apart. Rows past the array's last become zeros.
template <int ROWS> struct Copier {
  static constexpr int STEP = THREADS * 8 / D;
  const stored* from;
  int stride, rows_left;
  uint32 place;
  __device__ Copier(const stored* array, int stride, int rows) : stride(stride) {
    const int row = threadIdx.x / (D / 8), chunk = threadIdx.x % (D / 8);
    from = array + (size_t)row * stride + chunk * 8;
    rows_left = rows - row;
    place = chunk_at(row, chunk);
  }
  __device__ void copy(uint32 tile) {
    EACH(i, ROWS / STEP) cp_async16(tile + place + i * STEP * ROW, from + i * STEP * stride, i * STEP < rows_left);
    from += ROWS * stride;
    rows_left -= ROWS;
  }
};

// The own tiles are on their way: send tile j after them and wait for the own ones.
template <class Fetch> __device__ inline void start(int j, Fetch fetch) {
  cp_commit();
  fetch(j);
  cp_commit();
  cp_wait<1>();
  __syncthreads();
}

// Work on tiles j .. end - 1: while one is multiplied, the next is copied into the other of two stages.
template <class Fetch, class Work> __device__ inline void stream(int j, int end, Fetch fetch, Work work) {
  for (; j < end; j++) {
    cp_wait<0>();
    __syncthreads();  // tile j has come for everybody, and nobody reads tile j - 1 any more
    if (j + 1 < end) fetch(j + 1);
    cp_commit();
    work(j);
  }
}

// ---- a warp's products ----

// Its accumulator x[M][N][4] has 16 M rows and 8 N columns; a thread's elements lie at:
__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int row_of(int m, int e) { return 16 * m + lane() / 4 + e / 2 * 8; }
__device__ inline int column_of(int n, int e) { return 8 * n + lane() % 4 * 2 + e % 2; }

// Whether an element's column is more than `distance` right of its row; what is known before the launch stands left.
__device__ inline bool right_of(int m, int n, int e, int distance) {
  return 8 * n + e % 2 - 16 * m - e / 2 * 8 > distance + lane() / 4 - lane() % 4 * 2;
}

// A warp's own 16 M rows as left operand, 16 columns at a time: read from shared memory each time, or once.
template <int M, bool HELD> struct Own {
  uint32 first;
  __device__ Own(uint32 tile, int row) : first(tile + chunk_at(row + lane() % 16, lane() / 16)) {}
  __device__ void get(uint32 (&a)[M][4], int k) const {
    EACH(m, M) ldsm_x4(a[m], (first ^ 32 * k) + 16 * m * ROW);
  }
};
template <int M> struct Own<M, true> {
  uint32 held[D / 16][M][4];
  __device__ Own(uint32 tile, int row) { EACH(k, D / 16) Own<M, false>(tile, row).get(held[k], k); }
  __device__ void get(uint32 (&a)[M][4], int k) const { EACH(m, M) EACH(i, 4) a[m][i] = held[k][m][i]; }
};

// x += a b^T, where a is the warp's own rows and b a tile of 8 N rows.
template <int M, int N, class A>
__device__ inline void product_nt(float (&x)[M][N][4], const A& own, uint32 tile) {
  const uint32 first = tile + chunk_at(lane() / 16 * 8 + lane() % 8, lane() / 8 % 2);
  EACH(k, D / 16) {
    uint32 a[M][4], b[4];
    own.get(a, k);
    EACH(n, N / 2) {
      ldsm_x4(b, (first ^ 32 * k) + 16 * n * ROW);
      EACH(m, M) {
        mma16816(x[m][2 * n], a[m], b[0], b[1]);
        mma16816(x[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// x += a b, where a is an accumulator, which rounded to bfloat16 already lies as an operand must, and b a tile of 8 K
// rows.
template <int M, int K>
__device__ inline void product_nn(float (&x)[M][D / 8][4], const float (&a)[M][K][4], uint32 tile) {
  const uint32 first = tile + chunk_at(lane() % 16, lane() / 16);
  EACH(k, K / 2) {
    uint32 p[M][4], b[4];
    EACH(m, M) EACH(i, 4) p[m][i] = pack(a[m][2 * k + i / 2][i % 2 * 2], a[m][2 * k + i / 2][i % 2 * 2 + 1]);
    EACH(n, D / 16) {
      ldsm_x4_t(b, (first ^ 32 * n) + 16 * k * ROW);
      EACH(m, M) {
        mma16816(x[m][2 * n], p[m], b[0], b[1]);
        mma16816(x[m][2 * n + 1], p[m], b[2], b[3]);
      }
    }
  }
}

// Over the four lanes that share a row
__device__ inline float row_sum(float x) {
  EACH(i, 2) x += __shfl_xor_sync(ALL_LANES, x, i + 1);
  return x;
}
__device__ inline float row_max(float x) {
  EACH(i, 2) x = max(x, __shfl_xor_sync(ALL_LANES, x, i + 1));
  return x;
}

// An accumulator's rows into `to`, 16 bytes a thread, by way of the warp's own rows in a tile that only it reads.
template <int M, int N>
__device__ inline void store(stored* to, int stride, int rows_left, uint32 tile, int row, const float (&x)[M][N][4]) {
  __syncwarp();
  EACH(m, M) EACH(n, N) EACH(i, 2) {
    const uint32 place = tile + chunk_at(row + row_of(m, 2 * i), n) + lane() % 4 * 4;
    *(uint32*)shared_pointer(place) = pack(x[m][n][2 * i], x[m][n][2 * i + 1]);
  }
  __syncwarp();
  EACH(i, M * N / 2) {
    const int r = (WARP * i + lane()) / N, c = lane() % N;
    if (r < rows_left) *(uint4*)(to + r * stride + c * 8) = *(uint4*)shared_pointer(tile + chunk_at(row + r, c));
  }
}

// ---- a block's place: the grid is (H, B, ceil(T / OWN)) ----

template <class C> struct Place {
  int b, h, T, H, first, row, stride;  // own rows: the block's first, and the warp's first within the block
  uint32 shared;
  __device__ Place(const void* bytes, int T, int H, int block)
      : b(blockIdx.y), h(blockIdx.x), T(T), H(H), first(block * C::OWN),
        row(__shfl_sync(ALL_LANES, threadIdx.x / WARP, 0) * 16 * C::M), stride(3 * H * D),
        shared(shared_address(bytes)) {}
  // Where row t is in qkv, in out, and in lse
  __device__ size_t packed(int part, int t) const { return ((size_t)b * T + t) * stride + (part * H + h) * D; }
  __device__ size_t plain(int t) const { return (((size_t)b * T + t) * H + h) * D; }
  __device__ size_t sums(int t) const { return ((size_t)b * H + h) * ((T + 127) / 128 * 128) + t; }
  // Weight (t, s) is in this word of mask, which has so many in a row
  __device__ size_t bit(int t, int s) const { return sums(t) * words() + s / 32; }
  __device__ int words() const { return (T + 127) / 128 * 4; }
  __device__ uint32 own(int which) const { return shared + which * C::OWN * ROW; }
  __device__ uint32 tile(int j, int which) const {
    return shared + C::STREAM + j % 2 * C::STAGE + which * C::ROWS * ROW;
  }
  __device__ uint32 tile_sums(int j, int which) const { return shared + C::SUMS + (j % 2 * 2 + which) * C::ROWS * 4; }
};

// What dropout multiplies a head's weight (t, s) by: keep / (1 - dropout).
struct Keep {
  uint64 key;
  uint32 first, T, threshold;
  float scale;
  template <class C>
  __device__ Keep(const Place<C>& at, uint64 key, uint64 row, uint32 threshold, float scale)
      : key(row_key(key, row + at.b)), first((uint32)at.h * at.T * at.T), T(at.T), threshold(threshold), scale(scale) {}
  __device__ float operator()(int t, int s) const { return kept(key, first + t * T + s, threshold, scale); }
};

// ---- out = softmax(q k^T * scale) v ----

// One tile of keys and values, from key s on; the warp's first query is t. Only on the DIAGONAL, where they meet, is
// there something to mask. A tile may raise a row's highest score so far; then what was added up is corrected.
template <bool DIAGONAL, int M, int N, class A>
__device__ inline void attend(float (&o)[M][D / 8][4], float (&highest)[M][2], float (&sum)[M][2], const A& q, uint32 k,
                              uint32 v, int t, int s, const Keep& keep, uint32* mask, int words) {
  float weights[M][N][4] = {};
  product_nt(weights, q, k);  // scores = q k^T
  if (DIAGONAL) EACH(m, M) EACH(n, N) EACH(e, 4) if (right_of(m, n, e, t - s)) weights[m][n][e] = LOWEST;
  EACH(m, M) EACH(i, 2) {
    float top = highest[m][i], total = 0;
    EACH(n, N) EACH(e, 2) top = max(top, weights[m][n][2 * i + e]);
    top = row_max(top);
    const float shrink = ex2((highest[m][i] - top) * SCALE_2), shift = top * SCALE_2;
    EACH(n, N) EACH(e, 2) {
      weights[m][n][2 * i + e] = ex2(weights[m][n][2 * i + e] * SCALE_2 - shift);  // exps = exp(scores - max(scores))
      total += weights[m][n][2 * i + e];
    }
    EACH(n, D / 8) EACH(e, 2) o[m][n][2 * i + e] *= shrink;
    sum[m][i] = sum[m][i] * shrink + total;
    highest[m][i] = top;
  }
  if (DROPOUT) EACH(m, M) EACH(i, 2) {
    uint32 bits = 0;  // the row's word, since with dropout a tile has 32 keys
    EACH(n, N) EACH(e, 2) {
      const float z = keep(t + row_of(m, 2 * i), s + column_of(n, e));
      weights[m][n][2 * i + e] *= z;
      bits |= (uint32)(z != 0) << column_of(n, e);
    }
    EACH(j, 2) bits |= __shfl_xor_sync(ALL_LANES, bits, j + 1);  // from the four lanes that share the row
    if (lane() % 4 == 0) mask[row_of(m, 2 * i) * words] = bits;
  }
  product_nn(o, weights, v);  // exps v
}

extern "C" __global__ void __launch_bounds__(THREADS, Forward::BLOCKS) flash_forward(
    const stored* qkv, stored* out, float* lse, uint32* mask, int T, int H, uint64 key, uint64 first_row,
    uint32 threshold, float keep_scale) {
  typedef Forward C;
  constexpr int M = C::M, N = C::N, ROWS = C::ROWS;
  extern __shared__ __align__(1024) unsigned char shared[];
  const Place<C> at(shared, T, H, gridDim.z - 1 - blockIdx.z);  // those with most keys begin
  const Keep keep(at, key, first_row, threshold, keep_scale);
  const int t = at.first + at.row;
  Copier<C::OWN>(qkv + at.packed(0, at.first), at.stride, T - at.first).copy(at.own(0));
  Copier<ROWS> keys(qkv + at.packed(1, 0), at.stride, T), values(qkv + at.packed(2, 0), at.stride, T);
  const auto fetch = [&](int j) {
    keys.copy(at.tile(j, 0));
    values.copy(at.tile(j, 1));
  };
  start(0, fetch);
  const Own<M, C::HELD> q(at.own(0), at.row);
  float o[M][D / 8][4] = {}, highest[M][2], sum[M][2] = {};
  EACH(m, M) EACH(i, 2) highest[m][i] = LOWEST;
  stream(0, (min(at.first + C::OWN, T) + ROWS - 1) / ROWS, fetch, [&](int j) {
    const int s = j * ROWS;
    const uint32 k = at.tile(j, 0), v = at.tile(j, 1);
    uint32* bits = mask + at.bit(t, s);
    if (s + ROWS - 1 <= t) attend<false, M, N>(o, highest, sum, q, k, v, t, s, keep, bits, at.words());
    else if (s < t + 16 * M) attend<true, M, N>(o, highest, sum, q, k, v, t, s, keep, bits, at.words());
  });
  EACH(m, M) EACH(i, 2) {
    const float total = row_sum(sum[m][i]), inverse = 1 / total;
    if (lane() % 4 == 0) lse[at.sums(t + row_of(m, 2 * i))] = highest[m][i] * SCALE_2 + log2f(total);
    EACH(n, D / 8) EACH(e, 2) o[m][n][2 * i + e] *= inverse;  // out = exps / sum(exps) v
  }
  store(out + at.plain(t), H * D, T - t, at.own(0), at.row, o);
}

// ---- dq = dscores k, and delta, the sum of dweights * weights in each row, which is that of dout * out ----

__device__ inline float lower(uint32 pair) { return __uint_as_float(pair << 16); }
__device__ inline float upper(uint32 pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ inline float dot(uint32 a, uint32 b) { return lower(a) * lower(b) + upper(a) * upper(b); }

// sum(dout * out) of a row: out as it was loaded, dout in shared memory
__device__ inline float row_delta(const uint4 (&out)[D / 8], uint32 tile, int row) {
  float sum = 0;
  EACH(c, D / 8) {
    const uint4 o = out[c], g = *(uint4*)shared_pointer(tile + chunk_at(row, c));
    sum += dot(o.x, g.x) + dot(o.y, g.y) + dot(o.z, g.z) + dot(o.w, g.w);
  }
  return sum;
}

template <bool DIAGONAL, int M, int N, class A>
__device__ inline void add_dq(float (&dq)[M][D / 8][4], const float (&lse)[M][2], const float (&delta)[M][2],
                              const A& q, const A& g, uint32 k, uint32 v, int distance, const uint32* mask, int words,
                              float scale) {
  float weights[M][N][4] = {}, dscores[M][N][4] = {};
  uint32 bits[M][2];
  if (DROPOUT) EACH(m, M) EACH(i, 2) bits[m][i] = mask[row_of(m, 2 * i) * words] >> lane() % 4 * 2;
  product_nt(weights, q, k);  // scores = q k^T
  product_nt(dscores, g, v);  // dweights = dout v^T
  EACH(m, M) EACH(n, N) EACH(e, 4) {
    float weight = ex2(weights[m][n][e] * SCALE_2 - lse[m][e / 2]);
    if (DIAGONAL && right_of(m, n, e, distance)) weight = 0;
    if (DROPOUT) dscores[m][n][e] *= bits[m][e / 2] >> 8 * n + e % 2 & 1 ? scale : 0;
    dscores[m][n][e] = weight * (dscores[m][n][e] - delta[m][e / 2]);  // dscores = weights (dweights - delta)
  }
  product_nn(dq, dscores, k);  // dq = dscores k
}

extern "C" __global__ void __launch_bounds__(THREADS, BackwardQ::BLOCKS) flash_backward_q(
    const stored* qkv, const stored* out, const stored* dout, const float* lse, const uint32* mask, float* delta,
    stored* dqkv, int T, int H, float keep_scale) {
  typedef BackwardQ C;
  constexpr int M = C::M, N = C::N, ROWS = C::ROWS;
  extern __shared__ __align__(1024) unsigned char shared[];
  const Place<C> at(shared, T, H, gridDim.z - 1 - blockIdx.z);
  const int t = at.first + at.row, me = threadIdx.x;
  uint4 my_out[D / 8] = {};
  EACH(c, D / 8) if (me < C::OWN && at.first + me < T) my_out[c] = ((const uint4*)(out + at.plain(at.first + me)))[c];
  Copier<C::OWN>(qkv + at.packed(0, at.first), at.stride, T - at.first).copy(at.own(0));
  Copier<C::OWN>(dout + at.plain(at.first), H * D, T - at.first).copy(at.own(1));
  Copier<ROWS> keys(qkv + at.packed(1, 0), at.stride, T), values(qkv + at.packed(2, 0), at.stride, T);
  const auto fetch = [&](int j) {
    keys.copy(at.tile(j, 0));
    values.copy(at.tile(j, 1));
  };
  start(0, fetch);
  if (me < C::OWN) delta[at.sums(at.first + me)] = row_delta(my_out, at.own(1), me);
  __syncthreads();
  const Own<M, C::HELD> q(at.own(0), at.row), g(at.own(1), at.row);
  float dq[M][D / 8][4] = {}, my_lse[M][2], my_delta[M][2];
  EACH(m, M) EACH(i, 2) my_lse[m][i] = lse[at.sums(t + row_of(m, 2 * i))];
  EACH(m, M) EACH(i, 2) my_delta[m][i] = delta[at.sums(t + row_of(m, 2 * i))];
  stream(0, (min(at.first + C::OWN, T) + ROWS - 1) / ROWS, fetch, [&](int j) {
    const int s = j * ROWS;
    const uint32 k = at.tile(j, 0), v = at.tile(j, 1), *bits = mask + at.bit(t, s);
    const int words = at.words();
    if (s + ROWS - 1 <= t) add_dq<false, M, N>(dq, my_lse, my_delta, q, g, k, v, t - s, bits, words, keep_scale);
    else if (s < t + 16 * M) add_dq<true, M, N>(dq, my_lse, my_delta, q, g, k, v, t - s, bits, words, keep_scale);
  });
  EACH(m, M) EACH(n, D / 8) EACH(e, 4) dq[m][n][e] *= SCALE;
  store(dqkv + at.packed(0, t), at.stride, T - t, at.own(0), at.row, dq);
}

// ---- dk = dscores^T q and dv = dropped^T dout: rows are keys and columns queries here, all is transposed ----

template <bool DIAGONAL, int M, int N, class A>
__device__ inline void add_dkv(float (&dk)[M][D / 8][4], float (&dv)[M][D / 8][4], const A& k, const A& v, uint32 q,
                               uint32 g, const float* lse, const float* delta, int s, int t, const uint32* mask,
                               int words, float scale) {
  float weights[M][N][4] = {}, dscores[M][N][4] = {};
  uint32 bits = 0;  // of each word four, eight apart: the thread's keys
  if (DROPOUT) EACH(n, N) EACH(e, 2)
    bits |= (mask[column_of(n, e) * words] >> s % 32 + lane() / 4 & 0x01010101) << 2 * n + e;
  product_nt(weights, k, q);  // scores^T = k q^T
  product_nt(dscores, v, g);  // dweights^T = v dout^T
  EACH(m, M) EACH(n, N) EACH(e, 4) {
    float weight = ex2(weights[m][n][e] * SCALE_2 - lse[column_of(n, e)]), z = 1;
    if (DIAGONAL && !right_of(m, n, e, s - t - 1)) weight = 0;
    if (DROPOUT) z = bits >> 16 * m + e / 2 * 8 + 2 * n + e % 2 & 1 ? scale : 0;
    weights[m][n][e] = z * weight;  // dropped = weights * keep / (1 - dropout)
    dscores[m][n][e] = weight * (z * dscores[m][n][e] - delta[column_of(n, e)]);
  }
  product_nn(dv, weights, g);  // dv = dropped^T dout
  product_nn(dk, dscores, q);  // dk = dscores^T q
}

extern "C" __global__ void __launch_bounds__(THREADS, BackwardKV::BLOCKS) flash_backward_kv(
    const stored* qkv, const stored* dout, const float* lse, const uint32* mask, const float* delta, stored* dqkv,
    int T, int H, float keep_scale) {
  typedef BackwardKV C;
  constexpr int M = C::M, N = C::N, ROWS = C::ROWS;
  extern __shared__ __align__(1024) unsigned char shared[];
  const Place<C> at(shared, T, H, blockIdx.z);  // those with most queries begin
  const int first = at.first, s = first + at.row, me = threadIdx.x;
  Copier<C::OWN>(qkv + at.packed(1, first), at.stride, T - first).copy(at.own(0));
  Copier<C::OWN>(qkv + at.packed(2, first), at.stride, T - first).copy(at.own(1));
  Copier<ROWS> queries(qkv + at.packed(0, first), at.stride, T - first);
  Copier<ROWS> gradients(dout + at.plain(first), H * D, T - first);
  const float* my_sums = (me < ROWS / 4 ? lse : delta) + at.sums(first + me * 4 % ROWS);
  const auto fetch = [&](int j) {
    queries.copy(at.tile(j, 0));
    gradients.copy(at.tile(j, 1));
    if (me < ROWS / 2) cp_async16(at.tile_sums(j, 0) + me * 16, my_sums, true);
    my_sums += ROWS;
  };
  start(first / ROWS, fetch);
  const Own<M, C::HELD> k(at.own(0), at.row), v(at.own(1), at.row);
  float dk[M][D / 8][4] = {}, dv[M][D / 8][4] = {};
  stream(first / ROWS, (T + ROWS - 1) / ROWS, fetch, [&](int j) {
    const int t = j * ROWS;
    const uint32 q = at.tile(j, 0), g = at.tile(j, 1), *bits = mask + at.bit(t, s);
    const float *its_lse = (float*)shared_pointer(at.tile_sums(j, 0)), *its_delta = its_lse + ROWS;
    const int words = at.words();
    if (t >= s + 16 * M - 1) add_dkv<false, M, N>(dk, dv, k, v, q, g, its_lse, its_delta, s, t, bits, words, keep_scale);
    else if (t + ROWS > s) add_dkv<true, M, N>(dk, dv, k, v, q, g, its_lse, its_delta, s, t, bits, words, keep_scale);
  });
  EACH(m, M) EACH(n, D / 8) EACH(e, 4) dk[m][n][e] *= SCALE;
  store(dqkv + at.packed(1, s), at.stride, T - s, at.own(0), at.row, dk);
  store(dqkv + at.packed(2, s), at.stride, T - s, at.own(1), at.row, dv);
}
