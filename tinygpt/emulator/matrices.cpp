// Small matrices that a warp holds together: ldmatrix and mma, with the fragments where PTX has them.
#include "runtime.h"
#include <cstring>

namespace {

float bf16(uint32_t pair, int which) {
  uint32_t bits = which ? pair & 0xffff0000u : pair << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

float tf32(uint32_t bits) {  // a card reads the upper 19 bits
  bits &= 0xffffe000u;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// c (16 x 8) += a (16 x K) @ b (K x 8). Lane l holds c at rows l / 4 and l / 4 + 8, columns l % 4 * 2 and the next.
template <int K>
void add_product(Thread* warp, const float (&a)[16][K], const float (&b)[K][8]) {
  for (int lane = 0; lane < LANES; lane++) {
    float* c = (float*)warp[lane].out;
    for (int e = 0; e < 4; e++) {
      int row = lane / 4 + e / 2 * 8;
      int column = lane % 4 * 2 + e % 2;
      float sum = 0;
      for (int k = 0; k < K; k++) sum += a[row][k] * b[k][column];
      c[e] += sum;
    }
  }
}

}  // namespace

void multiply_bf16(Thread* warp) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < LANES; lane++) {
    auto registers = (const uint32_t*)warp[lane].in;
    int group = lane / 4;
    int pair = lane % 4 * 2;
    for (int e = 0; e < 2; e++) {
      for (int r = 0; r < 4; r++) a[group + r % 2 * 8][pair + r / 2 * 8 + e] = bf16(registers[r], e);
      for (int r = 0; r < 2; r++) b[pair + r * 8 + e][group] = bf16(registers[4 + r], e);
    }
  }
  add_product(warp, a, b);
}

void multiply_tf32(Thread* warp) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < LANES; lane++) {
    auto registers = (const uint32_t*)warp[lane].in;
    int group = lane / 4;
    int place = lane % 4;
    for (int r = 0; r < 4; r++) a[group + r % 2 * 8][place + r / 2 * 4] = tf32(registers[r]);
    for (int r = 0; r < 2; r++) b[place + r * 4][group] = tf32(registers[4 + r]);
  }
  add_product(warp, a, b);
}

void load_matrices(Thread* warp) {
  for (int lane = 0; lane < LANES; lane++) {
    me = warp + lane;
    Window* window = touch<READ>((uintptr_t)me->in, 16, me->pc);
    if (checking && !(window && window->region->shared)) fail(me->pc, "ldmatrix reads shared memory only");
  }
  for (int lane = 0; lane < LANES; lane++) {
    auto out = (uint32_t*)warp[lane].out;
    bool transposed = warp[lane].from;
    for (int matrix = 0; matrix < 4; matrix++) {
      uint32_t pair = 0;
      for (int e = 0; e < 2; e++) {
        int row = lane / 4;
        int column = lane % 4 * 2 + e;
        if (transposed) std::swap(row, column);
        uint32_t element = ((const uint16_t*)warp[matrix * 8 + row].in)[column];
        pair |= element << (16 * e);
      }
      out[matrix] = pair;
    }
  }
}

// ---- called by kernels ----

EMU_RUNTIME void emu_ldmatrix(const void* row, uint32_t* out, bool transposed, int line) {
  wait_for_lanes(LDMATRIX, ~0u, transposed, row, out, 0, line, CALLER);
}

EMU_RUNTIME void emu_mma_bf16(const uint32_t* a_and_b, float* c, int line) {
  wait_for_lanes(MMA_BF16, ~0u, 0, a_and_b, c, 0, line, CALLER);
}

EMU_RUNTIME void emu_mma_tf32(const uint32_t* a_and_b, float* c, int line) {
  wait_for_lanes(MMA_TF32, ~0u, 0, a_and_b, c, 0, line, CALLER);
}
