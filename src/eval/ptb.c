#include "eval/ptb.h"

#include <string.h>
#include <utf8proc.h>

#include "eval/ptb_rules.h"

/* A token is matched within this many code units: longer ones do not occur, and the limit keeps hostile text,
 * in which every token makes the scanner look ahead to the end, from taking quadratic time. */
enum { MAX_TOKEN = 4096 };

struct oc_ptb {
    oc_lexer *lexer;
    uint16_t *unit; /* [cap], the text as UTF-16, n of them used */
    size_t n, cap;
    oc_strbuf token;
};

oc_status oc_ptb_open(oc_ptb **out, oc_error *err) {
    *out = NULL;
    oc_ptb *p = oc_calloc(1, sizeof *p);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    oc_status st = oc_lexer_open(&p->lexer, oc_ptb_macros, oc_ptb_n_macros, oc_ptb_rules, oc_ptb_n_rules, err);
    if (st != OC_OK) return oc_ptb_close(p), st;
    *out = p;
    return OC_OK;
}

void oc_ptb_close(oc_ptb *p) {
    if (!p) return;
    oc_lexer_close(p->lexer);
    oc_free(p->unit);
    oc_strbuf_free(&p->token);
    oc_free(p);
}

/* 1. UTF-8 to UTF-16 and back ---------------------------------------------------------------------------- */

/* Room for `more` units after the ones that are there. */
static oc_status reserve(oc_ptb *p, size_t more, oc_error *err) {
    if (p->unit && more <= p->cap - p->n) return OC_OK;
    size_t want, cap, bytes;
    uint16_t *u = NULL;
    bool fits = !__builtin_add_overflow(p->n, more, &want) && oc_mul_size(want + 1, 2, &cap);
    if (fits && oc_mul_size(cap, sizeof *u, &bytes)) u = oc_realloc(p->unit, p->cap * sizeof *u, bytes);
    if (!u) return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu bytes of captions", more);
    p->unit = u;
    p->cap = cap;
    return OC_OK;
}

/* Adds text[len] to p->unit. One unit per byte is always enough. */
static oc_status decode(oc_ptb *p, const char *text, size_t len, oc_error *err) {
    OC_TRY(reserve(p, len, err));
    uint16_t *u = p->unit + p->n;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c = (unsigned char)text[i];
        utf8proc_ssize_t used = 1;
        if (c >= 0x80) {
            used = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
            if (used < 1) used = 1, c = 0xfffd;
        }
        i += (size_t)used;
        if (c >= 0x10000) {
            *u++ = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            *u++ = (uint16_t)(0xdc00 + ((c - 0x10000) & 0x3ff));
        } else
            *u++ = (uint16_t)c;
    }
    p->n = (size_t)(u - p->unit);
    return OC_OK;
}

static void put_char(oc_strbuf *b, unsigned c) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, bytes);
    oc_strbuf_add(b, bytes, (size_t)OC_MAX(n, 0));
}

/* Whether a letter that has a case stands before (step -1) or after (1) position i of its word. */
static bool cased_beside(const uint16_t *t, size_t i, size_t n, int step) {
    for (i += (size_t)step; i < n; i += (size_t)step) { /* before the first one i wraps around */
        utf8proc_category_t k = utf8proc_category(t[i]);
        if (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LT) return true;
        if (k == UTF8PROC_CATEGORY_CN || k > UTF8PROC_CATEGORY_ME) return false; /* no letter, no mark */
    }
    return false;
}

/* Java's String.toLowerCase: simple mappings, but for dotted I and for a capital sigma at the end of a word.
 */
static void put_lower(oc_strbuf *b, const uint16_t *t, size_t i, size_t n) {
    uint16_t c = t[i];
    if (c < 0x80)
        oc_strbuf_putc(b, (char)(c >= 'A' && c <= 'Z' ? c | 32 : c));
    else if (c == 0x130)
        oc_strbuf_puts(b, "i\u0307");
    else if (c == 0x3a3)
        put_char(b, cased_beside(t, i, n, -1) && !cased_beside(t, i, n, 1) ? 0x3c2 : 0x3c3);
    else
        put_char(b, (unsigned)utf8proc_tolower(c));
}

/* One surrogate, or a pair of them as one character. Returns how many units it took. */
static size_t put_surrogates(oc_strbuf *b, const uint16_t *t, size_t n) {
    if (n < 2 || t[0] >= 0xdc00 || t[1] < 0xdc00 || t[1] > 0xdfff) {
        oc_strbuf_putc(b, '?'); /* half a character: the scanner split a pair */
        return 1;
    }
    put_char(b, (unsigned)utf8proc_tolower(0x10000 + ((t[0] - 0xd800) << 10) + (t[1] - 0xdc00)));
    return 2;
}

/* 2. What a match becomes -------------------------------------------------------------------------------- */

static const char *bracket_name(uint16_t c) {
    switch (c) {
    case '(':
        return "-lrb-";
    case ')':
        return "-rrb-";
    case '[':
        return "-lsb-";
    case ']':
        return "-rsb-";
    case '{':
        return "-lcb-";
    case '}':
        return "-rcb-";
    default:
        return NULL;
    }
}

/* The ASCII form of a quote, or NULL. */
static const char *quote_name(uint16_t c, bool opens) {
    switch (c) {
    case '\'':
        return opens ? "`" : "'";
    case '"':
        return opens ? "``" : "''";
    case 0x91:
    case 0x2018:
    case 0x201b:
    case 0x2039:
        return "`";
    case 0x92:
    case 0x2019:
    case 0x203a:
        return "'";
    case 0x93:
    case 0xab:
    case 0x201c:
        return "``";
    case 0x94:
    case 0xbb:
    case 0x201d:
        return "''";
    default:
        return NULL;
    }
}

static const char *currency_name(uint16_t c) {
    if (c == 0xa2) return "cents";
    if (c == 0xa3) return "#";
    return c == 0x80 || c == 0xa4 || c == 0x20a0 || c == 0x20ac ? "$" : NULL;
}

static const char *fraction_name(uint16_t c) {
    switch (c) {
    case 0xbc:
        return "1/4";
    case 0xbd:
        return "1/2";
    case 0xbe:
        return "3/4";
    case 0x2153:
        return "1/3";
    case 0x2154:
        return "2/3";
    default:
        return NULL;
    }
}

/* Letters of t match either case; ascii is lower case. */
static bool has_prefix(const uint16_t *t, size_t n, const char *ascii) {
    size_t k = strlen(ascii);
    if (n < k) return false;
    for (size_t i = 0; i < k; i++) {
        unsigned c = t[i] >= 'A' && t[i] <= 'Z' ? t[i] | 32u : t[i];
        if (c != (unsigned char)ascii[i]) return false;
    }
    return true;
}

/* If t[n] starts with an HTML entity: the character, and how many units it takes. */
static const char *entity_name(const uint16_t *t, size_t n, ptb_action action, size_t *used) {
    static const struct { const char *entity, *text; } list[] = {{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}};
    if (t[0] != '&') return NULL;
    for (size_t i = 0; action == PTB_ENTITY && i < OC_COUNT(list); i++)
        if (has_prefix(t, n, list[i].entity)) return *used = strlen(list[i].entity), list[i].text;
    if (action != PTB_QUOTE && action != PTB_OPEN) return NULL;
    if (has_prefix(t, n, "&apos;")) return *used = 6, quote_name('\'', action == PTB_OPEN);
    if (has_prefix(t, n, "&quot;")) return *used = 6, quote_name('"', action == PTB_OPEN);
    return NULL;
}

/* What the token says for t[0] (and *used units in all) instead of the character itself, or NULL. */
static const char *replacement(const uint16_t *t, size_t n, ptb_action action, size_t *used) {
    *used = 1;
    switch (action) {
    case PTB_ENTITY:
        return entity_name(t, n, action, used);
    case PTB_QUOTE:
    case PTB_OPEN: {
        const char *name = quote_name(t[0], action == PTB_OPEN);
        return name ? name : entity_name(t, n, action, used);
    }
    case PTB_PARENS:
        return t[0] == '(' || t[0] == ')' ? bracket_name(t[0]) : NULL;
    case PTB_BRACKET:
        return bracket_name(t[0]);
    case PTB_CURRENCY:
        return currency_name(t[0]);
    case PTB_FRACTION:
        return fraction_name(t[0]);
    default:
        return NULL;
    }
}

/* What most tokens are: visible ASCII. Puts nothing and returns false for another text. */
static bool put_ascii(oc_strbuf *b, const uint16_t *t, size_t n) {
    char text[32];
    if (n > sizeof text) return false;
    for (size_t i = 0; i < n; i++) {
        if (t[i] <= ' ' || t[i] >= 0x7f) return false;
        text[i] = (char)(t[i] >= 'A' && t[i] <= 'Z' ? t[i] | 32 : t[i]);
    }
    oc_strbuf_add(b, text, n);
    return true;
}

/* The token that a match of n units gives, in p->token, in lower case. */
static void make_token(oc_ptb *p, const uint16_t *t, size_t n, ptb_action action) {
    oc_strbuf *b = &p->token;
    oc_strbuf_clear(b);
    if (action == PTB_DOTS)
        oc_strbuf_puts(b, "...");
    else if (action == PTB_DASH && (t[0] != '-' || n == 3 || n == 4))
        oc_strbuf_puts(b, "--");
    else if (action != PTB_TEXT || !put_ascii(b, t, n))
        for (size_t i = 0, used; i < n; i += used) {
            const char *text = replacement(t + i, n - i, action, &used);
            if (text)
                oc_strbuf_puts(b, text);
            else if (t[i] == 0xad && action != PTB_RAW)
                continue; /* a soft hyphen */
            else if (t[i] == ' ')
                oc_strbuf_puts(b, "\u00a0");
            else if (t[i] >= 0xd800 && t[i] <= 0xdfff)
                used = put_surrogates(b, t + i, n - i);
            else
                put_lower(b, t, i, n);
        }
    if (b->len == 0) oc_strbuf_putc(b, '-'); /* nothing but soft hyphens */
}

/* 3. Public ---------------------------------------------------------------------------------------------- */

static bool is_punctuation(const char *s, size_t n) {
    static const char *const marks[] = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"};
    if (n > 3 || (s[0] | 32) >= 'a') return false; /* no letter begins one; the backquote is below them */
    for (size_t i = 0; i < OC_COUNT(marks); i++)
        if (strlen(marks[i]) == n && !memcmp(marks[i], s, n)) return true;
    return false;
}

/* Tokens of p->unit to out. With `end`, for captions: punctuation is left out, and a line end stores where
 * the line's tokens end instead of ending a line. */
static oc_status scan(oc_ptb *p, oc_strbuf *out, size_t *end, oc_error *err) {
    bool first = true;
    for (size_t i = 0; i < p->n;) {
        const uint16_t *t = p->unit + i;
        int rule;
        size_t len;
        OC_TRY(oc_lexer_match(p->lexer, t, OC_MIN(p->n - i, (size_t)MAX_TOKEN), &rule, &len, err));
        i += rule < 0 ? 1 : len;
        if (rule < 0) continue; /* in no rule: emoji, control characters, unassigned code points */
        ptb_action action = (ptb_action)oc_ptb_rules[rule].action;
        if (action == PTB_SKIP) continue;
        if (action == PTB_NEWLINE) {
            if (end)
                *end++ = out->len;
            else
                oc_strbuf_putc(out, '\n');
            first = true;
            continue;
        }
        if (action == PTB_PERIOD || action == PTB_INITIAL) i--;
        if (action == PTB_INITIAL && len == 2) len = 1;
        make_token(p, t, len, action);
        if (p->token.failed) break;
        if (end && is_punctuation(p->token.data, p->token.len)) continue;
        if (!first) oc_strbuf_putc(out, ' ');
        oc_strbuf_add(out, p->token.data, p->token.len);
        first = false;
    }
    if (end) *end = out->len;
    if (out->failed || p->token.failed) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the tokens of captions");
    return OC_OK;
}

oc_status oc_ptb_tokenize(oc_ptb *p, const char *text, size_t len, oc_strbuf *out, oc_error *err) {
    p->n = 0;
    OC_TRY(decode(p, text, len, err));
    return scan(p, out, NULL, err);
}

static bool is_line_end(uint16_t c) { return (c >= 0xa && c <= 0xd) || c == 0x85 || c == 0x2028 || c == 0x2029; }

oc_status oc_ptb_captions(oc_ptb *p, const char *const *captions, size_t n, oc_strbuf *out, size_t *end,
                          oc_error *err) {
    p->n = 0;
    for (size_t i = 0; i < n; i++) {
        size_t from = p->n;
        OC_TRY(decode(p, captions[i], strlen(captions[i]), err));
        for (size_t k = from; k < p->n; k++)
            if (is_line_end(p->unit[k])) p->unit[k] = ' ';
        if (i + 1 == n) break;
        OC_TRY(reserve(p, 1, err));
        p->unit[p->n++] = '\n';
    }
    return n > 0 ? scan(p, out, end, err) : OC_OK;
}
