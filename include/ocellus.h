/* Ocellus: ask a small vision-language model about pictures.
 *
 *     oc_error err;
 *     oc_model *m;
 *     oc_answer a;
 *     oc_picture cat;                        // a JPEG, PNG or WebP file in memory
 *     cat.bytes = ...; cat.size = ...;
 *     if (oc_model_open(&m, "runs/flickr8k/model", NULL, &err) != OC_OK) return fail(err.msg);
 *     if (oc_model_ask(m, "What is this?", &cat, 1, NULL, &a, &err) == OC_OK) puts(a.text);
 *     oc_answer_free(&a);
 *     oc_model_close(m);
 *
 * Link with -locellus. There is no global state: models are independent of each other. One model answers one call at a
 * time; the caller sees to that. All-zero options are the defaults. Nothing is printed. */
#ifndef OCELLUS_H
#define OCELLUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ocellus_error.h"

#ifdef __cplusplus
extern "C" {
#endif

const char *oc_version(void); /* "0.1.0" */

/* ---- Models -------------------------------------------------------------------------------------------------------- */

typedef struct oc_model oc_model; /* a checkpoint in memory, with its tokenizer */

typedef enum {
    OC_ARITHMETIC_AUTO,
    OC_ARITHMETIC_F32,
    OC_ARITHMETIC_BF16
} oc_arithmetic; /* auto: bf16 where the processor has it */

typedef struct oc_model_options {
    oc_arithmetic arithmetic;
    int threads;         /* 0: all cores */
    const char *backend; /* "ref", "avx2", "avx512", ...; NULL: the best for this processor */
} oc_model_options;

/* Opens a Hugging Face folder: config.json, *.safetensors, tokenizer.json (LLaVA layout: SigLIP, projector, Qwen2).
 * On success *out is the caller's (oc_model_close); on failure it is NULL and err says what is wrong where. opt may be
 * NULL, and so may err. */
oc_status oc_model_open(oc_model **out, const char *dir, const oc_model_options *opt, oc_error *err);
void oc_model_close(oc_model *m); /* NULL allowed */

typedef struct oc_model_info {
    size_t parameters;
    int tokens_per_picture;  /* that the decoder spends on one */
    int max_tokens;          /* of a prompt with its answer */
    bool answers_questions;  /* false: trained to caption; it describes pictures whatever is asked */
    const char *backend;     /* one line; belongs to the model */
} oc_model_info;

void oc_model_describe(const oc_model *m, oc_model_info *info);

/* ---- Questions ----------------------------------------------------------------------------------------------------- */

typedef struct oc_picture {
    const void *bytes; /* [size] a whole JPEG, PNG or WebP file; only read during the call */
    size_t size;
} oc_picture;

typedef struct oc_ask_options {
    const char *system;    /* system turn; NULL: the model's own */
    int max_new_tokens;    /* 0: 64 */
    int beams;             /* 0, 1: none. Not together with temperature */
    double length_penalty; /* of beams: log probability / length^penalty ranks them; 0: 1 */
    double temperature;    /* 0: the most probable token */
    double top_p;          /* 0: all tokens */
    int top_k;             /* 0: all tokens */
    uint64_t seed;         /* equal seeds give equal answers */
} oc_ask_options;

typedef struct oc_answer {
    char *text;      /* UTF-8 */
    int n_tokens;    /* generated, the end token included */
    bool finished;   /* false: cut off at max_new_tokens */
    double logprob;  /* sum over the tokens; with beams the score */
} oc_answer;

/* Asks about n pictures; n may be 0. "<image>" in the question marks where the pictures go, in order; without it they
 * come first. question NULL asks for a caption, as training did. opt may be NULL. On failure *out is zero. */
oc_status oc_model_ask(oc_model *m, const char *question, const oc_picture *pictures, int n, const oc_ask_options *opt,
                       oc_answer *out, oc_error *err);
void oc_answer_free(oc_answer *a); /* a zeroed answer is allowed */

#ifdef __cplusplus
}
#endif

#endif
