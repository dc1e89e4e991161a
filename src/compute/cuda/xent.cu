// Cross-entropy of rows of logits, and its gradient. A block is a row.
#include "compute/cuda/device.cuh"

template <typename T>
__global__ void xent(float *loss, uint8_t *correct, T *gradient, const float *logits, const int32_t *target,
                     const float *weight, size_t V, float scale) {
    const size_t n = blockIdx.x;
    const float *z = logits + n * V;
    float most = -INFINITY, sum = 0;
    for (size_t v = threadIdx.x; v < V; v += blockDim.x) most = fmaxf(most, z[v]);
    most = block_max(most);
    // the first of the largest: V - v is largest there, and exact below 2^24 entries
    float first = 0;
    for (size_t v = threadIdx.x; v < V; v += blockDim.x) {
        const float x = z[v];
        sum += expf(x - most);
        if (x == most) first = fmaxf(first, (float)(V - v));
    }
    sum = block_sum(sum);
    first = block_max(first);
    const size_t right = (size_t)target[n];
    const float lse = most + logf(sum), at_target = z[right];
    __syncthreads(); // before anybody overwrites the target's logit, where gradient and logits are one
    if (threadIdx.x == 0) {
        loss[n] = lse - at_target;
        if (correct) correct[n] = (float)(V - right) == first;
    }
    if (!gradient) return;
    const float factor = scale * (weight ? weight[n] : 1.0f);
    for (size_t v = threadIdx.x; v < V; v += blockDim.x)
        put(&gradient[n * V + v], (expf(z[v] - lse) - (v == right ? 1.0f : 0.0f)) * factor);
}

void oc_cuda_xent(cudaStream_t s, float *loss, uint8_t *correct, void *d, const float *z, const int32_t *target,
                  const float *weight, int n, int V, float scale, oc_cuda_type t) {
    if (n == 0) return;
    OC_BY_TYPE(t,
               OC_LAUNCH(xent<T>, (unsigned)n, THREADS, s, loss, correct, (T *)d, z, target, weight, (size_t)V, scale));
}
