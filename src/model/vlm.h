/* The whole model: images and text in, loss and gradients or logits out. Also opens lone towers (a vision encoder or a
 * decoder without the rest), which have the same parts minus the missing ones.
 *
 * Where a token flows: oc_vlm_forward. What one training step is: oc_vlm_loss.
 *
 * Ownership: a model owns its parameters, handles and one activation arena, which is sized by oc_vlm_reserve; nothing
 * allocates inside a step. Not thread safe; one model per thread of control. */
#ifndef OC_MODEL_VLM_H
#define OC_MODEL_VLM_H

#include "data/batch.h"
#include "model/decoder.h"
#include "model/projector.h"
#include "model/vision.h"

typedef struct oc_vlm {
    oc_config cfg;
    oc_params params;
    oc_compute *compute; /* not owned */
    oc_dtype t;          /* of activations and products */
    oc_vision vision;
    oc_projector projector;
    oc_decoder decoder;
    oc_linear head;  /* [V, C]; the embedding table where tied */
    int embed, norm; /* parameter rows */
    bool train[OC_PART_COUNT];
    bool sample_loss; /* a labelled row weighs 1 / (labels of its sequence) instead of 1; set freely between passes */
    /* Layers whose activations are made again in the backward pass (layers.h); set freely between passes, before
     * oc_vlm_reserve. The projector has no layers. */
    int recomputed[OC_PART_COUNT];
    oc_arena arena;                 /* of the device */
    oc_arena host;                  /* what is written here for it; empty where the device has no memory of its own */
    oc_tap vision_tap, decoder_tap; /* for tests and pictures */
    struct oc_vlm_rows {            /* of the last pass, from the arena */
        oc_input token, embed_id, visual_from, visual_to, label_row, target;
        int n_visual;
        void *features, *visual, *d_visual, *d_feature_rows;
        void *labelled, *normed, *d_labelled, *d_normed, *dx;
        float *rstd, *loss, *weight, *logits; /* logits [CHUNK, V] (oc_vlm_logits); NULL where it needs none */
        float *loss_here, *weight_here;       /* the same in ordinary memory */
        uint8_t *correct, *correct_here;
        void *narrow_logits;  /* bf16 [CHUNK, V]; NULL in float32 */
        bool visual_in_order; /* every image exactly once, in order: no gathering needed */
    } rows;
} oc_vlm;

/* Builds parts, parameter table and zeroed weights for a configuration. */
oc_status oc_vlm_create(oc_vlm *m, oc_compute *c, const oc_config *cfg, oc_dtype t, oc_error *err);
/* The same with matrices and embeddings kept in `weights` (OC_F32 or OC_BF16) instead of float32. */
oc_status oc_vlm_create_typed(oc_vlm *m, oc_compute *c, const oc_config *cfg, oc_dtype t, oc_dtype weights,
                              oc_error *err);
void oc_vlm_close(oc_vlm *m);

/* What is trainable from now on; allocates and frees gradients and moments. */
oc_status oc_vlm_set_trainable(oc_vlm *m, const bool train[OC_PART_COUNT], oc_error *err);

/* Layers of a part that activation checkpointing is about: those that a pass goes through. */
int oc_vlm_layers(const oc_vlm *m, oc_part part);

/* The same for looking at gradients: no moments. Training needs oc_vlm_set_trainable again. */
oc_status oc_vlm_set_gradients(oc_vlm *m, const bool parts[OC_PART_COUNT], oc_error *err);

/* The weights were changed (by an optimizer step or by loading): packed copies are remade at their next use. */
void oc_vlm_weights_changed(oc_vlm *m, const bool parts[OC_PART_COUNT]);

/* Sizes the arena for passes of up to so many rows, images, visual blocks and labelled rows, with backward passes as the
 * trainable parts demand if `backward`. Grows only. */
oc_status oc_vlm_reserve(oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward, oc_error *err);
/* Bytes that such a reservation takes, computed by the very code that hands them out. */
size_t oc_vlm_arena_bytes(const oc_vlm *m, int tokens, int images, int blocks, int labels, bool backward);

typedef struct oc_loss {
    double sum;     /* of weight * -log p(label) over labelled rows */
    double weight;  /* sum of the weights: the labelled rows, or with sample_loss the sequences that have any */
    int n, correct; /* labelled rows, and how many had the label as the most probable token */
} oc_loss;

/* Forward over the batch (its lo, hi filled), loss, and if scale > 0 the gradient of scale * sum(loss), added to the
 * gradients of the trainable parts. With scale = 1 / (weight of the whole accumulated batch) micro-batches add up to the
 * gradient of the undivided batch. */
oc_loss oc_vlm_loss(oc_vlm *m, const oc_batch *b, float scale);

/* The same, where a kernel that has no memory to work in is an error and not the end of the program. The gradients are then
 * undefined; a later call may succeed. */
oc_status oc_vlm_try_loss(oc_loss *out, oc_vlm *m, const oc_batch *b, float scale, oc_error *err);

/* Forward only. Decoder output T [N, C] before the final norm, valid until the next pass. kv (may be NULL) receives
 * keys and values, slot[n] says where row n belongs. */
void *oc_vlm_forward(oc_vlm *m, const oc_batch *b, oc_kv_cache *kv, const int32_t *slot);
/* logits f32 [n, V] of the given rows of the last forward pass's output x. In ordinary memory. */
void oc_vlm_logits(oc_vlm *m, float *logits, const void *x, const int32_t *row, int n);
/* One more token for each of B sequences: token[b] stands at position[b] of cache slot[b]. logits f32 [B, V]. */
void oc_vlm_decode(oc_vlm *m, float *logits, const int32_t *token, const int32_t *position, const int32_t *slot, int B,
                   oc_kv_cache *kv);
/* The same, also recording where each token looks: attention f32 [B, ld] (zeroed by the caller), the mean over layers and
 * heads for each cached position; scratch f32 [ld]. Slow; for pictures. */
void oc_vlm_decode_attention(oc_vlm *m, float *logits, const int32_t *token, const int32_t *position,
                             const int32_t *slot, int B, oc_kv_cache *kv, float *attention, int ld, float *scratch);

/* Vision features T [images*patches, Cv] of pixels, forward only (towers, pretraining evaluation). */
void *oc_vlm_encode_images(oc_vlm *m, const float *pixels, int images);

#endif
