/* A few rows of A times W^T, as in decoding: W is read in place, once, split over the threads by its rows.
 *
 * Blocks of COLS columns of C; in each, 4 rows of W meet all rows of A (up to 6 at a time, then the 4 rows
 * are in the cache), and the finished block of sums gets its epilogue. */
#include <omp.h>

#include "compute/cpu/gemm/gemm.h"

enum { MAX_ROWS = 6, W_ROWS = 4, COLS = 32 };

/* Columns col..col+3 of all rows; the last columns of C are repeated where fewer are left, as W has no more
 * rows. */
static void four_columns(const oc_gemm_kernel *kernel, const oc_gemm *g, const oc_gemm_operand *a, int col,
                         float *sums) {
    int parts = (g->m + MAX_ROWS - 1) / MAX_ROWS, rows = (g->m + parts - 1) / parts;
    size_t a_size = oc_dtype_size(a->type);
    const char *w = (const char *)g->b.p + (size_t)col * g->b.ld * oc_dtype_size(g->b.type);
    size_t ldw = g->b.ld;
    for (int i = 0; i < g->m; i += rows) {
        const char *ai = (const char *)a->p + (size_t)i * a->ld * a_size;
        float *to = sums + (size_t)i * COLS;
        int m = OC_MIN(rows, g->m - i);
        if (col + W_ROWS <= g->n) {
            kernel->dots(m, ai, a->ld, w, ldw, g->b.type, g->t, g->k, to, COLS);
            continue;
        }
        for (int j = col; j < g->n; j++) { /* one row of W in all four places */
            float same[MAX_ROWS][W_ROWS];
            kernel->dots(m, ai, a->ld, w + (size_t)(j - col) * ldw * oc_dtype_size(g->b.type), 0, g->b.type,
                         g->t, g->k, same[0], W_ROWS);
            for (int r = 0; r < m; r++) to[r * COLS + j - col] = same[r][0];
        }
    }
}

void oc_gemm_few(oc_compute *c, const oc_gemm_kernel *kernel, const oc_gemm *g) {
    OC_ASSERT(g->m <= OC_GEMM_FEW);
    oc_gemm_operand a = g->a;
    if (a.type != kernel->type) {
        float *wide = oc_gemm_buffer(c, OC_GEMM_BUFFER_A, (size_t)g->m * (size_t)g->k * sizeof *wide);
        oc_gemm_widen(c, wide, a.p, a.ld, g->m, g->k);
        a = (oc_gemm_operand){wide, OC_F32, false, (size_t)g->k};
    }
    int blocks = (g->n + COLS - 1) / COLS;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)g->n *(size_t)g->k / 8)) schedule(static)
    for (int b = 0; b < blocks; b++) {
        _Alignas(64) float sums[OC_GEMM_FEW * COLS];
        int cols = OC_MIN(COLS, g->n - b * COLS);
        for (int j = 0; j < cols; j += W_ROWS) four_columns(kernel, g, &a, b * COLS + j, sums + j);
        kernel->finish(g, 0, b * COLS, g->m, cols, sums, COLS);
    }
}
