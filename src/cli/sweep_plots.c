/* The plots of a sweep as SVG files. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/sweep.h"
#include "eval/svg.h"

/* ---- Loss curves ------------------------------------------------------------------------------------------------- */

/* Of one variant: the mean over its seeds at each step that all of them have, and the extremes. */
typedef struct mean_curve {
    double *step, *mean, *low, *high;
    size_t n;
} mean_curve;

static void close_curve(mean_curve *c) {
    oc_free(c->step);
    oc_free(c->mean);
    oc_free(c->low);
    oc_free(c->high);
    *c = (mean_curve){0};
}

/* Each seed's line is smoothed by an average over about ten lines of the log, corrected for its start. */
static void smooth(double *y, size_t n) {
    const double keep = 0.9;
    double sum = 0, weight = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(y[i])) continue;
        sum = keep * sum + (1 - keep) * y[i];
        weight = keep * weight + (1 - keep);
        y[i] = sum / weight;
    }
}

static oc_status add_seed(mean_curve *c, double *step, double *loss, size_t n, int seeds_before, oc_error *err) {
    smooth(loss, n);
    if (seeds_before == 0) {
        const size_t bytes = n * sizeof(double);
        OC_TRY(oc_alloc_for(&c->step, bytes, "a curve", err));
        OC_TRY(oc_alloc_for(&c->mean, bytes, "a curve", err));
        OC_TRY(oc_alloc_for(&c->low, bytes, "a curve", err));
        OC_TRY(oc_alloc_for(&c->high, bytes, "a curve", err));
        memcpy(c->step, step, bytes);
        memcpy(c->mean, loss, bytes);
        memcpy(c->low, loss, bytes);
        memcpy(c->high, loss, bytes);
        c->n = n;
        return OC_OK;
    }
    size_t kept = 0;
    for (size_t i = 0, j = 0; i < c->n; i++) {
        while (j < n && step[j] < c->step[i]) j++;
        if (j == n || step[j] > c->step[i]) continue;
        c->step[kept] = c->step[i];
        c->mean[kept] = (c->mean[i] * seeds_before + loss[j]) / (seeds_before + 1);
        c->low[kept] = fmin(c->low[i], loss[j]);
        c->high[kept++] = fmax(c->high[i], loss[j]);
    }
    c->n = kept;
    return OC_OK;
}

static oc_status read_variant(mean_curve *c, const oc_sweep_state *s, const oc_sweep_variant *v, const char *stage,
                              oc_error *err) {
    int seeds = 0;
    oc_status st = OC_OK;
    for (int i = 0; i < s->n && st == OC_OK; i++) {
        double *step = NULL, *loss = NULL, seconds;
        size_t n = 0;
        if (s->run[i].variant != v || s->run[i].state != OC_RUN_DONE) continue;
        st = oc_sweep_curve(s->run[i].folder, stage, &step, &loss, &n, &seconds, err);
        if (st == OC_OK && n) st = add_seed(c, step, loss, n, seeds++, err);
        oc_free(step);
        oc_free(loss);
    }
    return st;
}

static oc_status plot_loss(const oc_sweep_state *s, const oc_sweep_plot *p, oc_strbuf *out, oc_error *err) {
    const int n = s->sweep->variants.n;
    mean_curve *curve = oc_calloc((size_t)n, sizeof *curve);
    oc_chart_line *line = oc_calloc((size_t)n, sizeof *line);
    oc_chart_band *band = oc_calloc((size_t)n, sizeof *band);
    oc_status st = curve && line && band ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a plot");
    int lines = 0;
    for (int i = 0; i < n && st == OC_OK; i++) {
        const oc_sweep_variant *v = oc_sweep_variant_at(s->sweep, i);
        mean_curve *c = &curve[i];
        st = read_variant(c, s, v, p->of, err);
        if (!c->n) continue;
        line[lines] = (oc_chart_line){.name = v->label, .x = c->step, .y = c->mean, .n = c->n};
        band[lines++] = (oc_chart_band){.x = c->step, .low = c->low, .high = c->high, .n = c->n};
    }
    if (st == OC_OK)
        oc_svg_file_lines(out,
                          &(oc_chart){.title = p->title ? p->title : p->of,
                                      .x_label = "optimizer steps",
                                      .y_label = "loss",
                                      .line = line,
                                      .n_lines = lines},
                          band);
    for (int i = 0; curve && i < n; i++) close_curve(&curve[i]);
    oc_free(curve);
    oc_free(line);
    oc_free(band);
    return st;
}

/* ---- Measures ---------------------------------------------------------------------------------------------------- */

/* The values of one variant into own [seeds]; how many runs it has. */
static oc_status values_of(const oc_sweep_state *s, const oc_sweep_variant *v, const oc_sweep_measure *m, double *own,
                           int *n, oc_error *err) {
    *n = 0;
    for (int i = 0; i < s->n; i++)
        if (s->run[i].variant == v) OC_TRY(oc_sweep_value(&own[(*n)++], s, &s->run[i], m, err));
    return OC_OK;
}

static oc_status plot_points(const oc_sweep_state *s, const oc_sweep_plot *p, oc_strbuf *out, oc_error *err) {
    const oc_sweep_measure *m = oc_sweep_measure_at(s->sweep, oc_sweep_find_measure(s->sweep, p->of));
    const int n = s->sweep->variants.n;
    oc_chart_group *group = oc_calloc((size_t)n, sizeof *group);
    double *value = oc_alloc((size_t)n * (size_t)s->sweep->seeds * sizeof *value), base = NAN;
    oc_status st = group && value ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a plot");
    for (int i = 0; i < n && st == OC_OK; i++) {
        const oc_sweep_variant *v = oc_sweep_variant_at(s->sweep, i);
        double *own = value + (size_t)i * (size_t)s->sweep->seeds;
        group[i] = (oc_chart_group){.name = v->label, .value = own};
        st = values_of(s, v, m, own, &group[i].n, err);
    }
    if (st == OC_OK) st = oc_sweep_baseline(&base, s, m, err);
    if (st == OC_OK)
        oc_svg_file_points(out, &(oc_chart_points){.title = p->title ? p->title : m->name,
                                                   .y_label = m->name,
                                                   .group = group,
                                                   .n_groups = n,
                                                   .baseline = base,
                                                   .baseline_label = "without looking",
                                                   .connect = p->connect});
    oc_free(group);
    oc_free(value);
    return st;
}

static oc_status plot_against(const oc_sweep_state *s, const oc_sweep_plot *p, oc_strbuf *out, oc_error *err) {
    const oc_sweep_measure *y = oc_sweep_measure_at(s->sweep, oc_sweep_find_measure(s->sweep, p->of));
    const oc_sweep_measure *x = oc_sweep_measure_at(s->sweep, oc_sweep_find_measure(s->sweep, p->against));
    const int n = s->sweep->variants.n;
    oc_chart_pair *pair = oc_calloc((size_t)n, sizeof *pair);
    double *own = oc_alloc((size_t)s->sweep->seeds * sizeof *own);
    oc_status st = pair && own ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a plot");
    for (int i = 0; i < n && st == OC_OK; i++) {
        int count;
        const oc_sweep_variant *v = oc_sweep_variant_at(s->sweep, i);
        OC_GO(values_of(s, v, x, own, &count, err));
        const oc_spread sx = oc_spread_of(own, count);
        OC_GO(values_of(s, v, y, own, &count, err));
        const oc_spread sy = oc_spread_of(own, count);
        pair[i] = (oc_chart_pair){.name = v->label, .x = sx.mean, .y = sy.mean, .x_sd = sx.sd, .y_sd = sy.sd};
    }
    if (st == OC_OK) oc_svg_file_pairs(out, p->title ? p->title : y->name, x->name, y->name, pair, n);
done:
    oc_free(pair);
    oc_free(own);
    return st;
}

oc_status oc_sweep_write_plots(const oc_sweep_state *s, const char *dir, oc_error *err) {
    static oc_status (*const plot[])(const oc_sweep_state *, const oc_sweep_plot *, oc_strbuf *, oc_error *) = {
        [OC_SWEEP_PLOT_LOSS] = plot_loss, [OC_SWEEP_PLOT_POINTS] = plot_points, [OC_SWEEP_PLOT_AGAINST] = plot_against};
    for (int i = 0; i < s->sweep->plots.n; i++) {
        const oc_sweep_plot *p = oc_sweep_plot_at(s->sweep, i);
        char name[100];
        oc_strbuf out = {0};
        snprintf(name, sizeof name, "%s-%s.svg", s->sweep->name, p->name);
        char *path = oc_path_join(dir, name);
        oc_status st = plot[p->kind](s, p, &out, err);
        if (st == OC_OK && (out.failed || !path)) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for %s", name);
        if (st == OC_OK) st = oc_file_write_atomic(path, out.data, out.len, err);
        oc_strbuf_free(&out);
        oc_free(path);
        OC_TRY(st);
    }
    return OC_OK;
}
