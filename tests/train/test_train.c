/* Runs of a recipe on twenty pictures: the loss falls, frozen parts stay as they are, how a batch is divided changes
 * nothing; budgets, bad samples, and what must not be mixed up. (Seeds and going on: test_resume.c.) */
#include "runs.h"

#include "data/bpe_train.h"

#define STAGE(name, rest) "- {name: " name ", " RUN_DATA ", " rest "}\n"

static void has(const char *word) {
    if (!strstr(runs_err.msg, word)) fail_msg("\"%s\" is not in: %s", word, runs_err.msg);
}

/* ---- Learning and freezing ----------------------------------------------------------------------------------------- */

static void learns_and_freezes(void **state) {
    OC_UNUSED(state);
    const char *recipe = RUN_HEAD RUN_NEW "stages:\n"
        STAGE("align", "steps: 5, batch: 4, train: {projector: 1e-2}, weight_decay: 0.1")
        STAGE("tune", "epochs: 10, batch: 4, train: {projector: 3e-3, lm: 5e-3}, weight_decay: 0.1")
        STAGE("see", "steps: 2, batch: 4, train: {vision: 1e-3}");
    run(recipe, "learn", NULL);
    run_record r;
    read_log(&r, "learn");
    assert_int_equal(r.n, 5 + 50 + 2);
    double first = r.line[0].loss, last = (r.line[54].loss + r.line[53].loss + r.line[52].loss) / 3;
    assert_true(first > 5 && first < 8); /* about log 512 */
    if (!(last < 0.75 * first)) fail_msg("the loss went from %g to %g only", first, last);
    for (int i = 0; i < r.n; i++) assert_true(isfinite(r.line[i].loss) && r.line[i].skipped == 0);
    assert_true(same_part("learn/stage-1-align", "learn/stage-2-tune", OC_PART_VISION));
    assert_false(same_part("learn/stage-1-align", "learn/stage-2-tune", OC_PART_PROJECTOR));
    assert_false(same_part("learn/stage-1-align", "learn/stage-2-tune", OC_PART_LM));
    assert_false(same_part("learn/stage-2-tune", "learn/stage-3-see", OC_PART_VISION));
    assert_true(same_part("learn/stage-2-tune", "learn/stage-3-see", OC_PART_PROJECTOR));
    assert_true(same_part("learn/stage-2-tune", "learn/stage-3-see", OC_PART_LM));
    assert_same_file("learn/stage-3-see", "learn/model", "model.safetensors");
    /* what the first stage began with: the same seed, another first stage */
    run(RUN_HEAD RUN_NEW "stages:\n" STAGE("other", "steps: 1, batch: 4, train: {projector: 1e-2}"), "learn_other", NULL);
    assert_true(same_part("learn/stage-1-align", "learn_other/model", OC_PART_VISION));
    assert_true(same_part("learn/stage-1-align", "learn_other/model", OC_PART_LM));
    assert_false(same_part("learn/stage-1-align", "learn_other/model", OC_PART_PROJECTOR));
}

/* ---- Dividing a batch ---------------------------------------------------------------------------------------------- */

static void check_division(const char *sizes, const run_record *want, bool exact) {
    char recipe[2048], *at = recipe;
    run_record got;
    at += snprintf(at, 2000, "%s%sstages:\n- {name: a, " RUN_DATA ", epochs: 2, batch: 8, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}, %s}\n", RUN_HEAD, RUN_NEW, sizes);
    run(recipe, "divided", &(oc_train_options){.backend = "ref", .overwrite = true});
    read_log(&got, "divided");
    assert_int_equal(got.n, want->n);
    for (int i = 0; i < got.n; i++) {
        double limit = exact ? 0 : 1e-5 * want->line[i].loss;
        if (!(fabs(got.line[i].loss - want->line[i].loss) <= limit) || got.line[i].samples != want->line[i].samples)
            fail_msg("%s: step %d has loss %.9g of %g samples, undivided %.9g of %g", sizes, i + 1, got.line[i].loss, got.line[i].samples, want->line[i].loss, want->line[i].samples);
    }
}

/* 20 samples in batches of 8: steps of 8, 8 and 4 samples, twice. */
static void a_divided_batch_is_the_batch(void **state) {
    OC_UNUSED(state);
    run_record want;
    run(RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "epochs: 2, batch: 8, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}, micro_batch: 8"), "whole",
        &(oc_train_options){.backend = "ref"});
    read_log(&want, "whole");
    assert_int_equal(want.n, 6);
    static const double samples[] = {8, 16, 20, 28, 36, 40};
    for (int i = 0; i < 6; i++) assert_true(want.line[i].samples == samples[i] && want.line[i].step == i + 1);
    check_division("micro_batch: 8", &want, true);
    check_division("micro_batch: 2", &want, false);
    check_division("micro_batch: 3", &want, false);
    check_division("micro_batch: 8, max_tokens: 130", &want, false); /* batches that are closed early */
    double by_token = want.line[0].loss;
    run(RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "epochs: 2, batch: 8, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}, micro_batch: 8, loss: sample"), "whole",
        &(oc_train_options){.backend = "ref", .overwrite = true});
    read_log(&want, "whole");
    assert_true(want.line[0].loss != by_token); /* captions differ in length */
    check_division("loss: sample, micro_batch: 2", &want, false);
    check_division("loss: sample, micro_batch: 3", &want, false);
    remove_run("divided");
}

/* ---- Budgets ------------------------------------------------------------------------------------------------------- */

static void check_budget(const char *budget, int batch, int steps, double samples) {
    char recipe[2048];
    run_record r;
    snprintf(recipe, sizeof recipe, "%s%sstages:\n- {name: a, " RUN_DATA ", %s, batch: %d, train: {projector: 1e-3}, schedule: {kind: linear, warmup: 0}}\n", RUN_HEAD, RUN_NEW, budget, batch);
    run(recipe, "budget", &(oc_train_options){.overwrite = true});
    read_log(&r, "budget");
    if (r.n != steps || r.line[r.n - 1].samples != samples) fail_msg("%s, batch %d: %d steps and %g samples", budget, batch, r.n, r.line[r.n - 1].samples);
    assert_true(fabs(r.line[r.n - 1].lr - 1e-3 * 0.5 / steps) < 1e-6); /* the schedule ends with the stage */
}

static void budgets(void **state) {
    OC_UNUSED(state);
    check_budget("steps: 3", 8, 3, 20);
    check_budget("steps: 7", 8, 7, 48);
    check_budget("epochs: 1", 8, 3, 20);
    check_budget("epochs: 2", 8, 6, 40);
    check_budget("epochs: 0.5", 5, 2, 10);
    check_budget("epochs: 0.01", 5, 1, 5);
    check_budget("epochs: 1", 32, 1, 20);
    run_record r;
    double begin = oc_now();
    run(RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "minutes: 0.005, batch: 4, train: {projector: 1e-3}"), "budget", &(oc_train_options){.overwrite = true});
    read_log(&r, "budget");
    assert_true(r.n > 1 && oc_now() - begin >= 0.3);
    remove_run("budget");
}

/* ---- Bad samples --------------------------------------------------------------------------------------------------- */

static oc_status run_with_bad(const char *rule) {
    char recipe[2048];
    snprintf(recipe, sizeof recipe, "seed: 5\ndtype: f32\nthreads: 1\nlog: {every: 1, tensorboard: false}\ndata: {loader_threads: 2, %s}\n%sstages:\n"
             "- {name: a, max_length: 96, datasets: [{json: bad/human.json, images: bad}], epochs: 1, batch: 4, train: {projector: 1e-3}}\n", rule, RUN_NEW);
    return run_with(oc_train_run, recipe, "bad_run", &(oc_train_options){.overwrite = true});
}

static void bad_samples(void **state) {
    OC_UNUSED(state);
    char path[256];
    run_record r;
    runs_path(path, "bad", "");
    oc_scene_dataset o = {.dir = path, .split = OC_SPLIT_TRAIN, .seed = 3, .count = RUN_IMAGES, .size = 28, .scene = {.min_objects = 1, .max_objects = 2}};
    small_ok(oc_scene_dataset_write(&o, &runs_err), &runs_err);
    runs_path(path, "bad/images/000004.png", "");
    small_ok(oc_file_write_atomic(path, "no picture", 10, &runs_err), &runs_err);
    assert_int_not_equal(run_with_bad("on_bad: fail"), OC_OK);
    has("000004.png");
    small_ok(run_with_bad("on_bad: skip, max_bad: 1"), &runs_err);
    read_log(&r, "bad_run");
    assert_true(r.n == 5 && r.line[4].samples == 20); /* another stands in its place */
    runs_path(path, "bad/images/000007.png", "");
    assert_int_equal(remove(path), 0);
    assert_int_not_equal(run_with_bad("on_bad: skip, max_bad: 1"), OC_OK);
    has("bad samples");
    small_ok(run_with_bad("on_bad: skip, max_bad: 2"), &runs_err);
    remove_run("bad");
    remove_run("bad_run");
}

/* ---- What must not be mixed up ------------------------------------------------------------------------------------- */

static void a_folder_is_not_overwritten(void **state) {
    OC_UNUSED(state);
    char path[256];
    const char *recipe = RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "steps: 3, batch: 4, train: {projector: 1e-3}, eval_every: 1");
    stopper stop = {0, 2, true};
    oc_train_options opt = {.evaluate = stop_here, .ctx = &stop, .resume = true}; /* resuming nothing is starting */
    assert_int_equal(run_with(oc_train_run, recipe, "kept", &opt), OC_ERR_INTERRUPTED);
    oc_signals_reset();
    opt.resume = false;
    assert_int_equal(run_with(oc_train_run, recipe, "kept", &opt), OC_ERR_ARG);
    has("--overwrite");
    runs_path(path, "kept/checkpoint", "");
    assert_true(oc_dir_exists(path));
    char other[4096];
    snprintf(other, sizeof other, "%s", recipe);
    memcpy(other, "seed: 6", 7);
    opt.resume = true;
    assert_int_equal(run_with(oc_train_run, other, "kept", &opt), OC_ERR_ARG);
    has("seed 5");
    char old[256];
    runs_path(old, "kept/checkpoint.old", "");
    assert_int_equal(rename(path, old), 0); /* as if the process had died between two renames */
    stop = (stopper){0, 1, false};
    opt = (oc_train_options){.evaluate = stop_here, .ctx = &stop, .overwrite = true};
    assert_int_equal(run_with(oc_train_run, recipe, "kept", &opt), OC_ERR_IO); /* dies before its first checkpoint */
    assert_false(oc_dir_exists(path) || oc_dir_exists(old)); /* nothing of the earlier run to continue from */
    remove_run("kept");
}

static void write_tokenizer(const char *name, int size, const char *const *texts, size_t n) {
    oc_tokenizer *t;
    char path[256];
    runs_path(path, name, "");
    small_ok(oc_bpe_train_strings(&t, &(oc_bpe_train_options){.vocab_size = size}, texts, n, &runs_err), &runs_err);
    small_ok(oc_make_dirs(path, &runs_err), &runs_err);
    small_ok(oc_tokenizer_save(t, path, &runs_err), &runs_err);
    oc_tokenizer_close(t);
}

static void continued_models(void **state) {
    OC_UNUSED(state);
    run_record r;
    oc_config cfg;
    char path[256];
    run(RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "steps: 2, batch: 4, train: {projector: 1e-3}, mask: causal"), "base", NULL);
    const char *more = RUN_HEAD "model: {init: base/model}\nstages:\n" STAGE("b", "steps: 2, batch: 4, train: {lm: 1e-3}");
    run(more, "more", NULL);
    runs_path(path, "more/model", "");
    small_ok(oc_config_load(&cfg, path, &runs_err), &runs_err);
    assert_int_equal(cfg.mask, OC_MASK_CAUSAL); /* as the model was trained before */
    assert_true(same_part("base/model", "more/model", OC_PART_PROJECTOR) && !same_part("base/model", "more/model", OC_PART_LM));
    read_log(&r, "more");
    assert_int_equal(r.n, 2);
    run(RUN_HEAD "model: {init: base/model, mask: isolated}\nstages:\n" STAGE("b", "steps: 1, batch: 4, train: {lm: 1e-3}"), "more", &(oc_train_options){.overwrite = true});
    small_ok(oc_config_load(&cfg, path, &runs_err), &runs_err);
    assert_int_equal(cfg.mask, OC_MASK_ISOLATED);
    const char *foreign = RUN_HEAD "model: {init: base/model, tokenizer: other}\nstages:\n" STAGE("b", "steps: 1, batch: 4, train: {lm: 1e-3}");
    static const char *const texts[] = {"a red circle", "a red square above a blue circle"};
    write_tokenizer("other", 300, texts, OC_COUNT(texts)); /* <image> has another id */
    assert_int_equal(run_with(oc_train_run, foreign, "foreign", NULL), OC_ERR_ARG);
    has("do not belong together");
    remove_run("foreign");
    remove_run("base");
    remove_run("more");
}

static void only_the_first_stages(void **state) {
    OC_UNUSED(state);
    char path[256];
    const char *recipe = RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "steps: 2, batch: 4, train: {projector: 1e-3}") STAGE("b", "steps: 2, batch: 4, train: {lm: 1e-3}");
    run(recipe, "first", &(oc_train_options){.only_stages = 1});
    assert_same_file("first/stage-1-a", "first/model", "model.safetensors");
    runs_path(path, "first/stage-2-b", "");
    assert_false(oc_dir_exists(path));
    run(recipe, "first", &(oc_train_options){.resume = true});
    run(recipe, "both", NULL);
    assert_same_file("first", "both", "model/model.safetensors");
    remove_run("first");
    remove_run("both");
}

/* ---- Memory -------------------------------------------------------------------------------------------------------- */

/* Every allocation of a run with one step fails once, those of kernels and loader included, until one passes. */
static void memory_runs_out(void **state) {
    OC_UNUSED(state);
    const char *recipe = RUN_HEAD RUN_NEW "stages:\n" STAGE("a", "steps: 1, batch: 4, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}, ema: 0.5");
    int failed = 0;
    for (long n = 0;; n += 1 + n / 40) {
        oc_recipe r;
        char path[256];
        assert_true(n < 100000);
        runs_path(path, "recipe.yaml", "");
        small_ok(oc_recipe_parse(&r, recipe, strlen(recipe), path, NULL, 0, &runs_err), &runs_err);
        runs_path(path, "memory", "");
        oc_alloc_fail_after(n);
        oc_status st = oc_train_run(&r, &(oc_train_options){.out = path, .quiet = true, .overwrite = true}, &runs_err);
        oc_alloc_fail_after(-1);
        oc_recipe_close(&r);
        if (st == OC_OK) break;
        if (st != OC_ERR_NOMEM) fail_msg("allocation %ld: %s", n, runs_err.msg);
        failed++;
    }
    assert_true(failed > 50);
    remove_run("memory");
}

/* `memory` refuses a stage before it takes what it may not, and lets through what fits. */
static void a_memory_limit_is_kept(void **state) {
    OC_UNUSED(state);
    const char *stages = "stages:\n" STAGE("a", "steps: 1, batch: 4, train: {lm: 1e-3}");
    char recipe[2048];
    snprintf(recipe, sizeof recipe, "memory: 512 KiB\n" RUN_HEAD RUN_NEW "%s", stages);
    assert_int_equal(run_with(oc_train_run, recipe, "limit", NULL), OC_ERR_NOMEM);
    has("stage a needs");
    has("micro_batch");
    remove_run("limit");
    snprintf(recipe, sizeof recipe, "memory: 4 GiB\n" RUN_HEAD RUN_NEW "%s", stages);
    run(recipe, "limit", NULL);
    remove_run("limit");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_and_freezes), cmocka_unit_test(a_divided_batch_is_the_batch), cmocka_unit_test(budgets), cmocka_unit_test(bad_samples),
        cmocka_unit_test(a_folder_is_not_overwritten), cmocka_unit_test(continued_models), cmocka_unit_test(only_the_first_stages),
        cmocka_unit_test(memory_runs_out), cmocka_unit_test(a_memory_limit_is_kept),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
