// What every kernel of this folder uses: the number type, dropout's bits, and sums over the lanes of a warp.
//
// A warp is 32 threads, its lanes, that run side by side; a block is up to 32 warps that share memory and barriers. The
// sums here are in a fixed order, so that the same inputs give the same bits.
#pragma once
#include "seam.h"

#ifndef STORED
#define STORED REAL
#endif
typedef REAL real;      // what is computed in: float or double; a file is compiled once for each, with -DREAL=...
typedef STORED stored;  // what activations and matrices are kept in: the same, or bfloat16
typedef unsigned int uint32;
typedef unsigned long long uint64;

constexpr int WARP = 32;
constexpr uint32 ALL_LANES = 0xffffffffu;

// The sum of x over the lanes of a warp, in every lane: halves are exchanged, then quarters, and so on.
__device__ inline real warp_sum(real x) {
  for (int distance = WARP / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
  return x;
}

__device__ inline real warp_max(real x) {
  for (int distance = WARP / 2; distance > 0; distance /= 2) x = max(x, __shfl_xor_sync(ALL_LANES, x, distance));
  return x;
}

// Dropout's bits, as `tinygpt/random.py` defines them: a hash of the key, the row and the place within the row. `key` is
// what the host has finalised (`finalise` there), so that here, as there, row_key is fold_in(key, row).
__device__ inline uint64 row_key(uint64 key, uint64 row) {
  uint64 z = (row ^ key) + 0x9E3779B97F4A7C15ull;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

__device__ inline uint32 mix(uint32 bits) {
  bits = (bits ^ bits >> 16) * 0x7FEB352Du;
  bits = (bits ^ bits >> 15) * 0x846CA68Bu;
  return bits ^ bits >> 16;
}

__device__ inline uint32 random_bits(uint64 row_key, uint32 place) {
  return mix(mix(place + (uint32)row_key) ^ (uint32)(row_key >> 32));
}

// What a number is multiplied by: 0 if it is dropped, 1 / (1 - p) if it is kept. `threshold` is p * 2^32; without dropout
// it is 0, and every number is kept.
__device__ inline real kept(uint64 row_key, uint32 place, uint32 threshold, real scale) {
  return random_bits(row_key, place) >= threshold ? scale : (real)0;
}
