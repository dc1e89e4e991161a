/* Conversations -> token ids and label mask, in Qwen2's ChatML:
 *
 *   <|im_start|>system\n{s}<|im_end|>\n<|im_start|>user\n{u}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n
 *
 * There is no Jinja engine: a model's template is recognised as ChatML or refused. An image is one id here (the
 * image token); whoever builds the batch repeats it for the visual tokens. */
#ifndef OC_DATA_CHAT_H
#define OC_DATA_CHAT_H

#include "data/tokenizer.h"

#define OC_IMAGE_PLACEHOLDER "<image>"
/* What asks for a caption where nothing else is known. */
#define OC_CAPTION_PROMPT "Provide a one-sentence caption for the provided image."
#define OC_DEFAULT_SYSTEM "You are a helpful assistant."

typedef struct oc_message {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* UTF-8 */
} oc_message;

typedef struct oc_chat_options {
    bool add_generation_prompt;  /* end with <|im_start|>assistant\n */
    bool no_system;              /* no system turn unless messages[0] is one */
    const char *default_system;  /* used when messages[0] is not a system turn; NULL: OC_DEFAULT_SYSTEM */
    bool images;                 /* "<image>" in a user's content is the image token; otherwise it is plain text */
    bool special_in_content;     /* added tokens written in a content are recognised, as transformers does */
    bool llava_labels;           /* label what LLaVA-NeXT labels: whole assistant turns, and every <|im_start|>,
                                  * <|im_end|> and newline token anywhere */
} oc_chat_options;

/* What a sequence is built into. Zero-initialise. is_answer[i] != 0 where token i is to be predicted: assistant
 * text and the <|im_end|> that ends it. Appended to; n_images counts the image tokens appended over the buffer's
 * life. */
typedef struct oc_chat_tokens {
    oc_ids ids;
    uint8_t *is_answer; /* [ids.len] */
    size_t answer_capacity;
    int n_images;
} oc_chat_tokens;

void oc_chat_tokens_clear(oc_chat_tokens *c); /* keeps the memory */
void oc_chat_tokens_free(oc_chat_tokens *c);

/* Appends a conversation. opt may be NULL. Fails (and appends nothing) on an unknown role, or when the
 * tokenizer lacks <|im_start|>, <|im_end|> or, with `images`, <image>. */
oc_status oc_chat_render(const oc_tokenizer *t, const oc_message *messages, size_t n, const oc_chat_options *opt,
                         oc_chat_tokens *out, oc_error *err);

/* LLaVA's `plain` template for aligning the projector: n_images image tokens, the answer, then "\n" or,
 * with end_token >= 0, that id. Labels: the answer and its end. */
oc_status oc_chat_render_plain(const oc_tokenizer *t, int n_images, const char *answer, int32_t end_token,
                               oc_chat_tokens *out, oc_error *err);

/* A text as it is (no template), with each "<image>" as the image token if `images`. Other special tokens are
 * recognised if special_in_content. No labels. */
oc_status oc_chat_render_raw(const oc_tokenizer *t, const char *text, bool images, bool special_in_content,
                             oc_chat_tokens *out, oc_error *err);

/* Looks for a chat template in a model folder: chat_template.jinja, chat_template.json or tokenizer_config.json's
 * chat_template. OK when it is ChatML or when there is none; *default_system is the system text that it puts in by
 * itself (new string, oc_free), NULL for none. Any other template: OC_ERR_UNSUPPORTED. */
oc_status oc_chat_template_check(const char *dir, char **default_system, oc_error *err);

/* The template that oc_tokenizer_save writes; takes contents that are strings or lists of text and image parts. */
extern const char oc_chatml_template[];

#endif
