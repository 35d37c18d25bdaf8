// What a kernel may call, once each, to be compared with NumPy.
#include <cuda_bf16.h>
#ifndef REAL
#define REAL float
#endif
typedef REAL real;

extern "C" __global__ void to_bf16_and_back(const float* x, __nv_bfloat16* out, float* back, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = __float2bfloat16(x[i]);
  back[i] = __bfloat162float(out[i]);
}

extern "C" __global__ void bf16_arithmetic(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* out, int n) {
  int i = threadIdx.x;
  out[i] = a[i] + b[i];
  out[n + i] = a[i] - b[i];
  out[2 * n + i] = a[i] * b[i];
  out[3 * n + i] = a[i] / b[i];
  __nv_bfloat162 pair = __floats2bfloat162_rn(a[i], b[i]);
  out[4 * n + i] = pair.x;
  out[5 * n + i] = __float2bfloat16(__high2float(pair));
}

extern "C" __global__ void exchange(const real* x, real* out, int width) {  // one warp; out: (4, 32)
  int lane = threadIdx.x;
  real value = x[lane];
  out[lane] = __shfl_xor_sync(0xffffffffu, value, 5, width);
  out[32 + lane] = __shfl_down_sync(0xffffffffu, value, 3, width);
  out[64 + lane] = __shfl_up_sync(0xffffffffu, value, 3, width);
  out[96 + lane] = __shfl_sync(0xffffffffu, value, lane + 9, width);
}

extern "C" __global__ void votes(const int* x, unsigned* out) {
  int value = x[threadIdx.x];
  unsigned ballot = __ballot_sync(0xffffffffu, value % 3 == 0);
  int any = __any_sync(0xffffffffu, value < 0);
  int all = __all_sync(0xffffffffu, value >= 0);
  int count = __syncthreads_count(value % 3 == 0);
  int either = __syncthreads_or(value == 7);
  int both = __syncthreads_and(value != 7);
  unsigned found[6] = {ballot, (unsigned)any, (unsigned)all, (unsigned)count, (unsigned)either, (unsigned)both};
  for (int i = 0; i < 6; i++) out[i * blockDim.x + threadIdx.x] = found[i];
}

extern "C" __global__ void atomics(
    double* sum, float* sum32, int* most, int* least, unsigned long long* bits, unsigned* wraps, unsigned* down,
    unsigned* taken, const float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  atomicAdd(sum, x[i]);
  atomicAdd(sum32, 1.0f);
  atomicMax(most, (int)(x[i] * 1000));
  atomicMin(least, (int)(x[i] * 1000));
  atomicOr(bits, 1ull << (i % 64));
  atomicInc(wraps, 6);
  atomicDec(down, 6);
  if (atomicCAS(taken, 0u, 1u) == 0u) atomicExch(taken, 5u);
}

extern "C" __global__ void wide(const float4* a, const uint2* b, double2* c, uint4* d, int* e) {
  int i = threadIdx.x;
  float4 v = a[i];
  uint2 u = b[i];
  c[i] = make_double2((double)v.x + v.w, fmaxf(v.y, v.z));
  d[i] = make_uint4(u.x, u.y, __float_as_uint(v.x), __umulhi(u.x, u.y));
  e[3 * i] = __popc(u.x);
  e[3 * i + 1] = __clz(u.x);
  e[3 * i + 2] = __ffs(u.y);
}

extern "C" __global__ void left_lanes(float* out) {  // some lanes leave, then the others meet
  if (threadIdx.x >= 32) return;
  float value = __shfl_xor_sync(0xffffffffu, (float)threadIdx.x, 1);
  if (threadIdx.x >= 16) return;
  __syncwarp(0xffff);
  out[threadIdx.x] = value + __shfl_xor_sync(0xffffu, value, 8);
}

// The functions of a real number, of which CUDA has one for float and one for double. out: (14, n)
extern "C" __global__ void functions(const real* x, const real* y, real* out, int n) {
  int i = threadIdx.x;
  real a = x[i];
  real b = y[i];
  real found[14] = {exp(a), log(fabs(a)), sqrt(fabs(a)), rsqrt(fabs(a)), tanh(a), erf(a), max(a, b), min(a, b),
                    (real)isinf(a), (real)isnan(a), fma(a, b, a), __ldg(x + i), log1p(fabs(a)), pow(fabs(a), b)};
  for (int k = 0; k < 14; k++) out[k * n + i] = found[k];
}

// Which types they return, by their sizes
extern "C" __global__ void types(int* out) {
  float f = 1;
  double d = 1;
  int sizes[12] = {sizeof(exp(f)), sizeof(exp(d)), sizeof(tanh(f)), sizeof(rsqrt(f)), sizeof(rsqrt(d)),
                   sizeof(max(f, f)), sizeof(max(f, d)), sizeof(min(d, d)), sizeof(max(1, 2)), sizeof(fabs(f)),
                   sizeof(erf(f)), sizeof(max(1ll, 2ll))};
  for (int k = 0; k < 12; k++) out[k] = sizes[k];
}

extern "C" __global__ void copies(const float* x, float* out, int n) {
  if (threadIdx.x > 0) return;
  memcpy(out, x, n * sizeof(float));
  memset(out, 0, 8);
}
