/* Rows of C channels: embedding, gather, scatter. Where several rows may land on one, the channels are split
 * among the threads instead of the rows, so that each sum runs in ascending n. */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

enum { CHANNELS = 64 }; /* of one piece of work */

static void embedding_fwd(oc_compute *c, void *y, const int32_t *id, const void *table, oc_dtype table_t, int N, int C,
                          oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N *(size_t)C))
    for (int n = 0; n < N; n++)
        for (size_t k = 0; k < (size_t)C; k++)
            oc_ref_set(y, (size_t)n * (size_t)C + k, t, oc_ref_get(table, (size_t)id[n] * (size_t)C + k, table_t));
}

static void embedding_bwd(oc_compute *c, float *dtable, const int32_t *id, const void *dy, int N, int C, int V,
                          oc_dtype t) {
    OC_UNUSED(V);
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N *(size_t)C))
    for (int k0 = 0; k0 < C; k0 += CHANNELS)
        for (int n = 0; n < N; n++) {
            if (id[n] < 0) continue;
            float *d = dtable + (size_t)id[n] * (size_t)C;
            for (int k = k0; k < OC_MIN(k0 + CHANNELS, C); k++)
                d[k] += oc_ref_get(dy, (size_t)n * (size_t)C + (size_t)k, t);
        }
}

static void gather_rows(oc_compute *c, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t) {
    size_t bytes = (size_t)C * oc_dtype_size(t);
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N *(size_t)C))
    for (int n = 0; n < N; n++) {
        char *to = (char *)y + (size_t)n * bytes;
        if (row[n] < 0)
            memset(to, 0, bytes);
        else
            memcpy(to, (const char *)x + (size_t)row[n] * bytes, bytes);
    }
}

static void scatter_add(oc_compute *c, void *y, const void *x, int ldx, const int32_t *row, int N, int C, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N *(size_t)C))
    for (int k0 = 0; k0 < C; k0 += CHANNELS)
        for (int n = 0; n < N; n++) {
            if (row[n] < 0) continue;
            size_t to = (size_t)row[n] * (size_t)C, from = (size_t)n * (size_t)ldx;
            for (size_t k = (size_t)k0; k < (size_t)OC_MIN(k0 + CHANNELS, C); k++)
                oc_ref_set(y, to + k, t, oc_ref_get(y, to + k, t) + oc_ref_get(x, from + k, t));
        }
}

static void scatter_rows(oc_compute *c, void *y, const void *x, int ldx, const int32_t *row, int N, int C,
                         bool accumulate, oc_dtype t) {
    if (accumulate) {
        scatter_add(c, y, x, ldx, row, N, C, t);
        return;
    }
    size_t bytes = (size_t)C * oc_dtype_size(t), stride = (size_t)ldx * oc_dtype_size(t);
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N *(size_t)C))
    for (int n = 0; n < N; n++)
        if (row[n] >= 0) memcpy((char *)y + (size_t)row[n] * bytes, (const char *)x + (size_t)n * stride, bytes);
}

void oc_ref_fill_rows(oc_ops *ops) {
    ops->embedding_fwd = embedding_fwd;
    ops->embedding_bwd = embedding_bwd;
    ops->gather_rows = gather_rows;
    ops->scatter_rows = scatter_rows;
}
