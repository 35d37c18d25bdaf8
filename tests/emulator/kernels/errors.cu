// Kernels with one mistake each. `stops` marks the line that the emulator is to name, `other` the other line of a race.
// x: 64 numbers; out: 64 places that nobody has written; zeros: 64 zeros; counter: one zero; n: 64

// ---- where ----

extern "C" __global__ void reads_after_the_end(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  int i = threadIdx.x;
  out[i] = x[i == 7 ? n : i];  // stops
}

extern "C" __global__ void writes_before_the_start(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  int i = threadIdx.x;
  out[i == 3 ? -2 : i] = x[i];  // stops
}

extern "C" __global__ void straddles_the_end(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 6) *(uint2*)counter = make_uint2(0, 0);  // stops
}

extern "C" __global__ void reads_what_was_never_written(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  int i = threadIdx.x;
  if (i != 9) out[i] = x[i];
  if (i == 9) zeros[i] = out[i];  // stops
}

extern "C" __global__ void adds_to_what_was_never_written(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 9) atomicAdd(out, 1.0f);  // stops
}

extern "C" __global__ void is_misaligned(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 4) *(float2*)out = *(const float2*)(x + 1);  // stops
}

extern "C" __global__ void reads_shared_memory_of_an_earlier_block(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float kept[64];
  if (threadIdx.x != 1) return;
  bool first = atomicAdd(counter, 1) == 0;
  if (first) kept[1] = 0;
  out[blockIdx.x] = kept[1];  // stops
}

extern "C" __global__ void runs_past_a_shared_array(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float one[64];
  __shared__ float two[64];
  one[threadIdx.x] = two[threadIdx.x] = 0;
  __syncthreads();
  float* last = (one < two ? one : two) + 63;
  if (threadIdx.x == 2) last[1 + (n == 0)] = 1;  // stops
}

extern "C" __global__ void runs_past_dynamic_shared_memory(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  extern __shared__ float row[];
  if (threadIdx.x == 2) row[n] = 0;  // stops
}

extern "C" __global__ void looks_at_another_threads_variable(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float* address;
  float mine[4] = {x[0], x[1], x[2], x[3]};
  if (threadIdx.x == 1) address = mine;
  __syncthreads();
  mine[n % 4] += 1;
  __syncthreads();
  if (threadIdx.x == 2) out[0] = *address;  // stops
}

// ---- races ----

extern "C" __global__ void two_warps_write(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float sum;
  if (threadIdx.x % 32 == 0) sum = x[threadIdx.x];  // stops other
  __syncthreads();
  if (threadIdx.x == 0) out[0] = sum;
}

extern "C" __global__ void a_warp_writes_what_another_reads(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float s[64];
  int i = threadIdx.x;
  s[i] = x[i];
  __syncthreads();
  float other = s[63 - i];  // stops other
  s[i] = other;             // other stops
}

extern "C" __global__ void two_lanes_write(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x < 2) out[0] = x[threadIdx.x];  // stops other
}

extern "C" __global__ void a_lane_reads_what_another_writes(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float s[32];
  int lane = threadIdx.x % 32;
  if (threadIdx.x < 32) s[lane] = 0;
  __syncwarp();
  if (threadIdx.x == 0) s[0] = 1;      // other stops
  if (threadIdx.x == 1) out[1] = s[0];  // stops other
}

extern "C" __global__ void a_lane_writes_what_several_read(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float s[32];
  if (threadIdx.x >= 32) return;
  if (threadIdx.x == 5) s[0] = 0;
  __syncwarp();
  float first = 0;
  if (threadIdx.x != 5) first = s[0];  // other
  first = __shfl_sync(0xffffffffu, first, 0);  // lanes meet, but nothing is said of memory
  if (threadIdx.x == 5) {
    first += s[0];
    s[0] = first;  // stops
  }
}

extern "C" __global__ void blocks_write_the_same(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 0) out[5] = x[blockIdx.x];  // stops other
}

extern "C" __global__ void a_block_reads_what_another_writes(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 0 && blockIdx.x == 0) zeros[3] = 1;          // other stops
  if (threadIdx.x == 0 && blockIdx.x == 1) out[blockIdx.x] = zeros[3];  // stops other
}

extern "C" __global__ void an_atomic_beside_a_plain_write(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 0 && blockIdx.x == 0) zeros[3] = 1;           // other stops
  if (threadIdx.x == 0 && blockIdx.x == 1) atomicAdd(zeros + 3, 1);  // stops other
}

extern "C" __global__ void the_last_block_without_a_fence(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x > 0) return;
  out[blockIdx.x] = x[blockIdx.x];  // other
  if (atomicInc(counter, gridDim.x - 1) < gridDim.x - 1) return;
  for (int b = 0; b < gridDim.x; b++) zeros[0] += out[b];  // stops
}

// ---- meetings ----

extern "C" __global__ void a_thread_leaves_before_the_barrier(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 40) return;
  __syncthreads();  // stops
}

extern "C" __global__ void two_barriers(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x < 32) {
    __syncthreads();  // stops
  } else {
    __syncthreads();  // other
  }
}

extern "C" __global__ void some_wait_for_the_block_and_some_for_the_warp(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  float value = x[threadIdx.x];
  if (threadIdx.x % 32 < 16) __syncthreads();  // waits for the block
  else value = __shfl_xor_sync(0xffffffffu, value, 1);  // waits for lanes
  out[threadIdx.x] = value;
}

extern "C" __global__ void shuffles_from_a_lane_that_left(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  float value = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
  if (threadIdx.x >= 31) return;
  out[threadIdx.x] = __shfl_sync(0xffffffffu, value, threadIdx.x == 4 ? 31 : 0);  // stops
}

extern "C" __global__ void shuffles_from_a_lane_outside_the_mask(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  float value = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
  if (threadIdx.x >= 16) return;
  if (threadIdx.x < 8) value = __shfl_sync(0xffu, value, threadIdx.x == 4 ? 9 : 0);  // stops
  else value = __shfl_sync(0xff00u, value, 8);
  out[threadIdx.x] = value;
}

extern "C" __global__ void takes_part_outside_the_mask(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x > 8) return;
  out[threadIdx.x] = __ballot_sync(0xffu, 1);  // stops
}

extern "C" __global__ void shuffles_in_a_small_block(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  out[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], threadIdx.x == 0 ? 16 : 0);  // stops
}

extern "C" __global__ void lanes_shuffle_in_two_places(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  float value = x[threadIdx.x];
  if (threadIdx.x == 33) value = __shfl_sync(0xffffffffu, value, 0);  // stops
  else value = __shfl_sync(0xffffffffu, value, 0);  // other
  out[threadIdx.x] = value;
}

extern "C" __global__ void a_lane_skips_a_product(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  float c[4] = {};
  uint32_t a[4] = {}, b[2] = {};
  mma_m16n8k8_tf32(c, a, b);
  if (threadIdx.x == 9) return;
  mma_m16n8k8_tf32(c, a, b);  // stops
  out[threadIdx.x] = c[0];
}

// ---- copies that arrive later ----

extern "C" __global__ void reads_a_copy_before_waiting(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ __align__(16) float s[64];
  if (threadIdx.x != 6) return;
  cp_async16(s, x);  // other
  cp_commit();
  out[0] = s[2];  // stops
  cp_wait<0>();
}

extern "C" __global__ void writes_where_a_copy_is_arriving(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ __align__(16) float s[64];
  if (threadIdx.x != 6) return;
  cp_async16(s, x);  // other
  cp_commit();
  s[1] = 0;  // stops
  cp_wait<0>();
}

extern "C" __global__ void reads_anothers_copy_without_a_barrier(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ __align__(16) float s[64];
  __syncthreads();
  if (threadIdx.x >= 32) return;
  if (threadIdx.x == 6) cp_async16(s, x);  // other
  cp_commit();
  cp_wait<0>();
  __shfl_sync(0xffffffffu, 0, 0);  // lanes meet, but nothing is said of memory
  if (threadIdx.x == 8) out[0] = s[2];  // stops
}

extern "C" __global__ void waits_for_one_copy_too_few(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ __align__(16) float s[64];
  if (threadIdx.x != 6) return;
  cp_async16(s, x);
  cp_commit();
  cp_async16(s + 4, x);  // other
  cp_commit();
  cp_wait<1>();
  out[0] = s[0];
  out[1] = s[4];  // stops
  cp_wait<0>();
}

extern "C" __global__ void leaves_with_a_copy_in_flight(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ __align__(16) float s[64];
  if (threadIdx.x == 6) cp_async16(s, x);  // stops
}

extern "C" __global__ void copies_from_a_misaligned_source(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ __align__(16) float s[64];
  if (threadIdx.x == 6) cp_async16(s, x + 1);  // stops
  cp_commit();
  cp_wait<0>();
}

extern "C" __global__ void copies_to_global_memory(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 6) cp_async16(out, x);  // stops
  cp_commit();
  cp_wait<0>();
}

extern "C" __global__ void loads_a_matrix_of_global_memory(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  uint32_t fragment[4];
  if (threadIdx.x < 32) ldsm_x4(fragment, x);  // stops
}

// ---- numbers and indices ----

extern "C" __global__ void leaves_an_array_in_registers(
    const float* x, float* out, float* zeros, unsigned* counter, int n) {
  float v[8] = {};
  for (int i = 0; i < n / 8 + (threadIdx.x == 12); i++) v[i] = x[i];  // stops
  float sum = 0;
  for (int i = 0; i < 8; i++) sum += v[i];
  out[threadIdx.x] = sum;
}

extern "C" __global__ void leaves_a_row_of_a_tile(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  __shared__ float tile[8][9];
  if (threadIdx.x == 12) tile[0][n / 8 + 1] = 0;  // stops
}

extern "C" __global__ void overflows(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 12) out[0] = n * n * n * n * n * n > 0;  // stops
}

extern "C" __global__ void shifts_too_far(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 12) out[0] = 1 << n;  // stops
}

extern "C" __global__ void divides_by_zero(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 12) out[0] = 1 / (n - 64);  // stops
}

// ---- no end ----

extern "C" __global__ void loops_for_ever(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  unsigned i = n;
  if (threadIdx.x == 12) {
    while (i != 1) i = i * 5 + 2;  // never 1 from an even number
  }
  out[threadIdx.x] = i;
}

extern "C" __global__ void waits_for_another_block(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  if (threadIdx.x == 12) {
    while (atomicAdd(counter, 0) == 0) {
    }
  }
}

extern "C" __global__ void meets_for_ever(const float* x, float* out, float* zeros, unsigned* counter, int n) {
  while (__syncthreads_or(1)) {
  }
}
