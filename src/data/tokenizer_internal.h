/* What loading, training, encoding and saving share. Nothing outside of tokenizer*.c, bpe*.c includes it. */
#ifndef OC_DATA_TOKENIZER_INTERNAL_H
#define OC_DATA_TOKENIZER_INTERNAL_H

#include "data/bpe.h"

/* The patterns of Qwen2 and of GPT-2 (which a ByteLevel pre-tokenizer with use_regex stands for). */
#define OC_QWEN2_PATTERN                                                                                               \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OC_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Added tokens as a tree of bytes: node 0 is the root, 0 also means "none" as child or sibling. */
typedef struct oc_added_node {
    int32_t child, sibling;
    int32_t id; /* the token that ends here, -1: none */
    uint8_t byte;
} oc_added_node;

typedef struct oc_added_tree {
    oc_added_node *node; /* NULL: no tokens */
    int32_t n, capacity;
    int32_t first[256]; /* child of the root for each byte */
} oc_added_tree;

struct oc_tokenizer {
    oc_bpe bpe;
    bool nfc;
    char *pattern;                    /* NULL: a text is one word */
    struct pcre2_real_code_8 *code;   /* the compiled pattern */
    struct pcre2_real_match_context_8 *limits;
    bool jit;
    oc_added_tree raw;        /* added tokens looked for in raw text */
    oc_added_tree normalized; /* and those looked for after NFC */
};

oc_status oc_tokenizer_new(oc_tokenizer **out, oc_error *err);
/* Checks that the pattern means the same here as in the `tokenizers` library, and compiles it. */
oc_status oc_tokenizer_set_pattern(oc_tokenizer *t, const char *pattern, const char *what, oc_error *err);
/* Builds the two trees from the tokens that are flagged OC_TOKEN_ADDED. */
oc_status oc_tokenizer_index_added(oc_tokenizer *t, const char *what, oc_error *err);

#endif
