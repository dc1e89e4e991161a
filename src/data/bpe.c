#include "data/bpe.h"

#include <limits.h>
#include <string.h>
#include <xxhash.h>

#include "data/tokenizer_text.h"

/* --- The byte alphabet
 * -------------------------------------------------------------------------------------------- */

/* Printable Latin-1 bytes stand for themselves; the 68 others, in order, for U+0100 and up. */
static bool stands_for_itself(int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; }

int32_t oc_byte_to_char(uint8_t byte) {
    if (stands_for_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    return byte == 0xad ? 0x143 : 0x121 + byte - 0x7f; /* 7f..a0 follow 00..20, then ad */
}

int oc_char_to_byte(int32_t cp) {
    if (cp < 0x100) return stands_for_itself(cp) ? cp : -1;
    if (cp <= 0x120) return cp - 0x100;
    if (cp <= 0x142) return cp - 0x121 + 0x7f;
    return cp == 0x143 ? 0xad : -1;
}

void oc_bytes_spell(const char *bytes, size_t len, oc_strbuf *out) {
    for (size_t i = 0; i < len; i++) {
        int32_t cp = oc_byte_to_char((uint8_t)bytes[i]);
        if (cp < 0x80) oc_strbuf_putc(out, (char)cp);
        else oc_strbuf_add(out, (char[]){(char)(0xc0 | cp >> 6), (char)(0x80 | (cp & 0x3f))}, 2);
    }
}

bool oc_spelling_bytes(const char *spelling, size_t len, oc_strbuf *out) {
    const uint8_t *p = (const uint8_t *)spelling;
    size_t before = out->len;
    for (size_t i = 0; i < len;) {
        int32_t cp;
        int k = oc_utf8_next(p + i, len - i, &cp);
        int byte = k > 0 ? oc_char_to_byte(cp) : -1;
        if (byte < 0) {
            out->len = before;
            oc_strbuf_add(out, spelling, len);
            return false;
        }
        oc_strbuf_putc(out, (char)byte);
        i += (size_t)k;
    }
    return true;
}

/* --- Tokens and rules
 * --------------------------------------------------------------------------------------------- */

struct oc_bpe_pair {
    uint64_t key; /* left << 32 | right */
    int32_t rank; /* -1: empty */
    int32_t merged;
};

void oc_bpe_close(oc_bpe *b) {
    oc_free(b->token);
    oc_free(b->bytes);
    oc_free(b->slot);
    oc_free(b->rule);
    oc_free(b->pair);
    oc_free(b->whole);
    memset(b, 0, sizeof *b);
}

/* The slot that holds these bytes, or the empty one where they would go. */
static size_t find_slot(const oc_bpe *b, const char *bytes, size_t len) {
    size_t i = XXH3_64bits(bytes, len) & (b->n_slots - 1);
    for (;; i = (i + 1) & (b->n_slots - 1)) {
        int32_t id = b->slot[i];
        if (id < 0) return i;
        const oc_token *t = &b->token[id];
        if (t->len == len && !memcmp(b->bytes + t->offset, bytes, len)) return i;
    }
}

int32_t oc_bpe_find(const oc_bpe *b, const char *bytes, size_t len) {
    return b->n_slots ? b->slot[find_slot(b, bytes, len)] : -1;
}

static bool grow_slots(oc_bpe *b) {
    size_t n = b->n_slots ? 2 * b->n_slots : 1024;
    int32_t *slot = oc_alloc(n * sizeof *slot);
    if (!slot) return false;
    memset(slot, 0xff, n * sizeof *slot);
    oc_bpe old = *b;
    b->slot = slot;
    b->n_slots = n;
    for (size_t i = 0; i < old.n_slots; i++) {
        int32_t id = old.slot[i];
        if (id >= 0) slot[find_slot(b, b->bytes + b->token[id].offset, b->token[id].len)] = id;
    }
    oc_free(old.slot);
    return true;
}

/* Room for ids below n; the new ones are unused. */
static bool grow_tokens(oc_bpe *b, int32_t n) {
    if (n > b->token_capacity) {
        int32_t capacity = OC_MAX(n, b->token_capacity + b->token_capacity / 2 + 64);
        oc_token *token =
            oc_realloc(b->token, (size_t)b->n_tokens * sizeof *token, (size_t)capacity * sizeof *token);
        if (!token) return false;
        b->token = token;
        _Atomic uint8_t *whole = oc_calloc((size_t)capacity, sizeof *whole);
        if (!whole) return false;
        oc_free(b->whole); /* a memo: losing it costs nothing but time */
        b->whole = whole;
        b->token_capacity = capacity;
    }
    if (n > b->n_tokens) {
        memset(b->token + b->n_tokens, 0, (size_t)(n - b->n_tokens) * sizeof *b->token);
        b->n_tokens = n;
    }
    return true;
}

static bool append_bytes(oc_bpe *b, const char *bytes, size_t len) {
    if (len > b->bytes_capacity - b->n_bytes) {
        size_t capacity = b->n_bytes + len + b->bytes_capacity / 2 + 4096;
        char *p = oc_realloc(b->bytes, b->n_bytes, capacity);
        if (!p) return false;
        b->bytes = p;
        b->bytes_capacity = capacity;
    }
    memcpy(b->bytes + b->n_bytes, bytes, len);
    b->n_bytes += len;
    return true;
}

oc_status oc_bpe_set_token(oc_bpe *b, int32_t id, const char *bytes, size_t len, uint32_t flags, const char *what,
                           oc_error *err) {
    OC_ASSERT(id >= 0);
    if (len >= UINT32_MAX) return oc_fail(err, OC_ERR_FORMAT, "%s: token %d is %zu bytes long", what, id, len);
    if (id < b->n_tokens && b->token[id].flags)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: id %d belongs to two tokens, the second is \"%.*s\"; ids must be unique", what, id,
                       (int)OC_MIN(len, 60), bytes);
    bool hashed = (flags & OC_TOKEN_MODEL) && !(flags & OC_TOKEN_FOREIGN);
    if (!grow_tokens(b, id + 1) || (hashed && 2 * b->n_hashed >= b->n_slots && !grow_slots(b))) goto no_memory;
    size_t slot = hashed ? find_slot(b, bytes, len) : 0;
    if (hashed && b->slot[slot] >= 0)
        return oc_fail(err, OC_ERR_FORMAT, "%s: ids %d and %d have the same token \"%.*s\"", what, b->slot[slot],
                       id, (int)OC_MIN(len, 60), bytes);
    size_t offset = b->n_bytes;
    if (!append_bytes(b, bytes, len)) goto no_memory;
    b->token[id] = (oc_token){.offset = offset, .len = (uint32_t)len, .flags = flags | OC_TOKEN_PRESENT};
    if (hashed) {
        b->slot[slot] = id;
        b->n_hashed++;
    }
    return OC_OK;
no_memory:
    return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for the vocabulary", what);
}

static size_t pair_slot(const oc_bpe *b, uint64_t key) {
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    return (size_t)(h * 0xd6e8feb86659fd93u >> 32) & (b->n_pairs - 1);
}

static uint64_t pair_key(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

/* NULL if the two form no rule. */
static const oc_bpe_pair *find_pair(const oc_bpe *b, int32_t left, int32_t right) {
    uint64_t key = pair_key(left, right);
    for (size_t i = pair_slot(b, key);; i = (i + 1) & (b->n_pairs - 1)) {
        const oc_bpe_pair *p = &b->pair[i];
        if (p->rank < 0) return NULL;
        if (p->key == key) return p;
    }
}

oc_status oc_bpe_seal(oc_bpe *b, oc_bpe_rule *rule, int32_t n_rules, const char *what, oc_error *err) {
    b->rule = rule;
    b->n_rules = n_rules;
    for (int c = 0; c < 256; c++) {
        b->byte_id[c] = oc_bpe_find(b, (char[]){(char)c}, 1);
        if (b->byte_id[c] < 0)
            return oc_fail(
                err, OC_ERR_UNSUPPORTED,
                "%s: the vocabulary has no token for the byte 0x%02x; a byte-level BPE vocabulary holds all 256",
                what, c);
    }
    size_t n = 64;
    while (n < (size_t)n_rules + (size_t)n_rules / 2) n *= 2;
    OC_TRY(oc_alloc_for(&b->pair, n * sizeof *b->pair, "the merge rules", err));
    b->n_pairs = n;
    for (size_t i = 0; i < n; i++) b->pair[i].rank = -1;
    for (int32_t rank = 0; rank < n_rules; rank++) {
        uint64_t key = pair_key(rule[rank].left, rule[rank].right);
        size_t i = pair_slot(b, key);
        while (b->pair[i].rank >= 0 && b->pair[i].key != key) i = (i + 1) & (n - 1);
        b->pair[i] = (oc_bpe_pair){.key = key, .rank = rank, .merged = rule[rank].merged};
    }
    return OC_OK;
}

/* --- Encoding one word
 * -------------------------------------------------------------------------------------------- */

enum { SHORT_WORD = 40, NO_RULE = INT_MAX };

/* Short words: look at all ranks for the lowest, merge, close the gap. rank[i] is that of symbols i and i + 1. */
static size_t merge_short(const oc_bpe *b, int32_t *id, size_t n) {
    int32_t rank[SHORT_WORD], merged[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++) {
        const oc_bpe_pair *p = find_pair(b, id[i], id[i + 1]);
        rank[i] = p ? p->rank : NO_RULE;
        merged[i] = p ? p->merged : 0;
    }
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[at]) at = i;
        if (rank[at] == NO_RULE) break;
        id[at] = merged[at];
        size_t tail = n - at - 2; /* symbols after the merged two */
        memmove(id + at + 1, id + at + 2, tail * sizeof *id);
        memmove(rank + at, rank + at + 1, tail * sizeof *rank);
        memmove(merged + at, merged + at + 1, tail * sizeof *merged);
        n--;
        for (size_t i = at ? at - 1 : 0; i <= at && i + 1 < n; i++) {
            const oc_bpe_pair *p = find_pair(b, id[i], id[i + 1]);
            rank[i] = p ? p->rank : NO_RULE;
            merged[i] = p ? p->merged : 0;
        }
    }
    return n;
}

/* Long words (a megabyte without a space is one): symbols in a doubly linked list, candidates in a binary heap of
 * rank << 32 | position. A candidate is stale when its rank is no longer that of its position. O(n log n). */
typedef struct long_word {
    uint64_t *heap; /* [3n]: n - 1 at first, two more for each of at most n - 1 merges */
    size_t n_heap;
    int32_t *id, *prev, *next, *rank; /* [n]; prev and next are -1 at the ends */
} long_word;

static void heap_push(long_word *w, uint64_t key) {
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t heap_pop(long_word *w) {
    uint64_t top = w->heap[0], key = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= key) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = key;
    return top;
}

/* Looks up the rule of the symbol at i and its right neighbour. */
static void offer(const oc_bpe *b, long_word *w, int32_t i) {
    const oc_bpe_pair *p = w->next[i] >= 0 ? find_pair(b, w->id[i], w->id[w->next[i]]) : NULL;
    w->rank[i] = p ? p->rank : NO_RULE;
    if (p) heap_push(w, (uint64_t)p->rank << 32 | (uint32_t)i);
}

static bool encode_long(const oc_bpe *b, oc_bpe_scratch *scratch, const char *word, size_t len, oc_ids *ids) {
    size_t need = len * (3 * sizeof(uint64_t) + 4 * sizeof(int32_t));
    if (need > scratch->size) {
        oc_bpe_scratch_free(scratch);
        if (!(scratch->memory = oc_alloc(need))) return false;
        scratch->size = need;
    }
    long_word w = {.heap = scratch->memory};
    w.id = (int32_t *)(w.heap + 3 * len);
    w.prev = w.id + len;
    w.next = w.prev + len;
    w.rank = w.next + len;
    int32_t n = (int32_t)len;
    for (int32_t i = 0; i < n; i++) {
        w.id[i] = b->byte_id[(uint8_t)word[i]];
        w.prev[i] = i - 1;
        w.next[i] = i + 1 < n ? i + 1 : -1;
    }
    for (int32_t i = 0; i < n; i++) offer(b, &w, i);
    while (w.n_heap) {
        uint64_t top = heap_pop(&w);
        int32_t i = (int32_t)(uint32_t)top, rank = (int32_t)(top >> 32);
        if (w.rank[i] != rank) continue;
        int32_t gone = w.next[i];
        w.id[i] = b->rule[rank].merged;
        w.next[i] = w.next[gone];
        if (w.next[i] >= 0) w.prev[w.next[i]] = i;
        w.rank[gone] = NO_RULE;
        offer(b, &w, i);
        if (w.prev[i] >= 0) offer(b, &w, w.prev[i]);
    }
    for (int32_t i = 0; i >= 0; i = w.next[i])
        if (!oc_ids_add(ids, w.id[i])) return false;
    return true;
}

bool oc_bpe_encode(const oc_bpe *b, oc_bpe_scratch *scratch, const char *word, size_t len, oc_ids *ids) {
    OC_ASSERT(len < (size_t)1 << 30);
    if (len == 0) return true;
    if (len == 1) return oc_ids_add(ids, b->byte_id[(uint8_t)word[0]]);
    /* Most words of a text are tokens themselves. */
    int32_t whole = oc_bpe_find(b, word, len);
    int known = whole >= 0 ? atomic_load_explicit(&b->whole[whole], memory_order_relaxed) : 2;
    if (whole >= 0 && (known == 1 || b->ignore_merges)) return oc_ids_add(ids, whole);
    size_t before = ids->len;
    if (len > SHORT_WORD) {
        if (!encode_long(b, scratch, word, len, ids)) return false;
    } else {
        int32_t id[SHORT_WORD];
        for (size_t i = 0; i < len; i++) id[i] = b->byte_id[(uint8_t)word[i]];
        size_t n = merge_short(b, id, len);
        for (size_t i = 0; i < n; i++)
            if (!oc_ids_add(ids, id[i])) return false;
    }
    if (known == 0) {
        bool same = ids->len == before + 1 && ids->data[before] == whole;
        atomic_store_explicit(&b->whole[whole], same ? 1 : 2, memory_order_relaxed);
    }
    return true;
}

void oc_bpe_scratch_free(oc_bpe_scratch *s) {
    oc_free(s->memory);
    *s = (oc_bpe_scratch){0};
}
