#include <string.h>
#include <utf8proc.h>

#include "eval/vqa.h"

static bool is_space(char c) { return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* One character of text in lower case; bytes that are not UTF-8 as they are. Returns how many bytes it read.
 */
static size_t put_lower(const char *text, oc_strbuf *out) {
    unsigned char c = (unsigned char)*text;
    if (c < 0x80) {
        oc_strbuf_putc(out, (char)(c >= 'A' && c <= 'Z' ? c | 32 : c));
        return 1;
    }
    utf8proc_int32_t u;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)strlen(text), &u);
    if (n < 1) {
        oc_strbuf_putc(out, (char)c);
        return 1;
    }
    utf8proc_uint8_t bytes[4];
    oc_strbuf_add(out, bytes, (size_t)utf8proc_encode_char(utf8proc_tolower(u), bytes));
    return (size_t)n;
}

static bool is_word(const char *s, size_t n, const char *word) {
    return strlen(word) == n && !memcmp(s, word, n);
}
static bool is_article(const char *s, size_t n) {
    return is_word(s, n, "a") || is_word(s, n, "an") || is_word(s, n, "the");
}

/* The next word at *s, of *n bytes; false at the end. */
static bool next_word(const char **s, size_t *n) {
    while (is_space(**s)) ++*s;
    for (*n = 0; (*s)[*n] && !is_space((*s)[*n]);) ++*n;
    return *n > 0;
}

/* --- vqaEval.py -------------------------------------------------------------------------------------- */

/* A mark with a blank beside it, anywhere in the text, is deleted everywhere, else it becomes a blank; but a
 * comma between digits has all marks deleted. Then full stops go that no digit follows, of which the official
 * code, by a slip, deletes the first 32 (re.UNICODE in the place of a count). */
static void put_without_punctuation(const char *text, oc_strbuf *out) {
    static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
    enum { MAX_STOPS = 32 };
    bool delete_all = false, deletes[256] = {false};
    for (const char *s = text; *s; s++)
        if (s > text && *s == ',' && is_digit(s[-1]) && is_digit(s[1])) delete_all = true;
    for (const char *s = text; *s; s++)
        if (s[1] == ' ' || (s > text && s[-1] == ' ')) deletes[(unsigned char)*s] = true;

    /* What the marks leave decides which digit follows a full stop: "1. ,5" */
    oc_strbuf t = {0};
    for (const char *s = text; *s; s++) {
        if (!strchr(marks, *s))
            oc_strbuf_putc(&t, *s);
        else if (!delete_all && !deletes[(unsigned char)*s])
            oc_strbuf_putc(&t, ' ');
    }
    int stops = 0;
    for (size_t i = 0; i < t.len; i++) {
        bool drop = t.data[i] == '.' && !is_digit(t.data[i + 1]) && stops < MAX_STOPS;
        if (drop)
            stops++;
        else
            oc_strbuf_putc(out, t.data[i]);
    }
    if (t.failed) out->failed = true;
    oc_strbuf_free(&t);
}

static const char *number_word(const char *s, size_t n) {
    static const char *const words[][2] = {{"none", "0"},  {"zero", "0"},  {"one", "1"},  {"two", "2"},
                                           {"three", "3"}, {"four", "4"},  {"five", "5"}, {"six", "6"},
                                           {"seven", "7"}, {"eight", "8"}, {"nine", "9"}, {"ten", "10"}};
    for (size_t i = 0; i < OC_COUNT(words); i++)
        if (is_word(s, n, words[i][0])) return words[i][1];
    return NULL;
}

/* A word that is one of these with one apostrophe missing gets it back: "couldntve" does not, "couldnt've"
 * does. */
static const char contractions[] =
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't "
    "he'd he'd've "
    "he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't "
    "not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll "
    "somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's "
    "there'd "
    "there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't "
    "what'll "
    "what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're "
    "why's won't "
    "would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've ";

/* Whether s[n] is c[n + 1] without one of its apostrophes. */
static bool lacks_apostrophe(const char *s, size_t n, const char *c) {
    size_t i = 0;
    while (i < n && s[i] == c[i]) i++;
    /* The missing one may stand before equal characters only if those are apostrophes too, which no word has.
     */
    return c[i] == '\'' && !memcmp(s + i, c + i + 1, n - i);
}

static void put_contraction(const char *s, size_t n, oc_strbuf *out) {
    if (is_word(s, n, "somebody'd")) { /* as the official table has it */
        oc_strbuf_puts(out, "somebodyd");
        return;
    }
    for (const char *c = contractions; *c;) {
        size_t k = strcspn(c, " ");
        if (k == n + 1 && lacks_apostrophe(s, n, c)) {
            oc_strbuf_add(out, c, k);
            return;
        }
        c += k + 1;
    }
    oc_strbuf_add(out, s, n);
}

void oc_vqa_trim(const char *text, oc_strbuf *out) {
    while (is_space(*text)) text++;
    size_t n = strlen(text);
    while (n > 0 && is_space(text[n - 1])) n--;
    for (size_t i = 0; i < n; i++) oc_strbuf_putc(out, text[i] == '\n' || text[i] == '\t' ? ' ' : text[i]);
}

void oc_vqa_official(const char *text, oc_strbuf *out) {
    oc_strbuf a = {0}, b = {0};
    oc_vqa_trim(text, &a);
    put_without_punctuation(a.data ? a.data : "", &b);
    oc_strbuf_clear(&a);
    for (const char *s = b.data ? b.data : ""; *s;) s += put_lower(s, &a);

    bool first = true;
    size_t n;
    for (const char *s = a.data ? a.data : ""; next_word(&s, &n); s += n) {
        const char *number = number_word(s, n);
        if (!number && is_article(s, n)) continue;
        if (!first) oc_strbuf_putc(out, ' ');
        if (number)
            oc_strbuf_puts(out, number);
        else
            put_contraction(s, n, out);
        first = false;
    }
    if (a.failed || b.failed) out->failed = true;
    oc_strbuf_free(&a);
    oc_strbuf_free(&b);
}

/* --- Ours and PathVQA's ------------------------------------------------------------------------------ */

/* ASCII punctuation is deleted, as SQuAD's evaluation does ("t-shirt" is "tshirt"), general punctuation as
 * well. */
void oc_vqa_normalize(const char *text, oc_strbuf *out) {
    oc_strbuf t = {0};
    for (const char *s = text; *s;) {
        bool ascii_mark = (*s >= '!' && *s <= '/') || (*s >= ':' && *s <= '@') || (*s >= '[' && *s <= '`') ||
                          (*s >= '{' && *s <= '~');
        bool quote_or_dash =
            s[0] == '\xe2' && s[1] == '\x80' && s[2] >= '\x90' && s[2] <= '\xa7'; /* U+2010 to 2027 */
        if (ascii_mark)
            s++;
        else if (quote_or_dash)
            s += 3;
        else
            s += put_lower(s, &t);
    }
    bool first = true;
    size_t n;
    for (const char *s = t.data ? t.data : ""; next_word(&s, &n); s += n) {
        if (is_article(s, n)) continue;
        if (!first) oc_strbuf_putc(out, ' ');
        oc_strbuf_add(out, s, n);
        first = false;
    }
    if (t.failed) out->failed = true;
    oc_strbuf_free(&t);
}

void oc_vqa_pathvqa(const char *text, oc_strbuf *out) {
    bool first = true, in_word = false;
    for (const char *s = text; *s; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
        if (letter) {
            if (!in_word && !first) oc_strbuf_putc(out, ' ');
            oc_strbuf_putc(out, (char)(*s | 32));
            first = false;
            in_word = true;
        } else if (*s == ' ')
            in_word = false;
    }
}
