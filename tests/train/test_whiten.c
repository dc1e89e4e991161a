/* Whitened patch embeddings: eigenvectors are eigenvectors, the embedding of the patches it was made from has no
 * correlations and one deviation, and runs that begin with it are repeatable and resume alike. */
#include "runs.h"

#include "train/whiten.h"

static oc_error err;

/* ---- Eigenvectors -------------------------------------------------------------------------------------------------- */

static void check_eigen(const double *given, int n) {
    size_t bytes = (size_t)n * (size_t)n * sizeof(double);
    double *a = memcpy(malloc(bytes), given, bytes), *q = malloc(bytes), *value = malloc((size_t)n * sizeof *value), norm = 1e-300;
    small_ok(oc_eigen_symmetric(a, n, q, value, &err), &err);
    for (int i = 0; i < n * n; i++) norm = fmax(norm, fabs(given[i]));
    for (int i = 0; i < n; i++) {
        assert_true(i == 0 || value[i - 1] >= value[i]);
        for (int j = 0; j < n; j++) {
            double dot = 0, product = 0;
            for (int k = 0; k < n; k++) dot += q[i * n + k] * q[j * n + k], product += given[j * n + k] * q[i * n + k];
            assert_true(fabs(dot - (i == j)) < 1e-10);
            assert_true(fabs(product - value[i] * q[i * n + j]) < 1e-9 * norm * n);
        }
    }
    free(a), free(q), free(value);
}

static void eigenvectors_are_eigenvectors(void **state) {
    OC_UNUSED(state);
    oc_rng rng = oc_rng_seed(4);
    double a[40 * 40];
    for (int n = 1; n <= 40; n += 13) {
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = oc_rng_normal(&rng);
        check_eigen(a, n);
    }
    memset(a, 0, sizeof a);
    check_eigen(a, 6); /* all alike */
    for (int i = 0; i < 6; i++) a[i * 6 + i] = i % 3;
    check_eigen(a, 6); /* diagonal, in pairs */
    for (int i = 0; i < 36; i++) a[i] = 1;
    check_eigen(a, 6); /* one direction */
}

/* ---- The embedding ------------------------------------------------------------------------------------------------- */

/* Smooth colour with a weak grain: the two must come out equally strong. */
static void add_smooth_image(oc_batch *b, uint64_t seed) {
    int S = b->image_size;
    oc_rng rng = oc_rng_seed(seed);
    float *p = b->pixels + (size_t)b->n_images++ * small_plane(b);
    for (int c = 0; c < 3; c++) {
        double level = oc_rng_normal(&rng), slope = 0.1 * oc_rng_normal(&rng);
        for (int i = 0; i < S * S; i++) p[c * S * S + i] = (float)(0.3 + level + slope * (i % S) + 0.3 * oc_rng_normal(&rng));
    }
}

static void patches_become_white(void **state) {
    OC_UNUSED(state);
    enum { IMAGES = 60 };
    oc_config cfg = small_config();
    oc_compute *c;
    oc_vlm m;
    oc_batch b;
    oc_whitening w;
    const int S = cfg.vision.image_size, P = cfg.vision.patch_size, n = 3 * P * P, C = cfg.vision.hidden, G = S / P;
    small_compute(&c, NULL);
    small_model(&m, c, &cfg, OC_F32, 1);
    small_batch_open(&b, &cfg, 8, 1, 1, IMAGES);
    for (int i = 0; i < IMAGES; i++) add_smooth_image(&b, 100 + (uint64_t)i);
    small_ok(oc_whitening_open(&w, &cfg.vision, &err), &err);
    oc_whitening_add(&w, &cfg.vision, &b);
    small_ok(oc_whitening_apply(&w, &m, &err), &err);
    const int row = oc_params_find(&m.params, "vision_tower.embeddings.patch_embedding.weight");
    const float *weight = oc_params_weight(&m.params, row), *bias = oc_params_weight(&m.params, row + 1);
    double mean[64] = {0}, cross[64][64] = {{0}}, count = (double)(IMAGES * G * G);
    assert_true(C <= 64 && C < n);
    for (int k = 0; k < IMAGES * G * G; k++) {
        const float *image = b.pixels + (size_t)(k / (G * G)) * small_plane(&b);
        int top = k % (G * G) / G * P, left = k % G * P;
        double y[64];
        for (int i = 0; i < C; i++) {
            y[i] = (double)bias[i];
            for (int j = 0; j < n; j++)
                y[i] += (double)weight[i * n + j] * (double)image[(j / (P * P)) * S * S + (top + j / P % P) * S + left + j % P];
            mean[i] += y[i] / count;
        }
        for (int i = 0; i < C; i++)
            for (int j = 0; j < C; j++) cross[i][j] += y[i] * y[j] / count;
    }
    for (int i = 0; i < C; i++) {
        assert_true(fabs(mean[i]) < 1e-3);
        if (!(cross[i][i] > 0.4 * 0.25 && cross[i][i] < 1.01 * 0.25)) fail_msg("channel %d has variance %g", i, cross[i][i]);
        for (int j = 0; j < i; j++)
            if (!(fabs(cross[i][j]) < 1e-3)) fail_msg("channels %d and %d go together: %g", i, j, cross[i][j]);
    }
    oc_whitening_close(&w);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

/* ---- Runs ---------------------------------------------------------------------------------------------------------- */

#define WHITE_NEW \
    "model:\n  tokenizer: " OC_TEST_DATA "/golden/tiny\n" \
    "  new:\n    vision: {hidden: 32, layers: 2, heads: 4, mlp: 48, image_size: 28, patch_size: 7, patches: %s}\n" \
    "    text: {hidden: 32, layers: 2, heads: 4, kv_heads: 2, mlp: 48, max_positions: 128}\n"
#define WHITE_STAGE "stages: [{name: all, steps: 6, batch: 4, optimizer: muon, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}, save_every: 2, eval_every: 1, " RUN_DATA "}]\n"
#define WHITE_TOWER "pretrain_vision: {steps: 4, batch: 8, max_text: 40, lr: 2e-3, optimizer: muon, text: {layers: 1}, datasets: [{json: data/human.json, images: data}], save_every: 2}\n"

static void recipe(char out[4096], const char *patches, const char *what) {
    int n = snprintf(out, 4096, RUN_HEAD WHITE_NEW, patches);
    snprintf(out + n, 4096 - (size_t)n, "%s", what);
}

static void runs_repeat_and_resume(void **state) {
    OC_UNUSED(state);
    char text[4096];
    recipe(text, "whiten", WHITE_STAGE);
    run(text, "white", NULL);
    run(text, "again", NULL);
    assert_same_file("white", "again", "model/model.safetensors");
    for (int signal = 0; signal < 2; signal++) {
        stopper s = {.stage = 0, .calls_left = 3, .by_signal = signal};
        oc_train_options o = {.evaluate = stop_here, .ctx = &s};
        oc_status st = run_with(oc_train_run, text, "stopped", &o);
        assert_true(st == (signal ? OC_ERR_INTERRUPTED : OC_ERR_IO));
        oc_signals_reset();
        run(text, "stopped", &(oc_train_options){.resume = true});
        assert_same_file("white", "stopped", "model/model.safetensors");
        remove_run("stopped");
    }
    recipe(text, "random", WHITE_STAGE);
    run(text, "random", NULL);
    assert_false(same_file("white", "random", "model/model.safetensors"));
}

static void towers_repeat_and_resume(void **state) {
    OC_UNUSED(state);
    char text[4096];
    recipe(text, "whiten", WHITE_TOWER);
    small_ok(run_with(oc_pretrain_vision, text, "tower", NULL), &runs_err);
    raise(SIGTERM);
    assert_int_equal(run_with(oc_pretrain_vision, text, "tower2", NULL), OC_ERR_INTERRUPTED);
    oc_signals_reset();
    small_ok(run_with(oc_pretrain_vision, text, "tower2", &(oc_train_options){.resume = true}), &runs_err);
    assert_same_file("tower", "tower2", "model/model.safetensors");
    recipe(text, "random", WHITE_TOWER);
    small_ok(run_with(oc_pretrain_vision, text, "tower3", NULL), &runs_err);
    assert_false(same_file("tower", "tower3", "model/model.safetensors"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(eigenvectors_are_eigenvectors), cmocka_unit_test(patches_become_white),
                                       cmocka_unit_test(runs_repeat_and_resume), cmocka_unit_test(towers_repeat_and_resume)};
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
