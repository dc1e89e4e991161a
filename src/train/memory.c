#include "train/memory.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <string.h>

#include "model/spans.h"
#include "train/narrow.h"

const char *const oc_role_names[OC_ROLE_COUNT] = {"weights",     "gradients", "moments", "averages", "packed",
                                                  "activations", "scratch",   "batches", "program"};

size_t oc_memory_total(const oc_memory *m) {
    size_t sum = 0;
    for (int i = 0; i < OC_ROLE_COUNT; i++) sum += m->bytes[i];
    return sum;
}

oc_batch_shape oc_batch_shape_of(const oc_batch *b) {
    return (oc_batch_shape){b->N, b->n_seq, b->n_images, b->n_blocks, b->n_labels};
}

/* ---- Parameters ---------------------------------------------------------------------------------------------------- */

/* Matrices that products read: a backend may keep a copy for each direction. */
static bool is_packed(const oc_param *r) {
    return r->n_dims >= 2 && !r->unused && !strstr(r->name, "position_embedding");
}

/* Does a backward pass go through the matrix to its input? Not below the lowest part that is trained. */
static bool passes_gradient(const oc_param *r, const bool train[OC_PART_COUNT]) {
    if (strstr(r->name, "patch_embedding")) return false;
    if (strstr(r->name, "projector.linear_1")) return train[OC_PART_VISION];
    for (int part = 0; part <= (int)r->part; part++)
        if (train[part]) return true;
    return false;
}

static oc_status packed_bytes(size_t *out, const oc_vlm *m, const bool train[OC_PART_COUNT], oc_error *err) {
    oc_compute *c = m->compute;
    *out = 0;
    for (int i = 0; i < m->params.count; i++) {
        const oc_param *r = &m->params.row[i];
        if (!is_packed(r)) continue;
        oc_matrix_desc d = oc_params_matrix(&m->params, i, m->t);
        oc_matrix *w = c->ops.matrix_create(c, &d);
        if (!w) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the plan");
        *out += c->ops.matrix_bytes(w, passes_gradient(r, train));
        c->ops.matrix_free(c, w);
    }
    return OC_OK;
}

oc_status oc_memory_parameters(oc_memory *out, const oc_vlm *m, const bool train[OC_PART_COUNT], bool averages,
                               oc_error *err) {
    size_t *bytes = out->bytes;
    bool any = false;
    bytes[OC_ROLE_WEIGHTS] = bytes[OC_ROLE_GRADIENTS] = bytes[OC_ROLE_MOMENTS] = bytes[OC_ROLE_AVERAGES] = 0;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        const oc_params *p = &m->params;
        bytes[OC_ROLE_WEIGHTS] += p->n_w[i] * sizeof(float) + p->n_w16[i] * sizeof(uint16_t);
        if (!train[i] || !p->n[i]) continue;
        any = true;
        bytes[OC_ROLE_GRADIENTS] += p->n_g[i] * sizeof(float) + p->n_g16[i] * sizeof(uint16_t);
        bytes[OC_ROLE_MOMENTS] += 2 * p->n[i] * (p->narrow_moments ? sizeof(uint16_t) : sizeof(float));
        if (averages) bytes[OC_ROLE_AVERAGES] += p->n[i] * sizeof(float);
    }
    if (any && m->params.narrow_gradients) bytes[OC_ROLE_GRADIENTS] += OC_PARAMS_DW * sizeof(float);
    if (any && (m->params.narrow_weights || m->params.narrow_gradients || m->params.narrow_moments))
        bytes[OC_ROLE_MOMENTS] += OC_NARROW_PIECES * OC_NARROW_PIECE * sizeof(float);
    return packed_bytes(&bytes[OC_ROLE_PACKED], m, train, err);
}

/* ---- Kernels ------------------------------------------------------------------------------------------------------- */

/* A batch of these sizes: sequences of equal length, each with its pictures in front, labels at the ends. The head works on
 * chunks of labelled rows (linear_xent), so more of them than these take time and no memory. */
enum { LABELS = 2048 };

static oc_status make_batch(oc_batch *b, const oc_config *c, oc_batch_shape s, oc_error *err) {
    const int P = oc_config_tokens_per_image(c);
    int seqs = OC_MAX(1, OC_MIN(s.seqs, s.tokens)), T = s.tokens / seqs;
    int per_seq = s.images > 0 && P < T ? OC_MIN((s.blocks + seqs - 1) / seqs, (T - 1) / P) : 0;
    int labels = OC_MIN(OC_MAX(1, (OC_MIN(s.labels, LABELS) + seqs - 1) / seqs), T - 1), shown = 0;
    OC_TRY(oc_batch_open(b, seqs * T, seqs, seqs * per_seq, s.images, P, c->vision.image_size, err));
    int32_t *token = oc_calloc((size_t)T, sizeof *token), *image = oc_calloc((size_t)per_seq + 1, sizeof *image);
    uint8_t *answer = oc_calloc((size_t)T, 1);
    oc_status st = token && image && answer ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the plan");
    for (int i = 0; st == OC_OK && i < seqs; i++) {
        for (int k = 0; k < T; k++) {
            token[k] = k < per_seq * P ? c->image_token : c->image_token == 0;
            answer[k] = k >= T - labels;
        }
        for (int k = 0; k < per_seq; k++) image[k] = shown++ % s.images;
        OC_ASSERT(oc_batch_append(b, token, answer, T, c->image_token, image, per_seq));
    }
    b->n_images = per_seq > 0 ? s.images : 0;
    memset(b->pixels, 0,
           (size_t)s.images * 3 * (size_t)c->vision.image_size * (size_t)c->vision.image_size * sizeof(float));
    oc_spans_fill(b, c->mask);
    oc_free(token);
    oc_free(image);
    oc_free(answer);
    return st;
}

/* The model with one layer in each tower; gradients as `train` says, no moments. */
static oc_status open_thin(oc_vlm *thin, const oc_vlm *m, const bool train[OC_PART_COUNT], oc_error *err) {
    oc_config c = m->cfg;
    if (c.has_vision) c.vision.layers = 1, c.vision.feature_layer = -1;
    c.text.layers = 1;
    OC_TRY(oc_vlm_create_typed(thin, m->compute, &c, m->t, m->params.narrow_weights ? OC_BF16 : OC_F32, err));
    memcpy(thin->train, train, sizeof thin->train);
    oc_params_narrow(&thin->params, m->params.narrow_gradients, false);
    return oc_params_alloc_gradients(&thin->params, train, err);
}

/* Resident bytes, after what was freed went back to the system. */
static size_t resident(void) {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
    return oc_rss_bytes();
}

oc_status oc_memory_measure_kernels(oc_memory *out, const oc_vlm *m, const bool train[OC_PART_COUNT],
                                    const oc_batch_shape *shape, oc_error *err) {
    size_t scratch = oc_compute_scratch_bytes(m->compute), before = resident();
    oc_vlm thin = {0};
    oc_batch b = {0};
    oc_loss loss;
    oc_status st;
    OC_GO(make_batch(&b, &m->cfg, *shape, err));
    OC_GO(open_thin(&thin, m, train, err));
    OC_GO(oc_vlm_reserve(&thin, b.N, b.n_images, b.n_blocks, b.n_labels, true, err));
    OC_GO(oc_vlm_try_loss(&loss, &thin, &b, 1, err));
done:
    oc_vlm_close(&thin);
    oc_batch_close(&b);
    OC_TRY(st);
    size_t grown = oc_compute_scratch_bytes(m->compute) - scratch, after = resident();
    out->bytes[OC_ROLE_SCRATCH] = OC_MAX(out->bytes[OC_ROLE_SCRATCH], scratch + grown);
    if (after > before + grown) out->bytes[OC_ROLE_PROGRAM] += after - before - grown;
    return OC_OK;
}

/* ---- Layers that are computed twice -------------------------------------------------------------------------------- */

void oc_memory_recompute_all(oc_vlm *m, bool all) {
    for (int i = 0; i < OC_PART_COUNT; i++) m->recomputed[i] = all ? oc_vlm_layers(m, (oc_part)i) : 0;
}

static size_t arena_bytes(const oc_vlm *m, const oc_batch_shape *s) {
    return oc_vlm_arena_bytes(m, s->tokens, s->images, s->blocks, s->labels, true);
}

/* Bytes that the second layer of a part gives back, for each multiplication that it costs. */
static double worth(oc_vlm *m, oc_part part, const oc_batch_shape *s) {
    const oc_vision_config *v = &m->cfg.vision;
    const oc_text_config *t = &m->cfg.text;
    oc_memory_recompute_all(m, false);
    size_t all = arena_bytes(m, s);
    m->recomputed[part] = 2;
    double saved = (double)(all - arena_bytes(m, s));
    double weights = part == OC_PART_VISION
                         ? (double)v->hidden * (4.0 * v->hidden + v->mlp)
                         : t->hidden * (2.0 * t->heads + 2.0 * t->kv_heads) * t->head_size + 2.0 * t->hidden * t->mlp;
    double rows = part == OC_PART_VISION ? (double)s->images * oc_vision_patches(v) : s->tokens;
    return saved / OC_MAX(rows * weights, 1);
}

void oc_memory_choose_recomputed(oc_vlm *m, const oc_batch_shape *s, size_t others, size_t limit) {
    oc_part order[2] = {OC_PART_VISION, OC_PART_LM};
    if (oc_vlm_layers(m, OC_PART_VISION) < 2 || worth(m, OC_PART_LM, s) > worth(m, OC_PART_VISION, s))
        order[0] = OC_PART_LM, order[1] = OC_PART_VISION;
    oc_memory_recompute_all(m, false);
    for (int k = 0; k < 2; k++)
        for (int n = 2; arena_bytes(m, s) + others > limit && n <= oc_vlm_layers(m, order[k]); n++)
            m->recomputed[order[k]] = n;
}
