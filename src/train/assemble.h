/* A vision-language model from two towers, each loaded or new, and a new projector between them. */
#ifndef OC_TRAIN_ASSEMBLE_H
#define OC_TRAIN_ASSEMBLE_H

#include "model/vlm.h"
#include "train/recipe.h"

/* The configuration that a recipe's model section describes: sizes from the towers' folders or from its key "new"; ids
 * from the tokenizer. */
oc_status oc_assemble_config(oc_config *c, const oc_recipe_model *r, const oc_tokenizer *t, oc_error *err);
/* The towers' folders hold the tensors that the configuration needs: headers are read, no memory is taken. */
oc_status oc_assemble_check(const oc_config *c, const oc_recipe_model *r, oc_error *err);
/* The model itself, its matrices kept in `weights`; what is new is drawn from seed. On failure *m is closed. */
oc_status oc_assemble(oc_vlm *m, oc_compute *c, const oc_recipe_model *r, const oc_tokenizer *t, uint64_t seed,
                      oc_dtype dtype, oc_dtype weights, oc_error *err);

/* Every id must have a row of the embedding table, and <image> must be the model's placeholder. */
oc_status oc_check_tokenizer(const oc_config *c, const oc_tokenizer *t, oc_error *err);

extern const oc_mask oc_mask_of_recipe[]; /* by oc_recipe_mask */

#endif
