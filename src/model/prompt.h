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

/* Appends the text of a generation, without its end token and without blanks around it. */
void oc_prompt_answer_text(const oc_generation *g, const oc_tokenizer *t, oc_strbuf *out);

#endif
