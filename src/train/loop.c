#include "train/loop.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"

/* What has been seen since the last log line. */
typedef struct window {
    double start, loss;
    int64_t steps, samples, tokens;
    double correct;
} window;

static double progress(const oc_loop *l) {
    if (l->total_steps > 0) return oc_schedule_progress(l->pos->step, l->total_steps);
    return l->total_seconds > 0 ? fmin(1, l->pos->seconds / l->total_seconds) : 1;
}

static bool finished(const oc_loop *l) {
    return l->total_steps > 0 ? l->pos->step >= l->total_steps : l->pos->seconds >= l->total_seconds;
}

static double peak_lr(const oc_optimizer *o) {
    double lr = 0;
    for (int i = 0; i < o->n_ranges; i++) lr = fmax(lr, o->range[i].lr);
    return lr;
}

static void show(const oc_loop *l, oc_progress *bar, const window *w, double smooth) {
    double seconds = fmax(oc_now() - w->start, 1e-9);
    bool by_steps = l->total_steps > 0;
    oc_progress_update(bar, by_steps ? (double)l->pos->step : l->pos->seconds,
                       by_steps ? (double)l->total_steps : l->total_seconds,
                       "loss %.3f, %.0f samples/s, %.0f tokens/s, %.1f GiB", smooth, (double)w->samples / seconds,
                       (double)w->tokens / seconds, (double)oc_rss_bytes() / (1 << 30));
}

static oc_status write_log(const oc_loop *l, const window *w, double factor, oc_error *err) {
    const oc_train_output *out = l->output;
    double seconds = fmax(oc_now() - w->start, 1e-9), lr = peak_lr(l->optimizer) * factor;
    double loss = w->loss / (double)w->steps, accuracy = w->correct / (double)w->steps;
    if (out->log)
        OC_TRY(oc_run_log_write(
            out->log,
            json_pack("{s:s, s:i, s:I, s:o, s:o, s:f, s:o, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "stage", l->name,
                      "stage_index", l->pos->stage, "step", (json_int_t)l->pos->step, "loss", oc_run_log_number(loss),
                      "accuracy", oc_run_log_number(accuracy < 0 ? NAN : accuracy), "lr", lr, "grad_norm",
                      oc_run_log_number(l->optimizer->last_norm), "samples", (json_int_t)l->pos->samples, "tokens",
                      (json_int_t)l->pos->tokens, "samples_per_s", (double)w->samples / seconds, "tokens_per_s",
                      (double)w->tokens / seconds, "seconds", l->pos->total_seconds + l->pos->seconds, "memory_gib",
                      (double)oc_rss_bytes() / (1 << 30), "skipped", (json_int_t)l->optimizer->skipped),
            err));
    if (!out->tensorboard) return OC_OK;
    static const char *const names[] = {"loss", "lr", "grad_norm", "samples_per_s"};
    char tag_text[OC_COUNT(names)][96];
    const char *tags[OC_COUNT(names)];
    for (size_t i = 0; i < OC_COUNT(names); i++) {
        snprintf(tag_text[i], sizeof tag_text[i], "%s/%s", l->name, names[i]);
        tags[i] = tag_text[i];
    }
    float values[] = {(float)loss, (float)lr, (float)l->optimizer->last_norm, (float)((double)w->samples / seconds)};
    return oc_tensorboard_scalars(out->tensorboard, l->pos->step, tags, values, OC_COUNT(names), err);
}

static void count(oc_loop *l, window *w, const oc_step_result *r) {
    oc_position *p = l->pos;
    p->step++;
    p->updates = l->optimizer->step;
    p->skipped = l->optimizer->skipped;
    p->samples += r->samples;
    p->tokens += r->tokens;
    p->labels += r->labels;
    w->steps++;
    w->loss += r->loss;
    w->correct += r->accuracy;
    w->samples += r->samples;
    w->tokens += r->tokens;
}

static oc_status check_divergence(const oc_loop *l, oc_error *err) {
    if (l->optimizer->skipped_in_a_row < l->max_skipped) return OC_OK;
    return oc_fail(
        err, OC_ERR_DIVERGED,
        "%s: loss or gradient was NaN or Inf in %d steps in a row (step %lld); the last checkpoint is intact: "
        "lower the learning rate or clip more, then continue with --resume",
        l->name, l->optimizer->skipped_in_a_row, (long long)l->pos->step);
}

/* One optimizer step. *smooth: moving average of the loss over the steps that were used. */
static oc_status run_step(oc_loop *l, oc_step_result *r, double factor, double *smooth, oc_error *err) {
    oc_trace *trace = l->output->trace;
    double start = oc_now();
    OC_TRY(l->step(l->ctx, r, err));
    double update = oc_now();
    if (oc_optimizer_step(l->optimizer, factor, r->loss, r->grad_scale)) {
        l->updated(l->ctx);
        *smooth = isnan(*smooth) ? r->loss : 0.95 * *smooth + 0.05 * r->loss;
    } else
        oc_log(OC_LOG_WARN, "%s: step %lld skipped (%d in a row): loss or gradient is not finite", l->name,
               (long long)l->pos->step, l->optimizer->skipped_in_a_row);
    oc_trace_add(trace, &(oc_trace_event){.name = "optimizer", .category = "train", .start = update});
    oc_trace_add(trace, &(oc_trace_event){.name = "step",
                                          .category = "train",
                                          .dims = "step samples tokens labels",
                                          .dim = {l->pos->step, r->samples, r->tokens, r->labels},
                                          .start = start});
    return OC_OK;
}

/* Weights that are not finite, or from which such a loss came, are no state to continue from: saving waits for a step that
 * goes well. */
static oc_status save(oc_loop *l, bool *due, oc_error *err) {
    *due = l->optimizer->skipped_in_a_row > 0 || !oc_optimizer_weights_finite(l->optimizer);
    if (*due) return OC_OK;
    double start = oc_now();
    oc_status st = l->save(l->ctx, err);
    oc_trace_add(l->output->trace, &(oc_trace_event){.name = "save checkpoint", .category = "train", .start = start});
    return st;
}

static oc_status stop_by_signal(oc_loop *l, oc_error *err) {
    bool unsaved;
    OC_TRY(save(l, &unsaved, err));
    return oc_fail(err, OC_ERR_INTERRUPTED,
                   unsaved ? "stopped by a signal at step %lld of %s, after a step with NaN or Inf: no checkpoint was "
                             "written, --resume continues from the last one"
                           : "stopped by a signal at step %lld of %s; a checkpoint was written, --resume continues",
                   (long long)l->pos->step, l->name);
}

static oc_status evaluate(oc_loop *l, window *w, oc_error *err) {
    double start = oc_now();
    oc_status st = l->evaluate(l->ctx, err);
    oc_trace_add(l->output->trace, &(oc_trace_event){.name = "evaluation", .category = "train", .start = start});
    w->start += oc_now() - start; /* rates are those of training */
    return st;
}

static oc_status run_steps(oc_loop *l, oc_progress *bar, double *smooth, oc_error *err) {
    window w = {.start = oc_now()};
    bool due = false;
    while (!finished(l)) {
        double begin = oc_now(), factor = (double)oc_schedule_lr(l->schedule, 1.0, progress(l));
        oc_step_result r = {.accuracy = -1, .grad_scale = 1};
        OC_TRY(run_step(l, &r, factor, smooth, err));
        count(l, &w, &r);
        l->pos->seconds += oc_now() - begin;
        show(l, bar, &w, *smooth);
        OC_TRY(check_divergence(l, err));
        if (l->output->every > 0 && (l->pos->step % l->output->every == 0 || finished(l))) {
            OC_TRY(write_log(l, &w, factor, err));
            w = (window){.start = oc_now()};
        }
        if (l->eval_every > 0 && l->pos->step % l->eval_every == 0 && !finished(l)) OC_TRY(evaluate(l, &w, err));
        if (oc_interrupted() && !finished(l)) return stop_by_signal(l, err);
        if (l->save_every > 0 && l->pos->step % l->save_every == 0) due = true;
        if (due && !finished(l)) OC_TRY(save(l, &due, err));
    }
    return OC_OK;
}

/* The trace of a loop that failed is as good as any. */
static oc_status write_trace(const oc_loop *l, oc_status st, oc_error *err) {
    const oc_train_output *out = l->output;
    if (!out->trace) return st;
    oc_strbuf path = {0};
    oc_error ours = {0};
    oc_strbuf_printf(&path, "%s/%s.trace.json", out->trace_dir, l->name);
    size_t dropped = oc_trace_dropped(out->trace);
    oc_status written = path.failed ? oc_fail(&ours, OC_ERR_NOMEM, "out of memory for the name of a trace")
                                    : oc_trace_write(out->trace, path.data, &ours);
    if (written == OC_OK)
        oc_log(OC_LOG_INFO, "wrote %s for ui.perfetto.dev%s", path.data,
               dropped ? " (the beginning: it was full before the end)" : "");
    oc_strbuf_free(&path);
    return st != OC_OK || written == OC_OK ? st : oc_fail(err, written, "%s", ours.msg);
}

oc_status oc_loop_run(oc_loop *l, oc_error *err) {
    oc_progress bar;
    double smooth = NAN;
    oc_progress_open(&bar, l->label, l->total_steps > 0 ? (double)l->total_steps : l->total_seconds, l->output->quiet);
    l->optimizer->step = l->pos->updates;
    l->optimizer->skipped = l->pos->skipped;
    oc_status st = write_trace(l, run_steps(l, &bar, &smooth, err), err);
    oc_progress_close(&bar);
    if (st == OC_OK && l->output->done) l->output->done(l->output->ctx, l->name, l->pos, smooth, l->optimizer->compute);
    return st;
}
