/* compute/cuda: the operation table on an NVIDIA GPU.
 *
 * IN PREPARATION. It builds and links with the CUDA toolkit, and its kernels give the processor's results in an emulation
 * of blocks and threads (tests/cuda), but nothing here has run on a GPU yet. So oc_compute_open does not offer it, and the
 * program is not linked with it: `cmake -DOC_CUDA=ON` builds the library oc_cuda and its tests alone.
 *
 * Three layers. kernels.h declares one launcher for each kernel, in C; *.cu hold them (element.cu, norm.cu, rows.cu,
 * reduce.cu, xent.cu, attention.cu), files and names as in cpu/ref. products.c gives matrix products to cuBLASLt. cuda.c
 * has memory and the stream, and puts everything into the table.
 *
 * One stream: operations run in the order of the calls and behind the caller. Sums have a fixed order and no atomics, so
 * runs repeat bit for bit. Scratch is taken from the device before a kernel needs it and kept. */
#ifndef OC_COMPUTE_CUDA_CUDA_H
#define OC_COMPUTE_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include "compute/compute.h"

typedef struct oc_cuda {
    cudaStream_t stream;
    void *products; /* of products.c: handle and workspace of cuBLASLt */
    void *scratch;  /* on the device */
    size_t scratch_bytes, products_bytes;
    char describe[320];
} oc_cuda;

static inline oc_cuda *oc_cuda_of(const oc_compute *c) { return (oc_cuda *)c->backend; }

/* OC_ERR_UNSUPPORTED without a driver or a device of that number. */
oc_status oc_cuda_open(oc_compute **out, int ordinal, oc_error *err);

/* What oc_cuda_open puts into oc_compute.ops. */
const oc_ops *oc_cuda_table(void);

/* At least so many bytes on the device, the same for all operations: valid until the next call. Gives up (backend.h) when
 * there are none. */
void *oc_cuda_scratch(oc_compute *c, size_t bytes);

/* ---- Products (products.c) ----------------------------------------------------------------------------------------- */

oc_status oc_cuda_products_open(oc_cuda *cuda, oc_error *err);
void oc_cuda_products_close(oc_cuda *cuda);

/* Y = A B + beta Y, row-major: A is [m, k] (or, transposed, stored [k, m]), B [k, n] (or stored [n, k]), Y [m, n];
 * leading dimensions are row strides of what is stored. Sums in float32. */
typedef struct oc_cuda_product {
    int m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b;
    oc_dtype ta, tb, tc; /* ta = tb */
    float beta;
} oc_cuda_product;
void oc_cuda_multiply(oc_compute *c, void *y, const void *a, const void *b, const oc_cuda_product *p);

#endif
