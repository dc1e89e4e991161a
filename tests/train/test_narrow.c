/* Weights, gradients and moments in bf16: rounding that is right on average, gradients that are the float32 ones to bf16's
 * precision, an optimizer whose second moment does not stand still, runs that repeat and continue bit for bit, and what all
 * of it costs in loss. */
#include "runs.h"

#include "train/narrow.h"

/* ---- Rounding ------------------------------------------------------------------------------------------------------ */

static void rounding_is_right_on_average(void **state) {
    OC_UNUSED(state);
    static const float values[] = {1.0f, 1.001f, -3.1f, 1e-30f, 0.0f, 1234.5678f, -1e-3f};
    for (size_t i = 0; i < OC_COUNT(values); i++) {
        double sum = 0;
        float low = INFINITY, high = -INFINITY;
        for (uint32_t r = 0; r < 65536; r++) {
            float y = oc_bf16_to_f32(oc_round_stochastic(values[i], r | r << 16));
            sum += (double)y;
            low = fminf(low, y), high = fmaxf(high, y);
        }
        assert_true(fabs(sum / 65536 - (double)values[i]) <= 1e-6 * fabs((double)values[i]));
        assert_true(low <= values[i] && values[i] <= high && (double)(high - low) <= fabs((double)values[i]) / 127);
    }
    assert_true(isnan(oc_bf16_to_f32(oc_round_stochastic(NAN, 0xffff))));
    assert_true(isinf(oc_bf16_to_f32(oc_round_stochastic(-INFINITY, 0xffff))));
}

/* ---- Gradients ----------------------------------------------------------------------------------------------------- */

static void fill(oc_batch *b, const oc_config *cfg) {
    small_batch_open(b, cfg, 256, 3, 3, 3);
    for (int i = 0; i < 3; i++) {
        int32_t image = small_add_image(b, (uint64_t)i);
        small_add_sequence(b, cfg, (uint64_t)(50 + i), 2, &image, 1, 9);
    }
    oc_spans_fill(b, OC_MASK_PREFIX);
}

/* Twice the same batch, as micro-batches: what is there already is added to. */
static void gradients_are_those_of_float32(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_vlm m[2];
    oc_batch b;
    oc_config cfg = small_config();
    cfg.text.tied = false;
    small_compute(&c, NULL);
    fill(&b, &cfg);
    for (int k = 0; k < 2; k++) {
        small_model(&m[k], c, &cfg, OC_F32, 3);
        oc_params_narrow(&m[k].params, k == 1, k == 1);
        small_ok(oc_vlm_set_trainable(&m[k], SMALL_ALL, &runs_err), &runs_err);
        small_ok(oc_vlm_reserve(&m[k], b.N, b.n_images, b.n_blocks, b.n_labels, true, &runs_err), &runs_err);
        for (int twice = 0; twice < 2; twice++) oc_vlm_loss(&m[k], &b, 0.1f);
    }
    int narrow = 0;
    for (int i = 0; i < m[0].params.count; i++) {
        const oc_param *r = &m[0].params.row[i];
        const float *want = oc_params_grad(&m[0].params, i), *wide = oc_params_grad(&m[1].params, i);
        const uint16_t *half = oc_params_grad16(&m[1].params, i);
        assert_true((wide == NULL) != (half == NULL) && oc_params_grad16(&m[0].params, i) == NULL);
        narrow += half != NULL;
        bool matrix = r->n_dims >= 2 && !strstr(r->name, "embed_tokens") && !strstr(r->name, "position_embedding") && !strstr(r->name, "lm_head");
        if ((half != NULL) != matrix) fail_msg("%s has a gradient of the wrong type", r->name);
        double most = 0;
        for (size_t j = 0; j < r->n; j++) most = fmax(most, fabs((double)want[j]));
        for (size_t j = 0; j < r->n; j++) {
            double got = (double)(half ? oc_bf16_to_f32(half[j]) : wide[j]), d = fabs(got - (double)want[j]);
            /* two roundings of 2^-9 */
            if (!(d <= (half ? fabs((double)want[j]) / 256 : 0) + 1e-6 * most)) fail_msg("%s[%zu]: %g instead of %g", r->name, j, got, (double)want[j]);
        }
    }
    assert_int_equal(narrow, 1 + 2 * 6 + 2 + 2 * 7);
    for (int k = 0; k < 2; k++) oc_vlm_close(&m[k]);
    oc_batch_close(&b);
    oc_compute_close(c);
}

/* ---- The optimizer ------------------------------------------------------------------------------------------------- */

/* A constant gradient, beta2 = 0.999: after 2,000 steps v is 0.865 g^2 and m is g. Rounded to nearest, v would stop at
 * about a tenth of that. */
static void moments_do_not_stand_still(void **state) {
    OC_UNUSED(state);
    enum { N = 3 * 512, STEPS = 2000 };
    oc_compute *c;
    static float w[N];
    static uint16_t g16[N], m16[N], v16[N];
    small_compute(&c, NULL);
    oc_optimizer o = {.compute = c, .opt = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}};
    memset(w, 0, sizeof w), memset(m16, 0, sizeof m16), memset(v16, 0, sizeof v16);
    small_ok(oc_optimizer_add(&o, &(oc_range){.w = w, .g16 = g16, .m16 = m16, .v16 = v16, .n = N, .lr = 1e-3}, &runs_err), &runs_err);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < N; i++) g16[i] = oc_f32_to_bf16(0.5f);
        assert_true(oc_optimizer_step(&o, 1, 1, 1));
        assert_true(fabs(o.last_norm - 0.5 * sqrt(N)) < 1e-6 * N);
        for (int i = 0; i < N; i++) assert_int_equal(g16[i], 0);
    }
    double mean_v = 0, mean_m = 0, mean_w = 0;
    for (int i = 0; i < N; i++) {
        mean_v += (double)oc_bf16_to_f32(v16[i]) / N;
        mean_m += (double)oc_bf16_to_f32(m16[i]) / N;
        mean_w += (double)w[i] / N;
    }
    print_message("v %g of %g, m %g, w %g\n", mean_v, 0.25 * (1 - pow(0.999, STEPS)), mean_m, mean_w);
    assert_true(fabs(mean_v / (0.25 * (1 - pow(0.999, STEPS))) - 1) < 0.01);
    assert_true(fabs(mean_m / 0.5 - 1) < 0.005);
    assert_true(fabs(mean_w / (-1e-3 * STEPS) - 1) < 0.01); /* each step is lr */
    oc_optimizer_close(&o);
    oc_compute_close(c);
}

/* Steps of a hundredth of the distance between two bf16 numbers: rounded to nearest, weights would stay where they are. */
static void weights_do_not_stand_still(void **state) {
    OC_UNUSED(state);
    enum { N = 3 * 512, STEPS = 200 };
    oc_compute *c;
    static float g[N], m[N], v[N];
    static uint16_t w16[N];
    small_compute(&c, NULL);
    oc_optimizer o = {.compute = c, .opt = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}};
    memset(m, 0, sizeof m), memset(v, 0, sizeof v);
    for (int i = 0; i < N; i++) w16[i] = oc_f32_to_bf16(1.5f);
    small_ok(oc_optimizer_add(&o, &(oc_range){.w16 = w16, .g = g, .m = m, .v = v, .n = N, .lr = 1.0 / 12800}, &runs_err), &runs_err);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < N; i++) g[i] = 0.5f;
        assert_true(oc_optimizer_step(&o, 1, 1, 1));
    }
    double mean = 0;
    for (int i = 0; i < N; i++) mean += (double)oc_bf16_to_f32(w16[i]) / N;
    assert_true(fabs(mean - (1.5 - STEPS / 12800.0)) < 0.001); /* deviation of the mean: 2^-7 / 2 * sqrt(2) / sqrt(N) = 0.0001 */
    assert_true(oc_optimizer_weights_finite(&o));
    w16[N - 1] = 0x7f80; /* infinity */
    assert_false(oc_optimizer_weights_finite(&o));
    oc_optimizer_close(&o);
    oc_compute_close(c);
}

/* A model whose matrices are bf16 computes what one of float32 does whose matrices were rounded, in both directions. */
static void bf16_weights_are_rounded_ones(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_vlm m[2];
    oc_batch b;
    oc_loss loss[2];
    oc_config cfg = small_config();
    small_compute(&c, NULL);
    fill(&b, &cfg);
    for (int k = 0; k < 2; k++) {
        small_ok(oc_vlm_create_typed(&m[k], c, &cfg, OC_F32, k ? OC_BF16 : OC_F32, &runs_err), &runs_err);
        oc_params_init(&m[k].params, 3, SMALL_ALL);
        for (int i = 0; k == 0 && i < m[0].params.count; i++) {
            const oc_param *r = &m[0].params.row[i];
            float *w = oc_params_weight(&m[0].params, i);
            bool matrix = r->n_dims == 2 && !strstr(r->name, "position_embedding");
            for (size_t j = 0; matrix && j < r->n; j++) w[j] = oc_bf16_to_f32(oc_f32_to_bf16(w[j]));
        }
        small_ok(oc_vlm_set_trainable(&m[k], SMALL_ALL, &runs_err), &runs_err);
        small_ok(oc_vlm_reserve(&m[k], b.N, b.n_images, b.n_blocks, b.n_labels, true, &runs_err), &runs_err);
        loss[k] = oc_vlm_loss(&m[k], &b, 0.1f);
    }
    assert_true(fabs(loss[0].sum - loss[1].sum) <= 1e-6 * loss[0].sum);
    int narrow = 0;
    for (int i = 0; i < m[0].params.count; i++) {
        const oc_param *r = &m[0].params.row[i];
        const float *want = oc_params_grad(&m[0].params, i), *got = oc_params_grad(&m[1].params, i);
        double most = 0;
        narrow += oc_params_weight16(&m[1].params, i) != NULL;
        assert_true((oc_params_weight16(&m[1].params, i) == NULL) == (oc_params_weight(&m[1].params, i) != NULL));
        for (size_t j = 0; j < r->n; j++) most = fmax(most, fabs((double)want[j]));
        for (size_t j = 0; j < r->n; j++)
            if (!(fabs((double)got[j] - (double)want[j]) <= 1e-5 * most)) fail_msg("%s[%zu]: %g instead of %g", r->name, j, (double)got[j], (double)want[j]);
    }
    assert_int_equal(narrow, 2 * 6 + 2 + 1 + 2 * 7);
    for (int k = 0; k < 2; k++) oc_vlm_close(&m[k]);
    oc_batch_close(&b);
    oc_compute_close(c);
}

/* ---- Whole runs ---------------------------------------------------------------------------------------------------- */

#define TUNE(types, more) RUN_HEAD types RUN_NEW "stages:\n- {name: a, " RUN_DATA ", steps: 300, batch: 4, train: {vision: 5e-4, projector: 1e-3, lm: 1e-3}, " more "}\n"

static double last_losses(const char *recipe, const char *out) {
    run_record r;
    run(recipe, out, NULL);
    read_log(&r, out);
    assert_int_equal(r.n, 300);
    double sum = 0;
    for (int i = 250; i < 300; i++) sum += r.line[i].loss / 50;
    remove_run(out);
    return sum;
}

/* The mean loss of the last 50 of 300 steps, on data that the model is far from having learnt by then. */
static void what_it_costs(void **state) {
    OC_UNUSED(state);
    double full = last_losses(TUNE("", "beta2: 0.999"), "full");
    static const struct {
        const char *name, *recipe;
    } cases[] = {{"bf16 gradients", TUNE("gradients: bf16\n", "beta2: 0.999")},
                 {"bf16 moments", TUNE("moments: bf16\n", "beta2: 0.999")},
                 {"bf16 weights", TUNE("weights: bf16\n", "beta2: 0.999")},
                 {"all", TUNE("weights: bf16\ngradients: bf16\nmoments: bf16\n", "beta2: 0.999")}};
    print_message("float32 state: loss %.4f\n", full);
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        double loss = last_losses(cases[i].recipe, "half");
        print_message("%s: loss %.4f, %+.2f%%\n", cases[i].name, loss, 100 * (loss / full - 1));
        if (!(fabs(loss / full - 1) < 0.02)) fail_msg("%s: loss %g instead of %g", cases[i].name, loss, full);
    }
}

static void runs_repeat_and_go_on(void **state) {
    OC_UNUSED(state);
    const char *recipe = RUN_HEAD "weights: bf16\ngradients: bf16\nmoments: bf16\n" RUN_NEW "stages:\n- {name: a, " RUN_DATA ", steps: 8, batch: 4, micro_batch: 2, train: {vision: 5e-4, projector: 1e-3, lm: 1e-3}, save_every: 2, eval_every: 1}\n";
    stopper stop = {0, 5, false};
    run(recipe, "whole", NULL);
    run(recipe, "again", NULL);
    assert_same_file("whole", "again", "model/model.safetensors");
    assert_int_equal(run_with(oc_train_run, recipe, "stopped", &(oc_train_options){.evaluate = stop_here, .ctx = &stop}), OC_ERR_IO);
    char other[4096];
    snprintf(other, sizeof other, "%s%s", RUN_HEAD, strstr(recipe, "model:"));
    assert_int_equal(run_with(oc_train_run, other, "stopped", &(oc_train_options){.resume = true}), OC_ERR_FORMAT);
    assert_non_null(strstr(runs_err.msg, "`moments`"));
    run(recipe, "stopped", &(oc_train_options){.resume = true});
    assert_same_file("whole", "stopped", "model/model.safetensors");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_right_on_average), cmocka_unit_test(gradients_are_those_of_float32),
        cmocka_unit_test(moments_do_not_stand_still),   cmocka_unit_test(weights_do_not_stand_still),
        cmocka_unit_test(bf16_weights_are_rounded_ones), cmocka_unit_test(what_it_costs),
        cmocka_unit_test(runs_repeat_and_go_on),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
