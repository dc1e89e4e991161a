/* Sweep files: every key read, defaults, places and words, the message of each kind of mistake, failing memory, and the
 * written reference in step with the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "train/sweep.h"

static oc_error err;

#define RUNS "name: a\nrecipe: r.yaml\nvariants: [{name: v}]\n"
#define EVALS "evaluate: [{name: e, data: d.json}, {name: c, data: d.json, constant: true}]\n"

static oc_status parse(oc_sweep *s, const char *text) {
    return oc_sweep_parse(s, text, strlen(text), "dir/s.yaml", NULL, 0, &err);
}

static const char full[] =
    "vars: {n: 5, data: photos}\n"
    "name: masks\ntitle: Masks\nquestion: Which?\nnotes: Few.\nrecipe: r.yaml\nseeds: ${n}\nfirst_seed: 11\nminutes: 2.5\n"
    "set: {data: <full>, steps: '${n}0'}\n"
    "prepare:\n"
    "  - {name: full, command: data synth --count 5}\n"
    "  - {name: vision, command: pretrain vision <recipe> --set seed=<seed>, each_seed: true}\n"
    "variants:\n"
    "  - {name: prefix, label: Prefix, set: {mask: prefix}}\n"
    "  - {name: causal, recipe: other.yaml}\n"
    "  - {name: zero, model: <full>/model}\n"
    "evaluate:\n"
    "  - {name: answers, task: vqa, kind: vqa, data: <full>/qa.jsonl, images: '${data}/*.tar', limit: 7, max_new_tokens: 8,\n"
    "     beams: 4, shuffle_images: true, stage: tune}\n"
    "  - {name: blind, data: d.json, constant: true}\n"
    "measures:\n"
    "  - {name: acc, of: answers, score: scores.overall.accuracy, scale: 100, digits: 2, baseline: blind, baseline_score: x.y}\n"
    "  - {name: loss, kind: loss, of: tune, lower: true}\n"
    "  - {name: steps, kind: reach, of: tune, value: 1.5}\n"
    "  - {name: time, kind: seconds}\n"
    "plots:\n"
    "  - {name: curve, kind: loss, of: tune, title: Curve}\n"
    "  - {name: acc, of: acc, connect: true}\n"
    "  - {name: cost, kind: against, of: acc, against: time}\n";

static void every_key(void **state) {
    OC_UNUSED(state);
    static const char *const vars[] = {"data=typed"};
    oc_sweep s;
    if (oc_sweep_parse(&s, full, strlen(full), "dir/s.yaml", vars, 1, &err) != OC_OK) fail_msg("%s", err.msg);
    assert_string_equal(s.name, "masks");
    assert_string_equal(s.recipe, "dir/r.yaml");
    assert_string_equal(s.notes, "Few.");
    assert_true(s.seeds == 5 && s.first_seed == 11 && s.minutes == 2.5);
    assert_int_equal(s.set.n, 2);
    assert_string_equal(((const char **)s.set.item)[0], "data=<full>");
    assert_string_equal(((const char **)s.set.item)[1], "steps=50");
    assert_true(!oc_sweep_prepare_at(&s, 0)->each_seed && oc_sweep_prepare_at(&s, 1)->each_seed);
    assert_string_equal(oc_sweep_variant_at(&s, 0)->label, "Prefix");
    assert_string_equal(((const char **)oc_sweep_variant_at(&s, 0)->set.item)[0], "mask=prefix");
    assert_string_equal(oc_sweep_variant_at(&s, 1)->label, "causal"); /* its name */
    assert_string_equal(oc_sweep_variant_at(&s, 1)->recipe, "dir/other.yaml");
    assert_string_equal(oc_sweep_variant_at(&s, 2)->model, "dir/<full>/model");
    const oc_sweep_eval *e = oc_sweep_eval_at(&s, 0);
    assert_true(e->task == OC_SWEEP_TASK_VQA && e->kind == 3 && e->limit == 7 && e->max_new_tokens == 8 && e->beams == 4);
    assert_true(e->shuffle_images && !e->constant);
    assert_string_equal(e->images, "typed/*.tar");
    assert_string_equal(e->stage, "tune");
    assert_true(oc_sweep_eval_at(&s, 1)->constant && oc_sweep_eval_at(&s, 1)->max_new_tokens == 64);
    const oc_sweep_measure *m = oc_sweep_measure_at(&s, 0);
    assert_true(m->kind == OC_SWEEP_SCORE && m->scale == 100 && m->digits == 2 && !m->lower);
    assert_string_equal(m->baseline_score, "x.y");
    assert_true(oc_sweep_measure_at(&s, 2)->value == 1.5 && oc_sweep_measure_at(&s, 2)->digits == 1);
    assert_true(oc_sweep_measure_at(&s, 1)->lower && !oc_sweep_measure_at(&s, 3)->of);
    assert_int_equal(oc_sweep_plot_at(&s, 1)->kind, OC_SWEEP_PLOT_POINTS);
    assert_true(oc_sweep_plot_at(&s, 1)->connect);
    assert_string_equal(oc_sweep_plot_at(&s, 2)->against, "time");
    assert_int_equal(oc_sweep_find_eval(&s, "blind"), 1);
    assert_int_equal(oc_sweep_find_eval(&s, "none"), -1);
    assert_int_equal(oc_sweep_find_measure(&s, "time"), 3);
    oc_sweep_close(&s);
    if (parse(&s, RUNS) != OC_OK) fail_msg("%s", err.msg);
    assert_true(s.seeds == 3 && s.first_seed == 1 && s.minutes == 0 && s.set.n == 0);
    assert_string_equal(s.title, "a");
    oc_sweep_close(&s);
}

/* The examples of the project are right as they stand. */
static void experiments(void **state) {
    OC_UNUSED(state);
    static const char *const name[] = {"masks-scenes", "masks-lists", "masks-flickr8k", "stages", "captions", "projector", "adapt", "pathvqa"};
    for (size_t i = 0; i < OC_COUNT(name); i++) {
        char path[512];
        oc_sweep s;
        snprintf(path, sizeof path, "%s/../../experiments/%s.yaml", OC_TEST_DATA, name[i]);
        if (oc_sweep_open(&s, path, NULL, 0, &err) != OC_OK) fail_msg("%s", err.msg);
        assert_string_equal(s.name, name[i]);
        assert_true(s.seeds >= 3 && s.plots.n > 0 && s.question);
        oc_sweep_close(&s);
    }
}

static void places(void **state) {
    OC_UNUSED(state);
    static const oc_sweep_place place[] = {{"full", "/o/full-1"}, {"seed", "7"}, {"fu", "no"}};
    static const struct {
        const char *text, *want;
        bool path;
    } cases[] = {{"", "", false},
                 {"plain", "plain", true},
                 {"--set seed=<seed>", "--set seed=7", false},
                 {"<full>/a", "/o/full-1/a", true},
                 {"dir/<full>/a", "/o/full-1/a", true},
                 {"dir/<full>/a", "dir//o/full-1/a", false},
                 {"dir/x-<seed>.json", "dir/x-7.json", true},
                 {"<image>\n<fullx> <full <>", "<image>\n<fullx> <full <>", false},
                 {"<<full>>", "</o/full-1>", false},
                 {"<full><seed>", "/o/full-17", false}};
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        char *got;
        assert_int_equal(oc_sweep_expand(&got, cases[i].text, cases[i].path, place, 3, &err), OC_OK);
        assert_string_equal(got, cases[i].want);
        oc_free(got);
    }
}

static void words(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *command, *want; /* words with '|' between */
        int n;
    } cases[] = {{"", "", 0},
                 {"  \t ", "", 0},
                 {"a", "a", 1},
                 {" data  synth\n--count 5 ", "data|synth|--count|5", 4},
                 {"a \"b c\"d \"\"", "a|b cd|", 3},
                 {"--set x=\"<y>/my photos\"", "--set|x=<y>/my photos", 2}};
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        char **word, all[200] = "";
        int n;
        if (oc_sweep_words(&word, &n, cases[i].command, &err) != OC_OK) fail_msg("%s", err.msg);
        assert_int_equal(n, cases[i].n);
        for (int k = 0; k < n; k++) {
            if (k) strcat(all, "|");
            strcat(all, word[k]);
        }
        assert_string_equal(all, cases[i].want);
        oc_free(word);
    }
    char **word;
    int n;
    assert_int_equal(oc_sweep_words(&word, &n, "a \"b", &err), OC_ERR_FORMAT);
    assert_null(word);
    oc_strbuf many = {0};
    for (int i = 0; i < 257; i++) oc_strbuf_puts(&many, "a ");
    assert_int_equal(oc_sweep_words(&word, &n, many.data, &err), OC_ERR_FORMAT);
    oc_strbuf_free(&many);
}

/* Each mistake with what its message must say. */
static const struct {
    const char *text, *message;
} mistakes[] = {
    {"", "dir/s.yaml: empty"},
    {"name: a b\nvariants: [{name: v}]", "dir/s.yaml:1: name: 1 to 40 letters"},
    {"name: ../a\nvariants: [{name: v}]", "name: 1 to 40 letters"},
    {"recipe: r\nvariants: [{name: v}]", "dir/s.yaml:1:1: \"name\" is missing"},
    {"name: a\nrecipe: r", "variants: at least one"},
    {"name: a\nvariants: [{name: v}]", "dir/s.yaml:2: variants[0]: no recipe"},
    {"name: a\nrecipe: r\nvariants: [{name: v}, {name: v}]", "variants[1]: the name of an earlier one"},
    {"name: a\nrecipe: r\nvariants: [{name: v/w}]", "variants[0]: name: 1 to 40 letters"},
    {"name: a\nvariants: [{name: v, model: m, set: {x: 1}}]", "variants[0]: model is measured as it is"},
    {"name: a\nrecipe: r\nvariants: [{name: v, set: {seed: 1}}]", "variants[0]: set: seed is given by"},
    {RUNS "set: {seed: 1}", "set: seed is given by"},
    {RUNS "set: {a: 1, a: 2}", "dir/s.yaml:4:13: set: the name stands here twice"},
    {RUNS "set: {a-b: 1}", "set: a name was expected"},
    {RUNS "set: {a: [1]}", "set.a: a list, a single value was expected"},
    {RUNS "set: [a]", "set: a list, a mapping was expected"},
    {RUNS "set: 3", "set: a value, a mapping was expected"},
    {RUNS "seeds: 0", "dir/s.yaml:4:8: seeds: \"0\", an integer in 1..1000"},
    {RUNS "sedes: 1", "unknown key \"sedes\" (did you mean seeds?)"},
    {RUNS "prepare: [{name: p}]", "prepare[0]: \"command\" is missing"},
    {RUNS "prepare: [{name: p, command: rm -r x}]", "prepare[0]: command: data synth, tokenizer train"},
    {RUNS "prepare: [{name: p, command: data}]", "prepare[0]: command: data synth, tokenizer train"},
    {RUNS "prepare: [{name: p, command: ''}]", "prepare[0]: command: data synth, tokenizer train"},
    {RUNS "prepare: [{name: p, command: data synth --out x}]", "prepare[0]: command: --out is added"},
    {RUNS "prepare: [{name: p, command: data synth --out=x}]", "prepare[0]: command: --out is added"},
    {RUNS "prepare: [{name: p, command: 'data \"synth'}]", "prepare[0]: command: a double quote is not closed"},
    {RUNS "prepare: [{name: seed, command: init}]", "prepare[0]: name: <seed>, <recipe>"},
    {RUNS "evaluate: [{name: e}]", "evaluate[0]: \"data\" is missing"},
    {RUNS "measures: [{name: m, of: e, score: x}]", "dir/s.yaml:4: measures[0]: of: an evaluation"},
    {RUNS EVALS "measures: [{name: m, of: c, score: x}]", "measures[0]: of: an evaluation that is not constant"},
    {RUNS EVALS "measures: [{name: m, of: e}]", "measures[0]: score: a place"},
    {RUNS EVALS "measures: [{name: m, kind: loss}]", "measures[0]: of: a stage"},
    {RUNS EVALS "measures: [{name: m, kind: loss, of: s, score: x}]", "measures[0]: score is for kind: score"},
    {RUNS EVALS "measures: [{name: m, kind: reach, of: s}]", "measures[0]: value: the loss"},
    {RUNS EVALS "measures: [{name: m, of: e, score: x, baseline: c}]", "baseline and baseline_score go together"},
    {RUNS EVALS "measures: [{name: m, of: e, score: x, baseline: e, baseline_score: y}]", "baseline: an evaluation with"},
    {RUNS EVALS "measures: [{name: m, kind: seconds}, {name: m, kind: seconds}]", "measures[1]: the name of an earlier"},
    {RUNS "plots: [{name: p, of: m}]", "plots[0]: of: the name of a measure"},
    {RUNS "plots: [{name: p, kind: loss, of: m, against: m}]", "plots[0]: against is for kind: against"},
    {RUNS "measures: [{name: m, kind: seconds}]\nplots: [{name: p, kind: against, of: m}]", "against is for kind: against"},
    {RUNS "measures: [{name: m, kind: seconds}]\nplots: [{name: p, kind: against, of: m, against: n}]", "against: the name"},
};

static void mistakes_are_explained(void **state) {
    OC_UNUSED(state);
    for (size_t i = 0; i < OC_COUNT(mistakes); i++) {
        oc_sweep s;
        if (parse(&s, mistakes[i].text) == OC_OK) fail_msg("no error for: %s", mistakes[i].text);
        if (!strstr(err.msg, mistakes[i].message))
            fail_msg("for %s\n  got  \"%s\"\n  want \"%s\"", mistakes[i].text, err.msg, mistakes[i].message);
        assert_null(s.name);
        assert_null(s.path);
    }
}

static void every_allocation_may_fail(void **state) {
    OC_UNUSED(state);
    oc_status st = OC_ERR_NOMEM;
    for (long n = 0; st != OC_OK; n++) {
        oc_sweep s;
        assert_true(n < 5000);
        oc_alloc_fail_after(n);
        st = parse(&s, full);
        oc_alloc_fail_after(-1);
        if (st != OC_OK) assert_int_equal(st, OC_ERR_NOMEM);
        oc_sweep_close(&s);
    }
}

/* docs/sweeps.md ends with the reference that the table gives. OC_UPDATE_DOCS=1 writes it anew. */
static void reference_is_current(void **state) {
    OC_UNUSED(state);
    const char *path = OC_TEST_DATA "/../../docs/sweeps.md", *mark = "## Reference\n\n";
    char *text;
    size_t len;
    oc_strbuf want = {0};
    oc_sweep_describe(&want);
    assert_false(want.failed);
    if (oc_file_read(&text, &len, path, 1 << 20, &err) != OC_OK) fail_msg("%s", err.msg);
    char *reference = strstr(text, mark);
    assert_non_null(reference);
    reference += strlen(mark);
    if (getenv("OC_UPDATE_DOCS")) {
        oc_strbuf all = {0};
        oc_strbuf_add(&all, text, (size_t)(reference - text));
        oc_strbuf_puts(&all, want.data);
        assert_int_equal(oc_file_write_atomic(path, all.data, all.len, &err), OC_OK);
        oc_strbuf_free(&all);
    } else assert_string_equal(reference, want.data);
    oc_free(text);
    oc_strbuf_free(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key),
        cmocka_unit_test(experiments),
        cmocka_unit_test(places),
        cmocka_unit_test(words),
        cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(reference_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
