/* What must hold of loss and gradients whatever the sizes: sequences packed together equal the same ones alone, a picture
 * shown twice equals two equal pictures, freezing changes nothing for the rest, gradients are the loss's slope (central
 * differences), bf16 stays close to float32. Every property for the layouts that differ in code: patches merged, projector
 * wider than the decoder, head of its own, features below the last layer, erf GELU, patches that don't fill the image. */
#include "small.h"

enum { VARIANTS = 7 };
static const char *const VARIANT[VARIANTS] = {"plain", "merged", "wide projector", "own head", "feature layer -2", "erf", "all at once"};

static oc_config variant(int v) {
    oc_config c = small_config();
    bool all = v == 6;
    if (v == 1 || all) c.projector.merge = 2;
    if (v == 2 || all) c.projector.hidden = 56;
    if (v == 3 || all) c.text.tied = false;
    if (v == 4 || all) c.vision.feature_layer = -2;
    if (v == 5 || all) c.projector.act = c.vision.act = OC_ACT_GELU_ERF;
    if (all) {
        c.vision.image_size = 22; /* 5 x 5 patches and 2 pixels over; one row and column of patches is dropped by merging */
        c.text.head_size = 12;    /* 4 heads of 12: wider than the hidden size */
        c.text.kv_heads = 1;
    }
    return c;
}

/* Four sequences: text alone, an image first, two images side by side in the middle, an image at the end of the prompt. */
enum { SEQUENCES = 4 };

static void append(oc_batch *b, const oc_config *cfg, int which) {
    int32_t image[2];
    int n_images = which == 0 ? 0 : which == 2 ? 2 : 1;
    for (int i = 0; i < n_images; i++) image[i] = small_add_image(b, (uint64_t)(10 * which + i));
    static const int before[SEQUENCES] = {3, 0, 4, 6}, after[SEQUENCES] = {5, 4, 3, 7};
    small_add_sequence(b, cfg, (uint64_t)(100 + which), before[which], image, n_images, after[which]);
}

static void fill(oc_batch *b, const oc_config *cfg, int first, int end) {
    small_batch_open(b, cfg, 256, SEQUENCES, 8, 8);
    for (int s = first; s < end; s++) append(b, cfg, s);
}

static float *copy_gradients(const oc_vlm *m, oc_part part) {
    size_t bytes = m->params.n[part] * sizeof(float);
    float *g = malloc(bytes);
    memcpy(g, m->params.g[part], bytes);
    return g;
}

/* Gradients of m against `want` [part], row by row, so that a message can name the tensor. */
static void compare_gradients(const oc_vlm *m, float *const want[OC_PART_COUNT], double tolerance, const char *what) {
    for (int i = 0; i < m->params.count; i++) {
        const oc_param *r = &m->params.row[i];
        const float *g = oc_params_grad(&m->params, i), *w = want[r->part] + r->offset;
        if (!g) continue;
        double norm = 0, error = small_rel(g, w, r->n);
        for (size_t j = 0; j < r->n; j++) norm = fmax(norm, fabs((double)w[j]));
        bool rounding_only = strstr(r->name, "vision_tower") && strstr(r->name, "k_proj.bias"); /* softmax cancels it */
        if (!r->unused && !rounding_only && norm < 1e-7) fail_msg("%s: the gradient of %s is zero", what, r->name);
        if (r->unused && norm > 0) fail_msg("%s: %s takes no part, but has a gradient", what, r->name);
        if (!rounding_only && norm > 0 && !(error < tolerance)) fail_msg("%s: gradient of %s differs by %g (relative L2)", what, r->name, error);
    }
}

/* ---- Packing ------------------------------------------------------------------------------------------------------- */

static void check_packed(int v, oc_mask mask) {
    oc_config cfg = variant(v);
    oc_compute *c;
    oc_vlm m;
    oc_error err;
    oc_batch b;
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 3);
    small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
    float *sum[OC_PART_COUNT];
    for (int p = 0; p < OC_PART_COUNT; p++) sum[p] = calloc(m.params.n[p], sizeof(float));
    oc_loss total = {0};
    for (int s = 0; s < SEQUENCES; s++) {
        fill(&b, &cfg, s, s + 1);
        oc_loss l = small_loss(&m, &b, mask, 0.05f);
        total.sum += l.sum;
        total.n += l.n;
        total.correct += l.correct;
        for (int p = 0; p < OC_PART_COUNT; p++)
            for (size_t j = 0; j < m.params.n[p]; j++) sum[p][j] += m.params.g[p][j];
        oc_batch_close(&b);
    }
    fill(&b, &cfg, 0, SEQUENCES);
    oc_loss packed = small_loss(&m, &b, mask, 0.05f);
    assert_int_equal(packed.n, total.n);
    assert_int_equal(packed.correct, total.correct);
    if (!(fabs(packed.sum / total.sum - 1) < 1e-6)) fail_msg("%s: packed loss %.9g, one by one %.9g", VARIANT[v], packed.sum, total.sum);
    compare_gradients(&m, sum, 1e-5, VARIANT[v]);
    oc_batch_close(&b);
    for (int p = 0; p < OC_PART_COUNT; p++) free(sum[p]);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void packed_equals_one_by_one(void **state) {
    OC_UNUSED(state);
    for (int v = 0; v < VARIANTS; v++)
        for (int mask = 0; mask < OC_MASK_COUNT; mask++) check_packed(v, (oc_mask)mask);
}

/* With sample_loss the packed gradient is the sum over the sequences of the gradients of their mean losses. */
static void samples_weigh_alike(void **state) {
    OC_UNUSED(state);
    oc_config cfg = variant(0);
    oc_compute *c;
    oc_vlm m;
    oc_error err;
    oc_batch b;
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 3);
    small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
    float *sum[OC_PART_COUNT];
    for (int p = 0; p < OC_PART_COUNT; p++) sum[p] = calloc(m.params.n[p], sizeof(float));
    double mean = 0;
    int least = 1000, most = 0;
    for (int s = 0; s < SEQUENCES; s++) {
        fill(&b, &cfg, s, s + 1);
        oc_loss l = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f / (float)b.n_labels);
        assert_true(l.weight == l.n);
        mean += l.sum / l.n;
        least = OC_MIN(least, l.n), most = OC_MAX(most, l.n);
        for (int p = 0; p < OC_PART_COUNT; p++)
            for (size_t j = 0; j < m.params.n[p]; j++) sum[p][j] += m.params.g[p][j];
        oc_batch_close(&b);
    }
    assert_true(least < most);
    m.sample_loss = true;
    fill(&b, &cfg, 0, SEQUENCES);
    oc_loss packed = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f);
    assert_true(fabs(packed.weight - SEQUENCES) < 1e-5 && fabs(packed.sum / mean - 1) < 1e-6);
    compare_gradients(&m, sum, 1e-5, "samples");
    oc_batch_close(&b);
    for (int p = 0; p < OC_PART_COUNT; p++) free(sum[p]);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

/* ---- A picture shown several times --------------------------------------------------------------------------------- */

/* Three questions about two pictures, the first picture twice; `shared`: encoded once. A third picture is never shown. */
static void fill_repeated(oc_batch *b, const oc_config *cfg, bool shared) {
    small_batch_open(b, cfg, 256, 3, 4, 4);
    int32_t first = small_add_image(b, 1), second = small_add_image(b, 2);
    int32_t again = shared ? first : small_add_image(b, 1);
    if (shared) small_add_image(b, 3);
    small_add_sequence(b, cfg, 21, 2, &first, 1, 4);
    small_add_sequence(b, cfg, 22, 2, &second, 1, 4);
    small_add_sequence(b, cfg, 23, 0, &again, 1, 6);
}

static void a_picture_shown_twice(void **state) {
    OC_UNUSED(state);
    for (int v = 0; v < VARIANTS; v++) {
        oc_config cfg = variant(v);
        oc_compute *c;
        oc_vlm m;
        oc_error err;
        oc_batch b;
        small_compute(&c, "ref");
        small_model(&m, c, &cfg, OC_F32, 3);
        small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
        fill_repeated(&b, &cfg, false);
        oc_loss apart = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f);
        oc_batch_close(&b);
        float *want[OC_PART_COUNT];
        for (int p = 0; p < OC_PART_COUNT; p++) want[p] = copy_gradients(&m, (oc_part)p);
        fill_repeated(&b, &cfg, true);
        oc_loss shared = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f);
        oc_batch_close(&b);
        assert_true(shared.n == apart.n && shared.sum == apart.sum);
        compare_gradients(&m, want, 1e-5, VARIANT[v]);
        for (int p = 0; p < OC_PART_COUNT; p++) free(want[p]);
        oc_vlm_close(&m);
        oc_compute_close(c);
    }
}

/* ---- Freezing ------------------------------------------------------------------------------------------------------ */

static void freezing_leaves_the_other_gradients(void **state) {
    OC_UNUSED(state);
    for (int v = 0; v < VARIANTS; v++) {
        oc_config cfg = variant(v);
        oc_compute *c;
        oc_vlm m;
        oc_error err;
        oc_batch b;
        small_compute(&c, "ref");
        small_model(&m, c, &cfg, OC_F32, 3);
        fill(&b, &cfg, 0, SEQUENCES);
        small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
        oc_loss all = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f);
        float *want[OC_PART_COUNT];
        for (int p = 0; p < OC_PART_COUNT; p++) want[p] = copy_gradients(&m, (oc_part)p);
        for (int set = 0; set < 8; set++) {
            const bool train[OC_PART_COUNT] = {set & 1, set & 2, set & 4};
            small_ok(oc_vlm_set_trainable(&m, train, &err), &err);
            oc_loss l = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f);
            assert_true(l.sum == all.sum);
            for (int p = 0; p < OC_PART_COUNT; p++) assert_true((m.params.g[p] != NULL) == train[p]);
            compare_gradients(&m, want, 1e-6, VARIANT[v]);
        }
        for (int p = 0; p < OC_PART_COUNT; p++) free(want[p]);
        oc_batch_close(&b);
        oc_vlm_close(&m);
        oc_compute_close(c);
    }
}

/* ---- Slopes -------------------------------------------------------------------------------------------------------- */

/* Mean loss with w + h d in place of w. */
static double loss_at(oc_vlm *m, oc_batch *b, float *w, const float *w0, const float *d, size_t n, double h) {
    for (size_t j = 0; j < n; j++) w[j] = (float)((double)w0[j] + h * (double)d[j]);
    oc_vlm_weights_changed(m, SMALL_ALL);
    oc_loss l = small_loss(m, b, OC_MASK_PREFIX, 0);
    return l.sum / l.n;
}

/* The slope of the loss along d, from four values: error O(h^4). */
static double slope(oc_vlm *m, oc_batch *b, float *w, const float *d, size_t n, double h) {
    float *w0 = malloc(n * sizeof *w0);
    memcpy(w0, w, n * sizeof *w0);
    double near = loss_at(m, b, w, w0, d, n, h) - loss_at(m, b, w, w0, d, n, -h);
    double far = loss_at(m, b, w, w0, d, n, 2 * h) - loss_at(m, b, w, w0, d, n, -2 * h);
    memcpy(w, w0, n * sizeof *w0);
    oc_vlm_weights_changed(m, SMALL_ALL);
    free(w0);
    return (8 * near - far) / (12 * h);
}

/* Along each tensor's own gradient (the slope is then its norm), and along a random direction through a whole part.
 * The losses are good to about 1e-7 of 4, so slopes at h = 0.02 to 2e-5. */
static void check_slopes(int v) {
    oc_config cfg = variant(v);
    oc_compute *c;
    oc_vlm m;
    oc_error err;
    oc_batch b;
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 3);
    fill(&b, &cfg, 0, SEQUENCES);
    small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
    small_loss(&m, &b, OC_MASK_PREFIX, 1.0f / (float)b.n_labels);
    float *g[OC_PART_COUNT];
    for (int p = 0; p < OC_PART_COUNT; p++) g[p] = copy_gradients(&m, (oc_part)p);
    for (int i = 0; i < m.params.count; i++) {
        const oc_param *r = &m.params.row[i];
        float *d = g[r->part] + r->offset;
        double norm = 0;
        for (size_t j = 0; j < r->n; j++) norm += (double)d[j] * (double)d[j];
        norm = sqrt(norm);
        if (norm < 1e-3) continue; /* below what differences of float32 losses can tell */
        double h = strstr(r->name, "embed_tokens") ? 0.004 : 0.02; /* token embeddings are small */
        double got = slope(&m, &b, oc_params_weight(&m.params, i), d, r->n, h / norm);
        if (!(fabs(got / (norm * norm) - 1) < 5e-3 + 8e-7 / (h * norm))) fail_msg("%s, %s: slope %g, gradient says %g", VARIANT[v], r->name, got / norm, norm);
    }
    oc_rng rng = oc_rng_seed(9);
    for (int p = 0; p < OC_PART_COUNT; p++) {
        size_t n = m.params.n[p];
        float *d = malloc(n * sizeof *d);
        double want = 0, sq = 0, norm = 0;
        for (size_t j = 0; j < n; j++) {
            d[j] = (float)oc_rng_normal(&rng);
            want += (double)d[j] * (double)g[p][j];
            sq += (double)d[j] * (double)d[j];
            norm += (double)g[p][j] * (double)g[p][j];
        }
        double got = slope(&m, &b, m.params.w[p], d, n, 0.05 / sqrt(sq));
        if (!(fabs(got - want) < 0.01 * fabs(want) + 3e-3 * sqrt(norm))) fail_msg("%s, %s: slope %g, gradient says %g", VARIANT[v], oc_part_names[p], got, want);
        free(d);
        free(g[p]);
    }
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void gradients_are_slopes(void **state) {
    OC_UNUSED(state);
    check_slopes(0);
    check_slopes(VARIANTS - 1);
}

/* ---- bf16 ---------------------------------------------------------------------------------------------------------- */

/* Activations have 8 bits, so gradients agree to a few hundredths; a wrong cast or a wrong row does not. */
static void bf16_is_close_to_f32(void **state) {
    OC_UNUSED(state);
    for (int v = 0; v < VARIANTS; v++) {
        oc_config cfg = variant(v);
        oc_compute *c;
        oc_vlm m, half;
        oc_error err;
        oc_batch b;
        small_compute(&c, "ref");
        small_model(&m, c, &cfg, OC_F32, 3);
        small_model(&half, c, &cfg, OC_BF16, 3);
        fill(&b, &cfg, 0, SEQUENCES);
        small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
        small_ok(oc_vlm_set_trainable(&half, SMALL_ALL, &err), &err);
        oc_loss a = small_loss(&m, &b, OC_MASK_PREFIX, 0.05f), h = small_loss(&half, &b, OC_MASK_PREFIX, 0.05f);
        assert_true(a.n == h.n && a.sum != h.sum && fabs(h.sum / a.sum - 1) < 2e-3);
        for (int p = 0; p < OC_PART_COUNT; p++) {
            double error = small_rel(half.params.g[p], m.params.g[p], m.params.n[p]);
            if (!(error < 0.04)) fail_msg("%s: bf16 gradient of %s differs by %g", VARIANT[v], oc_part_names[p], error);
        }
        oc_batch_close(&b);
        oc_vlm_close(&m);
        oc_vlm_close(&half);
        oc_compute_close(c);
    }
}

/* ---- What the plan promises ---------------------------------------------------------------------------------------- */

/* The plan for given sizes is exactly what a pass of these sizes takes, and a smaller pass takes less. */
static void the_plan_is_what_a_pass_takes(void **state) {
    OC_UNUSED(state);
    oc_config cfg = variant(6);
    oc_compute *c;
    oc_vlm m;
    oc_error err;
    oc_batch b;
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 3);
    size_t before = 0;
    for (int set = 0; set < 8; set++) {
        const bool train[OC_PART_COUNT] = {set & 1, set & 2, set & 4};
        small_ok(oc_vlm_set_trainable(&m, train, &err), &err);
        fill(&b, &cfg, 0, SEQUENCES);
        size_t plan = oc_vlm_arena_bytes(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true);
        small_loss(&m, &b, OC_MASK_PREFIX, 1);
        if (set) assert_int_equal(m.arena.used, plan);
        assert_true(set == 0 || plan > before); /* training anything keeps more than training nothing */
        if (set == 0) before = plan;
        assert_true(oc_vlm_arena_bytes(&m, b.N - 1, b.n_images, b.n_blocks - 1, b.n_labels, true) <= plan);
        oc_batch_close(&b);
    }
    oc_vlm_close(&m);
    oc_compute_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_equals_one_by_one), cmocka_unit_test(samples_weigh_alike), cmocka_unit_test(a_picture_shown_twice),
        cmocka_unit_test(freezing_leaves_the_other_gradients), cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(bf16_is_close_to_f32), cmocka_unit_test(the_plan_is_what_a_pass_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
