// The loss of the head's logits, which become their own gradient: softmax(logits) minus one at the target, over the
// denominator.
//
// The logits are by far the largest array of a step, so what counts is how often they pass between memory and the
// chip: once in, once out. A row is read twice, but the second time, backwards, from the caches that it has just
// passed through: GPT-2's take 201 KB, and a multiprocessor holds one. Rows lie `stride` numbers apart, V rounded up;
// what is between them belongs to nobody.
#include "common.h"
#include "block.h"

constexpr int IGNORED = -1;  // a target that counts for nothing
constexpr int LOADS = sizeof(real) == 4 ? 5 : 4;  // packs that a thread waits for at once: what its registers hold
constexpr real LOWEST = -3e38;  // where a maximum begins; not -inf, as -inf - -inf is not a number

// denominator = the number of targets that count, at least 1. One block.
extern "C" __global__ void __launch_bounds__(1024) count_targets(const long long* targets, real* denominator, int N) {
  __shared__ real parts[WARP];
  real counted = 0;
  for (int row = threadIdx.x; row < N; row += blockDim.x) counted += targets[row] != IGNORED;
  counted = block_sum(counted, parts);
  if (threadIdx.x == 0) *denominator = max(counted, (real)1);
}

// loss = the rows' losses, added up, / denominator. One block.
extern "C" __global__ void __launch_bounds__(1024) sum_losses(
    const real* losses, const real* on_card, real denominator, real* loss, int N) {
  __shared__ real parts[WARP];
  real sum = 0;
  for (int row = threadIdx.x; row < N; row += blockDim.x) sum += losses[row];
  sum = block_sum(sum, parts);
  if (threadIdx.x == 0) *loss = sum / (on_card ? *on_card : denominator);
}

// Take n logits into the largest so far and the sum of exp(x - largest). Under a new largest the old sum shrinks.
__device__ inline void take(const stored* x, int n, real& largest, real& sum) {
  real here = x[0];
  for (int k = 1; k < n; k++) here = max(here, (real)x[k]);
  if (here > largest) {
    sum *= exp(largest - here);
    largest = here;
  }
  for (int k = 0; k < n; k++) sum += exp((real)x[k] - largest);
}

// losses[row] = -log softmax(x)[target], 0 for an ignored target; with need_grad x becomes its gradient. A block holds
// one row x of the logits, a warp 32 packs side by side of it, and again further on. The denominator is a number on the
// card, or where `on_card` is null the argument.
extern "C" __global__ void __launch_bounds__(1024) cross_entropy(
    stored* logits, const long long* targets, const real* on_card, real denominator, real* losses, int V, int stride,
    int need_grad) {
  __shared__ real maxima[WARP], sums[WARP];
  const int row = blockIdx.x, thread = threadIdx.x, threads = blockDim.x;
  const int packs = V / WIDTH, single = packs * WIDTH + thread;  // the last V % WIDTH go one by one
  const int target = (int)targets[row];
  stored* x = logits + (size_t)row * stride;
  Pack* x_packs = (Pack*)x;

  if (target == IGNORED) {  // the row is not even read
    for (int c = thread; c < V && need_grad; c += threads) x[c] = (real)0;
    if (thread == 0) losses[row] = 0;
    return;
  }

  real largest = LOWEST, sum = 0;
  for (int first = thread; first < packs; first += LOADS * threads) {
    Pack loaded[LOADS];
#pragma unroll
    for (int k = 0; k < LOADS; k++)
      if (first + k * threads < packs) loaded[k] = x_packs[first + k * threads];
#pragma unroll
    for (int k = 0; k < LOADS; k++)
      if (first + k * threads < packs) take(loaded[k].x, WIDTH, largest, sum);
  }
  if (single < V) take(x + single, 1, largest, sum);
  const real x_target = x[target];  // before the barriers, as after them x is overwritten
  const real x_max = block_max(largest, maxima);
  const real total = block_sum(sum * exp(largest - x_max), sums);
  if (thread == 0) losses[row] = log(total) - (x_target - x_max);
  if (!need_grad) return;

  const real over_total = 1 / total, scale = 1 / (on_card ? *on_card : denominator);
  const int rounds = (packs + threads - 1) / threads;
  if (single < V) x[single] = (exp((real)x[single] - x_max) * over_total - (single == target)) * scale;
  for (int i = (rounds - 1) * threads + thread; i >= 0; i -= threads) {  // backwards: the last read is the nearest
    if (i >= packs) continue;
    Pack p = x_packs[i];
    for (int k = 0; k < WIDTH; k++)
      p.x[k] = (exp((real)p.x[k] - x_max) * over_total - (i * WIDTH + k == target)) * scale;
    x_packs[i] = p;
  }
}
