// Products of small matrices by one warp, with the fragments as PTX lays them out.
#include <cuda_bf16.h>

// C (16, 8) = A (16, 8) @ B (8, 8)
extern "C" __global__ void product_tf32(const float* A, const float* B, float* C) {
  int group = threadIdx.x / 4;
  int t = threadIdx.x % 4;
  uint32_t a[4] = {to_tf32(A[group * 8 + t]), to_tf32(A[(group + 8) * 8 + t]), to_tf32(A[group * 8 + t + 4]),
                   to_tf32(A[(group + 8) * 8 + t + 4])};
  uint32_t b[2] = {to_tf32(B[t * 8 + group]), to_tf32(B[(t + 4) * 8 + group])};
  float c[4] = {};
  mma_m16n8k8_tf32(c, a, b);
  C[group * 8 + 2 * t] = c[0];
  C[group * 8 + 2 * t + 1] = c[1];
  C[(group + 8) * 8 + 2 * t] = c[2];
  C[(group + 8) * 8 + 2 * t + 1] = c[3];
}

extern "C" __global__ void round_tf32(const float* x, uint32_t* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = to_tf32(x[i]);
}

extern "C" __global__ void product_of_unrounded(float* C) {  // the low 13 bits are not read
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; i++) a[i] = 0x3f801fffu;
  for (int i = 0; i < 2; i++) b[i] = 0x3f800000u;
  float c[4] = {1, 1, 1, 1};
  mma_m16n8k8_tf32(c, a, b);
  for (int i = 0; i < 4; i++) C[threadIdx.x * 4 + i] = c[i];
}

// C (16, 8) = A (16, 16) @ B (16, 8), or of A (16, 16) and B^T (8, 16)
extern "C" __global__ void product_bf16(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C, int transposed) {
  __shared__ __align__(16) __nv_bfloat16 a_tile[16][16], b_tile[256];
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) a_tile[i / 16][i % 16] = A[i];
  for (int i = lane; i < 256; i += 32) b_tile[i] = i < 128 ? B[i] : __float2bfloat16(0.0f);
  __syncthreads();
  uint32_t a[4], b[4];
  ldsm_x4(a, &a_tile[lane % 16][lane / 16 * 8]);
  if (transposed) ldsm_x4(b, &b_tile[lane % 8 * 16 + lane / 8 % 2 * 8]);  // rows of B^T
  else ldsm_x4(b, &b_tile[lane % 16 * 8], true);
  float c[4] = {};
  mma16816(c, a, b[0], b[1]);
  for (int i = 0; i < 4; i++) C[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}
