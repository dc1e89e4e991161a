#include "train/sweep.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "train/settings_rows.h"

enum { MAX_COMMAND_WORDS = 256, MAX_RUNS = 100000 };

/* --- The tables: key, type, place, range or words, default, meaning ----------------------------------------------- */

static const oc_setting prepare_table[] = {
    NEED_TEXT(oc_sweep_prepare, "name", name, "letters, digits, - and _; <name> elsewhere is its folder"),
    NEED_TEXT(oc_sweep_prepare, "command", command,
              "a command of ocellus without --out: data synth, tokenizer train, pretrain vision, pretrain text, init"),
    BOOL(oc_sweep_prepare, "each_seed", each_seed, "false", "once for every seed instead of once; <seed> is the seed"),
    {0}};

static const oc_setting variant_table[] = {
    NEED_TEXT(oc_sweep_variant, "name", name, "letters, digits, - and _; names the folders of its runs"),
    TEXT(oc_sweep_variant, "label", label, NULL, "as tables and plots call it; default: the name"),
    PATH(oc_sweep_variant, "recipe", recipe, "instead of the sweep's recipe"),
    PATH(oc_sweep_variant, "model", model, "a model folder that is measured as it is; nothing is trained"),
    PAIRS(oc_sweep_variant, "set", set, "values of the recipe's variables, before those of the sweep"),
    {0}};

static const oc_setting eval_table[] = {
    NEED_TEXT(oc_sweep_eval, "name", name, "letters, digits, - and _"),
    NEED_PATH(oc_sweep_eval, "data", data, "annotations: pictures with their references"),
    PATH(oc_sweep_eval, "images", images, "folder, tar file or pattern of tar files; default: the folder of data"),
    WORD(oc_sweep_eval, "task", task, "caption|vqa", "caption", "what is measured"),
    WORD(oc_sweep_eval, "kind", kind, "llava|coco|karpathy|vqa", "coco", "format of the annotations"),
    TEXT(oc_sweep_eval, "stage", stage, NULL,
         "measure the model after this stage of the recipe; default: after the last"),
    TEXT(oc_sweep_eval, "prompt", prompt, NULL, "question for captions"),
    INT(oc_sweep_eval, "limit", limit, "0..1000000000", "0", "samples used; 0: all"),
    INT(oc_sweep_eval, "max_new_tokens", max_new_tokens, "1..4096", "64", "longest answer"),
    INT(oc_sweep_eval, "beams", beams, "1..64", "1", "beam search with so many hypotheses; 1: none"),
    BOOL(oc_sweep_eval, "shuffle_images", shuffle_images, "false", "control: another picture than the one asked about"),
    BOOL(oc_sweep_eval, "constant", constant, "false",
         "control: the best answer that is the same for all pictures; measured once, without a model"),
    {0}};

static const oc_setting measure_table[] = {
    NEED_TEXT(oc_sweep_measure, "name", name, "heading of the column"),
    WORD(oc_sweep_measure, "kind", kind, "score|loss|reach|seconds", "score",
         "score: of an evaluation; of a stage: loss at its end, steps until it reaches a value, seconds"),
    TEXT(oc_sweep_measure, "of", of, NULL, "an evaluation, or a stage of the recipe (seconds: all stages without it)"),
    TEXT(oc_sweep_measure, "score", score, NULL, "place in scores.json, e.g. scores.overall.accuracy"),
    TEXT(oc_sweep_measure, "baseline", baseline, NULL, "a constant evaluation that is shown beside it"),
    TEXT(oc_sweep_measure, "baseline_score", baseline_score, NULL, "place in its result, e.g. per_type.accuracy"),
    NUM(oc_sweep_measure, "value", value, "0..1e9", "0", "reach: the loss"),
    NUM(oc_sweep_measure, "scale", scale, "1e-9..1e9", "1", "what numbers are multiplied by"),
    INT(oc_sweep_measure, "digits", digits, "0..6", "1", "after the point"),
    BOOL(oc_sweep_measure, "lower", lower, "false", "lower is better"),
    {0}};

static const oc_setting plot_table[] = {
    NEED_TEXT(oc_sweep_plot, "name", name, "letters, digits, - and _; names the SVG file"),
    WORD(oc_sweep_plot, "kind", kind, "loss|points|against", "points",
         "loss: of a stage by steps; points: a measure of every variant; against: one measure over another"),
    TEXT(oc_sweep_plot, "title", title, NULL, "above the picture"),
    NEED_TEXT(oc_sweep_plot, "of", of, "the stage, or the measure"),
    TEXT(oc_sweep_plot, "against", against, NULL, "against: the measure on the x axis"),
    BOOL(oc_sweep_plot, "connect", connect, "false", "points: draw a line through the means"),
    {0}};

static const oc_setting sweep_table[] = {
    {.key = "vars", .kind = SET_VARS, .help = "values of `${name}`; `--set name=value` goes before them"},
    NEED_TEXT(oc_sweep, "name", name, "letters, digits, - and _"),
    TEXT(oc_sweep, "title", title, NULL, "of the results; default: the name"),
    TEXT(oc_sweep, "question", question, NULL, "what is to be found out, for the results"),
    TEXT(oc_sweep, "notes", notes, NULL, "what a reader of the results must know"),
    PATH(oc_sweep, "recipe", recipe, "what every run is trained by; it gets --set seed=N"),
    INT(oc_sweep, "seeds", seeds, "1..1000", "3", "runs of each variant"),
    INT(oc_sweep, "first_seed", first_seed, "0..1000000000", "1", "the others follow it"),
    NUM(oc_sweep, "minutes", minutes, "0..1000000", "0", "no run is begun after so much time in all; 0: no limit"),
    PAIRS(oc_sweep, "set", set, "values of the recipe's variables"),
    LIST(oc_sweep, "prepare", prepare, prepare_table, oc_sweep_prepare, "made before the runs, in this order"),
    LIST(oc_sweep, "variants", variants, variant_table, oc_sweep_variant, "rows of the table"),
    LIST(oc_sweep, "evaluate", evaluate, eval_table, oc_sweep_eval, "what every run is measured by"),
    LIST(oc_sweep, "measures", measures, measure_table, oc_sweep_measure, "columns of the table"),
    LIST(oc_sweep, "plots", plots, plot_table, oc_sweep_plot, "SVG files"),
    {0}};

/* --- What must go together ---------------------------------------------------------------------------------------- */

static oc_status fail_rule(const oc_sweep *s, int line, const char *where, int index, const char *rule, oc_error *err) {
    if (index < 0) return oc_fail(err, OC_ERR_FORMAT, "%s:%d: %s: %s", s->path, line ? line : 1, where, rule);
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: %s[%d]: %s", s->path, line ? line : 1, where, index, rule);
}

static bool is_file_name(const char *s) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return *s && s[strspn(s, allowed)] == 0 && strlen(s) <= 40;
}

/* The list's elements begin with { int line; const char *name }: every name is good for a file and stands once. */
static oc_status check_names(const oc_sweep *s, const oc_list *list, size_t size, const char *where, oc_error *err) {
    typedef struct named {
        int line;
        const char *name;
    } named;
    for (int i = 0; i < list->n; i++) {
        const named *a = (const named *)(const void *)((const char *)list->item + (size_t)i * size);
        if (!is_file_name(a->name))
            return fail_rule(s, a->line, where, i, "name: 1 to 40 letters, digits, - and _ were expected", err);
        for (int j = 0; j < i; j++)
            if (!strcmp(a->name, ((const named *)(const void *)((const char *)list->item + (size_t)j * size))->name))
                return fail_rule(s, a->line, where, i, "the name of an earlier one", err);
    }
    return OC_OK;
}

static oc_status check_prepare(const oc_sweep *s, int i, oc_error *err) {
    static const char *const allowed[] = {"data synth", "tokenizer train", "pretrain vision", "pretrain text", "init"};
    static const char *const taken[] = {"seed", "recipe", "here"};
    const oc_sweep_prepare *p = oc_sweep_prepare_at(s, i);
    char **word;
    int n;
    for (size_t k = 0; k < OC_COUNT(taken); k++)
        if (!strcmp(p->name, taken[k]))
            return fail_rule(s, p->line, "prepare", i, "name: <seed>, <recipe> and <here> have their meaning already",
                             err);
    oc_error why;
    oc_status st = oc_sweep_words(&word, &n, p->command, &why);
    if (st != OC_OK) return fail_rule(s, p->line, "prepare", i, why.msg, err), st;
    bool known = false, out = false;
    for (size_t k = 0; k < OC_COUNT(allowed); k++) {
        char first[64] = "";
        if (n > 0)
            snprintf(first, sizeof first, "%s%s%s", word[0], n > 1 && strchr(allowed[k], ' ') ? " " : "",
                     n > 1 && strchr(allowed[k], ' ') ? word[1] : "");
        known = known || !strcmp(first, allowed[k]);
    }
    for (int k = 0; k < n; k++) out = out || !strcmp(word[k], "--out") || !strncmp(word[k], "--out=", 6);
    oc_free(word);
    if (!known)
        return fail_rule(s, p->line, "prepare", i,
                         "command: data synth, tokenizer train, pretrain vision, pretrain text or init were expected",
                         err);
    if (out) return fail_rule(s, p->line, "prepare", i, "command: --out is added; leave it away", err);
    return OC_OK;
}

/* --set seed=N is given by the sweep. */
static bool sets_seed(const oc_list *set) {
    for (int i = 0; i < set->n; i++)
        if (!strncmp(((const char *const *)set->item)[i], "seed=", 5)) return true;
    return false;
}

static oc_status check_variant(const oc_sweep *s, int i, oc_error *err) {
    oc_sweep_variant *v = (oc_sweep_variant *)s->variants.item + i;
    if (!v->label && !(v->label = oc_strdup(v->name))) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", s->path);
    if (sets_seed(&v->set))
        return fail_rule(s, v->line, "variants", i, "set: seed is given by seeds and first_seed", err);
    if (v->model && (v->recipe || v->set.n))
        return fail_rule(s, v->line, "variants", i, "model is measured as it is: recipe and set don't go with it", err);
    if (!v->model && !v->recipe && !s->recipe)
        return fail_rule(s, v->line, "variants", i, "no recipe: give one here or for the whole sweep", err);
    return OC_OK;
}

static oc_status check_measure(const oc_sweep *s, int i, oc_error *err) {
    const oc_sweep_measure *m = oc_sweep_measure_at(s, i);
    for (int j = 0; j < i; j++)
        if (!strcmp(m->name, oc_sweep_measure_at(s, j)->name))
            return fail_rule(s, m->line, "measures", i, "the name of an earlier one", err);
    if (m->kind == OC_SWEEP_SCORE) {
        const int e = m->of ? oc_sweep_find_eval(s, m->of) : -1;
        if (e < 0 || oc_sweep_eval_at(s, e)->constant)
            return fail_rule(s, m->line, "measures", i, "of: an evaluation that is not constant was expected", err);
        if (!m->score) return fail_rule(s, m->line, "measures", i, "score: a place in scores.json was expected", err);
    } else if (m->score)
        return fail_rule(s, m->line, "measures", i, "score is for kind: score", err);
    if ((m->kind == OC_SWEEP_LOSS || m->kind == OC_SWEEP_REACH) && !m->of)
        return fail_rule(s, m->line, "measures", i, "of: a stage of the recipe was expected", err);
    if (m->kind == OC_SWEEP_REACH && m->value <= 0)
        return fail_rule(s, m->line, "measures", i, "value: the loss to be reached was expected", err);
    if (!m->baseline != !m->baseline_score)
        return fail_rule(s, m->line, "measures", i, "baseline and baseline_score go together", err);
    if (!m->baseline) return OC_OK;
    const int e = oc_sweep_find_eval(s, m->baseline);
    if (e < 0 || !oc_sweep_eval_at(s, e)->constant)
        return fail_rule(s, m->line, "measures", i, "baseline: an evaluation with constant: true was expected", err);
    return OC_OK;
}

static oc_status check_plot(const oc_sweep *s, int i, oc_error *err) {
    const oc_sweep_plot *p = oc_sweep_plot_at(s, i);
    if (p->kind != OC_SWEEP_PLOT_LOSS && oc_sweep_find_measure(s, p->of) < 0)
        return fail_rule(s, p->line, "plots", i, "of: the name of a measure was expected", err);
    if ((p->kind == OC_SWEEP_PLOT_AGAINST) != (p->against != NULL))
        return fail_rule(s, p->line, "plots", i, "against is for kind: against, which needs it", err);
    if (p->against && oc_sweep_find_measure(s, p->against) < 0)
        return fail_rule(s, p->line, "plots", i, "against: the name of a measure was expected", err);
    return OC_OK;
}

static oc_status check_sweep(oc_sweep *s, oc_error *err) {
    if (!is_file_name(s->name))
        return fail_rule(s, 1, "name", -1, "1 to 40 letters, digits, - and _ were expected", err);
    if (!s->title && !(s->title = oc_strdup(s->name))) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", s->path);
    if (s->variants.n == 0) return fail_rule(s, 1, "variants", -1, "at least one was expected", err);
    if (sets_seed(&s->set)) return fail_rule(s, 1, "set", -1, "seed is given by seeds and first_seed", err);
    if ((int64_t)s->variants.n * s->seeds > MAX_RUNS)
        return fail_rule(s, 1, "variants", -1, "more than 100000 runs", err);
    OC_TRY(check_names(s, &s->prepare, sizeof(oc_sweep_prepare), "prepare", err));
    OC_TRY(check_names(s, &s->variants, sizeof(oc_sweep_variant), "variants", err));
    OC_TRY(check_names(s, &s->evaluate, sizeof(oc_sweep_eval), "evaluate", err));
    OC_TRY(check_names(s, &s->plots, sizeof(oc_sweep_plot), "plots", err));
    for (int i = 0; i < s->prepare.n; i++) OC_TRY(check_prepare(s, i, err));
    for (int i = 0; i < s->variants.n; i++) OC_TRY(check_variant(s, i, err));
    for (int i = 0; i < s->measures.n; i++) OC_TRY(check_measure(s, i, err));
    for (int i = 0; i < s->plots.n; i++) OC_TRY(check_plot(s, i, err));
    return OC_OK;
}

int oc_sweep_find_eval(const oc_sweep *s, const char *name) {
    for (int i = 0; i < s->evaluate.n; i++)
        if (!strcmp(oc_sweep_eval_at(s, i)->name, name)) return i;
    return -1;
}

int oc_sweep_find_measure(const oc_sweep *s, const char *name) {
    for (int i = 0; i < s->measures.n; i++)
        if (!strcmp(oc_sweep_measure_at(s, i)->name, name)) return i;
    return -1;
}

/* --- Places and words --------------------------------------------------------------------------------------------- */

/* The place whose <name> begins at text, and the length of that. */
static const oc_sweep_place *place_at(const char *text, const oc_sweep_place *place, int n, size_t *len) {
    for (int i = 0; i < n; i++) {
        const size_t k = strlen(place[i].name);
        if (!strncmp(text + 1, place[i].name, k) && text[k + 1] == '>') return *len = k + 2, &place[i];
    }
    return NULL;
}

oc_status oc_sweep_expand(char **out, const char *text, bool path, const oc_sweep_place *place, int n, oc_error *err) {
    oc_strbuf b = {.max = 1 << 16};
    oc_strbuf_puts(&b, "");
    for (const char *p = text; *p;) {
        size_t len;
        const oc_sweep_place *at = *p == '<' ? place_at(p, place, n, &len) : NULL;
        if (!at) {
            oc_strbuf_putc(&b, *p++);
            continue;
        }
        if (path && b.len && p > text && p[-1] == '/') oc_strbuf_clear(&b);
        oc_strbuf_puts(&b, at->value);
        p += len;
    }
    *out = b.failed ? NULL : oc_strdup(b.data);
    oc_strbuf_free(&b);
    return *out ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory (or more than 64 KiB) for \"%.100s\"", text);
}

oc_status oc_sweep_words(char ***word, int *n, const char *command, oc_error *err) {
    const size_t len = strlen(command);
    char **w = oc_alloc(MAX_COMMAND_WORDS * sizeof *w + len + 1);
    *word = NULL;
    *n = 0;
    if (!w) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a command");
    char *to = (char *)(w + MAX_COMMAND_WORDS);
    bool inside = false, quoted = false;
    int count = 0;
    for (const char *p = command; *p; p++) {
        const bool blank = strchr(" \t\r\n", *p) != NULL && !quoted;
        if (!blank && !inside) {
            if (count == MAX_COMMAND_WORDS) {
                oc_free(w);
                return oc_fail(err, OC_ERR_FORMAT, "command: more than %d words", MAX_COMMAND_WORDS);
            }
            w[count++] = to;
            inside = true;
        }
        if (blank && inside) *to++ = 0;
        inside = !blank;
        if (*p == '"')
            quoted = !quoted;
        else if (!blank)
            *to++ = *p;
    }
    *to = 0;
    if (quoted) {
        oc_free(w);
        return oc_fail(err, OC_ERR_FORMAT, "command: a double quote is not closed");
    }
    *word = w;
    *n = count;
    return OC_OK;
}

/* --- Open and close ----------------------------------------------------------------------------------------------- */

oc_status oc_sweep_parse(oc_sweep *s, const char *text, size_t len, const char *path, const char *const *vars,
                         int n_vars, oc_error *err) {
    oc_status st = oc_settings_read(sweep_table, s, sizeof *s, text, len, path, vars, n_vars, err);
    if (st != OC_OK) return st;
    s->path = oc_strdup(path);
    st = s->path ? check_sweep(s, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    if (st != OC_OK) oc_sweep_close(s);
    return st;
}

oc_status oc_sweep_open(oc_sweep *s, const char *path, const char *const *vars, int n_vars, oc_error *err) {
    char *text;
    size_t len;
    memset(s, 0, sizeof *s);
    OC_TRY(oc_file_read(&text, &len, path, OC_SETTINGS_MAX_BYTES, err));
    oc_status st = oc_sweep_parse(s, text, len, path, vars, n_vars, err);
    oc_free(text);
    return st;
}

void oc_sweep_close(oc_sweep *s) {
    oc_settings_free(sweep_table, s);
    oc_free(s->path);
    memset(s, 0, sizeof *s);
}

void oc_sweep_describe(oc_strbuf *out) { oc_settings_describe(sweep_table, out); }
