// The second stage of column sums: the parts that other kernels left are added into the gradients, eight in a launch.
#include "common.h"
#include "columns.h"

// total += the sum of its parts (count, width). A block has 32 columns, and each warp every 32nd part of them; a column
// gets its parts warp after warp, in the same order whatever else is in the launch.
__device__ inline void add_sum(real* total, const real* parts, int count, int width, real (*of_warps)[WARP]) {
  if (blockIdx.x * WARP >= width) return;  // the grid is as wide as the widest
  real sum = 0;
  if (column() < width)
    for (int part = threadIdx.y; part < count; part += blockDim.y) sum += parts[(size_t)part * width + column()];
  sum = sum_of_warps(sum, of_warps);
  if (threadIdx.y == 0 && column() < width) total[column()] += sum;
}

extern "C" __global__ void add_sums(
    real* total0, const real* parts0, int count0, int width0,
    real* total1, const real* parts1, int count1, int width1,
    real* total2, const real* parts2, int count2, int width2,
    real* total3, const real* parts3, int count3, int width3,
    real* total4, const real* parts4, int count4, int width4,
    real* total5, const real* parts5, int count5, int width5,
    real* total6, const real* parts6, int count6, int width6,
    real* total7, const real* parts7, int count7, int width7) {
  __shared__ real of_warps[WARP][WARP];
  switch (blockIdx.y) {
    case 0: return add_sum(total0, parts0, count0, width0, of_warps);
    case 1: return add_sum(total1, parts1, count1, width1, of_warps);
    case 2: return add_sum(total2, parts2, count2, width2, of_warps);
    case 3: return add_sum(total3, parts3, count3, width3, of_warps);
    case 4: return add_sum(total4, parts4, count4, width4, of_warps);
    case 5: return add_sum(total5, parts5, count5, width5, of_warps);
    case 6: return add_sum(total6, parts6, count6, width6, of_warps);
    case 7: return add_sum(total7, parts7, count7, width7, of_warps);
  }
}
