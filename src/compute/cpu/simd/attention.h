/* simd/attention: flash attention over key intervals (compute.h), forward, backward and for decoding, as text
 * that is compiled once for each instruction set and kind of word.
 *
 * Lanes are queries. A tile is up to LANES = 64 pairs (query row, head of one key/value head's group), lane l
 * being row l / heads and head l % heads. With the scores stored [key][lane], everything of the softmax
 * (mask, maximum, sum, rescaling) is the same operation in every lane, heads of a group share their keys, and
 * each of the products
 *
 *     S^T [key][lane]   = K [key][hs]   Q^T [hs][lane]          dP^T [key][lane] = V dO^T
 *     O^T [hs][lane]   += V^T [hs][key] P^T [key][lane]         dQ^T [hs][lane] += K^T dS^T
 *     dV  [key][hs]    += P^T [key][lane] dO [lane][hs]         dK   [key][hs]  += dS^T Q
 *
 * takes its left factor one number at a time from K, V, P, dS as they lie, spread over a register, and its
 * right factor as vectors. Only Q and dO are transposed, once a tile. K and V need no packing at all, apart
 * from the pairs below.
 *
 * Words. The products run on 32-bit words: one float (words_f32.h), or two bf16 neighbours of the summed
 * dimension (words_bf16.h), which one instruction multiplies and adds in f32. A sum over hs finds its pairs
 * in memory; for sums over keys and over lanes, rows are joined in twos (w_join_rows). Sums, softmax and D
 * are f32.
 *
 * One micro-kernel (mul) does all seven products: 4 rows by up to MAX_GROUP vectors of sums in registers, or
 * 8 rows where the vectors are so few that 4 would leave the multipliers waiting for each other. Scores are
 * kept in units of log2: p = 2^(c s - m), c = scale log2(e). */
#ifndef OC_SIMD_ATTENTION_H
#define OC_SIMD_ATTENTION_H

#include <math.h>
#include <string.h>

#include "compute/cpu/simd/attention_plan.h"
#include "compute/cpu/simd/vec.h"

enum {
    LANES = 64,
    KEYS = 64, /* keys of a block */
    MAX_HS = 128,
    MAX_STACK = 8,                /* heads of a group side by side in the lanes */
    MAX_GROUP = VL == 16 ? 4 : 3, /* vectors of a register tile */
    UNROLL_COUNT = VL == 16 ? 1 : 4,
};

#define LOG2E  1.4426950408889634f
#define FLOOR  (-1e30f) /* below every score: the maximum over no key */
#define MASKED (-2e30f) /* and this far below the floor, so that 2^(masked - floor) = 0 */

/* ---- The product ------------------------------------------------------------------------------
 * C [m][64 lanes or HS] (=, +=, or factor * C +) sum over r < count of A(i, r) B[r][...], B and C in nv
 * vectors. */

/* Memory that comes next: n rows of `bytes`. A product asks for it a little at a time while it runs: asked
 * for at once it would wait as long as the loads themselves, and rows lie too far apart for the hardware to
 * see them coming. */
typedef struct ahead {
    const char *p;
    size_t row, bytes, n; /* row: distance in bytes */
} ahead;

OC_INLINE void fetch(const ahead *x, size_t begin, size_t end) {
    for (size_t j = begin; j < end; j++)
        for (size_t i = 0; i < x->bytes; i += 64) __builtin_prefetch(x->p + j * x->row + i, 0, 2);
}

typedef struct product {
    float *c;
    size_t ldc;
    size_t m;
    const char *a; /* the word (i, r) is at a + i * a_row + r * a_step bytes, in any alignment */
    size_t a_row, a_step;
    const word *b;
    size_t ldb, count;
    size_t nv;
    ahead next;
} product;

typedef enum { SET, ADD, SCALE } mul_how;

OC_INLINE void mul_tile(const product *p, size_t i0, size_t v0, const int rows, const int nv, mul_how how,
                        const float *factor) {
    vf sum[8][4];
    const char *a[8];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        a[i] = p->a + (i0 + (size_t)i) * p->a_row;
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[i][v] = v_zero();
    }
    const word *b = p->b + v0 * VL;
    size_t step = p->a_step, at = 0, ldb = p->ldb;
    /* With 8 lanes the loop is bound by its instructions where another thread shares the core. */
#pragma GCC unroll UNROLL_COUNT
    for (size_t r = p->count; r > 0; r--, at += step, b += ldb) {
        vw right[4];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) right[v] = w_load(b + v * VL);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vw left = w_spread(a[i] + at);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[i][v] = w_mac(sum[i][v], left, right[v]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        float *c = p->c + (i0 + (size_t)i) * p->ldc + v0 * VL;
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            vf x = sum[i][v];
            if (how == ADD) x = x + v_load(c + v * VL);
            if (how == SCALE) x = v_fma(v_load(c + v * VL), v_load(factor + (v0 + (size_t)v) * VL), x);
            v_store(c + v * VL, x);
        }
    }
}

/* Rows in groups of 8, 4 or 1, and the share of what comes next before each. */
OC_INLINE void mul_columns(const product *p, size_t v0, const int nv, mul_how how, const float *factor) {
    size_t per_row = v0 == 0 ? (p->next.n << 16) / p->m + 1 : 0, asked = 0;
    for (size_t i = 0; i < p->m;) {
        size_t rows = p->m - i >= 4 ? 4 : 1;
        if ((nv == 1 || (nv == 2 && VL == 16)) && p->m - i >= 8) rows = 8;
        size_t ask = OC_MIN(((i + rows) * per_row) >> 16, p->next.n);
        fetch(&p->next, asked, ask);
        asked = OC_MAX(asked, ask);
        if (rows == 8 && (nv == 1 || (nv == 2 && VL == 16)))
            mul_tile(p, i, v0, 8, nv, how, factor);
        else if (rows == 4)
            mul_tile(p, i, v0, 4, nv, how, factor);
        else
            mul_tile(p, i, v0, 1, nv, how, factor);
        i += rows;
    }
}

OC_INLINE void mul_any(const product *p, mul_how how, const float *factor) {
    for (size_t v = 0; v < p->nv;) {
        size_t left = p->nv - v, now = left <= MAX_GROUP ? left : left == MAX_GROUP + 1 ? MAX_GROUP - 1 : MAX_GROUP;
        switch (now) { /* no lone vector after a full group: one vector is too little to hide the latency */
        case 1:
            mul_columns(p, v, 1, how, factor);
            break;
        case 2:
            mul_columns(p, v, 2, how, factor);
            break;
        case 3:
            mul_columns(p, v, 3, how, factor);
            break;
        default:
            mul_columns(p, v, MAX_GROUP, how, factor);
            break;
        }
        v += now;
    }
}

static void mul_set(const product *p) { mul_any(p, SET, NULL); }
static void mul_add(const product *p) { mul_any(p, ADD, NULL); }
static void mul_scale(const product *p, const float *factor) {
    mul_any(p, SCALE, factor);
} /* factor [64], a lane each */

/* ---- Lanes ------------------------------------------------------------------------------------ */

typedef struct lanes {
    size_t n, nv, ld; /* lanes in use, vectors that hold them, nv * VL: the row length of everything by lanes */
    int32_t lo[LANES], hi[LANES]; /* past n: as lane n-1 */
    size_t row[LANES], head[LANES];
} lanes;

static void set_lanes(lanes *l, const oc_attention *a, int32_t row, int32_t rows, int head0, int heads) {
    l->n = (size_t)(rows * heads);
    l->nv = (l->n + VL - 1) / VL;
    l->ld = l->nv * VL;
    for (size_t i = 0; i < l->n; i++) {
        l->row[i] = (size_t)row + i / (size_t)heads;
        l->head[i] = (size_t)head0 + i % (size_t)heads;
        l->lo[i] = a->lo[l->row[i]];
        l->hi[i] = a->hi[l->row[i]];
    }
    for (size_t i = l->n; i < l->ld; i++) l->lo[i] = l->lo[l->n - 1], l->hi[i] = l->hi[l->n - 1];
}

/* The lanes' heads in a tensor [rows][.. * HS] at stride ld. */
static void lane_rows(const void *row[LANES], const lanes *l, const void *x, int ld, const oc_attention *a) {
    for (size_t i = 0; i < l->n; i++) row[i] = oc_at(x, l->row[i] * (size_t)ld + l->head[i] * (size_t)a->HS, a->t);
}

/* out [HS / PAIR][l->ld] words, zero past n. */
static void pack_transposed(word *out, const void *const *row, const lanes *l, const oc_attention *a) {
    size_t words = (size_t)a->HS / PAIR;
    for (size_t l0 = 0; l0 < l->ld; l0 += VL)
        for (size_t w = 0; w < words; w += VL) {
            size_t k = OC_MIN(words - w, VL);
            vf x[VL];
#pragma GCC unroll 16
            for (size_t i = 0; i < VL; i++) x[i] = l0 + i < l->n ? w_row(row[l0 + i], w, k, a->t) : v_zero();
            v_transpose(x);
#pragma GCC unroll 16
            for (size_t i = 0; i < VL; i++)
                if (i < k) w_store_bits(out + (w + i) * l->ld + l0, x[i]);
        }
}

/* out [n / PAIR, rounded up][width] words of rows in twos; a missing last one is zero. Returns the number of
 * words' rows. */
static size_t pack_rows(word *out, size_t width, const void *const *row, size_t n, const oc_attention *a) {
    static const uint16_t nothing[MAX_HS * 2];
    size_t count = (n + PAIR - 1) / PAIR;
    for (size_t i = 0; i < count; i++) {
        const void *pair[PAIR];
        for (size_t j = 0; j < PAIR; j++) pair[j] = i * PAIR + j < n ? row[i * PAIR + j] : nothing;
        w_join_rows(out + i * width, pair, (size_t)a->HS, width, a->t);
    }
    return count;
}

/* Row of lane i = x^T [HS][l->ld] * factor[i], for every lane in use. */
static void store_lanes(void *y, int ld, const lanes *l, const float *x, const float *factor, const oc_attention *a) {
    size_t HS = (size_t)a->HS;
    for (size_t l0 = 0; l0 < l->n; l0 += VL)
        for (size_t h = 0; h < HS; h += VL) {
            size_t k = OC_MIN(HS - h, VL);
            vf t[VL], f = v_load(factor + l0);
#pragma GCC unroll 16
            for (size_t i = 0; i < VL; i++) {
                t[i] = v_zero();
                if (i < k) t[i] = v_load(x + (h + i) * l->ld + l0) * f;
            }
            v_transpose(t);
#pragma GCC unroll 16
            for (size_t i = 0; i < VL; i++)
                if (l0 + i < l->n) v_put(y, l->row[l0 + i] * (size_t)ld + l->head[l0 + i] * HS + h, k, t[i], a->t);
        }
}

/* ---- Keys ------------------------------------------------------------------------------------- */

/* One of K, V for one key/value head: key j is at base + j * stride elements. */
typedef struct keys {
    const void *base;
    size_t stride;
} keys;

/* A block of them as a left factor that is summed over hs: as it lies, or widened into `wide` where words are
 * floats and elements are not. */
typedef struct plain_block {
    const char *a;
    size_t row; /* bytes */
} plain_block;

static plain_block plain_keys(const keys *x, size_t key, size_t n, float *wide, const oc_attention *a) {
    size_t HS = (size_t)a->HS, element = oc_dtype_size(a->t);
    if (PAIR == 2 || a->t == OC_F32)
        return (plain_block){(const char *)x->base + key * x->stride * element, x->stride * element};
    for (size_t j = 0; j < n; j++)
        v_copy(wide + j * MAX_HS, OC_F32, oc_at(x->base, (key + j) * x->stride, a->t), OC_BF16, HS);
    return (plain_block){(const char *)wide, MAX_HS * sizeof *wide};
}

/* The same block as a left factor that is summed over keys: words (hs, key) at a + hs * sizeof(word) + key /
 * PAIR * row. Such a product passes over the block once for every 4 channels, so it is always copied: rows at
 * the distance of a fused QKV buffer fall on a few sets of the first-level cache and on a page each. */
static plain_block joined_keys(const keys *x, size_t key, size_t n, word *joined, const oc_attention *a) {
    if (PAIR == 1 && a->t == OC_F32) return plain_keys(x, key, n, (float *)(void *)joined, a);
    const void *row[KEYS];
    for (size_t j = 0; j < n; j++) row[j] = oc_at(x->base, (key + j) * x->stride, a->t);
    size_t width = ((size_t)a->HS + VL - 1) / VL * VL;
    pack_rows(joined, width, row, n, a);
    return (plain_block){(const char *)joined, width * sizeof *joined};
}

/* The block of keys that starts at `key`, nothing from `end` on. */
OC_INLINE ahead next_keys(const keys *x, int32_t key, int32_t end, const oc_attention *a) {
    if (key >= end) return (ahead){0};
    size_t element = oc_dtype_size(a->t);
    return (ahead){oc_at(x->base, (size_t)key * x->stride, a->t), x->stride * element, (size_t)a->HS * element,
                   (size_t)OC_MIN(end - key, KEYS)};
}

/* The lanes of a tile in a tensor [rows][heads * HS] at stride ld; t NULL: nothing. */
OC_INLINE ahead next_lanes(const void *x, int ld, const oc_attention_tile *t, int head0, int heads,
                           const oc_attention *a) {
    if (!t) return (ahead){0};
    size_t element = oc_dtype_size(a->t), HS = (size_t)a->HS, row = (size_t)ld;
    return (ahead){oc_at(x, (size_t)t->row * row + (size_t)head0 * HS, a->t), row * element,
                   (size_t)heads * HS * element, (size_t)t->rows};
}

/* Scores outside of the lanes' intervals become MASKED. */
static void mask_scores(float *s, size_t key, size_t n, const lanes *l) {
    for (size_t v = 0; v < l->nv; v++) {
        vi lo = vi_load(l->lo + v * VL), hi = vi_load(l->hi + v * VL);
        vf masked = v_set1(MASKED);
        for (size_t j = 0; j < n; j++) {
            vi at = vi_set1((int32_t)(key + j));
            vm seen = vm_and(vm_not(vi_less(at, lo)), vi_less(at, hi));
            float *p = s + j * l->ld + v * VL;
            v_store(p, v_select(seen, v_load(p), masked));
        }
    }
}

/* ---- Forward ---------------------------------------------------------------------------------- */

/* Queries under way: what the keys seen so far have left. */
typedef struct queries {
    word q[MAX_HS * LANES];                        /* Q^T */
    float o[MAX_HS * LANES];                       /* O^T */
    float top[LANES], total[LANES], factor[LANES]; /* running maximum (raw), sum, and what the last block scales by */
    bool fresh;                                    /* no keys yet: o is not set */
    lanes l;
} queries;

typedef struct fwd_scratch {
    float s[KEYS * LANES];      /* S^T */
    word p[KEYS * LANES];       /* P^T */
    float wide[KEYS * MAX_HS];  /* K as floats */
    word joined[KEYS * MAX_HS]; /* V in twos */
    queries tile;
} fwd_scratch;

static void start(queries *x, const void *q, const oc_attention *a) {
    const void *row[LANES];
    lane_rows(row, &x->l, q, a->ldq, a);
    pack_transposed(x->q, row, &x->l, a);
    for (size_t v = 0; v < x->l.ld; v += VL) v_store(x->top + v, v_set1(FLOOR)), v_store(x->total + v, v_zero());
    x->fresh = true;
}

/* One block of n keys: the maximum rises, S^T becomes P^T, and what was summed so far shrinks by factor. */
static void softmax_block(queries *x, word *p_out, const float *s_in, size_t n, float c) {
    size_t ld = x->l.ld;
    vf cv = v_set1(c);
    for (size_t v = 0; v < ld; v += VL) {
        const float *s = s_in + v;
        vf before = v_load(x->top + v), m0 = before, m1 = before;
        size_t j = 0;
        for (; j + 2 <= n; j += 2) m0 = v_max(v_load(s + j * ld), m0), m1 = v_max(v_load(s + (j + 1) * ld), m1);
        if (j < n) m0 = v_max(v_load(s + j * ld), m0);
        vf top = v_max(m0, m1), shift = v_zero() - top * cv, sum = v_zero();
        word *p = p_out + v;
        for (j = 0; j + PAIR <= n; j += PAIR) {
            vf e[PAIR];
#pragma GCC unroll 2
            for (size_t i = 0; i < PAIR; i++) {
                e[i] = w_exp2(v_fma(v_load(s + (j + i) * ld), cv, shift));
                sum = sum + e[i];
            }
            w_store_keys(p + j / PAIR * ld, e);
        }
        if (j < n) { /* PAIR 2, odd n: nothing beside the last key */
            vf e[2] = {w_exp2(v_fma(v_load(s + j * ld), cv, shift)), v_zero()};
            sum = sum + e[0];
            w_store_keys(p + j / PAIR * ld, e);
        }
        vf factor = w_exp2((before - top) * cv);
        v_store(x->top + v, top);
        v_store(x->total + v, v_fma(v_load(x->total + v), factor, sum));
        v_store(x->factor + v, factor);
    }
}

/* Queries x past keys [key, key + n), n <= KEYS; `masked`: not every lane sees all of them. */
static void pass_keys(queries *x, fwd_scratch *f, const keys *K, const keys *V, int32_t key, int32_t n, bool masked,
                      const oc_attention *a, const ahead next[2]) {
    size_t HS = (size_t)a->HS, at = (size_t)key, count = (size_t)n, nv = x->l.nv, ld = x->l.ld;
    plain_block k = plain_keys(K, at, count, f->wide, a);
    mul_set(&(product){f->s, ld, count, k.a, k.row, sizeof(word), x->q, ld, HS / PAIR, nv, next[0]});
    if (masked) mask_scores(f->s, at, count, &x->l);
    softmax_block(x, f->p, f->s, count, a->scale * LOG2E);
    plain_block v = joined_keys(V, at, count, f->joined, a);
    product o = {x->o, ld, HS, v.a, sizeof(word), v.row, f->p, ld, (count + PAIR - 1) / PAIR, nv, next[1]};
    if (x->fresh)
        mul_set(&o);
    else
        mul_scale(&o, x->factor);
    x->fresh = false;
}

/* factor = 1 / total, and lse; rows that see nothing: 0 and -inf. */
static void finish(queries *x, float *lse, const oc_attention *a) {
    float log_sum[LANES];
    if (x->fresh) memset(x->o, 0, (size_t)a->HS * x->l.ld * sizeof *x->o);
    for (size_t v = 0; v < x->l.ld; v += VL) {
        vf total = v_load(x->total + v);
        vm some = v_less(v_zero(), total);
        v_store(x->factor + v, v_select(some, v_set1(1.0f) / total, v_zero()));
        v_store(log_sum + v,
                v_select(some, v_fma(v_load(x->top + v), v_set1(a->scale), v_log(total)), v_set1(-INFINITY)));
    }
    for (size_t i = 0; lse && i < x->l.n; i++) lse[x->l.row[i] * (size_t)a->NH + x->l.head[i]] = log_sum[i];
}

/* A tile for one stack of heads; `next` will be read by the task after this one. */
static void forward_tile(fwd_scratch *f, void *o, float *lse, const void *q, const keys *K, const keys *V,
                         const oc_attention *a, const oc_attention_tile *t, int head0, int heads, const ahead *next) {
    ahead first = next_keys(K, t->key0, t->key1, a);
    fetch(&first, 0, first.n);
    set_lanes(&f->tile.l, a, t->row, t->rows, head0, heads);
    start(&f->tile, q, a);
    for (int32_t key = t->key0; key < t->key1; key += KEYS) {
        int32_t n = OC_MIN(t->key1 - key, KEYS);
        ahead then[2] = {next_keys(V, key, t->key1, a), *next};
        if (key + n < t->key1) then[1] = next_keys(K, key + n, t->key1, a);
        pass_keys(&f->tile, f, K, V, key, n, key < t->all0 || key + n > t->all1, a, then);
    }
    finish(&f->tile, lse, a);
    store_lanes(o, a->ldo, &f->tile.l, f->tile.o, f->tile.factor, a);
}

/* Heads of a group that share the lanes: the largest divisor of the group's size up to MAX_STACK. */
static int stack_of(const oc_attention *a) {
    int group = a->NH / a->NKV, n = OC_MIN(group, MAX_STACK);
    while (group % n) n--;
    return n;
}

static keys head_keys(const void *x, const oc_attention *a, int kv) {
    return (keys){oc_at(x, (size_t)kv * (size_t)a->HS, a->t), (size_t)a->ldkv};
}

/* Tasks that a thread takes at a time: neighbours share memory, and the next one is known. */
static int chunk_of(const oc_compute *c, int tasks) { return OC_MAX(1, tasks / (8 * c->threads)); }

static size_t work_of(const oc_attention *a) { return (size_t)a->N * (size_t)a->NH * (size_t)a->HS * 16; }

static void attention_fwd(oc_compute *c, void *o, float *lse, const void *q, const void *k, const void *v,
                          const oc_attention *a) {
    OC_ASSERT(a->HS % 4 == 0 && a->HS <= MAX_HS && a->scale > 0);
    int stack = stack_of(a), stacks = a->NH / stack;
    oc_attention_plan plan;
    oc_attention_plan_tiles(&plan, oc_compute_scratch(c, -1, oc_attention_plan_bytes(a->N)), a, LANES / stack);
    int tasks = stacks * plan.tiles;
    oc_compute_scratch_threads(c, sizeof(fwd_scratch));
#pragma omp parallel for schedule(dynamic, chunk_of(c, tasks)) num_threads(oc_cpu_team(c, work_of(a)))
    for (int task = tasks - 1; task >= 0; task--) { /* causal tiles at the end have the most keys: first */
        const oc_attention_tile *t = &plan.tile[task / stacks], *t2 = task > 0 ? &plan.tile[(task - 1) / stacks] : NULL;
        int head0 = task % stacks * stack, kv = head0 / (a->NH / a->NKV);
        ahead next = next_lanes(q, a->ldq, t2, (task - 1) % stacks * stack, stack, a);
        keys K = head_keys(k, a, kv), V = head_keys(v, a, kv);
        fwd_scratch *f = oc_compute_scratch(c, omp_get_thread_num(), sizeof *f);
        forward_tile(f, o, lse, q, &K, &V, a, t, head0, stack, &next);
    }
}

/* ---- Backward ---------------------------------------------------------------------------------
 * With P = 2^(c S - lse log2(e)) recomputed, D = rowsum(dO * O) and dS = P (dP - D):
 *     dQ = scale dS K,  dK = scale dS^T Q,  dV = P^T dO
 * A task takes the tiles of one part (attention_plan.h) for one key/value head, so that the sums of its keys
 * are its own; dQ^T of a tile is complete when its keys have been passed. */
typedef struct bwd_scratch {
    word q[MAX_HS * LANES], dO[MAX_HS * LANES];           /* transposed */
    word q_rows[LANES * MAX_HS], dO_rows[LANES * MAX_HS]; /* as rows, in twos */
    float dq[MAX_HS * LANES];                             /* dQ^T */
    float s[KEYS * LANES], dp[KEYS * LANES];              /* S^T, dP^T */
    word p[KEYS * LANES], ds[KEYS * LANES];               /* P^T, dS^T for sums over lanes */
    word ds_keys[KEYS * LANES];                           /* dS^T for the sum over keys, in twos; floats need no copy */
    float wide[2][KEYS * MAX_HS];
    word joined[KEYS * MAX_HS / PAIR];         /* K in twos */
    float lse[LANES], D[LANES], factor[LANES]; /* lse in units of log2 */
    lanes l;
} bwd_scratch;

typedef struct bwd_args {
    void *dq, *dk, *dv;
    const void *dO, *o, *q, *k, *v;
    const float *lse;
    const oc_attention *a;
    const oc_attention_plan *plan;
    size_t width;     /* HS rounded up to vectors: row length of the sums */
    int heads, stack; /* of a group; side by side in the lanes */
} bwd_args;

/* Sums of dK and dV of one part: rows [key0, key1) of `width` floats each. */
typedef struct key_sums {
    float *dk, *dv;
    int32_t key0;
} key_sums;

/* Past the last lane, and for rows that see nothing, lse is so large that P = 0. */
static void load_tile(bwd_scratch *f, const bwd_args *x) {
    const oc_attention *a = x->a;
    lanes *l = &f->l;
    const void *q[LANES], *dO[LANES], *o[LANES];
    lane_rows(q, l, x->q, a->ldq, a);
    lane_rows(dO, l, x->dO, a->ldo, a);
    lane_rows(o, l, x->o, a->ldo, a);
    pack_transposed(f->q, q, l, a);
    pack_transposed(f->dO, dO, l, a);
    size_t count = pack_rows(f->q_rows, x->width, q, l->n, a), all = l->ld / PAIR;
    pack_rows(f->dO_rows, x->width, dO, l->n, a);
    memset(f->q_rows + count * x->width, 0, (all - count) * x->width * sizeof(word));
    memset(f->dO_rows + count * x->width, 0, (all - count) * x->width * sizeof(word));
    for (size_t i = 0; i < l->ld; i++) {
        bool sees = i < l->n && l->lo[i] < l->hi[i];
        f->lse[i] = sees ? x->lse[l->row[i] * (size_t)a->NH + l->head[i]] * LOG2E : -FLOOR;
        vf D = v_zero();
        if (sees) V_EACH(j, k, 0, (size_t)a->HS, { D = v_fma(v_get(dO[i], j, k, a->t), v_get(o[i], j, k, a->t), D); });
        f->D[i] = v_sum(D);
        f->factor[i] = a->scale;
    }
}

/* S^T and dP^T of n keys become P^T and dS^T. */
static void score_gradient(bwd_scratch *f, size_t n, float c) {
    size_t ld = f->l.ld;
    vf cv = v_set1(c);
    for (size_t v = 0; v < ld; v += VL) {
        vf shift = v_zero() - v_load(f->lse + v), D = v_load(f->D + v);
        for (size_t j = 0; j < n; j += PAIR) {
            vf ds[PAIR];
#pragma GCC unroll 2
            for (size_t i = 0; i < PAIR; i++) {
                ds[i] = v_zero();
                if (j + i >= n) continue; /* PAIR 2, odd n */
                size_t at = (j + i) * ld + v;
                vf p = w_exp2(v_fma(v_load(f->s + at), cv, shift));
                ds[i] = p * (v_load(f->dp + at) - D);
                w_store_lanes(f->p + (j + i) * ld / PAIR, v, p);
                w_store_lanes(f->ds + (j + i) * ld / PAIR, v, ds[i]);
            }
            if (PAIR == 2) w_store_keys(f->ds_keys + j / PAIR * ld + v, ds);
        }
    }
}

/* A tile and the first of its heads. */
typedef struct place {
    const oc_attention_tile *tile;
    int head0;
} place;

static void backward_tile(bwd_scratch *f, const bwd_args *x, place now, place then, const key_sums *sums) {
    const oc_attention *a = x->a;
    const oc_attention_tile *t = now.tile;
    int head0 = now.head0, stack = x->stack;
    size_t HS = (size_t)a->HS, width = x->width;
    keys K = head_keys(x->k, a, head0 / x->heads), V = head_keys(x->v, a, head0 / x->heads);
    ahead first = next_keys(&K, t->key0, t->key1, a);
    fetch(&first, 0, first.n);
    set_lanes(&f->l, a, t->row, t->rows, head0, stack);
    load_tile(f, x);
    size_t nv = f->l.nv, ld = f->l.ld;
    memset(f->dq, 0, HS * ld * sizeof *f->dq);
    for (int32_t key = t->key0; key < t->key1; key += KEYS) {
        size_t at = (size_t)key, n = (size_t)OC_MIN(t->key1 - key, KEYS), row = (size_t)(key - sums->key0) * width;
        plain_block k = plain_keys(&K, at, n, f->wide[0], a);
        mul_set(
            &(product){f->s, ld, n, k.a, k.row, sizeof(word), f->q, ld, HS / PAIR, nv, next_keys(&V, key, t->key1, a)});
        plain_block v = plain_keys(&V, at, n, f->wide[1], a);
        ahead next[4] = {next_keys(&K, key + KEYS, t->key1, a)};
        if (key + KEYS >= t->key1) { /* the last block: the next tile, and where this one's gradient goes */
            next[0] = next_lanes(x->q, a->ldq, then.tile, then.head0, stack, a);
            next[1] = next_lanes(x->dO, a->ldo, then.tile, then.head0, stack, a);
            next[2] = next_lanes(x->o, a->ldo, then.tile, then.head0, stack, a);
            next[3] = next_lanes(x->dq, a->ldq, t, head0, stack, a);
        }
        mul_set(&(product){f->dp, ld, n, v.a, v.row, sizeof(word), f->dO, ld, HS / PAIR, nv, next[0]});
        if (key < t->all0 || key + (int32_t)n > t->all1) mask_scores(f->s, at, n, &f->l);
        score_gradient(f, n, a->scale * LOG2E);
        size_t p_row = ld / PAIR * sizeof(word), hs = width / VL;
        const char *p = (const char *)f->p, *ds = (const char *)f->ds;
        mul_add(
            &(product){sums->dv + row, width, n, p, p_row, sizeof(word), f->dO_rows, width, ld / PAIR, hs, next[1]});
        mul_add(
            &(product){sums->dk + row, width, n, ds, p_row, sizeof(word), f->q_rows, width, ld / PAIR, hs, next[2]});
        plain_block kt = joined_keys(&K, at, n, f->joined, a);
        const word *ds_keys = PAIR == 1 ? f->ds : f->ds_keys;
        mul_add(&(product){f->dq, ld, HS, kt.a, sizeof(word), kt.row, ds_keys, ld, (n + PAIR - 1) / PAIR, nv, next[3]});
    }
    store_lanes(x->dq, a->ldq, &f->l, f->dq, f->factor, a);
}

/* All tiles of a part, all heads of the group of key/value head kv; `after` is what the thread will probably
 * do next. */
static void backward_part(bwd_scratch *f, const bwd_args *x, const oc_attention_part *p, int kv, place after,
                          const key_sums *sums) {
    size_t bytes = (size_t)(p->key1 - p->key0) * x->width * sizeof(float);
    memset(sums->dk, 0, bytes);
    memset(sums->dv, 0, bytes);
    place now = {&x->plan->tile[p->tile0], kv * x->heads};
    for (const oc_attention_tile *end = &x->plan->tile[p->tile1]; now.tile < end;) {
        place then = {now.tile, now.head0 + x->stack};
        if (then.head0 == (kv + 1) * x->heads) then = (place){now.tile + 1, kv * x->heads};
        backward_tile(f, x, now, then.tile < end ? then : after, sums);
        now = then;
    }
}

/* dk and dv of keys [begin, end) that a component owns: the sums of its parts in order, the first at `first`.
 */
static void store_key_sums(const bwd_args *x, const oc_attention_component *c, int kv, int32_t begin, int32_t end,
                           const float *dk, const float *dv) {
    const oc_attention *a = x->a;
    for (int32_t key = begin; key < end; key++) {
        size_t to = (size_t)key * (size_t)a->ldkv + (size_t)kv * (size_t)a->HS;
        V_EACH(i, k, 0, (size_t)a->HS, {
            vf sum_k = v_zero();
            vf sum_v = v_zero();
            for (int32_t j = c->part0; j < c->part1; j++) {
                const oc_attention_part *p = &x->plan->part[j];
                if (key < p->key0 || key >= p->key1) continue;
                size_t at = (p->offset - x->plan->part[c->part0].offset + (size_t)(key - p->key0)) * x->width + i;
                sum_k = sum_k + v_load(dk + at);
                sum_v = sum_v + v_load(dv + at);
            }
            v_put(x->dk, to + i, k, sum_k * v_set1(a->scale), a->t);
            v_put(x->dv, to + i, k, sum_v, a->t);
        });
    }
}

/* The first tile of task (part, kv); none for task -1. */
static place start_of(const bwd_args *x, int task) {
    if (task < 0) return (place){0};
    int NKV = x->a->NKV;
    return (place){&x->plan->tile[x->plan->part[task / NKV].tile0], task % NKV * x->heads};
}

/* Components of one part: a task sums in its thread's memory and stores at once. */
static void backward_whole(oc_compute *c, const bwd_args *x) {
    const oc_attention_plan *plan = x->plan;
    size_t size = (size_t)plan->most_rows * x->width;
    int tasks = x->a->NKV * plan->components;
    oc_compute_scratch_threads(c, sizeof(bwd_scratch) + 2 * size * sizeof(float));
#pragma omp parallel for schedule(dynamic, chunk_of(c, tasks)) num_threads(oc_cpu_team(c, work_of(x->a)))
    for (int task = tasks - 1; task >= 0; task--) {
        int kv = task % x->a->NKV;
        const oc_attention_component *part_of = &plan->component[task / x->a->NKV];
        const oc_attention_part *p = &plan->part[part_of->part0];
        bwd_scratch *f = oc_compute_scratch(c, omp_get_thread_num(), sizeof *f + 2 * size * sizeof(float));
        float *sum = (float *)(void *)(f + 1);
        key_sums sums = {sum, sum + size, p->key0};
        backward_part(f, x, p, kv, start_of(x, task - 1), &sums);
        store_key_sums(x, part_of, kv, part_of->own0, part_of->own1, sums.dk, sums.dv);
    }
}

/* Few components: parts sum in shared memory, and the rows of dk and dv are added up afterwards. */
static void backward_parts(oc_compute *c, const bwd_args *x, float *shared) {
    const oc_attention_plan *plan = x->plan;
    int NKV = x->a->NKV;
    size_t size = plan->part_rows * x->width; /* floats of dk, or of dv, for one key/value head */
    oc_compute_scratch_threads(c, sizeof(bwd_scratch));
#pragma omp parallel for schedule(dynamic) num_threads(oc_cpu_team(c, work_of(x->a)))
    for (int task = NKV * plan->parts - 1; task >= 0; task--) {
        int kv = task % NKV;
        const oc_attention_part *p = &plan->part[task / NKV];
        bwd_scratch *f = oc_compute_scratch(c, omp_get_thread_num(), sizeof *f);
        float *sum = shared + (size_t)kv * 2 * size + p->offset * x->width;
        key_sums sums = {sum, sum + size, p->key0};
        backward_part(f, x, p, kv, start_of(x, task - 1), &sums);
    }
    enum { ROWS = 16 };
    for (int32_t i = 0; i < plan->components; i++) {
        const oc_attention_component *part_of = &plan->component[i];
        int blocks = (part_of->own1 - part_of->own0 + ROWS - 1) / ROWS;
#pragma omp parallel for schedule(static) num_threads(oc_cpu_team(c, work_of(x->a)))
        for (int task = 0; task < blocks * NKV; task++) {
            int kv = task % NKV;
            int32_t begin = part_of->own0 + task / NKV * ROWS;
            const float *dk = shared + (size_t)kv * 2 * size + plan->part[part_of->part0].offset * x->width;
            store_key_sums(x, part_of, kv, begin, OC_MIN(begin + ROWS, part_of->own1), dk, dk + size);
        }
    }
}

static void attention_bwd(oc_compute *c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse,
                          const void *q, const void *k, const void *v, const oc_attention *a) {
    OC_ASSERT(a->HS % 4 == 0 && a->HS <= MAX_HS && a->scale > 0);
    oc_attention_plan plan;
    bwd_args x = {dq,         dk, dv, dO, o, q, k, v, lse, a, &plan, ((size_t)a->HS + VL - 1) / VL * VL, a->NH / a->NKV,
                  stack_of(a)};
    size_t bytes = oc_attention_plan_bytes(a->N);
    for (size_t sums = 0;
         ;) { /* a second time when the plan says that sums are shared, now with room for them behind it */
        char *memory = oc_compute_scratch(c, -1, bytes + sums);
        oc_attention_plan_tiles(&plan, memory, a, LANES / x.stack);
        oc_attention_plan_parts(&plan, a, a->NKV);
        if (plan.parts == plan.components) {
            backward_whole(c, &x);
            return;
        }
        if (sums > 0) {
            backward_parts(c, &x, (float *)(void *)(memory + (bytes + 63) / 64 * 64));
            return;
        }
        sums = plan.part_rows * x.width * 2 * (size_t)a->NKV * sizeof(float) + 64;
    }
}

/* ---- Decoding ---------------------------------------------------------------------------------
 * One query row a sequence, so the time is that of reading the caches: a task takes CHUNK keys of one
 * sequence past all heads, in the order in which they lie in memory, and leaves its unnormalised sums (split
 * by keys: Flash-Decoding). The lanes are the heads of a group. Afterwards the chunks of a sequence are
 * joined in order. */
enum { CHUNK = 256 };

/* What a chunk leaves for one head: [HS] sums follow top and total. */
static size_t partial_size(const oc_attention *a) { return (size_t)a->HS + 2; }

static void decode_chunk(fwd_scratch *f, queries *x, float *partial, const void *q, const void *kcache,
                         const void *vcache, int32_t begin, int32_t end, int stack, const oc_attention *a) {
    int stacks = a->NH / stack, group = a->NH / a->NKV;
    for (int i = 0; i < stacks; i++) {
        set_lanes(&x[i].l, a, 0, 1, i * stack, stack);
        start(&x[i], q, a);
    }
    oc_attention whole = *a; /* all heads of a key as one row, for asking ahead */
    whole.HS = a->ldkv;
    keys all_k = head_keys(kcache, a, 0), all_v = head_keys(vcache, a, 0);
    for (int32_t key = begin; key < end; key += KEYS) {
        int32_t n = OC_MIN(end - key, KEYS);
        for (int i = 0; i < stacks; i++) {
            /* each stack asks for its share of the next block */
            int32_t from = key + n + n * i / stacks, to = OC_MIN(key + n + n * (i + 1) / stacks, end);
            const ahead next[2] = {next_keys(&all_k, from, to, &whole), next_keys(&all_v, from, to, &whole)};
            keys K = head_keys(kcache, a, i * stack / group), V = head_keys(vcache, a, i * stack / group);
            pass_keys(&x[i], f, &K, &V, key, n, false, a, next);
        }
    }
    for (int i = 0; i < stacks; i++)
        for (size_t l = 0; l < x[i].l.n; l++) {
            float *y = partial + x[i].l.head[l] * partial_size(a);
            y[0] = x[i].top[l], y[1] = x[i].total[l];
            for (size_t h = 0; h < (size_t)a->HS; h++) y[2 + h] = x[i].o[h * x[i].l.ld + l];
        }
}

/* o of one head from `count` chunks, `step` floats apart. */
static void join_chunks(void *o, const float *partial, size_t count, size_t step, const oc_attention *a) {
    float top = FLOOR, total = 0, weight, sum[MAX_HS] = {0};
    for (size_t i = 0; i < count; i++) top = OC_MAX(top, partial[i * step]);
    for (size_t i = 0; i < count; i++) {
        const float *y = partial + i * step;
        weight = expf((y[0] - top) * a->scale);
        total += y[1] * weight;
        for (int h = 0; h < a->HS; h++) sum[h] += y[2 + h] * weight;
    }
    vf f = v_set1(total > 0 ? 1.0f / total : 0.0f);
    V_EACH(h, k, 0, (size_t)a->HS, { v_put(o, h, k, v_get(sum, h, k, OC_F32) * f, a->t); });
}

static int32_t chunks_of(int32_t len) { return (len + CHUNK - 1) / CHUNK; }

static void attention_decode(oc_compute *c, void *o, const void *q, const void *kcache, const void *vcache,
                             const int32_t *start, const int32_t *len, int B, const oc_attention *a) {
    OC_ASSERT(a->HS % 4 == 0 && a->HS <= MAX_HS && a->scale > 0);
    const size_t width = (size_t)(a->NKV * a->HS);
    int stack = stack_of(a), tasks = 0, stacks = a->NH / stack;
    for (int b = 0; b < B; b++) tasks += chunks_of(len[b]);
    size_t step = (size_t)a->NH * partial_size(a);
    /* first[b], first task of sequence b; then the partial sums of all tasks */
    size_t header = ((size_t)B + 1) * sizeof(int32_t) / 64 * 64 + 64;
    int32_t *first = oc_compute_scratch(c, -1, header + (size_t)tasks * step * sizeof(float));
    float *partial = (float *)(void *)((char *)first + header);
    first[0] = 0;
    for (int b = 0; b < B; b++) first[b + 1] = first[b] + chunks_of(len[b]);
    int team = oc_cpu_team(c, (size_t)tasks * CHUNK * (size_t)(a->NH * a->HS));
    oc_compute_scratch_threads(c, sizeof(fwd_scratch) + (size_t)stacks * sizeof(queries));
#pragma omp parallel for schedule(dynamic) num_threads(team)
    for (int task = 0; task < tasks; task++) {
        int b = 0;
        while (first[b + 1] <= task) b++;
        static const int32_t zero = 0;
        oc_attention one = *a;
        one.N = 1, one.ldkv = a->NKV * a->HS, one.lo = &zero, one.hi = &len[b];
        int32_t begin = (task - first[b]) * CHUNK;
        fwd_scratch *f = oc_compute_scratch(c, omp_get_thread_num(), sizeof *f + (size_t)stacks * sizeof(queries));
        decode_chunk(f, (queries *)(void *)(f + 1), partial + (size_t)task * step,
                     oc_at(q, (size_t)b * (size_t)a->ldq, a->t), oc_at(kcache, (size_t)start[b] * width, a->t),
                     oc_at(vcache, (size_t)start[b] * width, a->t), begin, OC_MIN(begin + CHUNK, len[b]), stack, &one);
    }
    for (int b = 0; b < B; b++)
        for (int h = 0; h < a->NH; h++)
            join_chunks(oc_at_mut(o, (size_t)b * (size_t)a->ldo + (size_t)(h * a->HS), a->t),
                        partial + (size_t)first[b] * step + (size_t)h * partial_size(a),
                        (size_t)(first[b + 1] - first[b]), step, a);
}

#endif
