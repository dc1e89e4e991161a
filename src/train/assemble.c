#include "train/assemble.h"

#include <string.h>

#include "model/prompt.h"
#include "model/weights.h"
#include "train/setup.h"

static const oc_act ACT[] = {[OC_RECIPE_ACT_GELU_TANH] = OC_ACT_GELU_TANH, [OC_RECIPE_ACT_GELU] = OC_ACT_GELU_ERF};
const oc_mask oc_mask_of_recipe[] = {[OC_RECIPE_MASK_CAUSAL] = OC_MASK_CAUSAL,
                                     [OC_RECIPE_MASK_PREFIX] = OC_MASK_PREFIX,
                                     [OC_RECIPE_MASK_ISOLATED] = OC_MASK_ISOLATED,
                                     [OC_RECIPE_MASK_OF_MODEL] = OC_MASK_PREFIX};
static const bool ONLY_VISION[OC_PART_COUNT] = {[OC_PART_VISION] = true},
                  ONLY_LM[OC_PART_COUNT] = {[OC_PART_LM] = true};
static const oc_aspect ASPECT[] = {
    [OC_RECIPE_ASPECT_STRETCH] = OC_ASPECT_STRETCH, [OC_RECIPE_ASPECT_PAD] = OC_ASPECT_PAD};

oc_status oc_check_tokenizer(const oc_config *c, const oc_tokenizer *t, oc_error *err) {
    OC_TRY(oc_prompt_check_tokenizer(c, t, "model.tokenizer", err));
    int image = oc_tokenizer_token_id(t, OC_IMAGE_PLACEHOLDER);
    if (image != c->image_token)
        return oc_fail(err, OC_ERR_ARG,
                       "<image> is %d for the tokenizer and %d for the model; they do not belong together", image,
                       c->image_token);
    return OC_OK;
}

static oc_status load_tower(oc_config *c, const char *dir, const char *source, oc_error *err) {
    oc_status st = oc_config_load(c, dir, err);
    return st == OC_ERR_IO ? oc_add_source(err, source) : st;
}

oc_status oc_assemble_config(oc_config *c, const oc_recipe_model *r, const oc_tokenizer *t, oc_error *err) {
    oc_config tower;
    oc_config_defaults(c);
    if (r->towers.vision) {
        OC_TRY(load_tower(&tower, r->towers.vision, r->towers.vision_source, err));
        if (!tower.has_vision) return oc_fail(err, OC_ERR_ARG, "%s: holds no vision encoder", r->towers.vision);
        c->vision = tower.vision;
        c->has_vision = true;
        memcpy(c->image_mean, tower.image_mean, sizeof c->image_mean);
        memcpy(c->image_std, tower.image_std, sizeof c->image_std);
    } else
        oc_config_new_vision(c, &r->fresh.vision);
    if (r->towers.text) {
        OC_TRY(load_tower(&tower, r->towers.text, r->towers.text_source, err));
        if (!tower.has_text) return oc_fail(err, OC_ERR_ARG, "%s: holds no decoder", r->towers.text);
        c->text = tower.text;
        c->has_text = true;
    } else
        oc_config_new_text(c, &r->fresh.text, t);
    oc_config_tokens(c, t);
    OC_TRY(oc_check_tokenizer(c, t, err));
    c->projector = (oc_projector_config){.hidden = r->projector.hidden ? r->projector.hidden : c->text.hidden,
                                         .merge = r->projector.merge,
                                         .act = ACT[r->projector.act]};
    c->mask = oc_mask_of_recipe[r->mask];
    c->aspect = ASPECT[r->aspect];
    return oc_config_check(c, "the joined model", err);
}

oc_status oc_assemble_check(const oc_config *c, const oc_recipe_model *r, oc_error *err) {
    const oc_recipe_towers *t = &r->towers;
    oc_config joined = *c;
    oc_status st = t->vision ? oc_weights_check(&joined, t->vision, ONLY_VISION, err) : OC_OK;
    if (st != OC_OK) return st == OC_ERR_IO ? oc_add_source(err, t->vision_source) : st;
    st = t->text ? oc_weights_check(&joined, t->text, ONLY_LM, err) : OC_OK;
    return st == OC_ERR_IO ? oc_add_source(err, t->text_source) : st;
}

oc_status oc_assemble(oc_vlm *m, oc_compute *c, const oc_recipe_model *r, const oc_tokenizer *t, uint64_t seed,
                      oc_dtype dtype, oc_dtype weights, oc_error *err) {
    oc_config cfg;
    OC_TRY(oc_assemble_config(&cfg, r, t, err));
    OC_TRY(oc_assemble_check(&cfg, r, err));
    OC_TRY(oc_vlm_create_typed(m, c, &cfg, dtype, weights, err));
    const bool fresh[OC_PART_COUNT] = {!r->towers.vision, true, !r->towers.text};
    oc_params_init(&m->params, seed, fresh);
    oc_status st = OC_OK;
    if (r->towers.vision) st = oc_weights_load(m, r->towers.vision, ONLY_VISION, err);
    if (st == OC_OK && r->towers.text) st = oc_weights_load(m, r->towers.text, ONLY_LM, err);
    if (st != OC_OK) oc_vlm_close(m);
    return st;
}
