/* In the place of src/compute/cuda/products.c: matrix products as they are defined. */
#include "compute/cuda/cuda.h"

oc_status oc_cuda_products_open(oc_cuda *cuda, oc_error *err) {
    OC_UNUSED(cuda), OC_UNUSED(err);
    return OC_OK;
}

void oc_cuda_products_close(oc_cuda *cuda) { OC_UNUSED(cuda); }

static double at(const void *x, oc_dtype t, bool transposed, int ld, int row, int col) {
    const size_t i = transposed ? (size_t)col * (size_t)ld + (size_t)row : (size_t)row * (size_t)ld + (size_t)col;
    return (double)(t == OC_F32 ? ((const float *)x)[i] : oc_bf16_to_f32(((const uint16_t *)x)[i]));
}

void oc_cuda_multiply(oc_compute *c, void *y, const void *a, const void *b, const oc_cuda_product *p) {
    OC_UNUSED(c);
    OC_ASSERT(p->ta == p->tb);
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->n; j++) {
            const size_t to = (size_t)i * (size_t)p->ldc + (size_t)j;
            double sum = 0;
            for (int l = 0; l < p->k; l++)
                sum += at(a, p->ta, p->transpose_a, p->lda, i, l) * at(b, p->tb, p->transpose_b, p->ldb, l, j);
            if (p->beta != 0) sum += (double)p->beta * at(y, p->tc, false, p->ldc, i, j); /* with 0 what is there may be NaN */
            if (p->tc == OC_F32) ((float *)y)[to] = (float)sum;
            else ((uint16_t *)y)[to] = oc_f32_to_bf16((float)sum);
        }
}
