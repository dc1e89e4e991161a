#include "data/bpe_train.h"

#include <string.h>
#include <xxhash.h>

#include "data/tokenizer_internal.h"
#include "data/tokenizer_text.h"

static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"};
enum { BYTES = 256, SPECIALS = OC_COUNT(specials), MAX_VOCAB = 1 << 24 };

/* --- Counting words
 * ----------------------------------------------------------------------------------------------- */

typedef struct word {
    size_t start; /* its bytes, later its tokens, in pool */
    uint32_t len; /* bytes, later tokens */
    int64_t count;
} word;

/* Occurrences of one pair of neighbouring tokens, over all words. */
typedef struct pair {
    int32_t left, right;
    int64_t count;
    bool merged;      /* has its rule */
    int32_t raised;   /* the merge round that last raised the count */
    uint32_t *words;  /* where it occurs; may hold words where it no longer does */
    uint32_t n_words, capacity;
} pair;

typedef struct candidate {
    int64_t count;
    int32_t left, right;
    uint32_t pair;
} candidate;

typedef struct trainer {
    oc_tokenizer *t;
    word *words;
    size_t n_words, words_capacity;
    char *text; /* the bytes of all words */
    size_t n_text, text_capacity;
    uint32_t *word_slot; /* hash of bytes -> word index + 1 */
    size_t n_word_slots;
    int32_t *symbols; /* the tokens of all words */
    pair *pairs;
    size_t n_pairs, pairs_capacity;
    uint32_t *pair_slot; /* hash of (left, right) -> pair index + 1 */
    size_t n_pair_slots;
    candidate *heap; /* the highest count on top; its entries may be out of date */
    size_t n_heap, heap_capacity;
    uint32_t *raised; /* pairs whose count this round raised */
    size_t n_raised, raised_capacity;
    oc_bpe_rule *rules;
    int32_t n_rules, round;
} trainer;

/* Makes room for one more element. */
static bool grow(void *array, size_t n, size_t *capacity, size_t size) {
    void *p;
    if (n < *capacity) return true;
    size_t more = *capacity ? 2 * *capacity : 1024;
    memcpy(&p, array, sizeof p);
    p = oc_realloc(p, n * size, more * size);
    if (!p) return false;
    memcpy(array, &p, sizeof p);
    *capacity = more;
    return true;
}

static uint32_t *find_word(trainer *r, const char *bytes, size_t len) {
    for (size_t i = XXH3_64bits(bytes, len);; i++) {
        uint32_t *slot = &r->word_slot[i & (r->n_word_slots - 1)];
        if (!*slot) return slot;
        const word *w = &r->words[*slot - 1];
        if (w->len == len && !memcmp(r->text + w->start, bytes, len)) return slot;
    }
}

static bool grow_word_slots(trainer *r) {
    size_t n = r->n_word_slots ? 2 * r->n_word_slots : 4096;
    uint32_t *slot = oc_calloc(n, sizeof *slot);
    if (!slot) return false;
    oc_free(r->word_slot);
    r->word_slot = slot;
    r->n_word_slots = n;
    for (size_t i = 0; i < r->n_words; i++)
        *find_word(r, r->text + r->words[i].start, r->words[i].len) = (uint32_t)i + 1;
    return true;
}

static bool count_word(void *user, const char *bytes, size_t len) {
    trainer *r = user;
    if (len >= UINT32_MAX || r->n_words >= UINT32_MAX - 1) return false;
    if (2 * r->n_words >= r->n_word_slots && !grow_word_slots(r)) return false;
    uint32_t *slot = find_word(r, bytes, len);
    if (*slot) {
        r->words[*slot - 1].count++;
        return true;
    }
    if (!grow(&r->words, r->n_words, &r->words_capacity, sizeof *r->words)) return false;
    if (r->text_capacity - r->n_text < len) {
        size_t more = r->n_text + len + r->text_capacity + 65536;
        char *p = oc_realloc(r->text, r->n_text, more);
        if (!p) return false;
        r->text = p;
        r->text_capacity = more;
    }
    memcpy(r->text + r->n_text, bytes, len);
    r->words[r->n_words++] = (word){.start = r->n_text, .len = (uint32_t)len, .count = 1};
    r->n_text += len;
    *slot = (uint32_t)r->n_words;
    return true;
}

static oc_status count_words(trainer *r, const oc_bpe_train_options *opt, oc_text_fn next, void *user,
                             oc_error *err) {
    oc_strbuf lower = {0};
    oc_status st = OC_OK;
    for (;;) {
        const char *text = NULL;
        size_t len = 0;
        st = next(user, &text, &len, err);
        if (st != OC_OK || !text) break;
        if (opt->lowercase) {
            if (!oc_text_lower(&text, &len, &lower))
                st = oc_fail(err, OC_ERR_NOMEM, "out of memory while counting words");
            if (st != OC_OK) break;
        }
        st = oc_tokenizer_split(r->t, text, len, count_word, r, err);
        if (st != OC_OK) break;
    }
    oc_strbuf_free(&lower);
    return st;
}

/* --- Counting pairs
 * ----------------------------------------------------------------------------------------------- */

static uint32_t *find_pair(trainer *r, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = XXH3_64bits(&key, sizeof key);; i++) {
        uint32_t *slot = &r->pair_slot[i & (r->n_pair_slots - 1)];
        if (!*slot) return slot;
        const pair *p = &r->pairs[*slot - 1];
        if (p->left == left && p->right == right) return slot;
    }
}

static bool grow_pair_slots(trainer *r) {
    size_t n = r->n_pair_slots ? 2 * r->n_pair_slots : 4096;
    uint32_t *slot = oc_calloc(n, sizeof *slot);
    if (!slot) return false;
    oc_free(r->pair_slot);
    r->pair_slot = slot;
    r->n_pair_slots = n;
    for (size_t i = 0; i < r->n_pairs; i++) *find_pair(r, r->pairs[i].left, r->pairs[i].right) = (uint32_t)i + 1;
    return true;
}

/* Word w has this pair `by` times more, or less, times its count. */
static bool change_pair(trainer *r, int32_t left, int32_t right, int64_t by, uint32_t w) {
    if (2 * r->n_pairs >= r->n_pair_slots && !grow_pair_slots(r)) return false;
    uint32_t *slot = find_pair(r, left, right);
    if (!*slot) {
        if (!grow(&r->pairs, r->n_pairs, &r->pairs_capacity, sizeof *r->pairs)) return false;
        r->pairs[r->n_pairs++] = (pair){.left = left, .right = right, .raised = -1};
        *slot = (uint32_t)r->n_pairs;
    }
    uint32_t index = *slot - 1;
    pair *p = &r->pairs[index];
    p->count += by;
    if (by < 0) return true;
    if (p->n_words == 0 || p->words[p->n_words - 1] != w) {
        size_t capacity = p->capacity;
        if (p->n_words == p->capacity) {
            capacity = capacity ? 2 * capacity : 4;
            uint32_t *words = oc_realloc(p->words, p->n_words * sizeof *words, capacity * sizeof *words);
            if (!words) return false;
            p->words = words;
            p->capacity = (uint32_t)capacity;
        }
        p->words[p->n_words++] = w;
    }
    if (p->raised == r->round) return true;
    p->raised = r->round;
    if (!grow(&r->raised, r->n_raised, &r->raised_capacity, sizeof *r->raised)) return false;
    r->raised[r->n_raised++] = index;
    return true;
}

/* Bytes -> token ids, and the pairs of all words. */
static bool count_pairs(trainer *r) {
    r->symbols = oc_alloc(r->n_text * sizeof *r->symbols);
    if (!r->symbols) return false;
    for (size_t i = 0; i < r->n_text; i++) r->symbols[i] = oc_bpe_find(&r->t->bpe, r->text + i, 1);
    for (size_t i = 0; i < r->n_words; i++) {
        const int32_t *s = r->symbols + r->words[i].start;
        for (uint32_t j = 0; j + 1 < r->words[i].len; j++)
            if (!change_pair(r, s[j], s[j + 1], r->words[i].count, (uint32_t)i)) return false;
    }
    return true;
}

/* --- The heap of candidates
 * --------------------------------------------------------------------------------------- */

static bool better(const candidate *a, const candidate *b) {
    if (a->count != b->count) return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static bool push(trainer *r, uint32_t index) {
    const pair *p = &r->pairs[index];
    candidate c = {p->count, p->left, p->right, index};
    if (!grow(&r->heap, r->n_heap, &r->heap_capacity, sizeof *r->heap)) return false;
    size_t i = r->n_heap++;
    for (; i > 0 && better(&c, &r->heap[(i - 1) / 2]); i = (i - 1) / 2) r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = c;
    return true;
}

static candidate pop(trainer *r) {
    candidate top = r->heap[0], c = r->heap[--r->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < r->n_heap; i = child) {
        if (child + 1 < r->n_heap && better(&r->heap[child + 1], &r->heap[child])) child++;
        if (!better(&r->heap[child], &c)) break;
        r->heap[i] = r->heap[child];
    }
    r->heap[i] = c;
    return top;
}

static bool push_raised(trainer *r) {
    for (size_t i = 0; i < r->n_raised; i++)
        if (r->pairs[r->raised[i]].count > 0 && !push(r, r->raised[i])) return false;
    r->n_raised = 0;
    return true;
}

/* --- Merging
 * ------------------------------------------------------------------------------------------------------ */

/* Replaces left right by merged in word w, from left to right, and keeps the counts of the pairs around it. */
static bool merge_in_word(trainer *r, uint32_t w, int32_t left, int32_t right, int32_t merged) {
    word *in = &r->words[w];
    int32_t *s = r->symbols + in->start;
    int64_t c = in->count;
    uint32_t n = in->len, out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 >= n || s[i] != left || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0 && !(change_pair(r, s[out - 1], left, -c, w) && change_pair(r, s[out - 1], merged, c, w)))
            return false;
        if (i + 2 < n && !(change_pair(r, right, s[i + 2], -c, w) && change_pair(r, merged, s[i + 2], c, w)))
            return false;
        s[out++] = merged;
        i++;
    }
    in->len = out;
    return true;
}

/* The token of two tokens joined. It may exist already, made of other halves. */
static oc_status joined_token(trainer *r, int32_t left, int32_t right, int32_t *id, oc_error *err) {
    oc_bpe *b = &r->t->bpe;
    oc_strbuf bytes = {0};
    oc_strbuf_add(&bytes, b->bytes + b->token[left].offset, b->token[left].len);
    oc_strbuf_add(&bytes, b->bytes + b->token[right].offset, b->token[right].len);
    oc_status st = bytes.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory while training the tokenizer") : OC_OK;
    if (st == OC_OK && (*id = oc_bpe_find(b, bytes.data, bytes.len)) < 0) {
        *id = b->n_tokens;
        st = oc_bpe_set_token(b, *id, bytes.data, bytes.len, OC_TOKEN_MODEL, "new tokenizer", err);
    }
    oc_strbuf_free(&bytes);
    return st;
}

static oc_status merge_pair(trainer *r, uint32_t index, size_t *rules_capacity, oc_error *err) {
    pair p = r->pairs[index];
    int32_t merged = 0;
    OC_TRY(joined_token(r, p.left, p.right, &merged, err));
    r->round++;
    if (!p.merged) { /* it may come up again, when one of its halves is made in another way */
        if (!grow(&r->rules, (size_t)r->n_rules, rules_capacity, sizeof *r->rules)) goto no_memory;
        r->rules[r->n_rules++] = (oc_bpe_rule){p.left, p.right, merged};
    }
    /* Take the list over: the pair starts anew, and the array of pairs may move. */
    r->pairs[index].words = NULL;
    r->pairs[index].n_words = r->pairs[index].capacity = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < p.n_words; i++) ok = merge_in_word(r, p.words[i], p.left, p.right, merged);
    oc_free(p.words);
    r->pairs[index].count = 0;
    r->pairs[index].merged = true;
    if (ok && push_raised(r)) return OC_OK;
no_memory:
    return oc_fail(err, OC_ERR_NOMEM, "out of memory while training the tokenizer");
}

static oc_status learn(trainer *r, const oc_bpe_train_options *opt, oc_error *err) {
    int64_t min_count = opt->min_count > 0 ? opt->min_count : 2;
    size_t rules_capacity = 0;
    if (!count_pairs(r) || !push_raised(r))
        return oc_fail(err, OC_ERR_NOMEM, "out of memory while training the tokenizer");
    while (r->t->bpe.n_tokens < opt->vocab_size - SPECIALS && r->n_heap) {
        candidate c = pop(r);
        if (c.count != r->pairs[c.pair].count) { /* out of date: it goes back with what is true now */
            if (r->pairs[c.pair].count > 0 && !push(r, c.pair))
                return oc_fail(err, OC_ERR_NOMEM, "out of memory while training the tokenizer");
            continue;
        }
        if (c.count < min_count) break;
        OC_TRY(merge_pair(r, c.pair, &rules_capacity, err));
    }
    return OC_OK;
}

/* --- The whole
 * ---------------------------------------------------------------------------------------------------- */

static oc_status set_bytes(oc_bpe *b, oc_error *err) {
    int32_t id = 0;
    for (int32_t cp = 0; id < BYTES; cp++) {
        int byte = oc_char_to_byte(cp);
        if (byte >= 0)
            OC_TRY(oc_bpe_set_token(b, id++, (char[]){(char)byte}, 1, OC_TOKEN_MODEL, "new tokenizer", err));
    }
    return OC_OK;
}

/* The rules belong to the tokenizer from here on, whatever happens. */
static oc_status finish(trainer *r, oc_error *err) {
    oc_bpe_rule *rules = r->rules;
    r->rules = NULL;
    OC_TRY(oc_bpe_seal(&r->t->bpe, rules, r->n_rules, "new tokenizer", err));
    for (int i = 0; i < SPECIALS; i++) {
        int32_t id;
        OC_TRY(oc_tokenizer_add_special(r->t, specials[i], &id, err));
    }
    return OC_OK;
}

static void trainer_free(trainer *r) {
    for (size_t i = 0; i < r->n_pairs; i++) oc_free(r->pairs[i].words);
    void *all[] = {r->words,     r->text, r->word_slot, r->symbols, r->pairs,
                   r->pair_slot, r->heap, r->raised,    r->rules};
    for (size_t i = 0; i < OC_COUNT(all); i++) oc_free(all[i]);
}

oc_status oc_bpe_train(oc_tokenizer **out, const oc_bpe_train_options *opt, oc_text_fn next, void *user,
                       oc_error *err) {
    *out = NULL;
    if (opt->vocab_size < BYTES + SPECIALS || opt->vocab_size > MAX_VOCAB)
        return oc_fail(err, OC_ERR_ARG,
                       "a vocabulary of %d tokens was asked for; %d to %d are possible (256 bytes and %d special "
                       "tokens are always there)",
                       opt->vocab_size, BYTES + SPECIALS, MAX_VOCAB, SPECIALS);
    trainer r = {0};
    OC_TRY(oc_tokenizer_new(&r.t, err));
    oc_status st;
    r.t->nfc = true;
    OC_GO(oc_tokenizer_set_pattern(r.t, OC_QWEN2_PATTERN, "new tokenizer", err));
    OC_GO(set_bytes(&r.t->bpe, err));
    OC_GO(count_words(&r, opt, next, user, err));
    OC_GO(learn(&r, opt, err));
    OC_GO(finish(&r, err));
done:
    trainer_free(&r);
    if (st == OC_OK) *out = r.t;
    else oc_tokenizer_close(r.t);
    return st;
}

typedef struct string_list {
    const char *const *texts;
    size_t n, at;
} string_list;

static oc_status next_string(void *user, const char **text, size_t *len, oc_error *err) {
    string_list *list = user;
    OC_UNUSED(err);
    if (list->at == list->n) return OC_OK;
    *text = list->texts[list->at++];
    *len = strlen(*text);
    return OC_OK;
}

oc_status oc_bpe_train_strings(oc_tokenizer **out, const oc_bpe_train_options *opt, const char *const *texts,
                               size_t n, oc_error *err) {
    return oc_bpe_train(out, opt, next_string, &(string_list){.texts = texts, .n = n}, err);
}
