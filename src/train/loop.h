/* The loop of one stage, whatever is trained: schedule by steps or by the clock, optimizer step, progress bar, log lines,
 * checkpoints every N steps, an orderly end on SIGINT and SIGTERM, and the guard against NaN and Inf. */
#ifndef OC_TRAIN_LOOP_H
#define OC_TRAIN_LOOP_H

#include "base/trace.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/tensorboard.h"

/* What one optimizer step has seen. loss is the mean over the accumulated batch. */
typedef struct oc_step_result {
    double loss, accuracy; /* accuracy < 0: not known */
    double grad_scale;     /* what the accumulated gradients are to be multiplied by; 1 at the start */
    int64_t samples, tokens, labels;
} oc_step_result;

/* Where the numbers go; any member may be NULL. */
typedef struct oc_train_output {
    /* Called when a loop has come to its end; loss is the moving average there. */
    void (*done)(void *ctx, const char *name, const oc_position *pos, double loss, oc_compute *c);
    void *ctx;
    oc_run_log *log;
    oc_tensorboard *tensorboard;
    int every;       /* steps between log lines */
    bool quiet;      /* no progress bar */
    oc_trace *trace; /* is written to DIR/NAME.trace.json, by the loop's name, when a loop ends, and begins anew */
    const char *trace_dir;
} oc_train_output;

typedef struct oc_loop {
    const char *label; /* "stage 2 projector" */
    const char *name;  /* "projector", the tag of log lines */
    oc_optimizer *optimizer;
    const oc_schedule *schedule;
    int64_t total_steps;  /* 0: by the clock */
    double total_seconds; /* with total_steps 0 */
    oc_position *pos;     /* continued from, and kept up to date */
    int save_every;       /* steps; 0: only when interrupted. After a step with NaN or Inf nothing is saved until one
                           * went well again: a checkpoint always holds weights whose loss was finite */
    int max_skipped;      /* steps with NaN or Inf in a row that end the run */
    const oc_train_output *output;
    void *ctx;
    /* Accumulates the gradients of one whole batch. */
    oc_status (*step)(void *ctx, oc_step_result *r, oc_error *err);
    void (*updated)(void *ctx); /* the weights have changed */
    oc_status (*save)(void *ctx, oc_error *err);
    /* After every `eval_every` updates (0: never). */
    int eval_every;
    oc_status (*evaluate)(void *ctx, oc_error *err);
} oc_loop;

/* OC_ERR_INTERRUPTED after a checkpoint when a signal came; OC_ERR_DIVERGED after max_skipped steps in a
 * row that could not be used. */
oc_status oc_loop_run(oc_loop *l, oc_error *err);

#endif
