/* Learns a byte-level BPE vocabulary with Qwen2's pipeline (NFC, its split pattern, bytes) from texts.
 *
 * Words are counted once; then the most frequent pair of neighbouring tokens becomes a new token, again and again.
 * Counts are kept up to date word by word, so a merge costs what it changes. Ties go to the pair with the lower ids
 * (left, then right), as in the `tokenizers` library's trainer: the same texts give the same merges in
 * both. */
#ifndef OC_DATA_BPE_TRAIN_H
#define OC_DATA_BPE_TRAIN_H

#include "data/tokenizer.h"

/* Gives the next text, or NULL in *text at the end. The text must stay valid until the next call. */
typedef oc_status (*oc_text_fn)(void *user, const char **text, size_t *len, oc_error *err);

typedef struct oc_bpe_train_options {
    int vocab_size; /* ids in all: 256 bytes, merges, and the 4 special tokens at the end; at least 260. Fewer come
                     * out when the texts have no more pairs to offer */
    int min_count;  /* a pair must occur that often; 0: twice */
    bool lowercase; /* lower-case the texts before counting; encoding does not, so encode lower-cased texts */
} oc_bpe_train_options;

/* *out is owned by the caller (oc_tokenizer_close). Its ids: the bytes in the order of their spelling (Qwen2's
 * 0..255), the merges, <|endoftext|>, <|im_start|>, <|im_end|>, <image>. oc_tokenizer_save writes it. */
oc_status oc_bpe_train(oc_tokenizer **out, const oc_bpe_train_options *opt, oc_text_fn next, void *user,
                       oc_error *err);
oc_status oc_bpe_train_strings(oc_tokenizer **out, const oc_bpe_train_options *opt, const char *const *texts,
                               size_t n, oc_error *err);

#endif
