// The seam: what is PTX on a card, by the names of `tinygpt/kernels/cuda/seam.h`. Products of small matrices that a
// warp holds together, their loads from shared memory, and copies that arrive later.
#pragma once

typedef __nv_bfloat16 bfloat16;

// Four 8 x 8 matrices of 16-bit elements: lane l gives row l % 8 of matrix l / 8, and gets two elements of each.
EMU_CALL void ldsm_x4(uint32_t (&r)[4], const void* row, bool transposed = false, EMU_LINE) {
  emu_ldmatrix(row, r, transposed, line);
}

// The same by 32-bit addresses in dynamic shared memory, which here are offsets in it
EMU_CALL uint32_t shared_address(const void* p) { return (uint32_t)((const char*)p - emu_dynamic); }
EMU_CALL void* shared_pointer(uint32_t address) { return emu_dynamic + address; }
EMU_CALL void ldsm_x4(uint32_t (&r)[4], uint32_t row, EMU_LINE) { emu_ldmatrix(emu_dynamic + row, r, false, line); }
EMU_CALL void ldsm_x4_t(uint32_t (&r)[4], uint32_t row, EMU_LINE) { emu_ldmatrix(emu_dynamic + row, r, true, line); }

// c (16 x 8) += a (16 x 16) @ b (16 x 8), of bf16, in float32
EMU_CALL void mma16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, EMU_LINE) {
  uint32_t a_and_b[6] = {a[0], a[1], a[2], a[3], b0, b1};
  emu_mma_bf16(a_and_b, c, line);
}

// c (16 x 8) += a (16 x 8) @ b (8 x 8), of TF32, in float32
EMU_CALL void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_LINE) {
  uint32_t a_and_b[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  emu_mma_tf32(a_and_b, c, line);
}

// cvt.rna.tf32.f32: to 10 bits of fraction, to nearest, ties away from zero
EMU_CALL uint32_t to_tf32(float x) {
  uint32_t u = emu_bits<uint32_t>(x);
  if (x != x) return 0x7fffe000u;
  if ((u & 0x7f800000u) == 0x7f800000u) return u;
  return (u + 0x1000u) & 0xffffe000u;
}

// Two numbers rounded to bfloat16, the first in the lower half
EMU_CALL uint32_t pack(float x, float y) { return (uint32_t)bfloat16(y).bits << 16 | bfloat16(x).bits; }
EMU_CALL float ex2(float x) { return exp2f(x); }

EMU_CALL void cp_async16(void* to, const void* from) { emu_copy_async(to, from, 16, 0); }
EMU_CALL void cp_async16(uint32_t to, const void* from, bool inside) {
  emu_copy_async(emu_dynamic + to, from, 16, inside ? 0 : 16);
}
EMU_CALL void cp_commit() { emu_copy_commit(); }
template <int N>
EMU_CALL void cp_wait() { emu_copy_wait(N); }

// The same by the names of <cuda_pipeline.h>
EMU_CALL void __pipeline_memcpy_async(void* to, const void* from, int size, int zeros = 0) {
  emu_copy_async(to, from, size, zeros);
}
EMU_CALL void __pipeline_commit() { emu_copy_commit(); }
EMU_CALL void __pipeline_wait_prior(int keep) { emu_copy_wait(keep); }
