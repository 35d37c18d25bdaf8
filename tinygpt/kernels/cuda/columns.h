// A matrix, read in tiles: a block's lanes are over columns, its warps over rows. A warp reads 32 numbers that lie side by
// side, and a thread stays in its column, whose bias it reads once and whose sum it keeps.
//
// A matrix is given by its size and by C, the length of its rows; the last may be shorter, so that any array can be cut
// into rows. A thread has EACH numbers of an array on their way at once, 16 bytes. On a large card, with 1,280 threads for each of
// its multiprocessors, these are 20 KB each, what its bandwidth times its latency asks for: by this count, not
// by a clock, wider loads would gain nothing, and single numbers need no alignment.
constexpr int EACH = sizeof(stored) == 2 ? 8 : 4;

__device__ inline int column() { return blockIdx.x * WARP + threadIdx.x; }

// The place of a thread's first number, and how far it is from one of its rows to the next.
__device__ inline size_t first(int C) { return (size_t)(blockIdx.y * blockDim.y + threadIdx.y) * C + column(); }
__device__ inline size_t step(int C) { return (size_t)(gridDim.y * blockDim.y) * C; }

// A thread's numbers in EACH rows, from place i on; 0 beyond the matrix.
__device__ inline void load(real (&x)[EACH], const stored* matrix, size_t i, size_t size, int C) {
  for (int k = 0; k < EACH; k++, i += step(C)) x[k] = column() < C && i < size ? (real)matrix[i] : 0;
}

__device__ inline void store(stored* matrix, const real (&x)[EACH], size_t i, size_t size, int C) {
  for (int k = 0; k < EACH; k++, i += step(C))
    if (column() < C && i < size) matrix[i] = x[k];
}

// The sum of what the warps of a block hold for each lane, in their order. It is warp 0 that gets it.
__device__ inline real sum_of_warps(real x, real (*of_warps)[WARP]) {
  of_warps[threadIdx.y][threadIdx.x] = x;
  __syncthreads();
  real sum = 0;
  if (threadIdx.y == 0)
    for (int warp = 0; warp < blockDim.y; warp++) sum += of_warps[warp][threadIdx.x];
  return sum;
}
