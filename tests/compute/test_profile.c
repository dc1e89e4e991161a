/* The wrapped table gives the same results, counts calls and arithmetic, and goes away. */
#include "common.h"

#include "compute/profile.h"

static const oc_profile_row *find(const oc_profile_row *row, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(row[i].name, name)) return &row[i];
    fail_msg("%s is not among the %d operations", name, n);
    return NULL;
}

enum { N = 5, COLS = 24, ROWS = 16 };

static void run(oc_compute *c, float *y, float *z, const float *x, const float *w, int times) {
    oc_matrix *m = c->ops.matrix_create(c, &(oc_matrix_desc){.w = w, .w_type = OC_F32, .t = OC_F32, .rows = ROWS, .cols = COLS});
    assert_non_null(m);
    for (int i = 0; i < times; i++) c->ops.linear_fwd(c, y, ROWS, x, COLS, m, N, &(oc_epilogue){0});
    c->ops.add(c, z, y, y, (size_t)N * ROWS, OC_F32);
    c->ops.matrix_free(c, m);
}

static void test_counts(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_error err;
    float x[N * COLS], w[ROWS * COLS], y[2][N * ROWS], z[2][N * ROWS];
    for (int i = 0; i < N * COLS; i++) x[i] = (float)(i % 7) - 3;
    for (int i = 0; i < ROWS * COLS; i++) w[i] = (float)(i % 11) * 0.1f;
    assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.threads = 1}, &err), OC_OK);
    const oc_ops plain = c->ops;
    oc_profile_row row[OC_PROFILE_ROWS];
    assert_int_equal(oc_profile_read(c, row), 0);
    run(c, y[0], z[0], x, w, 1);

    assert_int_equal(oc_profile_start(c, &err), OC_OK);
    assert_int_equal(oc_profile_read(c, row), 0);
    run(c, y[1], z[1], x, w, 3);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_memory_equal(z[0], z[1], sizeof z[0]);
    assert_true(c->ops.sum_squares(c, y[1], N * ROWS) > 0);
    int n = oc_profile_read(c, row);
    assert_int_equal(n, 3);
    for (int i = 1; i < n; i++) assert_true(row[i].seconds <= row[i - 1].seconds);
    const oc_profile_row *linear = find(row, n, "linear_fwd");
    assert_int_equal(linear->calls, 3);
    assert_true(linear->flops == 3 * 2.0 * N * ROWS * COLS);
    assert_int_equal(find(row, n, "add")->calls, 1);
    assert_int_equal(find(row, n, "sum_squares")->calls, 1);

    assert_int_equal(oc_profile_start(c, &err), OC_OK); /* begins anew */
    assert_int_equal(oc_profile_read(c, row), 0);
    oc_profile_stop(c);
    oc_profile_stop(c);
    assert_memory_equal(&c->ops, &plain, sizeof plain);
    oc_compute_close(c);
}

/* One interval of attention: 2 operations for each of the two products, channel and pair that sees each other. */
static void test_attention_work(void **state) {
    OC_UNUSED(state);
    enum { T = 4, HS = 8 };
    oc_compute *c;
    oc_error err;
    float q[T * HS] = {1}, o[T * HS], lse[T], d[3][T * HS];
    const int32_t lo[T] = {0}, hi[T] = {1, 2, 3, 4};
    const oc_attention a = {.N = T, .NH = 1, .NKV = 1, .HS = HS, .ldq = HS, .ldkv = HS, .ldo = HS, .lo = lo, .hi = hi, .scale = 1, .t = OC_F32};
    assert_int_equal(oc_compute_open(&c, &(oc_compute_options){.threads = 1}, &err), OC_OK);
    assert_int_equal(oc_profile_start(c, &err), OC_OK);
    c->ops.attention_fwd(c, o, lse, q, q, q, &a);
    c->ops.attention_bwd(c, d[0], d[1], d[2], o, o, lse, q, q, q, &a);
    oc_profile_row row[OC_PROFILE_ROWS];
    int n = oc_profile_read(c, row);
    assert_true(find(row, n, "attention_fwd")->flops == 2 * 2.0 * 10 * HS);
    assert_true(find(row, n, "attention_bwd")->flops == 5 * 2.0 * 10 * HS);
    oc_compute_close(c); /* with the profile running */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_attention_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
