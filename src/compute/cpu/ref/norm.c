/* LayerNorm (Ba et al., arXiv 1607.06450) and RMSNorm (Zhang and Sennrich, arXiv 1910.07467).
 *
 *   LayerNorm:  xhat = (x - mean) rstd,  y = xhat w + b      RMSNorm:  xhat = x rstd,  y = xhat w
 *
 * Backward, with g = dy w and means taken over the C channels of a row:
 *   LayerNorm:  dx += rstd (g - mean(g) - xhat mean(g xhat))       dw += sum_n dy xhat,  db += sum_n dy
 *   RMSNorm:    dx += rstd (g - xhat mean(g xhat))                 dw += sum_n dy xhat
 *
 * Statistics and sums are double; the saved ones are f32. Rows are split among threads for dx, channels for
 * dw and db. */
#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

/* x += add, rounded to the storage type: the statistics are those of what the residual stream then holds. */
static void add_to_row(void *x, const void *add, size_t row, int C, oc_dtype t) {
    for (size_t k = row; k < row + (size_t)C; k++)
        oc_ref_set(x, k, t, oc_ref_get(x, k, t) + oc_ref_get(add, k, t));
}

static double mean_square_about(const void *x, double centre, size_t row, int C, oc_dtype t) {
    double sum = 0;
    for (size_t k = row; k < row + (size_t)C; k++) {
        double d = (double)oc_ref_get(x, k, t) - centre;
        sum += d * d;
    }
    return sum / C;
}

/* ---- LayerNorm ----------------------------------------------------------------------------------------- */

static void layernorm_fwd(oc_compute *c, void *y, float *mean, float *rstd, void *x, const void *add,
                          const float *w, const float *b, int N, int C, float eps, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int n = 0; n < N; n++) {
        size_t row = (size_t)n * (size_t)C;
        if (add) add_to_row(x, add, row, C, t);
        double sum = 0;
        for (size_t k = 0; k < (size_t)C; k++) sum += (double)oc_ref_get(x, row + k, t);
        double m = sum / C, s = 1.0 / sqrt(mean_square_about(x, m, row, C, t) + (double)eps);
        for (size_t k = 0; k < (size_t)C; k++)
            oc_ref_set(y, row + k, t,
                       (float)(((double)oc_ref_get(x, row + k, t) - m) * s * (double)w[k] + (double)b[k]));
        if (mean) mean[n] = (float)m;
        if (rstd) rstd[n] = (float)s;
    }
}

static void layernorm_bwd(oc_compute *c, void *dx, float *dw, float *db, const void *dy, const void *x,
                          const float *mean, const float *rstd, const float *w, int N, int C, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int n = 0; n < N; n++) {
        size_t row = (size_t)n * (size_t)C;
        double m = (double)mean[n], s = (double)rstd[n], mean_g = 0, mean_gx = 0;
        for (size_t k = 0; k < (size_t)C; k++) {
            double g = (double)oc_ref_get(dy, row + k, t) * (double)w[k];
            mean_g += g / C;
            mean_gx += g * ((double)oc_ref_get(x, row + k, t) - m) * s / C;
        }
        for (size_t k = 0; k < (size_t)C; k++) {
            double g = (double)oc_ref_get(dy, row + k, t) * (double)w[k];
            double xhat = ((double)oc_ref_get(x, row + k, t) - m) * s;
            double d = s * (g - mean_g - xhat * mean_gx);
            oc_ref_set(dx, row + k, t, (float)((double)oc_ref_get(dx, row + k, t) + d));
        }
    }
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int k = 0; k < C; k++) {
        double sum_w = 0, sum_b = 0;
        for (size_t n = 0; n < (size_t)N; n++) {
            size_t at = n * (size_t)C + (size_t)k;
            double d = (double)oc_ref_get(dy, at, t);
            sum_w += d * ((double)oc_ref_get(x, at, t) - (double)mean[n]) * (double)rstd[n];
            sum_b += d;
        }
        if (dw) dw[k] += (float)sum_w;
        if (db) db[k] += (float)sum_b;
    }
}

/* ---- RMSNorm ------------------------------------------------------------------------------------------- */

static void rmsnorm_fwd(oc_compute *c, void *y, float *rstd, void *x, const void *add, const float *w, int N,
                        int C, float eps, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int n = 0; n < N; n++) {
        size_t row = (size_t)n * (size_t)C;
        if (add) add_to_row(x, add, row, C, t);
        double s = 1.0 / sqrt(mean_square_about(x, 0.0, row, C, t) + (double)eps);
        for (size_t k = 0; k < (size_t)C; k++)
            oc_ref_set(y, row + k, t, (float)((double)oc_ref_get(x, row + k, t) * s * (double)w[k]));
        if (rstd) rstd[n] = (float)s;
    }
}

static void rmsnorm_bwd(oc_compute *c, void *dx, float *dw, const void *dy, const void *x, const float *rstd,
                        const float *w, int N, int C, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int n = 0; n < N; n++) {
        size_t row = (size_t)n * (size_t)C;
        double s = (double)rstd[n], mean_gx = 0;
        for (size_t k = 0; k < (size_t)C; k++)
            mean_gx +=
                (double)oc_ref_get(dy, row + k, t) * (double)w[k] * (double)oc_ref_get(x, row + k, t) * s / C;
        for (size_t k = 0; k < (size_t)C; k++) {
            double g = (double)oc_ref_get(dy, row + k, t) * (double)w[k];
            double d = s * (g - (double)oc_ref_get(x, row + k, t) * s * mean_gx);
            oc_ref_set(dx, row + k, t, (float)((double)oc_ref_get(dx, row + k, t) + d));
        }
    }
    if (!dw) return;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int k = 0; k < C; k++) {
        double sum = 0;
        for (size_t n = 0; n < (size_t)N; n++) {
            size_t at = n * (size_t)C + (size_t)k;
            sum += (double)oc_ref_get(dy, at, t) * (double)oc_ref_get(x, at, t) * (double)rstd[n];
        }
        dw[k] += (float)sum;
    }
}

void oc_ref_fill_norm(oc_ops *ops) {
    ops->layernorm_fwd = layernorm_fwd;
    ops->layernorm_bwd = layernorm_bwd;
    ops->rmsnorm_fwd = rmsnorm_fwd;
    ops->rmsnorm_bwd = rmsnorm_bwd;
}
