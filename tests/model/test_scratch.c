/* Kernels without memory to work in: allocation after allocation of a step fails, for every backend and both types. Each is an
 * error that says so, and the step that follows gives the same bits as one that never failed. */
#include "small.h"

#include "compute/cpu/cpu.h"
#include "compute/profile.h"

static void fill(oc_batch *b, const oc_config *cfg) {
    small_batch_open(b, cfg, 256, 2, 2, 2);
    for (int i = 0; i < 2; i++) {
        int32_t image = small_add_image(b, (uint64_t)i);
        small_add_sequence(b, cfg, (uint64_t)(50 + i), 2, &image, 1, 9);
    }
    oc_spans_fill(b, OC_MASK_PREFIX);
}

static void open_model(oc_vlm *m, oc_compute **c, const char *backend, oc_dtype t, const oc_batch *b) {
    oc_config cfg = small_config();
    oc_error err;
    small_compute(c, backend);
    small_model(m, *c, &cfg, t, 3);
    small_ok(oc_vlm_set_trainable(m, SMALL_ALL, &err), &err);
    small_ok(oc_vlm_reserve(m, b->N, b->n_images, b->n_blocks, b->n_labels, true, &err), &err);
}

static void clear_gradients(oc_vlm *m) {
    for (int p = 0; p < OC_PART_COUNT; p++) memset(m->params.g[p], 0, m->params.n[p] * sizeof(float));
}

static void check(const char *backend, oc_dtype t) {
    oc_config cfg = small_config();
    oc_compute *c, *c2;
    oc_vlm m, want;
    oc_batch b;
    oc_loss loss, reference;
    oc_error err;
    int failed = 0;
    fill(&b, &cfg);
    open_model(&want, &c2, backend, t, &b);
    small_ok(oc_vlm_try_loss(&reference, &want, &b, 1, &err), &err);
    open_model(&m, &c, backend, t, &b);
    small_ok(oc_profile_start(c, &err), &err); /* its nesting must not be upset either */
    for (long n = 0;; n++) { /* what was had before the failure is kept, so each round asks for less */
        clear_gradients(&m);
        memset(&err, 0, sizeof err);
        oc_alloc_fail_after(n);
        oc_status st = oc_vlm_try_loss(&loss, &m, &b, 1, &err);
        oc_alloc_fail_after(-1);
        if (st == OC_OK) break;
        assert_int_equal(st, OC_ERR_NOMEM);
        assert_non_null(strstr(err.msg, "scratch of a kernel"));
        assert_true(++failed < 1000);
    }
    print_message("%s, %s: %d allocations failed\n", backend, t == OC_F32 ? "float32" : "bf16", failed);
    assert_true(failed > 0);
    assert_true(loss.sum == reference.sum && loss.n == reference.n);
    for (int p = 0; p < OC_PART_COUNT; p++)
        if (memcmp(m.params.g[p], want.params.g[p], m.params.n[p] * sizeof(float))) fail_msg("%s: other gradients of %s after a failure", backend, oc_part_names[p]);
    oc_profile_row row[OC_PROFILE_ROWS];
    assert_true(oc_profile_read(c, row) > 10); /* calls still count */
    assert_true(oc_compute_scratch_bytes(c) > 0);
    oc_batch_close(&b);
    oc_vlm_close(&m);
    oc_vlm_close(&want);
    oc_compute_close(c);
    oc_compute_close(c2);
}

static void every_scratch_may_fail(void **state) {
    OC_UNUSED(state);
    const char *names[16];
    int n = oc_compute_backends(names, 16);
    for (int i = 0; i < n; i++) {
        check(names[i], OC_F32);
        check(names[i], OC_BF16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_scratch_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
