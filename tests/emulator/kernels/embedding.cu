// Gradient of an embedding table, dw[ids[n]] += dout[n]: by atomics, in no fixed order, and in the order of the tokens.
extern "C" __global__ void embedding_atomic(const int* ids, const float* dout, float* dw, int N, int C) {
  int n = blockIdx.x;  // a block a token
  for (int c = threadIdx.x; c < C; c += blockDim.x) atomicAdd(&dw[(size_t)ids[n] * C + c], dout[(size_t)n * C + c]);
}

extern "C" __global__ void embedding_ordered(const int* ids, const float* dout, float* dw, int N, int C) {
  int row = blockIdx.x;  // a block a row of the table
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    float sum = 0;
    for (int n = 0; n < N; n++) {
      if (ids[n] == row) sum += dout[(size_t)n * C + c];
    }
    dw[(size_t)row * C + c] += sum;
  }
}
