#include "data/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "data/tokenizer_internal.h"
#include "data/tokenizer_text.h"

enum {
    MAX_TEXT = 1 << 28, /* bytes in one call; NFC or repair may triple them, and a word must stay below 2^30 */
    MATCH_LIMIT = 20 * 1000000, /* steps for one word: a pattern from a hostile file must not hang the program */
    HEAP_LIMIT_KIB = 512 * 1024,
    NEW_SPECIAL_MAX = 256 /* bytes */
};

bool oc_ids_add(oc_ids *ids, int32_t id) {
    if (ids->len == ids->capacity) {
        size_t capacity = ids->capacity ? 2 * ids->capacity : 64;
        int32_t *p = oc_realloc(ids->data, ids->len * sizeof *p, capacity * sizeof *p);
        if (!p) return false;
        ids->data = p;
        ids->capacity = capacity;
    }
    ids->data[ids->len++] = id;
    return true;
}

void oc_ids_free(oc_ids *ids) {
    oc_free(ids->data);
    *ids = (oc_ids){0};
}

/* --- Opening and closing
 * ------------------------------------------------------------------------------------------ */

oc_status oc_tokenizer_new(oc_tokenizer **out, oc_error *err) {
    *out = oc_calloc(1, sizeof **out);
    return *out ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a tokenizer");
}

void oc_tokenizer_close(oc_tokenizer *t) {
    if (!t) return;
    oc_bpe_close(&t->bpe);
    oc_free(t->pattern);
    pcre2_code_free(t->code);
    pcre2_match_context_free(t->limits);
    oc_free(t->raw.node);
    oc_free(t->normalized.node);
    oc_free(t);
}

/* The patterns come from files written for Oniguruma. What both engines read the same way passes: literals, groups,
 * lookahead, classes, \s \S \r \n \t, \d, and \p of the categories whose tables tokenizer_text.c reconciles. */
static bool pattern_is_portable(const char *p) {
    static const char *const categories[] = {"{L}",  "{N}",  "{M}",  "{Lu}", "{Ll}", "{Lt}",
                                             "{Lm}", "{Lo}", "{Nd}", "{Nl}", "{No}"};
    if (!strncmp(p, "(*", 2)) return false; /* PCRE2's own settings */
    for (; *p; p++) {
        if (!strncmp(p, "[[:", 3)) return false;
        if (*p != '\\') continue;
        p++;
        if (*p == 'p' || *p == 'P') {
            bool known = false;
            for (size_t i = 0; i < OC_COUNT(categories); i++)
                known |= !strncmp(p + 1, categories[i], strlen(categories[i]));
            if (!known) return false;
        } else if (*p == 0 || ((*p & 0x80) != 0) ||
                   (((*p | 32) >= 'a' && (*p | 32) <= 'z') && !strchr("sSrntdD", *p)) || (*p >= '0' && *p <= '9')) {
            return false;
        }
    }
    return true;
}

oc_status oc_tokenizer_set_pattern(oc_tokenizer *t, const char *pattern, const char *what, oc_error *err) {
    if (!pattern_is_portable(pattern))
        return oc_fail(err, OC_ERR_UNSUPPORTED,
                       "%s: the split pattern \"%s\" uses an escape that this program does not know", what,
                       pattern);
    int code;
    PCRE2_SIZE at;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_BACKSLASH_C;
    t->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &at, NULL);
    if (!t->code) {
        PCRE2_UCHAR text[256];
        pcre2_get_error_message(code, text, sizeof text);
        return oc_fail(err, OC_ERR_FORMAT, "%s: the split pattern is wrong at character %zu: %s", what, (size_t)at,
                       (char *)text);
    }
    t->jit = pcre2_jit_compile(t->code, PCRE2_JIT_COMPLETE) == 0; /* some systems forbid it: slower, same result */
    t->pattern = oc_strdup(pattern);
    t->limits = pcre2_match_context_create(NULL);
    if (!t->pattern || !t->limits) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", what);
    pcre2_set_match_limit(t->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(t->limits, HEAP_LIMIT_KIB);
    return OC_OK;
}

/* --- Added tokens
 * ------------------------------------------------------------------------------------------------- */

static int32_t *child_link(oc_added_tree *tree, int32_t parent, uint8_t byte) {
    int32_t *link = parent ? &tree->node[parent].child : &tree->first[byte];
    while (*link && tree->node[*link].byte != byte) link = &tree->node[*link].sibling;
    return link;
}

static bool tree_add(oc_added_tree *tree, const char *text, size_t len, int32_t id) {
    int32_t parent = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (tree->n == tree->capacity) {
            int32_t capacity = tree->capacity ? 2 * tree->capacity : 64;
            oc_added_node *node =
                oc_realloc(tree->node, (size_t)tree->n * sizeof *node, (size_t)capacity * sizeof *node);
            if (!node) return false;
            tree->node = node;
            tree->capacity = capacity;
            if (tree->n == 0) node[tree->n++] = (oc_added_node){.id = -1};
        }
        int32_t *link = child_link(tree, parent, byte);
        if (!*link) {
            tree->node[tree->n] = (oc_added_node){.id = -1, .byte = byte};
            *link = tree->n++;
        }
        parent = *link;
    }
    tree->node[parent].id = id;
    return true;
}

oc_status oc_tokenizer_index_added(oc_tokenizer *t, const char *what, oc_error *err) {
    oc_added_tree *trees[] = {&t->raw, &t->normalized};
    for (int i = 0; i < 2; i++) {
        oc_free(trees[i]->node);
        memset(trees[i], 0, sizeof *trees[i]);
    }
    for (int32_t id = 0; id < t->bpe.n_tokens; id++) {
        const oc_token *token = &t->bpe.token[id];
        if (!(token->flags & OC_TOKEN_ADDED)) continue;
        if (!tree_add(trees[(token->flags & OC_TOKEN_NORMALIZED) != 0], t->bpe.bytes + token->offset, token->len,
                      id))
            return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for the added tokens", what);
    }
    return OC_OK;
}

/* The first added token at or after *start, the longest if several begin there: its id, with [*start, *end) set. -1
 * if there is none. */
static int32_t find_added(const oc_added_tree *tree, const char *text, size_t len, size_t *start, size_t *end) {
    if (!tree->node) return -1;
    for (size_t i = *start; i < len; i++) {
        int32_t node = tree->first[(uint8_t)text[i]], id = -1;
        for (size_t j = i + 1; node; j++) {
            if (tree->node[node].id >= 0) {
                id = tree->node[node].id;
                *end = j;
            }
            if (j == len) break;
            for (node = tree->node[node].child; node && tree->node[node].byte != (uint8_t)text[j];)
                node = tree->node[node].sibling;
        }
        if (id < 0) continue;
        *start = i;
        return id;
    }
    return -1;
}

oc_status oc_tokenizer_add_special(oc_tokenizer *t, const char *content, int32_t *id, oc_error *err) {
    size_t len = strlen(content);
    if (len == 0 || len > NEW_SPECIAL_MAX || !oc_text_look(content, len).valid)
        return oc_fail(err, OC_ERR_ARG, "a special token must be 1 to %d bytes of UTF-8, not \"%.80s\"",
                       NEW_SPECIAL_MAX, content);
    *id = oc_tokenizer_token_id(t, content);
    if (*id >= 0) t->bpe.token[*id].flags |= OC_TOKEN_ADDED | OC_TOKEN_SPECIAL;
    else {
        *id = t->bpe.n_tokens;
        OC_TRY(oc_bpe_set_token(&t->bpe, *id, content, len, OC_TOKEN_ADDED | OC_TOKEN_SPECIAL, "added token", err));
    }
    t->bpe.token[*id].flags &= ~(uint32_t)OC_TOKEN_NORMALIZED;
    return oc_tokenizer_index_added(t, "added token", err);
}

/* --- Words
 * -------------------------------------------------------------------------------------------------------- */

/* What one call needs beside the tokenizer, so that calls on several threads do not meet. */
typedef struct work {
    const oc_tokenizer *t;
    pcre2_match_data *match;
    oc_strbuf normal, shadow; /* the text after NFC; the text that the pattern sees */
    oc_bpe_scratch scratch;
    oc_ids *ids;
} work;

static oc_status work_open(work *w, const oc_tokenizer *t, oc_error *err) {
    *w = (work){.t = t, .normal.max = 4 * (size_t)MAX_TEXT, .shadow.max = 4 * (size_t)MAX_TEXT};
    w->match = pcre2_match_data_create(1, NULL);
    return w->match ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory while tokenizing");
}

static void work_close(work *w) {
    pcre2_match_data_free(w->match);
    oc_strbuf_free(&w->normal);
    oc_strbuf_free(&w->shadow);
    oc_bpe_scratch_free(&w->scratch);
}

static oc_status fail_memory(oc_error *err) { return oc_fail(err, OC_ERR_NOMEM, "out of memory while tokenizing"); }

static int match_at(work *w, const char *text, size_t len, size_t at) {
    const oc_tokenizer *t = w->t;
    PCRE2_SPTR s = (PCRE2_SPTR)text;
    if (t->jit) {
        int rc = pcre2_jit_match(t->code, s, len, at, 0, w->match, t->limits);
        if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    }
    return pcre2_match(t->code, s, len, at, PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK, w->match, t->limits);
}

/* Calls fn for each match of the pattern and for what lies between matches (Split with behavior "isolated"). */
static oc_status cut_words(work *w, const char *text, size_t len, bool ascii, oc_word_fn fn, void *user,
                           oc_error *err) {
    const char *seen = text;
    size_t done = 0;
    if (!w->t->code) return len == 0 || fn(user, text, len) ? OC_OK : fail_memory(err);
    if (!ascii && !oc_text_for_pattern(&seen, len, &w->shadow)) return fail_memory(err);
    for (size_t at = 0; at < len;) {
        int rc = match_at(w, seen, len, at);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0)
            return oc_fail(
                err, OC_ERR_UNSUPPORTED,
                "the tokenizer's split pattern gave up at byte %zu of a text of %zu bytes (PCRE2 error %d)", at,
                len, rc);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(w->match);
        size_t start = span[0], end = span[1];
        if (start < done || end < start || end > len) break; /* \K or lookbehind tricks: nothing sensible to do */
        if (start > done && !fn(user, text + done, start - done)) return fail_memory(err);
        if (end > start && !fn(user, text + start, end - start)) return fail_memory(err);
        done = at = end;
        if (end == start) /* an empty match: go on behind the next character */
            do at++;
            while (at < len && ((uint8_t)text[at] & 0xc0) == 0x80);
    }
    return done == len || fn(user, text + done, len - done) ? OC_OK : fail_memory(err);
}

/* --- Encoding
 * ----------------------------------------------------------------------------------------------------- */

static bool encode_word(void *user, const char *word, size_t len) {
    work *w = user;
    return oc_bpe_encode(&w->t->bpe, &w->scratch, word, len, w->ids);
}

/* A stretch between added tokens. */
static oc_status encode_stretch(work *w, const char *text, size_t len, bool ascii, bool no_special, oc_error *err) {
    if (len == 0) return OC_OK;
    if (w->t->nfc && !ascii && !oc_text_nfc(&text, &len, &w->normal)) return fail_memory(err);
    size_t done = 0, start = 0, end = 0;
    for (int32_t id; !no_special && (id = find_added(&w->t->normalized, text, len, &start, &end)) >= 0;
         done = start = end) {
        OC_TRY(cut_words(w, text + done, start - done, ascii, encode_word, w, err));
        if (!oc_ids_add(w->ids, id)) return fail_memory(err);
    }
    return cut_words(w, text + done, len - done, ascii, encode_word, w, err);
}

static oc_status encode_text(work *w, const char *text, size_t len, bool no_special, oc_error *err) {
    bool ascii = oc_text_look(text, len).ascii;
    size_t done = 0, start = 0, end = 0;
    for (int32_t id; !no_special && (id = find_added(&w->t->raw, text, len, &start, &end)) >= 0;
         done = start = end) {
        OC_TRY(encode_stretch(w, text + done, start - done, ascii, no_special, err));
        if (!oc_ids_add(w->ids, id)) return fail_memory(err);
    }
    return encode_stretch(w, text + done, len - done, ascii, no_special, err);
}

/* Gives the text itself if it is valid UTF-8, otherwise a repaired copy in buf. */
static oc_status valid_text(const char **text, size_t *len, oc_strbuf *buf, oc_error *err) {
    if (*len > MAX_TEXT)
        return oc_fail(err, OC_ERR_ARG, "a text of %zu MiB is too long to tokenize at once; the limit is %d MiB",
                       *len >> 20, MAX_TEXT >> 20);
    if (oc_text_look(*text, *len).valid) return OC_OK;
    buf->max = 4 * (size_t)MAX_TEXT;
    oc_utf8_repair((const uint8_t *)*text, *len, true, buf);
    if (buf->failed) return fail_memory(err);
    *text = buf->data;
    *len = buf->len;
    return OC_OK;
}

oc_status oc_tokenizer_encode(const oc_tokenizer *t, const char *text, size_t len, const oc_encode_options *opt,
                              oc_ids *ids, oc_error *err) {
    work w;
    oc_strbuf repaired = {0};
    size_t before = ids->len;
    OC_TRY(work_open(&w, t, err));
    w.ids = ids;
    oc_status st = valid_text(&text, &len, &repaired, err);
    if (st == OC_OK) st = encode_text(&w, text, len, opt && opt->no_special, err);
    if (st != OC_OK) ids->len = before;
    oc_strbuf_free(&repaired);
    work_close(&w);
    return st;
}

oc_status oc_tokenizer_split(const oc_tokenizer *t, const char *text, size_t len, oc_word_fn fn, void *user,
                             oc_error *err) {
    work w;
    oc_strbuf repaired = {0};
    OC_TRY(work_open(&w, t, err));
    oc_status st = valid_text(&text, &len, &repaired, err);
    bool ascii = st == OC_OK && oc_text_look(text, len).ascii;
    if (st == OC_OK && t->nfc && !ascii && !oc_text_nfc(&text, &len, &w.normal)) st = fail_memory(err);
    if (st == OC_OK) st = cut_words(&w, text, len, ascii, fn, user, err);
    oc_strbuf_free(&repaired);
    work_close(&w);
    return st;
}

/* --- Decoding
 * ----------------------------------------------------------------------------------------------------- */

void oc_decode_stream_next(oc_decode_stream *s, const oc_tokenizer *t, int32_t id, bool skip_special,
                           oc_strbuf *out) {
    size_t len, i = 0;
    const char *bytes = oc_tokenizer_token(t, id, &len);
    if (!bytes || (skip_special && oc_tokenizer_is_special(t, id))) return;
    while (s->n && i < len) { /* complete the character that waits */
        int32_t cp;
        s->pending[s->n++] = (uint8_t)bytes[i++];
        int k = oc_utf8_next(s->pending, s->n, &cp);
        if (k == 0) continue;
        if (k > 0) oc_strbuf_add(out, s->pending, (size_t)k);
        else { /* all but the new byte are broken; it may begin a character */
            oc_strbuf_puts(out, "\xef\xbf\xbd");
            i--;
        }
        s->n = 0;
    }
    if (s->n) return;
    i += oc_utf8_repair((const uint8_t *)bytes + i, len - i, false, out);
    while (i < len) s->pending[s->n++] = (uint8_t)bytes[i++];
}

void oc_decode_stream_finish(oc_decode_stream *s, oc_strbuf *out) {
    if (s->n) oc_strbuf_puts(out, "\xef\xbf\xbd");
    s->n = 0;
}

void oc_tokenizer_decode(const oc_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, oc_strbuf *out) {
    oc_decode_stream s = {0};
    for (size_t i = 0; i < n; i++) oc_decode_stream_next(&s, t, ids[i], skip_special, out);
    oc_decode_stream_finish(&s, out);
}

/* --- Looking things up
 * -------------------------------------------------------------------------------------------- */

int32_t oc_tokenizer_vocab_size(const oc_tokenizer *t) { return t->bpe.n_tokens; }

int32_t oc_tokenizer_token_id(const oc_tokenizer *t, const char *text) {
    size_t len = strlen(text), end = 0;
    const oc_added_tree *trees[] = {&t->raw, &t->normalized};
    for (int i = 0; i < 2; i++) {
        size_t start = 0;
        int32_t id = find_added(trees[i], text, len, &start, &end);
        if (id >= 0 && start == 0 && end == len) return id;
    }
    return oc_bpe_find(&t->bpe, text, len);
}

const char *oc_tokenizer_token(const oc_tokenizer *t, int32_t id, size_t *len) {
    *len = 0;
    if (id < 0 || id >= t->bpe.n_tokens || !t->bpe.token[id].flags) return NULL;
    *len = t->bpe.token[id].len;
    return t->bpe.bytes + t->bpe.token[id].offset;
}

bool oc_tokenizer_is_special(const oc_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->bpe.n_tokens && (t->bpe.token[id].flags & OC_TOKEN_SPECIAL);
}
