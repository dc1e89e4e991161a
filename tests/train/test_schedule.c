/* Ends, middle, continuity and monotonicity of the schedules. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/base.h"
#include "train/schedule.h"

static void near_to(float got, double want) {
    if (fabs((double)got - want) > 1e-6 * fmax(1.0, fabs(want))) fail_msg("got %.9g, want %.9g", (double)got, want);
}

static void cosine(void **state) {
    OC_UNUSED(state);
    oc_schedule s = {OC_SCHEDULE_COSINE, 0.1, 0.2};
    near_to(oc_schedule_lr(&s, 2.0, 0.0), 0.0);
    near_to(oc_schedule_lr(&s, 2.0, 0.05), 1.0);
    near_to(oc_schedule_lr(&s, 2.0, 0.1), 2.0);
    near_to(oc_schedule_lr(&s, 2.0, 0.1 + 0.45), 1.2); /* half-way between 2 and 0.4 */
    near_to(oc_schedule_lr(&s, 2.0, 1.0), 0.4);
    near_to(oc_schedule_lr(&s, 2.0, 5.0), 0.4); /* beyond the end, and before the beginning */
    near_to(oc_schedule_lr(&s, 2.0, -5.0), 0.0);
}

static void linear_and_constant(void **state) {
    OC_UNUSED(state);
    oc_schedule line = {OC_SCHEDULE_LINEAR, 0.0, 0.0}, flat = {OC_SCHEDULE_CONSTANT, 0.5, 0.0};
    near_to(oc_schedule_lr(&line, 1.0, 0.0), 1.0);
    near_to(oc_schedule_lr(&line, 1.0, 0.25), 0.75);
    near_to(oc_schedule_lr(&line, 1.0, 1.0), 0.0);
    near_to(oc_schedule_lr(&flat, 3.0, 0.25), 1.5);
    near_to(oc_schedule_lr(&flat, 3.0, 0.5), 3.0);
    near_to(oc_schedule_lr(&flat, 3.0, 1.0), 3.0);
}

static void rises_then_falls(void **state) {
    OC_UNUSED(state);
    for (int kind = 0; kind < 3; kind++)
        for (double warmup = 0; warmup <= 1.0; warmup += 0.25) {
            oc_schedule s = {(oc_schedule_kind)kind, warmup, 0.1};
            float last = -1, top = 0;
            for (int i = 0; i <= 1000; i++) {
                float lr = oc_schedule_lr(&s, 1.0, i / 1000.0);
                assert_true(lr >= 0 && lr <= 1 && isfinite(lr));
                if (i > 0 && i / 1000.0 < warmup) assert_true(lr > last);
                if (i / 1000.0 > warmup + 1e-3) assert_true(lr <= last);
                last = lr;
                top = fmaxf(top, lr);
            }
            assert_true(top > 0.99f);
        }
}

static void steps(void **state) {
    OC_UNUSED(state);
    near_to((float)oc_schedule_progress(0, 4), 0.125);
    near_to((float)oc_schedule_progress(3, 4), 0.875);
    near_to((float)oc_schedule_progress(0, 0), 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cosine), cmocka_unit_test(linear_and_constant),
                                       cmocka_unit_test(rises_then_falls), cmocka_unit_test(steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
