/* Random numbers: a published sequence, streams that don't meet, distributions, the shuffle. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/base.h"
#include "base/rng.h"

/* xoshiro256** from state {1, 2, 3, 4}: the first values of the authors' C code. */
static void published_sequence(void **state) {
    OC_UNUSED(state);
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};
    oc_rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < OC_COUNT(want); i++) assert_true(oc_rng_u64(&r) == want[i]);
}

static void streams(void **state) {
    OC_UNUSED(state);
    oc_rng a = oc_rng_at(1, 2, 3), b = oc_rng_at(1, 2, 3);
    for (int i = 0; i < 10; i++) assert_true(oc_rng_u64(&a) == oc_rng_u64(&b));
    uint64_t seen[1000];
    int n = 0;
    for (uint64_t seed = 0; seed < 10; seed++)
        for (uint64_t x = 0; x < 10; x++)
            for (uint64_t y = 0; y < 10; y++) {
                oc_rng r = oc_rng_at(seed, x, y);
                seen[n++] = oc_rng_u64(&r);
            }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) assert_true(seen[i] != seen[k]);
}

/* Chi-squared over the cells stays below its 1 - 1e-6 quantile (about 60 for 15 degrees of freedom; fixed seed). */
static void uniform_integers(void **state) {
    OC_UNUSED(state);
    oc_rng r = oc_rng_seed(5);
    int count[16] = {0}, draws = 160000;
    for (int i = 0; i < draws; i++) {
        uint32_t v = oc_rng_below(&r, 16);
        assert_true(v < 16);
        count[v]++;
    }
    double chi2 = 0;
    for (int i = 0; i < 16; i++) chi2 += pow(count[i] - draws / 16.0, 2) / (draws / 16.0);
    assert_true(chi2 > 1 && chi2 < 60);
    bool low = false, high = false;
    for (int i = 0; i < 1000; i++) {
        int v = oc_rng_range(&r, -2, 2);
        assert_true(v >= -2 && v <= 2);
        low |= v == -2;
        high |= v == 2;
    }
    assert_true(low && high);
    for (int i = 0; i < 100; i++) assert_int_equal(oc_rng_below(&r, 1), 0);
    uint32_t big = 0xc0000001u; /* where a plain remainder would be far from uniform */
    int lower = 0;
    for (int i = 0; i < 30000; i++) lower += oc_rng_below(&r, big) < big / 2;
    assert_true(abs(lower - 15000) < 500);
}

static void real_numbers(void **state) {
    OC_UNUSED(state);
    oc_rng r = oc_rng_seed(6);
    int n = 100000;
    double sum = 0, sum2 = 0, sum4 = 0, u = 0;
    for (int i = 0; i < n; i++) {
        double x = oc_rng_normal(&r), v = oc_rng_uniform(&r);
        assert_true(isfinite(x) && v >= 0 && v < 1);
        sum += x, sum2 += x * x, sum4 += x * x * x * x, u += v;
    }
    assert_true(fabs(sum / n) < 0.02); /* 6 standard errors */
    assert_true(fabs(sum2 / n - 1) < 0.03);
    assert_true(fabs(sum4 / n - 3) < 0.2);
    assert_true(fabs(u / n - 0.5) < 0.006);
}

static void shuffle(void **state) {
    OC_UNUSED(state);
    oc_rng r = oc_rng_seed(7);
    int first[5] = {0};
    for (int round = 0; round < 5000; round++) {
        uint32_t a[5] = {0, 1, 2, 3, 4};
        int seen = 0;
        oc_rng_shuffle_u32(&r, a, 5);
        for (int i = 0; i < 5; i++) seen |= 1 << a[i];
        assert_int_equal(seen, 31);
        first[a[0]]++;
    }
    for (int i = 0; i < 5; i++) assert_true(abs(first[i] - 1000) < 170); /* 6 standard deviations */
    oc_rng_shuffle_u32(&r, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_sequence), cmocka_unit_test(streams), cmocka_unit_test(uniform_integers),
                                       cmocka_unit_test(real_numbers), cmocka_unit_test(shuffle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
