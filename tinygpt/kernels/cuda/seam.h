// All that differs between a card and the emulator (`tinygpt/emulator/`), which has these by other means.
#pragma once
#ifndef EMULATED

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
