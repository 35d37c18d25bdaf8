// Sums and maxima over a block, in every thread and in a fixed order, and packs of numbers that move in one access.
// `common.h` comes before this file. A block is of whole warps.

constexpr int WIDTH = 16 / sizeof(stored);  // 16 bytes are the most that a thread moves at once

struct alignas(16) Pack {
  stored x[WIDTH];
};

// First over the lanes of each warp, then over the warps. `parts` is shared memory that no other sum of a kernel has:
// a slow warp may still read it when a quick one has gone on.
__device__ inline real block_sum(real x, real* parts) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  x = warp_sum(x);
  if (lane == 0) parts[warp] = x;
  __syncthreads();
  return warp_sum(lane < warps ? parts[lane] : 0);
}

__device__ inline real block_max(real x, real* parts) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  x = warp_max(x);
  if (lane == 0) parts[warp] = x;
  __syncthreads();
  return warp_max(parts[lane < warps ? lane : 0]);
}
