// Small kernels that are right.
extern "C" __global__ void copy(const float* x, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = x[i];
}

extern "C" __global__ void scale(const float* x, float* out, float by) {
  out[threadIdx.x] = x[threadIdx.x] * by;
}

#define MOST 128
extern "C" __global__ void __launch_bounds__(MOST, 2) bounded(float* x) { x[0] = 1; }

extern "C" __global__ void shared(float* x) {
  __shared__ float tile[32][32];
  extern __shared__ float more[];
  tile[threadIdx.x][0] = more[threadIdx.x] = 1;
  if (threadIdx.x == 0) x[0] = tile[0][0];
}

#ifdef NEVER
extern "C" __global__ void left_out(Unknown* x) {}
#endif
