#include "model/params.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

const char *const oc_part_names[OC_PART_COUNT] = {"vision", "projector", "lm"};

typedef struct builder {
    oc_params *p;
    oc_status st;
    oc_error *err;
} builder;

/* Starts a new 64-byte line; what follows until the next call is contiguous. */
static void align_part(builder *b, oc_part part) { b->p->n[part] = (b->p->n[part] + 15) / 16 * 16; }

static oc_param *add(builder *b, oc_part part, float init_std, int n_dims, const int *shape, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

static oc_param *add(builder *b, oc_part part, float init_std, int n_dims, const int *shape, const char *fmt, ...) {
    oc_params *p = b->p;
    static oc_param nowhere;
    if (b->st != OC_OK) return &nowhere;
    if (p->count == p->capacity) {
        size_t old = (size_t)p->capacity * sizeof *p->row;
        oc_param *row = oc_realloc(p->row, old, old ? old * 2 : 64 * sizeof *row);
        if (!row) {
            b->st = oc_fail(b->err, OC_ERR_NOMEM, "out of memory for the parameter table");
            return &nowhere;
        }
        p->row = row;
        p->capacity = p->capacity ? p->capacity * 2 : 64;
    }
    oc_param *r = &p->row[p->count++];
    memset(r, 0, sizeof *r);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->name, sizeof r->name, fmt, ap);
    va_end(ap);
    r->part = part;
    r->n_dims = n_dims;
    r->n = 1;
    for (int i = 0; i < n_dims; i++) {
        r->shape[i] = shape[i];
        r->n *= (size_t)shape[i];
    }
    r->offset = p->n[part];
    r->decay = n_dims >= 2;
    r->init_std = init_std;
    p->n[part] += r->n;
    p->n_values[part] += r->n;
    return r;
}

#define SHAPE(...)                                                                                                     \
    (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (int[]) { __VA_ARGS__ }

static const float ONES = -1.0f;

/* weight [rows, cols] and bias [rows] of one linear layer. Fresh weights have deviation gain / sqrt(cols). */
static void add_linear(builder *b, oc_part part, const char *prefix, int rows, int cols, bool bias, float gain) {
    align_part(b, part);
    add(b, part, gain / sqrtf((float)cols), SHAPE(rows, cols), "%s.weight", prefix);
    if (!bias) return;
    align_part(b, part);
    add(b, part, 0, SHAPE(rows), "%s.bias", prefix);
}

static void add_norm(builder *b, oc_part part, const char *prefix, int n, bool bias) {
    align_part(b, part);
    add(b, part, ONES, SHAPE(n), "%s.weight", prefix);
    if (bias) add(b, part, 0, SHAPE(n), "%s.bias", prefix);
}

/* q, k, v of one attention block: three weights, then three biases, without gaps. */
static void add_qkv(builder *b, oc_part part, const char *prefix, int hidden, int q_rows, int kv_rows, float gain) {
    static const char name[] = "qkv";
    align_part(b, part);
    for (int i = 0; i < 3; i++)
        add(b, part, gain / sqrtf((float)hidden), SHAPE(i ? kv_rows : q_rows, hidden), "%s.self_attn.%c_proj.weight",
            prefix, name[i]);
    align_part(b, part);
    for (int i = 0; i < 3; i++)
        add(b, part, 0, SHAPE(i ? kv_rows : q_rows), "%s.self_attn.%c_proj.bias", prefix, name[i]);
}

static const float GAIN = 0.7f; /* of fresh linear layers, against 1/sqrt(inputs) */

static void build_vision(builder *b, const oc_vision_config *v) {
    const oc_part P = OC_PART_VISION;
    int C = v->hidden;
    char name[96];
    align_part(b, P);
    add(b, P, 1.0f / sqrtf(3.0f * (float)(v->patch_size * v->patch_size)), SHAPE(C, 3, v->patch_size, v->patch_size),
        "vision_tower.embeddings.patch_embedding.weight");
    align_part(b, P);
    add(b, P, 0, SHAPE(C), "vision_tower.embeddings.patch_embedding.bias");
    align_part(b, P);
    add(b, P, 1.0f / sqrtf((float)C), SHAPE(oc_vision_patches(v), C),
        "vision_tower.embeddings.position_embedding.weight")
        ->decay = false;
    float out_gain = GAIN / sqrtf(2.0f * (float)v->layers);
    int first_unused = b->p->count; /* rows behind the layer whose output is taken */
    for (int l = 0; l < v->layers; l++) {
        snprintf(name, sizeof name, "vision_tower.encoder.layers.%d", l);
        char sub[160];
        snprintf(sub, sizeof sub, "%s.layer_norm1", name);
        add_norm(b, P, sub, C, true);
        add_qkv(b, P, name, C, C, C, GAIN);
        snprintf(sub, sizeof sub, "%s.self_attn.out_proj", name);
        add_linear(b, P, sub, C, C, true, out_gain);
        snprintf(sub, sizeof sub, "%s.layer_norm2", name);
        add_norm(b, P, sub, C, true);
        snprintf(sub, sizeof sub, "%s.mlp.fc1", name);
        add_linear(b, P, sub, v->mlp, C, true, GAIN);
        snprintf(sub, sizeof sub, "%s.mlp.fc2", name);
        add_linear(b, P, sub, C, v->mlp, true, out_gain);
        if (l < v->layers + v->feature_layer + 1) first_unused = b->p->count;
    }
    add_norm(b, P, "vision_tower.post_layernorm", C, true);
    for (int i = first_unused; i < b->p->count; i++) b->p->row[i].unused = true;
}

static void build_text(builder *b, const oc_text_config *t) {
    const oc_part P = OC_PART_LM;
    int C = t->hidden, q = t->heads * t->head_size, kv = t->kv_heads * t->head_size;
    char name[96], sub[160];
    align_part(b, P);
    add(b, P, 0.02f, SHAPE(t->vocab, C), "language_model.embed_tokens.weight")->decay = false;
    float out_gain = GAIN / sqrtf(2.0f * (float)t->layers);
    for (int l = 0; l < t->layers; l++) {
        snprintf(name, sizeof name, "language_model.layers.%d", l);
        snprintf(sub, sizeof sub, "%s.input_layernorm", name);
        add_norm(b, P, sub, C, false);
        add_qkv(b, P, name, C, q, kv, GAIN);
        snprintf(sub, sizeof sub, "%s.self_attn.o_proj", name);
        add_linear(b, P, sub, C, q, false, out_gain);
        snprintf(sub, sizeof sub, "%s.post_attention_layernorm", name);
        add_norm(b, P, sub, C, false);
        align_part(b, P);
        add(b, P, GAIN / sqrtf((float)C), SHAPE(t->mlp, C), "%s.mlp.gate_proj.weight", name);
        add(b, P, GAIN / sqrtf((float)C), SHAPE(t->mlp, C), "%s.mlp.up_proj.weight", name);
        snprintf(sub, sizeof sub, "%s.mlp.down_proj", name);
        add_linear(b, P, sub, C, t->mlp, false, out_gain);
    }
    add_norm(b, P, "language_model.norm", C, false);
    if (!t->tied) add_linear(b, P, "lm_head", t->vocab, C, false, GAIN);
}

bool oc_param_is_inner_matrix(const oc_param *r) { return r->decay && strcmp(r->name, "lm_head.weight"); }

/* ---- float32 or bf16 --------------------------------------------------------------------------------------------- */

/* Inner matrices' gradients are made by oc_linear, which adds pieces to bf16. The vocabulary's tables receive theirs
 * from kernels that add to float32. */
static bool has_narrow_gradient(const oc_param *r) { return oc_param_is_inner_matrix(r); }

/* What kernels read in either type. */
static bool has_narrow_weight(const oc_param *r) { return r->n_dims == 2 && !strstr(r->name, "position_embedding"); }

/* Places of one role for all rows, the rows that are `chosen` in bf16 (NULL: none), and the sizes of the buffers. */
static void place(oc_params *p, bool (*chosen)(const oc_param *), size_t member, size_t *n, size_t *n16) {
    const oc_param *before = NULL;
    memcpy(n, p->n, sizeof p->n);
    memset(n16, 0, sizeof p->n);
    if (chosen) memset(n, 0, sizeof p->n);
    for (int i = 0; i < p->count; before = &p->row[i++]) {
        oc_param *r = &p->row[i];
        oc_place *here = (oc_place *)((char *)r + member);
        *here = (oc_place){.offset = r->offset};
        if (!chosen) continue;
        here->narrow = chosen(r);
        size_t *end = here->narrow ? &n16[r->part] : &n[r->part];
        bool joined = before && before->part == r->part && chosen(before) == here->narrow &&
                      before->offset + before->n == r->offset;
        if (!joined) *end = (*end + 31) / 32 * 32; /* what is one matrix stays one, and lines begin anew for others */
        here->offset = *end;
        *end += r->n;
    }
}

static void place_all(oc_params *p) {
    place(p, p->narrow_weights ? has_narrow_weight : NULL, offsetof(oc_param, weight), p->n_w, p->n_w16);
    place(p, p->narrow_gradients ? has_narrow_gradient : NULL, offsetof(oc_param, grad), p->n_g, p->n_g16);
}

void oc_params_narrow_weights(oc_params *p) {
    p->narrow_weights = true;
    place_all(p);
}

void oc_params_narrow(oc_params *p, bool gradients, bool moments) {
    p->narrow_gradients = gradients;
    p->narrow_moments = moments;
    place_all(p);
}

/* ---- The table of a model ---------------------------------------------------------------------------------------- */

oc_status oc_params_build(oc_params *p, const oc_config *c, oc_error *err) {
    memset(p, 0, sizeof *p);
    builder b = {p, OC_OK, err};
    if (c->has_vision) build_vision(&b, &c->vision);
    if (c->has_vision && c->has_text) {
        int s = c->projector.merge;
        add_linear(&b, OC_PART_PROJECTOR, "multi_modal_projector.linear_1", c->projector.hidden,
                   s * s * c->vision.hidden, true, 1.0f);
        add_linear(&b, OC_PART_PROJECTOR, "multi_modal_projector.linear_2", c->text.hidden, c->projector.hidden, true,
                   1.0f);
    }
    if (c->has_text) build_text(&b, &c->text);
    for (int i = 0; i < OC_PART_COUNT; i++) align_part(&b, (oc_part)i);
    place_all(p);
    if (b.st != OC_OK) oc_params_close(p);
    return b.st;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static oc_status alloc_zeroed(const oc_params *p, void *out, size_t n, size_t size, const char *what, oc_part part,
                              oc_error *err) {
    char text[64];
    void *values;
    snprintf(text, sizeof text, "the %s of the %s", what, oc_part_names[part]);
    OC_TRY(oc_compute_alloc_for(p->compute, &values, n * size, text, err));
    p->compute->ops.zero(p->compute, values, n * size);
    memcpy(out, &values, sizeof values);
    return OC_OK;
}

oc_status oc_params_alloc_weights(oc_params *p, oc_error *err) {
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!p->n[i]) continue;
        OC_TRY(alloc_zeroed(p, &p->w[i], p->n_w[i], sizeof(float), "weights", (oc_part)i, err));
        if (p->narrow_weights)
            OC_TRY(alloc_zeroed(p, &p->w16[i], p->n_w16[i], sizeof(uint16_t), "weights", (oc_part)i, err));
    }
    return OC_OK;
}

static void free_role(const oc_params *p, void *role) { /* address of a pointer */
    void *values;
    memcpy(&values, role, sizeof values);
    if (values) p->compute->ops.device_free(p->compute, values);
    values = NULL;
    memcpy(role, &values, sizeof values);
}

oc_status oc_params_alloc_gradients(oc_params *p, const bool train[OC_PART_COUNT], oc_error *err) {
    bool any = false;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        if (!train[i] || !p->n[i]) continue;
        any = true;
        if (!p->g[i]) OC_TRY(alloc_zeroed(p, &p->g[i], p->n_g[i], sizeof(float), "gradients", (oc_part)i, err));
        if (p->narrow_gradients && !p->g16[i])
            OC_TRY(alloc_zeroed(p, &p->g16[i], p->n_g16[i], sizeof(uint16_t), "gradients", (oc_part)i, err));
    }
    if (!any || !p->narrow_gradients)
        free_role(p, &p->dw);
    else if (!p->dw)
        OC_TRY(oc_compute_alloc_for(p->compute, &p->dw, OC_PARAMS_DW * sizeof(float), "a piece of a gradient", err));
    return OC_OK;
}

static oc_status alloc_moments(oc_params *p, int part, oc_error *err) {
    const size_t n = p->n[part];
    if (p->narrow_moments) {
        if (!p->m16[part])
            OC_TRY(alloc_zeroed(p, &p->m16[part], n, sizeof(uint16_t), "first moments", (oc_part)part, err));
        if (p->v16[part]) return OC_OK;
        return alloc_zeroed(p, &p->v16[part], n, sizeof(uint16_t), "second moments", (oc_part)part, err);
    }
    if (!p->m[part]) OC_TRY(alloc_zeroed(p, &p->m[part], n, sizeof(float), "first moments", (oc_part)part, err));
    if (p->v[part]) return OC_OK;
    return alloc_zeroed(p, &p->v[part], n, sizeof(float), "second moments", (oc_part)part, err);
}

static void free_state(oc_params *p, int part) {
    void *all[] = {&p->g[part], &p->m[part], &p->v[part], &p->g16[part], &p->m16[part], &p->v16[part]};
    for (size_t i = 0; i < OC_COUNT(all); i++) free_role(p, all[i]);
}

oc_status oc_params_set_trainable(oc_params *p, const bool train[OC_PART_COUNT], oc_error *err) {
    for (int i = 0; i < OC_PART_COUNT; i++)
        if (!train[i] || !p->n[i]) free_state(p, i);
    OC_TRY(oc_params_alloc_gradients(p, train, err));
    for (int i = 0; i < OC_PART_COUNT; i++)
        if (train[i] && p->n[i]) OC_TRY(alloc_moments(p, i, err));
    return OC_OK;
}

oc_status oc_params_set_gradients(oc_params *p, const bool parts[OC_PART_COUNT], oc_error *err) {
    for (int i = 0; i < OC_PART_COUNT; i++) free_state(p, i);
    return oc_params_alloc_gradients(p, parts, err);
}

void oc_params_close(oc_params *p) {
    for (int i = 0; i < OC_PART_COUNT; i++) {
        free_role(p, &p->w[i]);
        free_role(p, &p->w16[i]);
        free_state(p, i);
    }
    free_role(p, &p->dw);
    oc_free(p->row);
    memset(p, 0, sizeof *p);
}

enum { PIECE = 1024 }; /* values on their way between here and the device */

/* Learned positions begin as sines and cosines of row and column (sincos2d of Beyer et al., arXiv 2205.01580): each
 * quarter of the channels holds sin or cos of x or y at frequencies 1 to 1/10000. Neighbours are then alike from the
 * first step on, which a small model would take long to find out. Value i of [G*G, C]. */
static float fresh_position(const oc_param *r, size_t i) {
    const int C = r->shape[1], G = (int)lround(sqrt(r->shape[0])), quarter = OC_MAX(C / 4, 1);
    const int n = (int)(i / (size_t)C), part = (int)(i % (size_t)C) / quarter, k = (int)(i % (size_t)C) % quarter;
    const double at = part & 2 ? n / G : n % G, angle = at * pow(10000, -(double)k / OC_MAX(C / 4 - 1, 1));
    return part > 3 ? 0 : (float)(0.5 * (part & 1 ? cos(angle) : sin(angle)));
}

/* Truncated at two deviations. */
static float fresh_value(const oc_param *r, oc_rng *rng) {
    double x;
    if (r->init_std <= 0) return r->init_std < 0 ? 1.0f : 0.0f;
    do x = oc_rng_normal(rng);
    while (fabs(x) > 2);
    return (float)(x * (double)r->init_std);
}

void oc_params_init(oc_params *p, uint64_t seed, const bool which[OC_PART_COUNT]) {
    for (int i = 0; i < p->count; i++) {
        const oc_param *r = &p->row[i];
        if (!which[r->part]) continue;
        const bool positions = strstr(r->name, "position_embedding");
        oc_rng rng = oc_rng_at(seed, (uint64_t)r->part + 1, r->offset);
        float piece[PIECE];
        for (size_t j = 0; j < r->n; j += PIECE) {
            const size_t n = OC_MIN((size_t)PIECE, r->n - j);
            for (size_t k = 0; k < n; k++) piece[k] = positions ? fresh_position(r, j + k) : fresh_value(r, &rng);
            oc_params_write(p, i, j, piece, n);
        }
    }
}

int oc_params_find(const oc_params *p, const char *name) {
    for (int i = 0; i < p->count; i++)
        if (!strcmp(p->row[i].name, name)) return i;
    return -1;
}

/* ---- Values of a row --------------------------------------------------------------------------------------------- */

float *oc_params_weight(const oc_params *p, int row) {
    const oc_param *r = &p->row[row];
    return r->weight.narrow ? NULL : p->w[r->part] + r->weight.offset;
}

uint16_t *oc_params_weight16(const oc_params *p, int row) {
    const oc_param *r = &p->row[row];
    return r->weight.narrow ? p->w16[r->part] + r->weight.offset : NULL;
}

oc_matrix_desc oc_params_matrix(const oc_params *p, int row, oc_dtype t) {
    const oc_param *r = &p->row[row];
    oc_matrix_desc d = {.w_type = r->weight.narrow ? OC_BF16 : OC_F32,
                        .t = t,
                        .rows = r->shape[0],
                        .cols = (int)(r->n / (size_t)r->shape[0])};
    d.w = r->weight.narrow ? (const void *)oc_params_weight16(p, row) : oc_params_weight(p, row);
    return d;
}

void oc_params_read(const oc_params *p, int row, size_t first, float *out, size_t n) {
    const uint16_t *w16 = oc_params_weight16(p, row);
    oc_compute *c = p->compute;
    uint16_t piece[PIECE];
    if (!w16) {
        c->ops.download(c, out, oc_params_weight(p, row) + first, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t k = OC_MIN((size_t)PIECE, n - i);
        c->ops.download(c, piece, w16 + first + i, k * sizeof *piece);
        for (size_t j = 0; j < k; j++) out[i + j] = oc_bf16_to_f32(piece[j]);
    }
}

void oc_params_write(oc_params *p, int row, size_t first, const float *x, size_t n) {
    uint16_t *w16 = oc_params_weight16(p, row), piece[PIECE];
    oc_compute *c = p->compute;
    if (!w16) {
        c->ops.upload(c, oc_params_weight(p, row) + first, x, n * sizeof *x);
        return;
    }
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t k = OC_MIN((size_t)PIECE, n - i);
        for (size_t j = 0; j < k; j++) piece[j] = oc_f32_to_bf16(x[i + j]);
        c->ops.upload(c, w16 + first + i, piece, k * sizeof *piece);
    }
}

float *oc_params_grad(const oc_params *p, int row) {
    const oc_param *r = &p->row[row];
    return p->g[r->part] && !r->grad.narrow ? p->g[r->part] + r->grad.offset : NULL;
}

uint16_t *oc_params_grad16(const oc_params *p, int row) {
    const oc_param *r = &p->row[row];
    return p->g16[r->part] && r->grad.narrow ? p->g16[r->part] + r->grad.offset : NULL;
}
