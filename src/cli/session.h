/* What the commands that use a model share: opening it with its tokenizer, and the options for that and for decoding. */
#ifndef OC_CLI_SESSION_H
#define OC_CLI_SESSION_H

#include "cli/cli.h"
#include "model/prompt.h"
#include "model/weights.h"

/* Option fields; a zero-initialised struct is the default. */
typedef struct oc_model_settings {
    int dtype;   /* auto|f32|bf16 */
    int threads; /* 0: all cores */
    const char *backend;
} oc_model_settings;

#define OC_MODEL_OPTIONS(s)                                                                                            \
    {"--dtype", OPT_ENUM, &(s).dtype, "auto|f32|bf16",                                                                 \
     "type of the arithmetic; auto: bf16 where the processor has it"},                                                 \
        {"--threads", OPT_INT, &(s).threads, "0..1024", "threads; 0: all cores"}, {                                    \
        "--backend", OPT_STRING, &(s).backend, "NAME", "kernels to use; default: the best for this processor"          \
    }

typedef struct oc_decoding_settings {
    int max_new_tokens, beams, top_k, seed;
    double length_penalty, temperature, top_p;
} oc_decoding_settings;

#define OC_DECODING_DEFAULTS {.max_new_tokens = 64, .beams = 1, .length_penalty = 1}
#define OC_DECODING_OPTIONS(s)                                                                                         \
    {"--max-new-tokens", OPT_INT, &(s).max_new_tokens, "1..65536", "an answer is cut off after so many tokens"},       \
        {"--beams", OPT_INT, &(s).beams, "1..64", "beam search with so many hypotheses; 1: none"},                     \
        {"--length-penalty", OPT_DOUBLE, &(s).length_penalty, "-10..10",                                               \
         "beams: log probability / length^X ranks them"},                                                              \
        {"--temperature", OPT_DOUBLE, &(s).temperature, "0..100", "sampling; 0: the most probable token"},             \
        {"--top-p", OPT_DOUBLE, &(s).top_p, "0..1",                                                                    \
         "sample from the most probable tokens that make up this share; 0: all"},                                      \
        {"--top-k", OPT_INT, &(s).top_k, "0..", "sample from so many of the most probable tokens; 0: all"}, {          \
        "--seed", OPT_INT, &(s).seed, "0..", "of sampling"                                                             \
    }

/* Checks what does not go together. eos is left to oc_prompt_set_eos. */
int oc_decoding_options(oc_generate_options *out, const oc_decoding_settings *s, oc_error *err);

/* How a question becomes a prompt. */
typedef struct oc_prompt_settings {
    int template; /* model|chat|plain */
    const char *system;
    bool no_system;
} oc_prompt_settings;

#define OC_PROMPT_OPTIONS(s)                                                                                           \
    {"--template", OPT_ENUM, &(s).template, "model|chat|plain", "how prompts are written; model: as it was trained"},  \
        {"--system", OPT_STRING, &(s).system, "TEXT", "system turn of the chat template, instead of the model's"}, {   \
        "--no-system", OPT_FLAG, &(s).no_system, NULL, "no system turn"                                                \
    }

typedef struct oc_session {
    oc_compute *compute;
    oc_vlm model;
    oc_tokenizer *tokenizer; /* NULL when it was not asked for */
    char *system;            /* NULL: as the model's configuration says */
} oc_session;

/* DIR: a model folder; with_tokenizer: and its tokenizer. */
oc_status oc_session_open(oc_session *s, const char *dir, const oc_model_settings *o, bool with_tokenizer,
                          oc_error *err);
void oc_session_close(oc_session *s);

/* Both parts are needed to talk about pictures. */
oc_status oc_session_needs_vlm(const oc_session *s, const char *dir, oc_error *err);

/* Applies the settings to the model's configuration. A model from elsewhere says in its chat template whether it wants a
 * system turn; a template that is not ChatML fails here. */
oc_status oc_session_set_prompt(oc_session *s, const char *dir, const oc_prompt_settings *p, oc_error *err);

/* A batch of n times the same question about one picture each; image NULL: without pictures, n = 1. The question may say
 * where the picture goes ("<image>"); otherwise it comes first. Closed by the caller with oc_batch_close (also after
 * a failure). unreadable NULL: a picture that cannot be read is a failure. Else [n] errors, OC_OK for those that could be
 * read; the others are blank, and their answers mean nothing. */
oc_status oc_session_ask(const oc_session *s, oc_batch *b, const char *question, char *const *image, int n,
                         oc_error *unreadable, oc_error *err);

/* Prints a JSON value as one line on stdout and gives up the reference; NULL is reported as out of memory. */
oc_status oc_print_json(json_t *o, oc_error *err);

#endif
