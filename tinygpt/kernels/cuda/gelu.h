// GELU's Phi, the standard normal distribution function: in the tanh form, or the exact one.
// `common.h` comes before this file.

constexpr real SQRT_2_OVER_PI = 0.797884560802865356, SQRT_HALF = 0.707106781186547524;
constexpr real CUBIC = 0.044715;

__device__ inline real Phi(real x, bool exact) {
  if (exact) return (1 + erf(x * SQRT_HALF)) / 2;
  return (1 + tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))) / 2;
}
