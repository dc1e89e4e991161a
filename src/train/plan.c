/* 1. arithmetic  2. memory  3. one stage  4. data  5. all stages */
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "model/spans.h"
#include "model/weights.h"
#include "train/stage.h"

/* ---- 1. Arithmetic -------------------------------------------------------------------------------------------------- */

/* Floating-point operations of matrix products and attention, forward and backward. */
typedef struct work {
    double forward, step;
} work;

/* A part whose weights cost `matrices` forward and whose attention costs `attention`: the gradient of its input costs as
 * much as the product, that of its weights too; attention's backward pass is two and a half times its forward one. again: share of the layers that
 * the backward pass computes a second time. */
static void add_work(work *w, double matrices, double attention, bool trains, bool passes, double again) {
    w->forward += matrices + attention;
    w->step += matrices * (1 + passes + trains + again) + attention * ((passes ? 3.5 : 1) + again);
}

static double vision_matrices(const oc_vision_config *v) {
    double d = v->hidden, P = oc_vision_patches(v);
    return 2 * P * (v->layers * (4 * d * d + 2 * d * v->mlp) + 3.0 * v->patch_size * v->patch_size * d);
}

static double vision_attention(const oc_vision_config *v) {
    double P = oc_vision_patches(v);
    return 4.0 * v->layers * P * P * v->hidden;
}

static double projector_matrices(const oc_config *c) {
    double merge = c->projector.merge, H = c->projector.hidden;
    return 2.0 * oc_config_tokens_per_image(c) * (merge * merge * c->vision.hidden * H + H * c->text.hidden);
}

static double decoder_matrices(const oc_text_config *t) { /* of one token */
    double d = t->hidden, q = (double)t->heads * t->head_size, kv = (double)t->kv_heads * t->head_size;
    return 2.0 * t->layers * (2 * d * q + 2 * d * kv + 3 * d * t->mlp);
}

/* Of one batch with its intervals filled. A part passes a gradient on where something below it is trained; a trained one
 * does so between its own layers. */
static work batch_work(const oc_config *c, const oc_batch *b, const bool train[OC_PART_COUNT],
                       const int recomputed[OC_PART_COUNT]) {
    work w = {0};
    double pairs = 0, vision_again = fmax(recomputed[OC_PART_VISION] - 1, 0) / fmax(c->vision.layers, 1),
           lm_again = fmax(recomputed[OC_PART_LM] - 1, 0) / c->text.layers;
    for (int i = 0; i < b->N; i++) pairs += b->hi[i] - b->lo[i];
    bool below_projector = train[OC_PART_VISION], below_lm = below_projector || train[OC_PART_PROJECTOR],
         lm = train[OC_PART_LM];
    add_work(&w, b->n_images * vision_matrices(&c->vision), b->n_images * vision_attention(&c->vision),
             train[OC_PART_VISION], train[OC_PART_VISION], train[OC_PART_VISION] ? vision_again : 0);
    add_work(&w, b->n_images * projector_matrices(c), 0, train[OC_PART_PROJECTOR],
             below_projector || train[OC_PART_PROJECTOR], 0);
    add_work(&w, b->N * decoder_matrices(&c->text), 4.0 * c->text.layers * pairs * c->text.heads * c->text.head_size,
             lm, lm || below_lm, lm_again);
    add_work(&w, 2.0 * b->n_labels * c->text.hidden * c->text.vocab, 0, lm, lm || below_lm, 0);
    return w;
}

/* ---- 2. Memory ------------------------------------------------------------------------------------------------------ */

/* What outlives a stage: memory that the run keeps for the next one. */
static const oc_role KEPT[] = {OC_ROLE_PACKED, OC_ROLE_ACTIVATIONS, OC_ROLE_SCRATCH, OC_ROLE_PROGRAM};

/* b: the largest of the batches that were looked at. */
static oc_status count_memory(oc_plan_stage *p, const oc_plan_stage *before, const oc_stage_run *s,
                              const oc_batch_shape *b, const oc_memory *most, const oc_memory *kernels, oc_error *err) {
    size_t *bytes = p->memory.bytes;
    OC_TRY(oc_stage_memory(&p->memory, s, b, err));
    bytes[OC_ROLE_SCRATCH] = kernels->bytes[OC_ROLE_SCRATCH];
    bytes[OC_ROLE_PROGRAM] += kernels->bytes[OC_ROLE_PROGRAM];
    bytes[OC_ROLE_BATCHES] += oc_loader_cache_bytes(s->loader, (double)p->steps * p->images_per_step);
    for (size_t i = 0; before && i < OC_COUNT(KEPT); i++)
        bytes[KEPT[i]] = OC_MAX(bytes[KEPT[i]], before->memory.bytes[KEPT[i]]);
    p->memory_most = OC_MAX(oc_memory_total(most), oc_memory_total(&p->memory));
    for (int i = 0; i < OC_PART_COUNT; i++) p->trainable += s->train[i] ? s->m->params.n_values[i] : 0;
    memcpy(p->recomputed, s->m->recomputed, sizeof p->recomputed);
    return OC_OK;
}

/* ---- 3. One stage --------------------------------------------------------------------------------------------------- */

/* The batch's first sequences, as many as take up to `most` operations forward, but one at least; a view of it. */
static oc_batch first_sequences(const oc_config *c, const oc_batch *b, double most) {
    const bool none[OC_PART_COUNT] = {false};
    const int once[OC_PART_COUNT] = {0};
    oc_batch part = *b;
    for (int n = b->n_seq; n > 0; n--) {
        part.n_seq = n;
        part.N = b->seq_start[n];
        part.n_blocks = part.n_images = part.n_labels = 0;
        for (; part.n_blocks < b->n_blocks && b->block_row[part.n_blocks] < part.N; part.n_blocks++)
            part.n_images = OC_MAX(part.n_images, b->block_image[part.n_blocks] + 1);
        for (int i = 0; i < part.N; i++) part.n_labels += b->label[i] >= 0;
        if (batch_work(c, &part, none, once).forward <= most) break;
    }
    return part;
}

/* Operations a second of a forward pass, from the second pass over the batch's beginning. The weights are zero, which takes
 * as long. At full size a pass takes many seconds: one measurement then serves all stages. */
static oc_status measure_rate(double *rate, oc_vlm *m, const oc_batch *b, oc_error *err) {
    const double most = 2e12, large = 2e11; /* operations */
    const bool all[OC_PART_COUNT] = {true, true, true}, none[OC_PART_COUNT] = {false};
    const int once[OC_PART_COUNT] = {0};
    oc_batch part = first_sequences(&m->cfg, b, most);
    const double measured = batch_work(&m->cfg, &part, none, once).forward;
    if (*rate > 0 && measured >= large) return OC_OK;
    OC_TRY(oc_vlm_reserve(m, part.N, part.n_images, part.n_blocks, OC_MAX(1, part.n_labels), false, err));
    oc_vlm_weights_changed(m, all);
    for (int i = 0; i < 2; i++) {
        double start = oc_now();
        oc_vlm_loss(m, &part, 0);
        *rate = measured / (oc_now() - start);
    }
    return OC_OK;
}

static void take_largest(oc_batch_shape *a, const oc_batch *b) {
    const oc_batch_shape s = oc_batch_shape_of(b);
    *a = (oc_batch_shape){OC_MAX(a->tokens, s.tokens), OC_MAX(a->seqs, s.seqs), OC_MAX(a->images, s.images),
                          OC_MAX(a->blocks, s.blocks), OC_MAX(a->labels, s.labels)};
}

/* Batches that were looked at. */
typedef struct looked {
    oc_batch_shape largest;
    double tokens, images, labels; /* in all of them together, as all that follows */
    work work;
    int64_t units;
} looked;

static void look_at(looked *l, oc_stage_run *s, oc_batch *b) {
    oc_spans_fill(b, s->mask);
    const work w = batch_work(&s->m->cfg, b, s->train, s->m->recomputed);
    take_largest(&l->largest, b);
    l->tokens += b->N;
    l->images += b->n_images;
    l->labels += b->n_labels;
    l->work.forward += w.forward;
    l->work.step += w.step;
}

/* Some batches, within seconds: their largest sizes tell how much memory will be used, all of them how long a step takes.
 * *first: the first one, which the caller releases. */
static oc_status look_at_batches(looked *l, oc_stage_run *s, int64_t units_per_epoch, oc_batch **first, oc_error *err) {
    enum { BATCHES = 24 };
    const double SECONDS = 3;
    double start = oc_now();
    oc_loader_position after;
    *l = (looked){0};
    OC_TRY(oc_loader_next(s->loader, first, &after, err));
    look_at(l, s, *first);
    for (int i = 1; i < BATCHES && oc_now() - start < SECONDS && after.epoch == 0; i++) {
        oc_batch *b;
        oc_status st = oc_loader_next(s->loader, &b, &after, err);
        if (st != OC_OK) {
            oc_loader_release(s->loader, *first);
            return st;
        }
        look_at(l, s, b);
        oc_loader_release(s->loader, b);
    }
    l->units = after.epoch > 0 ? units_per_epoch : after.cursor;
    return OC_OK;
}

/* Arithmetic of a step, from all batches that were looked at, and its time; that of the first one's forward pass is
 * measured. */
static oc_status judge_step(oc_plan_stage *p, double *rate, oc_stage_run *s, const looked *l, const oc_batch *first,
                            oc_error *err) {
    const double n = (double)OC_MIN(s->stage->batch, p->units_per_epoch) / (double)l->units;
    p->tokens_per_step = n * l->tokens;
    p->images_per_step = n * l->images;
    p->labels_per_step = n * l->labels;
    p->flops_per_step = n * l->work.step;
    OC_TRY(measure_rate(rate, s->m, first, err));
    p->seconds_per_step = p->flops_per_step / *rate;
    return OC_OK;
}

/* What the loader's threads took besides batches and pictures: stacks, decoders, workspaces. With a limit, other things
 * were measured in between, and this is left out. */
static size_t loader_bytes(const oc_stage_run *s, const oc_batch_shape *largest, double pictures, oc_error *err) {
    oc_memory known;
    size_t now = oc_rss_bytes();
    if (s->run->recipe->memory_bytes || oc_stage_memory(&known, s, largest, err) != OC_OK) return 0;
    size_t expected = s->before_loader + known.bytes[OC_ROLE_BATCHES] + oc_loader_cache_bytes(s->loader, pictures);
    return now > expected ? now - expected : 0;
}

/* Kernels are measured before anything else has called them: the code of their library then counts as new. */
static oc_status judge_stage(oc_plan_stage *p, const oc_plan_stage *before, double *rate, oc_stage_run *s,
                             const oc_memory *most, oc_error *err) {
    oc_batch *b;
    looked l;
    /* with a limit they were measured before */
    oc_memory kernels = {.bytes[OC_ROLE_PROGRAM] = most->bytes[OC_ROLE_PROGRAM] - s->run->resident - s->data_resident};
    OC_TRY(look_at_batches(&l, s, p->units_per_epoch, &b, err));
    kernels.bytes[OC_ROLE_PROGRAM] += loader_bytes(s, &l.largest, l.images, err);
    oc_status st;
    OC_GO(oc_memory_measure_kernels(&kernels, s->m, s->train, &l.largest, err));
    OC_GO(judge_step(p, rate, s, &l, b, err));
    p->steps = oc_stage_total_steps(s);
    p->seconds = p->steps ? (double)p->steps * p->seconds_per_step : s->stage->budget.minutes * 60;
    if (!p->steps) p->steps = (int64_t)(p->seconds / fmax(p->seconds_per_step, 1e-9));
    OC_GO(count_memory(p, before, s, &l.largest, most, &kernels, err));
done:
    oc_loader_release(s->loader, b);
    return st;
}

static oc_status plan_stage(oc_plan_stage *p, const oc_plan_stage *before, double *rate, oc_stage_run *s,
                            oc_error *err) {
    const oc_recipe_stage *r = s->stage;
    oc_memory most;
    oc_stage_prepare(s);
    p->name = r->name;
    p->batch = r->batch;
    p->micro_batch = oc_stage_micro_batch(r);
    oc_status st;
    OC_GO(oc_stage_open_data(s, err));
    p->units_per_epoch = oc_loader_units_per_epoch(s->loader);
    OC_GO(oc_stage_fit_memory(s, &most, err));
    OC_GO(judge_stage(p, before, rate, s, &most, err));
done:
    oc_loader_close(s->loader);
    oc_mixture_close(&s->mixture);
    s->loader = NULL;
    return st;
}

/* ---- 4. Data ------------------------------------------------------------------------------------------------------- */

/* Every data set of the stages opens, its records are sound, its pictures are there. Comes before all that takes time, so
 * that what is missing is said at once. */
static oc_status check_data(const oc_run *run, int stages, oc_error *err) {
    const oc_recipe *r = run->recipe;
    for (int i = 0; i < stages; i++) {
        const oc_recipe_stage *s = oc_recipe_stage_at(r, i);
        const bool skip = r->data.on_bad == OC_RECIPE_BAD_SKIP;
        char where[128];
        oc_mixture m;
        snprintf(where, sizeof where, "stage %.64s", s->name);
        OC_TRY(oc_mixture_open(&m, &s->datasets, (uint64_t)r->seed, err));
        oc_status st = oc_mixture_check_pictures(&m, &s->datasets, where, skip ? r->data.max_bad : 0, err);
        oc_mixture_close(&m);
        OC_TRY(st);
        if (s->eval.line && !oc_file_exists(s->eval.json))
            return oc_fail(err, OC_ERR_IO, "%s: eval: %s: not found", where, s->eval.json);
    }
    return OC_OK;
}

/* ---- 5. All stages --------------------------------------------------------------------------------------------------- */

static oc_status model_config(oc_config *c, const oc_run *run, oc_error *err) {
    const oc_recipe_model *r = &run->recipe->model;
    if (r->init) {
        OC_TRY(oc_config_load(c, r->init, err));
        const bool parts[OC_PART_COUNT] = {c->has_vision, c->has_vision && c->has_text, c->has_text};
        return oc_weights_check(c, r->init, parts, err);
    }
    OC_TRY(oc_assemble_config(c, r, run->tokenizer, err));
    return oc_assemble_check(c, r, err);
}

static int planned_stages(const oc_run *run) {
    const int all = run->recipe->stages.n;
    return run->opt->only_stages > 0 ? OC_MIN(run->opt->only_stages, all) : all;
}

static oc_status plan_stages(oc_plan *p, oc_run *run, oc_vlm *m, oc_error *err) {
    const int n = planned_stages(run);
    p->stage = oc_calloc((size_t)n, sizeof *p->stage);
    if (!p->stage) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the plan");
    for (; p->n < n; p->n++) {
        oc_stage_run s = {.run = run, .m = m, .stage = oc_recipe_stage_at(run->recipe, p->n), .pos.stage = p->n};
        OC_TRY(plan_stage(&p->stage[p->n], p->n ? &p->stage[p->n - 1] : NULL, &p->operations_per_second, &s, err));
    }
    return OC_OK;
}

oc_status oc_train_plan(oc_plan *out, const oc_recipe *recipe, const oc_train_options *opt, oc_error *err) {
    oc_run run;
    oc_config cfg;
    oc_vlm m = {0};
    oc_train_options o = *opt;
    o.dry_run = true;
    memset(out, 0, sizeof *out);
    if (recipe->stages.n == 0) return oc_fail(err, OC_ERR_ARG, "%s: no stages in it", recipe->path);
    OC_TRY(oc_run_open(&run, recipe, &o, oc_train_tokenizer(&recipe->model), err));
    oc_status st;
    OC_GO(model_config(&cfg, &run, err));
    if (!cfg.has_vision || !cfg.has_text)
        st = oc_fail(err, OC_ERR_ARG, "%s: a lone tower; model.towers joins a vision encoder and a decoder",
                     recipe->model.init);
    OC_GO(st);
    OC_GO(check_data(&run, planned_stages(&run), err));
    OC_GO(oc_vlm_create_typed(&m, run.compute, &cfg, run.dtype, oc_recipe_weights(recipe), err));
    oc_params_narrow(&m.params, recipe->gradients == OC_RECIPE_STATE_BF16, recipe->moments == OC_RECIPE_STATE_BF16);
    memcpy(out->parameters, m.params.n_values, sizeof out->parameters);
    out->dtype = run.dtype;
    OC_GO(plan_stages(out, &run, &m, err));
done:
    oc_vlm_close(&m);
    oc_run_close(&run);
    if (st != OC_OK) oc_plan_free(out);
    return st;
}

void oc_plan_free(oc_plan *p) {
    oc_free(p->stage);
    memset(p, 0, sizeof *p);
}
