/* What one can score without looking: the best answer that is the same for every picture. A model that does not beat it
 * has learned nothing from pictures. Candidates come from the references themselves, so this is a bound on what a
 * constant learned from training data could reach. */
#ifndef OC_EVAL_CONSTANT_H
#define OC_EVAL_CONSTANT_H

#include "eval/evaluate.h"

typedef struct oc_constant {
    size_t candidates;                        /* that were scored on everything */
    const char *caption[OC_SCORE_COUNT];      /* the best one by each score; belongs to the data set */
    oc_caption_scores scores[OC_SCORE_COUNT]; /* all scores of that one */
    const char *answer;                       /* questions: the best answer to all of them */
    oc_vqa_report all;                        /* ... its scores */
    oc_vqa_report per_type;                   /* the most frequent answer of each type to its questions */
    /* The most frequent answer of each kind of question: its type and its first word ("what", "where", "is"). */
    oc_vqa_report per_kind;
    oc_vqa_report
        learned; /* per kind, but counted over the training questions: what a model without eyes would learn */
    bool has_learned;
} oc_constant;

/* e: opened, as its task is; answers in it are not used. training: the training questions, opened as well; NULL: none.
 * Freed by oc_constant_free. */
oc_status oc_constant_find(oc_constant *c, const oc_evaluation *e, const oc_evaluation *training, bool quiet,
                           oc_error *err);
void oc_constant_free(oc_constant *c);

json_t *oc_constant_json(const oc_constant *c, const oc_evaluation *e);
void oc_constant_describe(const oc_constant *c, const oc_evaluation *e, oc_strbuf *out);

#endif
