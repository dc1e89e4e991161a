/* Caption tokens as the COCO caption evaluation makes them: Stanford's PTBTokenizer (CoreNLP 3.4.1,
 * -preserveLines -lowerCase), then the removal of punctuation tokens. BLEU, ROUGE and CIDEr of two programs
 * agree only if these agree. */
#ifndef OC_EVAL_PTB_H
#define OC_EVAL_PTB_H

#include "base/base.h"

/* A tokenizer; belongs to one thread at a time. Opening takes a few milliseconds: open one, use it for all
 * captions. */
typedef struct oc_ptb oc_ptb;

oc_status oc_ptb_open(oc_ptb **out, oc_error *err);
void oc_ptb_close(oc_ptb *p); /* NULL allowed */

/* Appends to out what the program prints for a file that holds text[len]: tokens joined by a blank, and a
 * line end for each line end. Bytes that are not UTF-8 are read as U+FFFD. A token may hold a no-break space
 * ("(555) 555-1212"), never a blank. */
oc_status oc_ptb_tokenize(oc_ptb *p, const char *text, size_t len, oc_strbuf *out, oc_error *err);

/* Appends to out the tokens that the scores see, caption after caption: tokens that are punctuation are left
 * out. end[i] is out->len after caption i, so that caption i is out->data[i ? end[i - 1] : length before,
 * end[i]); it may be empty. Line breaks within a caption are blanks.
 *
 * The captions are one batch because the pipeline feeds them to the tokenizer as one file, and what begins
 * the next caption shows through: in "... vitamin C." the full stop stays with the C, unless the next caption
 * begins with one of some words ("A", "The", ...), which tell the tokenizer that a sentence had ended. Equal
 * scores need the same order. */
oc_status oc_ptb_captions(oc_ptb *p, const char *const *captions, size_t n, oc_strbuf *out, size_t *end,
                          oc_error *err);

#endif
