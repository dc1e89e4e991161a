#include "model/vision.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct oc_vision_layer {
    oc_linear qkv, out, fc1, fc2;
    int norm1, norm2; /* parameter rows of the weights; the biases follow */
    /* kept activations: T unless said otherwise */
    void *x, *y1, *qkv_x, *o, *x2, *y2, *h_pre, *h; /* [M,C] [M,C] [M,3C] [M,C] [M,C] [M,C] [M,F] [M,F] */
    float *mean1, *rstd1, *mean2, *rstd2, *lse;     /* [M] x4, [M,NH] */
};

static const char LAYER[] = "vision_tower.encoder.layers.%d.%s";

static oc_status open_linear(oc_vision *v, oc_compute *c, oc_linear *l, int i, const char *what, int fused,
                             oc_error *err) {
    char w[128], b[128], sub[64];
    snprintf(sub, sizeof sub, "%s.weight", what);
    snprintf(w, sizeof w, LAYER, i, sub);
    snprintf(sub, sizeof sub, "%s.bias", what);
    snprintf(b, sizeof b, LAYER, i, sub);
    return oc_linear_open(l, c, v->params, w, b, fused, v->t, err);
}

static int find_layer(const oc_vision *v, int i, const char *what) {
    char name[128];
    snprintf(name, sizeof name, LAYER, i, what);
    return oc_params_find(v->params, name);
}

oc_status oc_vision_open(oc_vision *v, oc_compute *c, const oc_config *cfg, const oc_params *p, oc_dtype t,
                         oc_error *err) {
    memset(v, 0, sizeof *v);
    v->cfg = &cfg->vision;
    v->params = p;
    v->t = t;
    v->layers_used = cfg->vision.layers + cfg->vision.feature_layer + 1;
    v->layer = oc_calloc((size_t)cfg->vision.layers, sizeof *v->layer);
    if (!v->layer) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the vision encoder");
    OC_TRY(oc_linear_open(&v->patch, c, p, "vision_tower.embeddings.patch_embedding.weight",
                          "vision_tower.embeddings.patch_embedding.bias", 1, t, err));
    v->position = oc_params_find(p, "vision_tower.embeddings.position_embedding.weight");
    v->post_norm = oc_params_find(p, "vision_tower.post_layernorm.weight");
    for (int i = 0; i < v->layers_used; i++) {
        oc_vision_layer *l = &v->layer[i];
        OC_TRY(open_linear(v, c, &l->qkv, i, "self_attn.q_proj", 3, err));
        OC_TRY(open_linear(v, c, &l->out, i, "self_attn.out_proj", 1, err));
        OC_TRY(open_linear(v, c, &l->fc1, i, "mlp.fc1", 1, err));
        OC_TRY(open_linear(v, c, &l->fc2, i, "mlp.fc2", 1, err));
        l->norm1 = find_layer(v, i, "layer_norm1.weight");
        l->norm2 = find_layer(v, i, "layer_norm2.weight");
    }
    return OC_OK;
}

void oc_vision_close(oc_vision *v, oc_compute *c) {
    oc_linear_close(&v->patch, c);
    for (int i = 0; v->layer && i < v->layers_used; i++) {
        oc_vision_layer *l = &v->layer[i];
        oc_linear *all[] = {&l->qkv, &l->out, &l->fc1, &l->fc2};
        for (size_t k = 0; k < OC_COUNT(all); k++) oc_linear_close(all[k], c);
    }
    oc_free(v->layer);
    memset(v, 0, sizeof *v);
}

void oc_vision_changed(oc_vision *v, oc_compute *c) {
    oc_linear_changed(&v->patch, c);
    for (int i = 0; i < v->layers_used; i++) {
        oc_vision_layer *l = &v->layer[i];
        oc_linear *all[] = {&l->qkv, &l->out, &l->fc1, &l->fc2};
        for (size_t k = 0; k < OC_COUNT(all); k++) oc_linear_changed(all[k], c);
    }
}

static size_t pixel_bytes(const oc_vision *v) {
    const size_t S = (size_t)v->cfg->image_size;
    return (size_t)v->images * 3 * S * S * sizeof(float);
}

static void layout_layer(const oc_vision *v, oc_vision_layer *l, oc_arena *a) {
    size_t M = (size_t)v->M, C = (size_t)v->cfg->hidden, F = (size_t)v->cfg->mlp;
    oc_dtype t = v->t;
    l->x = oc_push(a, t, M, C);
    l->y1 = oc_push(a, t, M, C);
    l->qkv_x = oc_push(a, t, M, 3 * C);
    l->o = oc_push(a, t, M, C);
    l->x2 = oc_push(a, t, M, C);
    l->y2 = oc_push(a, t, M, C);
    l->h_pre = v->pass == OC_PASS_FORWARD ? NULL : oc_push(a, t, M, F);
    l->h = oc_push(a, t, M, F);
    l->mean1 = oc_push(a, OC_F32, M, 1);
    l->rstd1 = oc_push(a, OC_F32, M, 1);
    l->mean2 = oc_push(a, OC_F32, M, 1);
    l->rstd2 = oc_push(a, OC_F32, M, 1);
    l->lse = oc_push(a, OC_F32, M, (size_t)v->cfg->heads);
}

/* All buffers of `first`, with the layer's own parameters. */
static void share_layer(oc_vision_layer *l, const oc_vision_layer *first) {
    oc_vision_layer own = *l;
    *l = *first;
    l->qkv = own.qkv, l->out = own.out, l->fc1 = own.fc1, l->fc2 = own.fc2;
    l->norm1 = own.norm1, l->norm2 = own.norm2;
}

/* A frozen encoder has nothing below it that could be trained, so BACKWARD_X does not occur here. */
void oc_vision_layout(oc_vision *v, const oc_compute *c, oc_arena *a, oc_arena *host, int images, oc_pass pass,
                      int recomputed) {
    size_t C = (size_t)v->cfg->hidden, P = (size_t)v->cfg->patch_size;
    OC_ASSERT(pass != OC_PASS_BACKWARD_X);
    v->images = images;
    v->M = images * oc_vision_patches(v->cfg);
    v->pass = pass;
    v->recomputed = pass == OC_PASS_FORWARD ? 0 : OC_MIN(recomputed, v->layers_used);
    size_t M = (size_t)v->M;
    v->lo = oc_push_input(c, a, host, M);
    v->hi = oc_push_input(c, a, host, M);
    v->pixels = oc_push_room(c, a, pixel_bytes(v));
    v->patches = oc_push(a, v->t, M, 3 * P * P);
    v->x_out = oc_push(a, v->t, M, C);
    for (int i = 0; i < v->layers_used; i++) {
        oc_vision_layer *l = &v->layer[i];
        bool keeps_input = i > 0 && i < v->recomputed;
        if (keeps_input || (i > 0 && pass == OC_PASS_FORWARD))
            share_layer(l, &v->layer[0]);
        else
            layout_layer(v, l, a);
        if (keeps_input) l->x = oc_push(a, v->t, M, C);
    }
    v->d_mlp = v->d_qkv = v->d_y = NULL;
    if (pass == OC_PASS_FORWARD) return;
    v->d_mlp = oc_push(a, v->t, M, (size_t)v->cfg->mlp);
    v->d_qkv = oc_push(a, v->t, M, 3 * C);
    v->d_y = oc_push(a, v->t, M, C);
}

static oc_attention attention_shape(const oc_vision *v) {
    int C = v->cfg->hidden, HS = C / v->cfg->heads;
    return (oc_attention){.N = v->M,
                          .NH = v->cfg->heads,
                          .NKV = v->cfg->heads,
                          .HS = HS,
                          .ldq = 3 * C,
                          .ldkv = 3 * C,
                          .ldo = C,
                          .lo = v->lo.there,
                          .hi = v->hi.there,
                          .scale = 1.0f / sqrtf((float)HS),
                          .t = v->t};
}

static void tap_layer0(const oc_vision *v, oc_compute *c, int i, const char *name, const void *x) {
    if (i == 0) oc_tap_show(v->tap, c, name, x, v->M, v->cfg->hidden, v->cfg->hidden, v->t);
}

/* x_next NULL: only what the backward pass reads. */
static void layer_fwd(oc_vision *v, oc_compute *c, int i, void *x_next) {
    oc_vision_layer *l = &v->layer[i];
    const oc_params *p = v->params;
    const oc_dtype t = v->t;
    int M = v->M, C = v->cfg->hidden;
    oc_attention a = attention_shape(v);
    c->ops.layernorm_fwd(c, l->y1, l->mean1, l->rstd1, l->x, NULL, oc_params_weight(p, l->norm1),
                         oc_params_weight(p, l->norm1 + 1), M, C, v->cfg->eps, t);
    tap_layer0(v, c, i, "l0.norm1", l->y1);
    oc_linear_fwd(c, &l->qkv, l->qkv_x, l->y1, M, OC_ACT_NONE, NULL, NULL);
    c->ops.attention_fwd(c, l->o, v->pass == OC_PASS_FORWARD ? NULL : l->lse, l->qkv_x,
                         oc_column(l->qkv_x, t, (size_t)C), oc_column(l->qkv_x, t, 2 * (size_t)C), &a);
    oc_linear_fwd(c, &l->out, l->x2, l->o, M, OC_ACT_NONE, NULL, l->x);
    c->ops.layernorm_fwd(c, l->y2, l->mean2, l->rstd2, l->x2, NULL, oc_params_weight(p, l->norm2),
                         oc_params_weight(p, l->norm2 + 1), M, C, v->cfg->eps, t);
    tap_layer0(v, c, i, "l0.norm2", l->y2);
    oc_linear_fwd(c, &l->fc1, l->h, l->y2, M, v->cfg->act, l->h_pre, NULL);
    if (x_next) oc_linear_fwd(c, &l->fc2, x_next, l->h, M, OC_ACT_NONE, NULL, l->x2);
}

/* The activations of a layer whose input alone was kept. Taps have seen them. */
static void recompute(oc_vision *v, oc_compute *c, int i) {
    const oc_tap *tap = v->tap;
    v->tap = NULL;
    layer_fwd(v, c, i, NULL);
    v->tap = tap;
}

void *oc_vision_fwd(oc_vision *v, oc_compute *c, const float *pixels) {
    const oc_vision_config *cfg = v->cfg;
    int M = v->M, C = cfg->hidden, P = oc_vision_patches(cfg);
    for (int n = 0; n < M; n++) {
        v->lo.here[n] = n / P * P;
        v->hi.here[n] = v->lo.here[n] + P;
    }
    oc_input_send(c, &v->lo, (size_t)M);
    oc_input_send(c, &v->hi, (size_t)M);
    pixels = oc_bring(c, v->pixels, pixels, pixel_bytes(v));
    c->ops.patchify(c, v->patches, pixels, v->images, cfg->image_size, cfg->patch_size, v->t);
    void *x = v->layers_used > 0 ? v->layer[0].x : v->x_out;
    oc_linear_fwd(c, &v->patch, x, v->patches, M, OC_ACT_NONE, NULL, NULL);
    oc_tap_show(v->tap, c, "patch_embedding", x, M, C, C, v->t);
    c->ops.position_add_fwd(c, x, oc_params_weight(v->params, v->position), M, P, C, v->t);
    oc_tap_show(v->tap, c, "hidden_0", x, M, C, C, v->t);
    for (int i = 0; i < v->layers_used; i++) {
        void *next = i + 1 < v->layers_used ? v->layer[i + 1].x : v->x_out;
        layer_fwd(v, c, i, next);
        char name[32];
        snprintf(name, sizeof name, "hidden_%d", i + 1);
        oc_tap_show(v->tap, c, name, next, M, C, C, v->t);
    }
    return v->x_out;
}

/* dx holds the gradient of the layer's output and leaves as that of its input: the residual path keeps it, and each
 * branch adds its own through the norm. */
static void layer_bwd(oc_vision *v, oc_compute *c, int i, void *dx) {
    oc_vision_layer *l = &v->layer[i];
    const oc_params *p = v->params;
    const oc_dtype t = v->t;
    int M = v->M, C = v->cfg->hidden, F = v->cfg->mlp;
    oc_attention a = attention_shape(v);
    oc_linear_bwd(c, &l->fc2, v->d_mlp, dx, l->h, M, t);
    c->ops.act_bwd(c, v->d_mlp, v->d_mlp, l->h_pre, (size_t)M * (size_t)F, v->cfg->act, t);
    oc_linear_bwd(c, &l->fc1, v->d_y, v->d_mlp, l->y2, M, t);
    c->ops.layernorm_bwd(c, dx, oc_params_grad(p, l->norm2), oc_params_grad(p, l->norm2 + 1), v->d_y, l->x2, l->mean2,
                         l->rstd2, oc_params_weight(p, l->norm2), M, C, t);
    oc_linear_bwd(c, &l->out, v->d_y, dx, l->o, M, t);
    c->ops.attention_bwd(c, v->d_qkv, oc_column(v->d_qkv, t, (size_t)C), oc_column(v->d_qkv, t, 2 * (size_t)C), v->d_y,
                         l->o, l->lse, l->qkv_x, oc_column(l->qkv_x, t, (size_t)C),
                         oc_column(l->qkv_x, t, 2 * (size_t)C), &a);
    oc_linear_bwd(c, &l->qkv, v->d_y, v->d_qkv, l->y1, M, t);
    c->ops.layernorm_bwd(c, dx, oc_params_grad(p, l->norm1), oc_params_grad(p, l->norm1 + 1), v->d_y, l->x, l->mean1,
                         l->rstd1, oc_params_weight(p, l->norm1), M, C, t);
}

void oc_vision_bwd(oc_vision *v, oc_compute *c, void *dx) {
    OC_ASSERT(v->pass == OC_PASS_BACKWARD_W);
    for (int i = v->layers_used - 1; i >= 0; i--) {
        if (i < v->recomputed - 1) recompute(v, c, i);
        layer_bwd(v, c, i, dx);
    }
    float *dpos = oc_params_grad(v->params, v->position);
    if (dpos) c->ops.position_add_bwd(c, dpos, dx, v->M, oc_vision_patches(v->cfg), v->cfg->hidden, v->t);
    oc_linear_bwd(c, &v->patch, NULL, dx, v->patches, v->M, v->t);
}
