/* oneDNN behind oc_gemm: one matmul primitive per shape, weights in the layout that oneDNN likes best.
 *
 * Making a primitive takes about 0.1 ms (the code generator's results are shared by shapes), executing one
 * for a small model not much more, and the number of tokens changes from step to step: primitives are kept in
 * a small cache, the one that was used longest ago is dropped first. A packed weight outlives them: its
 * layout is asked for once, for PACK_ROWS rows, and then given to the primitives of all other row counts.
 *
 * oneDNN takes its number of threads from the OpenMP runtime (oc_cpu_use_threads). A call that it refuses is
 * a broken promise of the caller, who checked shapes and types: it aborts. */
#include <dnnl.h>
#include <string.h>

#include "compute/cpu/gemm/gemm.h"

enum { CACHE = 192, PACK_ROWS = 1024 };

typedef enum { MATMUL, REORDER } kind;

/* All that a primitive depends on; compared as bytes, so every field is set and padding is zero. */
typedef struct cache_key {
    int64_t m, n, k;
    int64_t lda, ldb, ldc;
    int32_t a_type, b_type, c_type;
    uint8_t kind, a_trans, b_trans, packed, bias, accumulate, pad[5];
} cache_key;

typedef struct cache_entry {
    cache_key key;
    uint64_t used; /* clock of the last use; 0: empty */
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, bias; /* without data: handles are set before each execution */
} cache_entry;

struct oc_gemm_dnnl {
    oc_compute *compute; /* that it belongs to */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    uint64_t clock;
    cache_entry entry[CACHE];
};

typedef struct pack {
    dnnl_memory_desc_t md;
    void *data;
} pack;

#define CHECK(call) OC_ASSERT((call) == dnnl_success)

static dnnl_data_type_t type_of(oc_dtype t) { return t == OC_F32 ? dnnl_f32 : dnnl_bf16; }

static void describe(dnnl_memory_desc_t *md, int64_t rows, int64_t cols, int32_t type, int64_t ld,
                     bool trans) {
    dnnl_dims_t dims = {rows, cols};
    dnnl_dims_t strides = {trans ? 1 : ld, trans ? ld : 1};
    CHECK(dnnl_memory_desc_init_by_strides(md, 2, dims, (dnnl_data_type_t)type, strides));
}

/* ---- The cache ------------------------------------------------------------------------------------- */

static void clear(cache_entry *e) {
    if (e->used == 0) return;
    dnnl_primitive_destroy(e->primitive);
    dnnl_memory_destroy(e->a);
    dnnl_memory_destroy(e->b);
    dnnl_memory_destroy(e->c);
    if (e->bias) dnnl_memory_destroy(e->bias);
    memset(e, 0, sizeof *e);
}

/* The entry of this key, or an empty one (used == 0) to be filled by the caller. */
static cache_entry *find(oc_gemm_dnnl *d, const cache_key *key) {
    cache_entry *oldest = &d->entry[0];
    for (int i = 0; i < CACHE; i++) {
        cache_entry *e = &d->entry[i];
        if (e->used && memcmp(&e->key, key, sizeof *key) == 0) return e;
        if (e->used < oldest->used) oldest = e;
    }
    clear(oldest);
    oldest->key = *key;
    return oldest;
}

/* A memory object without data; its handle is set before each execution. */
static dnnl_memory_t memory_for(const oc_gemm_dnnl *d, const dnnl_memory_desc_t *md) {
    dnnl_memory_t m;
    CHECK(dnnl_memory_create(&m, md, d->engine, DNNL_MEMORY_NONE));
    return m;
}

static void give(dnnl_memory_t m, const void *data) {
    CHECK(dnnl_memory_set_data_handle(m, (void *)(uintptr_t)data));
}

/* ---- Products -------------------------------------------------------------------------------------- */

static dnnl_status_t matmul(dnnl_primitive_desc_t *pd, const oc_gemm_dnnl *d, const dnnl_memory_desc_t *a,
                            const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *bias,
                            const dnnl_memory_desc_t *c, bool accumulate) {
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    CHECK(dnnl_matmul_desc_init(&desc, a, b, bias, c));
    CHECK(dnnl_primitive_attr_create(&attr));
    CHECK(dnnl_post_ops_create(&ops));
    if (accumulate) CHECK(dnnl_post_ops_append_sum(ops, 1.0f));
    CHECK(dnnl_primitive_attr_set_post_ops(attr, ops));
    dnnl_status_t st = dnnl_primitive_desc_create(pd, &desc, attr, d->engine, NULL);
    dnnl_post_ops_destroy(ops);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

static void fill_matmul(oc_gemm_dnnl *d, cache_entry *e, const pack *packed) {
    const cache_key *k = &e->key;
    dnnl_memory_desc_t a, b, c, bias;
    dnnl_dims_t bias_dims = {1, k->n};
    dnnl_primitive_desc_t pd;
    describe(&a, k->m, k->k, k->a_type, k->lda, k->a_trans);
    describe(&c, k->m, k->n, k->c_type, k->ldc, false);
    if (packed)
        b = packed->md;
    else
        describe(&b, k->k, k->n, k->b_type, k->ldb, k->b_trans);
    CHECK(dnnl_memory_desc_init_by_tag(&bias, 2, bias_dims, dnnl_f32, dnnl_ab));
    CHECK(matmul(&pd, d, &a, &b, k->bias ? &bias : NULL, &c, k->accumulate));
    CHECK(dnnl_primitive_create(&e->primitive, pd));
    dnnl_primitive_desc_destroy(pd);
    e->a = memory_for(d, &a);
    e->b = memory_for(d, &b);
    e->c = memory_for(d, &c);
    e->bias = k->bias ? memory_for(d, &bias) : NULL;
}

static void execute(oc_gemm_dnnl *d, cache_entry *e, int count, const dnnl_exec_arg_t *args) {
    e->used = ++d->clock;
    CHECK(dnnl_primitive_execute(e->primitive, d->stream, count, args));
    CHECK(dnnl_stream_wait(d->stream));
}

/* ---- Packed weights -------------------------------------------------------------------------------- */

static oc_gemm_view view_of(const oc_gemm *g) { return g->b.trans ? OC_GEMM_FORWARD : OC_GEMM_BACKWARD; }

static pack *new_pack(const oc_gemm_dnnl *d, const oc_gemm *g) {
    dnnl_memory_desc_t a, b, c;
    dnnl_dims_t dims = {g->k, g->n};
    pack *p = oc_alloc(sizeof *p);
    if (!p) oc_compute_give_up(d->compute, sizeof *p);
    int32_t type = type_of(g->t);
    describe(&a, PACK_ROWS, g->k, type, g->k, false);
    describe(&c, PACK_ROWS, g->n, type, g->n, false);
    CHECK(dnnl_memory_desc_init_by_tag(&b, 2, dims, (dnnl_data_type_t)type, dnnl_format_tag_any));
    dnnl_primitive_desc_t pd;
    CHECK(matmul(&pd, d, &a, &b, NULL, &c, false));
    p->md = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(pd);
    size_t bytes = dnnl_memory_desc_get_size(&p->md);
    if (!(p->data = oc_alloc(bytes))) {
        oc_free(p);
        oc_compute_give_up(d->compute, bytes);
    }
    return p;
}

/* Copies the source, in its own type, into the layout and type of the pack. */
static void refresh(oc_gemm_dnnl *d, const oc_gemm *g, const pack *p) {
    cache_key key = {.n = g->n,
                     .k = g->k,
                     .ldb = (int64_t)g->b.ld,
                     .b_trans = g->b.trans,
                     .kind = REORDER,
                     .a_type = type_of(g->t),
                     .b_type = type_of(g->b.type)};
    cache_entry *e = find(d, &key);
    if (e->used == 0) {
        dnnl_memory_desc_t from;
        dnnl_primitive_desc_t pd;
        describe(&from, key.k, key.n, key.b_type, key.ldb, key.b_trans);
        CHECK(dnnl_reorder_primitive_desc_create(&pd, &from, d->engine, &p->md, d->engine, NULL));
        CHECK(dnnl_primitive_create(&e->primitive, pd));
        dnnl_primitive_desc_destroy(pd);
        e->a = memory_for(d, &from);
        e->b = memory_for(d, &p->md);
        e->c = memory_for(d, &p->md);
    }
    give(e->a, g->b.p);
    give(e->b, p->data);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, e->a}, {DNNL_ARG_TO, e->b}};
    execute(d, e, 2, args);
}

static const pack *packed(oc_gemm_dnnl *d, const oc_gemm *g) {
    oc_gemm_view v = view_of(g);
    if (!g->w->pack[v]) g->w->pack[v] = new_pack(d, g);
    if (!g->w->fresh[v]) refresh(d, g, g->w->pack[v]);
    g->w->fresh[v] = true;
    return g->w->pack[v];
}

void oc_gemm_dnnl_pack_free(void *p) {
    if (!p) return;
    oc_free(((pack *)p)->data);
    oc_free(p);
}

/* ---- What gemm.c calls ----------------------------------------------------------------------------- */

oc_gemm_dnnl *oc_gemm_dnnl_open(oc_compute *c) {
    if (oc_cpu_of(c)->features.amx) dnnl_set_max_cpu_isa(dnnl_cpu_isa_all); /* refused once oneDNN has chosen; it works without */
    oc_gemm_dnnl *d = oc_calloc(1, sizeof *d);
    if (!d) oc_compute_give_up(c, sizeof *d);
    d->compute = c;
    CHECK(dnnl_engine_create(&d->engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags));
    return d;
}

void oc_gemm_dnnl_close(oc_gemm_dnnl *d) {
    if (!d) return;
    for (int i = 0; i < CACHE; i++) clear(&d->entry[i]);
    dnnl_stream_destroy(d->stream);
    dnnl_engine_destroy(d->engine);
    oc_free(d);
}

int oc_gemm_dnnl_cached(const oc_gemm_dnnl *d) {
    int n = 0;
    for (int i = 0; i < CACHE; i++) n += d->entry[i].used != 0;
    return n;
}

void oc_gemm_dnnl_run(oc_gemm_dnnl *d, const oc_gemm *g, const float *bias) {
    const pack *p = g->w ? packed(d, g) : NULL;
    cache_key key = {.m = g->m,
                     .n = g->n,
                     .k = g->k,
                     .lda = (int64_t)g->a.ld,
                     .ldb = p ? 0 : (int64_t)g->b.ld,
                     .ldc = (int64_t)g->ldc,
                     .a_type = type_of(g->t),
                     .b_type = type_of(g->t),
                     .c_type = type_of(g->c_type),
                     .kind = MATMUL,
                     .a_trans = g->a.trans,
                     .b_trans = g->b.trans,
                     .packed = p != NULL,
                     .bias = bias != NULL,
                     .accumulate = g->accumulate};
    cache_entry *e = find(d, &key);
    if (e->used == 0) fill_matmul(d, e, p);
    give(e->a, g->a.p);
    give(e->b, p ? p->data : g->b.p);
    give(e->c, g->c);
    if (bias) give(e->bias, bias);
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, e->a}, {DNNL_ARG_WEIGHTS, e->b}, {DNNL_ARG_DST, e->c}, {DNNL_ARG_BIAS, e->bias}};
    execute(d, e, bias ? 4 : 3, args);
}
