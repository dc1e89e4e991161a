/* The stages of a recipe: 1. the model  2. one stage  3. saving and resuming  4. the run */
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "model/spans.h"
#include "train/batch_file.h"
#include "train/stage.h"
#include "train/whiten.h"

enum { SEED_WEIGHTS = 0x77 };

/* ---- 1. The model -------------------------------------------------------------------------------------------------- */

static oc_status open_model(oc_vlm *m, const oc_run *run, const char *checkpoint, oc_error *err) {
    const char *whole = checkpoint ? checkpoint : run->recipe->model.init;
    if (!whole)
        return oc_assemble(m, run->compute, &run->recipe->model, run->tokenizer,
                           (uint64_t)run->recipe->seed + SEED_WEIGHTS, run->dtype, oc_recipe_weights(run->recipe), err);
    OC_TRY(oc_weights_open_typed(m, run->compute, whole, run->dtype, oc_recipe_weights(run->recipe), err));
    oc_status st = OC_OK;
    if (m->cfg.has_vision && m->cfg.has_text)
        st = oc_check_tokenizer(&m->cfg, run->tokenizer, err);
    else
        st = oc_fail(err, OC_ERR_ARG, "%s: a lone tower; model.towers joins a vision encoder and a decoder", whole);
    if (st != OC_OK) oc_vlm_close(m);
    return st;
}

/* ---- 2. One stage -------------------------------------------------------------------------------------------------- */

int oc_stage_micro_batch(const oc_recipe_stage *s) {
    return s->micro_batch > 0 ? OC_MIN(s->micro_batch, s->batch) : OC_MIN(s->batch, 64);
}

void oc_stage_prepare(oc_stage_run *s) {
    const oc_recipe_stage *st = s->stage;
    const double lr[OC_PART_COUNT] = {st->train.vision, st->train.projector, st->train.lm};
    for (int i = 0; i < OC_PART_COUNT; i++) s->train[i] = lr[i] > 0;
    s->mask = st->mask == OC_RECIPE_MASK_OF_MODEL ? s->m->cfg.mask : oc_mask_of_recipe[st->mask];
    s->m->cfg.mask = s->mask; /* remembered with the model: this is how it was trained last */
    s->m->cfg.template = st->chat_template == OC_RECIPE_TEMPLATE_PLAIN ? OC_TEMPLATE_PLAIN : OC_TEMPLATE_CHAT;
    s->m->cfg.no_system = !st->system_prompt;
    s->m->sample_loss = st->loss == OC_RECIPE_LOSS_SAMPLE;
}

oc_status oc_stage_open_loader(oc_stage_run *s, oc_error *err) {
    const oc_recipe_stage *st = s->stage;
    oc_loader_options lo;
    oc_loader_defaults(&lo, s->run, &s->mixture, &s->m->cfg);
    lo.seed += (uint64_t)s->pos.stage * 1000003u;
    lo.batch = oc_stage_micro_batch(st);
    lo.max_tokens = st->max_tokens;
    lo.group_by_image = st->group_by_image;
    lo.captions_per_image = st->captions_per_image;
    lo.step = st->batch;
    lo.ahead = OC_STAGE_AHEAD;
    lo.text.template = s->m->cfg.template;
    lo.text.no_system = s->m->cfg.no_system;
    lo.text.token_drop = st->token_drop;
    lo.text.drop_token = s->m->cfg.pad_token >= 0 ? s->m->cfg.pad_token : 0;
    lo.text.max_length = OC_MIN(st->max_length, s->m->decoder.max_rope);
    return oc_loader_open(&s->loader, &lo, s->pos.data, err);
}

static oc_status open_ema(oc_stage_run *s, oc_error *err) {
    oc_compute *c = s->m->compute;
    if (s->stage->ema <= 0) return OC_OK;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!s->train[i]) continue;
        OC_TRY(oc_compute_alloc_for(c, &s->ema[i], s->m->params.n[i] * sizeof(float), "averaged weights", err));
        c->ops.copy(c, s->ema[i], s->m->params.w[i], s->m->params.n[i] * sizeof(float));
    }
    return OC_OK;
}

static size_t batch_bytes(const oc_config *c, const oc_batch_shape *b) {
    size_t S = (size_t)c->vision.image_size;
    return (size_t)b->tokens * 5 * sizeof(int32_t) + (size_t)b->images * 3 * S * S * sizeof(float);
}

oc_batch_shape oc_stage_capacity(const oc_stage_run *s) {
    oc_batch_shape b;
    oc_loader_capacity(s->loader, &b.tokens, &b.seqs, &b.blocks, &b.images);
    b.labels = b.tokens;
    return b;
}

oc_status oc_stage_memory(oc_memory *memory, const oc_stage_run *s, const oc_batch_shape *b, oc_error *err) {
    memset(memory, 0, sizeof *memory);
    OC_TRY(oc_memory_parameters(memory, s->m, s->train, s->stage->ema > 0, err));
    memory->bytes[OC_ROLE_ACTIVATIONS] = oc_vlm_arena_bytes(s->m, b->tokens, b->images, b->blocks, b->labels, true);
    memory->bytes[OC_ROLE_BATCHES] =
        (size_t)(OC_STAGE_AHEAD + OC_MAX(1, s->run->recipe->data.loader_threads)) * batch_bytes(&s->m->cfg, b);
    memory->bytes[OC_ROLE_PROGRAM] = s->run->resident + s->data_resident;
    return OC_OK;
}

static size_t grown_since(size_t before) {
    size_t now = oc_rss_bytes();
    return now > before ? now - before : 0;
}

/* What the model is asked for captions with from now on. That of an earlier stage stays where this one has none. */
static void remember_caption_prompt(oc_stage_run *s) {
    if (s->stage->chat_template == OC_RECIPE_TEMPLATE_PLAIN) return; /* where no question is asked */
    const char *prompt = s->stage->caption_prompt;
    if (!prompt) prompt = oc_mixture_caption_prompt(&s->mixture, &s->stage->datasets);
    if (prompt) strcpy(s->m->cfg.caption_prompt, prompt); /* both are short enough */
}

oc_status oc_stage_open_data(oc_stage_run *s, oc_error *err) {
    size_t before = oc_rss_bytes();
    OC_TRY(oc_mixture_open(&s->mixture, &s->stage->datasets, (uint64_t)s->run->recipe->seed, err));
    s->data_resident = grown_since(before);
    remember_caption_prompt(s);
    s->before_loader = oc_rss_bytes();
    OC_TRY(oc_stage_open_loader(s, err));
    return OC_OK;
}

/* How many layers are computed twice, so that the largest batch that may come fits into the recipe's `memory`. */
oc_status oc_stage_fit_memory(oc_stage_run *s, oc_memory *most, oc_error *err) {
    const oc_recipe *r = s->run->recipe;
    const size_t limit = r->memory_bytes;
    const oc_batch_shape b = oc_stage_capacity(s);
    memcpy(s->m->train, s->train, sizeof s->m->train); /* what the plan of activations depends on */
    oc_memory_recompute_all(s->m, r->recompute == OC_RECIPE_RECOMPUTE_ON);
    OC_TRY(oc_stage_memory(most, s, &b, err));
    most->bytes[OC_ROLE_BATCHES] += oc_loader_cache_bytes(s->loader, INFINITY);
    size_t others = oc_memory_total(most) - most->bytes[OC_ROLE_ACTIVATIONS];
    if (!limit) return OC_OK;
    if (others < limit) {
        OC_TRY(oc_memory_measure_kernels(most, s->m, s->train, &b, err));
        others = oc_memory_total(most) - most->bytes[OC_ROLE_ACTIVATIONS];
    }
    if (r->recompute == OC_RECIPE_RECOMPUTE_AUTO) oc_memory_choose_recomputed(s->m, &b, others, limit);
    most->bytes[OC_ROLE_ACTIVATIONS] = oc_vlm_arena_bytes(s->m, b.tokens, b.images, b.blocks, b.labels, true);
    if (oc_memory_total(most) <= limit) return OC_OK;
    const double GIB = 1 << 30;
    return oc_fail(err, OC_ERR_NOMEM,
                   "%s: stage %s needs up to %.2f GiB (activations %.2f%s), more than memory: %.2f GiB; a smaller "
                   "micro_batch, max_tokens, max_length%s needs less",
                   r->path, s->stage->name, (double)oc_memory_total(most) / GIB,
                   (double)most->bytes[OC_ROLE_ACTIVATIONS] / GIB,
                   r->recompute == OC_RECIPE_RECOMPUTE_OFF ? "" : " with every layer recomputed", (double)limit / GIB,
                   r->recompute == OC_RECIPE_RECOMPUTE_OFF ? ", or recompute: auto," : " or data.cache_mb");
}

static void say_recomputed(const oc_stage_run *s) {
    const int *n = s->m->recomputed;
    if (n[OC_PART_VISION] + n[OC_PART_LM] > 0)
        oc_log(OC_LOG_INFO, "%s: the backward pass computes %d of %d vision layers and %d of %d decoder layers again",
               s->stage->name, n[OC_PART_VISION], oc_vlm_layers(s->m, OC_PART_VISION), n[OC_PART_LM],
               oc_vlm_layers(s->m, OC_PART_LM));
}

static oc_status reserve(oc_stage_run *s, oc_error *err) {
    int tokens, seqs, blocks, images;
    oc_loader_capacity(s->loader, &tokens, &seqs, &blocks, &images);
    return oc_vlm_reserve(s->m, tokens, images, blocks, tokens, true, err);
}

int64_t oc_stage_total_steps(const oc_stage_run *s) {
    return oc_budget_steps(&s->stage->budget, oc_loader_units_per_epoch(s->loader), s->stage->batch);
}

/* Loss and gradients of one micro-batch; its counts are added up. */
static oc_status micro_step(oc_stage_run *s, oc_batch *b, int micro, oc_loss *sum, oc_error *err) {
    const char *dump = s->run->opt->dump_batches;
    oc_loss l;
    double start = oc_now();
    oc_spans_fill(b, s->mask);
    if (dump) OC_TRY(oc_batch_write(dump, s->stage->name, s->pos.step, micro, b, err));
    OC_TRY(oc_vlm_try_loss(&l, s->m, b, 1, err));
    sum->sum += l.sum;
    sum->correct += l.correct;
    sum->n += l.n;
    sum->weight += l.weight;
    oc_trace_add(s->run->trace, &(oc_trace_event){.name = "loss and gradients",
                                                  .category = "train",
                                                  .dims = "tokens sequences images labels",
                                                  .dim = {b->N, b->n_seq, b->n_images, b->n_labels},
                                                  .start = start});
    return OC_OK;
}

/* Gradients of one whole batch, as a sum over its labels: how many these are is known after the last micro-batch, so that
 * no more than one has to be held at a time. */
static oc_status batch_step(void *ctx, oc_step_result *r, oc_error *err) {
    oc_stage_run *s = ctx;
    oc_loss sum = {0};
    int micro = 0;
    do {
        oc_batch *b;
        double start = oc_now();
        OC_TRY(oc_loader_next(s->loader, &b, &s->pos.data, err));
        oc_trace_add(s->run->trace, &(oc_trace_event){.name = "wait for data", .category = "train", .start = start});
        oc_status st = micro_step(s, b, micro++, &sum, err);
        r->samples += b->n_seq;
        r->tokens += b->N;
        oc_loader_release(s->loader, b);
        OC_TRY(st);
    } while (s->pos.data.cursor % s->stage->batch != 0); /* 0 at the end of an epoch */
    double weight = fmax(sum.weight, 1e-9);
    r->labels = sum.n;
    r->loss = sum.sum / weight;
    r->accuracy = (double)sum.correct / (double)OC_MAX(sum.n, 1);
    r->grad_scale = 1 / weight;
    return OC_OK;
}

static void weights_updated(void *ctx) {
    oc_stage_run *s = ctx;
    oc_vlm_weights_changed(s->m, s->train);
}

/* The averaged weights take the place of the present ones, or back. */
static void swap_ema(oc_stage_run *s) {
    oc_compute *c = s->m->compute;
    for (int i = 0; i < OC_PART_COUNT; i++) /* values, not pointers: packed matrices point at w */
        if (s->ema[i]) c->ops.swap(c, s->m->params.w[i], s->ema[i], s->m->params.n[i]);
    oc_vlm_weights_changed(s->m, s->train);
}

static oc_status evaluate(void *ctx, oc_error *err) {
    oc_stage_run *s = ctx;
    const oc_train_options *o = s->run->opt;
    if (!o->evaluate) return OC_OK;
    swap_ema(s);
    oc_status st = o->evaluate(o->ctx, s->m, s->run->tokenizer, s->run->recipe, &s->pos, &s->run->output, err);
    swap_ema(s);
    return st == OC_OK ? reserve(s, err) : st;
}

/* ---- 3. Saving and resuming ---------------------------------------------------------------------------------------- */

enum { MAX_BUFFERS = 3 * OC_PART_COUNT };

static int state_buffers(const oc_stage_run *s, oc_state_buffer *b) {
    const oc_params *p = &s->m->params;
    int n = 0;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!s->train[i] || !p->n[i]) continue;
        const oc_dtype moments = p->narrow_moments ? OC_BF16 : OC_F32;
        const struct {
            const char *role;
            void *data;
            oc_dtype t;
        } roles[] = {{"m", p->m16[i] ? (void *)p->m16[i] : p->m[i], moments},
                     {"v", p->v16[i] ? (void *)p->v16[i] : p->v[i], moments},
                     {"ema", s->ema[i], OC_F32}};
        for (size_t k = 0; k < OC_COUNT(roles); k++) {
            if (!roles[k].data) continue;
            b[n] = (oc_state_buffer){.data = roles[k].data, .n = p->n[i], .t = roles[k].t, .device = s->m->compute};
            snprintf(b[n++].name, sizeof b->name, "%s.%s", roles[k].role, oc_part_names[i]);
        }
    }
    return n;
}

static oc_status save_checkpoint(void *ctx, oc_error *err) {
    oc_stage_run *s = ctx;
    oc_state_buffer buffers[MAX_BUFFERS];
    char *path;
    OC_TRY(oc_run_path(s->run, "checkpoint", &path, err));
    oc_status st = oc_checkpoint_save(path, s->m, s->run->tokenizer, s->stage ? s->stage->name : NULL, &s->pos, buffers,
                                      s->stage ? state_buffers(s, buffers) : 0, err);
    oc_free(path);
    return st;
}

static oc_status save_stage(oc_stage_run *s, oc_error *err) {
    char name[160], *path;
    snprintf(name, sizeof name, "stage-%d-%s", s->pos.stage + 1, s->stage->name);
    OC_TRY(oc_run_path(s->run, name, &path, err));
    oc_status st = oc_model_save_atomic(path, s->m, s->run->tokenizer, s->stage->name, err);
    if (st == OC_OK) oc_log(OC_LOG_INFO, "wrote %s", path);
    oc_free(path);
    return st;
}

static void close_stage(oc_stage_run *s) {
    oc_loader_close(s->loader);
    oc_mixture_close(&s->mixture);
    oc_optimizer_close(&s->optimizer);
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (s->ema[i]) s->m->compute->ops.device_free(s->m->compute, s->ema[i]);
        s->ema[i] = NULL;
    }
    s->loader = NULL;
}

/* What a new encoder learns from the data before its first step. The loader begins anew afterwards. */
static oc_status start_from_data(oc_stage_run *s, oc_error *err) {
    const oc_recipe_model *r = &s->run->recipe->model;
    bool fresh = s->pos.stage == 0 && s->pos.step == 0 && !r->init && !r->towers.vision;
    if (!fresh || r->fresh.vision.patches != OC_RECIPE_PATCHES_WHITEN) return OC_OK;
    OC_TRY(oc_whiten_patches(s->m, s->loader, err));
    oc_loader_close(s->loader);
    s->loader = NULL;
    return oc_stage_open_loader(s, err);
}

static oc_status open_stage(oc_stage_run *s, const char *resumed, oc_error *err) {
    const oc_recipe_stage *st = s->stage;
    const double lr[OC_PART_COUNT] = {st->train.vision, st->train.projector, st->train.lm};
    oc_stage_prepare(s);
    oc_memory most;
    OC_TRY(oc_stage_open_data(s, err));
    OC_TRY(start_from_data(s, err));
    OC_TRY(oc_stage_fit_memory(s, &most, err));
    say_recomputed(s);
    /* Moments start anew in each stage. */
    OC_TRY(oc_vlm_set_trainable(s->m, (bool[OC_PART_COUNT]){false, false, false}, err));
    OC_TRY(oc_vlm_set_trainable(s->m, s->train, err));
    OC_TRY(open_ema(s, err));
    s->optimizer = (oc_optimizer){.compute = s->run->compute, .opt = oc_optimizer_settings(&st->optim)};
    s->optimizer.opt.ema = st->ema;
    OC_TRY(oc_optimizer_add_model(&s->optimizer, s->m, lr, s->ema, false, err));
    if (resumed) {
        oc_state_buffer buffers[MAX_BUFFERS];
        OC_TRY(oc_checkpoint_load_buffers(resumed, buffers, state_buffers(s, buffers), err));
    }
    return reserve(s, err);
}

static oc_status run_stage(oc_stage_run *s, const char *resumed, oc_error *err) {
    char label[64];
    oc_status st;
    snprintf(label, sizeof label, "stage %d/%d %.32s", s->pos.stage + 1, s->run->recipe->stages.n, s->stage->name);
    OC_GO(open_stage(s, resumed, err));
    oc_loop loop = {.label = label,
                    .name = s->stage->name,
                    .optimizer = &s->optimizer,
                    .schedule = &s->stage->optim.schedule.curve,
                    .total_steps = oc_stage_total_steps(s),
                    .total_seconds = s->stage->budget.minutes * 60,
                    .pos = &s->pos,
                    .save_every = s->stage->save_every,
                    .max_skipped = s->run->recipe->max_skipped,
                    .output = &s->run->output,
                    .ctx = s,
                    .step = batch_step,
                    .updated = weights_updated,
                    .save = save_checkpoint,
                    .eval_every = s->stage->eval_every,
                    .evaluate = evaluate};
    OC_GO(oc_loop_run(&loop, err));
    oc_log(OC_LOG_INFO, "%s: %lld samples in %.0f s, %.1f samples/s; waited %.1f s for data; %d bad samples", label,
           (long long)s->pos.samples, s->pos.seconds, (double)s->pos.samples / fmax(s->pos.seconds, 1e-9),
           oc_loader_wait_seconds(s->loader), oc_loader_bad_count(s->loader));
    if (oc_loader_cut_count(s->loader))
        oc_log(OC_LOG_WARN, "%s: %lld sequences lost their end to max_length (%d tokens)", label,
               (long long)oc_loader_cut_count(s->loader), s->stage->max_length);
    swap_ema(s); /* the averaged weights are the stage's result */
    OC_GO(save_stage(s, err));
    if (s->run->opt->evaluate)
        OC_GO(s->run->opt->evaluate(s->run->opt->ctx, s->m, s->run->tokenizer, s->run->recipe, &s->pos, &s->run->output,
                                    err));
done:
    close_stage(s);
    return st;
}

/* ---- 4. The run ---------------------------------------------------------------------------------------------------- */

/* Where the tokenizer is: named, else beside the weights. */
const char *oc_train_tokenizer(const oc_recipe_model *r) {
    return r->tokenizer ? r->tokenizer : r->init ? r->init : r->towers.text;
}

static oc_status run_stages(oc_stage_run *s, const char *resumed, oc_error *err) {
    const oc_recipe *r = s->run->recipe;
    int n = s->run->opt->only_stages > 0 ? OC_MIN(s->run->opt->only_stages, r->stages.n) : r->stages.n;
    for (; s->pos.stage < n;) {
        s->stage = oc_recipe_stage_at(r, s->pos.stage);
        bool in_the_middle = resumed && s->pos.step > 0;
        OC_TRY(run_stage(s, in_the_middle ? resumed : NULL, err));
        resumed = NULL;
        double total = s->pos.total_seconds + s->pos.seconds;
        s->pos = (oc_position){.stage = s->pos.stage + 1, .total_seconds = total, .seed = s->pos.seed};
        s->stage = NULL;
        OC_TRY(save_checkpoint(s, err)); /* between stages: the next one starts from here */
    }
    char *path;
    OC_TRY(oc_run_path(s->run, "model", &path, err));
    oc_status st = oc_model_save_atomic(path, s->m, s->run->tokenizer,
                                        r->stages.n ? oc_recipe_stage_at(r, n - 1)->name : NULL, err);
    if (st == OC_OK) oc_log(OC_LOG_INFO, "wrote %s after %.0f s of training", path, s->pos.total_seconds);
    oc_free(path);
    return st;
}

oc_status oc_train_run(const oc_recipe *recipe, const oc_train_options *opt, oc_error *err) {
    oc_run run;
    oc_vlm m = {0};
    char *resumed = NULL;
    if (recipe->stages.n == 0) return oc_fail(err, OC_ERR_ARG, "%s: no stages in it", recipe->path);
    OC_TRY(oc_run_open(&run, recipe, opt, oc_train_tokenizer(&recipe->model), err));
    oc_stage_run s = {.run = &run, .m = &m, .pos.seed = (uint64_t)recipe->seed};
    oc_status st;
    OC_GO(oc_run_resume(&run, &s.pos, &resumed, err));
    OC_GO(open_model(&m, &run, resumed, err));
    oc_params_narrow(&m.params, recipe->gradients == OC_RECIPE_STATE_BF16, recipe->moments == OC_RECIPE_STATE_BF16);
    OC_GO(run_stages(&s, resumed, err));
done:
    oc_free(resumed);
    oc_vlm_close(&m);
    oc_run_close(&run);
    return st;
}
