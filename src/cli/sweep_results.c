/* Numbers of finished runs, and the table made from them. 1. logs  2. measures  3. statistics  4. JSON  5. Markdown */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/sweep.h"

#define MAX_LOG_BYTES  ((size_t)1 << 30)
#define MAX_JSON_BYTES ((size_t)1 << 28)

/* ---- 1. Logs ----------------------------------------------------------------------------------------------------- */

typedef struct curve {
    double *step, *loss;
    size_t n, capacity;
    double begin, end, before; /* seconds: where the stage began and ended, and the last of another stage */
} curve;

static bool append(curve *c, double step, double loss) {
    while (c->n && c->step[c->n - 1] >= step) c->n--; /* a step that comes again supersedes what was logged first */
    if (c->n == c->capacity) {
        const size_t more = c->capacity ? 2 * c->capacity : 256;
        double *x = oc_realloc(c->step, c->capacity * sizeof *x, more * sizeof *x);
        if (x) c->step = x;
        double *y = oc_realloc(c->loss, c->capacity * sizeof *y, more * sizeof *y);
        if (y) c->loss = y;
        if (!x || !y) return false;
        c->capacity = more;
    }
    c->step[c->n] = step;
    c->loss[c->n++] = loss;
    return true;
}

/* stage NULL: all of them, for the time alone. */
static bool add_line(curve *c, const json_t *line, const char *stage) {
    const json_t *loss = json_object_get(line, "loss");
    const char *name = json_string_value(json_object_get(line, "stage"));
    const double seconds = json_number_value(json_object_get(line, "seconds"));
    if (!loss || !name) return true; /* an evaluation's line */
    if (stage && strcmp(name, stage) != 0) {
        if (!c->n) c->before = seconds;
        return true;
    }
    if (!c->n) c->begin = stage ? c->before : 0;
    c->end = seconds;
    const double step = json_number_value(json_object_get(line, "step"));
    return append(c, stage ? step : (double)c->n + 1, json_is_number(loss) ? json_number_value(loss) : NAN);
}

static oc_status read_log(curve *c, const char *path, const char *stage, oc_error *err) {
    char *text;
    size_t len;
    OC_TRY(oc_file_read(&text, &len, path, MAX_LOG_BYTES, err));
    while (len && text[len - 1] != '\n') len--; /* half a line, of a run that was killed */
    oc_json_reader r;
    oc_status st = OC_OK;
    oc_json_reader_init(&r, text, len, path);
    for (json_t *line = NULL; len && st == OC_OK;) {
        st = oc_json_reader_next(&r, &line, err);
        if (st != OC_OK || !line) break;
        if (!add_line(c, line, stage)) st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
        json_decref(line);
    }
    oc_free(text);
    return st;
}

oc_status oc_sweep_curve(const char *run_folder, const char *stage, double **step, double **loss, size_t *n,
                         double *seconds, oc_error *err) {
    curve c = {0};
    char *path = oc_path_join(run_folder, "train/log.jsonl");
    oc_status st = path ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", run_folder);
    if (st == OC_OK && oc_file_exists(path)) st = read_log(&c, path, stage, err);
    oc_free(path);
    if (st != OC_OK) {
        oc_free(c.step);
        oc_free(c.loss);
        c = (curve){0};
    }
    *step = c.step;
    *loss = c.loss;
    *n = c.n;
    *seconds = c.end - c.begin;
    return st;
}

/* ---- 2. Measures ------------------------------------------------------------------------------------------------- */

/* The number at "a.b.c" of a file, NaN when it is not there. */
static oc_status number_in(double *value, const char *path, const char *place, oc_error *err) {
    json_t *file;
    *value = NAN;
    if (!path || !oc_file_exists(path)) return OC_OK;
    OC_TRY(oc_json_load(&file, path, MAX_JSON_BYTES, err));
    const json_t *at = file;
    for (const char *p = place; at && *p;) {
        char key[128];
        const size_t n = strcspn(p, ".");
        snprintf(key, sizeof key, "%.*s", (int)OC_MIN(n, sizeof key - 1), p);
        at = json_object_get(at, key);
        p += n + (p[n] == '.');
    }
    if (json_is_number(at)) *value = json_number_value(at);
    json_decref(file);
    return OC_OK;
}

/* Mean over the last tenth of the steps. */
static double final_loss(const double *step, const double *loss, size_t n) {
    double sum = 0;
    size_t used = 0;
    for (size_t i = n; i > 0 && (!used || step[i - 1] > 0.9 * step[n - 1]); i--, used++) sum += loss[i - 1];
    return used ? sum / (double)used : NAN;
}

/* The first step at which the mean of five neighbouring lines of the log is not above the value. */
static double step_of(const double *step, const double *loss, size_t n, double value) {
    enum { WINDOW = 5 };
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += loss[i] - (i >= WINDOW ? loss[i - WINDOW] : 0);
        if (i + 1 >= WINDOW && sum / WINDOW <= value) return step[i];
    }
    return NAN;
}

static oc_status value_of_log(double *value, const oc_sweep_run *run, const oc_sweep_measure *m, oc_error *err) {
    double *step, *loss, seconds;
    size_t n;
    OC_TRY(oc_sweep_curve(run->folder, m->of, &step, &loss, &n, &seconds, err));
    if (n && m->kind == OC_SWEEP_LOSS) *value = final_loss(step, loss, n);
    if (n && m->kind == OC_SWEEP_REACH) *value = step_of(step, loss, n, m->value);
    if (n && m->kind == OC_SWEEP_SECONDS) *value = seconds;
    oc_free(step);
    oc_free(loss);
    return OC_OK;
}

oc_status oc_sweep_value(double *value, const oc_sweep_state *s, const oc_sweep_run *run, const oc_sweep_measure *m,
                         oc_error *err) {
    oc_status st = OC_OK;
    *value = NAN;
    if (!run->folder) return OC_OK;
    if (m->kind == OC_SWEEP_SCORE) {
        const char *folder = run->eval[oc_sweep_find_eval(s->sweep, m->of)];
        char *path = folder ? oc_path_join(folder, "scores.json") : NULL;
        st = number_in(value, path, m->score, err);
        oc_free(path);
    } else if (!run->variant->model)
        st = value_of_log(value, run, m, err);
    *value *= m->scale;
    return st;
}

oc_status oc_sweep_baseline(double *value, const oc_sweep_state *s, const oc_sweep_measure *m, oc_error *err) {
    *value = NAN;
    if (!m->baseline) return OC_OK;
    oc_status st = number_in(value, s->constant[oc_sweep_find_eval(s->sweep, m->baseline)], m->baseline_score, err);
    *value *= m->scale;
    return st;
}

/* ---- 3. Statistics ----------------------------------------------------------------------------------------------- */

oc_spread oc_spread_of(const double *value, int n) {
    oc_spread s = {.min = INFINITY, .max = -INFINITY};
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        if (isnan(value[i])) continue;
        s.n++;
        sum += value[i];
        s.min = fmin(s.min, value[i]);
        s.max = fmax(s.max, value[i]);
    }
    s.mean = s.n ? sum / s.n : NAN;
    for (int i = 0; i < n; i++)
        if (!isnan(value[i])) squares += (value[i] - s.mean) * (value[i] - s.mean);
    s.sd = s.n > 1 ? sqrt(squares / (s.n - 1)) : NAN;
    return s;
}

double oc_spread_interval(const oc_spread *s) {
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}; /* 0.975 */
    if (s->n < 2) return NAN;
    const int df = s->n - 1;
    const double quantile = df <= (int)OC_COUNT(t) ? t[df - 1] : df < 30 ? 2.1 : 2.0;
    return quantile * s->sd / sqrt(s->n);
}

/* Values of a measure, [n runs]; NaN for those that have none. */
static oc_status all_values(double *value, const oc_sweep_state *s, const oc_sweep_measure *m, oc_error *err) {
    for (int i = 0; i < s->n; i++) OC_TRY(oc_sweep_value(&value[i], s, &s->run[i], m, err));
    return OC_OK;
}

static oc_spread spread_of_variant(const oc_sweep_state *s, const double *value, const oc_sweep_variant *v) {
    double own[1000];
    int n = 0;
    for (int i = 0; i < s->n; i++)
        if (s->run[i].variant == v) own[n++] = value[i];
    return oc_spread_of(own, n);
}

/* Differences to the first variant with the same seed; where that is a model that no seed changes, to its one run. */
static oc_spread differences(const oc_sweep_state *s, const double *value, const oc_sweep_variant *v) {
    const oc_sweep_variant *first = oc_sweep_variant_at(s->sweep, 0);
    double own[1000];
    int n = 0, of_first = 0;
    for (int i = 0; i < s->n; i++) of_first += s->run[i].variant == first;
    const bool single = first->model && of_first == 1;
    for (int i = 0; i < s->n; i++)
        for (int j = 0; j < s->n && s->run[i].variant == v; j++)
            if (s->run[j].variant == first && (single || s->run[j].seed == s->run[i].seed))
                own[n++] = value[i] - value[j];
    return oc_spread_of(own, n);
}

/* ---- 4. JSON ----------------------------------------------------------------------------------------------------- */

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *spread_json(const oc_spread *s) {
    return json_pack("{s:i, s:o, s:o, s:o, s:o}", "n", s->n, "mean", number(s->mean), "sd", number(s->sd), "min",
                     number(s->n ? s->min : NAN), "max", number(s->n ? s->max : NAN));
}

static json_t *run_json(const oc_sweep_state *s, const oc_sweep_run *run, double *const *value, int index) {
    static const char *const state[] = {"to do", "begun", "failed", "done"};
    json_t *measures = json_object();
    for (int k = 0; k < s->sweep->measures.n; k++)
        json_object_set_new(measures, oc_sweep_measure_at(s->sweep, k)->name, number(value[k][index]));
    json_t *o = json_pack("{s:s, s:i, s:s, s:s?, s:o}", "variant", run->variant->name, "seed", run->seed, "state",
                          state[run->state], "folder", run->folder, "measures", measures);
    if (run->state == OC_RUN_FAILED) json_object_set_new(o, "error", json_string(run->error));
    return o;
}

static json_t *variant_json(const oc_sweep_state *s, const oc_sweep_variant *v, double *const *value) {
    json_t *measures = json_object();
    for (int k = 0; k < s->sweep->measures.n; k++) {
        const oc_spread all = spread_of_variant(s, value[k], v), other = differences(s, value[k], v);
        json_t *o = spread_json(&all);
        if (v != oc_sweep_variant_at(s->sweep, 0)) {
            json_t *d = spread_json(&other);
            json_object_set_new(d, "interval95", number(oc_spread_interval(&other)));
            json_object_set_new(o, "difference", d);
        }
        json_object_set_new(measures, oc_sweep_measure_at(s->sweep, k)->name, o);
    }
    return json_pack("{s:s, s:s, s:o}", "variant", v->name, "label", v->label, "measures", measures);
}

/* The processor's name. */
static void machine(char *out, size_t size) {
    char *text, *line = NULL;
    size_t len;
    snprintf(out, size, "unknown processor");
    if (oc_file_read(&text, &len, "/proc/cpuinfo", 1 << 24, NULL) != OC_OK) return;
    line = strstr(text, "model name");
    char *colon = line ? strchr(line, ':') : NULL;
    if (colon) snprintf(out, size, "%.*s", (int)OC_MIN(strcspn(colon + 2, "\n"), size - 1), colon + 2);
    oc_free(text);
}

static json_t *results_json(const oc_sweep_state *s, double *const *value, oc_error *err) {
    char cpu[128];
    json_t *runs = json_array(), *variants = json_array(), *baselines = json_object(), *set = json_array();
    for (int i = 0; i < s->n_set; i++) json_array_append_new(set, json_string(s->set[i]));
    machine(cpu, sizeof cpu);
    for (int i = 0; i < s->n; i++) json_array_append_new(runs, run_json(s, &s->run[i], value, i));
    for (int i = 0; i < s->sweep->variants.n; i++)
        json_array_append_new(variants, variant_json(s, oc_sweep_variant_at(s->sweep, i), value));
    for (int k = 0; k < s->sweep->measures.n; k++) {
        double base;
        const oc_sweep_measure *m = oc_sweep_measure_at(s->sweep, k);
        if (oc_sweep_baseline(&base, s, m, err) == OC_OK && !isnan(base))
            json_object_set_new(baselines, m->name, json_real(base));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:i, s:i, s:i, s:f, s:s, s:i, s:i, s:o, s:o, s:o}", "sweep", s->sweep->name,
                     "title", s->sweep->title, "file", s->sweep->path, "set", set, "seeds", s->sweep->seeds,
                     "first_seed", s->sweep->first_seed, "runs_planned", s->n, "seconds", s->seconds, "processor", cpu,
                     "cores", oc_cpu_count(), "threads", s->threads, "variants", variants, "baselines", baselines,
                     "runs", runs);
}

/* ---- 5. Markdown ------------------------------------------------------------------------------------------------- */

/* Text of a table's cell. */
static void put_cell(oc_strbuf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|')
            oc_strbuf_puts(out, "\\|");
        else
            oc_strbuf_putc(out, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

/* Values that were not the file's. Folders are left out: they say nothing of what was done. */
static void put_changes(const oc_sweep_state *s, oc_strbuf *out) {
    int said = 0;
    for (int i = 0; i < s->n_set; i++) {
        if (strchr(s->set[i], '/')) continue;
        oc_strbuf_puts(out, said++ ? ", `" : "Not as the file has it: `");
        put_cell(out, s->set[i]);
        oc_strbuf_putc(out, '`');
    }
    if (said) oc_strbuf_puts(out, ".\n\n");
}

static void put_header(const oc_sweep_state *s, oc_strbuf *out) {
    int count[4] = {0};
    char cpu[128];
    machine(cpu, sizeof cpu);
    for (int i = 0; i < s->n; i++) count[s->run[i].state]++;
    if (s->sweep->question) oc_strbuf_printf(out, "%s\n\n", s->sweep->question);
    oc_strbuf_printf(out, "%d of %d runs finished: %d variants, %s %d", count[OC_RUN_DONE], s->n, s->sweep->variants.n,
                     s->sweep->seeds > 1 ? "seeds" : "seed", s->sweep->first_seed);
    if (s->sweep->seeds > 1) oc_strbuf_printf(out, " to %d", s->sweep->first_seed + s->sweep->seeds - 1);
    oc_strbuf_printf(out, ". %.1f minutes of work in all (data, towers, training, measuring)", s->seconds / 60);
    if (s->sweep->minutes > 0) oc_strbuf_printf(out, " of a budget of %.0f", s->sweep->minutes);
    oc_strbuf_printf(out, ", on %s, ", cpu);
    if (s->threads)
        oc_strbuf_printf(out, "%d threads", s->threads);
    else
        oc_strbuf_printf(out, "%d cores", oc_cpu_count());
    oc_strbuf_printf(out, ", ocellus %s.\n\n", OC_VERSION);
    put_changes(s, out);
    const int missing = s->n - count[OC_RUN_DONE];
    if (missing)
        oc_strbuf_printf(out,
                         "**%d runs are missing** (%d failed, %d begun, %d not begun): the table is of those that "
                         "are there.\n\n",
                         missing, count[OC_RUN_FAILED], count[OC_RUN_UNFINISHED], count[OC_RUN_WAITING]);
}

static void put_columns(const oc_sweep_state *s, const char *first, oc_strbuf *out) {
    oc_strbuf_puts(out, "| ");
    put_cell(out, first);
    for (int k = 0; k < s->sweep->measures.n; k++) {
        oc_strbuf_puts(out, " | ");
        put_cell(out, oc_sweep_measure_at(s->sweep, k)->name);
    }
    oc_strbuf_puts(out, " |\n|---|");
    for (int k = 0; k < s->sweep->measures.n; k++) oc_strbuf_puts(out, "---|");
    oc_strbuf_putc(out, '\n');
}

static void put_means(const oc_sweep_state *s, double *const *value, oc_strbuf *out) {
    put_columns(s, "mean ± standard deviation (runs)", out);
    for (int i = 0; i < s->sweep->variants.n; i++) {
        const oc_sweep_variant *v = oc_sweep_variant_at(s->sweep, i);
        oc_strbuf_puts(out, "| ");
        put_cell(out, v->label);
        for (int k = 0; k < s->sweep->measures.n; k++) {
            const oc_spread x = spread_of_variant(s, value[k], v);
            const int digits = oc_sweep_measure_at(s->sweep, k)->digits;
            if (!x.n)
                oc_strbuf_puts(out, " | –");
            else if (x.n == 1)
                oc_strbuf_printf(out, " | %.*f (1)", digits, x.mean);
            else
                oc_strbuf_printf(out, " | %.*f ± %.*f (%d)", digits, x.mean, digits, x.sd, x.n);
        }
        oc_strbuf_puts(out, " |\n");
    }
}

static oc_status put_baselines(const oc_sweep_state *s, oc_strbuf *out, oc_error *err) {
    bool any = false;
    for (int k = 0; k < s->sweep->measures.n; k++) any = any || oc_sweep_measure_at(s->sweep, k)->baseline;
    if (!any) return OC_OK;
    oc_strbuf_puts(out, "| without looking");
    for (int k = 0; k < s->sweep->measures.n; k++) {
        const oc_sweep_measure *m = oc_sweep_measure_at(s->sweep, k);
        double base;
        OC_TRY(oc_sweep_baseline(&base, s, m, err));
        if (isnan(base))
            oc_strbuf_puts(out, " | ");
        else
            oc_strbuf_printf(out, " | %.*f", m->digits, base);
    }
    oc_strbuf_puts(out, " |\n");
    return OC_OK;
}

static void put_difference(const oc_spread *d, const oc_sweep_measure *m, oc_strbuf *out) {
    const double half = oc_spread_interval(d);
    if (!d->n)
        oc_strbuf_puts(out, " | –");
    else if (isnan(half))
        oc_strbuf_printf(out, " | %+.*f, one seed", m->digits, d->mean);
    else {
        const char *verdict = d->mean - half > 0   ? m->lower ? "worse" : "better"
                              : d->mean + half < 0 ? m->lower ? "better" : "worse"
                                                   : "not settled";
        oc_strbuf_printf(out, " | %+.*f ± %.*f, %s%s%s", m->digits, d->mean, m->digits, half,
                         *verdict == 'n' ? "" : "**", verdict, *verdict == 'n' ? "" : "**");
    }
}

static void put_differences(const oc_sweep_state *s, double *const *value, oc_strbuf *out) {
    char first[160];
    if (s->sweep->variants.n < 2) return;
    snprintf(first, sizeof first, "minus \"%.100s\"", oc_sweep_variant_at(s->sweep, 0)->label);
    oc_strbuf_puts(out, "\nDifferences between runs of the same seed, with the 95% confidence interval of their mean "
                        "(Student's t); what the interval holds zero of is not settled by these runs.\n\n");
    put_columns(s, first, out);
    for (int i = 1; i < s->sweep->variants.n; i++) {
        const oc_sweep_variant *v = oc_sweep_variant_at(s->sweep, i);
        oc_strbuf_puts(out, "| ");
        put_cell(out, v->label);
        for (int k = 0; k < s->sweep->measures.n; k++) {
            const oc_spread d = differences(s, value[k], v);
            put_difference(&d, oc_sweep_measure_at(s->sweep, k), out);
        }
        oc_strbuf_puts(out, " |\n");
    }
}

static void put_failures(const oc_sweep_state *s, oc_strbuf *out) {
    bool any = false;
    for (int i = 0; i < s->n; i++) {
        if (s->run[i].state != OC_RUN_FAILED) continue;
        oc_strbuf_printf(out, "%s* %s, seed %d: ", any ? "" : "\nFailed:\n\n", s->run[i].variant->name, s->run[i].seed);
        put_cell(out, s->run[i].error);
        oc_strbuf_putc(out, '\n');
        any = true;
    }
}

static oc_status put_section(const oc_sweep_state *s, double *const *value, oc_strbuf *out, oc_error *err) {
    oc_strbuf_printf(out, "## %s\n\n", s->sweep->title);
    put_header(s, out);
    if (s->sweep->measures.n) {
        put_means(s, value, out);
        OC_TRY(put_baselines(s, out, err));
        put_differences(s, value, out);
    }
    put_failures(s, out);
    if (s->sweep->notes) oc_strbuf_printf(out, "\n%s\n", s->sweep->notes);
    for (int i = 0; i < s->sweep->plots.n; i++) {
        const oc_sweep_plot *p = oc_sweep_plot_at(s->sweep, i);
        oc_strbuf_printf(out, "\n![%s](%s-%s.svg)\n", p->title ? p->title : p->of, s->sweep->name, p->name);
    }
    return out->failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the results") : OC_OK;
}

/* value [measures][runs] of all runs, one block. */
static oc_status open_values(double ***value, const oc_sweep_state *s, oc_error *err) {
    const int n = s->sweep->measures.n;
    double **v = oc_alloc((size_t)n * sizeof *v + (size_t)n * (size_t)s->n * sizeof **v);
    if (!v) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the results");
    oc_status st = OC_OK;
    for (int k = 0; k < n && st == OC_OK; k++) {
        v[k] = (double *)(void *)(v + n) + (size_t)k * (size_t)s->n;
        st = all_values(v[k], s, oc_sweep_measure_at(s->sweep, k), err);
    }
    if (st == OC_OK)
        *value = v;
    else
        oc_free(v);
    return st;
}

static oc_status write_in(const char *dir, const char *name, const oc_strbuf *text, oc_error *err) {
    char *path = oc_path_join(dir, name);
    oc_status st = path ? oc_file_write_atomic(path, text->data ? text->data : "", text->len, err)
                        : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    oc_free(path);
    return st;
}

oc_status oc_sweep_write_results(const oc_sweep_state *s, json_t **json, oc_error *err) {
    double **value;
    oc_strbuf text = {0};
    char *path = oc_path_join(s->out, "results.json");
    json_t *o = NULL;
    if (!path) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", s->out);
    oc_status st = open_values(&value, s, err);
    if (st != OC_OK) return oc_free(path), st;
    o = results_json(s, value, err);
    st = o ? oc_json_save(o, path, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    OC_GO(st);
    OC_GO(put_section(s, value, &text, err));
    OC_GO(write_in(s->out, "results.md", &text, err));
    OC_GO(oc_sweep_write_plots(s, s->out, err));
    if (json) *json = json_incref(o);
done:
    oc_strbuf_free(&text);
    json_decref(o);
    oc_free(value);
    oc_free(path);
    return st;
}

/* The page with the text between the two marks replaced by the section, or with all of it added at the end. */
static void replace_section(const char *page, const char *name, const oc_strbuf *section, oc_strbuf *out) {
    char begin[80], end[80];
    snprintf(begin, sizeof begin, "<!-- sweep %s -->\n", name);
    snprintf(end, sizeof end, "<!-- end of %s -->\n", name);
    const char *from = strstr(page, begin), *to = from ? strstr(from, end) : NULL;
    if (to)
        oc_strbuf_add(out, page, (size_t)(from - page));
    else {
        oc_strbuf_puts(out, page);
        if (out->len && out->data[out->len - 1] != '\n') oc_strbuf_putc(out, '\n');
        if (out->len) oc_strbuf_putc(out, '\n');
    }
    oc_strbuf_puts(out, begin);
    oc_strbuf_add(out, section->data, section->len);
    oc_strbuf_puts(out, end);
    if (to) oc_strbuf_puts(out, to + strlen(end));
}

oc_status oc_sweep_write_docs(const oc_sweep_state *s, const char *page, oc_error *err) {
    double **value;
    char *text = NULL, *dir = oc_path_dir(page);
    size_t len;
    oc_strbuf section = {0}, out = {0};
    if (!dir) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", page);
    oc_status st = open_values(&value, s, err);
    if (st != OC_OK) return oc_free(dir), st;
    if (oc_file_exists(page)) OC_GO(oc_file_read(&text, &len, page, 1 << 24, err));
    OC_GO(put_section(s, value, &section, err));
    replace_section(text ? text : "", s->sweep->name, &section, &out);
    if (out.failed) st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", page);
    OC_GO(st);
    OC_GO(oc_make_dirs(dir, err));
    OC_GO(oc_file_write_atomic(page, out.data, out.len, err));
    OC_GO(oc_sweep_write_plots(s, dir, err));
done:
    oc_free(value);
    oc_free(text);
    oc_free(dir);
    oc_strbuf_free(&section);
    oc_strbuf_free(&out);
    return st;
}
