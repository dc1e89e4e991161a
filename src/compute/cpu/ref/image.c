/* Images: cutting into patches, learned positions, merging neighbouring patches. */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

/* One patch is a row, its elements in the order of a convolution kernel: channel, row, column. */
static void patchify(oc_compute *c, void *y, const float *pixels, int I, int S, int P, oc_dtype t) {
    int G = S / P;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)(I * G * G) * (size_t)(3 * P * P)))
    for (int n = 0; n < I * G * G; n++) {
        int image = n / (G * G), gy = n / G % G, gx = n % G;
        size_t to = (size_t)n * 3 * (size_t)P * (size_t)P;
        for (int ch = 0; ch < 3; ch++)
            for (int py = 0; py < P; py++) {
                size_t line = ((size_t)image * 3 + (size_t)ch) * (size_t)S + (size_t)(gy * P + py);
                const float *from = pixels + line * (size_t)S + (size_t)(gx * P);
                for (int px = 0; px < P; px++) oc_ref_set(y, to++, t, from[px]);
            }
    }
}

static void position_add_fwd(oc_compute *c, void *x, const float *pos, int N, int P, int C, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int n = 0; n < N; n++) {
        const float *p = pos + (size_t)(n % P) * (size_t)C;
        size_t row = (size_t)n * (size_t)C;
        for (size_t k = 0; k < (size_t)C; k++) oc_ref_set(x, row + k, t, oc_ref_get(x, row + k, t) + p[k]);
    }
}

/* Split by position; the images follow each other in order. */
static void position_add_bwd(oc_compute *c, float *dpos, const void *dx, int N, int P, int C, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)C))
    for (int p = 0; p < P; p++) {
        float *d = dpos + (size_t)p * (size_t)C;
        for (int n = p; n < N; n += P)
            for (size_t k = 0; k < (size_t)C; k++) d[k] += oc_ref_get(dx, (size_t)n * (size_t)C + k, t);
    }
}

/* Merged row n holds, for each row r of its block, s neighbouring patches, which lie together in x too: runs
 * of s C elements, run r at patch (gy s + r, gx s). */
static size_t merge_run(int n, int r, int G, int s) {
    int M = G / s, image = n / (M * M), gy = n / M % M, gx = n % M;
    return (size_t)image * (size_t)G * (size_t)G + (size_t)(gy * s + r) * (size_t)G + (size_t)(gx * s);
}

static void merge_fwd(oc_compute *c, void *y, const void *x, int I, int G, int s, int C, oc_dtype t) {
    size_t patch = (size_t)C * oc_dtype_size(t), run = patch * (size_t)s;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)(I * G * G) * (size_t)C))
    for (int n = 0; n < I * (G / s) * (G / s); n++)
        for (int r = 0; r < s; r++)
            memcpy((char *)y + ((size_t)n * (size_t)s + (size_t)r) * run,
                   (const char *)x + merge_run(n, r, G, s) * patch, run);
}

static void merge_bwd(oc_compute *c, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t) {
    size_t patch = (size_t)C * oc_dtype_size(t), run = patch * (size_t)s;
    if (G % s) memset(dx, 0, (size_t)I * (size_t)G * (size_t)G * patch);
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)(I * G * G) * (size_t)C))
    for (int n = 0; n < I * (G / s) * (G / s); n++)
        for (int r = 0; r < s; r++)
            memcpy((char *)dx + merge_run(n, r, G, s) * patch,
                   (const char *)dy + ((size_t)n * (size_t)s + (size_t)r) * run, run);
}

void oc_ref_fill_image(oc_ops *ops) {
    ops->patchify = patchify;
    ops->position_add_fwd = position_add_fwd;
    ops->position_add_bwd = position_add_bwd;
    ops->merge_fwd = merge_fwd;
    ops->merge_bwd = merge_bwd;
}
