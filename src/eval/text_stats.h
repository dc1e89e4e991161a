/* What a set of captions or answers is like, whatever they describe: lengths, vocabulary, and texts that went wrong. Words are
 * those of the caption scores (eval/ptb.h). */
#ifndef OC_EVAL_TEXT_STATS_H
#define OC_EVAL_TEXT_STATS_H

#include "base/base.h"

enum { OC_TEXT_LENGTHS = 64, OC_TEXT_FREQUENT = 8 };

typedef struct oc_text_stats {
    size_t texts, words, vocabulary; /* vocabulary: distinct words */
    size_t distinct;                 /* texts, by their words */
    size_t length[OC_TEXT_LENGTHS];  /* how many texts have so many words; the last: so many or more */
    size_t longest;
    struct {
        const char *text; /* of the caller: its first occurrence */
        size_t count;
    } frequent[OC_TEXT_FREQUENT]; /* the texts that occur most often, if more than once */
    int n_frequent;
} oc_text_stats;

/* text[n]. repeated[n] (NULL: not wanted): one to four words stand three times or more in a row somewhere. */
oc_status oc_text_stats_compute(oc_text_stats *s, bool *repeated, const char *const *text, size_t n, oc_error *err);

#endif
