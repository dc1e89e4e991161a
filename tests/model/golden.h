/* The golden batch of tests/data/golden/tiny: five sequences, six images (made by tools/reference/make_golden.py). */
#ifndef OC_TESTS_GOLDEN_H
#define OC_TESTS_GOLDEN_H

/* cmocka wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/spans.h"
#include "model/weights.h"

enum { G_SEQ = 5, G_T = 50, G_PATCHES = 16, G_SIZE = 56, G_IMAGES = 6, G_IMAGE_TOKEN = 511 };

static inline void ok(oc_status st, const oc_error *err) {
    if (st != OC_OK) fail_msg("%s", err->msg);
}

static inline oc_safetensors *golden_open(const char *name) {
    char path[512];
    oc_error err;
    oc_safetensors *st;
    snprintf(path, sizeof path, OC_TEST_DATA "/golden/tiny/activations/%s.safetensors", name);
    ok(oc_safetensors_open(&st, path, &err), &err);
    return st;
}

static inline json_t *golden_json(const char *name) {
    char path[512];
    oc_error err;
    json_t *v;
    snprintf(path, sizeof path, OC_TEST_DATA "/golden/tiny/activations/%s.json", name);
    ok(oc_json_load(&v, path, 1 << 24, &err), &err);
    return v;
}

static inline const void *golden_data(const oc_safetensors *st, const char *name) {
    const oc_tensor_info *t = oc_safetensors_find(st, name);
    if (!t) fail_msg("golden tensor %s is missing", name);
    return t->data;
}

/* Appends sequences [first, end) with their images. */
static inline void golden_batch(oc_batch *b, int first, int end) {
    oc_error err;
    oc_safetensors *st = golden_open("batch");
    const int64_t *ids = golden_data(st, "input_ids"), *labels = golden_data(st, "labels"), *lengths = golden_data(st, "lengths"),
                  *n_images = golden_data(st, "n_images");
    const float *pixels = golden_data(st, "pixel_values");
    const size_t image = 3 * G_SIZE * G_SIZE;
    ok(oc_batch_open(b, G_SEQ * G_T, G_SEQ, G_IMAGES, G_IMAGES, G_PATCHES, G_SIZE, &err), &err);
    int seen = 0;
    for (int s = 0; s < end; s++) {
        int n = (int)lengths[s], k = (int)n_images[s];
        if (s >= first) {
            int32_t token[G_T], which[G_IMAGES];
            uint8_t answer[G_T];
            for (int i = 0; i < n; i++) {
                token[i] = (int32_t)ids[s * G_T + i];
                answer[i] = labels[s * G_T + i] != -100;
            }
            for (int j = 0; j < k; j++) {
                which[j] = b->n_images;
                memcpy(b->pixels + (size_t)b->n_images++ * image, pixels + (size_t)(seen + j) * image, image * sizeof(float));
            }
            assert_true(oc_batch_append(b, token, answer, n, G_IMAGE_TOKEN, which, k));
        }
        seen += k;
    }
    oc_safetensors_close(st);
}

static inline void golden_model_of(oc_vlm *m, oc_compute **c, const char *backend, const char *folder, oc_dtype t) {
    oc_error err;
    char dir[512];
    snprintf(dir, sizeof dir, OC_TEST_DATA "/golden/%s", folder);
    ok(oc_compute_open(c, &(oc_compute_options){.threads = 2, .backend = backend}, &err), &err);
    ok(oc_weights_open(m, *c, dir, t, &err), &err);
}

static inline void golden_model(oc_vlm *m, oc_compute **c, const char *backend, const char *folder) {
    golden_model_of(m, c, backend, folder, OC_F32);
}

/* Relative L2 error of n values. */
static inline double rel_l2(const float *x, const float *ref, size_t n) {
    double d = 0, r = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)x[i] - (double)ref[i]) * ((double)x[i] - (double)ref[i]);
        r += (double)ref[i] * (double)ref[i];
    }
    return sqrt(d) / (sqrt(r) + 1e-30);
}

#endif
