/* The optimizer: its ranges hold every trainable number once and nothing else, one step is AdamW as written down (in
 * double), clipping, scaling, averaging, and steps with NaN or Inf that leave everything alone. */
#include "model/small.h"

#include "train/optimizer.h"

static oc_error err;

typedef struct fixture {
    oc_compute *c;
    oc_vlm m;
    oc_optimizer o;
    float *ema[OC_PART_COUNT];
} fixture;

static const double LR[OC_PART_COUNT] = {1e-3, 2e-3, 3e-3};

static void open_fixture(fixture *f, const bool train[OC_PART_COUNT], bool averaged) {
    oc_config cfg = small_config();
    cfg.vision.feature_layer = -2;
    memset(f, 0, sizeof *f);
    small_compute(&f->c, NULL);
    small_model(&f->m, f->c, &cfg, OC_F32, 2);
    small_ok(oc_vlm_set_trainable(&f->m, train, &err), &err);
    for (int p = 0; p < OC_PART_COUNT; p++) {
        if (!averaged || !train[p]) continue;
        f->ema[p] = malloc(f->m.params.n[p] * sizeof(float));
        memcpy(f->ema[p], f->m.params.w[p], f->m.params.n[p] * sizeof(float));
    }
    f->o = (oc_optimizer){.compute = f->c, .opt = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .ema = averaged ? 0.99 : 0}};
}

static void close_fixture(fixture *f) {
    oc_optimizer_close(&f->o);
    for (int p = 0; p < OC_PART_COUNT; p++) free(f->ema[p]);
    oc_vlm_close(&f->m);
    oc_compute_close(f->c);
}

static void random_gradients(fixture *f, uint64_t seed, double scale) {
    oc_rng rng = oc_rng_seed(seed);
    for (int i = 0; i < f->m.params.count; i++) {
        float *g = oc_params_grad(&f->m.params, i);
        for (size_t j = 0; g && !f->m.params.row[i].unused && j < f->m.params.row[i].n; j++) g[j] = (float)(scale * oc_rng_normal(&rng));
    }
}

static double gradient_norm(const fixture *f) {
    double sq = 0;
    for (int p = 0; p < OC_PART_COUNT; p++)
        for (size_t j = 0; f->m.params.g[p] && j < f->m.params.n[p]; j++) sq += (double)f->m.params.g[p][j] * (double)f->m.params.g[p][j];
    return sqrt(sq);
}

/* ---- Ranges -------------------------------------------------------------------------------------------------------- */

static void check_ranges(const fixture *f, const bool train[OC_PART_COUNT], bool with_unused) {
    const oc_params *p = &f->m.params;
    uint8_t *times[OC_PART_COUNT];
    for (int k = 0; k < OC_PART_COUNT; k++) times[k] = calloc(p->n[k], 1);
    for (int i = 0; i < f->o.n_ranges; i++) {
        const oc_range *r = &f->o.range[i];
        int part = 0;
        while (part < OC_PART_COUNT && !(r->w >= p->w[part] && r->w + r->n <= p->w[part] + p->n[part])) part++;
        assert_true(part < OC_PART_COUNT && train[part]);
        size_t at = (size_t)(r->w - p->w[part]);
        assert_true(r->g == p->g[part] + at && r->m == p->m[part] + at && r->v == p->v[part] + at && r->lr == LR[part]);
        assert_true(r->ema == (f->ema[part] ? f->ema[part] + at : NULL));
        for (size_t j = 0; j < r->n; j++) times[part][at + j]++;
        for (int k = 0; k < p->count; k++) /* whole rows of one kind */
            if ((int)p->row[k].part == part && p->row[k].offset < at + r->n && p->row[k].offset + p->row[k].n > at) assert_int_equal(p->row[k].decay, r->decay);
    }
    for (int i = 0; i < p->count; i++) {
        const oc_param *r = &p->row[i];
        int want = train[r->part] && (!r->unused || with_unused);
        for (size_t j = 0; j < r->n; j++)
            if (times[r->part][r->offset + j] != want) fail_msg("%s[%zu] is in %d ranges, %d expected", r->name, j, times[r->part][r->offset + j], want);
    }
    for (int k = 0; k < OC_PART_COUNT; k++) free(times[k]);
}

static void ranges_hold_what_is_trained(void **state) {
    OC_UNUSED(state);
    for (int set = 0; set < 16; set++) {
        const bool train[OC_PART_COUNT] = {set & 1, set & 2, set & 4};
        fixture f;
        open_fixture(&f, train, set == 7);
        small_ok(oc_optimizer_add_model(&f.o, &f.m, LR, f.ema, set & 8, &err), &err);
        check_ranges(&f, train, set & 8);
        close_fixture(&f);
    }
}

/* ---- Steps --------------------------------------------------------------------------------------------------------- */

/* AdamW in double over all rows that are in use. w, m, v, ema [part][n]. */
typedef struct reference {
    double *w[OC_PART_COUNT], *m[OC_PART_COUNT], *v[OC_PART_COUNT], *ema[OC_PART_COUNT];
} reference;

static void open_reference(reference *r, const fixture *f) {
    for (int p = 0; p < OC_PART_COUNT; p++) {
        size_t n = f->m.params.n[p];
        double **all[] = {&r->w[p], &r->m[p], &r->v[p], &r->ema[p]};
        for (size_t i = 0; i < OC_COUNT(all); i++) *all[i] = calloc(n, sizeof(double));
        for (size_t j = 0; j < n; j++) r->w[p][j] = r->ema[p][j] = (double)f->m.params.w[p][j];
    }
}

static void close_reference(reference *r) {
    for (int p = 0; p < OC_PART_COUNT; p++) free(r->w[p]), free(r->m[p]), free(r->v[p]), free(r->ema[p]);
}

static void reference_step(reference *r, const fixture *f, double factor, double scale, int step) {
    const oc_optimizer_options *o = &f->o.opt;
    double norm = gradient_norm(f) * scale, clip = o->clip > 0 ? fmin(1, o->clip / norm) : 1;
    double d = fmin(o->ema, (1.0 + step) / (10.0 + step));
    for (int i = 0; i < f->m.params.count; i++) {
        const oc_param *row = &f->m.params.row[i];
        const float *g = oc_params_grad(&f->m.params, i);
        if (!g || row->unused) continue;
        for (size_t j = 0; j < row->n; j++) {
            size_t at = row->offset + j;
            double x = (double)g[j] * scale * clip, *w = &r->w[row->part][at], *m = &r->m[row->part][at], *v = &r->v[row->part][at];
            *m = o->beta1 * *m + (1 - o->beta1) * x;
            *v = o->beta2 * *v + (1 - o->beta2) * x * x;
            double lr = LR[row->part] * factor, u = *m / (1 - pow(o->beta1, step)) / (sqrt(*v / (1 - pow(o->beta2, step))) + o->eps);
            *w -= lr * (u + (row->decay ? o->weight_decay : 0) * *w);
            r->ema[row->part][at] = d * r->ema[row->part][at] + (1 - d) * *w;
        }
    }
}

static void compare(const fixture *f, const reference *r) {
    for (int i = 0; i < f->m.params.count; i++) {
        const oc_param *row = &f->m.params.row[i];
        for (size_t j = 0; j < row->n; j++) {
            size_t at = row->offset + j;
            double got = (double)f->m.params.w[row->part][at], want = r->w[row->part][at];
            if (!(fabs(got - want) < 2e-6 * fabs(want) + 1e-7)) fail_msg("%s[%zu] is %.9g, AdamW gives %.9g", row->name, j, got, want);
            if (!f->ema[row->part]) continue;
            got = (double)f->ema[row->part][at], want = r->ema[row->part][at];
            if (!(fabs(got - want) < 2e-6 * fabs(want) + 1e-7)) fail_msg("the average of %s[%zu] is %.9g, not %.9g", row->name, j, got, want);
        }
    }
}

static void check_steps(double clip, double scale, bool averaged) {
    fixture f;
    reference r;
    const bool train[OC_PART_COUNT] = {true, false, true};
    open_fixture(&f, train, averaged);
    f.o.opt.clip = clip;
    open_reference(&r, &f);
    small_ok(oc_optimizer_add_model(&f.o, &f.m, LR, f.ema, false, &err), &err);
    for (int step = 1; step <= 4; step++) {
        random_gradients(&f, (uint64_t)step, 0.01 / scale);
        double norm = gradient_norm(&f), factor = 1.0 / step;
        reference_step(&r, &f, factor, scale, step);
        assert_true(oc_optimizer_step(&f.o, factor, 1.0, scale));
        assert_true(fabs(f.o.last_norm / (norm * scale) - 1) < 1e-6);
        assert_true(gradient_norm(&f) == 0);
        assert_int_equal(f.o.step, step);
    }
    compare(&f, &r);
    close_reference(&r);
    close_fixture(&f);
}

static void steps_are_adamw(void **state) {
    OC_UNUSED(state);
    check_steps(0, 1, false);
    check_steps(0.5, 1, true);     /* the norm is about 1.5: clipped */
    check_steps(1000, 1, false);   /* not clipped */
    check_steps(0.5, 1e-3, false); /* clipping counts the scaled norm */
}

/* ---- NaN ----------------------------------------------------------------------------------------------------------- */

static void what_is_not_finite_is_skipped(void **state) {
    OC_UNUSED(state);
    static const struct { float bad; double loss; } cases[] = {{NAN, 1}, {INFINITY, 1}, {3e38f, 1}, {0, NAN}, {0, INFINITY}};
    fixture f;
    open_fixture(&f, SMALL_ALL, true);
    f.o.opt.clip = 1;
    small_ok(oc_optimizer_add_model(&f.o, &f.m, LR, f.ema, false, &err), &err);
    random_gradients(&f, 1, 0.01);
    assert_true(oc_optimizer_step(&f.o, 1, 1, 1));
    int skipped = 0;
    for (size_t k = 0; k < OC_COUNT(cases); k++) {
        float *copy[OC_PART_COUNT][4];
        for (int p = 0; p < OC_PART_COUNT; p++) {
            const float *now[4] = {f.m.params.w[p], f.m.params.m[p], f.m.params.v[p], f.ema[p]};
            for (int i = 0; i < 4; i++) copy[p][i] = memcpy(malloc(f.m.params.n[p] * sizeof(float)), now[i], f.m.params.n[p] * sizeof(float));
        }
        random_gradients(&f, 2, 0.01);
        f.m.params.g[OC_PART_LM][7] += cases[k].bad;
        bool taken = oc_optimizer_step(&f.o, 1, cases[k].loss, 1);
        bool fine = cases[k].bad == 3e38f; /* a large but finite gradient: its square fits into a double, it is clipped */
        assert_int_equal(taken, fine);
        skipped += !taken;
        assert_int_equal(f.o.skipped, skipped);
        assert_int_equal(f.o.skipped_in_a_row, fine ? 0 : k < 2 ? skipped : skipped - 2);
        assert_true(gradient_norm(&f) == 0);
        for (int p = 0; p < OC_PART_COUNT; p++) {
            const float *now[4] = {f.m.params.w[p], f.m.params.m[p], f.m.params.v[p], f.ema[p]};
            for (int i = 0; i < 4; i++) {
                if (!taken) assert_memory_equal(copy[p][i], now[i], f.m.params.n[p] * sizeof(float));
                for (size_t j = 0; j < f.m.params.n[p]; j++) assert_true(isfinite(now[i][j]));
                free(copy[p][i]);
            }
        }
    }
    assert_int_equal(f.o.step, 2);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_hold_what_is_trained), cmocka_unit_test(steps_are_adamw),
                                       cmocka_unit_test(what_is_not_finite_is_skipped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
