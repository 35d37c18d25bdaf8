// CUDA's vector types, with CUDA's alignments: a float4 is one access of 16 bytes.
#pragma once
#include <cstdint>

#define EMU_VECTORS(T, NAME)                                                             \
  struct NAME##1 { T x; };                                                               \
  struct alignas(2 * sizeof(T)) NAME##2 { T x, y; };                                     \
  struct NAME##3 { T x, y, z; };                                                         \
  struct alignas(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) NAME##4 { T x, y, z, w; };         \
  inline NAME##1 make_##NAME##1(T x) { return {x}; }                                     \
  inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                             \
  inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                     \
  inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EMU_VECTORS(float, float)
EMU_VECTORS(double, double)
EMU_VECTORS(int, int)
EMU_VECTORS(unsigned, uint)
EMU_VECTORS(short, short)
EMU_VECTORS(unsigned short, ushort)
EMU_VECTORS(signed char, char)
EMU_VECTORS(unsigned char, uchar)
EMU_VECTORS(long long, longlong)
EMU_VECTORS(unsigned long long, ulonglong)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  dim3(uint3 n) : x(n.x), y(n.y), z(n.z) {}
};
