#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "train/narrow.h"

oc_status oc_optimizer_add(oc_optimizer *o, const oc_range *r, oc_error *err) {
    if (oc_range_is_narrow(r) && !o->piece)
        OC_TRY(oc_compute_alloc_for(o->compute, &o->piece, OC_NARROW_PIECES * OC_NARROW_PIECE * sizeof(float),
                                    "the optimizer", err));
    if (o->n_ranges == o->capacity) {
        int capacity = o->capacity ? 2 * o->capacity : 64;
        oc_range *p = oc_realloc(o->range, (size_t)o->n_ranges * sizeof *p, (size_t)capacity * sizeof *p);
        if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the optimizer");
        o->range = p;
        o->capacity = capacity;
    }
    o->range[o->n_ranges++] = *r;
    return OC_OK;
}

static float decay_of(const oc_optimizer *o, const oc_range *r) { return r->decay ? (float)o->opt.weight_decay : 0; }

/* The ranges that are matrices, and what a step does to them. */
static void list_matrices(oc_optimizer *o, double factor, double grad_scale) {
    o->n_matrices = 0;
    for (int i = 0; i < o->n_ranges; i++) {
        const oc_range *r = &o->range[i];
        if (!r->rows) continue;
        o->matrix[o->n_matrices++] = (oc_muon_matrix){.w = r->w,
                                                      .m = r->m,
                                                      .g = r->g,
                                                      .rows = r->rows,
                                                      .cols = r->cols,
                                                      .step = {.lr = (float)(r->lr * factor),
                                                               .momentum = (float)o->opt.momentum,
                                                               .decay = decay_of(o, r),
                                                               .grad_scale = (float)grad_scale}};
    }
}

/* Who updates the matrices among the ranges so far. */
static oc_status open_muon(oc_optimizer *o, oc_dtype t, oc_error *err) {
    int n = 0;
    for (int i = 0; i < o->n_ranges; i++) n += o->range[i].rows > 0;
    if (n == o->n_matrices) return OC_OK;
    if (!o->compute->ops.host_memory)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "Muon runs on processors only; use optimizer: adamw with device %s",
                       o->compute->ops.name);
    oc_muon_matrix *matrix = oc_realloc(o->matrix, (size_t)o->n_matrices * sizeof *matrix, (size_t)n * sizeof *matrix);
    if (!matrix) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the optimizer");
    o->matrix = matrix;
    list_matrices(o, 0, 0);
    oc_muon_team_close(&o->muon);
    return oc_muon_team_open(&o->muon, o->compute, o->matrix, n, t, err);
}

/* Does a row lie behind another one in everything that is kept of it? */
static bool continues(const oc_param *before, const oc_param *r) {
    return before && before->part == r->part && before->offset + before->n == r->offset &&
           before->weight.narrow == r->weight.narrow && before->grad.narrow == r->grad.narrow &&
           before->weight.offset + before->n == r->weight.offset && before->grad.offset + before->n == r->grad.offset;
}

oc_status oc_optimizer_add_model(oc_optimizer *o, const oc_vlm *m, const double lr[OC_PART_COUNT],
                                 float *const ema[OC_PART_COUNT], bool with_unused, oc_error *err) {
    const oc_params *p = &m->params;
    const oc_param *before = NULL; /* the row that was added last */
    for (int i = 0; i < p->count; i++) {
        const oc_param *r = &p->row[i];
        if (!p->g[r->part] || (r->unused && !with_unused)) continue;
        oc_range *last = o->n_ranges ? &o->range[o->n_ranges - 1] : NULL;
        /* Muon's authors leave the first layer to AdamW too; under Muon an encoder learns faster (docs/results/demo.md). */
        bool matrix = o->opt.rule == OC_RULE_MUON && oc_param_is_inner_matrix(r);
        if (!matrix && last && !last->rows && continues(before, r) && last->decay == r->decay) {
            last->n += r->n;
            before = r;
            continue;
        }
        oc_range range = {.w = oc_params_weight(p, i),
                          .w16 = oc_params_weight16(p, i),
                          .g = oc_params_grad(p, i),
                          .g16 = oc_params_grad16(p, i),
                          .m = p->m[r->part] ? p->m[r->part] + r->offset : NULL,
                          .v = p->v[r->part] ? p->v[r->part] + r->offset : NULL,
                          .m16 = p->m16[r->part] ? p->m16[r->part] + r->offset : NULL,
                          .v16 = p->v16[r->part] ? p->v16[r->part] + r->offset : NULL,
                          .ema = ema && ema[r->part] ? ema[r->part] + r->offset : NULL,
                          .n = r->n,
                          .lr = lr[r->part],
                          .decay = r->decay,
                          .rows = matrix ? r->shape[0] : 0,
                          .cols = matrix ? (int)(r->n / (size_t)r->shape[0]) : 0};
        if (matrix && oc_range_is_narrow(&range))
            return oc_fail(err, OC_ERR_ARG,
                           "optimizer: muon needs float32 state; leave out weights, gradients and moments: bf16");
        OC_TRY(oc_optimizer_add(o, &range, err));
        before = r;
    }
    return open_muon(o, m->t, err);
}

void oc_optimizer_close(oc_optimizer *o) {
    oc_free(o->range);
    if (o->piece) o->compute->ops.device_free(o->compute, o->piece);
    oc_muon_team_close(&o->muon);
    oc_free(o->matrix);
    o->range = NULL;
    o->piece = NULL;
    o->matrix = NULL;
    o->n_ranges = o->capacity = o->n_matrices = 0;
}

static void update_ema(oc_optimizer *o) {
    double t = (double)o->step, d = fmin(o->opt.ema, (1 + t) / (10 + t));
    for (int i = 0; i < o->n_ranges; i++) {
        oc_range *r = &o->range[i];
        if (!r->ema) continue;
        o->compute->ops.average(o->compute, r->ema, r->w, r->n, (float)d, (float)(1 - d));
    }
}

static void update_by_adamw(oc_optimizer *o, int i, double lr, double grad_scale) {
    oc_compute *c = o->compute;
    const oc_range *r = &o->range[i];
    oc_adamw a = {.lr = (float)lr,
                  .beta1 = (float)o->opt.beta1,
                  .beta2 = (float)o->opt.beta2,
                  .eps = (float)o->opt.eps,
                  .decay = decay_of(o, r),
                  .grad_scale = (float)grad_scale,
                  .step = (int)o->step};
    if (oc_range_is_narrow(r))
        oc_narrow_adamw(o, i, &a);
    else
        c->ops.adamw(c, r->w, r->m, r->v, r->g, r->n, &a);
}

bool oc_optimizer_step(oc_optimizer *o, double factor, double loss, double scale) {
    oc_compute *c = o->compute;
    double sq = 0;
    for (int i = 0; i < o->n_ranges; i++) {
        const oc_range *r = &o->range[i];
        sq += oc_narrow_sum_squares(o, r->g, r->g16, r->n);
    }
    o->last_norm = sqrt(sq) * scale;
    bool finite = isfinite(o->last_norm) && isfinite(loss);
    if (finite) {
        o->step++;
        o->skipped_in_a_row = 0;
        double clip = o->opt.clip > 0 ? fmin(1, o->opt.clip / (o->last_norm + 1e-6)) : 1;
        for (int i = 0; i < o->n_ranges; i++) {
            oc_range *r = &o->range[i];
            if (!r->rows) update_by_adamw(o, i, r->lr * factor, clip * scale);
        }
        if (o->n_matrices) {
            list_matrices(o, factor, clip * scale);
            oc_muon_team_update(&o->muon, o->matrix, o->n_matrices);
        }
        if (o->opt.ema > 0) update_ema(o);
    } else {
        o->skipped++;
        o->skipped_in_a_row++;
    }
    for (int i = 0; i < o->n_ranges; i++) {
        oc_range *r = &o->range[i];
        if (r->g16)
            c->ops.zero(c, r->g16, r->n * sizeof *r->g16);
        else
            c->ops.zero(c, r->g, r->n * sizeof *r->g);
    }
    return finite;
}

bool oc_optimizer_weights_finite(oc_optimizer *o) {
    double sum = 0;
    for (int i = 0; i < o->n_ranges; i++) {
        const oc_range *r = &o->range[i];
        sum += oc_narrow_sum_squares(o, r->w, r->w16, r->n);
    }
    return isfinite(sum);
}
