#include "data/tokenizer_text.h"

#include <string.h>
#include <utf8proc.h>

typedef struct range {
    int32_t first, last;
} range;

/* --- UTF-8
 * -------------------------------------------------------------------------------------------------------- */

/* The second byte's bounds keep out overlong forms (e0, f0), surrogates (ed) and what lies above U+10FFFF (f4). */
int oc_utf8_next(const uint8_t *p, size_t n, int32_t *cp) {
    uint8_t c = p[0];
    if (c < 0x80) return *cp = c, 1;
    if (c < 0xc2 || c > 0xf4) return -1;
    int want = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    uint8_t lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    int32_t v = c & (0x7f >> want);
    for (int i = 1; i < want; i++) {
        if ((size_t)i >= n) return 0;
        if (p[i] < lo || p[i] > hi) return -i;
        v = v << 6 | (p[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = v;
    return want;
}

size_t oc_utf8_repair(const uint8_t *p, size_t n, bool final, oc_strbuf *out) {
    size_t i = 0, good = 0; /* p[good..i) is valid and not yet written */
    while (i < n) {
        int32_t cp;
        int k = oc_utf8_next(p + i, n - i, &cp);
        if (k > 0) {
            i += (size_t)k;
            continue;
        }
        oc_strbuf_add(out, p + good, i - good);
        good = i;
        if (k == 0 && !final) return i;
        oc_strbuf_puts(out, "\xef\xbf\xbd");
        good = i = k == 0 ? n : i + (size_t)-k;
    }
    oc_strbuf_add(out, p + good, i - good);
    return n;
}

oc_text_kind oc_text_look(const char *text, size_t len) {
    const uint8_t *p = (const uint8_t *)text;
    oc_text_kind kind = {.valid = true, .ascii = true};
    for (size_t i = 0; i < len;) {
        uint64_t eight;
        if (i + 8 <= len && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        int32_t cp;
        int k = oc_utf8_next(p + i, len - i, &cp);
        if (k <= 0) return kind.valid = kind.ascii = false, kind;
        if (k > 1) kind.ascii = false;
        i += (size_t)k;
    }
    return kind;
}

static bool in_ranges(const range *table, size_t n, int32_t cp) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > table[mid].last) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && cp >= table[lo].first;
}

/* --- NFC
 * ---------------------------------------------------------------------------------------------------------- */

/* The `tokenizers` library normalizes with the tables of Unicode 9 (version 0.23; found by comparing all
 * characters). To it, later characters have combining class 0 and neither compose nor decompose, so they stand
 * between their neighbours like a letter. These are the ones up to Unicode 16 for which that makes a difference;
 * utf8proc, whatever its version, gets the text on either side of them but never these. */
static const range later_marks[] = {
    {0x7fd, 0x7fd}, {0x897, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xc3c, 0xc3c}, {0xd3b, 0xd3c},
    {0xeba, 0xeba}, {0x1715, 0x1715}, {0x1abf, 0x1ace}, {0x1df6, 0x1dfa}, {0xa82c, 0xa82c},
    {0x105c0, 0x105f3}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac}, {0x10efc, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11380, 0x113e2},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x1611e, 0x1612f}, {0x16d40, 0x16d6c},
    {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};

/* How a character behaves in normalization. */
typedef enum {
    STABLE, /* never changes, and starts anew: what follows it composes at most with it */
    OPAQUE, /* as STABLE, and composes with nothing */
    MOVING  /* may decompose, be reordered, or compose with what stands before it */
} nfc_kind;

/* All second halves of compositions are marks (M*), save for the Hangul vowels and final consonants. */
static nfc_kind nfc_kind_of(int32_t cp) {
    if (cp < 0x300) return STABLE;
    if (cp >= 0x3400 && cp < 0xa000) return STABLE;  /* CJK ideographs */
    if (cp >= 0xac00 && cp < 0xd7a4) return STABLE;  /* composed Hangul */
    if (cp == 0x11a7)
        return OPAQUE; /* one below the final consonants; utf8proc 2.8 takes it for one and drops it */
    if (cp >= 0x1100 && cp < 0x1200) return MOVING;  /* Hangul letters */
    if (in_ranges(later_marks, OC_COUNT(later_marks), cp)) return OPAQUE;
    const utf8proc_property_t *prop = utf8proc_get_property(cp);
    if (prop->decomp_seqindex != UINT16_MAX || prop->combining_class != 0) return MOVING;
    return prop->category == UTF8PROC_CATEGORY_MN || prop->category == UTF8PROC_CATEGORY_MC ? MOVING : STABLE;
}

static int combining_class(int32_t cp) { return (int)utf8proc_get_property(cp)->combining_class; }

/* Sorts p[n], marks between two starters, by combining class; equal ones keep their order. Counting, because a text
 * may consist of a million marks. */
static bool sort_marks(int32_t *p, size_t n) {
    size_t at[256] = {0};
    int32_t *copy = oc_alloc(n * sizeof *copy);
    if (!copy) return false;
    memcpy(copy, p, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) at[combining_class(p[i])]++;
    for (size_t c = 0, sum = 0; c < 256; c++) {
        size_t count = at[c];
        at[c] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) p[at[combining_class(copy[i])]++] = copy[i];
    oc_free(copy);
    return true;
}

static bool reorder(int32_t *p, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t first = i;
        bool sorted = true;
        int before = 0;
        for (int c; i < n && (c = combining_class(p[i])) != 0; i++) {
            if (c < before) sorted = false;
            before = c;
        }
        if (!sorted && !sort_marks(p + first, i - first)) return false;
        if (i == first) i++;
    }
    return true;
}

/* Appends the normal form of a stretch that begins with a starter or at the text's beginning. utf8proc's own
 * one-call function sorts marks in quadratic time, hence the steps. */
static bool normalize_stretch(const char *text, size_t len, oc_strbuf *out) {
    size_t room = 2 * len + 4,
           n = 0; /* a character beyond ASCII has 2 bytes or more and decomposes into at most 4 */
    int32_t *cps = oc_alloc(room * sizeof *cps);
    if (!cps) return false;
    for (size_t i = 0; i < len;) {
        int32_t cp;
        i += (size_t)oc_utf8_next((const uint8_t *)text + i, len - i, &cp);
        utf8proc_ssize_t k =
            utf8proc_decompose_char(cp, cps + n, (utf8proc_ssize_t)(room - n), UTF8PROC_DECOMPOSE, NULL);
        OC_ASSERT(k > 0 && (size_t)k <= room - n);
        n += (size_t)k;
    }
    bool ok = reorder(cps, n);
    if (ok) {
        utf8proc_ssize_t k = utf8proc_normalize_utf32(cps, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        OC_ASSERT(k >= 0);
        for (utf8proc_ssize_t i = 0; i < k; i++) {
            uint8_t c[4];
            oc_strbuf_add(out, c, (size_t)utf8proc_encode_char(cps[i], c));
        }
    }
    oc_free(cps);
    return ok && !out->failed;
}

bool oc_text_nfc(const char **text, size_t *len, oc_strbuf *buf) {
    const char *s = *text;
    size_t n = *len, i = 0, copied = 0;
    size_t base = 0; /* where a stretch begins if the character at i moves: the starter before it */
    oc_strbuf_clear(buf);
    while (i < n) {
        int32_t cp;
        size_t k = (size_t)oc_utf8_next((const uint8_t *)s + i, n - i, &cp);
        nfc_kind kind = nfc_kind_of(cp);
        if (kind != MOVING) {
            base = kind == STABLE ? i : i + k;
            i += k;
            continue;
        }
        size_t end = i + k;
        while (end < n) {
            k = (size_t)oc_utf8_next((const uint8_t *)s + end, n - end, &cp);
            if (nfc_kind_of(cp) != MOVING) break;
            end += k;
        }
        oc_strbuf_add(buf, s + copied, base - copied);
        if (!normalize_stretch(s + base, end - base, buf)) return false;
        copied = i = base = end;
    }
    if (copied == 0) return true;
    oc_strbuf_add(buf, s + copied, n - copied);
    *text = buf->data;
    *len = buf->len;
    return !buf->failed;
}

/* --- Classes of the split pattern
 * --------------------------------------------------------------------------------- */

/* A pattern's \p{L}, \p{N} and \s mean Unicode 16 in the `tokenizers` library (0.23); PCRE2 10.42 has Unicode 14,
 * and counts U+180E as a space. This table lists the differences; for a newer PCRE2 its entries merely change
 * nothing. */
typedef enum { LU, LL, LM, LO, ND, NO, MARK, FORMAT } char_class;

static const struct class_range {
    int32_t first, last;
    char_class is;
} class_ranges[] = {
    {0x897, 0x897, MARK}, {0xcf3, 0xcf3, MARK}, {0xece, 0xece, MARK}, {0x180e, 0x180e, FORMAT},
    {0x1c89, 0x1c89, LU}, {0x1c8a, 0x1c8a, LL}, {0xa7cb, 0xa7cc, LU}, {0xa7cd, 0xa7cd, LL},
    {0xa7da, 0xa7da, LU}, {0xa7db, 0xa7db, LL}, {0xa7dc, 0xa7dc, LU}, {0x105c0, 0x105f3, LO},
    {0x10d40, 0x10d49, ND}, {0x10d4a, 0x10d4d, LO}, {0x10d4e, 0x10d4e, LM}, {0x10d4f, 0x10d4f, LO},
    {0x10d50, 0x10d65, LU}, {0x10d69, 0x10d6d, MARK}, {0x10d6f, 0x10d6f, LM}, {0x10d70, 0x10d85, LL},
    {0x10ec2, 0x10ec4, LO}, {0x10efc, 0x10eff, MARK}, {0x1123f, 0x11240, LO}, {0x11241, 0x11241, MARK},
    {0x11380, 0x11389, LO}, {0x1138b, 0x1138b, LO}, {0x1138e, 0x1138e, LO}, {0x11390, 0x113b5, LO},
    {0x113b7, 0x113b7, LO}, {0x113b8, 0x113c0, MARK}, {0x113c2, 0x113c2, MARK}, {0x113c5, 0x113c5, MARK},
    {0x113c7, 0x113ca, MARK}, {0x113cc, 0x113d0, MARK}, {0x113d1, 0x113d1, LO}, {0x113d2, 0x113d2, MARK},
    {0x113d3, 0x113d3, LO}, {0x113e1, 0x113e2, MARK}, {0x116d0, 0x116e3, ND}, {0x11bc0, 0x11be0, LO},
    {0x11bf0, 0x11bf9, ND}, {0x11f00, 0x11f01, MARK}, {0x11f02, 0x11f02, LO}, {0x11f03, 0x11f03, MARK},
    {0x11f04, 0x11f10, LO}, {0x11f12, 0x11f33, LO}, {0x11f34, 0x11f3a, MARK}, {0x11f3e, 0x11f42, MARK},
    {0x11f50, 0x11f59, ND}, {0x11f5a, 0x11f5a, MARK}, {0x1342f, 0x1342f, LO}, {0x13440, 0x13440, MARK},
    {0x13441, 0x13446, LO}, {0x13447, 0x13455, MARK}, {0x13460, 0x143fa, LO}, {0x16100, 0x1611d, LO},
    {0x1611e, 0x1612f, MARK}, {0x16130, 0x16139, ND}, {0x16d40, 0x16d42, LM}, {0x16d43, 0x16d6a, LO},
    {0x16d6b, 0x16d6c, LM}, {0x16d70, 0x16d79, ND}, {0x18cff, 0x18cff, LO}, {0x1b132, 0x1b132, LO},
    {0x1b155, 0x1b155, LO}, {0x1ccf0, 0x1ccf9, ND}, {0x1d2c0, 0x1d2d3, NO}, {0x1df25, 0x1df2a, LL},
    {0x1e030, 0x1e06d, LM}, {0x1e08f, 0x1e08f, MARK}, {0x1e4d0, 0x1e4ea, LO}, {0x1e4eb, 0x1e4eb, LM},
    {0x1e4ec, 0x1e4ef, MARK}, {0x1e4f0, 0x1e4f9, ND}, {0x1e5d0, 0x1e5ed, LO}, {0x1e5ee, 0x1e5ef, MARK},
    {0x1e5f0, 0x1e5f0, LO}, {0x1e5f1, 0x1e5fa, ND}, {0x2b739, 0x2b739, LO}, {0x2ebf0, 0x2ee5d, LO},
    {0x31350, 0x323af, LO},
};

/* What stands in for a character of each class, by its length in UTF-8. Letters of no case mapping into ASCII. */
static const char *const stand_in[][2] = {
    [LU] = {"\xe2\xb1\xb5", "\xf0\x9d\x90\x80"},     [LL] = {"\xe2\xb1\xb6", "\xf0\x9d\x90\x9a"},
    [LM] = {"\xe3\x80\x85", "\xf0\x96\xbe\x93"},     [LO] = {"\xe3\x90\x80", "\xf0\xa0\x80\x80"},
    [ND] = {"\xe0\xb9\x90", "\xf0\x9d\x9f\x8e"},     [NO] = {"\xe2\x91\xa0", "\xf0\x9f\x84\x80"},
    [MARK] = {"\xe3\x80\xaa", "\xf0\x9d\x85\xa7"},   [FORMAT] = {"\xe2\x80\x8b", "\xf0\x9d\x85\xb3"},
};

static const struct class_range *find_class(int32_t cp) {
    size_t lo = 0, hi = OC_COUNT(class_ranges);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > class_ranges[mid].last) lo = mid + 1;
        else hi = mid;
    }
    return lo < OC_COUNT(class_ranges) && cp >= class_ranges[lo].first ? &class_ranges[lo] : NULL;
}

bool oc_text_for_pattern(const char **text, size_t len, oc_strbuf *buf) {
    const uint8_t *p = (const uint8_t *)*text;
    bool copied = false;
    for (size_t i = 0; i < len; i++) {
        /* The lead bytes of everything in the table. */
        if (p[i] < 0xe0 || (p[i] != 0xe0 && p[i] != 0xe1 && p[i] != 0xea && p[i] < 0xf0)) continue;
        int32_t cp;
        int k = oc_utf8_next(p + i, len - i, &cp);
        const struct class_range *c = find_class(cp);
        if (!c) continue;
        if (!copied) {
            oc_strbuf_clear(buf);
            oc_strbuf_add(buf, *text, len);
            if (buf->failed) return false;
            copied = true;
        }
        memcpy(buf->data + i, stand_in[c->is][k - 3], (size_t)k);
    }
    if (copied) *text = buf->data;
    return true;
}

/* --- Lower case
 * ---------------------------------------------------------------------------------------------------- */

bool oc_text_lower(const char **text, size_t *len, oc_strbuf *buf) {
    const uint8_t *p = (const uint8_t *)*text;
    size_t n = *len;
    oc_strbuf_clear(buf);
    for (size_t i = 0; i < n;) {
        int32_t cp;
        uint8_t c[4];
        int k = oc_utf8_next(p + i, n - i, &cp);
        if (k <= 0) {
            cp = 0xfffd;
            k = k < 0 ? -k : (int)(n - i); /* a character cut off at the end */
        }
        oc_strbuf_add(buf, c, (size_t)utf8proc_encode_char(utf8proc_tolower(cp), c));
        i += (size_t)k;
    }
    *text = buf->data ? buf->data : "";
    *len = buf->len;
    return !buf->failed;
}
