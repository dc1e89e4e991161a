/* Weights in and out of Hugging Face folders (FORMATS: names of LLaVA, LLaVA-OneVision, SigLIP and Qwen2 checkpoints, old
 * and new). Every tensor of a file is either wanted, or known and skipped for a reason, or an error that names it; every
 * wanted tensor must be there.
 *
 * Canonical names are the ones of the parameter table. The rule that maps all layouts to them: strip a leading "model.";
 * "language_model.model." -> "language_model."; "language_model.lm_head." -> "lm_head."; bare "layers.", "embed_tokens.",
 * "norm." -> "language_model.*"; "vision_tower.vision_tower." -> "vision_tower."; "vision_tower.vision_model." and bare
 * "vision_model." -> "vision_tower."; "mm_projector.0|2." -> "multi_modal_projector.linear_1|2.". */
#ifndef OC_MODEL_WEIGHTS_H
#define OC_MODEL_WEIGHTS_H

#include "data/safetensors.h"
#include "model/vlm.h"

/* Writes the canonical name; false when it would not fit. */
bool oc_weights_canonical(char *out, size_t size, const char *name);

/* Fills the parts marked in `want` from DIR (any dtype that converts to f32). Tensors of other parts are skipped. Files are
 * mapped and read tensor by tensor: beside the model's own memory there is never more than one tensor of them. */
oc_status oc_weights_load(oc_vlm *m, const char *dir, const bool want[OC_PART_COUNT], oc_error *err);

/* The same from an open file; `where` stands for it in messages. */
oc_status oc_weights_load_from(oc_vlm *m, const oc_safetensors *st, const char *where, const bool want[OC_PART_COUNT],
                               oc_error *err);

/* Does DIR hold every tensor of these parts, in the shapes of cfg, and none that is unknown? Reads headers only and takes
 * no memory for weights, so that a configuration cannot claim more than its files hold. The width of a projector that is
 * wanted is set from its tensor, as oc_weights_open does. */
oc_status oc_weights_check(oc_config *cfg, const char *dir, const bool want[OC_PART_COUNT], oc_error *err);

/* Opens DIR whole: configuration and weights of whatever it holds. *out must be closed with oc_vlm_close. A projector
 * wider than the LLaVA layout is recognised by its weight's shape. */
oc_status oc_weights_open(oc_vlm *out, oc_compute *c, const char *dir, oc_dtype t, oc_error *err);

/* The same with matrices and embeddings kept in `weights` (oc_vlm_create_typed). */
oc_status oc_weights_open_typed(oc_vlm *out, oc_compute *c, const char *dir, oc_dtype t, oc_dtype weights, oc_error *err);

typedef struct oc_save_options {
    oc_dtype dtype;       /* OC_F32 (default) or OC_BF16 */
    size_t shard_bytes;   /* 0: one file; else model-0000k-of-0000n.safetensors and an index */
    const char *stage;    /* remembered in config.json; may be NULL */
} oc_save_options;

/* Writes config files and weights into DIR (created). Each file appears whole or not at all. Names are those that
 * llava-hf checkpoints have (vision_tower.vision_model.*, language_model.model.*); the tied head is not written. */
oc_status oc_weights_save(const oc_vlm *m, const char *dir, const oc_save_options *opt, oc_error *err);

#endif
