#include "eval/ngram.h"

#include <string.h>
#include <utf8proc.h>

/* 1. Ids ------------------------------------------------------------------------------------------------- */

/* Words: open addressing over their bytes. N-grams: a longer one is (id of its first n-1 words, last word),
 * so that equal n-grams have equal ids without comparing text. Both tables keep at least half of their slots
 * free. Most n-grams of captions are followed by one word only, ever: an id's first continuation stands beside
 * it, and the table has the others. */
typedef struct {
    size_t text; /* offset in g->text */
    uint32_t len, id_plus_1;
    uint64_t hash;
} word_slot;

typedef struct {
    uint64_t key;                /* in the table: id of the first words << 32 | last word's id; otherwise NO_KEY */
    uint32_t next_plus_1, first; /* the word that followed first, and the id of the n-gram that it makes */
} gram;

#define NO_KEY UINT64_MAX
enum { MIN_SLOTS = 1 << 12, MAX_FIRST_SLOTS = 1 << 22 };

/* Ids of sentences, in blocks that are never moved. */
typedef struct block {
    struct block *before;
    size_t n, cap;
    uint32_t id[];
} block;

struct oc_ngrams {
    oc_strbuf text;
    word_slot *words;
    uint32_t *table; /* [table_slots]: id + 1, 0: free */
    gram *gram;      /* [cap_ids] by id */
    size_t word_slots, n_words, table_slots, n_grams, cap_ids;
    size_t n_in_table; /* n-grams that are not the first continuation of what they begin with */
    block *sentences;  /* the last block; NULL before the first sentence */
};

static oc_status no_memory(oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for the n-grams of captions");
}

static uint64_t mix(uint64_t h) { /* the finalizer of MurmurHash3 */
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static uint64_t key_of(uint32_t prefix, uint32_t word) { return (uint64_t)prefix << 32 | word; }

static uint64_t hash_bytes(const char *s, size_t n) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return mix(h);
}

static void drop_block(oc_ngrams *g) {
    block *b = g->sentences;
    g->sentences = b->before;
    oc_free(b);
}

/* Room for n ids until the sentences are forgotten. */
static oc_status sentence_ids(oc_ngrams *g, size_t n, uint32_t **ids, oc_error *err) {
    enum { USUAL = 1 << 16 };
    block *b = g->sentences;
    if (!b || b->cap - b->n < n) {
        const size_t cap = OC_MAX(n, (size_t)USUAL);
        if (cap > (SIZE_MAX / 2 - sizeof *b) / sizeof *b->id) return no_memory(err);
        if (!(b = oc_alloc(sizeof *b + cap * sizeof *b->id))) return no_memory(err);
        *b = (block){.before = g->sentences, .cap = cap};
        g->sentences = b;
    }
    *ids = b->id + b->n;
    b->n += n;
    return OC_OK;
}

void oc_ngrams_forget_sentences(oc_ngrams *g) {
    while (g->sentences && g->sentences->before) drop_block(g);
    if (g->sentences) g->sentences->n = 0;
}

oc_status oc_ngrams_open(oc_ngrams **out, size_t words, oc_error *err) {
    oc_ngrams *g = *out = oc_calloc(1, sizeof *g);
    if (!g) return no_memory(err);
    g->text.max = SIZE_MAX / 2;
    g->word_slots = g->table_slots = MIN_SLOTS;
    while (g->table_slots < MAX_FIRST_SLOTS && g->table_slots / 2 < words) g->table_slots *= 2;
    g->cap_ids = g->table_slots;
    g->gram = oc_alloc(g->cap_ids * sizeof *g->gram);
    g->words = oc_calloc(g->word_slots, sizeof *g->words);
    g->table = oc_calloc(g->table_slots, sizeof *g->table);
    if (g->words && g->table && g->gram) return OC_OK;
    oc_ngrams_close(g);
    *out = NULL;
    return no_memory(err);
}

void oc_ngrams_close(oc_ngrams *g) {
    if (!g) return;
    while (g->sentences) drop_block(g);
    oc_strbuf_free(&g->text);
    oc_free(g->words);
    oc_free(g->table);
    oc_free(g->gram);
    oc_free(g);
}

size_t oc_ngrams_count(const oc_ngrams *g) { return g->n_words + g->n_grams; }

static oc_status grow_words(oc_ngrams *g, oc_error *err) {
    size_t n = g->word_slots * 2;
    word_slot *to = oc_calloc(n, sizeof *to);
    if (!to) return no_memory(err);
    for (size_t i = 0; i < g->word_slots; i++) {
        if (!g->words[i].id_plus_1) continue;
        size_t h = g->words[i].hash & (n - 1);
        while (to[h].id_plus_1) h = (h + 1) & (n - 1);
        to[h] = g->words[i];
    }
    oc_free(g->words);
    g->words = to;
    g->word_slots = n;
    return OC_OK;
}

static oc_status grow_table(oc_ngrams *g, oc_error *err) {
    size_t n = g->table_slots * 2;
    uint32_t *to = oc_calloc(n, sizeof *to);
    if (!to) return no_memory(err);
    for (size_t id = 0; id < oc_ngrams_count(g); id++) {
        if (g->gram[id].key == NO_KEY) continue;
        size_t h = mix(g->gram[id].key) & (n - 1);
        while (to[h]) h = (h + 1) & (n - 1);
        to[h] = (uint32_t)id + 1;
    }
    oc_free(g->table);
    g->table = to;
    g->table_slots = n;
    return OC_OK;
}

/* The next id, for key; 32 bits hold them, which is checked, since a file that is large enough can be written. */
static oc_status new_id(oc_ngrams *g, uint64_t key, uint32_t *id, oc_error *err) {
    const size_t n = oc_ngrams_count(g);
    if (n >= UINT32_MAX - 1)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "more than 4 billion distinct n-grams; score the captions in parts");
    if (n == g->cap_ids) {
        const size_t cap = n * 2;
        gram *p = oc_realloc(g->gram, n * sizeof *p, cap * sizeof *p);
        if (!p) return no_memory(err);
        g->gram = p;
        g->cap_ids = cap;
    }
    g->gram[n] = (gram){.key = key};
    *id = (uint32_t)n;
    return OC_OK;
}

static oc_status word_id(oc_ngrams *g, const char *s, size_t n, uint32_t *id, oc_error *err) {
    uint64_t hash = hash_bytes(s, n);
    size_t h = hash & (g->word_slots - 1);
    for (; g->words[h].id_plus_1; h = (h + 1) & (g->word_slots - 1)) {
        const word_slot *w = &g->words[h];
        if (w->hash != hash || w->len != n || memcmp(g->text.data + w->text, s, n) != 0) continue;
        *id = w->id_plus_1 - 1;
        return OC_OK;
    }
    OC_TRY(new_id(g, NO_KEY, id, err));
    if (n > UINT32_MAX) return no_memory(err);
    g->words[h] = (word_slot){g->text.len, (uint32_t)n, *id + 1, hash};
    g->n_words++;
    oc_strbuf_add(&g->text, s, n);
    if (g->text.failed) return no_memory(err);
    return g->n_words * 2 > g->word_slots ? grow_words(g, err) : OC_OK;
}

static oc_status gram_id(oc_ngrams *g, uint32_t prefix, uint32_t word, uint32_t *id, oc_error *err) {
    const gram *before = &g->gram[prefix];
    if (before->next_plus_1 == word + 1) {
        *id = before->first;
        return OC_OK;
    }
    const bool first = before->next_plus_1 == 0;
    const uint64_t key = key_of(prefix, word);
    size_t h = mix(key) & (g->table_slots - 1);
    for (; !first && g->table[h]; h = (h + 1) & (g->table_slots - 1)) {
        if (g->gram[g->table[h] - 1].key != key) continue;
        *id = g->table[h] - 1;
        return OC_OK;
    }
    OC_TRY(new_id(g, first ? NO_KEY : key, id, err));
    g->n_grams++;
    if (first) {
        g->gram[prefix].next_plus_1 = word + 1;
        g->gram[prefix].first = *id;
        return OC_OK;
    }
    g->table[h] = *id + 1;
    g->n_in_table++;
    return g->n_in_table * 2 > g->table_slots ? grow_table(g, err) : OC_OK;
}

/* 2. Sentences ------------------------------------------------------------------------------------------- */

/* The white space of Python's str.split() at s[n]: how many bytes, 0 for none. */
static size_t space_at(const char *s, size_t n) {
    unsigned char c = (unsigned char)s[0];
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    if (c != 0xc2 && c != 0xe1 && c != 0xe2 && c != 0xe3) return 0; /* first bytes of the ones below */
    utf8proc_int32_t u;
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &u);
    if (used < 1) return 0;
    bool is = u == 0x85 || u == 0xa0 || u == 0x1680 || (u >= 0x2000 && u <= 0x200a) || u == 0x2028 || u == 0x2029 ||
              u == 0x202f || u == 0x205f || u == 0x3000;
    return is ? (size_t)used : 0;
}

/* Calls word_id for the words of text; only counts when id is NULL. */
static oc_status split_words(oc_ngrams *g, const char *text, size_t len, uint32_t *id, size_t *n, oc_error *err) {
    *n = 0;
    for (size_t i = 0, space; i < len;) {
        if ((space = space_at(text + i, len - i)) > 0) {
            i += space;
            continue;
        }
        size_t from = i;
        while (i < len && space_at(text + i, len - i) == 0) i++;
        if (id) OC_TRY(word_id(g, text + from, i - from, &id[*n], err));
        ++*n;
    }
    return OC_OK;
}

static oc_status split_pieces(oc_ngrams *g, const char *text, size_t len, uint32_t *id, size_t *n, oc_error *err) {
    *n = 0;
    for (size_t from = 0, i = 0; i <= len; i++) {
        if (i < len && text[i] != ' ') continue;
        if (id) OC_TRY(word_id(g, text + from, i - from, &id[*n], err));
        ++*n;
        from = i + 1;
    }
    return OC_OK;
}

/* How many words a text has in which words and pieces are the same: single blanks between, and nothing else that could be
 * white space. 0 for another text. */
static size_t plain_words(const char *text, size_t len) {
    size_t n = 1;
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c >= 0x80) return 0;
        if (c != ' ') continue;
        if (i == 0 || i + 1 == len || text[i - 1] == ' ') return 0;
        n++;
    }
    return len > 0 ? n : 0;
}

oc_status oc_sentence_make(oc_sentence *s, oc_ngrams *g, const char *text, size_t len, oc_error *err) {
    *s = (oc_sentence){0};
    s->n = s->n_pieces = plain_words(text, len);
    const bool plain = s->n > 0;
    if (!plain) OC_TRY(split_words(g, text, len, NULL, &s->n, err));
    if (!plain) OC_TRY(split_pieces(g, text, len, NULL, &s->n_pieces, err));
    uint32_t *ids = NULL;
    OC_TRY(sentence_ids(g, s->n * OC_NGRAM_MAX + (plain ? 0 : s->n_pieces), &ids, err));
    s->word = s->gram[0] = ids;
    for (int k = 1; k < OC_NGRAM_MAX; k++) s->gram[k] = ids + (size_t)k * s->n;
    s->piece = plain ? ids : ids + OC_NGRAM_MAX * s->n;
    OC_TRY((plain ? split_pieces : split_words)(g, text, len, s->word, &s->n, err));
    if (!plain) OC_TRY(split_pieces(g, text, len, s->piece, &s->n_pieces, err));
    for (size_t k = 1; k < OC_NGRAM_MAX && k < s->n; k++)
        for (size_t i = 0; i + k < s->n; i++)
            OC_TRY(gram_id(g, s->gram[k - 1][i], s->word[i + k], &s->gram[k][i], err));
    return OC_OK;
}

/* 3. Counts ---------------------------------------------------------------------------------------------- */

oc_status oc_gram_counter_open(oc_gram_counter *c, size_t n_ids, size_t max_words, oc_error *err) {
    *c = (oc_gram_counter){0};
    c->count_of = oc_calloc(n_ids + 1, sizeof *c->count_of);
    c->id = oc_calloc(max_words + 1, sizeof *c->id);
    c->best = oc_calloc(max_words + 1, sizeof *c->best);
    if (c->count_of && c->id && c->best) return OC_OK;
    oc_gram_counter_close(c);
    return no_memory(err);
}

void oc_gram_counter_close(oc_gram_counter *c) {
    oc_free(c->count_of);
    oc_free(c->id);
    oc_free(c->best);
    *c = (oc_gram_counter){0};
}

void oc_gram_counter_add(oc_gram_counter *c, const oc_sentence *s, int k) {
    for (size_t i = 0; i + (size_t)k < s->n; i++) {
        uint32_t id = s->gram[k][i];
        if (c->count_of[id]++ == 0) c->id[c->n++] = id;
    }
}

void oc_gram_counter_clear(oc_gram_counter *c) {
    for (size_t i = 0; i < c->n; i++) c->count_of[c->id[i]] = 0;
    c->n = 0;
}
