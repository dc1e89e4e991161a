/* The model against Hugging Face transformers: activations, logits, loss, the gradient of every parameter and three
 * AdamW steps of tests/data/golden/tiny, for every backend of this processor. Tolerances are those that the float32
 * reference itself keeps against float64, with room for another order of summation (golden README). */
#include "golden.h"

#include "compute/cpu/cpu.h"

static const char *const MODES[] = {"prefix", "causal", "full_visual"}; /* in the order of oc_mask */

static const char *backend; /* of the running test */

/* ---- Activations: taps compared row by row with the padded golden tensors ------------------------------------------ */

typedef struct comparison {
    const oc_safetensors *golden;
    const oc_batch *batch; /* decoder rows; NULL: tensors are compared from their first row on */
    int first_seq, compared;
    double worst;
    char worst_name[32];
} comparison;

static void note(comparison *c, const char *name, double error) {
    c->compared++;
    if (error <= c->worst) return;
    c->worst = error;
    snprintf(c->worst_name, sizeof c->worst_name, "%s", name);
}

static void compare_decoder(void *ctx, const char *name, const void *x, int rows, int cols, int ld, oc_dtype t) {
    comparison *c = ctx;
    const oc_tensor_info *ref = oc_safetensors_find(c->golden, name);
    assert_int_equal(t, OC_F32);
    if (!ref || !strcmp(name, "final_norm")) return;
    assert_int_equal(rows, c->batch->N);
    double d = 0, r = 0;
    for (int s = 0; s < c->batch->n_seq; s++)
        for (int i = c->batch->seq_start[s]; i < c->batch->seq_start[s + 1]; i++) {
            const float *row = (const float *)x + (size_t)i * (size_t)ld;
            const float *want = (const float *)ref->data + ((size_t)(c->first_seq + s) * G_T + (size_t)(i - c->batch->seq_start[s])) * (size_t)cols;
            for (int j = 0; j < cols; j++) {
                d += ((double)row[j] - (double)want[j]) * ((double)row[j] - (double)want[j]);
                r += (double)want[j] * (double)want[j];
            }
        }
    note(c, name, sqrt(d / r));
}

static void compare_vision(void *ctx, const char *name, const void *x, int rows, int cols, int ld, oc_dtype t) {
    comparison *c = ctx;
    const oc_tensor_info *ref = oc_safetensors_find(c->golden, name);
    assert_int_equal(t, OC_F32);
    assert_int_equal(ld, cols);
    if (!ref) return;
    size_t n = oc_tensor_elements(ref);
    assert_true((size_t)rows * (size_t)cols >= n);
    note(c, name, rel_l2(x, ref->data, n));
}

static void test_vision(void **state) {
    (void)state;
    oc_vlm m;
    oc_compute *c;
    oc_batch b;
    oc_error err;
    golden_model(&m, &c, backend, "tiny");
    golden_batch(&b, 0, G_SEQ);
    comparison cmp = {.golden = golden_open("vision")};
    m.vision_tap = (oc_tap){compare_vision, &cmp};
    oc_spans_fill(&b, OC_MASK_PREFIX);
    ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.N, false, &err), &err);
    oc_vlm_forward(&m, &b, NULL, NULL);
    print_message("%s: %d vision tensors, worst relative L2 %.2g (%s)\n", backend, cmp.compared, cmp.worst, cmp.worst_name);
    assert_int_equal(cmp.compared, 1 + 4 + 2 + 1);
    assert_true(cmp.worst < 1e-5);
    oc_safetensors_close((oc_safetensors *)(uintptr_t)cmp.golden);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void check_logits(oc_vlm *m, const oc_batch *b, const oc_safetensors *golden, int first_seq, void *x) {
    const float *want = golden_data(golden, "logits");
    const int V = m->cfg.text.vocab;
    float *logits = oc_alloc((size_t)b->N * (size_t)V * sizeof(float));
    int32_t *row = oc_alloc((size_t)b->N * sizeof(int32_t));
    for (int i = 0; i < b->N; i++) row[i] = i;
    oc_vlm_logits(m, logits, x, row, b->N);
    double worst = 0;
    for (int s = 0; s < b->n_seq; s++)
        for (int i = b->seq_start[s]; i < b->seq_start[s + 1]; i++)
            for (int j = 0; j < V; j++) {
                size_t at = ((size_t)(first_seq + s) * G_T + (size_t)(i - b->seq_start[s])) * (size_t)V + (size_t)j;
                double d = fabs((double)logits[(size_t)i * (size_t)V + (size_t)j] - (double)want[at]);
                if (d > worst) worst = d;
            }
    assert_true(worst < 3e-4);
    oc_free(logits);
    oc_free(row);
}

/* Activations and logits of the sequences [first, end) packed into one row. */
static void check_forward(int mask, int first, int end) {
    oc_vlm m;
    oc_compute *c;
    oc_batch b;
    oc_error err;
    golden_model(&m, &c, backend, "tiny");
    golden_batch(&b, first, end);
    oc_spans_fill(&b, (oc_mask)mask);
    oc_safetensors *golden = golden_open(MODES[mask]);
    comparison cmp = {.golden = golden, .batch = &b, .first_seq = first};
    m.decoder_tap = (oc_tap){compare_decoder, &cmp};
    ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.N, false, &err), &err);
    void *x = oc_vlm_forward(&m, &b, NULL, NULL);
    assert_true(cmp.compared >= 2);
    if (!(cmp.worst < 1e-5)) fail_msg("%s %s: %s has relative L2 error %g", backend, MODES[mask], cmp.worst_name, cmp.worst);
    check_logits(&m, &b, golden, first, x);
    oc_safetensors_close(golden);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void test_forward_packed(void **state) {
    (void)state;
    for (int mask = 0; mask < OC_MASK_COUNT; mask++) check_forward(mask, 0, G_SEQ);
}

static void test_forward_one_by_one(void **state) {
    (void)state;
    for (int mask = 0; mask < OC_MASK_COUNT; mask++)
        for (int s = 0; s < G_SEQ; s++) check_forward(mask, s, s + 1);
}

/* ---- Loss and gradients -------------------------------------------------------------------------------------------- */

static const bool ALL[OC_PART_COUNT] = {true, true, true};

static const oc_tensor_info *find_gradient(const oc_safetensors *golden, const char *canonical) {
    char name[256];
    for (size_t i = 0; i < oc_safetensors_count(golden); i++) {
        const oc_tensor_info *t = oc_safetensors_at(golden, i);
        if (oc_weights_canonical(name, sizeof name, t->name) && !strcmp(name, canonical)) return t;
    }
    return NULL;
}

static bool is_vision_k_bias(const char *name) { return strstr(name, "vision_tower") && strstr(name, "k_proj.bias"); }

static void check_gradients(const oc_vlm *m, const oc_safetensors *golden) {
    int compared = 0;
    for (int i = 0; i < m->params.count; i++) {
        const oc_param *r = &m->params.row[i];
        const float *g = oc_params_grad(&m->params, i);
        const oc_tensor_info *want = find_gradient(golden, r->name);
        if (r->unused) {
            assert_null(want);
            for (size_t j = 0; j < r->n; j++) assert_true(g[j] == 0);
            continue;
        }
        if (!want) fail_msg("no golden gradient for %s", r->name);
        compared++;
        if (is_vision_k_bias(r->name)) { /* softmax cancels it: rounding noise only */
            for (size_t j = 0; j < r->n; j++) assert_true(fabsf(g[j]) < 1e-5f);
            continue;
        }
        double e = rel_l2(g, want->data, r->n);
        if (!(e < 1e-4)) fail_msg("%s: gradient of %s has relative L2 error %g", backend, r->name, e);
    }
    assert_int_equal(compared, 93);
}

/* packed: all sequences in one batch; else five micro-batches, accumulated. */
static void check_loss(int mask, bool packed) {
    oc_vlm m;
    oc_compute *c;
    oc_error err;
    char name[64];
    json_t *summary = golden_json("summary"), *mode = json_object_get(summary, MODES[mask]);
    double want_loss = json_number_value(json_object_get(mode, "loss")), want_norm = json_number_value(json_object_get(mode, "grad_norm"));
    int labelled = (int)json_integer_value(json_object_get(mode, "labelled_tokens"));
    golden_model(&m, &c, backend, "tiny");
    ok(oc_vlm_set_trainable(&m, ALL, &err), &err);
    oc_loss total = {0};
    for (int s = 0; s < (packed ? 1 : G_SEQ); s++) {
        oc_batch b;
        golden_batch(&b, packed ? 0 : s, packed ? G_SEQ : s + 1);
        oc_spans_fill(&b, (oc_mask)mask);
        ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.N, true, &err), &err);
        oc_loss l = oc_vlm_loss(&m, &b, 1.0f / (float)labelled);
        total.sum += l.sum;
        total.n += l.n;
        oc_batch_close(&b);
    }
    assert_int_equal(total.n, labelled);
    assert_true(fabs(total.sum / total.n - want_loss) < 1e-5 * want_loss + 1e-5);
    double sq = 0;
    for (int p = 0; p < OC_PART_COUNT; p++) sq += c->ops.sum_squares(c, m.params.g[p], m.params.n[p]);
    assert_true(fabs(sqrt(sq) / want_norm - 1) < 3e-5);
    if (mask != OC_MASK_ISOLATED) {
        snprintf(name, sizeof name, "grads_%s", MODES[mask]);
        oc_safetensors *golden = golden_open(name);
        check_gradients(&m, golden);
        oc_safetensors_close(golden);
    }
    json_decref(summary);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void test_gradients_packed(void **state) {
    (void)state;
    for (int mask = 0; mask < OC_MASK_COUNT; mask++) check_loss(mask, true);
}

static void test_gradients_accumulated(void **state) {
    (void)state;
    for (int mask = 0; mask < OC_MASK_COUNT; mask++) check_loss(mask, false);
}

/* Freezing must not change the gradient of what stays trainable, whatever it lets the pass leave out. */
static void test_frozen_parts(void **state) {
    (void)state;
    for (int set = 1; set < 8; set++) {
        const bool train[OC_PART_COUNT] = {set & 1, set & 2, set & 4};
        oc_vlm m;
        oc_compute *c;
        oc_batch b;
        oc_error err;
        golden_model(&m, &c, backend, "tiny");
        golden_batch(&b, 0, G_SEQ);
        oc_spans_fill(&b, OC_MASK_PREFIX);
        ok(oc_vlm_set_trainable(&m, train, &err), &err);
        ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true, &err), &err);
        oc_vlm_loss(&m, &b, 1.0f / (float)b.n_labels);
        oc_safetensors *golden = golden_open("grads_prefix");
        for (int i = 0; i < m.params.count; i++) {
            const oc_param *r = &m.params.row[i];
            if (r->unused || is_vision_k_bias(r->name)) continue;
            const float *g = oc_params_grad(&m.params, i);
            assert_true((g != NULL) == train[r->part]);
            if (g) assert_true(rel_l2(g, find_gradient(golden, r->name)->data, r->n) < 1e-4);
        }
        oc_safetensors_close(golden);
        oc_batch_close(&b);
        oc_vlm_close(&m);
        oc_compute_close(c);
    }
}

/* ---- Activation checkpointing -------------------------------------------------------------------------------------- */

/* Loss and gradients of a pass in which so many layers of each tower are computed twice; the forward pass's taps are
 * counted. g: [part] receives copies. */
static oc_loss recomputed_pass(oc_vlm *m, oc_batch *b, const int layers[OC_PART_COUNT], float *g[OC_PART_COUNT]) {
    oc_error err;
    memcpy(m->recomputed, layers, sizeof m->recomputed);
    ok(oc_vlm_reserve(m, b->N, b->n_images, b->n_blocks, b->n_labels, true, &err), &err);
    memset(m->arena.base, 0x7f, m->arena.capacity); /* what was left there before must not help */
    for (int p = 0; p < OC_PART_COUNT; p++)
        if (m->params.g[p]) memset(m->params.g[p], 0, m->params.n[p] * sizeof(float));
    oc_loss l = oc_vlm_loss(m, b, 1.0f / (float)b->n_labels);
    for (int p = 0; p < OC_PART_COUNT; p++) {
        if (!m->params.g[p]) continue;
        g[p] = malloc(m->params.n[p] * sizeof(float));
        memcpy(g[p], m->params.g[p], m->params.n[p] * sizeof(float));
    }
    return l;
}

static void count_taps(void *ctx, const char *name, const void *x, int rows, int cols, int ld, oc_dtype t) {
    (void)name, (void)x, (void)rows, (void)cols, (void)ld, (void)t;
    ++*(int *)ctx;
}

/* One set of trainable parts, one mask: every number of layers gives the same bits, from less memory the more there are. */
static void check_recomputed(const bool train[OC_PART_COUNT], oc_mask mask, oc_dtype t) {
    oc_vlm m;
    oc_compute *c;
    oc_batch b;
    oc_error err;
    int taps = 0, taps_wanted = 0;
    float *want[OC_PART_COUNT] = {NULL};
    oc_loss all = {0};
    size_t bytes = SIZE_MAX;
    golden_model_of(&m, &c, backend, "tiny", t);
    golden_batch(&b, 0, G_SEQ);
    oc_spans_fill(&b, mask);
    ok(oc_vlm_set_trainable(&m, train, &err), &err);
    m.vision_tap = m.decoder_tap = (oc_tap){count_taps, &taps};
    const int V = oc_vlm_layers(&m, OC_PART_VISION), D = oc_vlm_layers(&m, OC_PART_LM);
    assert_true(V >= 2 && D >= 2 && oc_vlm_layers(&m, OC_PART_PROJECTOR) == 0);
    for (int k = 0; k <= OC_MAX(V, D) + 1; k++) { /* one more than there are is all of them */
        float *g[OC_PART_COUNT] = {NULL};
        size_t planned;
        taps = 0;
        oc_loss l = recomputed_pass(&m, &b, (int[OC_PART_COUNT]){k, 0, k}, g);
        planned = oc_vlm_arena_bytes(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true);
        assert_true(m.arena.used == planned);
        if (k == 0) {
            all = l, taps_wanted = taps;
            memcpy(want, g, sizeof want);
            bytes = planned;
            continue;
        }
        assert_true(l.sum == all.sum && l.n == all.n && l.correct == all.correct);
        assert_int_equal(taps, taps_wanted);
        /* one layer shares with itself; a frozen encoder keeps nothing anyway */
        bool fewer = k >= 2 && ((k <= V && train[OC_PART_VISION]) || k <= D);
        if (fewer ? planned >= bytes : planned != bytes) fail_msg("%d layers recomputed: %zu bytes after %zu", k, planned, bytes);
        bytes = planned;
        for (int p = 0; p < OC_PART_COUNT; p++) {
            if (g[p] && memcmp(g[p], want[p], m.params.n[p] * sizeof(float)))
                fail_msg("%s: %d layers recomputed, the gradient of %s is not the same", backend, k, oc_part_names[p]);
            free(g[p]);
        }
    }
    for (int p = 0; p < OC_PART_COUNT; p++) free(want[p]);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void test_recomputed(void **state) {
    (void)state;
    for (int mask = 0; mask < OC_MASK_COUNT; mask++) check_recomputed(ALL, (oc_mask)mask, OC_F32);
    check_recomputed(ALL, OC_MASK_PREFIX, OC_BF16);
    for (int set = 1; set < 7; set++)
        check_recomputed((bool[OC_PART_COUNT]){set & 1, set & 2, set & 4}, OC_MASK_PREFIX, OC_F32);
}

/* ---- Three AdamW steps --------------------------------------------------------------------------------------------- */

static void check_parameter(const oc_params *p, int row, const json_t *want) {
    const float *w = oc_params_weight(p, row);
    const oc_param *r = &p->row[row];
    double sum = 0, sq = 0;
    for (size_t j = 0; j < r->n; j++) {
        sum += (double)w[j];
        sq += (double)w[j] * (double)w[j];
    }
    double want_sq = json_number_value(json_object_get(want, "sum_sq"));
    assert_true(fabs(sq - want_sq) < 3e-5 * want_sq + 1e-9);
    assert_true(fabs(sum - json_number_value(json_object_get(want, "sum"))) < 2e-3);
    const json_t *first = json_object_get(want, "first8");
    for (size_t j = 0; j < json_array_size(first); j++) assert_true(fabs((double)w[j] - json_number_value(json_array_get(first, j))) < 2e-4);
}

static void adamw_step(oc_vlm *m, oc_compute *c, int step, double norm) {
    oc_adamw o = {.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .step = step, .grad_scale = (float)fmin(1, 1.0 / (norm + 1e-6))};
    for (int i = 0; i < m->params.count; i++) {
        const oc_param *r = &m->params.row[i];
        if (r->unused) continue;
        o.decay = r->decay ? 0.1f : 0;
        c->ops.adamw(c, oc_params_weight(&m->params, i), m->params.m[r->part] + r->offset, m->params.v[r->part] + r->offset, oc_params_grad(&m->params, i), r->n, &o);
    }
    oc_vlm_weights_changed(m, ALL);
}

static void check_adamw(const char *mode, oc_mask mask, const json_t *golden) {
    oc_vlm m;
    oc_compute *c;
    oc_batch b;
    oc_error err;
    golden_model(&m, &c, backend, "tiny");
    golden_batch(&b, 0, G_SEQ);
    oc_spans_fill(&b, mask);
    ok(oc_vlm_set_trainable(&m, ALL, &err), &err);
    ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true, &err), &err);
    const json_t *steps = json_object_get(golden, "steps");
    for (size_t s = 0; s < json_array_size(steps); s++) {
        const json_t *want = json_array_get(steps, s);
        for (int p = 0; p < OC_PART_COUNT; p++) memset(m.params.g[p], 0, m.params.n[p] * sizeof(float));
        oc_loss l = oc_vlm_loss(&m, &b, 1.0f / (float)b.n_labels);
        double want_loss = json_number_value(json_object_get(want, "loss")), sq = 0;
        assert_true(fabs(l.sum / l.n - want_loss) < 1e-4 * want_loss);
        for (int p = 0; p < OC_PART_COUNT; p++) sq += c->ops.sum_squares(c, m.params.g[p], m.params.n[p]);
        assert_true(fabs(sqrt(sq) / json_number_value(json_object_get(want, "grad_norm")) - 1) < 1e-4);
        adamw_step(&m, c, (int)s + 1, sqrt(sq));
    }
    const json_t *params = json_object_get(golden, "params");
    int compared = 0;
    char name[256];
    const char *key;
    json_t *want;
    json_object_foreach((json_t *)(uintptr_t)params, key, want) {
        assert_true(oc_weights_canonical(name, sizeof name, key));
        int row = oc_params_find(&m.params, name);
        assert_true(row >= 0);
        if (m.params.row[row].unused || is_vision_k_bias(name)) continue;
        assert_int_equal(m.params.row[row].decay, json_is_true(json_object_get(want, "decayed")));
        check_parameter(&m.params, row, want);
        compared++;
    }
    print_message("%s %s: %d parameters after three steps agree\n", backend, mode, compared);
    assert_true(compared >= 88);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void test_adamw(void **state) {
    (void)state;
    json_t *golden = golden_json("adamw"), *modes = json_object_get(golden, "modes");
    check_adamw("causal", OC_MASK_CAUSAL, json_object_get(modes, "causal"));
    check_adamw("prefix", OC_MASK_PREFIX, json_object_get(modes, "prefix"));
    json_decref(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vision),           cmocka_unit_test(test_forward_packed),
        cmocka_unit_test(test_forward_one_by_one), cmocka_unit_test(test_gradients_packed),
        cmocka_unit_test(test_gradients_accumulated), cmocka_unit_test(test_frozen_parts),
        cmocka_unit_test(test_recomputed),      cmocka_unit_test(test_adamw),
    };
    const char *names[16];
    int n = oc_compute_backends(names, 16), failed = 0;
    for (int i = 0; i < n; i++) {
        backend = names[i];
        failed += cmocka_run_group_tests_name(names[i], tests, NULL, NULL);
    }
    return failed;
}
