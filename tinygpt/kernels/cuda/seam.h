// All that differs between a card and the emulator (`tinygpt/emulator/`), which has these by other means.
#pragma once
#ifndef EMULATED

// bfloat16: the upper half of a float, rounded to nearest, ties to even (from compute capability 8.0 on). One computes
// in float; here it is only loaded and stored.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
struct bfloat16 {
  unsigned short bits;
  bfloat16() = default;
  __device__ bfloat16(float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  __device__ operator float() const { return __uint_as_float((unsigned int)bits << 16); }
};
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

// A place in shared memory as its 32-bit address there, which instructions take and XOR reaches.
__device__ inline unsigned int shared_address(const void* p) { return (unsigned int)__cvta_generic_to_shared(p); }
__device__ inline void* shared_pointer(unsigned int address) { return __cvta_shared_to_generic(address); }

// Copies of 16 bytes into shared memory that arrive later: in groups, each of what was begun since the last commit.
// cp_wait<N> waits until all but the last N groups are there. Where not `inside`, nothing is read, and zeros arrive.
__device__ inline void cp_async16(unsigned int to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
__device__ inline void cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ inline void cp_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four 8 x 8 matrices of bfloat16 by a warp: lane l gives the address of row l % 8 of matrix l / 8, and gets of each
// matrix (l / 4, 2t) and (l / 4, 2t + 1), t = l % 4; with _t, of each matrix's transpose.
__device__ inline void ldsm_x4(unsigned int (&r)[4], unsigned int row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}
__device__ inline void ldsm_x4_t(unsigned int (&r)[4], unsigned int row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}

// c += a b, (16, 16) @ (16, 8) of bfloat16, by a warp. With g = lane / 4 and t = lane % 4, a lane's registers hold in
// pairs a's (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8) and the elements right of these, and b's (2t, g),
// (2t + 8, g) and those below; c as below.
__device__ inline void mma16816(float (&c)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two numbers rounded to bfloat16, the first in the lower half
__device__ inline unsigned int pack(float x, float y) {
  unsigned int both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
  return both;
}
#endif

// 2^x, to within 2 in the last place
__device__ inline float ex2(float x) {
  asm("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
  return x;
}

// TF32: a float's upper 19 bits, as tensor cores multiply them. x, rounded to it:
__device__ inline unsigned int to_tf32(float x) {
  unsigned int bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

// c += a b, (16, 8) @ (8, 8), by a warp. With g = lane / 4 and t = lane % 4 a lane has a's (g, t), (g + 8, t),
// (g, t + 4) and (g + 8, t + 4), b's (t, g) and (t + 4, g), and c's (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ inline void mma_m16n8k8_tf32(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
