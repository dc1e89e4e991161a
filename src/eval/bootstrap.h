/* How far a score could be off because these pictures were drawn and not others: bootstrap over pictures (Efron 1979), each
 * with all of its questions, and the paired form of it for two runs over the same pictures (Koehn, EMNLP 2004).
 *
 * Every score here is a function of sums over pictures, so a resample costs n additions and no text is scored again. Of
 * CIDEr the document frequencies stay those of the whole reference set. Draws are seeded by (seed, resample): results do not
 * depend on threads. */
#ifndef OC_EVAL_BOOTSTRAP_H
#define OC_EVAL_BOOTSTRAP_H

#include "eval/evaluate.h"

enum { OC_BOOTSTRAP_RESAMPLES = 1000, OC_PAIRED_RESAMPLES = 10000 }; /* the defaults */

typedef struct oc_sampled_score {
    char name[96]; /* "CIDEr", "yesno.accuracy" */
    int column,
        count; /* the score is sum(column) / sum(count); with bleu > 0: BLEU-bleu of the counts from column on */
    int bleu;
} oc_sampled_score;

/* What the pictures add to the sums. */
typedef struct oc_samples {
    double *sum; /* [n, columns] */
    size_t n;    /* pictures */
    int columns, n_scores;
    oc_sampled_score *score; /* [n_scores] */
} oc_samples;

/* From a scored evaluation. Pictures come in the order of their first items. Question types beyond the first 16 are left out.
 */
oc_status oc_samples_open(oc_samples *s, const oc_evaluation *e, oc_error *err);
void oc_samples_close(oc_samples *s);

/* A score of all pictures. */
double oc_samples_score(const oc_samples *s, int score);

typedef struct oc_interval {
    double value;     /* of the whole set */
    double low, high; /* 95%: the 2.5th and 97.5th percentile of the resamples */
    double error;     /* standard error: the deviation over the resamples */
} oc_interval;

/* out[s->n_scores]. resamples > 0. */
oc_status oc_bootstrap(oc_interval *out, const oc_samples *s, int resamples, uint64_t seed, oc_error *err);

typedef struct oc_difference {
    double a, b;      /* of the whole set */
    double low, high; /* 95% interval of b - a */
    double p;         /* two-sided: how often a resample's difference has the other sign (or is 0), twice; at least
                2 / (resamples + 1) */
} oc_difference;

/* out[a->n_scores]; a and b have the same pictures in the same order and the same scores. */
oc_status oc_bootstrap_paired(oc_difference *out, const oc_samples *a, const oc_samples *b, int resamples,
                              uint64_t seed, oc_error *err);

#endif
