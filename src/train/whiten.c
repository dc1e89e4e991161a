#include "train/whiten.h"

#include <math.h>
#include <string.h>

enum { IMAGES = 256, SWEEPS = 30 };

/* Deviation of each channel at the start, about that of the positions that are added to it. */
static const double DEVIATION = 0.5;
/* Components much weaker than this part of the mean variance are noise: they stay below the others. */
static const double FLOOR = 0.02;

/* ---- Eigenvectors -------------------------------------------------------------------------------------------------- */

static double *at(double *a, int n, int i, int j) { return &a[(size_t)i * (size_t)n + (size_t)j]; }

static double off_diagonal(double *a, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) sum += *at(a, n, i, j) * *at(a, n, i, j);
    return sum;
}

/* Zeroes a[p, q] by a rotation of rows and columns p and q (Golub and Van Loan, Matrix Computations, 8.5). */
static void rotate(double *a, double *vector, int n, int p, int q) {
    double apq = *at(a, n, p, q);
    if (apq == 0) return;
    double theta = (*at(a, n, q, q) - *at(a, n, p, p)) / (2 * apq);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
    for (int k = 0; k < n; k++) {
        double x = *at(a, n, k, p), y = *at(a, n, k, q);
        *at(a, n, k, p) = c * x - s * y;
        *at(a, n, k, q) = s * x + c * y;
    }
    for (int pass = 0; pass < 2; pass++) {
        double *m = pass ? vector : a, *x = at(m, n, p, 0), *y = at(m, n, q, 0);
        for (int k = 0; k < n; k++) {
            double u = x[k], v = y[k];
            x[k] = c * u - s * v;
            y[k] = s * u + c * v;
        }
    }
}

static void sort_descending(double *vector, double *value, int n, double *spare) {
    for (int i = 0; i < n; i++) {
        int best = i;
        for (int j = i + 1; j < n; j++)
            if (value[j] > value[best]) best = j;
        if (best == i) continue;
        size_t bytes = (size_t)n * sizeof(double);
        double v = value[i];
        value[i] = value[best];
        value[best] = v;
        memcpy(spare, at(vector, n, i, 0), bytes);
        memcpy(at(vector, n, i, 0), at(vector, n, best, 0), bytes);
        memcpy(at(vector, n, best, 0), spare, bytes);
    }
}

oc_status oc_eigen_symmetric(double *a, int n, double *vector, double *value, oc_error *err) {
    double total = off_diagonal(a, n), *spare;
    OC_TRY(oc_alloc_for(&spare, (size_t)n * sizeof(double), "eigenvectors", err));
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) *at(vector, n, i, j) = i == j;
        total += *at(a, n, i, i) * *at(a, n, i, i);
    }
    for (int sweep = 0; sweep < SWEEPS && off_diagonal(a, n) > 1e-22 * total; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) rotate(a, vector, n, p, q);
    for (int i = 0; i < n; i++) value[i] = *at(a, n, i, i);
    sort_descending(vector, value, n, spare);
    oc_free(spare);
    return OC_OK;
}

/* ---- Patches ------------------------------------------------------------------------------------------------------- */

oc_status oc_whitening_open(oc_whitening *w, const oc_vision_config *v, oc_error *err) {
    *w = (oc_whitening){.n = 3 * v->patch_size * v->patch_size};
    const size_t n = (size_t)w->n;
    oc_status st = OC_OK;
    OC_GO(oc_alloc_for(&w->sum, n * sizeof(double), "the covariance of patches", err));
    OC_GO(oc_alloc_for(&w->cross, n * n * sizeof(double), "the covariance of patches", err));
    OC_GO(oc_alloc_for(&w->patch, n * sizeof(float), "the covariance of patches", err));
    memset(w->sum, 0, n * sizeof(double));
    memset(w->cross, 0, n * n * sizeof(double));
done:
    if (st != OC_OK) oc_whitening_close(w);
    return st;
}

void oc_whitening_close(oc_whitening *w) {
    oc_free(w->sum);
    oc_free(w->cross);
    oc_free(w->patch);
    *w = (oc_whitening){0};
}

/* The order of the embedding's weights: channel, row, column. */
static void add_patch(oc_whitening *w, const float *pixels, int S, int P, int top, int left) {
    for (int c = 0, k = 0; c < 3; c++)
        for (int y = top; y < top + P; y++)
            for (int x = left; x < left + P; x++)
                w->patch[k++] = pixels[((size_t)c * (size_t)S + (size_t)y) * (size_t)S + (size_t)x];
    for (int i = 0; i < w->n; i++) {
        double v = (double)w->patch[i], *cross = at(w->cross, w->n, i, 0);
        w->sum[i] += v;
        for (int j = 0; j <= i; j++) cross[j] += v * (double)w->patch[j];
    }
    w->count++;
}

void oc_whitening_add(oc_whitening *w, const oc_vision_config *v, const oc_batch *b) {
    const int S = v->image_size, P = v->patch_size, G = S / P;
    for (int i = 0; i < b->n_images; i++)
        for (int k = 0; k < G * G; k++)
            add_patch(w, b->pixels + (size_t)i * 3 * (size_t)S * (size_t)S, S, P, k / G * P, k % G * P);
}

static void to_covariance(oc_whitening *w) {
    for (int i = 0; i < w->n; i++) w->sum[i] /= w->count;
    for (int i = 0; i < w->n; i++)
        for (int j = 0; j <= i; j++)
            *at(w->cross, w->n, i, j) = *at(w->cross, w->n, j, i) =
                *at(w->cross, w->n, i, j) / w->count - w->sum[i] * w->sum[j];
}

static void set_embedding(oc_vlm *m, const oc_whitening *mean, const double *vector, const double *value) {
    const int row = oc_params_find(&m->params, "vision_tower.embeddings.patch_embedding.weight");
    const int n = mean->n, channels = OC_MIN(m->cfg.vision.hidden, n);
    double floor = 1e-12;
    for (int i = 0; i < n; i++) floor += FLOOR * OC_MAX(value[i], 0) / n;
    for (int i = 0; i < channels; i++) {
        double scale = DEVIATION / sqrt(OC_MAX(value[i], 0) + floor), b = 0;
        for (int j = 0; j < n; j++) {
            double x = scale * vector[(size_t)i * (size_t)n + (size_t)j];
            oc_params_write(&m->params, row, (size_t)i * (size_t)n + (size_t)j, &(float){(float)x}, 1);
            b -= x * mean->sum[j];
        }
        oc_params_write(&m->params, row + 1, (size_t)i, &(float){(float)b}, 1);
    }
}

oc_status oc_whitening_apply(oc_whitening *w, oc_vlm *m, oc_error *err) {
    const size_t n = (size_t)w->n;
    double *vector = NULL, *value = NULL;
    oc_status st;
    OC_ASSERT(w->count > 0);
    OC_GO(oc_alloc_for(&vector, n * n * sizeof(double), "the components of patches", err));
    OC_GO(oc_alloc_for(&value, n * sizeof(double), "the components of patches", err));
    to_covariance(w);
    OC_GO(oc_eigen_symmetric(w->cross, w->n, vector, value, err));
    set_embedding(m, w, vector, value);
    oc_vlm_weights_changed(m, (bool[OC_PART_COUNT]){[OC_PART_VISION] = true});
done:
    oc_free(vector);
    oc_free(value);
    return st;
}

oc_status oc_whiten_patches(oc_vlm *m, oc_loader *loader, oc_error *err) {
    oc_whitening w;
    OC_TRY(oc_whitening_open(&w, &m->cfg.vision, err));
    oc_status st = OC_OK;
    for (int images = 0, batches = 0; images < IMAGES && batches < IMAGES; batches++) {
        oc_batch *b;
        OC_GO(oc_loader_next(loader, &b, NULL, err));
        oc_whitening_add(&w, &m->cfg.vision, b);
        images += b->n_images;
        oc_loader_release(loader, b);
    }
    if (w.count > 0) OC_GO(oc_whitening_apply(&w, m, err)); /* texts alone: there is nothing to learn from */
done:
    oc_whitening_close(&w);
    return st;
}
