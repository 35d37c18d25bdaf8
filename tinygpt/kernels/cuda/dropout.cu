// Dropout, and its gradient, which is the same of dout: the bits are hashed anew and not kept.
// EACH is given: numbers that a thread has on their way at once.
#include "common.h"

// x: (rows, places). A block has EACH times its threads of a row's places, neighbours side by side.
extern "C" __global__ void dropout(
    const stored* x, stored* out, uint64 key, uint64 first_row, uint32 threshold, real scale, int rows, int places) {
  uint32 first = blockIdx.x * EACH * blockDim.x + threadIdx.x;
  for (int row = blockIdx.y; row < rows; row += gridDim.y) {
    uint64 of_row = row_key(key, first_row + row);
    size_t start = (size_t)row * places;
    real values[EACH];
    for (int k = 0; k < EACH; k++) {
      uint32 place = first + k * blockDim.x;
      values[k] = place < places ? (real)x[start + place] : 0;
    }
    for (int k = 0; k < EACH; k++) {
      uint32 place = first + k * blockDim.x;
      if (place < places) out[start + place] = values[k] * kept(of_row, place, threshold, scale);
    }
  }
}
