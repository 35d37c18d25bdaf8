// Tiles of queries, keys and the like in shared memory, and a warp's products of them.
//
// A block is four warps. Of its own tile, ROWS rows, each warp has a fourth; the other side's rows pass by in tiles of
// COLUMNS, that all warps read. A row is a head's D channels, with zeros up to HEAD, a multiple of 32.
//
// An accumulator is x[R][C]: R rows of a warp's, and C columns of theirs, that a thread has in registers. Which these
// are, row_of, column_of (of a product with COLUMNS columns) and channel_of (with HEAD columns) say: each product is
// here in two ways, plainly, and in TF32 on tensor cores, and only what stands under #if knows in which.

constexpr int WARPS = 4, THREADS = WARPS * WARP;
constexpr int VECTOR = 16 / (int)sizeof(real);  // what is read and written at once
struct __align__(16) Vector {
  real x[VECTOR];
};

// A loop over what a thread has in registers, which must be unrolled.
#define EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)

#if TF32
constexpr int R = ROWS / (8 * WARPS), C = COLUMNS / 4, CHANNELS = HEAD / 4;
constexpr int STRIDE = HEAD + 8, SCRATCH = 0;  // numbers from a row of a tile, or of scratch, to the next
constexpr int MEMBERS = 4, FIRST_LANE = 1, LAST_LANE = 2;  // lanes with the same rows, and the bits they differ in

__device__ inline int group() { return threadIdx.x % WARP / 4; }  // the operands' rows, as the instruction names them
__device__ inline int member() { return threadIdx.x % 4; }

// Eight rows are read in this order, 0, 6, 1, 7, 2, 4, 3, 5: so no two lanes that read at once meet in a bank.
__device__ inline int turned(int row) { return row / 2 ^ row % 2 * 6; }

__device__ inline int row_of(int i) { return (threadIdx.x / WARP * R + i) * 8 + turned(group()); }
__device__ inline int column_of(int j) { return j / 2 * 8 + (member() ^ j % 2 * 6); }
__device__ inline int channel_of(int c) { return c / 8 * 32 + member() * 8 + c % 8; }
__device__ inline real operand(real x) { return __uint_as_float(to_tf32(x)); }
#else
constexpr int R = ROWS / (4 * WARPS), C = COLUMNS / 8, CHANNELS = HEAD / 8;
constexpr int STRIDE = HEAD + VECTOR, SCRATCH = COLUMNS + 2 * VECTOR;
constexpr int MEMBERS = 8, FIRST_LANE = 2, LAST_LANE = 8;

// The lanes are four groups of rows and eight members, in the order in which fewest reads of 16 bytes meet in a bank.
__device__ inline int group() { return threadIdx.x % 2 + threadIdx.x / 16 % 2 * 2; }
__device__ inline int member() { return threadIdx.x / 2 % 8; }

__device__ inline int row_of(int i) { return (threadIdx.x / WARP * R + i) * 4 + group(); }
__device__ inline int column_of(int j) { return j * 8 + member(); }
__device__ inline int channel_of(int c) { return (c / VECTOR * 8 + member()) * VECTOR + c % VECTOR; }
__device__ inline real operand(real x) { return x; }
#endif

// A warp's first row in its block's own tile. All lanes take one lane's word for it, so that the compiler knows that it
// is the same for all.
constexpr int WARP_ROWS = ROWS / WARPS;
__device__ inline int first_row() { return __shfl_sync(ALL_LANES, threadIdx.x / WARP * WARP_ROWS, 0); }

// Over the lanes with the same rows
__device__ inline real row_sum(real x) {
  for (int bit = FIRST_LANE; bit <= LAST_LANE; bit *= 2) x += __shfl_xor_sync(ALL_LANES, x, bit);
  return x;
}

__device__ inline real row_max(real x) {
  for (int bit = FIRST_LANE; bit <= LAST_LANE; bit *= 2) x = max(x, __shfl_xor_sync(ALL_LANES, x, bit));
  return x;
}

__device__ inline Vector& at(real* tile, int row, int channel) { return *(Vector*)(tile + row * STRIDE + channel); }

// A head's rows in an array: row t begins at first + t * stride, and holds D numbers.
struct Rows {
  real* first;
  size_t stride;
  int D;
  __device__ real* row(int t) const { return first + t * stride; }
  __device__ bool in_vectors() const { return D % VECTOR == 0 && stride % VECTOR == 0 && (size_t)first % 16 == 0; }
};

// tile = rows t .. t + N - 1, with zeros for those from `end` on.
template <int N>
__device__ inline void load(real* tile, const Rows& from, int t, int end) {
  constexpr int PER_ROW = HEAD / VECTOR, AT_ONCE = THREADS / PER_ROW;
  if (!from.in_vectors()) {
    for (int i = threadIdx.x; i < N * HEAD; i += THREADS) {
      const int row = i / HEAD, channel = i % HEAD;
      tile[row * STRIDE + channel] = t + row < end && channel < from.D ? operand(from.row(t + row)[channel]) : 0;
    }
    return;
  }
  const int first = threadIdx.x / PER_ROW, channel = threadIdx.x % PER_ROW * VECTOR;
  const real* place = from.row(t + first) + channel;
  EACH(i, (N + AT_ONCE - 1) / AT_ONCE) {
    const int row = first + i * AT_ONCE;
    Vector x = {};
    if (t + row < end && channel < from.D) x = *(const Vector*)place;
    place += AT_ONCE * from.stride;
    EACH(v, VECTOR) x.x[v] = operand(x.x[v]);
    if (first < AT_ONCE && row < N) at(tile, row, channel) = x;
  }
}

// Rows t + row_of(i) of an array = an accumulator's.
__device__ inline void store(const Rows& to, int t, int end, const real (&x)[R][CHANNELS]) {
  const bool in_vectors = to.in_vectors();
  EACH(i, R) EACH(n, CHANNELS / VECTOR) {
    const int channel = channel_of(n * VECTOR);
    real* place = to.row(t + row_of(i)) + channel;
    Vector y;
    EACH(v, VECTOR) y.x[v] = x[i][n * VECTOR + v];
    if (t + row_of(i) >= end) continue;
    if (in_vectors && channel < to.D) *(Vector*)place = y;
    if (!in_vectors) EACH(v, VECTOR) if (channel + v < to.D) place[v] = y.x[v];
  }
}

#if TF32
// Four numbers of an accumulator, two rows and two columns in a thread, += (16, 8) @ (8, 8).
__device__ inline void add(real& c0, real& c1, real& c2, real& c3, const uint32 (&a)[4], real b0, real b1) {
  float c[4] = {c0, c1, c2, c3};
  mma_m16n8k8_tf32(c, a, {__float_as_uint(b0), __float_as_uint(b1)});
  c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3];
}

// x += a b^T, (ROWS, HEAD) @ (COLUMNS, HEAD)^T. The instruction sums over eight channels, of which a thread holds two:
// of each 16 here its four neighbouring ones, in two instructions. A sum's order is free, if a and b have the same.
__device__ inline void product_nt(real (&x)[R][C], real* a, real* b) {
#pragma unroll 2
  for (int k = 0; k < HEAD; k += 16) {
    uint32 rows[2][R / 2][4];
    EACH(i, R) {
      const Vector row = at(a, row_of(i), k + member() * 4);
      EACH(v, 4) rows[v / 2][i / 2][v % 2 * 2 + i % 2] = __float_as_uint(row.x[v]);
    }
    EACH(n, C / 2) {
      const Vector columns = at(b, n * 8 + turned(group()), k + member() * 4);
      EACH(half, 2) EACH(m, R / 2)
        add(x[2 * m][2 * n], x[2 * m][2 * n + 1], x[2 * m + 1][2 * n], x[2 * m + 1][2 * n + 1], rows[half][m],
            columns.x[2 * half], columns.x[2 * half + 1]);
    }
  }
}

// x += a b, (ROWS, COLUMNS) @ (COLUMNS, HEAD), where a is an accumulator: its numbers already lie as an operand's must.
__device__ inline void product_nn(real (&x)[R][CHANNELS], const real (&a)[R][C], real*, real* b) {
  EACH(k, C / 2) {
    uint32 rows[R / 2][4];
    EACH(m, R / 2) EACH(i, 4) rows[m][i] = to_tf32(a[2 * m + i % 2][2 * k + i / 2]);
    EACH(n, CHANNELS / 8) {
      const Vector first = at(b, column_of(2 * k), n * 32 + group() * 4);
      const Vector second = at(b, column_of(2 * k + 1), n * 32 + group() * 4);
      EACH(v, 4) EACH(m, R / 2) {
        const int c = n * 8 + v;
        add(x[2 * m][c], x[2 * m][c + 4], x[2 * m + 1][c], x[2 * m + 1][c + 4], rows[m], first.x[v], second.x[v]);
      }
    }
  }
}
#else
// x += a b^T, (ROWS, HEAD) @ (COLUMNS, HEAD)^T
__device__ inline void product_nt(real (&x)[R][C], real* a, real* b) {
#pragma unroll 2
  for (int k = 0; k < HEAD; k += VECTOR) {
    Vector rows[R], columns[C];
    EACH(i, R) rows[i] = at(a, row_of(i), k);
    EACH(j, C) columns[j] = at(b, column_of(j), k);
    EACH(v, VECTOR) EACH(i, R) EACH(j, C) x[i][j] += rows[i].x[v] * columns[j].x[v];
  }
}

// x += a b, (ROWS, COLUMNS) @ (COLUMNS, HEAD), where a is an accumulator. Its rows come to the threads that need them
// by way of `scratch`, (ROWS, SCRATCH), where no other warp has anything.
__device__ inline void product_nn(real (&x)[R][CHANNELS], const real (&a)[R][C], real* scratch, real* b) {
  EACH(i, R) EACH(j, C) scratch[row_of(i) * SCRATCH + column_of(j)] = a[i][j];
  __syncwarp();
#pragma unroll 2
  for (int k = 0; k < COLUMNS; k += VECTOR) {
    Vector rows[R];
    EACH(i, R) rows[i] = *(Vector*)(scratch + row_of(i) * SCRATCH + k);
    EACH(v, VECTOR) EACH(n, CHANNELS / VECTOR) {
      const Vector columns = at(b, k + v, channel_of(n * VECTOR));
      EACH(i, R) EACH(w, VECTOR) x[i][n * VECTOR + w] += rows[i].x[v] * columns.x[w];
    }
  }
  __syncwarp();
}
#endif
