/* Rotary positions (Su et al., arXiv 2104.09864) on rotate-half pairs: (a, b) = (x[j], x[j + HS/2]) turns by
 * the angle of pair j at the row's position. The backward pass is the inverse rotation, sign = -1.
 *
 *   a' = a cos - b sin,   b' = b cos + a sin */
#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

static void rope(oc_compute *c, void *x, int ldx, const int32_t *position, const float *table, int N,
                 int heads, int HS, int sign, oc_dtype t) {
    size_t half = (size_t)HS / 2;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)(heads * HS)))
    for (int n = 0; n < N; n++) {
        const float *row = table + (size_t)position[n] * half * 2;
        for (size_t h = 0; h < (size_t)heads; h++) {
            size_t at = (size_t)n * (size_t)ldx + h * (size_t)HS;
            for (size_t j = 0; j < half; j++) {
                float cosine = row[2 * j], sine = row[2 * j + 1] * (float)sign;
                float a = oc_ref_get(x, at + j, t), b = oc_ref_get(x, at + j + half, t);
                oc_ref_set(x, at + j, t, a * cosine - b * sine);
                oc_ref_set(x, at + j + half, t, b * cosine + a * sine);
            }
        }
    }
}

void oc_ref_fill_rope(oc_ops *ops) { ops->rope = rope; }
