/* A seed means one result, whatever the number of threads; and a run that was interrupted, or killed and continued from an
 * earlier checkpoint, ends where the unbroken one does, bit for bit. */
#include "runs.h"

/* ---- Seeds --------------------------------------------------------------------------------------------------------- */

#define BUSY "ema: 0.9, token_drop: 0.2, weight_decay: 0.05, group_by_image: true, captions_per_image: 1, eval_every: 1"

/* Two stages with everything that could make a difference: averages, augmentation, hidden tokens, divided batches. */
static void two_stages(char out[4096], int seed, int threads, int loaders, int save_every) {
    snprintf(out, 4096, "seed: %d\ndtype: f32\nthreads: %d\nlog: {every: 1, tensorboard: false}\ndata: {loader_threads: %d, augment: {crop_min: 0.6, flip: 0.5, colour_jitter: 0.2}}\n"
             RUN_NEW "stages:\n"
             "- {name: one, " RUN_DATA ", steps: 6, batch: 6, micro_batch: 4, train: {projector: 1e-2}, save_every: %d, " BUSY "}\n"
             "- {name: two, " RUN_DATA ", epochs: 1.5, batch: 5, train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}, mask: causal, save_every: %d, " BUSY "}\n",
             seed, threads, loaders, save_every, save_every);
}

static void run_seed(int seed, int threads, int loaders, const char *out) {
    char recipe[4096];
    two_stages(recipe, seed, threads, loaders, 0);
    run(recipe, out, NULL);
}

static void a_seed_means_one_result(void **state) {
    OC_UNUSED(state);
    run_seed(5, 1, 2, "seed_a");
    run_seed(5, 1, 2, "seed_b");
    run_seed(5, 2, 1, "seed_c"); /* whoever does the work */
    run_seed(6, 1, 2, "seed_d");
    assert_same_file("seed_a", "seed_b", "model/model.safetensors");
    assert_same_file("seed_a", "seed_b", "model/config.json");
    assert_same_file("seed_a", "seed_c", "model/model.safetensors");
    assert_false(same_file("seed_a", "seed_d", "model/model.safetensors"));
    for (int i = 1; i < 4; i++) remove_run((const char *[]){"", "seed_b", "seed_c", "seed_d"}[i]);
}

/* ---- Going on ------------------------------------------------------------------------------------------------------ */

/* Runs with a stop at the n-th evaluation of a stage, then goes on until the end; the result must be that of seed_a. */
static void check_resumed(int stage, int calls, bool by_signal, int save_every) {
    char recipe[4096], name[64];
    two_stages(recipe, 5, 1, 2, save_every);
    stopper stop = {stage, calls, by_signal};
    oc_train_options opt = {.evaluate = stop_here, .ctx = &stop};
    snprintf(name, sizeof name, "resumed_%d_%d", stage, calls);
    oc_status st = run_with(oc_train_run, recipe, name, &opt);
    assert_int_equal(st, by_signal ? OC_ERR_INTERRUPTED : OC_ERR_IO);
    if (by_signal) assert_non_null(strstr(runs_err.msg, "--resume"));
    oc_signals_reset();
    opt.resume = true;
    run(recipe, name, &opt);
    static const char *const files[] = {"stage-1-one/model.safetensors", "stage-2-two/model.safetensors", "model/model.safetensors", "model/config.json"};
    for (size_t i = 0; i < OC_COUNT(files); i++) assert_same_file("seed_a", name, files[i]);
    remove_run(name);
}

static void an_interrupted_run_ends_alike(void **state) {
    OC_UNUSED(state);
    check_resumed(0, 2, true, 0);  /* within the first epoch */
    check_resumed(0, 5, true, 0);  /* in the second */
    check_resumed(0, 6, true, 0);  /* at the last step: it ends in the next stage, one step later */
    check_resumed(1, 3, true, 0);
    check_resumed(0, 5, false, 2);  /* two steps are done again */
    check_resumed(1, 4, false, 3);
    check_resumed(1, 1, false, 0); /* from the checkpoint between the stages */
}

/* Stopped twice, and a checkpoint that was being replaced when the process died. */
static void interrupted_again(void **state) {
    OC_UNUSED(state);
    char recipe[4096], from[256], to[256];
    two_stages(recipe, 5, 1, 2, 0);
    stopper stop = {0, 2, true};
    oc_train_options opt = {.evaluate = stop_here, .ctx = &stop};
    assert_int_equal(run_with(oc_train_run, recipe, "again", &opt), OC_ERR_INTERRUPTED);
    oc_signals_reset();
    stop = (stopper){0, 2, true};
    opt.resume = true;
    assert_int_equal(run_with(oc_train_run, recipe, "again", &opt), OC_ERR_INTERRUPTED);
    oc_signals_reset();
    runs_path(from, "again/checkpoint", "");
    runs_path(to, "again/checkpoint.old", "");
    assert_int_equal(rename(from, to), 0);
    run(recipe, "again", &opt);
    assert_same_file("seed_a", "again", "model/model.safetensors");
    run(recipe, "again", &opt); /* nothing is left to do */
    assert_same_file("seed_a", "again", "model/model.safetensors");
    remove_run("again");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_seed_means_one_result), cmocka_unit_test(an_interrupted_run_ends_alike),
                                       cmocka_unit_test(interrupted_again)};
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
