// bfloat16: the upper half of a float32, rounded to nearest, ties to even. Arithmetic is done in float32 and rounded.
#pragma once

struct __nv_bfloat16 {
  unsigned short bits;

  __nv_bfloat16() = default;
  __nv_bfloat16(float f) {
    uint32_t u = emu_bits<uint32_t>(f);
    bits = f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
  }
  operator float() const { return emu_bits<float>((uint32_t)bits << 16); }
};

struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };

#define EMU_BF16(op)                                                                     \
  inline __nv_bfloat16 operator op(__nv_bfloat16 a, __nv_bfloat16 b) {                   \
    return (float)a op (float)b;                                                         \
  }                                                                                      \
  inline __nv_bfloat16& operator op##=(__nv_bfloat16& a, __nv_bfloat16 b) {              \
    return a = a op b;                                                                   \
  }

EMU_BF16(+)
EMU_BF16(-)
EMU_BF16(*)
EMU_BF16(/)

EMU_CALL __nv_bfloat16 __float2bfloat16(float f) { return f; }
EMU_CALL __nv_bfloat16 __float2bfloat16_rn(float f) { return f; }
EMU_CALL float __bfloat162float(__nv_bfloat16 b) { return b; }
EMU_CALL __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
EMU_CALL __nv_bfloat162 __float22bfloat162_rn(float2 f) { return {f.x, f.y}; }
EMU_CALL __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
EMU_CALL float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
EMU_CALL float __low2float(__nv_bfloat162 v) { return v.x; }
EMU_CALL float __high2float(__nv_bfloat162 v) { return v.y; }
EMU_CALL unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }

EMU_CALL __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 b;
  b.bits = bits;
  return b;
}
