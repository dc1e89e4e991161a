/* Text <-> token ids with byte-level BPE, as Hugging Face tokenizer.json files of the Qwen2 kind describe it.
 *
 *   raw text -> added tokens (<|im_end|>, <image>) are cut out
 *            -> NFC -> the split pattern cuts words -> bytes of a word -> merges, lowest rank first -> ids
 *
 * A tokenizer does not change once it is open and may be used from several threads at once; only
 * oc_tokenizer_add_special changes it, and that is called before it is shared.
 *
 *   oc_tokenizer *t;
 *   oc_ids ids = {0};
 *   OC_TRY(oc_tokenizer_open(&t, "model/", err));
 *   OC_TRY(oc_tokenizer_encode(t, "a dog", 5, NULL, &ids, err));
 *   oc_ids_free(&ids);
 *   oc_tokenizer_close(t); */
#ifndef OC_DATA_TOKENIZER_H
#define OC_DATA_TOKENIZER_H

#include "base/base.h"

typedef struct oc_tokenizer oc_tokenizer;

/* A growing list of ids. Zero-initialise; data is owned by the list. */
typedef struct oc_ids {
    int32_t *data;
    size_t len, capacity;
} oc_ids;

/* false when memory is out; the list is unchanged then. */
bool oc_ids_add(oc_ids *ids, int32_t id);
void oc_ids_free(oc_ids *ids);

/* Opens a tokenizer.json, or a folder that holds one; else the folder's vocab.json + merges.txt, which are taken as
 * Qwen2's (added tokens then come from tokenizer_config.json or added_tokens.json). A pipeline that this program
 * does not know is refused by name. On success *out is owned by the caller, on failure it is NULL. */
oc_status oc_tokenizer_open(oc_tokenizer **out, const char *path, oc_error *err);
/* The same from the text of a tokenizer.json; `name` stands for the file in messages. */
oc_status oc_tokenizer_open_memory(oc_tokenizer **out, const char *text, size_t len, const char *name,
                                   oc_error *err);
void oc_tokenizer_close(oc_tokenizer *t); /* NULL allowed */

/* Gives `content` an id: its present one if it has one, else the first after all others (for Qwen2, <image> becomes
 * 151646). It is then found in raw text like any special token. Not thread safe. */
oc_status oc_tokenizer_add_special(oc_tokenizer *t, const char *content, int32_t *id, oc_error *err);

/* Writes tokenizer.json and tokenizer_config.json (with a ChatML chat template) into an existing folder, readable
 * by `tokenizers`, transformers and oc_tokenizer_open. */
oc_status oc_tokenizer_save(const oc_tokenizer *t, const char *dir, oc_error *err);

typedef struct oc_encode_options {
    bool no_special; /* text from outside: no added token is recognised in it, so it cannot end a turn */
} oc_encode_options;

/* Appends the ids of a text to *ids; nothing is added around it. opt may be NULL. Bytes that are not valid UTF-8
 * count as U+FFFD, one for each maximal part of a broken sequence (Unicode 16, 3.9, as Rust and the WHATWG do). On
 * failure *ids keeps what it had. */
oc_status oc_tokenizer_encode(const oc_tokenizer *t, const char *text, size_t len, const oc_encode_options *opt,
                              oc_ids *ids, oc_error *err);

/* Appends the text of ids[n]. The bytes of all tokens are joined first, then what is not UTF-8 becomes U+FFFD. Ids
 * that name no token are skipped, special tokens too if skip_special. Check out->failed afterwards. */
void oc_tokenizer_decode(const oc_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, oc_strbuf *out);

/* The same one token at a time; only whole characters come out, the rest waits for the next token. Zero-initialise.
 * After the last token _finish gives what still waits (as U+FFFD). The pieces joined equal oc_tokenizer_decode's
 * text. */
typedef struct oc_decode_stream {
    uint8_t pending[4];
    uint8_t n;
} oc_decode_stream;

void oc_decode_stream_next(oc_decode_stream *s, const oc_tokenizer *t, int32_t id, bool skip_special,
                           oc_strbuf *out);
void oc_decode_stream_finish(oc_decode_stream *s, oc_strbuf *out);

/* The highest id + 1. Some ids below may be unused. */
int32_t oc_tokenizer_vocab_size(const oc_tokenizer *t);
/* The id of a token given by its text ("<|im_end|>", " dog"), -1 if there is none. */
int32_t oc_tokenizer_token_id(const oc_tokenizer *t, const char *text);
/* The bytes of one token, not always valid UTF-8, valid as long as t; NULL and *len = 0 if id names none. */
const char *oc_tokenizer_token(const oc_tokenizer *t, int32_t id, size_t *len);
bool oc_tokenizer_is_special(const oc_tokenizer *t, int32_t id);

/* Calls fn for each word that the pattern cuts from a text without added tokens, after NFC. fn returns false to
 * stop (OC_ERR_NOMEM is then returned). This is what training counts. */
typedef bool (*oc_word_fn)(void *user, const char *word, size_t len);
oc_status oc_tokenizer_split(const oc_tokenizer *t, const char *text, size_t len, oc_word_fn fn, void *user,
                             oc_error *err);

#endif
