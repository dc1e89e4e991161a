/* The stages of a recipe: 1. the model  2. one stage  3. saving and resuming  4. the run */
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "model/spans.h"
#include "train/stage.h"
#include "train/whiten.h"

enum { SEED_WEIGHTS = 0x77 };

/* ---- 1. The model -------------------------------------------------------------------------------------------------- */

static oc_status open_model(oc_vlm *m, const oc_run *run, const char *checkpoint, oc_error *err) {
    const char *whole = checkpoint ? checkpoint : run->recipe->model.init;
    if (!whole)
        return oc_assemble(m, run->compute, &run->recipe->model, run->tokenizer,
                           (uint64_t)run->recipe->seed + SEED_WEIGHTS, run->dtype, err);
    OC_TRY(oc_weights_open(m, run->compute, whole, run->dtype, err));
    oc_status st = OC_OK;
    if (m->cfg.has_vision && m->cfg.has_text) st = oc_check_tokenizer(&m->cfg, run->tokenizer, err);
    else st = oc_fail(err, OC_ERR_ARG, "%s: a lone tower; model.towers joins a vision encoder and a decoder", whole);
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
    if (s->stage->ema <= 0) return OC_OK;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!s->train[i]) continue;
        OC_TRY(oc_alloc_for(&s->ema[i], s->m->params.n[i] * sizeof(float), "averaged weights", err));
        memcpy(s->ema[i], s->m->params.w[i], s->m->params.n[i] * sizeof(float));
    }
    return OC_OK;
}

const char *const oc_role_names[OC_ROLE_COUNT] = {"weights", "gradients",   "moments", "averages",
                                                  "packed",  "activations", "batches"};

static size_t batch_bytes(const oc_config *c, int tokens, int images) {
    size_t S = (size_t)c->vision.image_size;
    return (size_t)tokens * 5 * sizeof(int32_t) + (size_t)images * 3 * S * S * sizeof(float);
}

void oc_stage_memory(size_t memory[OC_ROLE_COUNT], const oc_stage_run *s) {
    int tokens, seqs, blocks, images;
    const oc_recipe_data *d = &s->run->recipe->data;
    oc_loader_capacity(s->loader, &tokens, &seqs, &blocks, &images);
    memset(memory, 0, OC_ROLE_COUNT * sizeof *memory);
    for (int i = 0; i < OC_PART_COUNT; i++) {
        size_t bytes = s->m->params.n[i] * sizeof(float);
        memory[OC_ROLE_WEIGHTS] += bytes;
        if (!s->train[i]) continue;
        memory[OC_ROLE_GRADIENTS] += bytes;
        memory[OC_ROLE_MOMENTS] += 2 * bytes;
        if (s->stage->ema > 0) memory[OC_ROLE_AVERAGES] += bytes;
    }
    memory[OC_ROLE_ACTIVATIONS] = oc_vlm_arena_bytes(s->m, tokens, images, blocks, tokens, true);
    memory[OC_ROLE_BATCHES] = (size_t)(OC_STAGE_AHEAD + d->loader_threads) * batch_bytes(&s->m->cfg, tokens, images) +
                              oc_loader_cache_bytes(s->loader);
}

/* A stage that would need more than the recipe's `memory` is refused before it takes it. */
static oc_status check_memory(const oc_stage_run *s, oc_error *err) {
    size_t memory[OC_ROLE_COUNT], total = 0, limit = s->run->recipe->memory_bytes;
    if (!limit) return OC_OK;
    oc_stage_memory(memory, s);
    for (int i = 0; i < OC_ROLE_COUNT; i++) total += memory[i];
    if (total <= limit) return OC_OK;
    return oc_fail(
        err, OC_ERR_NOMEM,
        "%s: stage %s needs %.2f GiB (activations %.2f), more than memory: %.2f GiB; a smaller micro_batch, max_tokens or max_length needs less",
        s->run->recipe->path, s->stage->name, (double)total / (1 << 30),
        (double)memory[OC_ROLE_ACTIVATIONS] / (1 << 30), (double)limit / (1 << 30));
}

static oc_status reserve(oc_stage_run *s, oc_error *err) {
    int tokens, seqs, blocks, images;
    oc_loader_capacity(s->loader, &tokens, &seqs, &blocks, &images);
    return oc_vlm_reserve(s->m, tokens, images, blocks, tokens, true, err);
}

int64_t oc_stage_total_steps(const oc_stage_run *s) {
    return oc_budget_steps(&s->stage->budget, oc_loader_units_per_epoch(s->loader), s->stage->batch);
}

/* Gradients of one whole batch, as a sum over its labels: how many these are is known after the last micro-batch, so that
 * no more than one has to be held at a time. */
static oc_status batch_step(void *ctx, oc_step_result *r, oc_error *err) {
    oc_stage_run *s = ctx;
    int64_t correct = 0;
    double sum = 0;
    do {
        oc_batch *b;
        OC_TRY(oc_loader_next(s->loader, &b, &s->pos.data, err));
        oc_spans_fill(b, s->mask);
        oc_loss l = oc_vlm_loss(s->m, b, 1);
        sum += l.sum;
        correct += l.correct;
        r->labels += l.n;
        r->samples += b->n_seq;
        r->tokens += b->N;
        oc_loader_release(s->loader, b);
    } while (s->pos.data.cursor % s->stage->batch != 0); /* 0 at the end of an epoch */
    double labels = (double)OC_MAX(r->labels, 1);
    r->loss = sum / labels;
    r->accuracy = (double)correct / labels;
    r->grad_scale = 1 / labels;
    return OC_OK;
}

static void weights_updated(void *ctx) {
    oc_stage_run *s = ctx;
    oc_vlm_weights_changed(s->m, s->train);
}

/* The averaged weights take the place of the present ones, or back. */
static void swap_ema(oc_stage_run *s) {
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!s->ema[i]) continue;
        float *t = s->m->params.w[i];
        for (size_t j = 0; j < s->m->params.n[i]; j++) { /* values, not pointers: packed matrices point at w */
            float x = t[j];
            t[j] = s->ema[i][j];
            s->ema[i][j] = x;
        }
    }
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
    int n = 0;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!s->train[i] || !s->m->params.n[i]) continue;
        struct {
            const char *role;
            float *data;
        } roles[] = {{"m", s->m->params.m[i]}, {"v", s->m->params.v[i]}, {"ema", s->ema[i]}};
        for (size_t k = 0; k < OC_COUNT(roles); k++) {
            if (!roles[k].data) continue;
            b[n] = (oc_state_buffer){.data = roles[k].data, .n = s->m->params.n[i]};
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
        oc_free(s->ema[i]);
        s->ema[i] = NULL;
    }
    s->loader = NULL;
}

/* What a new encoder learns from the data before its first step. */
static oc_status start_from_data(oc_stage_run *s, oc_error *err) {
    const oc_recipe_model *r = &s->run->recipe->model;
    bool fresh = s->pos.stage == 0 && s->pos.step == 0 && !r->init && !r->towers.vision;
    if (!fresh || r->fresh.vision.patches != OC_RECIPE_PATCHES_WHITEN) return OC_OK;
    OC_TRY(oc_stage_open_loader(s, err));
    oc_status st = oc_whiten_patches(s->m, s->loader, err);
    oc_loader_close(s->loader);
    s->loader = NULL;
    return st;
}

static oc_status open_stage(oc_stage_run *s, const char *resumed, oc_error *err) {
    const oc_recipe_stage *st = s->stage;
    const double lr[OC_PART_COUNT] = {st->train.vision, st->train.projector, st->train.lm};
    oc_stage_prepare(s);
    OC_TRY(oc_mixture_open(&s->mixture, &st->datasets, (uint64_t)s->run->recipe->seed, err));
    OC_TRY(start_from_data(s, err));
    OC_TRY(oc_stage_open_loader(s, err));
    memcpy(s->m->train, s->train, sizeof s->m->train); /* what the plan of activations depends on */
    OC_TRY(check_memory(s, err));
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
    for (; s->pos.stage < n; ) {
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
    OC_GO(run_stages(&s, resumed, err));
done:
    oc_free(resumed);
    oc_vlm_close(&m);
    oc_run_close(&run);
    return st;
}
