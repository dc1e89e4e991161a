#include "eval/text_stats.h"

#include <string.h>

#include "eval/id_map.h"
#include "eval/ptb.h"

enum { MAX_UNIT = 4, TIMES = 3 };

/* The words of one text as numbers. */
typedef struct words {
    size_t *id;
    size_t n, capacity;
} words;

static oc_status add_word(words *w, oc_id_map *vocabulary, const char *word, size_t len, oc_error *err) {
    char *copy = oc_strndup(word, len);
    size_t id = 0;
    oc_status st = copy ? oc_id_map_add(vocabulary, copy, &id, err) : OC_ERR_NOMEM;
    oc_free(copy);
    if (st == OC_OK && w->n == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 64,
               *p = oc_realloc(w->id, w->n * sizeof *p, capacity * sizeof *p);
        if (!p)
            st = OC_ERR_NOMEM;
        else
            w->id = p, w->capacity = capacity;
    }
    if (st != OC_OK) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the vocabulary");
    w->id[w->n++] = id;
    return OC_OK;
}

static oc_status split(words *w, oc_id_map *vocabulary, const char *tokens, size_t len, oc_error *err) {
    w->n = 0;
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && tokens[i + n] != ' ') n++;
        if (n) OC_TRY(add_word(w, vocabulary, tokens + i, n, err));
        i += n + 1;
    }
    return OC_OK;
}

/* A run of equal units of u words ends where a word differs from the one u places before. */
static bool repeats(const words *w) {
    for (size_t u = 1; u <= MAX_UNIT; u++) {
        size_t equal = 0;
        for (size_t i = u; i < w->n; i++) {
            equal = w->id[i] == w->id[i - u] ? equal + 1 : 0;
            if (equal >= (TIMES - 1) * u) return true;
        }
    }
    return false;
}

/* count[distinct texts] and where each occurs first -> the most frequent ones. */
static void most_frequent(oc_text_stats *s, const size_t *count, const size_t *first, const char *const *text) {
    for (size_t i = 0; i < s->distinct; i++) {
        if (count[i] < 2) continue;
        int at = s->n_frequent;
        while (at > 0 && s->frequent[at - 1].count < count[i]) at--;
        if (at == OC_TEXT_FREQUENT) continue;
        const int last = OC_MIN(s->n_frequent, OC_TEXT_FREQUENT - 1);
        for (int k = last; k > at; k--) s->frequent[k] = s->frequent[k - 1];
        s->frequent[at].text = text[first[i]];
        s->frequent[at].count = count[i];
        s->n_frequent = last + 1;
    }
}

static oc_status count_text(oc_text_stats *s, const words *w, oc_id_map *texts, const char *tokens, size_t len,
                            size_t *count, size_t *first, size_t k, oc_error *err) {
    size_t id;
    char *copy = oc_strndup(tokens, len);
    if (!copy) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the vocabulary");
    oc_status st = oc_id_map_add(texts, copy, &id, err);
    oc_free(copy);
    if (st != OC_OK) return st;
    if (count[id]++ == 0) first[id] = k;
    s->texts++;
    s->words += w->n;
    s->length[OC_MIN(w->n, (size_t)OC_TEXT_LENGTHS - 1)]++;
    s->longest = OC_MAX(s->longest, w->n);
    return OC_OK;
}

oc_status oc_text_stats_compute(oc_text_stats *s, bool *repeated, const char *const *text, size_t n, oc_error *err) {
    oc_ptb *ptb = NULL;
    oc_strbuf joined = {.max = SIZE_MAX / 2};
    oc_id_map vocabulary = {0}, texts = {0};
    words w = {0};
    size_t *end = oc_calloc(n + 1, sizeof *end), *count = oc_calloc(n + 1, sizeof *count),
           *first = oc_calloc(n + 1, sizeof *first);
    memset(s, 0, sizeof *s);
    oc_status st = OC_OK;
    if (!end || !count || !first) OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu texts", n));
    OC_GO(oc_ptb_open(&ptb, err));
    OC_GO(oc_ptb_captions(ptb, text, n, &joined, end, err));
    for (size_t k = 0, from = 0; k < n; from = end[k++]) {
        const char *tokens = joined.data ? joined.data + from : "";
        OC_GO(split(&w, &vocabulary, tokens, end[k] - from, err));
        OC_GO(count_text(s, &w, &texts, tokens, end[k] - from, count, first, k, err));
        if (repeated) repeated[k] = repeats(&w);
    }
    s->vocabulary = vocabulary.n;
    s->distinct = texts.n;
    most_frequent(s, count, first, text);
done:
    oc_ptb_close(ptb);
    oc_strbuf_free(&joined);
    oc_id_map_free(&vocabulary);
    oc_id_map_free(&texts);
    oc_free(w.id);
    oc_free(end);
    oc_free(count);
    oc_free(first);
    return st;
}
