/* Opening a compute backend: names, threads, scratch, the table of rotary positions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute/cpu/cpu.h"

static void test_every_listed_backend_opens(void **state) {
    OC_UNUSED(state);
    const char *name[16];
    int n = oc_compute_backends(name, 16);
    assert_in_range(n, 1, 16);
    assert_string_equal(name[0], "ref");
    for (int i = 0; i < n; i++) {
        oc_error err = {0};
        oc_compute *c = NULL;
        assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.threads = 2, .backend = name[i]}, &err),
                         OC_OK);
        assert_string_equal(c->ops.name, name[i]);
        assert_int_equal(c->threads, 2);
        assert_non_null(strstr(oc_compute_describe(c), name[i]));
        assert_non_null(strstr(oc_compute_describe(c), "2 threads"));
        oc_compute_close(c);
    }
    assert_int_equal(oc_compute_backends(name, 0), n);
}

static void test_default_is_the_last_listed(void **state) {
    OC_UNUSED(state);
    const char *name[16];
    int n = oc_compute_backends(name, 16);
    oc_error err = {0};
    oc_compute *c = NULL;
    assert_int_equal(oc_compute_open(&c, NULL, &err), OC_OK);
    assert_string_equal(c->ops.name, name[n - 1]);
    assert_int_equal(c->threads, oc_cpu_count());
    bool named = strstr(c->ops.name, "bf16") || strcmp(c->ops.name, "amx") == 0;
    assert_int_equal(oc_compute_has_native_bf16(c), named);
    oc_compute_close(c);
    oc_compute_close(NULL);
}

static void test_refusals_name_what_is_allowed(void **state) {
    OC_UNUSED(state);
    oc_error err = {0};
    oc_compute *c = (oc_compute *)&err;
    assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.backend = "abacus"}, &err),
                     OC_ERR_UNSUPPORTED);
    assert_null(c);
    assert_non_null(strstr(err.msg, "abacus"));
    assert_non_null(strstr(err.msg, "ref"));
    assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.threads = -1}, &err), OC_ERR_ARG);
    assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.threads = 1 << 20}, &err), OC_ERR_ARG);
    for (int i = 0; i < 3; i++) {
        oc_alloc_fail_after(i);
        assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.backend = "ref", .threads = 1}, &err),
                         OC_ERR_NOMEM);
        assert_null(c);
    }
    oc_alloc_fail_after(-1);
}

static void test_scratch_is_aligned_and_kept(void **state) {
    OC_UNUSED(state);
    oc_error err = {0};
    oc_compute *c = NULL;
    assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.threads = 3, .backend = "ref"}, &err), OC_OK);
    char *block[4];
    for (int i = 0; i < 4; i++) {
        block[i] = oc_compute_scratch(c, i - 1, 1000);
        assert_int_equal((uintptr_t)block[i] % 64, 0);
        memset(block[i], i, 1000);
    }
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(oc_compute_scratch(c, i - 1, 10), block[i]);
        assert_int_equal(block[i][999], i);
    }
    char *larger = oc_compute_scratch(c, 1, 5000);
    memset(larger, 9, 5000);
    assert_int_equal(block[3][0], 3);
    oc_compute_close(c);
}

/* Pair j turns by position * theta^(-2j/HS). */
static void test_rope_table(void **state) {
    OC_UNUSED(state);
    enum { P = 50, HS = 12 };
    float table[P * HS];
    oc_rope_table(table, P, HS, 10000.0f);
    for (int p = 0; p < P; p++)
        for (int j = 0; j < HS / 2; j++) {
            double angle = p * pow(10000.0, -2.0 * j / HS);
            const float *cs = table + (p * (HS / 2) + j) * 2;
            /* f32 roundings of the frequency and of the product move the angle by at most 2 * 2^-23 of
             * itself. */
            assert_true(fabs(cs[0] - cos(angle)) <= 3e-7 * (1 + angle));
            assert_true(fabs(cs[1] - sin(angle)) <= 3e-7 * (1 + angle));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_listed_backend_opens),
        cmocka_unit_test(test_default_is_the_last_listed),
        cmocka_unit_test(test_refusals_name_what_is_allowed),
        cmocka_unit_test(test_scratch_is_aligned_and_kept),
        cmocka_unit_test(test_rope_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
