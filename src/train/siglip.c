#include "train/siglip.h"

#include <math.h>
#include <string.h>

static float dot(const float *a, const float *b, int n) {
    float s = 0;
#pragma omp simd reduction(+ : s)
    for (int i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static void add_scaled(float *restrict y, const float *restrict x, float a, int n) {
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] += a * x[i];
}

void oc_embed_head_fwd(float *z, float *norm, const float *x, const float *w, const float *b, int B, int C, int D) {
#pragma omp parallel for
    for (int i = 0; i < B; i++) {
        float *row = z + (size_t)i * (size_t)D;
        for (int d = 0; d < D; d++) row[d] = dot(x + (size_t)i * (size_t)C, w + (size_t)d * (size_t)C, C) + b[d];
        norm[i] = sqrtf(dot(row, row, D)) + 1e-12f;
        for (int d = 0; d < D; d++) row[d] /= norm[i];
    }
}

void oc_embed_head_bwd(float *dx, float *dw, float *db, float *dz, const float *z, const float *norm, const float *x,
                       const float *w, int B, int C, int D) {
    /* through z = y / |y|: dy = (dz - (dz . z) z) / |y| */
#pragma omp parallel for
    for (int i = 0; i < B; i++) {
        const float *zi = z + (size_t)i * (size_t)D;
        float *di = dz + (size_t)i * (size_t)D, along = dot(di, zi, D), *xi = dx + (size_t)i * (size_t)C;
        for (int d = 0; d < D; d++) di[d] = (di[d] - along * zi[d]) / norm[i];
        memset(xi, 0, (size_t)C * sizeof *xi);
        for (int d = 0; d < D; d++) add_scaled(xi, w + (size_t)d * (size_t)C, di[d], C);
    }
#pragma omp parallel for
    for (int d = 0; d < D; d++)
        for (int i = 0; i < B; i++) {
            float g = dz[(size_t)i * (size_t)D + (size_t)d];
            db[d] += g;
            add_scaled(dw + (size_t)d * (size_t)C, x + (size_t)i * (size_t)C, g, C);
        }
}

/* log(1 + exp(x)) without overflow. */
static float softplus(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }

double oc_sigmoid_loss(float *dz, float *du, float *d_scale, float *d_bias, int *matches, const float *z,
                       const float *u, float scale, float bias, int B, int D) {
    const float e = expf(scale);
    double loss = 0, ds = 0, dbias = 0;
    memset(dz, 0, (size_t)B * (size_t)D * sizeof *dz);
    memset(du, 0, (size_t)B * (size_t)D * sizeof *du);
    *matches = 0;
    for (int i = 0; i < B; i++) {
        const float *zi = z + (size_t)i * (size_t)D;
        float best = -INFINITY;
        int best_j = -1;
        for (int j = 0; j < B; j++) {
            const float *uj = u + (size_t)j * (size_t)D;
            float c = dot(zi, uj, D), y = i == j ? 1.0f : -1.0f, l = e * c + bias;
            if (c > best) best = c, best_j = j;
            loss += (double)softplus(-y * l);
            float g = -y / (1 + expf(y * l)) / (float)B; /* d loss / d l */
            ds += (double)(g * e * c);
            dbias += (double)g;
            add_scaled(dz + (size_t)i * (size_t)D, uj, g * e, D);
            add_scaled(du + (size_t)j * (size_t)D, zi, g * e, D);
        }
        *matches += best_j == i;
    }
    *d_scale += (float)ds;
    *d_bias += (float)dbias;
    return loss / B;
}
