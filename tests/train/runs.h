/* Whole runs on a tiny data set: a folder of scenes, a recipe from a text, and what the run left behind. */
#ifndef OC_TESTS_TRAIN_RUNS_H
#define OC_TESTS_TRAIN_RUNS_H

#include "model/small.h"

#include <signal.h>

#include "base/log.h"
#include "base/signals.h"
#include "base/strbuf.h"
#include "data/scene_dataset.h"
#include "train/train.h"

enum { RUN_IMAGES = 20, RUN_MAX_STEPS = 400 };

static char runs_root[64]; /* of this program; removed at its end */
static oc_error runs_err;

static inline void runs_path(char out[256], const char *a, const char *b) { snprintf(out, 256, "%s/%s%s%s", runs_root, a, *b ? "/" : "", b); }

static inline int runs_setup(void **state) {
    OC_UNUSED(state);
    char dir[256];
    oc_log_set_level(OC_LOG_ERROR);
    oc_signals_install();
    small_folder(runs_root);
    runs_path(dir, "data", "");
    oc_scene_dataset o = {.dir = dir, .split = OC_SPLIT_TRAIN, .seed = 3, .count = RUN_IMAGES, .size = 28, .scene = {.min_objects = 1, .max_objects = 2}};
    return oc_scene_dataset_write(&o, &runs_err) != OC_OK;
}

static inline int runs_teardown(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(runs_root, NULL) != OC_OK;
}

/* 20 samples; 16 patches an image; 32 channels everywhere. `more` holds what follows, indented by nothing. */
#define RUN_HEAD \
    "seed: 5\ndtype: f32\nthreads: 1\nlog: {every: 1, tensorboard: false}\n" \
    "data: {loader_threads: 2}\n"
#define RUN_NEW \
    "model:\n  tokenizer: " OC_TEST_DATA "/golden/tiny\n" \
    "  new:\n    vision: {hidden: 32, layers: 2, heads: 4, mlp: 48, image_size: 28, patch_size: 7}\n" \
    "    text: {hidden: 32, layers: 2, heads: 4, kv_heads: 2, mlp: 48, max_positions: 128}\n"
#define RUN_DATA "max_length: 96, datasets: [{json: data/human.json, images: data}]"

/* Reads the recipe `text` as if it lay beside the data, runs it into OUT, and gives the run's status; the message is in
 * runs_err. */
typedef oc_status (*run_fn)(const oc_recipe *, const oc_train_options *, oc_error *);

static inline oc_status run_with(run_fn fn, const char *text, const char *out, const oc_train_options *given) {
    oc_recipe r;
    char path[256], dir[256];
    oc_train_options opt = given ? *given : (oc_train_options){0};
    runs_path(path, "recipe.yaml", "");
    runs_path(dir, out, "");
    opt.out = dir;
    opt.quiet = true;
    small_ok(oc_recipe_parse(&r, text, strlen(text), path, NULL, 0, &runs_err), &runs_err);
    oc_status st = fn(&r, &opt, &runs_err);
    oc_recipe_close(&r);
    return st;
}

static inline void run(const char *text, const char *out, const oc_train_options *opt) { small_ok(run_with(oc_train_run, text, out, opt), &runs_err); }

/* ---- What a run left ----------------------------------------------------------------------------------------------- */

typedef struct run_record {
    int n; /* lines that tell of a step */
    struct { char stage[32]; int step; double loss, lr, samples, skipped; } line[RUN_MAX_STEPS];
} run_record;

static inline void read_log(run_record *r, const char *out) {
    char path[256], *text;
    size_t len;
    oc_json_reader reader;
    runs_path(path, out, "log.jsonl");
    small_ok(oc_file_read(&text, &len, path, 1 << 24, &runs_err), &runs_err);
    oc_json_reader_init(&reader, text, len, path);
    r->n = 0;
    for (json_t *o; ; json_decref(o)) {
        small_ok(oc_json_reader_next(&reader, &o, &runs_err), &runs_err);
        if (!o) break;
        if (!json_object_get(o, "loss")) continue;
        assert_true(r->n < RUN_MAX_STEPS);
        snprintf(r->line[r->n].stage, sizeof r->line->stage, "%s", json_string_value(json_object_get(o, "stage")));
        r->line[r->n].step = (int)json_integer_value(json_object_get(o, "step"));
        r->line[r->n].loss = json_number_value(json_object_get(o, "loss"));
        r->line[r->n].lr = json_number_value(json_object_get(o, "lr"));
        r->line[r->n].samples = json_number_value(json_object_get(o, "samples"));
        r->line[r->n++].skipped = json_number_value(json_object_get(o, "skipped"));
    }
    oc_free(text);
}

/* Do two files below the root hold the same bytes? */
static inline bool same_file(const char *a, const char *b, const char *name) {
    char path[256], *x, *y;
    size_t nx, ny;
    runs_path(path, a, name);
    small_ok(oc_file_read(&x, &nx, path, 1 << 28, &runs_err), &runs_err);
    runs_path(path, b, name);
    small_ok(oc_file_read(&y, &ny, path, 1 << 28, &runs_err), &runs_err);
    bool same = nx == ny && !memcmp(x, y, nx);
    oc_free(x);
    oc_free(y);
    return same;
}

static inline void assert_same_file(const char *a, const char *b, const char *name) {
    if (!same_file(a, b, name)) fail_msg("%s/%s and %s/%s differ", a, name, b, name);
}

/* Is a part of two saved models the same, bit for bit? */
static inline bool same_part(const char *a, const char *b, oc_part part) {
    oc_compute *c;
    oc_vlm x, y;
    char path[256];
    small_compute(&c, "ref");
    runs_path(path, a, "");
    small_ok(oc_weights_open(&x, c, path, OC_F32, &runs_err), &runs_err);
    runs_path(path, b, "");
    small_ok(oc_weights_open(&y, c, path, OC_F32, &runs_err), &runs_err);
    bool same = x.params.n[part] == y.params.n[part] && !memcmp(x.params.w[part], y.params.w[part], x.params.n[part] * sizeof(float));
    oc_vlm_close(&x);
    oc_vlm_close(&y);
    oc_compute_close(c);
    return same;
}

static inline void remove_run(const char *out) {
    char path[256];
    runs_path(path, out, "");
    small_ok(oc_remove_tree(path, &runs_err), &runs_err);
}

/* ---- An evaluation hook that ends a run at a chosen step ------------------------------------------------------------- */

typedef struct stopper {
    int stage, calls_left; /* acts at the calls_left-th call in this stage, counted from 1 */
    bool by_signal;        /* else by an error, as a crash without a last checkpoint */
} stopper;

static inline oc_status stop_here(void *ctx, oc_vlm *m, const oc_tokenizer *t, const oc_recipe *r, const oc_position *pos, const oc_train_output *out, oc_error *err) {
    stopper *s = ctx;
    OC_UNUSED(m), OC_UNUSED(t), OC_UNUSED(r), OC_UNUSED(out);
    if (!s || pos->stage != s->stage || --s->calls_left != 0) return OC_OK;
    if (!s->by_signal) return oc_fail(err, OC_ERR_IO, "the power is gone");
    raise(SIGTERM);
    return OC_OK;
}

#endif
