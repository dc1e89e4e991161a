#include "eval/ptb_lexer.h"

#include <stdlib.h>
#include <string.h>

#include "eval/ptb_unicode.h"

/* 1. Data ------------------------------------------------------------------------------------------------ */

/* A set of code units: sorted, disjoint ranges, lo and hi included. */
typedef struct {
    uint16_t lo, hi;
} range;
typedef struct {
    range *r;
    size_t n, cap;
    uint32_t in_class[8]; /* bit c: class c belongs to the set; filled when all sets are known */
} charset;

/* Nodes of the nondeterministic automaton (Thompson's construction). */
typedef enum { NODE_SET, NODE_SPLIT, NODE_MATCH } node_type;
typedef struct {
    uint8_t type;
    int32_t a, b; /* SET: next node, set; SPLIT: two next nodes (-1: none); MATCH: rule */
} node;

/* A state of the deterministic automaton: the SET and MATCH nodes reached, sorted. */
typedef struct {
    int32_t *nodes;
    int32_t n_nodes;
} dstate;

enum { UNMADE = -1, DEAD = -2, MAX_CLASSES = 256, MAX_DEPTH = 64, MAX_NODES = 1 << 20 };

struct oc_lexer {
    const oc_lex_macro *macros;
    const oc_lex_rule *rules;
    size_t n_macros, n_rules;

    charset *sets;
    size_t n_sets, cap_sets;
    charset letter, digit, upper;
    node *nodes;
    size_t n_nodes, cap_nodes;
    uint8_t class_of[65536];
    int n_classes;

    dstate *states;
    int32_t *next; /* [states][n_classes]: the state after a code unit of a class */
    int32_t *rule; /* [states]: the smallest rule that matches here, -1: none */
    size_t n_states, cap_states;
    int32_t *buckets; /* hash table of states, open addressing */
    size_t n_buckets;
    int32_t start;                /* all rules */
    int32_t *head, *tail;         /* per rule with a tail: the two halves alone; -1 for others */
    int32_t *stack, *mark, *list; /* scratch of close_over */
    uint64_t *reached;            /* a bit per node: those in the list, zero outside of intern_state */
    int32_t stamp;
};

/* Grows *array so that one more element fits. */
static oc_status grow(void *array, size_t *cap, size_t n, size_t size, oc_error *err) {
    if (n < *cap) return OC_OK;
    size_t cap2 = *cap ? *cap * 2 : 16, bytes;
    void *old, *p = NULL;
    memcpy(&old, array, sizeof old);
    if (oc_mul_size(cap2, size, &bytes)) p = oc_realloc(old, *cap * size, bytes);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    memcpy(array, &p, sizeof p);
    *cap = cap2;
    return OC_OK;
}

/* 2. Sets ------------------------------------------------------------------------------------------------ */

static oc_status set_add(charset *s, unsigned lo, unsigned hi, oc_error *err) {
    OC_TRY(grow(&s->r, &s->cap, s->n, sizeof *s->r, err));
    s->r[s->n++] = (range){(uint16_t)lo, (uint16_t)hi};
    return OC_OK;
}

static int range_order(const void *a, const void *b) {
    const range *x = a, *y = b;
    return (int)x->lo - (int)y->lo;
}

static void set_sort(charset *s) {
    if (s->n == 0) return;
    size_t sorted = 1;
    while (sorted < s->n && s->r[sorted - 1].hi + 1 < s->r[sorted].lo) sorted++;
    if (sorted == s->n) return; /* as most are */
    qsort(s->r, s->n, sizeof *s->r, range_order);
    size_t n = 1;
    for (size_t i = 1; i < s->n; i++) {
        range *last = &s->r[n - 1];
        if (s->r[i].lo <= (unsigned)last->hi + 1)
            last->hi = OC_MAX(last->hi, s->r[i].hi);
        else
            s->r[n++] = s->r[i];
    }
    s->n = n;
}

static oc_status set_invert(charset *s, oc_error *err) {
    charset t = {0};
    unsigned from = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->r[i].lo > from) {
            oc_status st = set_add(&t, from, s->r[i].lo - 1u, err);
            if (st != OC_OK) return oc_free(t.r), st;
        }
        from = s->r[i].hi + 1u;
    }
    if (from <= 0xffff) {
        oc_status st = set_add(&t, from, 0xffff, err);
        if (st != OC_OK) return oc_free(t.r), st;
    }
    oc_free(s->r);
    *s = t;
    return OC_OK;
}

/* Adds the code units of each property to its set. */
static oc_status add_properties(oc_lexer *lx, oc_error *err) {
    charset *const set[] = {&lx->letter, &lx->digit, &lx->upper};
    static const unsigned bit[] = {OC_PTB_LETTER, OC_PTB_DIGIT, OC_PTB_UPPER};
    unsigned before = 0, from[OC_COUNT(set)] = {0};
    for (unsigned c = 0; c <= 0x10000; c++) {
        const unsigned now = c < 0x10000 ? oc_ptb_properties(c) : 0;
        if (now == before) continue;
        for (size_t i = 0; i < OC_COUNT(set); i++) {
            if (~before & now & bit[i]) from[i] = c;
            if (before & ~now & bit[i]) OC_TRY(set_add(set[i], from[i], c - 1, err));
        }
        before = now;
    }
    return OC_OK;
}

static oc_status set_add_set(charset *s, const charset *t, oc_error *err) {
    for (size_t i = 0; i < t->n; i++) OC_TRY(set_add(s, t->r[i].lo, t->r[i].hi, err));
    return OC_OK;
}

/* Takes over s; equal sets are kept once. */
static oc_status set_intern(oc_lexer *lx, charset *s, int32_t *id, oc_error *err) {
    for (size_t i = 0; i < lx->n_sets; i++) {
        charset *t = &lx->sets[i];
        if (t->n != s->n || (s->n && (t->r->lo != s->r->lo || memcmp(t->r, s->r, s->n * sizeof *s->r)))) continue;
        oc_free(s->r);
        s->r = NULL;
        *id = (int32_t)i;
        return OC_OK;
    }
    OC_TRY(grow(&lx->sets, &lx->cap_sets, lx->n_sets, sizeof *lx->sets, err));
    *id = (int32_t)lx->n_sets;
    lx->sets[lx->n_sets++] = *s;
    s->r = NULL;
    return OC_OK;
}

/* Two code units share a class when no set tells them apart. Classes are found on the intervals between set
 * limits. */
static oc_status make_classes(oc_lexer *lx, oc_error *err) {
    uint8_t *cut = oc_calloc(65537, 1);
    if (!cut) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    for (size_t i = 0; i < lx->n_sets; i++)
        for (size_t k = 0; k < lx->sets[i].n; k++) cut[lx->sets[i].r[k].lo] = cut[lx->sets[i].r[k].hi + 1u] = 1;

    size_t words = (lx->n_sets + 31) / 32;
    uint32_t *member = oc_calloc(MAX_CLASSES * words, sizeof *member), *now = oc_calloc(words, sizeof *now);
    oc_status st = OC_OK;
    if (!member || !now) {
        st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
        goto done;
    }
    size_t *at = oc_calloc(lx->n_sets + 1, sizeof *at); /* per set: the range that c is in or before */
    if (!at) {
        st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
        goto done;
    }
    int class = 0;
    for (unsigned c = 0; c <= 0xffff; c++) {
        if (c == 0 || cut[c]) {
            memset(now, 0, words * sizeof *now);
            for (size_t i = 0; i < lx->n_sets; i++) {
                const charset *s = &lx->sets[i];
                while (at[i] < s->n && s->r[at[i]].hi < c) at[i]++;
                if (at[i] < s->n && s->r[at[i]].lo <= c) now[i / 32] |= 1u << (i % 32);
            }
            for (class = 0; class < lx->n_classes; class ++)
                if (!memcmp(member + (size_t) class * words, now, words * sizeof *now)) break;
            if (class == lx->n_classes) {
                OC_ASSERT(lx->n_classes < MAX_CLASSES);
                memcpy(member + (size_t) class * words, now, words * sizeof *now);
                lx->n_classes++;
                for (size_t i = 0; i < lx->n_sets; i++)
                    if (now[i / 32] >> (i % 32) & 1) lx->sets[i].in_class[class / 32] |= 1u << (class % 32);
            }
        }
        lx->class_of[c] = (uint8_t) class;
    }
    oc_free(at);
done:
    oc_free(cut);
    oc_free(member);
    oc_free(now);
    return st;
}

/* 3. Patterns to nodes ----------------------------------------------------------------------------------- */

/* A piece of automaton with one entry and one exit: the exit is the SPLIT node `out`, whose next node is set
 * later. */
typedef struct {
    int32_t in, out;
} frag;

typedef struct {
    oc_lexer *lx;
    const char *p; /* in the pattern */
    int depth;     /* of nested groups and macros */
    oc_error *err;
} parser;

/* Patterns are part of this program: a mistake in one is a programming error, hence the OC_ASSERTs. */

static oc_status parse_choice(parser *ps, frag *f);

static oc_status add_node(oc_lexer *lx, node_type type, int32_t a, int32_t b, int32_t *id, oc_error *err) {
    OC_ASSERT(lx->n_nodes < MAX_NODES);
    OC_TRY(grow(&lx->nodes, &lx->cap_nodes, lx->n_nodes, sizeof *lx->nodes, err));
    *id = (int32_t)lx->n_nodes;
    lx->nodes[lx->n_nodes++] = (node){(uint8_t)type, a, b};
    return OC_OK;
}

/* One character of UTF-8 source (which is valid); patterns hold none beyond the basic plane. */
static unsigned next_char(const char **p) {
    const unsigned char *s = (const unsigned char *)*p;
    unsigned c = s[0];
    int more = c < 0x80 ? 0 : c < 0xe0 ? 1 : 2;
    if (more) c &= 0x3fu >> more;
    for (int i = 1; i <= more; i++) c = c << 6 | (s[i] & 0x3fu);
    *p += more + 1;
    return c;
}

/* After '%': a property (added to s, -1 returned) or the character meant. */
static oc_status escape(parser *ps, charset *s, int *character) {
    char c = *ps->p++;
    *character = -1;
    if (c == 'l') return set_add_set(s, &ps->lx->letter, ps->err);
    if (c == 'd') return set_add_set(s, &ps->lx->digit, ps->err);
    if (c == 'u') return set_add_set(s, &ps->lx->upper, ps->err);
    if (c != 'x') {
        *character = (unsigned char)c;
        return OC_OK;
    }
    char hex[5] = {0};
    memcpy(hex, ps->p, 4);
    *character = (int)strtoul(hex, NULL, 16);
    ps->p += 4;
    return OC_OK;
}

/* One character, or after '[' a whole set. */
static oc_status parse_set(parser *ps, charset *s) {
    int lo;
    if (*ps->p != '[') {
        if (*ps->p == '%') {
            ps->p++;
            OC_TRY(escape(ps, s, &lo));
        } else
            lo = (int)next_char(&ps->p);
        if (lo < 0) return OC_OK;
        bool ascii_letter = (lo | 32) >= 'a' && (lo | 32) <= 'z';
        if (ascii_letter) OC_TRY(set_add(s, (unsigned)lo ^ 32u, (unsigned)lo ^ 32u, ps->err));
        return set_add(s, (unsigned)lo, (unsigned)lo, ps->err);
    }
    ps->p++;
    bool inverted = *ps->p == '^';
    if (inverted) ps->p++;
    while (*ps->p != ']') {
        OC_ASSERT(*ps->p);
        if (*ps->p == '%') {
            ps->p++;
            OC_TRY(escape(ps, s, &lo));
            if (lo < 0) continue;
        } else
            lo = (int)next_char(&ps->p);
        int hi = lo;
        if (ps->p[0] == '-' && ps->p[1] != ']') {
            ps->p++;
            if (*ps->p == '%') {
                ps->p++;
                OC_TRY(escape(ps, s, &hi));
            } else
                hi = (int)next_char(&ps->p);
        }
        OC_ASSERT(hi >= lo);
        OC_TRY(set_add(s, (unsigned)lo, (unsigned)hi, ps->err));
    }
    ps->p++;
    set_sort(s);
    return inverted ? set_invert(s, ps->err) : OC_OK;
}

static oc_status parse_macro(parser *ps, frag *f) {
    const char *end = strchr(ps->p, '}');
    OC_ASSERT(end);
    size_t n = (size_t)(end - ps->p);
    const oc_lex_macro *m = NULL;
    for (size_t i = 0; i < ps->lx->n_macros && !m; i++)
        if (strlen(ps->lx->macros[i].name) == n && !memcmp(ps->lx->macros[i].name, ps->p, n)) m = &ps->lx->macros[i];
    OC_ASSERT(m);
    parser inner = {ps->lx, m->pattern, ps->depth + 1, ps->err};
    OC_ASSERT(inner.depth < MAX_DEPTH); /* also what a macro that contains itself runs into */
    OC_TRY(parse_choice(&inner, f));
    OC_ASSERT(*inner.p == 0);
    ps->p = end + 1;
    return OC_OK;
}

static oc_status parse_atom(parser *ps, frag *f) {
    if (*ps->p == '(') {
        ps->p++;
        OC_ASSERT(++ps->depth < MAX_DEPTH);
        OC_TRY(parse_choice(ps, f));
        ps->depth--;
        OC_ASSERT(*ps->p == ')');
        ps->p++;
        return OC_OK;
    }
    if (*ps->p == '{') {
        ps->p++;
        return parse_macro(ps, f);
    }
    charset s = {0};
    int32_t id = 0;
    oc_status st = parse_set(ps, &s);
    if (st == OC_OK) set_sort(&s);
    if (st == OC_OK) st = set_intern(ps->lx, &s, &id, ps->err);
    oc_free(s.r);
    OC_TRY(st);
    OC_TRY(add_node(ps->lx, NODE_SPLIT, -1, -1, &f->out, ps->err));
    return add_node(ps->lx, NODE_SET, f->out, id, &f->in, ps->err);
}

static oc_status join(oc_lexer *lx, frag *f, frag next) {
    lx->nodes[f->out].a = next.in;
    f->out = next.out;
    return OC_OK;
}

static oc_status make_optional(parser *ps, frag *f, bool repeat) {
    int32_t in, out;
    OC_TRY(add_node(ps->lx, NODE_SPLIT, -1, -1, &out, ps->err));
    OC_TRY(add_node(ps->lx, NODE_SPLIT, f->in, out, &in, ps->err));
    ps->lx->nodes[f->out].a = repeat ? in : out;
    *f = (frag){in, out};
    return OC_OK;
}

/* An atom with what follows it: * + ? {m} {m,n}. Counted repeats parse the atom again for each copy. */
static oc_status parse_repeat(parser *ps, frag *f) {
    const char *atom = ps->p;
    OC_TRY(parse_atom(ps, f));
    int min = 1, max = 1; /* max 0: no limit */
    if (*ps->p == '*')
        min = 0, max = 0, ps->p++;
    else if (*ps->p == '+')
        min = 1, max = 0, ps->p++;
    else if (*ps->p == '?')
        min = 0, max = 1, ps->p++;
    else if (*ps->p == '{' && ps->p[1] >= '0' && ps->p[1] <= '9') {
        char *end;
        min = max = (int)strtol(ps->p + 1, &end, 10);
        if (*end == ',') max = (int)strtol(end + 1, &end, 10);
        OC_ASSERT(*end == '}' && max >= min && max > 0);
        ps->p = end + 1;
    }
    const char *after = ps->p;
    if (min == 0) OC_TRY(make_optional(ps, f, max == 0));
    for (int i = 1; i < OC_MAX(max, min + (max == 0 && min > 0)); i++) {
        frag next;
        ps->p = atom;
        OC_TRY(parse_atom(ps, &next));
        if (i >= min) OC_TRY(make_optional(ps, &next, max == 0));
        OC_TRY(join(ps->lx, f, next));
    }
    ps->p = after;
    return OC_OK;
}

static oc_status parse_sequence(parser *ps, frag *f) {
    OC_TRY(add_node(ps->lx, NODE_SPLIT, -1, -1, &f->in, ps->err));
    f->out = f->in;
    while (*ps->p && *ps->p != '|' && *ps->p != ')') {
        frag next;
        OC_TRY(parse_repeat(ps, &next));
        OC_TRY(join(ps->lx, f, next));
    }
    return OC_OK;
}

static oc_status parse_choice(parser *ps, frag *f) {
    OC_TRY(parse_sequence(ps, f));
    while (*ps->p == '|') {
        frag other;
        int32_t in, out;
        ps->p++;
        OC_TRY(parse_sequence(ps, &other));
        OC_TRY(add_node(ps->lx, NODE_SPLIT, f->in, other.in, &in, ps->err));
        OC_TRY(add_node(ps->lx, NODE_SPLIT, -1, -1, &out, ps->err));
        ps->lx->nodes[f->out].a = ps->lx->nodes[other.out].a = out;
        *f = (frag){in, out};
    }
    return OC_OK;
}

/* Appends pattern, and second if there is one, as one automaton that ends in MATCH(rule). */
static oc_status compile(oc_lexer *lx, const char *pattern, const char *second, int32_t rule, int32_t *entry,
                         oc_error *err) {
    frag f, g;
    parser ps = {lx, pattern, 0, err};
    OC_TRY(parse_choice(&ps, &f));
    OC_ASSERT(*ps.p == 0);
    if (second) {
        ps.p = second;
        OC_TRY(parse_choice(&ps, &g));
        OC_ASSERT(*ps.p == 0);
        OC_TRY(join(lx, &f, g));
    }
    int32_t match;
    OC_TRY(add_node(lx, NODE_MATCH, rule, -1, &match, err));
    lx->nodes[f.out].a = match;
    *entry = f.in;
    return OC_OK;
}

/* 4. Nodes to states ------------------------------------------------------------------------------------- */

static uint64_t hash_nodes(const int32_t *v, int32_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (int32_t i = 0; i < n; i++) h = (h ^ (uint32_t)v[i]) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    return h;
}

/* Sorts list[n] through the bits of its nodes, which takes a fraction of the time of comparing them. */
static void sort_nodes(oc_lexer *lx, int32_t n) {
    size_t lo = SIZE_MAX, hi = 0;
    for (int32_t i = 0; i < n; i++) {
        const size_t word = (size_t)lx->list[i] / 64;
        lx->reached[word] |= 1ull << (lx->list[i] % 64);
        lo = OC_MIN(lo, word);
        hi = OC_MAX(hi, word);
    }
    int32_t *to = lx->list;
    for (size_t word = lo; n > 0 && word <= hi; word++) {
        for (uint64_t bits = lx->reached[word]; bits; bits &= bits - 1)
            *to++ = (int32_t)(word * 64) + __builtin_ctzll(bits);
        lx->reached[word] = 0;
    }
}

/* Room for one more state. */
static oc_status grow_states(oc_lexer *lx, oc_error *err) {
    const size_t n = lx->n_states, had = lx->cap_states;
    if (n < had) return OC_OK;
    OC_TRY(grow(&lx->states, &lx->cap_states, n, sizeof *lx->states, err));
    const size_t row = (size_t)lx->n_classes * sizeof *lx->next;
    int32_t *next = oc_realloc(lx->next, had * row, lx->cap_states * row);
    if (next) lx->next = next;
    int32_t *rule = next ? oc_realloc(lx->rule, had * sizeof *rule, lx->cap_states * sizeof *rule) : NULL;
    if (!rule) {
        lx->cap_states = had;
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    }
    lx->rule = rule;
    return OC_OK;
}

/* Adds to list[*n] the SET and MATCH nodes that can be reached from `from` without reading. */
static void close_over(oc_lexer *lx, int32_t from, int32_t *n) {
    size_t top = 0;
    if (from >= 0 && lx->mark[from] != lx->stamp) lx->mark[from] = lx->stamp, lx->stack[top++] = from;
    while (top > 0) {
        int32_t i = lx->stack[--top];
        const node *nd = &lx->nodes[i];
        if (nd->type != NODE_SPLIT) {
            lx->list[(*n)++] = i;
            continue;
        }
        for (int k = 0; k < 2; k++) {
            int32_t to = k ? nd->b : nd->a;
            if (to >= 0 && lx->mark[to] != lx->stamp) lx->mark[to] = lx->stamp, lx->stack[top++] = to;
        }
    }
}

static oc_status rehash(oc_lexer *lx, oc_error *err) {
    size_t n = lx->n_buckets ? lx->n_buckets * 2 : 1024;
    int32_t *b = oc_alloc(n * sizeof *b);
    if (!b) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    memset(b, 0xff, n * sizeof *b);
    for (size_t i = 0; i < lx->n_states; i++) {
        size_t h = hash_nodes(lx->states[i].nodes, lx->states[i].n_nodes) & (n - 1);
        while (b[h] >= 0) h = (h + 1) & (n - 1);
        b[h] = (int32_t)i;
    }
    oc_free(lx->buckets);
    lx->buckets = b;
    lx->n_buckets = n;
    return OC_OK;
}

/* The state whose nodes are list[n]: an old one or a new one. */
static oc_status intern_state(oc_lexer *lx, int32_t n, int32_t *id, oc_error *err) {
    sort_nodes(lx, n);
    if (lx->n_states * 2 >= lx->n_buckets) OC_TRY(rehash(lx, err));
    size_t h = hash_nodes(lx->list, n) & (lx->n_buckets - 1);
    for (; lx->buckets[h] >= 0; h = (h + 1) & (lx->n_buckets - 1)) {
        const dstate *s = &lx->states[lx->buckets[h]];
        if (s->n_nodes == n && !memcmp(s->nodes, lx->list, (size_t)n * sizeof *lx->list)) {
            *id = lx->buckets[h];
            return OC_OK;
        }
    }
    OC_TRY(grow_states(lx, err));
    dstate s = {oc_alloc((size_t)n * sizeof *s.nodes), n};
    if (!s.nodes) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    memcpy(s.nodes, lx->list, (size_t)n * sizeof *s.nodes);
    int32_t *next = lx->next + lx->n_states * (size_t)lx->n_classes, *rule = &lx->rule[lx->n_states];
    for (int c = 0; c < lx->n_classes; c++) next[c] = UNMADE;
    *rule = -1;
    for (int32_t i = 0; i < n; i++) {
        const node *nd = &lx->nodes[s.nodes[i]];
        if (nd->type == NODE_MATCH && (*rule < 0 || nd->a < *rule)) *rule = nd->a;
    }
    *id = (int32_t)lx->n_states;
    lx->buckets[h] = *id;
    lx->states[lx->n_states++] = s;
    return OC_OK;
}

static inline int32_t *after(const oc_lexer *lx, int32_t state, int c) {
    return &lx->next[(size_t)state * (size_t)lx->n_classes + (size_t)c];
}

/* The state after reading a code unit of class c in state from. */
static oc_status make_next(oc_lexer *lx, int32_t from, int c, int32_t *to, oc_error *err) {
    int32_t n = 0;
    lx->stamp++;
    for (int32_t i = 0; i < lx->states[from].n_nodes; i++) {
        const node *nd = &lx->nodes[lx->states[from].nodes[i]];
        if (nd->type == NODE_SET && lx->sets[nd->b].in_class[c / 32] >> (c % 32) & 1) close_over(lx, nd->a, &n);
    }
    if (n == 0)
        *to = DEAD;
    else
        OC_TRY(intern_state(lx, n, to, err));
    *after(lx, from, c) = *to;
    return OC_OK;
}

static inline oc_status step(oc_lexer *lx, int32_t *state, uint16_t unit, oc_error *err) {
    int c = lx->class_of[unit];
    int32_t to = *after(lx, *state, c);
    if (to == UNMADE) OC_TRY(make_next(lx, *state, c, &to, err));
    *state = to;
    return OC_OK;
}

static oc_status start_state(oc_lexer *lx, const int32_t *entries, size_t n_entries, int32_t *state, oc_error *err) {
    int32_t n = 0;
    lx->stamp++;
    for (size_t i = 0; i < n_entries; i++) close_over(lx, entries[i], &n);
    return intern_state(lx, n, state, err);
}

/* 5. Public ---------------------------------------------------------------------------------------------- */

static oc_status build(oc_lexer *lx, oc_error *err) {
    int32_t *entry = oc_alloc(lx->n_rules * sizeof *entry);
    oc_status st = OC_OK;
    lx->head = oc_alloc(lx->n_rules * sizeof *lx->head);
    lx->tail = oc_alloc(lx->n_rules * sizeof *lx->tail);
    if (!entry || !lx->head || !lx->tail) {
        st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
        goto done;
    }
    OC_GO(add_properties(lx, err));
    for (size_t i = 0; i < lx->n_rules; i++) {
        const oc_lex_rule *r = &lx->rules[i];
        OC_GO(compile(lx, r->pattern, r->tail, (int32_t)i, &entry[i], err));
        lx->head[i] = lx->tail[i] = -1;
        if (!r->tail) continue;
        OC_GO(compile(lx, r->pattern, NULL, (int32_t)i, &lx->head[i], err));
        OC_GO(compile(lx, r->tail, NULL, (int32_t)i, &lx->tail[i], err));
    }
    OC_GO(make_classes(lx, err));
    lx->stack = oc_alloc(lx->n_nodes * sizeof *lx->stack);
    lx->list = oc_alloc(lx->n_nodes * sizeof *lx->list);
    lx->mark = oc_calloc(lx->n_nodes, sizeof *lx->mark);
    lx->reached = oc_calloc(lx->n_nodes / 64 + 1, sizeof *lx->reached);
    if (!lx->stack || !lx->list || !lx->mark || !lx->reached) {
        st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
        goto done;
    }
    OC_GO(start_state(lx, entry, lx->n_rules, &lx->start, err));
    for (size_t i = 0; i < lx->n_rules; i++) {
        if (!lx->rules[i].tail) continue;
        OC_GO(start_state(lx, &lx->head[i], 1, &lx->head[i], err));
        OC_GO(start_state(lx, &lx->tail[i], 1, &lx->tail[i], err));
    }
done:
    oc_free(entry);
    return st;
}

oc_status oc_lexer_open(oc_lexer **out, const oc_lex_macro *macros, size_t n_macros, const oc_lex_rule *rules,
                        size_t n_rules, oc_error *err) {
    *out = NULL;
    oc_lexer *lx = oc_calloc(1, sizeof *lx);
    if (!lx) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the caption tokenizer");
    *lx = (oc_lexer){.macros = macros, .n_macros = n_macros, .rules = rules, .n_rules = n_rules};
    oc_status st = build(lx, err);
    if (st != OC_OK) return oc_lexer_close(lx), st;
    *out = lx;
    return OC_OK;
}

void oc_lexer_close(oc_lexer *lx) {
    if (!lx) return;
    for (size_t i = 0; i < lx->n_sets; i++) oc_free(lx->sets[i].r);
    for (size_t i = 0; i < lx->n_states; i++) oc_free(lx->states[i].nodes);
    oc_free(lx->letter.r);
    oc_free(lx->digit.r);
    oc_free(lx->upper.r);
    oc_free(lx->sets);
    oc_free(lx->nodes);
    oc_free(lx->states);
    oc_free(lx->next);
    oc_free(lx->rule);
    oc_free(lx->reached);
    oc_free(lx->buckets);
    oc_free(lx->head);
    oc_free(lx->tail);
    oc_free(lx->stack);
    oc_free(lx->mark);
    oc_free(lx->list);
    oc_free(lx);
}

/* Where the slash of a rule stands in text[len]: the longest head whose rest is a tail. */
static oc_status split_at_tail(oc_lexer *lx, int rule, const uint16_t *text, size_t len, size_t *cut, oc_error *err) {
    *cut = 0;
    int32_t head = lx->head[rule];
    for (size_t i = 0; i < len; i++) {
        OC_TRY(step(lx, &head, text[i], err));
        if (head == DEAD) break;
        if (lx->rule[head] < 0) continue;
        int32_t tail = lx->tail[rule];
        size_t k = i + 1;
        for (; k < len && tail != DEAD; k++) OC_TRY(step(lx, &tail, text[k], err));
        if (tail != DEAD && lx->rule[tail] >= 0) *cut = i + 1;
    }
    OC_ASSERT(*cut > 0);
    return OC_OK;
}

oc_status oc_lexer_match(oc_lexer *lx, const uint16_t *text, size_t n, int *rule, size_t *len, oc_error *err) {
    int32_t state = lx->start;
    size_t end = 0;
    *rule = -1;
    *len = 0;
    for (size_t i = 0; i < n; i++) {
        OC_TRY(step(lx, &state, text[i], err));
        if (state == DEAD) break;
        if (lx->rule[state] < 0) continue;
        *rule = lx->rule[state];
        end = i + 1;
    }
    if (*rule < 0) return OC_OK;
    if (lx->rules[*rule].tail) OC_TRY(split_at_tail(lx, *rule, text, end, &end, err));
    if (lx->rules[*rule].keep && lx->rules[*rule].keep < end) end = lx->rules[*rule].keep;
    *len = end;
    return OC_OK;
}

size_t oc_lexer_states(const oc_lexer *lx) { return lx->n_states; }
