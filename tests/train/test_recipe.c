/* Recipes: every key read, defaults, variables and paths, the message of each kind of mistake, hostile input, and the
 * written reference in step with the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "train/recipe.h"

static oc_error err;

#define SMALL "model: {init: m}\nstages:\n  - {name: a, train: {lm: 1e-3}, datasets: [{json: d.json}]}\n"

static oc_status parse(oc_recipe *r, const char *text) {
    return oc_recipe_parse(r, text, strlen(text), "dir/r.yaml", NULL, 0, &err);
}

static void every_key(void **state) {
    OC_UNUSED(state);
    oc_recipe r;
    const char *path = OC_TEST_DATA "/recipe/full.yaml";
    if (oc_recipe_open(&r, path, NULL, 0, &err) != OC_OK) fail_msg("%s", err.msg);
    assert_string_equal(r.out, "runs/full"); /* relative to the current folder */
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.threads, 3);
    assert_int_equal(r.dtype, OC_RECIPE_DTYPE_F32);
    assert_int_equal(r.memory_bytes, (size_t)12 << 30);
    assert_string_equal(r.model.towers.vision, OC_TEST_DATA "/recipe/siglip");
    assert_null(r.model.towers.text);
    assert_int_equal(r.model.fresh.text.kv_heads, 2);
    assert_true(r.model.fresh.text.rope_theta == 1e4 && !r.model.fresh.text.tie);
    assert_int_equal(r.model.fresh.vision.line, 0);
    assert_int_equal(r.model.projector.merge, 2);
    assert_int_equal(r.model.projector.act, OC_RECIPE_ACT_GELU);
    assert_int_equal(r.model.aspect, OC_RECIPE_ASPECT_PAD);
    assert_string_equal(r.model.tokenizer, OC_TEST_DATA "/recipe/../photos/tokenizer.json");
    assert_true(r.data.augment.crop_min == 0.8 && r.data.augment.flip == 0.5);
    assert_int_equal(r.data.on_bad, OC_RECIPE_BAD_SKIP);
    assert_int_equal(r.data.max_bad, 9);
    assert_int_equal(r.stages.n, 2);

    const oc_recipe_stage *s = oc_recipe_stage_at(&r, 0);
    assert_string_equal(s->name, "align");
    assert_true(s->budget.epochs == 0.5 && s->budget.steps == 0 && s->budget.minutes == 0);
    assert_int_equal(s->batch, 64);
    assert_int_equal(s->micro_batch, 8);
    assert_int_equal(s->max_tokens, 4096);
    assert_true(s->train.vision == 0 && s->train.projector == 1e-3 && s->train.lm == 0);
    assert_int_equal(s->optim.schedule.curve.kind, OC_SCHEDULE_LINEAR);
    assert_true(s->optim.schedule.curve.warmup == 0.1 && s->optim.schedule.curve.min_ratio == 0.05);
    assert_true(s->optim.weight_decay == 0.1 && s->optim.beta1 == 0.8 && s->optim.beta2 == 0.99 && s->optim.eps == 1e-6);
    assert_true(s->optim.clip == 0 && s->ema == 0.999);
    assert_int_equal(s->mask, OC_RECIPE_MASK_CAUSAL);
    assert_int_equal(s->chat_template, OC_RECIPE_TEMPLATE_PLAIN);
    assert_string_equal(s->caption_prompt, "What is it, \"exactly\"?");
    assert_int_equal(s->datasets.n, 2);
    assert_true(s->group_by_image && s->captions_per_image == 1 && s->max_length == 77 && s->token_drop == 0.25 && !s->system_prompt);
    const oc_recipe_dataset *d = oc_recipe_dataset_at(&s->datasets, 0);
    assert_int_equal(d->kind, OC_RECIPE_DATA_COCO);
    assert_string_equal(d->json, OC_TEST_DATA "/recipe/../photos/deep/captions.json");
    assert_string_equal(d->images, "/abs/images");
    assert_string_equal(d->prompt, "What is this, for $5?");
    assert_int_equal(d->sampling, OC_RECIPE_SAMPLE_FIRST);
    assert_true(d->sampling_is_part && d->sampling_n == 0.1 && d->weight == 2);
    assert_true(d->lowercase && d->fix_placeholders && !strcmp(d->split, "val"));
    d = oc_recipe_dataset_at(&s->datasets, 1);
    assert_int_equal(d->kind, OC_RECIPE_DATA_LLAVA);
    assert_string_equal(d->images, OC_TEST_DATA "/recipe/../photos/jpg"); /* from data.images */
    assert_int_equal(d->sampling, OC_RECIPE_SAMPLE_RANDOM);
    assert_true(!d->sampling_is_part && d->sampling_n == 500);
    assert_int_equal(s->eval.task, OC_RECIPE_EVAL_VQA);
    assert_string_equal(s->eval.json, OC_TEST_DATA "/recipe/val.json");

    s = oc_recipe_stage_at(&r, 1);
    assert_true(s->budget.minutes == 2.5 && s->budget.epochs == 0);
    assert_int_equal(s->datasets.n, 2);
    assert_int_equal(s->mask, OC_RECIPE_MASK_ISOLATED); /* the model's */
    assert_int_equal(r.log.every, 5);
    assert_false(r.log.tensorboard);
    assert_int_equal(r.pretrain_vision.text.mlp, 128);
    assert_int_equal(r.pretrain_vision.budget.steps, 100);
    assert_int_equal(r.pretrain_text.files.n, 2);
    assert_string_equal(((const char **)r.pretrain_text.files.item)[1], OC_TEST_DATA "/recipe/../photos/b.jsonl");
    oc_recipe_close(&r);
    assert_null(r.stages.item);
}

static void defaults(void **state) {
    OC_UNUSED(state);
    oc_recipe r;
    if (parse(&r, SMALL) != OC_OK) fail_msg("%s", err.msg);
    const oc_recipe_stage *s = oc_recipe_stage_at(&r, 0);
    assert_int_equal(r.seed, 1);
    assert_null(r.out);
    assert_int_equal(r.dtype, OC_RECIPE_DTYPE_AUTO);
    assert_int_equal(r.data.line, 0);
    assert_int_equal(r.data.loader_threads, 2);
    assert_true(r.data.augment.crop_min == 1 && r.log.tensorboard);
    assert_true(s->budget.epochs == 1 && s->optim.clip == 1 && s->optim.beta1 == 0.9 && s->train.lm == 1e-3);
    assert_int_equal(s->mask, OC_RECIPE_MASK_OF_MODEL); /* the checkpoint knows */
    assert_int_equal(s->line, 3);
    assert_int_equal(s->eval.line, 0);
    assert_int_equal(s->eval.max_new_tokens, 64);
    assert_int_equal(r.pretrain_vision.batch, 128);
    assert_string_equal(r.model.init, "dir/m");
    assert_string_equal(oc_recipe_dataset_at(&s->datasets, 0)->json, "dir/d.json");
    oc_recipe_close(&r);
    const char *towers = "model: {towers: {vision: v, text: t}}\nstages: [{name: a, train: {lm: 1}, datasets: [{json: j}]}]\n";
    if (parse(&r, towers) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(oc_recipe_stage_at(&r, 0)->mask, OC_RECIPE_MASK_PREFIX);
    oc_recipe_close(&r);
}

static void variables(void **state) {
    OC_UNUSED(state);
    const char *text = "vars: {root: here, sub: '${root}/sub'}\nout: ${root}\nseed: ${seed}\nmodel: {init: '${sub}'}\n"
                       "stages:\n  - {name: a, train: {lm: 1}, datasets: [{json: '${root}.json'}, {json: 'x${root}'}]}\n";
    static const char *const vars[] = {"root=../typed", "seed=42"};
    oc_recipe r;
    if (oc_recipe_parse(&r, text, strlen(text), "dir/r.yaml", vars, 2, &err) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(r.seed, 42);
    assert_string_equal(r.out, "../typed");
    assert_string_equal(r.model.init, "../typed/sub"); /* relative to where it was typed, also through another variable */
    const oc_list *d = &oc_recipe_stage_at(&r, 0)->datasets;
    assert_string_equal(oc_recipe_dataset_at(d, 0)->json, "../typed.json");
    assert_string_equal(oc_recipe_dataset_at(d, 1)->json, "dir/x../typed"); /* begins with the file's own text */
    oc_recipe_close(&r);

    assert_int_equal(oc_recipe_parse(&r, text, strlen(text), "dir/r.yaml", vars, 1, &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "dir/r.yaml:3:7: seed: ${seed} has no value; known are: root, sub"));
    static const struct {
        const char *var, *message;
    } bad[] = {{"seed", "--set seed: name=value was expected"}, {"=x", "name=value was expected"},
               {"a b=1", "name=value was expected"},            {"sed=1", "uses no ${sed}"}};
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        const char *const three[] = {vars[0], vars[1], bad[i].var};
        assert_int_equal(oc_recipe_parse(&r, text, strlen(text), "r.yaml", three, 3, &err), OC_ERR_ARG);
        if (!strstr(err.msg, bad[i].message)) fail_msg("\"%s\" is not in \"%s\"", bad[i].message, err.msg);
    }
    static const char *const twice[] = {"root=a", "seed=1", "seed=2"};
    assert_int_equal(oc_recipe_parse(&r, text, strlen(text), "r.yaml", twice, 3, &err), OC_ERR_ARG);
}

/* Each mistake with what its message must say. */
static const struct {
    const char *text, *message;
} mistakes[] = {
    {"", "dir/r.yaml: empty"},
    {"# nothing\n", "dir/r.yaml: empty"},
    {"a: [1, 2", "dir/r.yaml:2:1: not valid YAML: did not find expected ',' or ']'"},
    {"a: b: c", "not valid YAML"},
    {"\tx: 1", "not valid YAML"},
    {"- a\n", "dir/r.yaml:1:1: a list, a mapping was expected"},
    {"just text", "dir/r.yaml:1:1: a value, a mapping was expected"},
    {"sede: 1\n" SMALL, "dir/r.yaml:1:1: unknown key \"sede\" (did you mean seed?)"},
    {"xyzzy: 1\n" SMALL, "unknown key \"xyzzy\"; known are vars, out, seed"},
    {"seed: 1\nseed: 2\n" SMALL, "dir/r.yaml:2:1: seed: the key stands here twice"},
    {"seed: x\n" SMALL, "dir/r.yaml:1:7: seed: \"x\", an integer in 0..2147483647 was expected"},
    {"seed: -1\n" SMALL, "seed: \"-1\", an integer in"},
    {"seed: 1.5\n" SMALL, "seed: \"1.5\""},
    {"seed: [1]\n" SMALL, "seed: a list, a single value was expected"},
    {"seed: \"1\\0\"\n" SMALL, "a NUL character"},
    {"dtype: f16\n" SMALL, "dtype: \"f16\", one of auto|f32|bf16 was expected"},
    {"memory: lots\n" SMALL, "memory: \"lots\", a size such as 8 GiB was expected"},
    {"log: {tensorboard: maybe}\n" SMALL, "log.tensorboard: \"maybe\", true or false was expected"},
    {"data: 3\n" SMALL, "data: a value, a mapping was expected"},
    {"[a]: 3\n" SMALL, "a list, a key was expected"},
    {"out: ${nothing}\n" SMALL, "out: ${nothing} has no value; known are: none"},
    {"out: ${x\n" SMALL, "\"${\" without its \"}\""},
    {"vars: 3\n" SMALL, "vars: a value, a mapping was expected"},
    {"vars: {a-b: 3}\n" SMALL, "vars: a variable's name was expected"},
    {"vars: {a: 1, a: 2}\n" SMALL, "vars: the variable a stands here twice"},
    {SMALL "---\n" SMALL, "a second document"},
    {"stages: 3", "stages: a value, a list was expected"},
    {"stages: []\nmodel: {init: m}", "nothing to do"},
    {"seed: 3", "nothing to do"},
    {"model: {init: m}\nstages:\n  - {name: a}\n  - {train: {lm: 1}}", "dir/r.yaml:4:5: stages[1]: \"name\" is missing"},
    {"model: {init: m}\nstages: [{name: a b}]", "stages[0]: name: 1 to 64 letters"},
    {"model: {init: m}\nstages: [{name: ../a}]", "stages[0]: name: 1 to 64 letters"},
    {"model: {init: m}\nstages: [{name: a}]", "dir/r.yaml:2: stages[0]: nothing is trained"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: 1}}]", "stages[0]: datasets: at least one"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: x}}]", "dir/r.yaml:2:32: stages[0].train.lm: \"x\", a number in 0..10"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: 1}, datasets: [{}]}]", "stages[0].datasets[0]: \"json\" is missing"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: 1}, datasets: [{json: j, sampling: some}]}]", "datasets[0].sampling: all, first:N"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: 1}, datasets: [{json: j, sampling: 'first:0'}]}]", "sampling"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: 1}, datasets: [{json: j, sampling: 'all:3'}]}]", "sampling"},
    {"model: {init: m}\nstages: [{name: a, train: {lm: 1}, datasets: [{json: j, sampling: 'end:101%'}]}]", "sampling"},
    {"model: {init: m}\nstages: [{name: a, steps: 5, minutes: 1, train: {lm: 1}, datasets: [{json: j}]}]", "give one of epochs, steps and minutes"},
    {"model: {init: m}\nstages: [{name: a, batch: 2, micro_batch: 3, train: {lm: 1}, datasets: [{json: j}]}]", "micro_batch is larger"},
    {"model: {init: m}\nstages: [{name: a, caption_prompt: \"a <image>\", train: {lm: 1}, datasets: [{json: j}]}]", "caption_prompt: 1 to 511"},
    {"model: {init: m}\nstages: [{name: a, caption_prompt: \"\", train: {lm: 1}, datasets: [{json: j}]}]", "caption_prompt"},
    {"weights: bf16\nmodel: {init: m}\nstages: [{name: a, ema: 0.99, train: {lm: 1}, datasets: [{json: j}]}]", "ema averages float32 weights"},
    {"gradients: bf16\nmodel: {init: m}\nstages: [{name: a, optimizer: muon, train: {lm: 1}, datasets: [{json: j}]}]", "dir/r.yaml:3: stages[0]: optimizer: muon needs float32 state"},
    {"moments: bf16\nmodel: {init: m}\nstages: [{name: a, optimizer: muon, train: {lm: 1}, datasets: [{json: j}]}]", "muon needs float32 state"},
    {SMALL "  - {name: a, train: {lm: 1e-3}, datasets: [{json: d.json}]}\n", "stages[1]: the name of an earlier stage"},
    {"stages: [{name: a, train: {lm: 1}, datasets: [{json: j}]}]", "model: no vision tower"},
    {"model: {towers: {vision: v}}\nstages: [{name: a, train: {lm: 1}, datasets: [{json: j}]}]", "model: no decoder"},
    {"model: {init: m, projector: {merge: 2}}", "init is a whole model"},
    {"model: {new: {vision: {hidden: 64}}}", "model.new.vision: \"layers\" is missing"},
    {"model: {new: {vision: {hidden: 64, layers: 1, heads: 3, mlp: 64, image_size: 32, patch_size: 8}}}", "hidden 64 is not a multiple of 3"},
    {"model: {new: {vision: {hidden: 64, layers: 1, heads: 2, mlp: 64, image_size: 32, patch_size: 33}}}", "patch_size is larger"},
    {"model: {new: {text: {hidden: 60, layers: 1, heads: 4, mlp: 64}}}", "not a multiple of twice 4 heads"},
    {"model: {new: {text: {hidden: 64, layers: 1, heads: 4, kv_heads: 3, mlp: 64}}}", "multiple of kv_heads"},
    {"pretrain_vision: {steps: 1}", "pretrain_vision: datasets: at least one"},
    {"pretrain_text: {steps: 1}", "pretrain_text: files or datasets"},
};

static void mistakes_are_explained(void **state) {
    OC_UNUSED(state);
    for (size_t i = 0; i < OC_COUNT(mistakes); i++) {
        oc_recipe r;
        oc_status st = parse(&r, mistakes[i].text);
        if (st == OC_OK) fail_msg("no error for: %s", mistakes[i].text);
        if (!strstr(err.msg, mistakes[i].message)) fail_msg("for %s\n  got  \"%s\"\n  want \"%s\"", mistakes[i].text, err.msg, mistakes[i].message);
        assert_null(r.stages.item);
        assert_null(r.path);
    }
}

static void accepted_forms(void **state) {
    OC_UNUSED(state);
    static const char *texts[] = {
        "out:\ndata:\n" SMALL, "out: ~\nlog: null\n" SMALL, "---\n" SMALL "...\n", "seed: '5'\n" SMALL, "\xef\xbb\xbf" SMALL,
        "pretrain_text: {files: a.txt}", "vars:\n" SMALL,
    };
    for (size_t i = 0; i < OC_COUNT(texts); i++) {
        oc_recipe r;
        if (parse(&r, texts[i]) != OC_OK) fail_msg("%s\n%s", texts[i], err.msg);
        oc_recipe_close(&r);
    }
}

/* A skipped stage is checked like any other and then gone, wherever it stands. */
static void skipped_stages(void **state) {
    OC_UNUSED(state);
    oc_recipe r;
    static const char *text = "model: {init: m}\nstages:\n"
                              "  - {name: a, skip: true, train: {lm: 1}, datasets: [{json: j}]}\n"
                              "  - {name: b, skip: false, train: {lm: 1}, datasets: [{json: j}]}\n"
                              "  - {name: c, skip: '${no}', train: {lm: 1}, datasets: [{json: j}]}\n"
                              "  - {name: d, train: {lm: 1}, datasets: [{json: j}]}\n";
    static const char *const vars[] = {"no=true"};
    if (oc_recipe_parse(&r, text, strlen(text), "r.yaml", vars, 1, &err) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(r.stages.n, 2);
    assert_string_equal(oc_recipe_stage_at(&r, 0)->name, "b");
    assert_string_equal(oc_recipe_stage_at(&r, 1)->name, "d");
    oc_recipe_close(&r);
    static const struct {
        const char *text, *message;
    } bad[] = {{"model: {init: m}\nstages: [{name: a, skip: true, train: {lm: 1}, datasets: [{json: j}]}]", "nothing to do"},
               {"model: {init: m}\nstages: [{name: a, skip: true, train: {lm: 1}}]", "datasets: at least one"},
               {"model: {init: m}\nstages: [{name: a, skip: 1, train: {lm: 1}}]", "stages[0].skip: \"1\", true or false"}};
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        assert_int_equal(parse(&r, bad[i].text), OC_ERR_FORMAT);
        if (!strstr(err.msg, bad[i].message)) fail_msg("\"%s\" is not in \"%s\"", bad[i].message, err.msg);
    }
}

static void every_allocation_may_fail(void **state) {
    OC_UNUSED(state);
    oc_status st = OC_ERR_NOMEM;
    for (long n = 0; st != OC_OK; n++) {
        oc_recipe r;
        assert_true(n < 5000);
        oc_alloc_fail_after(n);
        st = oc_recipe_open(&r, OC_TEST_DATA "/recipe/full.yaml", NULL, 0, &err);
        oc_alloc_fail_after(-1);
        if (st != OC_OK) assert_int_equal(st, OC_ERR_NOMEM);
        oc_recipe_close(&r);
    }
}

/* Small files that want to become large: each must fail (or be read) quickly and without much memory. */
static void bombs(void **state) {
    OC_UNUSED(state);
    oc_recipe r;
    double start = oc_now();
    size_t before = oc_peak_rss_bytes();
    oc_strbuf b = {0};
    oc_strbuf_puts(&b, "vars: {a0: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'");
    for (int i = 1; i < 60; i++) oc_strbuf_printf(&b, ", a%d: '${a%d}${a%d}${a%d}${a%d}'", i, i - 1, i - 1, i - 1, i - 1);
    oc_strbuf_puts(&b, "}\n" SMALL);
    assert_int_equal(parse(&r, b.data), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "too much text"));

    oc_strbuf_clear(&b); /* 1000 stages that each name the same 1000 datasets */
    oc_strbuf_puts(&b, "model: {init: m}\nstages:\n - &s {name: a, train: {lm: 1}, datasets: [&d {json: j}");
    for (int i = 1; i < 1000; i++) oc_strbuf_puts(&b, ",*d");
    oc_strbuf_puts(&b, "]}\n");
    for (int i = 1; i < 1000; i++) oc_strbuf_puts(&b, " - *s\n");
    assert_int_equal(parse(&r, b.data), OC_ERR_FORMAT);

    oc_strbuf_clear(&b);
    oc_strbuf_puts(&b, "stages: [");
    for (int i = 0; i < 2000; i++) oc_strbuf_puts(&b, "{name: a},");
    oc_strbuf_puts(&b, "]");
    assert_int_equal(parse(&r, b.data), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "more than the limit"));

    assert_int_equal(parse(&r, "stages: &a [*a]\n"), OC_ERR_FORMAT);
    assert_int_equal(parse(&r, "model: &a {new: *a}\n"), OC_ERR_FORMAT);
    static const char *const repeated[] = {"[", "{a: ", "- ", "? ", "\"\\n\n"};
    for (size_t k = 0; k < OC_COUNT(repeated); k++) {
        oc_strbuf_clear(&b);
        while (b.len < 1000000) oc_strbuf_puts(&b, repeated[k]);
        assert_int_equal(parse(&r, b.data), OC_ERR_FORMAT);
    }
    oc_strbuf_clear(&b);
    while (b.len <= 1 << 20) oc_strbuf_puts(&b, "# comment\n");
    assert_int_equal(parse(&r, b.data), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "1 MiB"));
    oc_strbuf_free(&b);
    assert_true(oc_now() - start < 10 * OC_TIME_FACTOR); /* it takes a quarter of a second */
    assert_true(oc_peak_rss_bytes() - before < (size_t)400 << 20);
}

/* docs/recipes.md ends with the reference that the table gives. OC_UPDATE_DOCS=1 writes it anew. */
static void reference_is_current(void **state) {
    OC_UNUSED(state);
    const char *path = OC_TEST_DATA "/../../docs/recipes.md", *mark = "## Reference\n\n";
    char *text;
    size_t len;
    oc_strbuf want = {0};
    oc_recipe_describe(&want);
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
        cmocka_unit_test(every_key),      cmocka_unit_test(defaults),
        cmocka_unit_test(variables),      cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(accepted_forms), cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(skipped_stages), cmocka_unit_test(bombs),
        cmocka_unit_test(reference_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
