/* Small random models and batches for tests: every size can be changed before the model is made. */
#ifndef OC_TESTS_MODEL_SMALL_H
#define OC_TESTS_MODEL_SMALL_H

/* cmocka wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "model/spans.h"
#include "model/weights.h"

static const bool SMALL_ALL[OC_PART_COUNT] = {true, true, true};
static const bool SMALL_NONE[OC_PART_COUNT] = {false, false, false};

enum { SMALL_IMAGE_TOKEN = 5 };

static inline void small_ok(oc_status st, const oc_error *err) {
    if (st != OC_OK) fail_msg("%s", err->msg);
}

/* 16 patches an image, 2 + 2 layers, grouped queries; about 30,000 parameters. */
static inline oc_config small_config(void) {
    oc_config c;
    oc_config_defaults(&c);
    c.has_vision = c.has_text = true;
    c.vision = (oc_vision_config){.hidden = 24, .layers = 2, .heads = 3, .mlp = 40, .image_size = 16, .patch_size = 4, .eps = 1e-6f,
                                  .act = OC_ACT_GELU_TANH, .feature_layer = -1};
    c.text = (oc_text_config){.hidden = 32, .layers = 2, .heads = 4, .kv_heads = 2, .head_size = 8, .mlp = 48, .vocab = 67,
                              .max_positions = 128, .eps = 1e-6f, .rope_theta = 1e4f, .tied = true};
    c.projector = (oc_projector_config){.hidden = 32, .merge = 1, .act = OC_ACT_GELU_TANH};
    c.image_token = SMALL_IMAGE_TOKEN;
    return c;
}

static inline void small_compute(oc_compute **c, const char *backend) {
    oc_error err;
    small_ok(oc_compute_open(c, &(oc_compute_options){.threads = 1, .backend = backend}, &err), &err);
}

/* A model whose biases and norms are not the neutral values of a fresh one. */
static inline void small_model(oc_vlm *m, oc_compute *c, const oc_config *cfg, oc_dtype t, uint64_t seed) {
    oc_error err;
    small_ok(oc_vlm_create(m, c, cfg, t, &err), &err);
    oc_params_init(&m->params, seed, SMALL_ALL);
    oc_rng rng = oc_rng_at(seed, 1, 2);
    for (int i = 0; i < m->params.count; i++) {
        if (m->params.row[i].n_dims != 1) continue;
        float *w = oc_params_weight(&m->params, i);
        for (size_t j = 0; j < m->params.row[i].n; j++) w[j] += (float)(0.1 * oc_rng_normal(&rng));
    }
    oc_vlm_weights_changed(m, SMALL_ALL);
}

static inline void small_batch_open(oc_batch *b, const oc_config *cfg, int tokens, int seqs, int blocks, int images) {
    oc_error err;
    small_ok(oc_batch_open(b, tokens, seqs, blocks, images, oc_config_tokens_per_image(cfg), cfg->vision.image_size, &err), &err);
}

static inline size_t small_plane(const oc_batch *b) { return 3 * (size_t)b->image_size * (size_t)b->image_size; }

/* One more picture of noise; its index. */
static inline int small_add_image(oc_batch *b, uint64_t seed) {
    oc_rng rng = oc_rng_seed(seed);
    float *p = b->pixels + (size_t)b->n_images * small_plane(b);
    for (size_t i = 0; i < small_plane(b); i++) p[i] = (float)(2 * oc_rng_uniform(&rng) - 1);
    return b->n_images++;
}

/* A sequence: `before` text tokens, the images, `after` text tokens, all of the latter to be predicted. */
static inline void small_add_sequence(oc_batch *b, const oc_config *cfg, uint64_t seed, int before, const int32_t *image, int images, int after) {
    oc_rng rng = oc_rng_seed(seed);
    int n = before + images * b->tokens_per_image + after;
    int32_t *token = malloc((size_t)n * sizeof *token);
    uint8_t *answer = calloc((size_t)n, 1);
    for (int i = 0; i < n; i++) {
        bool text = i < before || i >= n - after;
        token[i] = text ? oc_rng_range(&rng, 6, cfg->text.vocab - 1) : cfg->image_token;
        answer[i] = i >= n - after;
    }
    assert_true(oc_batch_append(b, token, answer, n, cfg->image_token, image, images));
    free(token);
    free(answer);
}

/* Loss over the batch; gradients are set anew where parts are trainable. */
static inline oc_loss small_loss(oc_vlm *m, oc_batch *b, oc_mask mask, float scale) {
    oc_error err;
    oc_spans_fill(b, mask);
    for (int p = 0; p < OC_PART_COUNT; p++)
        if (m->params.g[p]) memset(m->params.g[p], 0, m->params.n[p] * sizeof(float));
    small_ok(oc_vlm_reserve(m, b->N, b->n_images, b->n_blocks, b->n_labels, scale > 0, &err), &err);
    return oc_vlm_loss(m, b, scale);
}

/* |x - y| / |y| over n values. */
static inline double small_rel(const float *x, const float *y, size_t n) {
    double d = 0, r = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        r += (double)y[i] * (double)y[i];
    }
    return sqrt(d) / (sqrt(r) + 1e-30);
}

/* A folder of the test's own below /tmp. */
static inline void small_folder(char out[64]) {
    snprintf(out, 64, "/tmp/oc_test_XXXXXX");
    if (!mkdtemp(out)) fail_msg("no temporary folder");
}

#endif
