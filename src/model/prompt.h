/* From a model's configuration to what a prompt for it looks like: template, pictures, and what ends an answer. */
#ifndef OC_MODEL_PROMPT_H
#define OC_MODEL_PROMPT_H

#include "model/generate.h"

/* Options for oc_sample_prompt and oc_sample_tokens; the tokenizer stays the caller's. */
oc_text_options oc_prompt_text_options(const oc_config *c, const oc_tokenizer *t);
/* Options for oc_image_pixels. */
oc_image_options oc_prompt_image_options(const oc_config *c);
/* Sets opt->eos: the end of a turn, the end of a text, and with the plain template what training put behind an answer. */
void oc_prompt_set_eos(oc_generate_options *opt, const oc_config *c, const oc_tokenizer *t);

/* OC_ERR_FORMAT if the tokenizer of folder dir has ids for which the decoder has no rows. */
oc_status oc_prompt_check_tokenizer(const oc_config *c, const oc_tokenizer *t, const char *dir, oc_error *err);

/* Tokens of a question about n_images pictures, up to where the answer begins. The question may say where pictures go
 * ("<image>"); otherwise they come first. system NULL: as the configuration says. */
oc_status oc_prompt_question(const oc_config *c, const oc_tokenizer *t, const char *system, const char *question,
                             int n_images, oc_chat_tokens *out, oc_error *err);
/* For a model that does not say how it was trained (configuration without "own"): the system turn that its chat template
 * puts in by itself goes to *system (new string, or NULL for none, with no_system set). Does nothing for others. */
oc_status oc_prompt_foreign_system(oc_config *c, const char *dir, char **system, oc_error *err);

/* Opens a batch of n prompts as oc_sample_prompt renders them, its attention intervals filled. block_image[j]: which of the
 * n_pictures the j-th picture of all prompts is. The pixels are left to the caller; n_images is set. */
oc_status oc_prompt_pack(oc_batch *b, const oc_config *c, const oc_chat_tokens *t, int n, const int32_t *block_image,
                         int n_pictures, oc_error *err);
/* Reads one picture's file into the batch. */
oc_status oc_prompt_picture(oc_batch *b, const oc_config *c, int index, const char *path, oc_error *err);

/* Appends the text of a generation, without its end token and without blanks around it. */
void oc_prompt_answer_text(const oc_generation *g, const oc_tokenizer *t, oc_strbuf *out);

#endif
