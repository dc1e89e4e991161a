/* Generation: greedy, sampling (temperature, top-k, top-p) and beam search over a KV cache, for many prompts at once.
 * Prompts are masked as in training (packed, intervals filled); new tokens are causal. */
#ifndef OC_MODEL_GENERATE_H
#define OC_MODEL_GENERATE_H

#include "base/rng.h"
#include "model/vlm.h"

typedef struct oc_generate_options {
    int max_new_tokens;    /* 0: 64 */
    int beams;             /* 0 or 1: no beam search */
    /* Of beams: score = sum of log probabilities / length^penalty; 1 with use_length_penalty unset. */
    double length_penalty;
    bool use_length_penalty;
    double temperature;    /* 0: greedy */
    double top_p;          /* 0 or 1: off */
    int top_k;             /* 0: off */
    uint64_t seed;
    int32_t eos[4];        /* ends a sequence; not part of the text, but counted as generated */
    int n_eos;
    bool want_attention;   /* record where each token looks; only without beams */
} oc_generate_options;

typedef struct oc_generation {
    int32_t *token;   /* [n], the eos that ended it included */
    float *logprob;   /* [n], log p(token | all before) */
    int n;
    bool finished;    /* ended by an eos, not by the limit */
    double score;     /* sum of logprob; with beams divided by n^length_penalty */
    float *attention; /* [n, prompt length] or NULL */
} oc_generation;

/* prompts: a batch without labels, lo and hi filled. Gives `per_prompt` results for each sequence (1; with beams up to
 * beams, best first) into out[n_seq * per_prompt]; free each with oc_generation_free. Reserves what it needs. */
oc_status oc_generate(oc_vlm *m, const oc_batch *prompts, const oc_generate_options *opt, int per_prompt,
                      oc_generation *out, oc_error *err);
void oc_generation_free(oc_generation *g);

#endif
