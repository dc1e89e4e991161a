/* Towers from nothing: both kinds of pretraining learn, a seed means one result, an interrupted run ends alike, the folders
 * open as towers of a recipe; and data or sizes that do not fit are refused. */
#include "runs.h"

#define TEXT_SECTION "pretrain_text: {%s, batch: 6, length: 64, lr: 3e-3, datasets: [{json: data/human.json, images: data}], save_every: %d}\n"
#define VISION_SECTION "pretrain_vision: {%s, batch: 8, max_text: 40, lr: 2e-3, text: {layers: 1}, datasets: [{json: data/human.json, images: data}], save_every: %d}\n"

static void has(const char *word) {
    if (!strstr(runs_err.msg, word)) fail_msg("\"%s\" is not in: %s", word, runs_err.msg);
}

static void text_recipe(char out[4096], const char *budget, int save_every) { snprintf(out, 4096, RUN_HEAD RUN_NEW TEXT_SECTION, budget, save_every); }
static void vision_recipe(char out[4096], const char *budget, int save_every) { snprintf(out, 4096, RUN_HEAD RUN_NEW VISION_SECTION, budget, save_every); }

/* Mean loss of the first and of the last three steps. */
static void ends_of(const run_record *r, double *first, double *last) {
    *first = *last = 0;
    for (int i = 0; i < 3; i++) *first += r->line[i].loss / 3, *last += r->line[r->n - 1 - i].loss / 3;
}

static void text_is_learned(void **state) {
    OC_UNUSED(state);
    char recipe[4096];
    run_record r;
    double first, last;
    text_recipe(recipe, "epochs: 10", 0); /* 20 texts, 6 at a time: 34 steps, the last of what is left */
    small_ok(run_with(oc_pretrain_text, recipe, "text", NULL), &runs_err);
    read_log(&r, "text");
    assert_int_equal(r.n, 34);
    ends_of(&r, &first, &last);
    if (!(first > 5 && last < 0.75 * first)) fail_msg("the loss went from %g to %g", first, last);
    small_ok(run_with(oc_pretrain_text, recipe, "text_again", NULL), &runs_err);
    assert_same_file("text", "text_again", "model/model.safetensors");
    char divided[4096];
    snprintf(divided, sizeof divided, RUN_HEAD RUN_NEW "pretrain_text: {epochs: 10, batch: 6, micro_batch: 4, length: 64, lr: 3e-3, datasets: [{json: data/human.json, images: data}]}\n");
    small_ok(run_with(oc_pretrain_text, divided, "text_divided", NULL), &runs_err);
    run_record d;
    read_log(&d, "text_divided");
    assert_int_equal(d.n, r.n);
    for (int i = 0; i < 10; i++) assert_true(fabs(d.line[i].loss / r.line[i].loss - 1) < 1e-4);
    remove_run("text_divided");
    remove_run("text_again");
}

/* 20 pictures of different scenes: told apart better than by chance. */
static void pictures_are_told_apart(void **state) {
    OC_UNUSED(state);
    char recipe[4096];
    run_record r;
    double first, last;
    vision_recipe(recipe, "epochs: 15", 0); /* 8, 8 and 4 pairs */
    small_ok(run_with(oc_pretrain_vision, recipe, "vision", NULL), &runs_err);
    read_log(&r, "vision");
    assert_int_equal(r.n, 45);
    assert_true(r.line[44].samples == 300);
    ends_of(&r, &first, &last);
    if (!(last < 0.8 * first)) fail_msg("the loss went from %g to %g", first, last);
    small_ok(run_with(oc_pretrain_vision, recipe, "vision_again", NULL), &runs_err);
    assert_same_file("vision", "vision_again", "model/model.safetensors");
    remove_run("vision_again");
}

/* A signal cannot be sent from within (there is no evaluation), so it comes before the first step: that step is done, then
 * the run stops. Going on from there and from a checkpoint in the middle gives the unbroken result. */
static void check_resumed(run_fn fn, const char *recipe, const char *out, const char *unbroken) {
    raise(SIGTERM);
    assert_int_equal(run_with(fn, recipe, out, NULL), OC_ERR_INTERRUPTED);
    run_record r;
    read_log(&r, out);
    assert_int_equal(r.n, 1);
    oc_signals_reset();
    small_ok(run_with(fn, recipe, out, &(oc_train_options){.resume = true}), &runs_err);
    assert_same_file(unbroken, out, "model/model.safetensors");
    small_ok(run_with(fn, recipe, out, &(oc_train_options){.resume = true}), &runs_err); /* from the last save_every */
    assert_same_file(unbroken, out, "model/model.safetensors");
    remove_run(out);
}

static void interrupted_runs_end_alike(void **state) {
    OC_UNUSED(state);
    char recipe[4096];
    text_recipe(recipe, "epochs: 10", 11);
    check_resumed(oc_pretrain_text, recipe, "text_resumed", "text");
    vision_recipe(recipe, "epochs: 15", 19);
    check_resumed(oc_pretrain_vision, recipe, "vision_resumed", "vision");
}

static void towers_join(void **state) {
    OC_UNUSED(state);
    run(RUN_HEAD "model: {towers: {vision: vision/model, text: text/model}, projector: {merge: 2}}\n"
        "stages:\n- {name: a, " RUN_DATA ", steps: 2, batch: 4, train: {projector: 1e-3}}\n", "joined", NULL);
    oc_compute *c;
    oc_vlm m, tower;
    char path[256];
    small_compute(&c, "ref");
    runs_path(path, "joined/model", "");
    small_ok(oc_weights_open(&m, c, path, OC_F32, &runs_err), &runs_err);
    static const struct { const char *dir; oc_part part; } towers[] = {{"vision/model", OC_PART_VISION}, {"text/model", OC_PART_LM}};
    for (size_t i = 0; i < OC_COUNT(towers); i++) {
        runs_path(path, towers[i].dir, "");
        small_ok(oc_weights_open(&tower, c, path, OC_F32, &runs_err), &runs_err);
        assert_int_equal(tower.params.n[towers[i].part], m.params.n[towers[i].part]);
        assert_memory_equal(tower.params.w[towers[i].part], m.params.w[towers[i].part], m.params.n[towers[i].part] * sizeof(float));
        oc_vlm_close(&tower);
    }
    assert_int_equal(oc_config_tokens_per_image(&m.cfg), 4);
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void write_data(const char *name, const char *text) {
    char path[256];
    runs_path(path, "data", name);
    small_ok(oc_file_write_atomic(path, text, strlen(text), &runs_err), &runs_err);
}

static void what_does_not_fit_is_refused(void **state) {
    OC_UNUSED(state);
    assert_int_equal(run_with(oc_pretrain_text, RUN_HEAD RUN_NEW "pretrain_text: {steps: 1, batch: 2, length: 200, files: [data/human.json]}\n", "no", NULL), OC_ERR_ARG);
    has("max_positions");
    write_data("empty.txt", "\n\n");
    assert_int_equal(run_with(oc_pretrain_text, RUN_HEAD RUN_NEW "pretrain_text: {steps: 1, batch: 2, length: 20, files: [data/empty.txt]}\n", "no", &(oc_train_options){.overwrite = true}), OC_ERR_ARG);
    has("no texts");
    write_data("lines.jsonl", "{\"text\": \"one\"}\n{\"caption\": \"two\"}\n");
    assert_int_equal(run_with(oc_pretrain_text, RUN_HEAD RUN_NEW "pretrain_text: {steps: 1, batch: 2, length: 20, files: [data/lines.jsonl]}\n", "no", &(oc_train_options){.overwrite = true}), OC_ERR_FORMAT);
    has("lines.jsonl:2");
    static const char *const pictures[] = {
        "[{\"image\": [\"images/000000.png\", \"images/000001.png\"], \"conversations\": [{\"from\": \"human\", \"value\": \"<image><image>\"}, {\"from\": \"gpt\", \"value\": \"both\"}]}]",
        "[{\"image\": [\"images/000000.png\", \"images/000000.png\"], \"conversations\": [{\"from\": \"human\", \"value\": \"<image><image>\"}, {\"from\": \"gpt\", \"value\": \"twice\"}]}]",
    };
    for (size_t i = 0; i < OC_COUNT(pictures); i++) {
        write_data("two.json", pictures[i]);
        assert_int_equal(run_with(oc_pretrain_vision, RUN_HEAD RUN_NEW "pretrain_vision: {steps: 1, batch: 2, datasets: [{json: data/two.json, images: data}]}\n", "no",
                                  &(oc_train_options){.overwrite = true}), OC_ERR_ARG);
        has("must show one image");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_learned), cmocka_unit_test(pictures_are_told_apart), cmocka_unit_test(interrupted_runs_end_alike),
        cmocka_unit_test(towers_join), cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
