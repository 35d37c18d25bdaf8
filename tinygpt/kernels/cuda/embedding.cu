// Embedding: rows of w picked by ids of ID_BITS bits, and the sums of gradients by id, added into dw in a fixed order
// and without an array of dw's size. Three kernels make the sums:
//
//   embedding_sort  puts the positions in the order of their ids, those of one id, a run, in their own order,
//   embedding_runs  adds up each run within chunks of CHUNK sorted positions, and
//   embedding_join  adds up the pieces of those runs that reach over several chunks.
#include "common.h"

#if ID_BITS == 64
typedef long long Id;
#else
typedef int Id;
#endif

// The row of w that an id means: ids wrap around, as when CuPy indexes.
__device__ inline int row_of(Id id, int V) {
  if (0 <= id && id < V) return (int)id;
  Id rest = id % V;
  return (int)(rest < 0 ? rest + V : rest);
}

// What positions are sorted by: the row of w and below it the position, so that no two keys are equal.
__device__ inline uint64 key_of(const Id* ids, int n, int V) { return (uint64)row_of(ids[n], V) << 32 | (uint32)n; }
__device__ inline uint32 row_in(uint64 key) { return (uint32)(key >> 32); }
__device__ inline uint32 position_in(uint64 key) { return (uint32)key; }

// A warp copies one row. ids: (N); w: (V, C); out: (N, C).
extern "C" __global__ void __launch_bounds__(256) embedding_forward(
    const Id* ids, const stored* w, stored* __restrict__ out, int N, int V, int C) {
  int n = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (n >= N) return;
  const stored* from = w + (size_t)row_of(ids[n], V) * C;
#pragma unroll 8
  for (int c = threadIdx.x % WARP; c < C; c += WARP) out[(size_t)n * C + c] = from[c];
}

// sorted: (N), the keys in ascending order. A key's place is the number of smaller ones: a warp counts them for RANKED
// keys at once, each lane among every 32nd of all keys.
extern "C" __global__ void __launch_bounds__(256) embedding_sort(const Id* ids, uint64* sorted, int N, int V) {
  int first = (blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP) * RANKED, lane = threadIdx.x % WARP;
  uint64 keys[RANKED];
  int smaller[RANKED];
#pragma unroll
  for (int i = 0; i < RANKED; i++) {
    keys[i] = first + i < N ? key_of(ids, first + i, V) : 0;
    smaller[i] = 0;
  }
  for (int n = lane; n < N; n += WARP) {
    uint64 key = key_of(ids, n, V);
#pragma unroll
    for (int i = 0; i < RANKED; i++) smaller[i] += key < keys[i];
  }
#pragma unroll
  for (int i = 0; i < RANKED; i++) {
    int place = smaller[i];
    for (int distance = WARP / 2; distance > 0; distance /= 2) place += __shfl_xor_sync(ALL_LANES, place, distance);
    if (lane == 0 && first + i < N) sorted[place] = keys[i];
  }
}

// A block adds up a chunk of sorted positions, a thread a column. A run that lies in the chunk goes to its row of dw.
// One that reaches beyond leaves a piece: pieces[chunk][0] if it began in an earlier chunk, pieces[chunk][1] if it
// begins in this one. dout: (N, C); pieces: (chunks, 2, C); dw: (V, C).
extern "C" __global__ void __launch_bounds__(256) embedding_runs(
    const uint64* sorted, const stored* dout, real* __restrict__ pieces, real* __restrict__ dw, int N, int C) {
  int chunk = blockIdx.x, first = chunk * CHUNK, c = blockIdx.y * blockDim.x + threadIdx.x;
  if (c >= C) return;
  real d[CHUNK];  // all read before any is used
#pragma unroll
  for (int j = 0; j < CHUNK; j++) {
    if (first + j < N) d[j] = dout[(size_t)position_in(sorted[first + j]) * C + c];
  }
  bool began_before = chunk > 0 && row_in(sorted[first - 1]) == row_in(sorted[first]);
  real sum = 0;
#pragma unroll
  for (int j = 0; j < CHUNK; j++) {
    int n = first + j;
    if (n < N) {
      uint32 row = row_in(sorted[n]);
      bool goes_on = n + 1 < N && row_in(sorted[n + 1]) == row;
      sum += d[j];
      if (!goes_on || j == CHUNK - 1) {
        if (began_before)
          pieces[(size_t)(2 * chunk) * C + c] = sum;
        else if (goes_on)
          pieces[(size_t)(2 * chunk + 1) * C + c] = sum;
        else
          dw[(size_t)row * C + c] += sum;
        began_before = false;
        sum = 0;
      }
    }
  }
}

// A block adds up the pieces of the run that begins in its chunk, if one goes on in the next, in their order, a thread
// a column. There is a block for every chunk but the last.
extern "C" __global__ void __launch_bounds__(256) embedding_join(
    const uint64* sorted, const real* pieces, real* dw, int C) {
  int chunk = blockIdx.x, first = chunk * CHUNK, c = blockIdx.y * blockDim.x + threadIdx.x;
  uint32 row = row_in(sorted[first + CHUNK - 1]);
  bool goes_on = row_in(sorted[first + CHUNK]) == row;
  bool began_before = chunk > 0 && row_in(sorted[first - 1]) == row;
  if (c >= C || !goes_on || began_before) return;
  int end = chunk + 2, beyond = gridDim.x + 1;  // the run reaches some chunk before `beyond`: which, by bisection
  while (end < beyond) {
    int middle = (end + beyond) / 2;
    if (row_in(sorted[middle * CHUNK]) == row)
      end = middle + 1;
    else
      beyond = middle;
  }
  real sum = pieces[(size_t)(2 * chunk + 1) * C + c];
#pragma unroll 8
  for (int k = chunk + 1; k < end; k++) sum += pieces[(size_t)(2 * k) * C + c];
  dw[(size_t)row * C + c] += sum;
}
