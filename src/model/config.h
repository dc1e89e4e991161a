/* model: the vision-language network, written once against compute/: configuration, parameters, vision encoder,
 * projector, decoder, the whole (vlm), the attention mask (spans), Hugging Face weights, KV cache and generation.
 *
 *   image -> oc_vision (SigLIP ViT) -> oc_projector (2-layer MLP) -> visual tokens --+
 *                                                                                    +-> oc_decoder (Qwen2) -> logits
 *   text  -> token ids -> embedding table -------------------------------------------+
 *
 * This header: every size and setting of a model, as config.json holds them. Nothing else in the code assumes one. */
#ifndef OC_MODEL_CONFIG_H
#define OC_MODEL_CONFIG_H

#include <jansson.h>

#include "base/base.h"
#include "compute/compute.h"
#include "data/loader.h"

/* Who sees whom in the decoder (DESIGN 1). */
typedef enum { OC_MASK_PREFIX, OC_MASK_CAUSAL, OC_MASK_ISOLATED, OC_MASK_COUNT } oc_mask;

enum { OC_ASPECT_COUNT = OC_ASPECT_PAD_AFTER + 1, OC_TEMPLATE_COUNT = OC_TEMPLATE_PLAIN + 1 };

typedef struct oc_vision_config {
    int hidden, layers, heads, mlp, image_size, patch_size;
    float eps;
    oc_act act;
    int feature_layer; /* counted from the end: -1 the last layer's output, -2 the one before; never after post_layernorm */
} oc_vision_config;

typedef struct oc_text_config {
    int hidden, layers, heads, kv_heads, head_size, mlp, vocab, max_positions;
    float eps, rope_theta;
    bool tied; /* the head is the embedding table */
} oc_text_config;

typedef struct oc_projector_config {
    int hidden; /* width between the two linear layers; the LLaVA layout has the text width */
    int merge;  /* s: s x s neighbouring patches are concatenated first */
    oc_act act;
} oc_projector_config;

enum { OC_CAPTION_PROMPT_SIZE = 512 }; /* bytes, with the zero that ends it */

typedef struct oc_config {
    bool has_vision, has_text; /* a lone tower has only one of them; a VLM has both and a projector */
    oc_vision_config vision;
    oc_text_config text;
    oc_projector_config projector;
    int image_token; /* id of the placeholder in the vocabulary */
    int eos_token, pad_token; /* -1: none */
    oc_mask mask;
    oc_aspect aspect;
    oc_template template; /* how conversations were written in training; foreign models: chat */
    bool no_system;       /* ... without a system turn of their own */
    /* What training asked for captions with, as far as it is known (oc_config_caption_prompt). */
    char caption_prompt[OC_CAPTION_PROMPT_SIZE];
    bool own;             /* config.json says so: it has an "ocellus" object */
    float image_mean[3], image_std[3];
} oc_config;

static inline int oc_vision_grid(const oc_vision_config *v) { return v->image_size / v->patch_size; }
static inline int oc_vision_patches(const oc_vision_config *v) { return oc_vision_grid(v) * oc_vision_grid(v); }
/* Decoder tokens that one image takes: patches / merge^2 (rest of the grid dropped). */
int oc_config_tokens_per_image(const oc_config *c);

/* The question that this model answers with a caption. */
const char *oc_config_caption_prompt(const oc_config *c);

/* Sizes of 0 take the default of the paper's model; everything else as documented above. */
void oc_config_defaults(oc_config *c);
/* Sizes are positive, divisible where they must be, within limits that make index arithmetic safe. */
oc_status oc_config_check(const oc_config *c, const char *where, oc_error *err);

/* Reads DIR/config.json (llava, llava_onevision, siglip, siglip_vision_model, qwen2), preprocessor_config.json and
 * generation_config.json where present. */
oc_status oc_config_load(oc_config *c, const char *dir, oc_error *err);

/* The same for one file's text: OC_CONFIG_MODEL first, which sets everything; then the others; then oc_config_check. */
typedef enum {
    OC_CONFIG_MODEL,
    OC_CONFIG_PROCESSOR,
    OC_CONFIG_PREPROCESSOR,
    OC_CONFIG_GENERATION,
    OC_CONFIG_FILE_COUNT
} oc_config_file;
oc_status oc_config_parse(oc_config *c, oc_config_file file, const char *text, size_t len, const char *where,
                          oc_error *err);

/* Writes config.json, preprocessor_config.json, processor_config.json and generation_config.json. dtype: of the weights
 * beside them, OC_F32 or OC_BF16. stage: a name to remember (may be NULL). Lone towers are written as siglip_vision_model or Qwen2ForCausalLM. */
oc_status oc_config_save(const oc_config *c, const char *dir, oc_dtype dtype, const char *stage, oc_error *err);

extern const char *const oc_mask_names[OC_MASK_COUNT];
extern const char *const oc_aspect_names[OC_ASPECT_COUNT];
extern const char *const oc_template_names[OC_TEMPLATE_COUNT]; /* "chat", "plain" */

#endif
