/* Qwen2 decoder (Yang et al., arXiv 2407.10671): RMSNorm, grouped-query attention with biases on q, k, v and rotary
 * positions, SwiGLU.
 *
 *   per layer:  x = x + o(attention(rope(qkv(norm1(x)))));  x = x + down(silu(gate(y)) * up(y)), y = norm2(x)
 *
 * Rows are the N packed tokens; lo, hi are their attention intervals. The final norm and the head live in the vlm,
 * which runs them on labelled rows only. */
#ifndef OC_MODEL_DECODER_H
#define OC_MODEL_DECODER_H

#include "model/cache.h"
#include "model/layers.h"

typedef struct oc_decoder_layer oc_decoder_layer;

/* Which rows attend where; the arrays are in ordinary memory. cache and slot are for generation: with `decode` every row is one sequence that sees its
 * whole cache up to and including its own position; else lo, hi rule, and keys and values are also stored if cache. */
typedef struct oc_decoder_rows {
    const int32_t *position, *lo, *hi;
    oc_kv_cache *cache;
    const int32_t *slot;
    bool decode;
    /* With decode, may be NULL: [N, attention_ld], receives how much each row looks at each position of its cache, the mean
     * over layers and heads. */
    float *attention;
    int attention_ld;
    float *attention_scratch; /* [attention_ld] */
} oc_decoder_rows;

typedef struct oc_decoder {
    const oc_text_config *cfg;
    const oc_params *params;
    oc_dtype t;
    oc_decoder_layer *layer;
    float *rope; /* [max_rope, HS/2, 2], on the device */
    int max_rope;
    const oc_tap *tap;
    /* of the last pass */
    int N;
    oc_pass pass;
    int recomputed;       /* layers [0, recomputed) keep their input alone: layers.h */
    oc_decoder_rows rows; /* with their arrays on the device */
    void *x_out;
    oc_input cache_row, cache_first,
        cache_len; /* [N]: where a row is kept, the first row of its cache, how many it sees */
    struct {
        void *position, *lo, *hi;
    } room; /* for them where the device has memory of its own */
    void *d_gu, *d_s, *d_qkv, *d_y;
} oc_decoder;

oc_status oc_decoder_open(oc_decoder *d, oc_compute *c, const oc_config *cfg, const oc_params *p, oc_dtype t,
                          oc_error *err);
void oc_decoder_close(oc_decoder *d, oc_compute *c);
void oc_decoder_changed(oc_decoder *d, oc_compute *c);

void oc_decoder_layout(oc_decoder *d, const oc_compute *c, oc_arena *a, oc_arena *host, int N, oc_pass pass,
                       int recomputed);
/* The buffer that takes the input embeddings, T [N, C]. */
void *oc_decoder_input(oc_decoder *d);
/* -> residual stream after the last layer, T [N, C]. */
void *oc_decoder_fwd(oc_decoder *d, oc_compute *c, const oc_decoder_rows *rows);
/* dx T [N, C]: gradient of the output, becomes that of the input embeddings. The arrays of the forward pass must still be
 * there. */
void oc_decoder_bwd(oc_decoder *d, oc_compute *c, void *dx);

#endif
