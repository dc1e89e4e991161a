/* Words and n-grams as numbers, for BLEU, ROUGE and CIDEr: every distinct word and n-gram gets an id once,
 * after which the metrics count and compare integers. */
#ifndef OC_EVAL_NGRAM_H
#define OC_EVAL_NGRAM_H

#include "base/base.h"

enum { OC_NGRAM_MAX = 4 };

/* Ids of words and of n-grams (n = 1 to 4; a word and its 1-gram have the same id), dense from 0. */
typedef struct oc_ngrams oc_ngrams;

/* words: about how many will come, repetitions included; 0 if nobody knows. */
oc_status oc_ngrams_open(oc_ngrams **out, size_t words, oc_error *err);
void oc_ngrams_close(oc_ngrams *g);         /* NULL allowed */
size_t oc_ngrams_count(const oc_ngrams *g); /* ids given so far */
/* Ends the life of all sentences; the ids stay. */
void oc_ngrams_forget_sentences(oc_ngrams *g);

/* A sentence as ids. The official scorers disagree about what a word is: BLEU and CIDEr split at any white
 * space, ROUGE at single blanks only, which makes one word of "(555)<no-break space>555-1212" and one empty
 * word of "". */
typedef struct oc_sentence {
    uint32_t *word; /* [n], split at white space */
    size_t n;
    uint32_t *piece; /* [n_pieces], split at each blank; may be the words themselves */
    size_t n_pieces;
    uint32_t *gram[OC_NGRAM_MAX]; /* gram[k][i]: the (k+1)-gram that starts at word i, for i + k < n */
} oc_sentence;

/* text[len]: tokens joined by blanks, UTF-8. The sentence's arrays belong to g. */
oc_status oc_sentence_make(oc_sentence *s, oc_ngrams *g, const char *text, size_t len, oc_error *err);

/* How often each n-gram of one sentence occurs. count_of[id] is zero for all ids outside of a count. */
typedef struct oc_gram_counter {
    uint32_t *count_of; /* [ids] */
    uint32_t *id;       /* [longest sentence]: the distinct ids, in order of first occurrence */
    uint32_t *best;     /* [longest sentence]: zero; for a caller who wants a number per distinct id */
    size_t n;
} oc_gram_counter;

/* Room for n_ids ids and sentences of up to max_words words. */
oc_status oc_gram_counter_open(oc_gram_counter *c, size_t n_ids, size_t max_words, oc_error *err);
void oc_gram_counter_close(oc_gram_counter *c);
/* Counts the (k+1)-grams of s; the counter must be clear. */
void oc_gram_counter_add(oc_gram_counter *c, const oc_sentence *s, int k);
void oc_gram_counter_clear(oc_gram_counter *c);

#endif
