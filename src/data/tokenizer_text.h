/* What a tokenizer needs to know of Unicode: UTF-8, NFC, and the character classes of the split pattern. All of it
 * as the `tokenizers` library has it, since ids must agree with ids that a model was trained on. */
#ifndef OC_DATA_TOKENIZER_TEXT_H
#define OC_DATA_TOKENIZER_TEXT_H

#include "base/base.h"

/* Looks at the character at p (n > 0 bytes are there). Returns its length 1..4 with *cp set; 0 when the bytes are
 * the beginning of a character that is cut off; -k when the first k bytes are broken (the maximal part that one
 * U+FFFD replaces). */
int oc_utf8_next(const uint8_t *p, size_t n, int32_t *cp);

/* Appends p[n] with broken parts replaced by U+FFFD, and returns how many bytes were consumed: all when `final`,
 * otherwise all but a character that is cut off at the end. */
size_t oc_utf8_repair(const uint8_t *p, size_t n, bool final, oc_strbuf *out);

typedef struct oc_text_kind {
    bool valid; /* UTF-8 */
    bool ascii;
} oc_text_kind;
oc_text_kind oc_text_look(const char *text, size_t len);

/* NFC of valid UTF-8. Where it differs from the text it is put into buf (emptied before), and text and len are set
 * to it. false when memory is out. */
bool oc_text_nfc(const char **text, size_t *len, oc_strbuf *buf);

/* A copy for the pattern to look at, where characters that PCRE2's Unicode tables class differently from the
 * `tokenizers` library's are replaced by ones of the right class and the same length in bytes. text is set to buf's
 * data if there are any. false when memory is out. */
bool oc_text_for_pattern(const char **text, size_t len, oc_strbuf *buf);

/* The text in lower case, character by character, in buf; broken UTF-8 becomes U+FFFD. false when memory is out. */
bool oc_text_lower(const char **text, size_t *len, oc_strbuf *buf);

#endif
