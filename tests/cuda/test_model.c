/* The model on compute/cuda in its emulation: losses, gradients and generated tokens are those of the processor's reference. */
#include "model/small.h"

#include "compute/cuda/cuda.h"
#include "model/generate.h"

static oc_error err;

enum { NEW = 6 };

typedef struct outcome {
    oc_loss loss;
    float *gradient[OC_PART_COUNT];
    size_t n[OC_PART_COUNT];
    int32_t token[2][NEW], beams[2][NEW];
} outcome;

/* Two pictures, one of them shown twice and out of order, and a sequence without any. */
static void fill(oc_batch *b, const oc_config *cfg) {
    small_batch_open(b, cfg, 256, 2, 3, 2);
    const int32_t first = small_add_image(b, 1), second = small_add_image(b, 2), both[2] = {second, first};
    small_add_sequence(b, cfg, 50, 2, both, 2, 7);
    small_add_sequence(b, cfg, 51, 3, &second, 1, 4);
    oc_spans_fill(b, OC_MASK_PREFIX);
}

static void generate(outcome *o, oc_vlm *m, const oc_batch *b) {
    oc_generation g[2];
    for (int beams = 0; beams < 2; beams++) {
        small_ok(oc_generate(m, b, &(oc_generate_options){.max_new_tokens = NEW, .beams = beams ? 3 : 0}, 1, g, &err), &err);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(g[k].n, NEW);
            memcpy(beams ? o->beams[k] : o->token[k], g[k].token, sizeof o->token[k]);
            oc_generation_free(&g[k]);
        }
    }
}

static void run(outcome *o, oc_compute *c, oc_dtype t) {
    oc_vlm m;
    oc_batch b;
    const oc_config cfg = small_config();
    small_ok(oc_vlm_create(&m, c, &cfg, t, &err), &err);
    oc_params_init(&m.params, 3, SMALL_ALL);
    oc_vlm_weights_changed(&m, SMALL_ALL);
    small_ok(oc_vlm_set_gradients(&m, SMALL_ALL, &err), &err);
    fill(&b, &cfg);
    small_ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true, &err), &err);
    small_ok(oc_vlm_try_loss(&o->loss, &m, &b, 0.1f, &err), &err);
    for (int p = 0; p < OC_PART_COUNT; p++) {
        o->n[p] = m.params.n[p];
        assert_non_null(o->gradient[p] = malloc(o->n[p] * sizeof(float)));
        c->ops.download(c, o->gradient[p], m.params.g[p], o->n[p] * sizeof(float));
    }
    generate(o, &m, &b);
    oc_batch_close(&b);
    oc_vlm_close(&m);
}

static void check(oc_dtype t, double tolerance) {
    outcome want, got;
    oc_compute *c;
    small_compute(&c, "ref");
    run(&want, c, t);
    oc_compute_close(c);
    small_ok(oc_cuda_open(&c, 0, &err), &err);
    assert_false(c->ops.host_memory);
    run(&got, c, t);
    oc_compute_close(c);
    assert_int_equal(got.loss.n, want.loss.n);
    assert_true(fabs(got.loss.sum - want.loss.sum) <= tolerance * want.loss.sum);
    for (int p = 0; p < OC_PART_COUNT; p++) {
        const double off = small_rel(got.gradient[p], want.gradient[p], got.n[p]);
        if (!(off <= tolerance)) fail_msg("gradients of the %s are %g apart", oc_part_names[p], off);
        free(got.gradient[p]);
        free(want.gradient[p]);
    }
    if (t == OC_BF16) return; /* what is most probable may hang on a rounding */
    assert_memory_equal(got.token, want.token, sizeof got.token);
    assert_memory_equal(got.beams, want.beams, sizeof got.beams);
}

static void test_float32(void **state) {
    OC_UNUSED(state);
    check(OC_F32, 1e-5);
}

static void test_bf16(void **state) {
    OC_UNUSED(state);
    check(OC_BF16, 0.03);
}

/* Whatever launch or wait fails, the step ends with an error, and the next one goes well. */
static void test_a_failing_device(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_vlm m;
    oc_batch b;
    oc_loss loss, again;
    const oc_config cfg = small_config();
    small_ok(oc_cuda_open(&c, 0, &err), &err);
    small_ok(oc_vlm_create(&m, c, &cfg, OC_F32, &err), &err);
    oc_params_init(&m.params, 3, SMALL_ALL);
    fill(&b, &cfg);
    small_ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true, &err), &err);
    small_ok(oc_vlm_try_loss(&loss, &m, &b, 0, &err), &err);
    int failed = 0;
    for (long n = 0;; n += 7) {
        oc_emulated_failure_after = n;
        const oc_status st = oc_vlm_try_loss(&again, &m, &b, 0, &err);
        if (st == OC_OK) break; /* there are not so many launches */
        assert_int_equal(st, OC_ERR_DEVICE);
        assert_non_null(strstr(err.msg, "launch failure"));
        failed++;
    }
    oc_emulated_failure_after = -1;
    assert_true(failed > 3);
    assert_true(again.sum == loss.sum);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_a_failing_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
