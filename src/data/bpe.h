/* Byte-pair encoding: a vocabulary of byte strings, the ordered merge rules, and the encoder for one word.
 *
 * A word starts as its bytes, one token each. As long as two neighbours form a rule, the rule with the lowest rank
 * is applied, leftmost first (Sennrich et al., arXiv 1508.07909; bytes as in GPT-2). */
#ifndef OC_DATA_BPE_H
#define OC_DATA_BPE_H

#include <stdatomic.h>

#include "data/tokenizer.h"

enum {
    OC_TOKEN_PRESENT = 1,    /* the id is in use */
    OC_TOKEN_MODEL = 2,      /* in the model's vocabulary */
    OC_TOKEN_ADDED = 4,      /* found in raw text before any splitting */
    OC_TOKEN_SPECIAL = 8,    /* added, and a control token */
    OC_TOKEN_NORMALIZED = 16, /* added, and looked for after NFC instead of before */
    OC_TOKEN_FOREIGN = 32    /* its spelling is not in the byte alphabet: no word ever becomes it */
};

typedef struct oc_token {
    size_t offset; /* into oc_bpe.bytes */
    uint32_t len;
    uint32_t flags;
} oc_token;

typedef struct oc_bpe_rule { /* left right -> merged, its rank is its place in the list */
    int32_t left, right, merged;
} oc_bpe_rule;

typedef struct oc_bpe_pair oc_bpe_pair;

typedef struct oc_bpe {
    oc_token *token; /* [n_tokens] by id */
    int32_t n_tokens, token_capacity;
    char *bytes; /* all tokens' bytes, end to end */
    size_t n_bytes, bytes_capacity;
    int32_t *slot; /* hash of bytes -> id, -1 empty; only tokens of the model that are not foreign */
    size_t n_slots, n_hashed;
    oc_bpe_rule *rule; /* [n_rules] by rank */
    int32_t n_rules;
    oc_bpe_pair *pair; /* hash of (left, right) -> rank, merged; made by oc_bpe_seal */
    size_t n_pairs;
    /* [n_tokens] What encoding a token's own bytes gives: 0 not known yet, 1 the token, 2 something else. A memo
     * that several threads may fill in at once: they write the same. */
    _Atomic uint8_t *whole;
    int32_t byte_id[256];
    bool ignore_merges; /* a word that is in the vocabulary becomes that token, whatever the rules say */
} oc_bpe;

/* Memory for long words, kept between them. Zero-initialise. */
typedef struct oc_bpe_scratch {
    void *memory;
    size_t size;
} oc_bpe_scratch;

/* A zeroed oc_bpe is empty. Tokens are set, then rules, then _seal makes it ready for encoding. */
void oc_bpe_close(oc_bpe *b);
/* Fails when the id has a token already, or (OC_TOKEN_MODEL) another id has the same bytes. `what` is the
 * file's name. */
oc_status oc_bpe_set_token(oc_bpe *b, int32_t id, const char *bytes, size_t len, uint32_t flags, const char *what,
                           oc_error *err);
/* The id of a model token, -1 if there is none. */
int32_t oc_bpe_find(const oc_bpe *b, const char *bytes, size_t len);
/* Takes over rule (oc_alloc'd), which the caller has filled. A pair that occurs twice keeps its last rank. */
oc_status oc_bpe_seal(oc_bpe *b, oc_bpe_rule *rule, int32_t n_rules, const char *what, oc_error *err);

/* Appends the ids of one word. false when memory is out. len < 2^30. */
bool oc_bpe_encode(const oc_bpe *b, oc_bpe_scratch *scratch, const char *word, size_t len, oc_ids *ids);
void oc_bpe_scratch_free(oc_bpe_scratch *s);

/* GPT-2's byte alphabet, in which vocabularies are spelled: each byte is one printable character below U+0144. */
int32_t oc_byte_to_char(uint8_t byte);
int oc_char_to_byte(int32_t cp); /* -1: not in the alphabet */
void oc_bytes_spell(const char *bytes, size_t len, oc_strbuf *out);
/* Turns a spelling into bytes; false (and out holds the spelling itself) when it has a foreign character. */
bool oc_spelling_bytes(const char *spelling, size_t len, oc_strbuf *out);

#endif
