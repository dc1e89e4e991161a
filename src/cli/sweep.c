/* ocellus sweep: a table of training runs. 1. folders and definitions  2. one child  3. preparations  4. runs  5. all
 *
 *   OUT/prepared/NAME-HASH/      (or below --prepared) what a preparation made; NAME-HASH.json beside it once it is
 *                                whole
 *   OUT/runs/VARIANT-sSEED-HASH/ one run: definition.json, train/ (as `ocellus train` writes it), eval-NAME-HASH/,
 *                                log.txt (what the commands wrote), failed.json after a failure
 *   OUT/constant/NAME-HASH.json  controls that need no model
 *   OUT/results.json, .md, .svg  written anew after every run
 *
 * HASH is of the definition, so that a finished piece of work is found again and one that is defined otherwise is new. */
#include "cli/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"
#include "cli/child.h"
#include "cli/session.h"

static struct {
    const char *out, *docs, *prepared;
    oc_string_list set;
    int threads;
    bool dry_run, json;
} opt;

static const oc_option options[] = {
    {"--out", OPT_STRING, &opt.out, "DIR", "folder for everything; default: runs/NAME"},
    {"--set", OPT_LIST, &opt.set, "NAME=VALUE", "value of ${NAME} in the sweep's file; may be given several times"},
    {"--prepared", OPT_STRING, &opt.prepared, "DIR",
     "folder for what preparations make; sweeps that share it make equal things once; default: OUT/prepared"},
    {"--threads", OPT_INT, &opt.threads, "0..1024", "threads of each run; 0: as the recipe says, else all cores"},
    {"--docs", OPT_STRING, &opt.docs, "FILE.md",
     "also write the results as a section of this page, its plots beside it (replaces this sweep's earlier section)"},
    {"--dry-run", OPT_FLAG, &opt.dry_run, NULL, "list what is done and what is to do; run nothing"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print the results as one JSON object at the end"},
    {0}};

enum { MAX_ARGS = 256, LOCK_WAIT_S = 120 };

typedef struct sweeping {
    oc_sweep sweep;
    oc_sweep_state state;
    char *here; /* the sweep file's folder */
    const char *prepared_dir;
    char seed_text[16];
    oc_sweep_place *place; /* [3 + preparations]: seed, recipe, here, then the folders */
    char **prepared;       /* [preparations] the folder for the present seed; NULL: not known */
    oc_progress bar;
    bool bar_open;
    int done_before, session_done; /* runs that were finished at the start; that this call finished */
    int current;                   /* run in progress, for the bar */
    char doing[128];
} sweeping;

static const char *const kind_word[] = {"llava", "coco", "karpathy", "vqa"};
static const char *const task_word[] = {"caption", "vqa"};

/* ---- 1. Folders and definitions ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 4))) static oc_status path_of(char **out, const char *fmt, oc_error *err, ...) {
    char text[4096];
    va_list ap;
    va_start(ap, err);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    *out = n < (int)sizeof text ? oc_strdup(text) : NULL;
    return *out ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a path (or one that is too long)");
}

static int n_places(const sweeping *w) { return 3 + w->sweep.prepare.n; }

/* Places whose value is not known yet are left as they are written. */
static oc_status expand(const sweeping *w, char **out, const char *text, bool path, oc_error *err) {
    oc_sweep_place known[3 + 1024];
    int n = 0;
    for (int i = 0; i < n_places(w); i++)
        if (w->place[i].value) known[n++] = w->place[i];
    return oc_sweep_expand(out, text, path, known, n, err);
}

/* A preparation that has not been made, which the text needs. */
static bool is_missing(const sweeping *w, const char *text) {
    for (int i = 0; text && i < n_places(w); i++) {
        char name[64];
        snprintf(name, sizeof name, "<%s>", w->place[i].name);
        if (!w->place[i].value && strstr(text, name)) return true;
    }
    return false;
}

static bool uses_seed(const sweeping *w, const char *text) {
    if (strstr(text, "<seed>")) return true;
    for (int i = 0; i < w->sweep.prepare.n; i++) {
        char name[64];
        const oc_sweep_prepare *p = oc_sweep_prepare_at(&w->sweep, i);
        snprintf(name, sizeof name, "<%s>", p->name);
        if (p->each_seed && strstr(text, name)) return true;
    }
    return false;
}

/* What a run's recipe is given: the variant's variables, those of the sweep that it does not set, the seed. */
typedef struct variables {
    char *item[MAX_ARGS];
    int n;
} variables;

static void close_variables(variables *v) {
    for (int i = 0; i < v->n; i++) oc_free(v->item[i]);
    v->n = 0;
}

static oc_status add_variable(const sweeping *w, variables *v, const char *text, oc_error *err) {
    const size_t name = strcspn(text, "=") + 1;
    for (int i = 0; i < v->n; i++)
        if (!strncmp(v->item[i], text, name)) return OC_OK;
    if (v->n == MAX_ARGS) return oc_fail(err, OC_ERR_FORMAT, "%s: more than %d variables", w->sweep.path, MAX_ARGS);
    OC_TRY(expand(w, &v->item[v->n], text, false, err));
    v->n++;
    return OC_OK;
}

static oc_status list_variables(const sweeping *w, const oc_sweep_run *run, variables *v, oc_error *err) {
    char seed[24];
    const oc_list *const lists[] = {&run->variant->set, &w->sweep.set};
    v->n = 0;
    for (size_t k = 0; k < OC_COUNT(lists); k++)
        for (int i = 0; i < lists[k]->n; i++) OC_TRY(add_variable(w, v, ((const char *const *)lists[k]->item)[i], err));
    snprintf(seed, sizeof seed, "seed=%d", run->seed);
    return add_variable(w, v, seed, err);
}

static const char *recipe_of(const sweeping *w, const oc_sweep_variant *v) {
    return v->recipe ? v->recipe : w->sweep.recipe;
}

static bool depends_on_missing(const sweeping *w, const oc_sweep_run *run) {
    bool missing = is_missing(w, run->variant->model);
    const oc_list *const lists[] = {&run->variant->set, &w->sweep.set};
    for (size_t k = 0; k < OC_COUNT(lists) && !run->variant->model; k++)
        for (int i = 0; i < lists[k]->n; i++)
            missing = missing || is_missing(w, ((const char *const *)lists[k]->item)[i]);
    for (int i = 0; i < w->sweep.evaluate.n; i++)
        missing = missing || is_missing(w, oc_sweep_eval_at(&w->sweep, i)->data) ||
                  is_missing(w, oc_sweep_eval_at(&w->sweep, i)->images);
    return missing;
}

/* {"recipe", "variables", "data"} or {"model", "data"}. */
static oc_status define_run(const sweeping *w, const oc_sweep_run *run, const variables *v, json_t **out,
                            oc_error *err) {
    const char *const dir = w->prepared_dir;
    json_t *data = json_object(), *o = json_pack("{s:O}", "data", data);
    oc_status st = o ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a definition");
    char *text = NULL;
    size_t len;
    OC_GO(st);
    if (run->variant->model) {
        OC_GO(expand(w, &text, run->variant->model, true, err));
        OC_GO(oc_define_data(data, text, dir, err));
    } else {
        const char *recipe = recipe_of(w, run->variant);
        OC_GO(oc_file_read(&text, &len, recipe, 1 << 20, err));
        json_object_set_new(o, "recipe", json_stringn(text, len));
        json_t *values = json_object();
        for (int i = 0; i < v->n; i++) {
            char *eq = strchr(v->item[i], '=');
            *eq = 0;
            json_object_set_new(values, v->item[i], oc_define_string(eq + 1, dir));
            *eq = '=';
        }
        json_object_set_new(o, "variables", values);
        OC_GO(oc_define_recipe_data(data, recipe, (const char *const *)v->item, v->n, dir, err));
    }
done:
    oc_free(text);
    json_decref(data);
    if (st != OC_OK) json_decref(o);
    *out = st == OC_OK ? o : NULL;
    return st;
}

static oc_status define_eval(const sweeping *w, const oc_sweep_eval *e, char **data, char **images, char hash[9],
                             oc_error *err) {
    json_t *files = json_object();
    json_t *o = json_pack("{s:s, s:s, s:s?, s:s?, s:i, s:i, s:i, s:b, s:b, s:O}", "task", task_word[e->task], "kind",
                          kind_word[e->kind], "prompt", e->prompt, "stage", e->stage, "limit", e->limit,
                          "max_new_tokens", e->max_new_tokens, "beams", e->beams, "shuffle_images", e->shuffle_images,
                          "constant", e->constant, "data", files);
    oc_status st = o ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a definition");
    *data = *images = NULL;
    OC_GO(st);
    OC_GO(expand(w, data, e->data, true, err));
    OC_GO(oc_define_data(files, *data, w->prepared_dir, err));
    if (e->images) OC_GO(expand(w, images, e->images, true, err));
    if (e->images) OC_GO(oc_define_data(files, *images, w->prepared_dir, err));
    OC_GO(oc_define_hash(hash, o, err));
done:
    json_decref(files);
    json_decref(o);
    if (st == OC_OK) return st;
    oc_free(*data);
    oc_free(*images);
    *data = *images = NULL;
    return st;
}

/* ---- 2. One child ------------------------------------------------------------------------------------------------ */

typedef struct arguments {
    const char *item[MAX_ARGS + 1];
    int n;
} arguments;

static void add(arguments *a, const char *word) {
    OC_ASSERT(a->n < MAX_ARGS);
    a->item[a->n++] = word;
}

static void add_option(arguments *a, const char *name, const char *value) {
    if (!value) return;
    add(a, name);
    add(a, value);
}

/* How far a child's line says that it is: "stage 2/4 tune  37% ..." or "answers  37% ..."; 0 when it does not. */
static double fraction(const char *line) {
    int stage = 1, stages = 1;
    const char *percent = strchr(line, '%');
    if (sscanf(line, "stage %d/%d", &stage, &stages) != 2 || stages < 1) stage = stages = 1;
    while (percent && percent > line && percent[-1] >= '0' && percent[-1] <= '9') percent--;
    const double part = percent ? OC_MIN(atof(percent), 100) / 100 : 0;
    return OC_MIN(1.0, (stage - 1 + part) / stages);
}

static void tick(void *ctx, const char *line) {
    sweeping *w = ctx;
    const bool run = w->current >= 0, training = run && strstr(w->doing, "train");
    const double part = run ? (training ? 0.9 * fraction(line) : 0.9) : 0;
    char extra[100];
    snprintf(extra, sizeof extra, "%.80s", line);
    for (char *c = extra; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?'; /* a cut character would not be UTF-8 */
    oc_progress_update(&w->bar, w->session_done + part, w->state.n - w->done_before, "%s: %s", w->doing, extra);
}

/* NULL-terminates a and runs it; the message of a failure is the child's own. */
static oc_status run_child(sweeping *w, arguments *a, const char *output, const char *log, oc_child_result *r,
                           oc_error *err) {
    a->item[a->n] = NULL;
    oc_child c = {.argv = a->item, .output = output, .log = log, .tick = tick, .ctx = w};
    return oc_child_run(&c, r, err);
}

static void add_threads(const sweeping *w, arguments *a, char text[16]) {
    snprintf(text, 16, "%d", w->state.threads);
    if (w->state.threads > 0) add_option(a, "--threads", text);
}

/* ---- 3. Preparations --------------------------------------------------------------------------------------------- */

static oc_status read_seconds(const char *path, double *sum, oc_error *err) {
    json_t *o;
    double seconds = 0;
    OC_TRY(oc_json_load(&o, path, 1 << 22, err));
    oc_status st = oc_json_get_double(o, "seconds", 0, 1e12, &seconds, path, err);
    json_decref(o);
    *sum += seconds;
    return st;
}

/* The words of preparation i, expanded, and its folder. *known false: it needs one that was not made. */
static oc_status define_preparation(sweeping *w, int i, arguments *a, char **words, char **folder, json_t **definition,
                                    bool *known, oc_error *err) {
    const oc_sweep_prepare *p = oc_sweep_prepare_at(&w->sweep, i);
    json_t *list = json_array(), *data = json_object();
    char **word = NULL, hash[9], seed[24] = "";
    int n = 0;
    oc_status st;
    *known = !is_missing(w, p->command);
    *folder = NULL;
    *definition = json_pack("{s:O, s:O}", "command", list, "data", data);
    OC_GO(oc_sweep_words(&word, &n, p->command, err));
    for (int k = 0; k < n; k++) {
        OC_GO(expand(w, &words[k], word[k], false, err));
        add(a, words[k]);
        const char *value = strchr(words[k], '=') ? strchr(words[k], '=') + 1 : words[k];
        json_array_append_new(list, oc_define_string(words[k], w->prepared_dir));
        if (k > 0 && (oc_file_exists(value) || oc_dir_exists(value)))
            OC_GO(oc_define_data(data, value, w->prepared_dir, err));
    }
    if (p->each_seed) snprintf(seed, sizeof seed, "-s%s", w->seed_text);
    if (p->each_seed) json_object_set_new(*definition, "seed", json_string(w->seed_text));
    OC_GO(oc_define_hash(hash, *definition, err));
    OC_GO(path_of(folder, "%s/%s%s-%s", err, w->prepared_dir, p->name, seed, hash));
done:
    json_decref(list);
    json_decref(data);
    oc_free(word);
    return st;
}

static oc_status make_preparation(sweeping *w, const oc_sweep_prepare *p, arguments *a, const char *folder,
                                  const char *done, json_t *definition, oc_error *err) {
    const bool resumes = !strcmp(a->item[1], "pretrain");
    char threads[16], *log = NULL;
    oc_child_result r;
    oc_status st;
    OC_GO(path_of(&log, "%s.log", err, folder));
    if (!resumes) OC_GO(oc_remove_tree(folder, err));
    add_option(a, "--out", folder);
    if (resumes) add(a, "--resume");
    if (resumes) add_threads(w, a, threads);
    snprintf(w->doing, sizeof w->doing, "preparing %.40s%s%.12s", p->name, p->each_seed ? ", seed " : "",
             p->each_seed ? w->seed_text : "");
    oc_log(OC_LOG_INFO, "%s", w->doing);
    OC_GO(run_child(w, a, NULL, log, &r, err));
    if (r.code != 0) st = oc_fail(err, OC_ERR_IO, "preparation \"%s\": %s (%s has all of it)", p->name, r.message, log);
    OC_GO(st);
    json_object_set_new(definition, "seconds", json_real(r.seconds));
    OC_GO(oc_json_save(definition, done, err));
done:
    oc_free(log);
    return st;
}

/* Makes preparation i unless it is there; its folder becomes known. */
static oc_status prepare(sweeping *w, int i, oc_error *err) {
    const oc_sweep_prepare *p = oc_sweep_prepare_at(&w->sweep, i);
    arguments a = {.item = {"ocellus"}, .n = 1};
    char *words[MAX_ARGS] = {0}, *folder = NULL, *done = NULL;
    json_t *definition = NULL;
    bool known;
    oc_status st;
    oc_free(w->prepared[i]);
    w->prepared[i] = NULL;
    w->place[3 + i].value = NULL;
    OC_GO(define_preparation(w, i, &a, words, &folder, &definition, &known, err));
    OC_GO(path_of(&done, "%s.json", err, folder));
    if (known && !oc_file_exists(done) && !opt.dry_run)
        OC_GO(make_preparation(w, p, &a, folder, done, definition, err));
    if (known && oc_file_exists(done)) {
        OC_GO(read_seconds(done, &w->state.seconds, err));
        w->place[3 + i].value = w->prepared[i] = folder;
        folder = NULL;
    } else if (opt.dry_run)
        printf("to be prepared  %s%s%s\n", p->name, p->each_seed ? ", seed " : "", p->each_seed ? w->seed_text : "");
done:
    for (int k = 0; k < MAX_ARGS; k++) oc_free(words[k]);
    json_decref(definition);
    oc_free(folder);
    oc_free(done);
    return st;
}

static oc_status prepare_all(sweeping *w, bool each_seed, oc_error *err) {
    for (int i = 0; i < w->sweep.prepare.n; i++)
        if (oc_sweep_prepare_at(&w->sweep, i)->each_seed == each_seed) OC_TRY(prepare(w, i, err));
    return OC_OK;
}

/* ---- 4. Runs ----------------------------------------------------------------------------------------------------- */

static void describe_run(const oc_sweep_run *run, char text[80]) {
    snprintf(text, 80, "%.40s, seed %d", run->variant->name, run->seed);
}

/* Earlier runs of this variant and seed that were defined otherwise. */
static oc_status report_change(const sweeping *w, const oc_sweep_run *run, const json_t *definition, oc_error *err) {
    char *pattern, what[80];
    glob_t g = {0};
    oc_error ignored;
    OC_TRY(path_of(&pattern, "%s/runs/%s-s%d-*/definition.json", err, w->state.out, run->variant->name, run->seed));
    describe_run(run, what);
    if (glob(pattern, 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++) {
            json_t *earlier;
            if (oc_json_load(&earlier, g.gl_pathv[i], 1 << 24, &ignored) != OC_OK) continue;
            oc_strbuf keys = {0};
            oc_define_difference(earlier, definition, &keys);
            oc_log(OC_LOG_INFO, "%s: not the run of %s any more (%.300s); a new one", what, g.gl_pathv[i],
                   keys.data ? keys.data : "");
            oc_strbuf_free(&keys);
            json_decref(earlier);
        }
    }
    globfree(&g);
    oc_free(pattern);
    return OC_OK;
}

static bool file_in(const char *folder, const char *name) {
    char *path = oc_path_join(folder, name);
    const bool there = path && oc_file_exists(path);
    oc_free(path);
    return there;
}

/* Where the run stands, from its folder. */
static oc_status look(const sweeping *w, oc_sweep_run *run, oc_error *err) {
    bool done = run->variant->model || file_in(run->folder, "train/model/config.json");
    run->state = file_in(run->folder, "definition.json") ? OC_RUN_UNFINISHED : OC_RUN_WAITING;
    for (int i = 0; i < w->sweep.evaluate.n; i++)
        if (run->eval[i]) done = done && file_in(run->eval[i], "scores.json");
    run->error[0] = 0;
    if (done && run->state == OC_RUN_UNFINISHED)
        run->state = OC_RUN_DONE;
    else if (file_in(run->folder, "failed.json")) {
        char *path = oc_path_join(run->folder, "failed.json");
        json_t *o = NULL;
        const char *text = "";
        if (path && oc_json_load(&o, path, 1 << 20, err) == OC_OK) oc_json_get_string(o, "error", &text, path, NULL);
        snprintf(run->error, sizeof run->error, "%s", text);
        run->state = OC_RUN_FAILED;
        json_decref(o);
        oc_free(path);
    }
    return OC_OK;
}

/* Folder and evaluations of a run, as soon as everything that they depend on is there; its definition is written when
 * `begin`. */
static oc_status locate(sweeping *w, oc_sweep_run *run, bool begin, oc_error *err) {
    variables v = {.n = 0};
    json_t *definition = NULL;
    char hash[9], *path = NULL;
    oc_status st = OC_OK;
    if (depends_on_missing(w, run)) return OC_OK;
    OC_GO(list_variables(w, run, &v, err));
    OC_GO(define_run(w, run, &v, &definition, err));
    OC_GO(oc_define_hash(hash, definition, err));
    oc_free(run->folder);
    OC_GO(path_of(&run->folder, "%s/runs/%s-s%d-%s", err, w->state.out, run->variant->name, run->seed, hash));
    for (int i = 0; i < w->sweep.evaluate.n; i++) {
        const oc_sweep_eval *e = oc_sweep_eval_at(&w->sweep, i);
        char *data, *images, eval_hash[9];
        if (e->constant) continue;
        OC_GO(define_eval(w, e, &data, &images, eval_hash, err));
        oc_free(data);
        oc_free(images);
        oc_free(run->eval[i]);
        OC_GO(path_of(&run->eval[i], "%s/eval-%s-%s", err, run->folder, e->name, eval_hash));
    }
    OC_GO(look(w, run, err));
    if (run->state != OC_RUN_WAITING) goto done;
    OC_GO(report_change(w, run, definition, err));
    if (!begin) goto done;
    OC_GO(oc_make_dirs(run->folder, err));
    OC_GO(path_of(&path, "%s/definition.json", err, run->folder));
    OC_GO(oc_json_save(definition, path, err));
done:
    oc_free(path);
    json_decref(definition);
    close_variables(&v);
    return st;
}

/* Keeps the reason in the run's folder, for the results of later calls. */
static oc_status fail_run(oc_sweep_run *run, const char *what, const oc_child_result *r, oc_error *err) {
    char *path;
    run->state = OC_RUN_FAILED;
    snprintf(run->error, sizeof run->error, "%.60s: %.300s", what, r->message);
    OC_TRY(path_of(&path, "%s/failed.json", err, run->folder));
    json_t *o = json_pack("{s:s, s:i, s:i}", "error", run->error, "code", r->code, "signal", r->signal);
    oc_status st = o ? oc_json_save(o, path, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    json_decref(o);
    oc_free(path);
    return st;
}

static oc_status train(sweeping *w, oc_sweep_run *run, const char *log, oc_error *err) {
    variables v;
    arguments a = {.item = {"ocellus", "train", recipe_of(w, run->variant)}, .n = 3};
    char *out = NULL, *summary = NULL, threads[16];
    oc_child_result r;
    oc_status st;
    OC_GO(list_variables(w, run, &v, err));
    if (v.n > MAX_ARGS / 2 - 10) st = oc_fail(err, OC_ERR_FORMAT, "%s: too many variables", w->sweep.path);
    OC_GO(st);
    for (int i = 0; i < v.n; i++) add_option(&a, "--set", v.item[i]);
    OC_GO(path_of(&out, "%s/train", err, run->folder));
    OC_GO(path_of(&summary, "%s/train.json", err, run->folder));
    add_option(&a, "--out", out);
    add(&a, "--resume");
    add(&a, "--json");
    add_threads(w, &a, threads);
    OC_GO(run_child(w, &a, summary, log, &r, err));
    if (r.code != 0) OC_GO(fail_run(run, "training", &r, err));
done:
    close_variables(&v);
    oc_free(out);
    oc_free(summary);
    return st;
}

/* The options of `ocellus eval` that e stands for; numbers are written into text. */
static void add_eval(arguments *a, const oc_sweep_eval *e, const char *data, const char *images, char text[3][16]) {
    const int number[3] = {e->limit, e->max_new_tokens, e->beams};
    static const char *const name[3] = {"--limit", "--max-new-tokens", "--beams"};
    add_option(a, "--data", data);
    add_option(a, "--images", images);
    add_option(a, "--task", task_word[e->task]);
    add_option(a, "--kind", kind_word[e->kind]);
    add_option(a, "--prompt", e->prompt);
    for (int k = 0; k < 3; k++) {
        snprintf(text[k], sizeof text[k], "%d", number[k]);
        if (k == 0 || !e->constant) add_option(a, name[k], text[k]);
    }
    if (e->shuffle_images) add(a, "--shuffle-images");
}

/* The model that e measures. */
static oc_status model_of(const sweeping *w, const oc_sweep_run *run, const oc_sweep_eval *e, char **model,
                          oc_error *err) {
    if (run->variant->model) return expand(w, model, run->variant->model, true, err);
    if (!e->stage) return path_of(model, "%s/train/model", err, run->folder);
    char *pattern;
    glob_t g = {0};
    OC_TRY(path_of(&pattern, "%s/train/stage-*-%s", err, run->folder, e->stage));
    oc_status st = glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc == 1
                       ? path_of(model, "%s", err, g.gl_pathv[0])
                       : oc_fail(err, OC_ERR_ARG, "the run has no stage \"%s\"", e->stage);
    globfree(&g);
    oc_free(pattern);
    return st;
}

static oc_status evaluate(sweeping *w, oc_sweep_run *run, int i, const char *log, oc_error *err) {
    const oc_sweep_eval *e = oc_sweep_eval_at(&w->sweep, i);
    char *data = NULL, *images = NULL, *model = NULL, hash[9], text[3][16], threads[16], what[60];
    arguments a = {.item = {"ocellus", "eval"}, .n = 2};
    oc_child_result r;
    oc_status st;
    OC_GO(define_eval(w, e, &data, &images, hash, err));
    snprintf(what, sizeof what, "evaluation %.40s", e->name);
    st = model_of(w, run, e, &model, err);
    if (st == OC_ERR_ARG) { /* a variant without that stage */
        memset(&r, 0, sizeof r);
        snprintf(r.message, sizeof r.message, "%.300s", err ? err->msg : "");
        OC_GO(fail_run(run, what, &r, err));
        goto done;
    }
    OC_GO(st);
    add(&a, model);
    add_eval(&a, e, data, images, text);
    add_option(&a, "--out", run->eval[i]);
    add(&a, "--json");
    add_threads(w, &a, threads);
    OC_GO(run_child(w, &a, NULL, log, &r, err));
    if (r.code != 0) OC_GO(fail_run(run, what, &r, err));
done:
    oc_free(data);
    oc_free(images);
    oc_free(model);
    return st;
}

/* The checkpoint of a run that is trained will not be needed again. */
static oc_status drop_checkpoint(const oc_sweep_run *run, oc_error *err) {
    char *path;
    OC_TRY(path_of(&path, "%s/train/checkpoint", err, run->folder));
    oc_status st = oc_remove_tree(path, err);
    oc_free(path);
    return st;
}

static oc_status do_run(sweeping *w, oc_sweep_run *run, oc_error *err) {
    char what[80], *log = NULL, *failed = NULL;
    oc_status st;
    describe_run(run, what);
    OC_GO(path_of(&log, "%s/log.txt", err, run->folder));
    OC_GO(path_of(&failed, "%s/failed.json", err, run->folder));
    OC_GO(oc_remove_tree(failed, err));
    oc_log(OC_LOG_INFO, "run %d of %d: %s%s", w->current + 1, w->state.n, what,
           run->state == OC_RUN_UNFINISHED ? ", going on"
           : run->state == OC_RUN_FAILED   ? ", once more"
                                           : "");
    run->state = OC_RUN_UNFINISHED;
    if (!run->variant->model && !file_in(run->folder, "train/model/config.json")) {
        snprintf(w->doing, sizeof w->doing, "run %d of %d: %.60s, training", w->current + 1, w->state.n, what);
        OC_GO(train(w, run, log, err));
        if (run->state == OC_RUN_UNFINISHED) OC_GO(drop_checkpoint(run, err));
    }
    for (int i = 0; i < w->sweep.evaluate.n && run->state == OC_RUN_UNFINISHED; i++) {
        if (!run->eval[i] || file_in(run->eval[i], "scores.json")) continue;
        snprintf(w->doing, sizeof w->doing, "run %d of %d: %.50s, %.20s", w->current + 1, w->state.n, what,
                 oc_sweep_eval_at(&w->sweep, i)->name);
        OC_GO(evaluate(w, run, i, log, err));
    }
    if (run->state == OC_RUN_UNFINISHED)
        run->state = OC_RUN_DONE;
    else
        oc_log(OC_LOG_WARN, "%s failed: %s", what, run->error);
done:
    oc_free(log);
    oc_free(failed);
    return st;
}

/* A control that needs no model. */
static oc_status measure_constant(sweeping *w, int i, oc_error *err) {
    const oc_sweep_eval *e = oc_sweep_eval_at(&w->sweep, i);
    arguments a = {.item = {"ocellus", "eval", "--constant", "--json"}, .n = 4};
    char *data = NULL, *images = NULL, *part = NULL, *dir = NULL, hash[9], text[3][16];
    oc_child_result r;
    oc_status st = OC_OK;
    if (is_missing(w, e->data) || is_missing(w, e->images)) return OC_OK;
    OC_GO(define_eval(w, e, &data, &images, hash, err));
    oc_free(w->state.constant[i]);
    OC_GO(path_of(&w->state.constant[i], "%s/constant/%s-%s.json", err, w->state.out, e->name, hash));
    if (opt.dry_run || oc_file_exists(w->state.constant[i])) goto done;
    OC_GO(path_of(&part, "%s.part", err, w->state.constant[i]));
    OC_GO(path_of(&dir, "%s/constant", err, w->state.out));
    OC_GO(oc_make_dirs(dir, err));
    add_eval(&a, e, data, images, text);
    snprintf(w->doing, sizeof w->doing, "%.40s", e->name);
    OC_GO(run_child(w, &a, part, NULL, &r, err));
    if (r.code != 0)
        st = oc_fail(err, OC_ERR_IO, "evaluation \"%s\": %s", e->name, r.message);
    else if (rename(part, w->state.constant[i]) < 0)
        st = oc_fail(err, OC_ERR_IO, "%s: cannot rename: %s", part, strerror(errno));
done:
    oc_free(data);
    oc_free(images);
    oc_free(part);
    oc_free(dir);
    return st;
}

/* ---- 5. All ------------------------------------------------------------------------------------------------------ */

/* Seconds that a finished or begun run took so far. */
static double run_seconds(const sweeping *w, const oc_sweep_run *run) {
    double *step, *loss, seconds = 0;
    size_t n;
    if (!run->folder) return 0;
    if (oc_sweep_curve(run->folder, NULL, &step, &loss, &n, &seconds, NULL) == OC_OK) {
        oc_free(step);
        oc_free(loss);
    }
    for (int i = 0; i < w->sweep.evaluate.n; i++) {
        char *path = run->eval[i] ? oc_path_join(run->eval[i], "scores.json") : NULL;
        json_t *o = NULL;
        if (path && oc_file_exists(path) && oc_json_load(&o, path, 1 << 24, NULL) == OC_OK)
            seconds += json_number_value(json_object_get(o, "picture_s")) +
                       json_number_value(json_object_get(o, "generate_s"));
        json_decref(o);
        oc_free(path);
    }
    return seconds;
}

/* Runs of one seed; what they need was prepared. */
static oc_status run_seed(sweeping *w, int first, int last, oc_error *err) {
    for (int i = first; i < last; i++) {
        oc_sweep_run *run = &w->state.run[i];
        w->current = i;
        const bool late = w->sweep.minutes > 0 && w->state.seconds > 60 * w->sweep.minutes;
        oc_error why;
        oc_status st = locate(w, run, !opt.dry_run && !late, &why);
        if (st != OC_OK) { /* its recipe or its data are wrong: the others may be right */
            run->state = OC_RUN_FAILED;
            snprintf(run->error, sizeof run->error, "%.380s", why.msg);
            oc_log(OC_LOG_WARN, "%s, seed %d: %s", run->variant->name, run->seed, why.msg);
            continue;
        }
        const double before = run_seconds(w, run);
        w->state.seconds += before;
        if (run->state == OC_RUN_DONE) w->done_before++;
        if (opt.dry_run || run->state == OC_RUN_DONE) continue;
        if (late) {
            oc_log(OC_LOG_WARN, "run %d of %d: not begun: the budget of %.0f minutes is spent", i + 1, w->state.n,
                   w->sweep.minutes);
            continue;
        }
        OC_TRY(do_run(w, run, err));
        w->session_done++;
        w->state.seconds += run_seconds(w, run) - before;
        OC_TRY(oc_sweep_write_results(&w->state, NULL, err));
    }
    return OC_OK;
}

/* What all runs of a seed need could not be made. */
static void fail_seed(sweeping *w, int first, int last, const char *why) {
    for (int i = first; i < last; i++) {
        w->state.run[i].state = OC_RUN_FAILED;
        snprintf(w->state.run[i].error, sizeof w->state.run[i].error, "%.380s", why);
    }
    oc_log(OC_LOG_WARN, "all runs of seed %d failed: %s", w->state.run[first].seed, why);
}

static oc_status run_all(sweeping *w, oc_error *err) {
    w->current = -1;
    OC_TRY(prepare_all(w, false, err));
    for (int i = 0; i < w->sweep.evaluate.n; i++)
        if (oc_sweep_eval_at(&w->sweep, i)->constant) OC_TRY(measure_constant(w, i, err));
    for (int first = 0; first < w->state.n;) {
        int last = first;
        while (last < w->state.n && w->state.run[last].seed == w->state.run[first].seed) last++;
        snprintf(w->seed_text, sizeof w->seed_text, "%d", w->state.run[first].seed);
        w->current = -1;
        oc_status st = prepare_all(w, true, err);
        if (st == OC_ERR_INTERRUPTED) return st;
        if (st == OC_OK)
            OC_TRY(run_seed(w, first, last, err));
        else
            fail_seed(w, first, last, err ? err->msg : "");
        first = last;
    }
    return OC_OK;
}

/* Runs by seed, so that after a part of them all variants can be compared. A model that no seed changes is one run. */
static oc_status list_runs(sweeping *w, oc_error *err) {
    const oc_sweep *s = &w->sweep;
    w->state.run = oc_calloc((size_t)s->seeds * (size_t)s->variants.n, sizeof *w->state.run);
    w->state.constant = oc_calloc((size_t)s->evaluate.n, sizeof *w->state.constant);
    if (!w->state.run || !w->state.constant) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", s->path);
    for (int k = 0; k < s->seeds; k++)
        for (int i = 0; i < s->variants.n; i++) {
            const oc_sweep_variant *v = oc_sweep_variant_at(s, i);
            if (v->model && k > 0 && !uses_seed(w, v->model)) continue;
            oc_sweep_run *run = &w->state.run[w->state.n++];
            *run = (oc_sweep_run){.variant = v, .seed = s->first_seed + k};
            run->eval = oc_calloc((size_t)s->evaluate.n, sizeof *run->eval);
            if (!run->eval) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", s->path);
        }
    return OC_OK;
}

static oc_status open_places(sweeping *w, oc_error *err) {
    const int n = w->sweep.prepare.n;
    w->place = oc_calloc((size_t)n + 3, sizeof *w->place);
    w->prepared = oc_calloc((size_t)n, sizeof *w->prepared);
    w->here = oc_path_dir(w->sweep.path);
    if (!w->place || !w->prepared || !w->here) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", w->sweep.path);
    w->place[0] = (oc_sweep_place){"seed", w->seed_text};
    w->place[1] = (oc_sweep_place){"recipe", w->sweep.recipe ? w->sweep.recipe : ""};
    w->place[2] = (oc_sweep_place){"here", w->here};
    for (int i = 0; i < n; i++) w->place[3 + i].name = oc_sweep_prepare_at(&w->sweep, i)->name;
    return OC_OK;
}

/* One sweep at a time works in a folder. Children hold the lock as well: one that outlives a killed sweep is still
 * writing its checkpoint. */
static oc_status lock_folder(const char *out, oc_error *err) {
    char *path;
    OC_TRY(path_of(&path, "%s/lock", err, out));
    const int fd = open(path, O_RDWR | O_CREAT, 0666); /* closed by the end of the process */
    oc_status st = fd < 0 ? oc_fail(err, OC_ERR_IO, "%s: cannot create: %s", path, strerror(errno)) : OC_OK;
    for (double start = oc_now(); st == OC_OK && flock(fd, LOCK_EX | LOCK_NB) < 0; usleep(200000)) {
        if (oc_interrupted())
            st = oc_fail(err, OC_ERR_INTERRUPTED, "stopped by a signal");
        else if (oc_now() - start > LOCK_WAIT_S)
            st = oc_fail(err, OC_ERR_IO, "%s: another sweep works in this folder; --out DIR goes elsewhere", out);
    }
    oc_free(path);
    return st;
}

static void print_states(const sweeping *w) {
    static const char *const name[] = {"to do", "begun", "failed", "done"};
    int count[4] = {0};
    for (int i = 0; i < w->state.n; i++) {
        const oc_sweep_run *run = &w->state.run[i];
        printf("%-6s  %s, seed %d%s%s%s%s\n", name[run->state], run->variant->name, run->seed, run->folder ? "  " : "",
               run->folder ? run->folder : "", *run->error ? ": " : "", run->error);
        count[run->state]++;
    }
    printf("%d runs: %d done, %d failed, %d begun, %d to do; %.1f minutes spent so far\n", w->state.n,
           count[OC_RUN_DONE], count[OC_RUN_FAILED], count[OC_RUN_UNFINISHED], count[OC_RUN_WAITING],
           w->state.seconds / 60);
}

static oc_status finish(sweeping *w, oc_error *err) {
    json_t *results;
    int failed = 0, done = 0;
    OC_TRY(oc_sweep_write_results(&w->state, &results, err));
    oc_status st = opt.docs ? oc_sweep_write_docs(&w->state, opt.docs, err) : OC_OK;
    if (st == OC_OK && opt.json) st = oc_print_json(json_incref(results), err);
    json_decref(results);
    OC_TRY(st);
    for (int i = 0; i < w->state.n; i++) {
        failed += w->state.run[i].state == OC_RUN_FAILED;
        done += w->state.run[i].state == OC_RUN_DONE;
    }
    if (!opt.json) printf("%s/results.md: %d of %d runs\n", w->state.out, done, w->state.n);
    if (failed)
        return oc_fail(err, OC_ERR_IO, "%d of %d runs failed; %s/results.md names them, and their folders have log.txt",
                       failed, w->state.n, w->state.out);
    return OC_OK;
}

static void close_all(sweeping *w) {
    for (int i = 0; w->state.run && i < w->state.n; i++) {
        oc_sweep_run *run = &w->state.run[i];
        for (int k = 0; run->eval && k < w->sweep.evaluate.n; k++) oc_free(run->eval[k]);
        oc_free(run->eval);
        oc_free(run->folder);
    }
    for (int k = 0; k < w->sweep.evaluate.n && w->state.constant; k++) oc_free(w->state.constant[k]);
    for (int k = 0; k < w->sweep.prepare.n && w->prepared; k++) oc_free(w->prepared[k]);
    oc_free(w->state.run);
    oc_free(w->state.constant);
    oc_free(w->prepared);
    oc_free(w->place);
    oc_free(w->here);
    oc_sweep_close(&w->sweep);
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    sweeping w = {.state.threads = opt.threads};
    char *default_out = NULL, *prepared = NULL;
    OC_TRY(oc_sweep_open(&w.sweep, args[0], opt.set.item, opt.set.n, err));
    oc_status st;
    OC_GO(path_of(&default_out, "runs/%s", err, w.sweep.name));
    w.state.sweep = &w.sweep;
    w.state.set = opt.set.item;
    w.state.n_set = opt.set.n;
    w.state.out = opt.out ? opt.out : default_out;
    OC_GO(path_of(&prepared, "%s/prepared", err, w.state.out));
    w.prepared_dir = opt.prepared ? opt.prepared : prepared;
    OC_GO(open_places(&w, err));
    OC_GO(list_runs(&w, err));
    if (!opt.dry_run) {
        OC_GO(oc_make_dirs(w.state.out, err));
        OC_GO(oc_make_dirs(w.prepared_dir, err));
        OC_GO(lock_folder(w.state.out, err));
        OC_GO(lock_folder(w.prepared_dir, err));
        oc_progress_open(&w.bar, w.sweep.name, w.state.n, false);
        w.bar_open = true;
        w.bar.plain_every_s = 60;
    }
    st = run_all(&w, err);
    if (w.bar_open) oc_progress_close(&w.bar);
    if (st == OC_OK && opt.dry_run)
        print_states(&w);
    else if (st == OC_OK)
        st = finish(&w, err);
    else if (st == OC_ERR_INTERRUPTED) {
        oc_error ignored; /* the page is of what there is; what matters is that the user learns how it ended */
        if (opt.docs) oc_sweep_write_docs(&w.state, opt.docs, &ignored);
        st = oc_fail(err, st, "stopped by a signal; the same command goes on from there");
    }
done:
    close_all(&w);
    oc_free(default_out);
    oc_free(prepared);
    return (int)st;
}

const oc_command oc_command_sweep = {
    .name = "sweep",
    .summary = "Run a table of experiments: variants of a recipe times seeds, with scores, spread and plots",
    .positional = "SWEEP.yaml",
    .min_args = 1,
    .max_args = 1,
    .details =
        "Trains and measures every variant with every seed, each in a process of its own, and writes OUT/results.md,\n"
        "results.json and SVG plots anew after each. Ctrl-C stops it, a kill does no harm: the same command goes on from\n"
        "the last checkpoint and repeats nothing that is finished. A run is known by a hash of what defines it (recipe,\n"
        "variables, seed, data); when that changes it is a new run. A run that fails is named, and the others go on; the\n"
        "exit status is then 1, and the same command tries it again. docs/sweeps.md describes the file; experiments/ has\n"
        "examples.\n\n"
        "  ocellus sweep experiments/masks-scenes.yaml --threads 2\n"
        "  ocellus sweep experiments/masks-scenes.yaml --set seeds=1 --set steps=100 --out runs/try\n"
        "  ocellus sweep experiments/masks-scenes.yaml --dry-run",
    .options = options,
    .run = run,
};
