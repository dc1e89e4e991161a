/* The parameter table: every tensor of the model is one row (name, shape, part, decay, offset) over one flat f32
 * buffer per part and role (weights, gradients, moments), or two where some rows of a role are kept in bf16. Loading,
 * saving, freezing, clipping and updating are loops over rows or ranges.
 *
 * Tensors that one product reads together stand side by side without a gap, in the order in which the fused product
 * wants them: q, k, v weights (then q, k, v biases), gate, up. So a fused layer is a view, and files still hold the
 * tensors under their Hugging Face names. */
#ifndef OC_MODEL_PARAMS_H
#define OC_MODEL_PARAMS_H

#include "base/rng.h"
#include "compute/compute.h"
#include "model/config.h"

typedef enum { OC_PART_VISION, OC_PART_PROJECTOR, OC_PART_LM, OC_PART_COUNT } oc_part;
extern const char *const oc_part_names[OC_PART_COUNT]; /* "vision", "projector", "lm" */

/* Where the values of a row lie, for one role. */
typedef struct oc_place {
    size_t offset; /* elements, within the part's float32 or bf16 buffer */
    bool narrow;   /* in the bf16 one */
} oc_place;

typedef struct oc_param {
    char name[112]; /* canonical name: vision_tower.*, multi_modal_projector.*, language_model.*, lm_head.weight */
    oc_part part;
    int n_dims;
    int shape[4];
    size_t offset, n; /* elements, within the part's moments and averages, and of w and g where nothing is bf16 */
    oc_place weight, grad;
    bool decay;     /* weight decay applies: matrices except embeddings and position tables */
    bool unused;    /* kept in files, takes no part in the network (post_layernorm, layers above the feature layer) */
    float init_std; /* of a fresh model: 0 = zeros, < 0 = ones */
} oc_param;

typedef struct oc_params {
    oc_compute *compute; /* not owned; whose memory the values below lie in. NULL while there are none */
    oc_param *row;
    int count, capacity;
    size_t n[OC_PART_COUNT];        /* floats per part, tensors padded to 16 */
    size_t n_values[OC_PART_COUNT]; /* parameters per part, without padding */
    float *w[OC_PART_COUNT];        /* weights; NULL where the model lacks the part */
    /* With bf16 weights (oc_params_narrow_weights): those of the matrices that products read, and of the embedding table. */
    bool narrow_weights;
    uint16_t *w16[OC_PART_COUNT];
    size_t n_w[OC_PART_COUNT], n_w16[OC_PART_COUNT]; /* elements of w and w16 */
    float *g[OC_PART_COUNT];                         /* gradients, NULL where frozen */
    float *m[OC_PART_COUNT], *v[OC_PART_COUNT];      /* AdamW moments, NULL where frozen */
    /* With bf16 state (oc_params_narrow): gradients of the matrices of linear layers are in g16, everything else in g.
     * Moments of all rows are in m16, v16, by offset, and m, v are NULL. */
    bool narrow_gradients, narrow_moments;
    size_t n_g[OC_PART_COUNT], n_g16[OC_PART_COUNT]; /* elements of g and g16 */
    uint16_t *g16[OC_PART_COUNT], *m16[OC_PART_COUNT], *v16[OC_PART_COUNT];
    float *dw; /* [OC_PARAMS_DW]: a piece of a matrix's gradient before it is added to g16; NULL without */
} oc_params;

enum { OC_PARAMS_DW = 1 << 22 };

/* The table of a configuration; no memory for values yet. */
oc_status oc_params_build(oc_params *p, const oc_config *c, oc_error *err);
oc_status oc_params_alloc_weights(oc_params *p, oc_error *err); /* zeroed, in the memory of p->compute */
/* bf16 instead of float32 for the weights of matrices; before oc_params_alloc_weights. */
void oc_params_narrow_weights(oc_params *p);
/* bf16 instead of float32 for what the next oc_params_set_trainable allocates; nothing is allocated now. */
void oc_params_narrow(oc_params *p, bool gradients, bool moments);
/* Gradients and moments for the parts that are trainable, and none for the others (freed). Both zeroed when new. */
oc_status oc_params_set_trainable(oc_params *p, const bool train[OC_PART_COUNT], oc_error *err);
/* Gradients alone, zeroed, of the parts marked: for looking at them. What an optimizer needs is freed. */
oc_status oc_params_set_gradients(oc_params *p, const bool parts[OC_PART_COUNT], oc_error *err);
void oc_params_close(oc_params *p);

/* Fresh values by each row's init_std, truncated at two deviations; only the parts marked in `which`. */
void oc_params_init(oc_params *p, uint64_t seed, const bool which[OC_PART_COUNT]);

/* A matrix between layers: neither embeddings nor positions nor the vocabulary projection. */
bool oc_param_is_inner_matrix(const oc_param *r);

int oc_params_find(const oc_params *p, const char *canonical_name); /* row or -1 */
/* On the device: for operations. */
float *oc_params_weight(const oc_params *p, int row);      /* NULL when in bf16 */
uint16_t *oc_params_weight16(const oc_params *p, int row); /* NULL when in float32 */
/* Weights [first, first + n) of a row as float32, from whatever they are kept in, and into it (rounded to nearest). */
void oc_params_read(const oc_params *p, int row, size_t first, float *out, size_t n);
void oc_params_write(oc_params *p, int row, size_t first, const float *x, size_t n);
/* A row as a matrix [shape[0], everything else] for products in t. */
oc_matrix_desc oc_params_matrix(const oc_params *p, int row, oc_dtype t);
float *oc_params_grad(const oc_params *p, int row);      /* NULL when frozen, or in bf16 */
uint16_t *oc_params_grad16(const oc_params *p, int row); /* NULL when frozen, or in float32 */
/* Zeroed gradients of the parts that are trainable and have none yet, without moments. */
oc_status oc_params_alloc_gradients(oc_params *p, const bool train[OC_PART_COUNT], oc_error *err);

#endif
