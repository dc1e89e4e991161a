/* 1. counting  2. one wrapper per operation  3. public calls */
#include "compute/profile.h"

#include <stdlib.h>
#include <string.h>

#include "compute/cpu/ref/ref.h"
#include "compute/operations.h"

/* ---- 1. Counting --------------------------------------------------------------------------------------------------- */

/* Arguments are passed on as they are. */
#define D(pointer)   pointer
#define E(epilogue)  epilogue
#define A(attention) attention

#define ENUMERATE(name, ...) OP_##name,
enum { OC_OPERATIONS(ENUMERATE) OP_sum_squares, N_OPERATIONS };
_Static_assert((int)N_OPERATIONS <= (int)OC_PROFILE_ROWS, "a row for each operation");

struct oc_profile {
    oc_ops real;
    oc_profile_row row[N_OPERATIONS];
    oc_trace *trace; /* not owned, may be NULL */
    int depth;       /* operations that are running: one may call another */
};

#define SIZE(t) ((double)oc_dtype_size(t))

static const oc_matrix_desc *desc(const oc_matrix *w) { return oc_ref_matrix(w); }

static double product(const oc_matrix *w, int N) { return 2.0 * N * desc(w)->rows * desc(w)->cols; }

static double matrix_traffic(const oc_matrix *w, int N) {
    const oc_matrix_desc *d = desc(w);
    return (double)N * ((double)d->rows + d->cols) * SIZE(d->t) + (double)d->rows * d->cols * SIZE(d->w_type);
}

/* q, k, v in, o out (`passes` 1); those, o and dO in, dq, dk, dv out (2). */
static double attention_traffic(const oc_attention *a, int passes) {
    return passes * 2.0 * a->N * (a->NH + a->NKV) * a->HS * SIZE(a->t);
}

/* Intervals and lengths in memory of a device cannot be looked at: the work is then not known. */
#define READABLE(c) ((c)->ops.host_memory)

/* Operations of one product between queries and keys (or probabilities and values), over the pairs that see each other. */
static double scores(bool readable, const oc_attention *a) {
    double pairs = 0;
    if (!readable) return 0;
    for (int i = 0; i < a->N; i++) pairs += a->hi[i] - a->lo[i];
    return 2 * pairs * a->NH * a->HS;
}

static double decode_work(bool readable, const int32_t *len, int B, const oc_attention *a) {
    double keys = 0;
    if (!readable) return 0;
    for (int b = 0; b < B; b++) keys += len[b];
    return 4 * keys * a->NH * a->HS;
}

static double enter(struct oc_profile *p) { return p->depth++ ? 0 : oc_now(); }

/* e: sizes, arithmetic and traffic of the call that began at e->start. */
static void leave(struct oc_profile *p, int op, oc_trace_event e) {
    if (--p->depth) return;
    e.seconds = oc_now() - e.start;
    p->row[op].calls++;
    p->row[op].seconds += e.seconds;
    p->row[op].flops += e.flops;
    e.name = p->row[op].name;
    e.category = OC_PROFILE_CATEGORY;
    oc_trace_add(p->trace, &e);
}

/* ---- 2. Wrappers --------------------------------------------------------------------------------------------------- */

#define VALUES(...) __VA_ARGS__
#define WRAPPER(name, params, args, work, labels, sizes, traffic)                                                      \
    static void profiled_##name params {                                                                               \
        double start = enter(c->profile);                                                                              \
        c->profile->real.name args;                                                                                    \
        leave(                                                                                                         \
            c->profile, OP_##name,                                                                                     \
            (oc_trace_event){.dims = labels, .dim = {VALUES sizes}, .start = start, .flops = work, .bytes = traffic}); \
    }
OC_OPERATIONS(WRAPPER)

static double profiled_sum_squares(oc_compute *c, const float *x, size_t n) {
    double start = enter(c->profile), sum = c->profile->real.sum_squares(c, x, n);
    leave(c->profile, OP_sum_squares,
          (oc_trace_event){.dims = "n", .dim = {(int64_t)n}, .start = start, .bytes = 4.0 * (double)n});
    return sum;
}

/* ---- 3. Public ----------------------------------------------------------------------------------------------------- */

static void set_names(struct oc_profile *p) {
#define NAME(op, ...) p->row[OP_##op].name = #op;
    OC_OPERATIONS(NAME)
    p->row[OP_sum_squares].name = "sum_squares";
}

oc_status oc_profile_start(oc_compute *c, oc_error *err) {
    oc_trace *trace = c->profile ? c->profile->trace : NULL;
    oc_profile_stop(c);
    struct oc_profile *p = oc_calloc(1, sizeof *p);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a profile");
    set_names(p);
    p->real = c->ops;
    p->trace = trace;
    c->profile = p;
#define WRAP(name, ...) c->ops.name = profiled_##name;
    OC_OPERATIONS(WRAP)
    c->ops.sum_squares = profiled_sum_squares;
    return OC_OK;
}

void oc_profile_trace(oc_compute *c, oc_trace *trace) {
    if (c->profile) c->profile->trace = trace;
}

void oc_profile_gave_up(oc_compute *c) {
    if (c->profile) c->profile->depth = 0;
}

void oc_profile_stop(oc_compute *c) {
    if (!c->profile) return;
    c->ops = c->profile->real;
    oc_free(c->profile);
    c->profile = NULL;
}

static int by_seconds(const void *a, const void *b) {
    const oc_profile_row *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : strcmp(x->name, y->name);
}

int oc_profile_read(const oc_compute *c, oc_profile_row row[OC_PROFILE_ROWS]) {
    int n = 0;
    for (int i = 0; c->profile && i < N_OPERATIONS; i++)
        if (c->profile->row[i].calls) row[n++] = c->profile->row[i];
    qsort(row, (size_t)n, sizeof *row, by_seconds);
    return n;
}
