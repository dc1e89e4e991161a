/* An emulation of the part of CUDA's runtime that src/compute/cuda uses, on the processor: memory of the device is ordinary
 * memory, everything is over when it returns. It stands in the place of the toolkit's header of that name. */
#ifndef OC_TESTS_CUDA_RUNTIME_API_H
#define OC_TESTS_CUDA_RUNTIME_API_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorLaunchFailure } cudaError_t;
typedef enum { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice } cudaMemcpyKind;
typedef struct oc_emulated_stream *cudaStream_t;
enum { cudaStreamNonBlocking = 1 };
struct cudaDeviceProp {
    char name[64];
    int major, minor;
    size_t totalGlobalMem;
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int ordinal);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int ordinal);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaMalloc(void *p, size_t bytes); /* address of a pointer */
cudaError_t cudaFree(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *x, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaGetLastError(void);
/* Fault injection: the n-th launch or wait from now fails (0: the next), once. Negative: none. */
extern long oc_emulated_failure_after;
const char *cudaGetErrorString(cudaError_t e);

#ifdef __cplusplus
}
#endif

#endif
