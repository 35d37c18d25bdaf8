// What a kernel calls in the emulator's runtime: all that crosses threads. The address that an error names is that of
// the call, and `line` is the source line, by which the runtime knows whether threads have met at the same place.
#pragma once
#include <cstddef>
#include "types.h"

#define EMU_RUNTIME extern "C" __attribute__((visibility("default")))

// threadIdx, blockIdx, blockDim, gridDim, the lane: calls, since g++ would instrument variables; and `const`, since
// they never change for a thread.
EMU_RUNTIME uint3 emu_index(int which) __attribute__((const));
EMU_RUNTIME int emu_lane() __attribute__((const));
EMU_RUNTIME char emu_dynamic[];  // dynamic shared memory

// Waits until all threads of the block have come; says how many of them voted.
EMU_RUNTIME int emu_barrier(bool vote, int line);
EMU_RUNTIME void emu_fence();

// Wait for the lanes of the mask.
EMU_RUNTIME void emu_syncwarp(unsigned mask, int line);
EMU_RUNTIME void emu_shuffle(unsigned mask, int from, const void* in, void* out, int size, int line);
EMU_RUNTIME unsigned emu_ballot(unsigned mask, bool vote, int line);

// Wait for all 32 lanes.
EMU_RUNTIME void emu_ldmatrix(const void* row, uint32_t* out, bool transposed, int line);
EMU_RUNTIME void emu_mma_bf16(const uint32_t* a_and_b, float* c, int line);
EMU_RUNTIME void emu_mma_tf32(const uint32_t* a_and_b, float* c, int line);

// cp.async: of `size` bytes the last `zeros` are not read but set to 0.
EMU_RUNTIME void emu_copy_async(void* to, const void* from, int size, int zeros);
EMU_RUNTIME void emu_copy_commit();
EMU_RUNTIME void emu_copy_wait(int keep);

// An atomic: its check with what is there, and what is to be there. Only one thread runs at a time.
EMU_RUNTIME void emu_atomic_begin(const void* p, void* old, int size);
EMU_RUNTIME void emu_atomic_end(void* p, const void* now, int size);

EMU_RUNTIME void emu_copy(void* to, const void* from, size_t n);
EMU_RUNTIME void emu_fill(void* to, int value, size_t n);
