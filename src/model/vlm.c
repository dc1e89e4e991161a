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
    m->params.compute = c;
    if (weights == OC_BF16) oc_params_narrow_weights(&m->params);
    OC_GO(oc_params_alloc_weights(&m->params, err));
    OC_GO(open_parts(m, err));
done:
    if (st != OC_OK) oc_vlm_close(m);
    return st;
}

static void close_arenas(oc_vlm *m) {
    if (m->arena.base) m->compute->ops.device_free(m->compute, m->arena.base);
    memset(&m->arena, 0, sizeof m->arena);
    oc_arena_close(&m->host);
}

void oc_vlm_close(oc_vlm *m) {
    if (m->vision.layer) oc_vision_close(&m->vision, m->compute);
    if (m->projector.cfg) oc_projector_close(&m->projector, m->compute);
    if (m->decoder.layer) oc_decoder_close(&m->decoder, m->compute);
    if (m->compute) oc_linear_close(&m->head, m->compute);
    oc_params_close(&m->params);
    close_arenas(m);
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

enum { CHUNK = 64 }; /* rows of logits that are on their way at a time */

/* As oc_push, in ordinary memory where the device has memory of its own; else what it has. */
static void *push_mirror(const oc_vlm *m, oc_arena *host, void *there, oc_dtype t, size_t n) {
    return m->compute->ops.host_memory ? there : oc_push(host, t, n, 1);
}

/* For oc_vlm_logits. */
static void layout_logits(oc_vlm *m, oc_arena *a, int labels) {
    const size_t rows = (size_t)OC_MIN(CHUNK, labels), V = (size_t)m->cfg.text.vocab;
    if (m->t == OC_BF16) m->rows.narrow_logits = oc_push(a, OC_BF16, rows, V);
    if (!m->compute->ops.host_memory) m->rows.logits = oc_push(a, OC_F32, rows, V);
}

static void layout(oc_vlm *m, oc_arena *a, oc_arena *host, int tokens, int images, int blocks, int labels,
                   bool backward) {
    const oc_compute *c = m->compute;
    struct oc_vlm_rows *r = &m->rows;
    const size_t N = (size_t)tokens, L = (size_t)labels;
    memset(r, 0, sizeof *r);
    if (images > 0 && m->cfg.has_vision)
        oc_vision_layout(&m->vision, c, a, host, images, part_pass(m, OC_PART_VISION, backward),
                         m->recomputed[OC_PART_VISION]);
    if (!m->cfg.has_text) return;
    const size_t C = (size_t)m->cfg.text.hidden;
    r->token = oc_push_input(c, a, host, N);
    r->embed_id = oc_push_input(c, a, host, N);
    if (blocks > 0) {
        int per_image = oc_config_tokens_per_image(&m->cfg);
        oc_projector_layout(&m->projector, a, images, part_pass(m, OC_PART_PROJECTOR, backward),
                            backward && m->train[OC_PART_VISION]);
        r->n_visual = blocks * per_image;
        r->visual_from = oc_push_input(c, a, host, (size_t)r->n_visual);
        r->visual_to = oc_push_input(c, a, host, (size_t)r->n_visual);
        r->visual = oc_push(a, m->t, (size_t)r->n_visual, C);
        r->d_visual = backward ? oc_push(a, m->t, (size_t)r->n_visual, C) : NULL;
        r->d_feature_rows = backward ? oc_push(a, m->t, (size_t)images * (size_t)per_image, C) : NULL;
    }
    oc_decoder_layout(&m->decoder, c, a, host, tokens, part_pass(m, OC_PART_LM, backward), m->recomputed[OC_PART_LM]);
    r->label_row = oc_push_input(c, a, host, L);
    r->target = oc_push_input(c, a, host, L);
    r->labelled = oc_push(a, m->t, L, C);
    r->normed = oc_push(a, m->t, L, C);
    r->rstd = oc_push(a, OC_F32, L, 1);
    r->loss = oc_push(a, OC_F32, L, 1);
    r->weight = oc_push(a, OC_F32, L, 1);
    r->correct = oc_push(a, OC_U8, L, 1);
    r->loss_here = push_mirror(m, host, r->loss, OC_F32, L);
    r->weight_here = push_mirror(m, host, r->weight, OC_F32, L);
    r->correct_here = push_mirror(m, host, r->correct, OC_U8, L);
    if (!backward) {
        layout_logits(m, a, labels);
        return;
    }
    r->d_labelled = oc_push(a, m->t, L, C);
    r->d_normed = oc_push(a, m->t, L, C);
    r->dx = oc_push(a, m->t, N, C);
}

/* Bytes of the device's memory; *host (may be NULL) receives those of ordinary memory beside it. */
static size_t arena_sizes(const oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward,
                          size_t *host) {
    oc_vlm *plan = (oc_vlm *)(uintptr_t)m; /* the layout writes pointers, which the next pass sets again */
    oc_arena counting = {0}, counting_host = {0};
    layout(plan, &counting, &counting_host, tokens, images, blocks, labels, backward);
    if (host) *host = counting_host.peak;
    return counting.peak;
}

size_t oc_vlm_arena_bytes(const oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward) {
    return arena_sizes(m, tokens, images, blocks, labels, backward, NULL);
}

oc_status oc_vlm_reserve(oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward, oc_error *err) {
    static const char what[] = "the activations of a batch (fewer tokens or images a batch need less)";
    size_t host, bytes = arena_sizes(m, tokens, images, blocks, labels, backward, &host);
    if (bytes <= m->arena.capacity && host <= m->host.capacity) return OC_OK;
    close_arenas(m);
    if (host > 0) OC_TRY(oc_arena_open(&m->host, host, what, err));
    OC_TRY(oc_compute_alloc_for(m->compute, &m->arena.base, bytes, what, err));
    m->arena.capacity = bytes;
    return OC_OK;
}

static void begin(oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward) {
    oc_arena_pop(&m->arena, 0);
    oc_arena_pop(&m->host, 0);
    layout(m, &m->arena, &m->host, tokens, images, blocks, labels, backward);
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
            r->visual_from.here[k] = b->block_image[j] * per_image + i;
            r->visual_to.here[k] = b->block_row[j] + i;
        }
    }
    OC_ASSERT(k == r->n_visual);
    oc_input_send(m->compute, &r->visual_from, (size_t)k);
    oc_input_send(m->compute, &r->visual_to, (size_t)k);
}

/* x [N, C] = embeddings of token [N]. */
static void look_up(const oc_vlm *m, void *x, const int32_t *token, int N) {
    const oc_matrix_desc table = oc_params_matrix(&m->params, m->embed, m->t);
    for (int i = 0; i < N; i++) {
        OC_ASSERT(token[i] >= 0 && token[i] < m->cfg.text.vocab);
        m->rows.token.here[i] = token[i];
    }
    m->compute->ops.embedding_fwd(m->compute, x, oc_input_send(m->compute, &m->rows.token, (size_t)N), table.w,
                                  table.w_type, N, table.cols, m->t);
}

/* Vision, projector, token embeddings; visual rows replaced by the projected patches. */
static void embed(oc_vlm *m, const oc_batch *b) {
    struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    const int C = m->cfg.text.hidden;
    void *x = oc_decoder_input(&m->decoder);
    look_up(m, x, b->token, b->N);
    memcpy(r->embed_id.here, b->token, (size_t)b->N * sizeof(int32_t));
    if (b->n_blocks == 0) return;
    map_visual_rows(m, b);
    for (int k = 0; k < r->n_visual; k++) r->embed_id.here[r->visual_to.here[k]] = -1;
    r->features = oc_vision_fwd(&m->vision, c, b->pixels);
    void *visual = oc_projector_fwd(&m->projector, c, r->features);
    oc_tap_show(&m->vision_tap, c, "projector", visual, m->projector.rows, C, C, m->t);
    if (!r->visual_in_order) {
        c->ops.gather_rows(c, r->visual, visual, r->visual_from.there, r->n_visual, C, m->t);
        visual = r->visual;
    }
    c->ops.scatter_rows(c, x, visual, C, r->visual_to.there, r->n_visual, C, false, m->t);
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

/* The rows of x that label_row names, gathered and normed: what the head multiplies. */
static void norm_rows(oc_vlm *m, const void *x, int n) {
    struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    c->ops.gather_rows(c, r->labelled, x, oc_input_send(c, &r->label_row, (size_t)n), n, m->cfg.text.hidden, m->t);
    c->ops.rmsnorm_fwd(c, r->normed, r->rstd, r->labelled, NULL, oc_params_weight(&m->params, m->norm), n,
                       m->cfg.text.hidden, m->cfg.text.eps, m->t);
}

/* logits of the rows of x that label_row names. In chunks where they go through memory of the device. */
static void logits_of_labelled(oc_vlm *m, float *logits, const void *x, int n) {
    const size_t V = (size_t)m->cfg.text.vocab, C = (size_t)m->cfg.text.hidden;
    const struct oc_vlm_rows *r = &m->rows;
    oc_compute *c = m->compute;
    OC_ASSERT(m->t == OC_F32 || r->narrow_logits); /* the pass was laid out for a loss */
    norm_rows(m, x, n);
    oc_tap_show(&m->decoder_tap, c, "final_norm", r->normed, n, (int)C, (int)C, m->t);
    const int chunk = r->narrow_logits || r->logits ? CHUNK : n;
    for (int n0 = 0; n0 < n; n0 += chunk) {
        const int rows = OC_MIN(chunk, n - n0);
        float *out = logits + (size_t)n0 * V, *there = r->logits ? r->logits : out;
        oc_linear_fwd(c, &m->head, r->narrow_logits ? r->narrow_logits : there,
                      oc_column(r->normed, m->t, (size_t)n0 * C), rows, OC_ACT_NONE, NULL, NULL);
        if (r->narrow_logits) c->ops.convert(c, there, OC_F32, r->narrow_logits, OC_BF16, (size_t)rows * V);
        if (r->logits) c->ops.download(c, out, r->logits, (size_t)rows * V * sizeof(float));
    }
}

void oc_vlm_logits(oc_vlm *m, float *logits, const void *x, const int32_t *row, int n) {
    memcpy(m->rows.label_row.here, row, (size_t)n * sizeof(int32_t));
    logits_of_labelled(m, logits, x, n);
}

void oc_vlm_decode(oc_vlm *m, float *logits, const int32_t *token, const int32_t *position, const int32_t *slot, int B,
                   oc_kv_cache *kv) {
    oc_vlm_decode_attention(m, logits, token, position, slot, B, kv, NULL, 0, NULL);
}

void oc_vlm_decode_attention(oc_vlm *m, float *logits, const int32_t *token, const int32_t *position,
                             const int32_t *slot, int B, oc_kv_cache *kv, float *attention, int ld, float *scratch) {
    oc_compute *c = m->compute;
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
    for (int b = 0; b < B; b++) m->rows.label_row.here[b] = b;
    logits_of_labelled(m, logits, x, B);
}

void *oc_vlm_encode_images(oc_vlm *m, const float *pixels, int images) {
    oc_arena_pop(&m->arena, 0);
    oc_arena_pop(&m->host, 0);
    oc_vision_layout(&m->vision, m->compute, &m->arena, &m->host, images, OC_PASS_FORWARD, 0);
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
    if (d_embed)
        c->ops.embedding_bwd(c, d_embed, oc_input_send(c, &r->embed_id, (size_t)b->N), dx, b->N, C, m->cfg.text.vocab,
                             m->t);
    if (b->n_blocks == 0 || !(m->train[OC_PART_PROJECTOR] || m->train[OC_PART_VISION])) return;
    c->ops.gather_rows(c, r->d_visual, dx, r->visual_to.there, r->n_visual, C, m->t);
    void *d_rows = r->d_visual;
    if (!r->visual_in_order) { /* an image shown twice receives the sum */
        c->ops.zero(c, r->d_feature_rows, (size_t)m->projector.rows * (size_t)C * oc_dtype_size(m->t));
        c->ops.scatter_rows(c, r->d_feature_rows, r->d_visual, C, r->visual_from.there, r->n_visual, C, true, m->t);
        d_rows = r->d_feature_rows;
    }
    oc_tap_show(&m->vision_tap, c, "grad_projector", d_rows, m->projector.rows, C, C, m->t);
    void *d_features = oc_projector_bwd(&m->projector, c, d_rows, r->features);
    if (m->train[OC_PART_VISION]) oc_vision_bwd(&m->vision, c, d_features);
}

/* What each labelled row counts for. */
static void weigh_rows(oc_vlm *m, const oc_batch *b) {
    float *weight = m->rows.weight_here;
    for (int k = 0; k < b->n_seq; k++) {
        int labels = 0;
        for (int i = b->seq_start[k]; i < b->seq_start[k + 1]; i++) labels += b->label[i] >= 0;
        for (int i = 0; i < labels; i++) *weight++ = m->sample_loss ? 1.0f / (float)labels : 1.0f;
    }
}

/* Of the n labelled rows. */
static oc_loss sum_loss(oc_vlm *m, int n) {
    const struct oc_vlm_rows *r = &m->rows;
    const oc_compute *c = m->compute;
    oc_loss loss = {.n = n};
    if (!c->ops.host_memory) {
        c->ops.download(m->compute, r->loss_here, r->loss, (size_t)n * sizeof(float));
        c->ops.download(m->compute, r->correct_here, r->correct, (size_t)n);
    }
    for (int i = 0; i < n; i++) {
        loss.sum += (double)r->weight_here[i] * (double)r->loss_here[i];
        loss.weight += (double)r->weight_here[i];
        loss.correct += r->correct_here[i];
    }
    return loss;
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
            r->label_row.here[n] = i;
            r->target.here[n++] = b->label[i];
        }
    weigh_rows(m, b);
    norm_rows(m, x, n);
    if (m->sample_loss && !c->ops.host_memory) c->ops.upload(c, r->weight, r->weight_here, (size_t)n * sizeof(float));
    float *d_head = backward ? oc_params_grad(&m->params, m->head.weight) : NULL;
    c->ops.linear_xent(c, r->loss, r->correct, backward ? r->d_normed : NULL, d_head, r->normed,
                       oc_input_send(c, &r->target, (size_t)n), m->sample_loss ? r->weight : NULL, m->head.matrix, n,
                       backward ? scale : 0);
    if (!backward) return sum_loss(m, n);

    size_t row_bytes = (size_t)C * oc_dtype_size(m->t);
    c->ops.zero(c, r->d_labelled, (size_t)n * row_bytes);
    c->ops.rmsnorm_bwd(c, r->d_labelled, oc_params_grad(&m->params, m->norm), r->d_normed, r->labelled, r->rstd,
                       oc_params_weight(&m->params, m->norm), n, C, m->t);
    c->ops.zero(c, r->dx, (size_t)b->N * row_bytes);
    c->ops.scatter_rows(c, r->dx, r->d_labelled, C, r->label_row.there, n, C, false, m->t);
    oc_decoder_bwd(&m->decoder, c, r->dx);
    oc_tap_show(&m->decoder_tap, c, "grad_embeds", r->dx, b->N, C, C, m->t);
    embed_bwd(m, b, r->dx);
    return sum_loss(m, n); /* last: what is read back waits for the device */
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
