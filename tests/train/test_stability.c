/* Steps whose loss or gradient is NaN: skipped, counted and logged; after max_skipped in a row the run stops, and what it
 * left is the last state that was good. And the timeline of --profile. */
#include "runs.h"

#include "base/trace.h"
#include "compute/profile.h"

/* ---- NaN ----------------------------------------------------------------------------------------------------------- */

/* An evaluation hook that breaks a weight after step `from` and mends it after step `until` (0: never). */
typedef struct breaker {
    int from, until;
    float kept;
} breaker;

static oc_status break_weight(void *ctx, oc_vlm *m, const oc_tokenizer *t, const oc_recipe *r, const oc_position *pos,
                              const oc_train_output *out, oc_error *err) {
    breaker *b = ctx;
    OC_UNUSED(t), OC_UNUSED(r), OC_UNUSED(out), OC_UNUSED(err);
    float *w = oc_params_weight(&m->params, oc_params_find(&m->params, "language_model.norm.weight"));
    if (pos->step == b->from) b->kept = *w, *w = NAN;
    if (b->until && pos->step == b->until) *w = b->kept;
    return OC_OK;
}

#define STEPS(n, more) RUN_HEAD "max_skipped: 4\n" RUN_NEW "stages:\n- {name: a, " RUN_DATA ", steps: " n ", batch: 4, train: {lm: 1e-3}, eval_every: 1, " more "}\n"

static void a_few_are_skipped(void **state) {
    OC_UNUSED(state);
    breaker b = {.from = 2, .until = 5};
    run_record r;
    run(STEPS("8", "save_every: 1"), "few", &(oc_train_options){.evaluate = break_weight, .ctx = &b});
    read_log(&r, "few");
    assert_int_equal(r.n, 8);
    for (int i = 0; i < 8; i++) assert_true(r.line[i].skipped == (i < 2 ? 0 : i < 5 ? i - 1 : 3));
    assert_true(isfinite(r.line[7].loss));
    remove_run("few");
}

/* Saving after every step must not replace the last good state by one whose loss is NaN. */
static void many_end_the_run_at_the_last_good_checkpoint(void **state) {
    OC_UNUSED(state);
    breaker b = {.from = 3};
    oc_position pos;
    char path[256];
    oc_status st = run_with(oc_train_run, STEPS("20", "save_every: 1"), "many", &(oc_train_options){.evaluate = break_weight, .ctx = &b});
    assert_int_equal(st, OC_ERR_DIVERGED);
    assert_non_null(strstr(runs_err.msg, "4 steps in a row"));
    assert_non_null(strstr(runs_err.msg, "--resume"));
    runs_path(path, "many/checkpoint", "");
    small_ok(oc_checkpoint_load_position(path, &pos, &runs_err), &runs_err);
    remove_run("many");
    assert_int_equal(pos.step, 2); /* the weight broke after step 3 and before it was saved, when the loss did not show it yet */
}

/* From the last good checkpoint a run goes on to the end that it would have had. */
static void it_goes_on_from_there(void **state) {
    OC_UNUSED(state);
    breaker b = {.from = 4};
    oc_position pos;
    char path[256];
    const char *recipe = STEPS("12", "save_every: 3");
    assert_int_equal(run_with(oc_train_run, recipe, "gone", &(oc_train_options){.evaluate = break_weight, .ctx = &b}), OC_ERR_DIVERGED);
    runs_path(path, "gone/checkpoint", "");
    small_ok(oc_checkpoint_load_position(path, &pos, &runs_err), &runs_err);
    assert_int_equal(pos.step, 3);
    assert_int_equal(pos.skipped, 0);
    run(recipe, "gone", &(oc_train_options){.resume = true});
    run(recipe, "whole", NULL);
    assert_same_file("gone", "whole", "model/model.safetensors");
    remove_run("gone");
    remove_run("whole");
}

/* ---- The timeline -------------------------------------------------------------------------------------------------- */

typedef struct table {
    oc_profile_row row[OC_PROFILE_ROWS];
    int n;
} table;

static void keep_table(void *ctx, const char *name, const oc_position *pos, double loss, oc_compute *c) {
    table *t = ctx;
    OC_UNUSED(name), OC_UNUSED(pos), OC_UNUSED(loss);
    t->n = oc_profile_read(c, t->row);
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number \"%s\"", key);
    return json_number_value(v);
}

typedef struct span {
    double from, to;
    int thread;
} span;

static int by_start(const void *a, const void *b) {
    const span *x = a, *y = b;
    if (x->thread != y->thread) return x->thread - y->thread;
    if (x->from != y->from) return x->from < y->from ? -1 : 1;
    return x->to > y->to ? -1 : x->to < y->to;
}

/* Two spans of one thread are apart, or one lies within the other (0.002 us: both ends are rounded to 0.001). */
static void assert_nested(span *s, size_t n) {
    const span *open[64];
    int depth = 0;
    qsort(s, n, sizeof *s, by_start);
    for (size_t i = 0; i < n; i++) {
        while (depth > 0 && (open[depth - 1]->thread != s[i].thread || open[depth - 1]->to <= s[i].from + 0.002)) depth--;
        if (depth > 0 && s[i].to > open[depth - 1]->to + 0.002)
            fail_msg("a span %.3f..%.3f overlaps %.3f..%.3f", s[i].from, s[i].to, open[depth - 1]->from, open[depth - 1]->to);
        assert_true(depth < 64);
        open[depth++] = &s[i];
    }
}

static void the_trace_agrees_with_the_table(void **state) {
    OC_UNUSED(state);
    table t = {.n = 0};
    json_t *trace, *e;
    char path[256];
    size_t i, n = 0;
    double seconds[OC_PROFILE_ROWS] = {0}, flops[OC_PROFILE_ROWS] = {0};
    int64_t calls[OC_PROFILE_ROWS] = {0};
    int steps = 0, batches = 0, passes = 0, loader = 0, training = 0;
    run(RUN_HEAD RUN_NEW "stages:\n- {name: a, " RUN_DATA ", steps: 3, batch: 4, micro_batch: 2, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}}\n", "traced",
        &(oc_train_options){.profile = true, .done = keep_table, .ctx = &t});
    assert_true(t.n > 10);
    runs_path(path, "traced/a.trace.json", "");
    small_ok(oc_json_load(&trace, path, 1 << 24, &runs_err), &runs_err);
    const json_t *events = json_object_get(trace, "traceEvents");
    assert_true(number(json_object_get(trace, "otherData"), "dropped") == 0);
    span *s = calloc(json_array_size(events), sizeof *s);
    json_array_foreach(events, i, e) {
        const char *name = json_string_value(json_object_get(e, "name")), *cat = json_string_value(json_object_get(e, "cat"));
        if (!strcmp(name, "thread_name")) {
            const char *who = json_string_value(json_object_get(json_object_get(e, "args"), "name"));
            training += !strcmp(who, "training"), loader += !strcmp(who, "loader");
        }
        if (!cat) continue;
        s[n++] = (span){number(e, "ts"), number(e, "ts") + number(e, "dur"), (int)number(e, "tid")};
        steps += !strcmp(name, "step"), batches += !strcmp(name, "make batch"), passes += !strcmp(name, "loss and gradients");
        if (strcmp(cat, OC_PROFILE_CATEGORY)) continue;
        int k = 0;
        while (k < t.n && strcmp(t.row[k].name, name)) k++;
        if (k == t.n) fail_msg("%s is not in the table", name);
        const json_t *args = json_object_get(e, "args");
        assert_true(number(args, "bytes") > 0 && json_object_size(args) >= 2); /* and at least one size */
        calls[k]++;
        seconds[k] += number(e, "dur") * 1e-6;
        if (json_object_get(args, "flops")) flops[k] += number(args, "flops");
    }
    assert_true(steps == 3 && passes == 6 && batches >= 6 && training == 1 && loader == 2);
    for (int k = 0; k < t.n; k++) {
        assert_int_equal(calls[k], t.row[k].calls);
        if (fabs(seconds[k] - t.row[k].seconds) > 1e-9 * (double)calls[k] + 1e-6 * t.row[k].seconds || fabs(flops[k] - t.row[k].flops) > 1 * (double)calls[k])
            fail_msg("%s: %g s and %g operations in the trace, %g and %g in the table", t.row[k].name, seconds[k], flops[k], t.row[k].seconds, t.row[k].flops);
    }
    assert_nested(s, n);
    free(s);
    json_decref(trace);
    remove_run("traced");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_are_skipped), cmocka_unit_test(many_end_the_run_at_the_last_good_checkpoint),
        cmocka_unit_test(it_goes_on_from_there), cmocka_unit_test(the_trace_agrees_with_the_table),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
