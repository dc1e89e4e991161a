#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct oc_decoder_layer {
    oc_linear qkv, o, gate_up, down;
    int norm1, norm2; /* parameter rows */
    /* kept activations, T unless said otherwise */
    void *x, *y1, *qkv_x, *att, *x2, *y2, *gu, *s; /* [N,C] [N,C] [N,Q+2KV] [N,Q] [N,C] [N,C] [N,2F] [N,F] */
    float *rstd1, *rstd2, *lse;                    /* [N] [N] [N,NH] */
};

enum { MAX_ROPE = 32768 };

static const char LAYER[] = "language_model.layers.%d.%s";

static int q_width(const oc_text_config *t) { return t->heads * t->head_size; }
static int kv_width(const oc_text_config *t) { return t->kv_heads * t->head_size; }
static int qkv_width(const oc_text_config *t) { return q_width(t) + 2 * kv_width(t); }

static oc_status open_linear(oc_decoder *d, oc_compute *c, oc_linear *l, int i, const char *weight, const char *bias,
                             int fused, oc_error *err) {
    char w[128], b[128];
    snprintf(w, sizeof w, LAYER, i, weight);
    if (bias) snprintf(b, sizeof b, LAYER, i, bias);
    return oc_linear_open(l, c, d->params, w, bias ? b : NULL, fused, d->t, err);
}

static int find_layer(const oc_decoder *d, int i, const char *what) {
    char name[128];
    snprintf(name, sizeof name, LAYER, i, what);
    return oc_params_find(d->params, name);
}

/* The table is made in ordinary memory. */
static oc_status make_rope_table(oc_decoder *d, oc_compute *c, oc_error *err) {
    const oc_text_config *t = d->cfg;
    const size_t bytes = (size_t)d->max_rope * (size_t)t->head_size * sizeof(float);
    float *table;
    OC_TRY(oc_compute_alloc_for(c, &d->rope, bytes, "the rotary table", err));
    if (c->ops.host_memory) {
        oc_rope_table(d->rope, d->max_rope, t->head_size, t->rope_theta);
        return OC_OK;
    }
    OC_TRY(oc_alloc_for(&table, bytes, "the rotary table", err));
    oc_rope_table(table, d->max_rope, t->head_size, t->rope_theta);
    c->ops.upload(c, d->rope, table, bytes);
    oc_free(table);
    return OC_OK;
}

oc_status oc_decoder_open(oc_decoder *d, oc_compute *c, const oc_config *cfg, const oc_params *p, oc_dtype t,
                          oc_error *err) {
    memset(d, 0, sizeof *d);
    d->cfg = &cfg->text;
    d->params = p;
    d->t = t;
    d->max_rope = OC_MIN(cfg->text.max_positions, MAX_ROPE);
    d->layer = oc_calloc((size_t)cfg->text.layers, sizeof *d->layer);
    if (!d->layer) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the decoder");
    OC_TRY(make_rope_table(d, c, err));
    for (int i = 0; i < cfg->text.layers; i++) {
        oc_decoder_layer *l = &d->layer[i];
        OC_TRY(open_linear(d, c, &l->qkv, i, "self_attn.q_proj.weight", "self_attn.q_proj.bias", 3, err));
        OC_TRY(open_linear(d, c, &l->o, i, "self_attn.o_proj.weight", NULL, 1, err));
        OC_TRY(open_linear(d, c, &l->gate_up, i, "mlp.gate_proj.weight", NULL, 2, err));
        OC_TRY(open_linear(d, c, &l->down, i, "mlp.down_proj.weight", NULL, 1, err));
        l->norm1 = find_layer(d, i, "input_layernorm.weight");
        l->norm2 = find_layer(d, i, "post_attention_layernorm.weight");
    }
    return OC_OK;
}

void oc_decoder_close(oc_decoder *d, oc_compute *c) {
    for (int i = 0; d->layer && i < d->cfg->layers; i++) {
        oc_linear *all[] = {&d->layer[i].qkv, &d->layer[i].o, &d->layer[i].gate_up, &d->layer[i].down};
        for (size_t k = 0; k < OC_COUNT(all); k++) oc_linear_close(all[k], c);
    }
    oc_free(d->layer);
    if (d->rope) c->ops.device_free(c, d->rope);
    memset(d, 0, sizeof *d);
}

void oc_decoder_changed(oc_decoder *d, oc_compute *c) {
    for (int i = 0; i < d->cfg->layers; i++) {
        oc_linear *all[] = {&d->layer[i].qkv, &d->layer[i].o, &d->layer[i].gate_up, &d->layer[i].down};
        for (size_t k = 0; k < OC_COUNT(all); k++) oc_linear_changed(all[k], c);
    }
}

/* y1, y2 and s are inputs of linear layers: only weight gradients read them again, so other passes share one set. */
static void layout_layer(const oc_decoder *d, oc_decoder_layer *l, oc_arena *a, const oc_decoder_layer *shared) {
    size_t N = (size_t)d->N, C = (size_t)d->cfg->hidden, F = (size_t)d->cfg->mlp;
    oc_dtype t = d->t;
    l->x = oc_push(a, t, N, C);
    l->y1 = shared ? shared->y1 : oc_push(a, t, N, C);
    l->qkv_x = oc_push(a, t, N, (size_t)qkv_width(d->cfg));
    l->att = oc_push(a, t, N, (size_t)q_width(d->cfg));
    l->x2 = oc_push(a, t, N, C);
    l->y2 = shared ? shared->y2 : oc_push(a, t, N, C);
    l->gu = oc_push(a, t, N, 2 * F);
    l->s = shared ? shared->s : oc_push(a, t, N, F);
    l->rstd1 = oc_push(a, OC_F32, N, 1);
    l->rstd2 = oc_push(a, OC_F32, N, 1);
    l->lse = oc_push(a, OC_F32, N, (size_t)d->cfg->heads);
}

static void share_layer(oc_decoder_layer *l, const oc_decoder_layer *first) {
    oc_decoder_layer own = *l;
    *l = *first;
    l->qkv = own.qkv, l->o = own.o, l->gate_up = own.gate_up, l->down = own.down;
    l->norm1 = own.norm1, l->norm2 = own.norm2;
}

void oc_decoder_layout(oc_decoder *d, const oc_compute *c, oc_arena *a, oc_arena *host, int N, oc_pass pass,
                       int recomputed) {
    d->N = N;
    d->pass = pass;
    d->recomputed = pass == OC_PASS_FORWARD ? 0 : OC_MIN(recomputed, d->cfg->layers);
    size_t n = (size_t)N, C = (size_t)d->cfg->hidden, F = (size_t)d->cfg->mlp;
    d->x_out = oc_push(a, d->t, n, C);
    oc_input *cache[] = {&d->cache_row, &d->cache_first, &d->cache_len};
    for (size_t k = 0; k < OC_COUNT(cache); k++) *cache[k] = oc_push_input(c, a, host, n);
    d->room.position = oc_push_room(c, a, n * sizeof(int32_t));
    d->room.lo = oc_push_room(c, a, n * sizeof(int32_t));
    d->room.hi = oc_push_room(c, a, n * sizeof(int32_t));
    for (int i = 0; i < d->cfg->layers; i++) {
        oc_decoder_layer *l = &d->layer[i];
        bool keeps_input = i > 0 && i < d->recomputed;
        if (keeps_input || (i > 0 && pass == OC_PASS_FORWARD))
            share_layer(l, &d->layer[0]);
        else
            layout_layer(d, l, a, i > 0 && pass == OC_PASS_BACKWARD_X ? &d->layer[0] : NULL);
        if (keeps_input) l->x = oc_push(a, d->t, n, C);
    }
    d->d_gu = d->d_s = d->d_qkv = d->d_y = NULL;
    if (pass == OC_PASS_FORWARD) return;
    d->d_gu = oc_push(a, d->t, n, 2 * F);
    d->d_s = oc_push(a, d->t, n, F);
    d->d_qkv = oc_push(a, d->t, n, (size_t)qkv_width(d->cfg));
    d->d_y = oc_push(a, d->t, n, (size_t)OC_MAX(d->cfg->hidden, q_width(d->cfg)));
}

void *oc_decoder_input(oc_decoder *d) { return d->layer[0].x; }

static oc_attention attention_shape(const oc_decoder *d) {
    const oc_text_config *t = d->cfg;
    return (oc_attention){.N = d->N,
                          .NH = t->heads,
                          .NKV = t->kv_heads,
                          .HS = t->head_size,
                          .ldq = qkv_width(t),
                          .ldkv = qkv_width(t),
                          .ldo = q_width(t),
                          .lo = d->rows.lo,
                          .hi = d->rows.hi,
                          .scale = 1.0f / sqrtf((float)t->head_size),
                          .t = d->t};
}

/* The rows with their arrays in memory of the device, for this pass and the backward pass that may follow. */
static void bring_rows(oc_decoder *d, oc_compute *c, const oc_decoder_rows *r) {
    const size_t N = (size_t)d->N;
    d->rows = *r;
    d->rows.position = oc_bring(c, d->room.position, r->position, N * sizeof(int32_t));
    if (r->lo) d->rows.lo = oc_bring(c, d->room.lo, r->lo, N * sizeof(int32_t));
    if (r->hi) d->rows.hi = oc_bring(c, d->room.hi, r->hi, N * sizeof(int32_t));
    if (!r->cache) return;
    for (size_t i = 0; i < N; i++) {
        OC_ASSERT(r->position[i] < r->cache->max_len);
        d->cache_row.here[i] = oc_kv_row(r->cache, r->slot[i], r->position[i]);
        d->cache_first.here[i] = oc_kv_row(r->cache, r->slot[i], 0);
        d->cache_len.here[i] = r->position[i] + 1;
    }
    oc_input_send(c, &d->cache_row, N);
    oc_input_send(c, &d->cache_first, N);
    oc_input_send(c, &d->cache_len, N);
}

/* One row per sequence against its cache. */
static void attend_cache(const oc_decoder *d, oc_compute *c, int layer, void *att, const void *q,
                         const oc_kv_cache *kv) {
    const oc_attention a = attention_shape(d);
    const size_t at = oc_kv_offset(kv, 0, layer, 0);
    c->ops.attention_decode(c, att, q, kv->k + at, kv->v + at, d->cache_first.there, d->cache_len.there, d->N, &a);
}

static float load(const void *x, oc_dtype t, size_t i) {
    return t == OC_F32 ? ((const float *)x)[i] : oc_bf16_to_f32(((const uint16_t *)x)[i]);
}

/* Adds softmax(q k^T) / (layers * heads) of one query head to row. For pictures, not for speed. */
static void record_head(const oc_decoder *d, float *row, float *score, const void *q, const void *k, int head,
                        int len) {
    const oc_text_config *cfg = d->cfg;
    const size_t HS = (size_t)cfg->head_size, width = (size_t)kv_width(cfg),
                 kv_head = (size_t)(head / (cfg->heads / cfg->kv_heads));
    float best = -INFINITY, sum = 0, share = 1.0f / (float)(cfg->heads * cfg->layers), scale = 1.0f / sqrtf((float)HS);
    for (int p = 0; p < len; p++) {
        float dot = 0;
        for (size_t j = 0; j < HS; j++)
            dot += load(q, d->t, (size_t)head * HS + j) * load(k, d->t, (size_t)p * width + kv_head * HS + j);
        score[p] = dot * scale;
        if (score[p] > best) best = score[p];
    }
    for (int p = 0; p < len; p++) sum += score[p] = expf(score[p] - best);
    for (int p = 0; p < len; p++) row[p] += share * score[p] / sum;
}

static void record_attention(const oc_decoder *d, oc_compute *c, int layer, const void *q, const oc_decoder_rows *r) {
    const size_t row = (size_t)r->cache->width * oc_dtype_size(d->t), width = (size_t)qkv_width(d->cfg);
    oc_error err;
    oc_readable queries, keys;
    oc_status st = oc_read_back(&queries, c, q, (size_t)d->N * width * oc_dtype_size(d->t), &err);
    OC_ASSERT(st == OC_OK); /* memory, for a picture */
    for (int b = 0; b < d->N; b++) {
        const int len = r->position[b] + 1;
        const char *k = r->cache->k + oc_kv_offset(r->cache, r->slot[b], layer, 0);
        st = oc_read_back(&keys, c, k, (size_t)len * row, &err);
        OC_ASSERT(st == OC_OK);
        for (int h = 0; h < d->cfg->heads; h++)
            record_head(d, r->attention + (size_t)b * (size_t)r->attention_ld, r->attention_scratch,
                        oc_column(queries.p, d->t, (size_t)b * width), keys.p, h, len);
        oc_readable_free(&keys);
    }
    oc_readable_free(&queries);
}

static void tap_layer0(const oc_decoder *d, oc_compute *c, int i, const char *name, const void *x, int cols, int ld) {
    if (i == 0) oc_tap_show(d->tap, c, name, x, d->N, cols, ld, d->t);
}

static void attention_block_fwd(oc_decoder *d, oc_compute *c, int i) {
    const oc_decoder_rows *r = &d->rows;
    oc_decoder_layer *l = &d->layer[i];
    const oc_text_config *cfg = d->cfg;
    const oc_dtype t = d->t;
    int N = d->N, ld = qkv_width(cfg), Q = q_width(cfg), KV = kv_width(cfg);
    void *k = oc_column(l->qkv_x, t, (size_t)Q), *v = oc_column(l->qkv_x, t, (size_t)(Q + KV));
    c->ops.rmsnorm_fwd(c, l->y1, l->rstd1, l->x, NULL, oc_params_weight(d->params, l->norm1), N, cfg->hidden, cfg->eps,
                       t);
    oc_linear_fwd(c, &l->qkv, l->qkv_x, l->y1, N, OC_ACT_NONE, NULL, NULL);
    c->ops.rope(c, l->qkv_x, ld, r->position, d->rope, N, cfg->heads + cfg->kv_heads, cfg->head_size, 1, t);
    if (r->cache) oc_kv_store(r->cache, i, k, v, ld, d->cache_row.there, N);
    oc_attention a = attention_shape(d);
    if (r->decode)
        attend_cache(d, c, i, l->att, l->qkv_x, r->cache);
    else
        c->ops.attention_fwd(c, l->att, d->pass == OC_PASS_FORWARD ? NULL : l->lse, l->qkv_x, k, v, &a);
    oc_linear_fwd(c, &l->o, l->x2, l->att, N, OC_ACT_NONE, NULL, l->x);
    tap_layer0(d, c, i, "l0.norm1", l->y1, cfg->hidden, cfg->hidden);
    tap_layer0(d, c, i, "l0.q", l->qkv_x, Q, ld);
    tap_layer0(d, c, i, "l0.k", k, KV, ld);
    tap_layer0(d, c, i, "l0.v", v, KV, ld);
}

/* x_next NULL: only what the backward pass reads. */
static void mlp_block_fwd(oc_decoder *d, oc_compute *c, int i, void *x_next) {
    oc_decoder_layer *l = &d->layer[i];
    const oc_text_config *cfg = d->cfg;
    c->ops.rmsnorm_fwd(c, l->y2, l->rstd2, l->x2, NULL, oc_params_weight(d->params, l->norm2), d->N, cfg->hidden,
                       cfg->eps, d->t);
    oc_linear_fwd(c, &l->gate_up, l->gu, l->y2, d->N, OC_ACT_NONE, NULL, NULL);
    c->ops.swiglu_fwd(c, l->s, l->gu, d->N, cfg->mlp, d->t);
    if (x_next) oc_linear_fwd(c, &l->down, x_next, l->s, d->N, OC_ACT_NONE, NULL, l->x2);
    tap_layer0(d, c, i, "l0.norm2", l->y2, cfg->hidden, cfg->hidden);
}

void *oc_decoder_fwd(oc_decoder *d, oc_compute *c, const oc_decoder_rows *rows) {
    int C = d->cfg->hidden;
    for (int i = 0; i < d->N; i++) OC_ASSERT(rows->position[i] >= 0 && rows->position[i] < d->max_rope);
    oc_tap_show(d->tap, c, "embeds", d->layer[0].x, d->N, C, C, d->t);
    bring_rows(d, c, rows);
    for (int i = 0; i < d->cfg->layers; i++) {
        void *next = i + 1 < d->cfg->layers ? d->layer[i + 1].x : d->x_out;
        attention_block_fwd(d, c, i);
        if (rows->attention) record_attention(d, c, i, d->layer[i].qkv_x, rows);
        mlp_block_fwd(d, c, i, next);
        char name[32];
        snprintf(name, sizeof name, "layer_%d", i + 1);
        oc_tap_show(d->tap, c, name, next, d->N, C, C, d->t);
    }
    return d->x_out;
}

static void layer_bwd(oc_decoder *d, oc_compute *c, int i, void *dx) {
    oc_decoder_layer *l = &d->layer[i];
    const oc_text_config *cfg = d->cfg;
    const oc_params *p = d->params;
    const oc_dtype t = d->t;
    int N = d->N, C = cfg->hidden, ld = qkv_width(cfg);
    size_t Q = (size_t)q_width(cfg), KV = (size_t)kv_width(cfg);
    oc_linear_bwd(c, &l->down, d->d_s, dx, l->s, N, t);
    c->ops.swiglu_bwd(c, d->d_gu, d->d_s, l->gu, N, cfg->mlp, t);
    oc_linear_bwd(c, &l->gate_up, d->d_y, d->d_gu, l->y2, N, t);
    c->ops.rmsnorm_bwd(c, dx, oc_params_grad(p, l->norm2), d->d_y, l->x2, l->rstd2, oc_params_weight(p, l->norm2), N, C,
                       t);
    oc_linear_bwd(c, &l->o, d->d_y, dx, l->att, N, t);
    oc_attention a = attention_shape(d);
    c->ops.attention_bwd(c, d->d_qkv, oc_column(d->d_qkv, t, Q), oc_column(d->d_qkv, t, Q + KV), d->d_y, l->att, l->lse,
                         l->qkv_x, oc_column(l->qkv_x, t, Q), oc_column(l->qkv_x, t, Q + KV), &a);
    c->ops.rope(c, d->d_qkv, ld, d->rows.position, d->rope, N, cfg->heads + cfg->kv_heads, cfg->head_size, -1, t);
    oc_linear_bwd(c, &l->qkv, d->d_y, d->d_qkv, l->y1, N, t);
    c->ops.rmsnorm_bwd(c, dx, oc_params_grad(p, l->norm1), d->d_y, l->x, l->rstd1, oc_params_weight(p, l->norm1), N, C,
                       t);
}

/* The activations of a layer whose input alone was kept. Taps have seen them. */
static void recompute(oc_decoder *d, oc_compute *c, int i) {
    const oc_tap *tap = d->tap;
    d->tap = NULL;
    attention_block_fwd(d, c, i);
    mlp_block_fwd(d, c, i, NULL);
    d->tap = tap;
}

void oc_decoder_bwd(oc_decoder *d, oc_compute *c, void *dx) {
    OC_ASSERT(d->pass != OC_PASS_FORWARD);
    for (int i = d->cfg->layers - 1; i >= 0; i--) {
        if (i < d->recomputed - 1) recompute(d, c, i);
        layer_bwd(d, c, i, dx);
    }
}
