/* Scores of captions against references: BLEU-1 to 4, ROUGE-L, CIDEr (CIDEr-D) as pycocoevalcap computes
 * them, and the original CIDEr. Everything is in memory; score_io.h reads the files.
 *
 *     oc_caption_item item[] = {{.candidate = "a cat", .references = refs, .n_references = 5}, ...};
 *     oc_caption_scores corpus;
 *     OC_TRY(oc_caption_scores_compute(&corpus, NULL, item, n, NULL, err));
 *     printf("CIDEr %.1f\n", 100 * corpus.v[OC_SCORE_CIDER]);
 *
 * Document frequencies (CIDEr) and, in rare cases, tokens depend on the whole set and its order; see
 * oc_ptb_captions. */
#ifndef OC_EVAL_CAPTION_METRICS_H
#define OC_EVAL_CAPTION_METRICS_H

#include "eval/bleu.h"

typedef enum {
    OC_SCORE_BLEU_1,
    OC_SCORE_BLEU_2,
    OC_SCORE_BLEU_3,
    OC_SCORE_BLEU_4,
    OC_SCORE_ROUGE_L,
    OC_SCORE_CIDER,          /* CIDEr-D, the official "CIDEr" */
    OC_SCORE_CIDER_ORIGINAL, /* without clipping and length penalty */
    OC_SCORE_COUNT
} oc_score;

/* "Bleu_1" ... "Bleu_4", "ROUGE_L", "CIDEr", "CIDEr_original": the official names. */
const char *oc_score_name(oc_score s);

typedef struct oc_caption_scores {
    double v[OC_SCORE_COUNT]; /* BLEU and ROUGE-L in [0, 1], CIDEr in [0, 10]; papers print 100 times these */
    oc_bleu bleu;             /* the counts that BLEU comes from; those of the corpus are the sums of its items' */
} oc_caption_scores;

typedef struct oc_caption_item {
    const char *id; /* for messages; NULL: none */
    const char *candidate;
    const char *const *references;
    size_t n_references; /* at least 1 */
} oc_caption_item;

/* All zero: the defaults. */
typedef struct oc_caption_options {
    bool tokenized; /* the strings are tokens joined by blanks already: take them as they are */
} oc_caption_options;

/* items[n], n > 0. per_item[n] may be NULL; options NULL is all zero. Strings are UTF-8 and stay the
 * caller's. One thread; calls on different data may run at once. */
oc_status oc_caption_scores_compute(oc_caption_scores *corpus, oc_caption_scores *per_item,
                                    const oc_caption_item *items, size_t n, const oc_caption_options *options,
                                    oc_error *err);

#endif
