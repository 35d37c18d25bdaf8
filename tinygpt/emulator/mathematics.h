// Mathematics: what CUDA adds to C's, exact where a card approximates. exp, log, sqrt, tanh, erf, fabs, isinf, isnan
// and the like come from <math.h>, as on a card: of a float a float, of a double a double.
#pragma once

// max and min for the pairs of types that CUDA has them for. Others, such as (float, int), are refused as ambiguous, as
// nvcc refuses them. Of a number and a NaN both give the number.
#define EMU_MAX_MIN(R, A, B)                                                             \
  EMU_CALL R max(A a, B b) { return (R)a > (R)b ? (R)a : (R)b; }                         \
  EMU_CALL R min(A a, B b) { return (R)a < (R)b ? (R)a : (R)b; }
#define EMU_MAX_MIN_FLOAT(R, A, B, MAX, MIN)                                             \
  EMU_CALL R max(A a, B b) { return MAX(a, b); }                                         \
  EMU_CALL R min(A a, B b) { return MIN(a, b); }

EMU_MAX_MIN(int, int, int)
EMU_MAX_MIN(unsigned, unsigned, unsigned)
EMU_MAX_MIN(unsigned, int, unsigned)
EMU_MAX_MIN(unsigned, unsigned, int)
EMU_MAX_MIN(long, long, long)
EMU_MAX_MIN(unsigned long, unsigned long, unsigned long)
EMU_MAX_MIN(unsigned long, long, unsigned long)
EMU_MAX_MIN(unsigned long, unsigned long, long)
EMU_MAX_MIN(long long, long long, long long)
EMU_MAX_MIN(emu_u64, emu_u64, emu_u64)
EMU_MAX_MIN(emu_u64, long long, emu_u64)
EMU_MAX_MIN(emu_u64, emu_u64, long long)
EMU_MAX_MIN_FLOAT(float, float, float, fmaxf, fminf)
EMU_MAX_MIN_FLOAT(double, double, double, fmax, fmin)
EMU_MAX_MIN_FLOAT(double, float, double, fmax, fmin)
EMU_MAX_MIN_FLOAT(double, double, float, fmax, fmin)

EMU_CALL float rsqrtf(float x) { return 1.0f / sqrtf(x); }
EMU_CALL float rsqrt(float x) { return 1.0f / sqrtf(x); }
EMU_CALL double rsqrt(double x) { return 1.0 / sqrt(x); }
EMU_CALL float exp10f(float x) { return powf(10.0f, x); }

// The fast ones
EMU_CALL float __expf(float x) { return expf(x); }
EMU_CALL float __exp10f(float x) { return powf(10.0f, x); }
EMU_CALL float __logf(float x) { return logf(x); }
EMU_CALL float __log2f(float x) { return log2f(x); }
EMU_CALL float __powf(float x, float y) { return powf(x, y); }
EMU_CALL float __sinf(float x) { return sinf(x); }
EMU_CALL float __cosf(float x) { return cosf(x); }
EMU_CALL float __fdividef(float x, float y) { return x / y; }
EMU_CALL float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

// Rounded once, and never joined into a fused multiply-add
EMU_CALL float __frcp_rn(float x) { return 1.0f / x; }
EMU_CALL float __fsqrt_rn(float x) { return sqrtf(x); }
EMU_CALL float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
EMU_CALL float __fadd_rn(float x, float y) { return x + y; }
EMU_CALL float __fsub_rn(float x, float y) { return x - y; }
EMU_CALL float __fmul_rn(float x, float y) { return x * y; }
EMU_CALL float __fdiv_rn(float x, float y) { return x / y; }
EMU_CALL float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
EMU_CALL double __dadd_rn(double x, double y) { return x + y; }
EMU_CALL double __dmul_rn(double x, double y) { return x * y; }
EMU_CALL double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

EMU_CALL int __float2int_rn(float x) { return (int)nearbyintf(x); }
EMU_CALL int __float2int_rd(float x) { return (int)floorf(x); }
EMU_CALL int __float2int_rz(float x) { return (int)x; }
EMU_CALL float __int2float_rn(int x) { return (float)x; }
EMU_CALL float __uint2float_rn(unsigned x) { return (float)x; }
EMU_CALL float __double2float_rn(double x) { return (float)x; }

// Bits
EMU_CALL unsigned __float_as_uint(float x) { return emu_bits<unsigned>(x); }
EMU_CALL int __float_as_int(float x) { return emu_bits<int>(x); }
EMU_CALL float __uint_as_float(unsigned x) { return emu_bits<float>(x); }
EMU_CALL float __int_as_float(int x) { return emu_bits<float>(x); }
EMU_CALL long long __double_as_longlong(double x) { return emu_bits<long long>(x); }
EMU_CALL double __longlong_as_double(long long x) { return emu_bits<double>(x); }
EMU_CALL unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
EMU_CALL emu_u64 __umul64hi(emu_u64 a, emu_u64 b) { return (unsigned __int128)a * b >> 64; }
EMU_CALL int __popc(unsigned x) { return __builtin_popcount(x); }
EMU_CALL int __popcll(emu_u64 x) { return __builtin_popcountll(x); }
EMU_CALL int __ffs(int x) { return __builtin_ffs(x); }
EMU_CALL int __clz(int x) { return x ? __builtin_clz(x) : 32; }
EMU_CALL int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
