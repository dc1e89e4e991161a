/* Evaluation of a model on a data set: prompts in batches, answers generated, then scored.
 *
 *     oc_evaluation e;
 *     OC_TRY(oc_evaluate(&e, model, tokenizer, dataset, &(oc_evaluate_options){.limit = 500}, err));
 *     printf("CIDEr %.1f\n", 100 * e.caption.v[OC_SCORE_CIDER]);
 *     oc_evaluation_free(&e);
 *
 * Captions: one per picture, from the prompt of its first sample; the references are the last answers of all samples
 * that show it. Questions: every sample's last question; the references are the answers that
 * people gave, or the sample's last answer.
 * The prompt is rendered as in training (the configuration remembers template and system turn), and a picture that
 * several prompts of a batch show is encoded once. */
#ifndef OC_EVAL_EVALUATE_H
#define OC_EVAL_EVALUATE_H

#include "base/json.h"
#include "eval/caption_metrics.h"
#include "eval/vqa.h"
#include "model/prompt.h"

typedef enum { OC_EVAL_CAPTION, OC_EVAL_VQA } oc_eval_task;

struct oc_evaluation;

typedef struct oc_evaluate_options {
    oc_eval_task task;
    int limit;           /* pictures (captions) or questions at most; 0: all */
    int batch;           /* prompts at once; 0: 32, or fewer where they would have more than 16,384 tokens */
    bool shuffle_images; /* the control: every picture is replaced by another one, which is the same in each run */
    bool quiet;          /* no progress bar */
    const char *system;  /* system turn for samples without their own; NULL: as in training */
    size_t done;         /* the first items have their answers already (eval/journal.h); a multiple of the batch */
    /* Called after each batch with the items [first, first + n) answered; a failure ends the evaluation. NULL: nothing. */
    oc_status (*keep)(void *ctx, const struct oc_evaluation *e, size_t first, size_t n, oc_error *err);
    void *ctx;
    oc_generate_options generate; /* eos and want_attention are set by the call */
} oc_evaluate_options;

/* What became of one picture or question. Strings marked (d) belong to the data set. */
typedef struct oc_evaluated {
    size_t sample, group;         /* of the data set */
    const char *id, *image;       /* (d) */
    const char *shown;            /* (d) the picture that the model sees: another one with shuffle_images */
    const char *prompt;           /* (d) the last human turn; NULL: none */
    const char *type;             /* (d) of a question; NULL: none given */
    const char *const *reference; /* (d) [n_references], the array belongs to the evaluation */
    size_t n_references;
    char *answer;
    int n_tokens;              /* generated, the end token included */
    double logprob;            /* their sum; with beams the score */
    bool finished;             /* false: cut off at max_new_tokens */
    uint64_t picture_hash;     /* XXH3 of the file that was shown; 0 before the answer */
    oc_caption_scores caption; /* as the task is */
    oc_vqa_scores vqa;
} oc_evaluated;

typedef struct oc_evaluation {
    oc_eval_task task;
    oc_evaluated *item;
    size_t n, n_references, n_groups, n_images; /* n_groups: distinct pictures; n_images: pictures encoded */
    const char **references;                    /* [n_references] */
    oc_caption_scores caption;                  /* of the whole, as the task is */
    oc_vqa_report vqa;
    double picture_s, generate_s, score_s;
    int64_t prompt_tokens, new_tokens;
    void *owned; /* of a loaded one: its strings */
} oc_evaluation;

/* The data set must outlive *out. Reserves the model's arena anew: who goes on training reserves again. On failure *out
 * is empty. OC_ERR_INTERRUPTED on SIGINT. */
oc_status oc_evaluate(oc_evaluation *out, oc_vlm *m, const oc_tokenizer *t, const oc_dataset *d,
                      const oc_evaluate_options *opt, oc_error *err);
void oc_evaluation_free(oc_evaluation *e);

/* ---- Its three steps ----------------------------------------------------------------------------------------------- */

/* Items with their references, without answers. */
oc_status oc_evaluation_open(oc_evaluation *out, const oc_dataset *d, const oc_evaluate_options *opt, oc_error *err);
oc_status oc_evaluation_generate(oc_evaluation *e, oc_vlm *m, const oc_tokenizer *t, const oc_dataset *d,
                                 const oc_evaluate_options *opt, oc_error *err);
/* How many prompts a batch has: opt->batch, or the default for this model. */
size_t oc_evaluation_batch(const oc_vlm *m, const oc_tokenizer *t, const oc_evaluate_options *opt);
/* Every item has an answer. */
oc_status oc_evaluation_score(oc_evaluation *e, oc_error *err);

/* ---- Results ------------------------------------------------------------------------------------------------------- */

/* Scores, counts and times as a new JSON object; NULL when memory is out. */
json_t *oc_evaluation_json(const oc_evaluation *e);
json_t *oc_evaluation_scores_json(const oc_evaluation *e); /* the scores alone */
/* A table for people, scores times 100. */
void oc_evaluation_describe(const oc_evaluation *e, oc_strbuf *out);
/* DIR/results.json in the COCO or VQA result format, DIR/items.jsonl with everything about each item, DIR/scores.json: scores
 * (borrowed), or oc_evaluation_json where it is NULL. */
oc_status oc_evaluation_save(const oc_evaluation *e, const char *dir, const json_t *scores, oc_error *err);

/* What oc_evaluation_save wrote into DIR, scored again. Everything belongs to *out. */
oc_status oc_evaluation_load(oc_evaluation *out, const char *dir, oc_error *err);

json_t *oc_caption_scores_json(const oc_caption_scores *s);
json_t *oc_vqa_scores_json(const oc_vqa_scores *s);

#endif
