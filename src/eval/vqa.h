/* Scores of answers to questions about images: the VQA accuracy of vqaEval.py, exact match, token F1 and
 * BLEU-1, in all and per question type. Everything is in memory; score_io.h reads the files. */
#ifndef OC_EVAL_VQA_H
#define OC_EVAL_VQA_H

#include "eval/bleu.h"

typedef struct oc_vqa_item {
    const char *id;             /* for messages; NULL: none */
    const char *type;           /* what the breakdown is by; NULL: "yesno" if an answer is yes or no, else "open" */
    const char *const *answers; /* by people; at least 1 */
    size_t n_answers;
    const char *prediction;
} oc_vqa_item;

/* Means over the questions of a group, in [0, 1]. */
typedef struct oc_vqa_scores {
    const char *type; /* points into the items or is a constant */
    size_t n;         /* questions */
    /* VQA accuracy. From 4 answers on that of vqaEval.py: min(1, m / 3), m of the other answers equal the
     * prediction, mean over the answer left out; where all answers are the same text, the official code
     * compares them with the prediction as they are, else in the official normal form. With 1 to 3 answers: 1
     * if one of them equals it in the normal form. */
    double accuracy;
    double exact;         /* equal to an answer after oc_vqa_normalize: case, articles, punctuation, blanks */
    double exact_pathvqa; /* equal after PathVQA's normalisation: letters only, lower case */
    double f1;            /* of the words after oc_vqa_normalize; the best answer counts */
    double bleu_1;        /* of the group as one corpus, words after oc_vqa_normalize */
    oc_bleu bleu;         /* the counts of words that it comes from */
    bool yesno;           /* of one question: an answer is yes or no */
} oc_vqa_scores;

typedef struct oc_vqa_report {
    oc_vqa_scores overall, yesno, open; /* yesno: an answer is yes or no, whatever the type says; open: the others */
    oc_vqa_scores *type;                /* [n_types], in the order in which the types come */
    size_t n_types;
} oc_vqa_report;

/* items[n], n > 0. per_item[n], with bleu_1 of each item alone, may be NULL. */
oc_status oc_vqa_compute(oc_vqa_report *report, oc_vqa_scores *per_item, const oc_vqa_item *items, size_t n,
                         oc_error *err);
void oc_vqa_report_free(oc_vqa_report *report);

/* Each appends the normal form of text to out.
 * official: vqaEval.py's: punctuation, number words, articles, contractions.
 * trim: no blanks at the ends, blanks for tabs and line ends; all that vqaEval.py does where people agree.
 * normalize: lower case, no punctuation, no articles, single blanks.
 * pathvqa: lower case, nothing but letters, single blanks. */
void oc_vqa_official(const char *text, oc_strbuf *out);
void oc_vqa_trim(const char *text, oc_strbuf *out);
void oc_vqa_normalize(const char *text, oc_strbuf *out);
void oc_vqa_pathvqa(const char *text, oc_strbuf *out);

#endif
