#include "model/vlm.h"

#include <string.h>

/* ---- Opening ------------------------------------------------------------------------------------------------------- */

static oc_status open_parts(oc_vlm *m, oc_error *err) {
    if (m->cfg.has_vision) {
        OC_TRY(oc_vision_open(&m->vision, m->compute, &m->cfg, &m->params, m->t, err));
        m->vision.tap = &m->vision_tap;
    }
    if (!m->cfg.has_text) return OC_OK;
    if (m->cfg.has_vision) OC_TRY(oc_projector_open(&m->projector, m->compute, &m->cfg, &m->params, m->t, err));
    OC_TRY(oc_decoder_open(&m->decoder, m->compute, &m->cfg, &m->params, m->t, err));
    m->decoder.tap = &m->decoder_tap;
    m->embed = oc_params_find(&m->params, "language_model.embed_tokens.weight");
    m->norm = oc_params_find(&m->params, "language_model.norm.weight");
    const char *head = m->cfg.text.tied ? "language_model.embed_tokens.weight" : "lm_head.weight";
    return oc_linear_open(&m->head, m->compute, &m->params, head, NULL, 1, m->t, err);
}

oc_status oc_vlm_create(oc_vlm *m, oc_compute *c, const oc_config *cfg, oc_dtype t, oc_error *err) {
    return oc_vlm_create_typed(m, c, cfg, t, OC_F32, err);
}

oc_status oc_vlm_create_typed(oc_vlm *m, oc_compute *c, const oc_config *cfg, oc_dtype t, oc_dtype weights,
                              oc_error *err) {
    memset(m, 0, sizeof *m);
    m->compute = c;
    m->cfg = *cfg;
    m->t = t;
    oc_status st;
    OC_GO(oc_config_check(&m->cfg, "model", err));
    OC_GO(oc_params_build(&m->params, &m->cfg, err));
    if (weights == OC_BF16) oc_params_narrow_weights(&m->params);
    OC_GO(oc_params_alloc_weights(&m->params, err));
    OC_GO(open_parts(m, err));
done:
    if (st != OC_OK) oc_vlm_close(m);
    return st;
}

void oc_vlm_close(oc_vlm *m) {
    if (m->vision.layer) oc_vision_close(&m->vision, m->compute);
    if (m->projector.cfg) oc_projector_close(&m->projector, m->compute);
    if (m->decoder.layer) oc_decoder_close(&m->decoder, m->compute);
    if (m->compute) oc_linear_close(&m->head, m->compute);
    oc_params_close(&m->params);
    oc_arena_close(&m->arena);
    memset(m, 0, sizeof *m);
}

oc_status oc_vlm_set_trainable(oc_vlm *m, const bool train[OC_PART_COUNT], oc_error *err) {
    memcpy(m->train, train, sizeof m->train);
    return oc_params_set_trainable(&m->params, train, err);
}

int oc_vlm_layers(const oc_vlm *m, oc_part part) {
    if (part == OC_PART_VISION && m->cfg.has_vision) return m->vision.layers_used;
    return part == OC_PART_LM && m->cfg.has_text ? m->cfg.text.layers : 0;
}

oc_status oc_vlm_set_gradients(oc_vlm *m, const bool parts[OC_PART_COUNT], oc_error *err) {
    memcpy(m->train, parts, sizeof m->train);
    return oc_params_set_gradients(&m->params, parts, err);
}

void oc_vlm_weights_changed(oc_vlm *m, const bool parts[OC_PART_COUNT]) {
    if (parts[OC_PART_VISION] && m->cfg.has_vision) oc_vision_changed(&m->vision, m->compute);
    if (parts[OC_PART_PROJECTOR] && m->projector.cfg) oc_projector_changed(&m->projector, m->compute);
    if (parts[OC_PART_LM] && m->cfg.has_text) {
        oc_decoder_changed(&m->decoder, m->compute);
        oc_linear_changed(&m->head, m->compute);
    }
}

/* ---- Memory of a pass ---------------------------------------------------------------------------------------------- */

/* How much each part keeps: it needs weight gradients where trainable, and passes the gradient on where anything below
 * it is trainable. */
static oc_pass part_pass(const oc_vlm *m, oc_part part, bool backward) {
    if (!backward) return OC_PASS_FORWARD;
    if (m->train[part]) return OC_PASS_BACKWARD_W;
    for (int below = 0; below < (int)part; below++)
        if (m->train[below]) return OC_PASS_BACKWARD_X;
    return OC_PASS_FORWARD;
}

static void layout(oc_vlm *m, oc_arena *a, int tokens, int images, int blocks, int labels, bool backward) {
    struct oc_vlm_rows *r = &m->rows;
    const size_t N = (size_t)tokens, L = (size_t)labels;
    memset(r, 0, sizeof *r);
    if (images > 0 && m->cfg.has_vision)
        oc_vision_layout(&m->vision, a, images, part_pass(m, OC_PART_VISION, backward), m->recomputed[OC_PART_VISION]);
    if (!m->cfg.has_text) return;
    const size_t C = (size_t)m->cfg.text.hidden;
    r->embed_id = oc_push(a, OC_I32, N, 1);
    if (blocks > 0) {
        int per_image = oc_config_tokens_per_image(&m->cfg);
        oc_projector_layout(&m->projector, a, images, part_pass(m, OC_PART_PROJECTOR, backward),
                            backward && m->train[OC_PART_VISION]);
        r->n_visual = blocks * per_image;
        r->visual_from = oc_push(a, OC_I32, (size_t)r->n_visual, 1);
        r->visual_to = oc_push(a, OC_I32, (size_t)r->n_visual, 1);
        r->visual = oc_push(a, m->t, (size_t)r->n_visual, C);
        r->d_visual = backward ? oc_push(a, m->t, (size_t)r->n_visual, C) : NULL;
        r->d_feature_rows = backward ? oc_push(a, m->t, (size_t)images * (size_t)per_image, C) : NULL;
    }
    oc_decoder_layout(&m->decoder, a, tokens, part_pass(m, OC_PART_LM, backward), m->recomputed[OC_PART_LM]);
    r->label_row = oc_push(a, OC_I32, L, 1);
    r->target = oc_push(a, OC_I32, L, 1);
    r->labelled = oc_push(a, m->t, L, C);
    r->normed = oc_push(a, m->t, L, C);
    r->rstd = oc_push(a, OC_F32, L, 1);
    r->loss = oc_push(a, OC_F32, L, 1);
    r->weight = oc_push(a, OC_F32, L, 1);
    r->correct = oc_push(a, OC_U8, L, 1);
    if (!backward) return;
    r->d_labelled = oc_push(a, m->t, L, C);
    r->d_normed = oc_push(a, m->t, L, C);
    r->dx = oc_push(a, m->t, N, C);
}

size_t oc_vlm_arena_bytes(const oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward) {
    oc_vlm *plan = (oc_vlm *)(uintptr_t)m; /* the layout writes pointers, which the next pass sets again */
    oc_arena counting = {0};
    layout(plan, &counting, tokens, images, blocks, labels, backward);
    return counting.peak;
}

oc_status oc_vlm_reserve(oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward, oc_error *err) {
    size_t bytes = oc_vlm_arena_bytes(m, tokens, images, blocks, labels, backward);
    if (bytes <= m->arena.capacity) return OC_OK;
    oc_arena_close(&m->arena);
    return oc_arena_open(&m->arena, bytes, "the activations of a batch (fewer tokens or images a batch need less)",
                         err);
}

static void begin(oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward) {
    oc_arena_pop(&m->arena, 0);
    layout(m, &m->arena, tokens, images, blocks, labels, backward);
}

/* ---- Forward ------------------------------------------------------------------------------------------------------- */

/* Which feature row goes to which decoder row. */
static void map_visual_rows(oc_vlm *m, const oc_batch *b) {
    struct oc_vlm_rows *r = &m->rows;
    int per_image = b->tokens_per_image, k = 0;
    OC_ASSERT(per_image == oc_config_tokens_per_image(&m->cfg));
    r->visual_in_order = b->n_blocks == b->n_images;
    for (int j = 0; j < b->n_blocks; j++) {
        if (b->block_image[j] != j) r->visual_in_order = false;
        for (int i = 0; i < per_image; i++, k++) {
            r->visual_from[k] = b->block_image[j] * per_image + i;
            r->visual_to[k] = b->block_row[j] + i;
        }
    }
    OC_ASSERT(k == r->n_visual);
}

/* x [N, C] = embeddings of token [N]. */
static void look_up(const oc_vlm *m, void *x, const int32_t *token, int N) {
    const oc_matrix_desc table = oc_params_matrix(&m->params, m->embed, m->t);
    m->compute->ops.embedding_fwd(m->compute, x, token, table.w, table.w_type, N, table.cols, m->t);
}

/* Vision, projector, token embeddings; visual rows replaced by the projected patches. */
static void embed(oc_vlm *m, const oc_batch *b) {
    struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    const int C = m->cfg.text.hidden;
    void *x = oc_decoder_input(&m->decoder);
    for (int i = 0; i < b->N; i++) OC_ASSERT(b->token[i] >= 0 && b->token[i] < m->cfg.text.vocab);
    look_up(m, x, b->token, b->N);
    memcpy(r->embed_id, b->token, (size_t)b->N * sizeof(int32_t));
    if (b->n_blocks == 0) return;
    map_visual_rows(m, b);
    for (int k = 0; k < r->n_visual; k++) r->embed_id[r->visual_to[k]] = -1;
    r->features = oc_vision_fwd(&m->vision, c, b->pixels);
    void *visual = oc_projector_fwd(&m->projector, c, r->features);
    oc_tap_show(&m->vision_tap, "projector", visual, m->projector.rows, C, C, m->t);
    if (!r->visual_in_order) {
        c->ops.gather_rows(c, r->visual, visual, r->visual_from, r->n_visual, C, m->t);
        visual = r->visual;
    }
    c->ops.scatter_rows(c, x, visual, r->visual_to, r->n_visual, C, false, m->t);
}

static oc_decoder_rows decoder_rows(const oc_batch *b, oc_kv_cache *kv, const int32_t *slot) {
    return (oc_decoder_rows){.position = b->position, .lo = b->lo, .hi = b->hi, .cache = kv, .slot = slot};
}

void *oc_vlm_forward(oc_vlm *m, const oc_batch *b, oc_kv_cache *kv, const int32_t *slot) {
    begin(m, b->N, b->n_images, b->n_blocks, b->N, false);
    embed(m, b);
    oc_decoder_rows rows = decoder_rows(b, kv, slot);
    return oc_decoder_fwd(&m->decoder, m->compute, &rows);
}

/* The given rows of x, gathered and normed: what the head multiplies. */
static void norm_rows(oc_vlm *m, const void *x, const int32_t *row, int n) {
    struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    c->ops.gather_rows(c, r->labelled, x, row, n, m->cfg.text.hidden, m->t);
    c->ops.rmsnorm_fwd(c, r->normed, r->rstd, r->labelled, NULL, oc_params_weight(&m->params, m->norm), n,
                       m->cfg.text.hidden, m->cfg.text.eps, m->t);
}

void oc_vlm_logits(oc_vlm *m, float *logits, const void *x, const int32_t *row, int n) {
    enum { CHUNK = 64 }; /* in bf16, [CHUNK, V] is converted through the tail of the caller's buffer */
    const size_t V = (size_t)m->cfg.text.vocab, C = (size_t)m->cfg.text.hidden;
    oc_compute *c = m->compute;
    norm_rows(m, x, row, n);
    oc_tap_show(&m->decoder_tap, "final_norm", m->rows.normed, n, (int)C, (int)C, m->t);
    if (m->t == OC_F32) {
        oc_linear_fwd(c, &m->head, logits, m->rows.normed, n, OC_ACT_NONE, NULL, NULL);
        return;
    }
    /* bf16 results are written to the upper half of each chunk's place and widened downwards, row by row */
    for (int n0 = 0; n0 < n; n0 += CHUNK) {
        size_t rows = (size_t)OC_MIN(CHUNK, n - n0);
        float *out = logits + (size_t)n0 * V;
        uint16_t *half = (uint16_t *)out + rows * V;
        oc_linear_fwd(c, &m->head, half, oc_column(m->rows.normed, m->t, (size_t)n0 * C), (int)rows, OC_ACT_NONE, NULL,
                      NULL);
        for (size_t i = 0; i < rows * V; i++) {
            uint16_t h; /* read before the write that may cover it */
            memcpy(&h, half + i, sizeof h);
            out[i] = oc_bf16_to_f32(h);
        }
    }
}

void oc_vlm_decode(oc_vlm *m, float *logits, const int32_t *token, const int32_t *position, const int32_t *slot, int B,
                   oc_kv_cache *kv) {
    oc_vlm_decode_attention(m, logits, token, position, slot, B, kv, NULL, 0, NULL);
}

void oc_vlm_decode_attention(oc_vlm *m, float *logits, const int32_t *token, const int32_t *position,
                             const int32_t *slot, int B, oc_kv_cache *kv, float *attention, int ld, float *scratch) {
    oc_compute *c = m->compute;
    for (int b = 0; b < B; b++) OC_ASSERT(token[b] >= 0 && token[b] < m->cfg.text.vocab);
    begin(m, B, 0, 0, B, false);
    look_up(m, oc_decoder_input(&m->decoder), token, B);
    oc_decoder_rows rows = {.position = position,
                            .cache = kv,
                            .slot = slot,
                            .decode = true,
                            .attention = attention,
                            .attention_ld = ld,
                            .attention_scratch = scratch};
    void *x = oc_decoder_fwd(&m->decoder, c, &rows);
    for (int b = 0; b < B; b++) m->rows.label_row[b] = b;
    oc_vlm_logits(m, logits, x, m->rows.label_row, B);
}

void *oc_vlm_encode_images(oc_vlm *m, const float *pixels, int images) {
    oc_arena_pop(&m->arena, 0);
    oc_vision_layout(&m->vision, &m->arena, images, OC_PASS_FORWARD, 0);
    return oc_vision_fwd(&m->vision, m->compute, pixels);
}

/* ---- Loss and backward --------------------------------------------------------------------------------------------- */

static bool needs_lm_backward(const oc_vlm *m) {
    return m->train[OC_PART_VISION] || m->train[OC_PART_PROJECTOR] || m->train[OC_PART_LM];
}

/* Gradient of the embeddings: to the table for text rows, through projector and vision for visual ones. */
static void embed_bwd(oc_vlm *m, const oc_batch *b, const void *dx) {
    struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    const int C = m->cfg.text.hidden;
    float *d_embed = oc_params_grad(&m->params, m->embed);
    if (d_embed) c->ops.embedding_bwd(c, d_embed, r->embed_id, dx, b->N, C, m->cfg.text.vocab, m->t);
    if (b->n_blocks == 0 || !(m->train[OC_PART_PROJECTOR] || m->train[OC_PART_VISION])) return;
    c->ops.gather_rows(c, r->d_visual, dx, r->visual_to, r->n_visual, C, m->t);
    void *d_rows = r->d_visual;
    if (!r->visual_in_order) { /* an image shown twice receives the sum */
        memset(r->d_feature_rows, 0, (size_t)m->projector.rows * (size_t)C * oc_dtype_size(m->t));
        c->ops.scatter_rows(c, r->d_feature_rows, r->d_visual, r->visual_from, r->n_visual, C, true, m->t);
        d_rows = r->d_feature_rows;
    }
    oc_tap_show(&m->vision_tap, "grad_projector", d_rows, m->projector.rows, C, C, m->t);
    void *d_features = oc_projector_bwd(&m->projector, c, d_rows, r->features);
    if (m->train[OC_PART_VISION]) oc_vision_bwd(&m->vision, c, d_features);
}

/* What each labelled row counts for. */
static void weigh_rows(oc_vlm *m, const oc_batch *b) {
    float *weight = m->rows.weight;
    for (int k = 0; k < b->n_seq; k++) {
        int labels = 0;
        for (int i = b->seq_start[k]; i < b->seq_start[k + 1]; i++) labels += b->label[i] >= 0;
        for (int i = 0; i < labels; i++) *weight++ = m->sample_loss ? 1.0f / (float)labels : 1.0f;
    }
}

oc_loss oc_vlm_loss(oc_vlm *m, const oc_batch *b, float scale) {
    struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    const int C = m->cfg.text.hidden;
    const bool backward = scale > 0 && needs_lm_backward(m);
    oc_loss loss = {0};
    begin(m, b->N, b->n_images, b->n_blocks, b->n_labels, backward);
    if (b->n_labels == 0) return loss;
    embed(m, b);
    oc_decoder_rows rows = decoder_rows(b, NULL, NULL);
    void *x = oc_decoder_fwd(&m->decoder, c, &rows);

    int n = 0;
    for (int i = 0; i < b->N; i++)
        if (b->label[i] >= 0) {
            OC_ASSERT(b->label[i] < m->cfg.text.vocab && n < b->n_labels);
            r->label_row[n] = i;
            r->target[n++] = b->label[i];
        }
    weigh_rows(m, b);
    norm_rows(m, x, r->label_row, n);
    float *d_head = backward ? oc_params_grad(&m->params, m->head.weight) : NULL;
    c->ops.linear_xent(c, r->loss, r->correct, backward ? r->d_normed : NULL, d_head, r->normed, r->target,
                       m->sample_loss ? r->weight : NULL, m->head.matrix, n, backward ? scale : 0);
    for (int i = 0; i < n; i++) {
        loss.sum += (double)r->weight[i] * (double)r->loss[i];
        loss.weight += (double)r->weight[i];
        loss.correct += r->correct[i];
    }
    loss.n = n;
    if (!backward) return loss;

    size_t row_bytes = (size_t)C * oc_dtype_size(m->t);
    memset(r->d_labelled, 0, (size_t)n * row_bytes);
    c->ops.rmsnorm_bwd(c, r->d_labelled, oc_params_grad(&m->params, m->norm), r->d_normed, r->labelled, r->rstd,
                       oc_params_weight(&m->params, m->norm), n, C, m->t);
    memset(r->dx, 0, (size_t)b->N * row_bytes);
    c->ops.scatter_rows(c, r->dx, r->d_labelled, r->label_row, n, C, false, m->t);
    oc_decoder_bwd(&m->decoder, c, r->dx, &rows);
    oc_tap_show(&m->decoder_tap, "grad_embeds", r->dx, b->N, C, C, m->t);
    embed_bwd(m, b, r->dx);
    return loss;
}

typedef struct loss_call {
    oc_vlm *m;
    const oc_batch *b;
    float scale;
    oc_loss out;
} loss_call;

static void call_loss(void *ctx) {
    loss_call *l = ctx;
    l->out = oc_vlm_loss(l->m, l->b, l->scale);
}

oc_status oc_vlm_try_loss(oc_loss *out, oc_vlm *m, const oc_batch *b, float scale, oc_error *err) {
    loss_call l = {.m = m, .b = b, .scale = scale};
    OC_TRY(oc_compute_try(m->compute, call_loss, &l, err));
    *out = l.out;
    return OC_OK;
}
