/* Matrix products by cuBLASLt: all three of a linear layer are one call with different transpositions. cuBLASLt counts in
 * columns, so Y = A B of rows is asked for as Y^T = B^T A^T. */
#include <cublasLt.h>

#include "compute/backend.h"
#include "compute/cuda/cuda.h"

enum { WORKSPACE = 64 << 20 }; /* what cuBLASLt asks for on Hopper is 32 MiB */

typedef struct products {
    cublasLtHandle_t lt;
    void *workspace;
} products;

static void check(oc_compute *c, cublasStatus_t s, const char *what) {
    if (s != CUBLAS_STATUS_SUCCESS) oc_compute_fail(c, what, cublasLtGetStatusString(s));
}

oc_status oc_cuda_products_open(oc_cuda *cuda, oc_error *err) {
    products *p = oc_calloc(1, sizeof *p);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for cuBLASLt");
    cuda->products = p;
    cublasStatus_t s = cublasLtCreate(&p->lt);
    if (s != CUBLAS_STATUS_SUCCESS)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "cuBLASLt cannot be opened: %s", cublasLtGetStatusString(s));
    if (cudaMalloc(&p->workspace, WORKSPACE) != cudaSuccess)
        return oc_fail(err, OC_ERR_NOMEM, "out of memory on the device: %d MiB for cuBLASLt", WORKSPACE >> 20);
    cuda->products_bytes = WORKSPACE;
    return OC_OK;
}

void oc_cuda_products_close(oc_cuda *cuda) {
    products *p = cuda->products;
    if (!p) return;
    if (p->lt) cublasLtDestroy(p->lt);
    cudaFree(p->workspace);
    oc_free(p);
    cuda->products = NULL;
}

static cudaDataType_t data_type(oc_dtype t) { return t == OC_F32 ? CUDA_R_32F : CUDA_R_16BF; }

/* rows x cols as stored, row by row. */
static cublasLtMatrixLayout_t layout(oc_compute *c, oc_dtype t, int rows, int cols, int ld) {
    cublasLtMatrixLayout_t l;
    check(c, cublasLtMatrixLayoutCreate(&l, data_type(t), (uint64_t)cols, (uint64_t)rows, ld), "layout");
    return l;
}

void oc_cuda_multiply(oc_compute *c, void *y, const void *a, const void *b, const oc_cuda_product *p) {
    const products *lt = oc_cuda_of(c)->products;
    const float one = 1.0f;
    const cublasOperation_t op_a = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                            op_b = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    if (p->m == 0 || p->n == 0 || p->k == 0) return;
    cublasLtMatmulDesc_t d;
    check(c, cublasLtMatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
    /* the operands change places */
    check(c, cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b), "transposition");
    check(c, cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a), "transposition");
    cublasLtMatrixLayout_t A =
        p->transpose_a ? layout(c, p->ta, p->k, p->m, p->lda) : layout(c, p->ta, p->m, p->k, p->lda);
    cublasLtMatrixLayout_t B =
        p->transpose_b ? layout(c, p->tb, p->n, p->k, p->ldb) : layout(c, p->tb, p->k, p->n, p->ldb);
    cublasLtMatrixLayout_t C = layout(c, p->tc, p->m, p->n, p->ldc);
    cublasLtMatmulPreference_t want;
    cublasLtMatmulHeuristicResult_t found;
    const size_t workspace = WORKSPACE;
    const uint32_t schemes =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* none with atomics */
    int n = 0;
    check(c, cublasLtMatmulPreferenceCreate(&want), "preference");
    check(c,
          cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                               sizeof workspace),
          "workspace");
    check(c,
          cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes,
                                               sizeof schemes),
          "reduction scheme");
    check(c, cublasLtMatmulAlgoGetHeuristic(lt->lt, d, B, A, C, C, want, 1, &found, &n), "choice of an algorithm");
    check(c, n ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "choice of an algorithm");
    check(c,
          cublasLtMatmul(lt->lt, d, &one, b, B, a, A, &p->beta, y, C, y, C, &found.algo, lt->workspace, workspace,
                         oc_cuda_of(c)->stream),
          "product");
    cublasLtMatmulPreferenceDestroy(want);
    cublasLtMatrixLayoutDestroy(A);
    cublasLtMatrixLayoutDestroy(B);
    cublasLtMatrixLayoutDestroy(C);
    cublasLtMatmulDescDestroy(d);
}
