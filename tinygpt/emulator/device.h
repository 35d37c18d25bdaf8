// What a CUDA C kernel sees when g++ compiles it for the emulator: keywords, built-in variables, barriers, exchanges
// within a warp, atomics. The compiler reads it before the kernel's text; no header of CUDA's is needed.
#pragma once
#include <cmath>
#include <math.h>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>
#include "calls.h"

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

// What source.py did not rewrite lies in a section of its own, whose ends the linker names.
#define __shared__ static __attribute__((section("emu_shared")))
#define EMU_DYNAMIC __attribute__((visibility("default")))
#define EMU_GAP 256  // bytes after each static shared variable that nobody may touch

// Always inlined, so that the address in an error is one of the kernel's line.
#define EMU_CALL inline __attribute__((always_inline))
#define EMU_LINE int line = __builtin_LINE()

#define threadIdx emu_index(0)
#define blockIdx emu_index(1)
#define blockDim emu_index(2)
#define gridDim emu_index(3)
constexpr int warpSize = 32;

#define memcpy emu_copy
#define memset emu_fill

template <class To, class From>
EMU_CALL To emu_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

// ---- barriers and fences ----

EMU_CALL void __syncthreads(EMU_LINE) { emu_barrier(false, line); }
EMU_CALL int __syncthreads_count(int vote, EMU_LINE) { return emu_barrier(vote != 0, line); }
EMU_CALL int __syncthreads_or(int vote, EMU_LINE) { return emu_barrier(vote != 0, line) != 0; }
EMU_CALL int __syncthreads_and(int vote, EMU_LINE) { return emu_barrier(vote == 0, line) == 0; }
EMU_CALL void __syncwarp(unsigned mask = ~0u, EMU_LINE) { emu_syncwarp(mask, line); }
EMU_CALL void __threadfence() { emu_fence(); }
EMU_CALL void __threadfence_block() {}

// ---- exchanges within a warp: `from` is the lane whose value comes back. Lanes form segments of `width`; from outside
// of its segment a lane gets its own value ----

template <class T>
EMU_CALL T emu_value_of(unsigned mask, T value, int from, int line) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2, "shuffles carry 2, 4 or 8 bytes");
  T result;
  emu_shuffle(mask, from, &value, &result, sizeof(T), line);
  return result;
}

template <class T>
EMU_CALL T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMU_LINE) {
  return emu_value_of(mask, value, (emu_lane() & -width) | (from & (width - 1)), line);
}

template <class T>
EMU_CALL T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMU_LINE) {
  int lane = emu_lane();
  int from = lane ^ bits;
  return emu_value_of(mask, value, from > (lane | (width - 1)) ? lane : from, line);
}

template <class T>
EMU_CALL T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_LINE) {
  int lane = emu_lane();
  int from = lane + (int)by;
  return emu_value_of(mask, value, from > (lane | (width - 1)) ? lane : from, line);
}

template <class T>
EMU_CALL T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_LINE) {
  int lane = emu_lane();
  int from = lane - (int)by;
  return emu_value_of(mask, value, from < (lane & -width) ? lane : from, line);
}

EMU_CALL unsigned __ballot_sync(unsigned mask, int vote, EMU_LINE) { return emu_ballot(mask, vote != 0, line); }
EMU_CALL int __any_sync(unsigned mask, int vote, EMU_LINE) { return emu_ballot(mask, vote != 0, line) != 0; }
EMU_CALL int __all_sync(unsigned mask, int vote, EMU_LINE) { return emu_ballot(mask, vote == 0, line) == 0; }

// ---- atomics, for the types that CUDA has them for ----

template <class T, class... Allowed>
constexpr bool emu_is_one_of = (std::is_same_v<T, Allowed> || ...);

using emu_u64 = unsigned long long;

#define EMU_ATOMIC(NAME, RESULT, ...)                                                   \
  template <class T>                                                                    \
  EMU_CALL T NAME(T* p, std::common_type_t<T> v) {                                      \
    static_assert(emu_is_one_of<T, __VA_ARGS__>, "CUDA has no such atomic");            \
    T old;                                                                              \
    emu_atomic_begin(p, &old, sizeof(T));                                               \
    T now = (RESULT);                                                                   \
    emu_atomic_end(p, &now, sizeof(T));                                                 \
    return old;                                                                         \
  }

EMU_ATOMIC(atomicAdd, old + v, int, unsigned, emu_u64, float, double)
EMU_ATOMIC(atomicSub, old - v, int, unsigned)
EMU_ATOMIC(atomicExch, v, int, unsigned, emu_u64, float)
EMU_ATOMIC(atomicMax, old > v ? old : v, int, unsigned, long long, emu_u64)
EMU_ATOMIC(atomicMin, old < v ? old : v, int, unsigned, long long, emu_u64)
EMU_ATOMIC(atomicAnd, old & v, int, unsigned, emu_u64)
EMU_ATOMIC(atomicOr, old | v, int, unsigned, emu_u64)
EMU_ATOMIC(atomicXor, old ^ v, int, unsigned, emu_u64)
EMU_ATOMIC(atomicInc, old >= v ? 0 : old + 1, unsigned)
EMU_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1, unsigned)

template <class T>
EMU_CALL T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> v) {
  static_assert(emu_is_one_of<T, int, unsigned, emu_u64, unsigned short>, "CUDA has no such atomic");
  T old;
  emu_atomic_begin(p, &old, sizeof(T));
  T now = old == expected ? v : old;
  emu_atomic_end(p, &now, sizeof(T));
  return old;
}

// ---- loads and stores with hints ----

template <class T>
EMU_CALL T __ldg(const T* p) { return *p; }
template <class T>
EMU_CALL T __ldcs(const T* p) { return *p; }
template <class T>
EMU_CALL T __ldcg(const T* p) { return *p; }
template <class T>
EMU_CALL void __stcs(T* p, std::common_type_t<T> v) { *p = v; }
template <class T>
EMU_CALL void __stcg(T* p, std::common_type_t<T> v) { *p = v; }

#include "bfloat16.h"
#include "mathematics.h"
#include "tensor_cores.h"
#include "entry.h"
