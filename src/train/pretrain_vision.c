/* A vision encoder from nothing: SigLIP's sigmoid loss between images and texts. The text encoder is a small causal
 * decoder whose last token stands for the text; it and both heads are thrown away afterwards (the checkpoint keeps them
 * while the run lasts). The image's embedding is the mean of its patches after post_layernorm.
 *
 * The loader packs one image placeholder and the text per sample; here they are taken apart: pixels for the encoder, the
 * text's tokens for the text encoder. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "model/spans.h"
#include "train/setup.h"
#include "train/siglip.h"
#include "train/whiten.h"

/* Float parameters outside of the two models, in one buffer per role. */
typedef struct heads {
    int C, Ct, D;
    size_t n;
    float *w, *g, *m, *v;
} heads;

/* Where each lies in the buffer. */
static size_t image_w(const heads *h) {
    (void)h;
    return 0;
}
static size_t image_b(const heads *h) { return (size_t)h->D * (size_t)h->C; }
static size_t text_w(const heads *h) { return image_b(h) + (size_t)h->D; }
static size_t text_b(const heads *h) { return text_w(h) + (size_t)h->D * (size_t)h->Ct; }
static size_t scale_at(const heads *h) { return text_b(h) + (size_t)h->D; }
static size_t bias_at(const heads *h) { return scale_at(h) + 1; }

typedef struct vision_run {
    oc_run run;
    oc_vlm vision, text; /* lone towers */
    heads heads;
    oc_mixture mixture;
    oc_loader *loader;
    oc_optimizer optimizer;
    const oc_recipe_pretrain_vision *r;
    oc_position pos;
    oc_batch words; /* the texts alone */
    int B;
    /* of one step, f32: [B, C] pooled and its gradient, [B, Ct] last tokens and theirs, [B, D] embeddings and theirs */
    float *pooled, *d_pooled, *last, *d_last, *z, *u, *dz, *du, *z_norm, *u_norm;
    int32_t *last_row;
} vision_run;

static const bool ONLY_VISION[OC_PART_COUNT] = {[OC_PART_VISION] = true},
                  ONLY_LM[OC_PART_COUNT] = {[OC_PART_LM] = true};

/* ---- Opening ------------------------------------------------------------------------------------------------------- */

static oc_status open_heads(heads *h, int C, int Ct, int D, uint64_t seed, oc_error *err) {
    h->C = C, h->Ct = Ct, h->D = D;
    h->n = bias_at(h) + 1;
    float **all[] = {&h->w, &h->g, &h->m, &h->v};
    for (size_t i = 0; i < OC_COUNT(all); i++) {
        OC_TRY(oc_alloc_for(all[i], h->n * sizeof(float), "the heads", err));
        memset(*all[i], 0, h->n * sizeof(float));
    }
    oc_rng rng = oc_rng_at(seed, 0x68656164, 0);
    for (size_t i = 0; i < image_b(h); i++) h->w[image_w(h) + i] = (float)(oc_rng_normal(&rng) / sqrt(C));
    for (size_t i = 0; i < (size_t)D * (size_t)Ct; i++) h->w[text_w(h) + i] = (float)(oc_rng_normal(&rng) / sqrt(Ct));
    h->w[scale_at(h)] = logf(10);
    h->w[bias_at(h)] = -10;
    return OC_OK;
}

static oc_status open_towers(vision_run *v, oc_error *err) {
    const oc_recipe_new *fresh = &v->run.recipe->model.fresh;
    const oc_recipe_text_encoder *t = &v->r->text;
    oc_config cfg;
    oc_config_defaults(&cfg);
    oc_config_new_vision(&cfg, &fresh->vision);
    OC_TRY(oc_vlm_create(&v->vision, v->run.compute, &cfg, v->run.dtype, err));
    oc_params_init(&v->vision.params, (uint64_t)v->run.recipe->seed, ONLY_VISION);
    OC_TRY(oc_vlm_set_trainable(&v->vision, ONLY_VISION, err));
    oc_recipe_new_text sizes = {.hidden = t->hidden ? t->hidden : fresh->vision.hidden,
                                .layers = t->layers ? t->layers : OC_MIN(fresh->vision.layers, 4),
                                .heads = t->heads ? t->heads : fresh->vision.heads,
                                .mlp = t->mlp ? t->mlp : fresh->vision.mlp,
                                .max_positions = 1024,
                                .rope_theta = 10000,
                                .tie = true};
    oc_config_defaults(&cfg);
    oc_config_new_text(&cfg, &sizes, v->run.tokenizer);
    oc_config_tokens(&cfg, v->run.tokenizer);
    OC_TRY(oc_vlm_create(&v->text, v->run.compute, &cfg, v->run.dtype, err));
    oc_params_init(&v->text.params, (uint64_t)v->run.recipe->seed + 1, ONLY_LM);
    OC_TRY(oc_vlm_set_trainable(&v->text, ONLY_LM, err));
    return open_heads(&v->heads, fresh->vision.hidden, sizes.hidden, fresh->vision.hidden,
                      (uint64_t)v->run.recipe->seed, err);
}

static oc_status open_buffers(vision_run *v, oc_error *err) {
    const heads *h = &v->heads;
    struct {
        float **p;
        int width;
    } all[] = {{&v->pooled, h->C}, {&v->d_pooled, h->C}, {&v->last, h->Ct}, {&v->d_last, h->Ct}, {&v->z, h->D},
               {&v->u, h->D},      {&v->dz, h->D},       {&v->du, h->D},    {&v->z_norm, 1},     {&v->u_norm, 1}};
    for (size_t i = 0; i < OC_COUNT(all); i++)
        OC_TRY(oc_alloc_for(all[i].p, (size_t)v->B * (size_t)all[i].width * sizeof(float), "embeddings", err));
    OC_TRY(oc_alloc_for(&v->last_row, (size_t)v->B * sizeof(int32_t), "embeddings", err));
    return oc_batch_open(&v->words, v->B * v->r->max_text, v->B, 0, 0, 1, 1, err);
}

static oc_status open_loader(vision_run *v, oc_error *err) {
    oc_loader_options lo;
    oc_loader_defaults(&lo, &v->run, &v->mixture, &v->vision.cfg);
    lo.batch = v->B;
    lo.group_by_image = true; /* two texts of one image in a batch would be each other's false negatives */
    lo.captions_per_image = 1;
    lo.text.template = OC_TEMPLATE_PLAIN;
    lo.text.tokens_per_image = 1;
    lo.text.max_length = v->r->max_text + 1;
    lo.text.image_token = v->text.cfg.image_token;
    lo.text.eos_token = v->text.cfg.eos_token;
    return oc_loader_open(&v->loader, &lo, v->pos.data, err);
}

/* What a new encoder learns from the data before its first step. */
static oc_status start_from_data(vision_run *v, oc_error *err) {
    bool fresh = v->pos.step == 0;
    if (!fresh || v->run.recipe->model.fresh.vision.patches != OC_RECIPE_PATCHES_WHITEN) return OC_OK;
    OC_TRY(open_loader(v, err));
    oc_status st = oc_whiten_patches(&v->vision, v->loader, err);
    oc_loader_close(v->loader);
    v->loader = NULL;
    return st;
}

/* ---- One step ------------------------------------------------------------------------------------------------------ */

/* Each sequence without its image placeholder; last_row[k] is its end. */
static void take_words(vision_run *v, const oc_batch *b) {
    oc_batch_clear(&v->words);
    for (int k = 0; k < b->n_seq; k++) {
        int first = b->seq_start[k] + 1, n = b->seq_start[k + 1] - first;
        uint8_t none[4096] = {0};
        OC_ASSERT(n > 0 && n <= (int)sizeof none && oc_batch_append(&v->words, b->token + first, none, n, -1, NULL, 0));
        v->last_row[k] = v->words.N - 1;
    }
    oc_spans_fill(&v->words, OC_MASK_CAUSAL);
}

static void to_f32(vision_run *v, float *y, const void *x, size_t n) {
    v->run.compute->ops.convert(v->run.compute, y, OC_F32, x, v->run.dtype, n);
}
static void from_f32(vision_run *v, void *y, const float *x, size_t n) {
    v->run.compute->ops.convert(v->run.compute, y, v->run.dtype, x, OC_F32, n);
}

typedef struct image_pass {
    void *features, *normed, *d_normed, *dx; /* T [M, C] */
    float *mean, *rstd, *wide;               /* [M], [M], [M, C] f32 */
} image_pass;

static image_pass image_layout(vision_run *v, oc_arena *a, int images) {
    image_pass p = {0};
    size_t M = (size_t)images * (size_t)oc_vision_patches(&v->vision.cfg.vision), C = (size_t)v->heads.C;
    oc_vision_layout(&v->vision.vision, v->run.compute, a, &v->vision.host, images, OC_PASS_BACKWARD_W, 0);
    p.normed = oc_push(a, v->run.dtype, M, C);
    p.d_normed = oc_push(a, v->run.dtype, M, C);
    p.dx = oc_push(a, v->run.dtype, M, C);
    p.mean = oc_push(a, OC_F32, M, 1);
    p.rstd = oc_push(a, OC_F32, M, 1);
    p.wide = oc_push(a, OC_F32, M, C);
    return p;
}

/* Pooled [B, C]: the mean over each image's patches after post_layernorm. */
static image_pass image_fwd(vision_run *v, const oc_batch *b) {
    oc_compute *c = v->run.compute;
    const oc_vision *vis = &v->vision.vision;
    const oc_params *p = &v->vision.params;
    oc_arena_pop(&v->vision.arena, 0);
    image_pass pass = image_layout(v, &v->vision.arena, b->n_images);
    pass.features = oc_vision_fwd(&v->vision.vision, c, b->pixels);
    int M = vis->M, C = v->heads.C, P = M / b->n_images;
    c->ops.layernorm_fwd(c, pass.normed, pass.mean, pass.rstd, pass.features, NULL, oc_params_weight(p, vis->post_norm),
                         oc_params_weight(p, vis->post_norm + 1), M, C, vis->cfg->eps, vis->t);
    to_f32(v, pass.wide, pass.normed, (size_t)M * (size_t)C);
    for (int i = 0; i < b->n_images; i++)
        for (int j = 0; j < C; j++) {
            float sum = 0;
            for (int k = 0; k < P; k++) sum += pass.wide[((size_t)i * (size_t)P + (size_t)k) * (size_t)C + (size_t)j];
            v->pooled[(size_t)i * (size_t)C + (size_t)j] = sum / (float)P;
        }
    return pass;
}

static void image_bwd(vision_run *v, const image_pass *pass, int images) {
    oc_compute *c = v->run.compute;
    const oc_vision *vis = &v->vision.vision;
    const oc_params *p = &v->vision.params;
    int M = vis->M, C = v->heads.C, P = M / images;
    for (int n = 0; n < M; n++)
        for (int j = 0; j < C; j++)
            pass->wide[(size_t)n * (size_t)C + (size_t)j] =
                v->d_pooled[(size_t)(n / P) * (size_t)C + (size_t)j] / (float)P;
    from_f32(v, pass->d_normed, pass->wide, (size_t)M * (size_t)C);
    memset(pass->dx, 0, (size_t)M * (size_t)C * oc_dtype_size(vis->t));
    c->ops.layernorm_bwd(c, pass->dx, oc_params_grad(p, vis->post_norm), oc_params_grad(p, vis->post_norm + 1),
                         pass->d_normed, pass->features, pass->mean, pass->rstd, oc_params_weight(p, vis->post_norm), M,
                         C, vis->t);
    oc_vision_bwd(&v->vision.vision, c, pass->dx);
}

typedef struct text_pass {
    void *rows, *normed, *d_normed, *d_rows, *dx; /* T [B, Ct] x4, [N, Ct] */
    float *rstd;
} text_pass;

static text_pass text_layout(vision_run *v, oc_arena *a, int N, int B) {
    text_pass p = {0};
    size_t C = (size_t)v->heads.Ct;
    oc_dtype t = v->run.dtype;
    oc_decoder_layout(&v->text.decoder, v->run.compute, a, &v->text.host, N, OC_PASS_BACKWARD_W, 0);
    p.rows = oc_push(a, t, (size_t)B, C);
    p.normed = oc_push(a, t, (size_t)B, C);
    p.d_normed = oc_push(a, t, (size_t)B, C);
    p.d_rows = oc_push(a, t, (size_t)B, C);
    p.dx = oc_push(a, t, (size_t)N, C);
    p.rstd = oc_push(a, OC_F32, (size_t)B, 1);
    return p;
}

static text_pass text_fwd(vision_run *v) {
    oc_compute *c = v->run.compute;
    oc_vlm *m = &v->text;
    const oc_batch *b = &v->words;
    int C = v->heads.Ct, B = b->n_seq;
    oc_arena_pop(&m->arena, 0);
    text_pass pass = text_layout(v, &m->arena, b->N, B);
    c->ops.embedding_fwd(c, oc_decoder_input(&m->decoder), b->token, oc_params_weight(&m->params, m->embed), OC_F32,
                         b->N, C, m->t);
    void *x = oc_decoder_fwd(&m->decoder, c, &(oc_decoder_rows){.position = b->position, .lo = b->lo, .hi = b->hi});
    c->ops.gather_rows(c, pass.rows, x, v->last_row, B, C, m->t);
    c->ops.rmsnorm_fwd(c, pass.normed, pass.rstd, pass.rows, NULL, oc_params_weight(&m->params, m->norm), B, C,
                       m->cfg.text.eps, m->t);
    to_f32(v, v->last, pass.normed, (size_t)B * (size_t)C);
    return pass;
}

static void text_bwd(vision_run *v, const text_pass *pass) {
    oc_compute *c = v->run.compute;
    oc_vlm *m = &v->text;
    const oc_batch *b = &v->words;
    int C = v->heads.Ct, B = b->n_seq;
    size_t row = (size_t)C * oc_dtype_size(m->t);
    from_f32(v, pass->d_normed, v->d_last, (size_t)B * (size_t)C);
    memset(pass->d_rows, 0, (size_t)B * row);
    c->ops.rmsnorm_bwd(c, pass->d_rows, oc_params_grad(&m->params, m->norm), pass->d_normed, pass->rows, pass->rstd,
                       oc_params_weight(&m->params, m->norm), B, C, m->t);
    memset(pass->dx, 0, (size_t)b->N * row);
    c->ops.scatter_rows(c, pass->dx, pass->d_rows, C, v->last_row, B, C, false, m->t);
    oc_decoder_bwd(&m->decoder, c, pass->dx);
    c->ops.embedding_bwd(c, oc_params_grad(&m->params, m->embed), b->token, pass->dx, b->N, C, m->cfg.text.vocab, m->t);
}

typedef struct siglip_pass {
    vision_run *v;
    const oc_batch *b;
    double loss;
    int matches;
} siglip_pass;

static void run_pass(void *ctx) {
    siglip_pass *p = ctx;
    vision_run *v = p->v;
    const oc_batch *b = p->b;
    heads *h = &v->heads;
    int B = b->n_seq;
    image_pass image = image_fwd(v, b);
    text_pass text = text_fwd(v);
    oc_embed_head_fwd(v->z, v->z_norm, v->pooled, h->w + image_w(h), h->w + image_b(h), B, h->C, h->D);
    oc_embed_head_fwd(v->u, v->u_norm, v->last, h->w + text_w(h), h->w + text_b(h), B, h->Ct, h->D);
    p->loss = oc_sigmoid_loss(v->dz, v->du, h->g + scale_at(h), h->g + bias_at(h), &p->matches, v->z, v->u,
                              h->w[scale_at(h)], h->w[bias_at(h)], B, h->D);
    oc_embed_head_bwd(v->d_pooled, h->g + image_w(h), h->g + image_b(h), v->dz, v->z, v->z_norm, v->pooled,
                      h->w + image_w(h), B, h->C, h->D);
    oc_embed_head_bwd(v->d_last, h->g + text_w(h), h->g + text_b(h), v->du, v->u, v->u_norm, v->last, h->w + text_w(h),
                      B, h->Ct, h->D);
    image_bwd(v, &image, b->n_images);
    text_bwd(v, &text);
}

static oc_status siglip_step(void *ctx, oc_step_result *r, oc_error *err) {
    vision_run *v = ctx;
    oc_batch *b;
    OC_TRY(oc_loader_next(v->loader, &b, &v->pos.data, err));
    int B = b->n_seq;
    if (b->n_images != B || b->n_blocks != B)
        return oc_fail(
            err, OC_ERR_ARG,
            "pretrain_vision: %d texts of a batch show %d images in %d places; every sample must show one image once",
            B, b->n_images, b->n_blocks);
    take_words(v, b);
    siglip_pass pass = {.v = v, .b = b};
    oc_status st = oc_compute_try(v->run.compute, run_pass, &pass, err);
    oc_loader_release(v->loader, b);
    OC_TRY(st);
    r->loss = pass.loss;
    r->accuracy = (double)pass.matches / B;
    r->samples = B;
    r->tokens = v->words.N + v->vision.vision.M;
    r->labels = B;
    return OC_OK;
}

static void weights_updated(void *ctx) {
    vision_run *v = ctx;
    oc_vlm_weights_changed(&v->vision, ONLY_VISION);
    oc_vlm_weights_changed(&v->text, ONLY_LM);
}

/* ---- Saving and the run -------------------------------------------------------------------------------------------- */

static int buffers(const vision_run *v, oc_state_buffer b[8]) {
    const oc_params *p = &v->vision.params, *t = &v->text.params;
    const heads *h = &v->heads;
    size_t nv = p->n[OC_PART_VISION], nt = t->n[OC_PART_LM];
    const oc_state_buffer all[8] = {{"m.vision", p->m[OC_PART_VISION], nv, OC_F32, NULL},
                                    {"v.vision", p->v[OC_PART_VISION], nv, OC_F32, NULL},
                                    {"w.text", t->w[OC_PART_LM], nt, OC_F32, NULL},
                                    {"m.text", t->m[OC_PART_LM], nt, OC_F32, NULL},
                                    {"v.text", t->v[OC_PART_LM], nt, OC_F32, NULL},
                                    {"w.heads", h->w, h->n, OC_F32, NULL},
                                    {"m.heads", h->m, h->n, OC_F32, NULL},
                                    {"v.heads", h->v, h->n, OC_F32, NULL}};
    memcpy(b, all, sizeof all);
    return 8;
}

static oc_status save_checkpoint(void *ctx, oc_error *err) {
    vision_run *v = ctx;
    oc_state_buffer b[8];
    char *path;
    OC_TRY(oc_run_path(&v->run, "checkpoint", &path, err));
    oc_status st =
        oc_checkpoint_save(path, &v->vision, v->run.tokenizer, "pretrain_vision", &v->pos, b, buffers(v, b), err);
    oc_free(path);
    return st;
}

static oc_status resume(vision_run *v, oc_error *err) {
    char *found;
    oc_state_buffer b[8];
    OC_TRY(oc_run_resume(&v->run, &v->pos, &found, err));
    if (!found) return OC_OK;
    oc_status st = oc_weights_load(&v->vision, found, ONLY_VISION, err);
    if (st == OC_OK) st = oc_checkpoint_load_buffers(found, b, buffers(v, b), err);
    oc_free(found);
    return st;
}

static oc_status reserve(vision_run *v, oc_error *err) {
    oc_arena plan = {0};
    image_layout(v, &plan, v->B);
    OC_TRY(oc_arena_open(&v->vision.arena, plan.peak,
                         "the activations of the vision encoder (a smaller batch needs less)", err));
    plan = (oc_arena){0};
    text_layout(v, &plan, v->B * v->r->max_text, v->B);
    return oc_arena_open(&v->text.arena, plan.peak, "the activations of the text encoder (a smaller batch needs less)",
                         err);
}

static oc_status add_ranges(vision_run *v, oc_error *err) {
    const double lr[OC_PART_COUNT] = {v->r->lr, 0, v->r->lr};
    heads *h = &v->heads;
    OC_TRY(oc_optimizer_add_model(&v->optimizer, &v->vision, lr, NULL, true, err));
    OC_TRY(oc_optimizer_add_model(&v->optimizer, &v->text, lr, NULL, false, err));
    return oc_optimizer_add(&v->optimizer,
                            &(oc_range){.w = h->w, .g = h->g, .m = h->m, .v = h->v, .n = h->n, .lr = v->r->lr}, err);
}

static oc_status train_vision(vision_run *v, oc_error *err) {
    const oc_recipe_pretrain_vision *r = v->r;
    OC_TRY(open_buffers(v, err));
    OC_TRY(start_from_data(v, err));
    OC_TRY(open_loader(v, err));
    OC_TRY(reserve(v, err));
    v->optimizer = (oc_optimizer){.compute = v->run.compute, .opt = oc_optimizer_settings(&r->optim)};
    OC_TRY(add_ranges(v, err));
    oc_loop loop = {.label = "pretrain vision",
                    .name = "pretrain_vision",
                    .optimizer = &v->optimizer,
                    .schedule = &r->optim.schedule.curve,
                    .total_steps = oc_budget_steps(&r->budget, oc_loader_units_per_epoch(v->loader), v->B),
                    .total_seconds = r->budget.minutes * 60,
                    .pos = &v->pos,
                    .save_every = r->save_every,
                    .max_skipped = v->run.recipe->max_skipped,
                    .output = &v->run.output,
                    .ctx = v,
                    .step = siglip_step,
                    .updated = weights_updated,
                    .save = save_checkpoint};
    return oc_loop_run(&loop, err);
}

static void close_run(vision_run *v) {
    void *all[] = {v->pooled, v->d_pooled, v->last,     v->d_last,  v->z,       v->u,       v->dz,     v->du,
                   v->z_norm, v->u_norm,   v->last_row, v->heads.w, v->heads.g, v->heads.m, v->heads.v};
    for (size_t i = 0; i < OC_COUNT(all); i++) oc_free(all[i]);
    oc_loader_close(v->loader);
    oc_mixture_close(&v->mixture);
    oc_batch_close(&v->words);
    oc_optimizer_close(&v->optimizer);
    oc_vlm_close(&v->vision);
    oc_vlm_close(&v->text);
    oc_run_close(&v->run);
}

oc_status oc_pretrain_vision(const oc_recipe *recipe, const oc_train_options *opt, oc_error *err) {
    vision_run v = {
        .r = &recipe->pretrain_vision, .pos.seed = (uint64_t)recipe->seed, .B = recipe->pretrain_vision.batch};
    char *path = NULL;
    oc_status st = oc_run_open(&v.run, recipe, opt, recipe->model.tokenizer, err);
    if (st != OC_OK) return st;
    if (!v.run.compute->ops.host_memory) /* SigLIP's loss and the heads read activations */
        OC_GO(oc_fail(err, OC_ERR_UNSUPPORTED, "pretrain vision runs on processors only, not on %s",
                      v.run.compute->ops.name));
    OC_GO(oc_mixture_open(&v.mixture, &v.r->datasets, (uint64_t)recipe->seed, err));
    OC_GO(open_towers(&v, err));
    OC_GO(resume(&v, err));
    OC_GO(train_vision(&v, err));
    OC_GO(oc_run_path(&v.run, "model", &path, err));
    OC_GO(oc_model_save_atomic(path, &v.vision, NULL, NULL, err));
    oc_log(OC_LOG_INFO, "wrote %s", path);
done:
    oc_free(path);
    close_run(&v);
    return st;
}
