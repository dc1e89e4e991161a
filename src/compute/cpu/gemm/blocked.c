/* The blocked product around a kernel's register tile.
 *
 * C is cut into tasks of some rows x 256 columns. A thread goes through its tasks like this, in steps and panels whose
 * size the kernel gives (oc_gemm_cut):
 *
 *     for k in steps of KC:   B[KC, 256] stays in the second-level cache
 *       for 6 rows:           A[6, KC] is in the first-level cache after the first panel
 *         for each panel:     sums[6, panel] += A[6, KC] B[KC, panel]
 *         after the last k:   finish 6 rows x 256 columns
 *
 * B is packed on the way, by each thread for its own columns; the panels of all of k are kept for the next
 * task of the same columns. That costs as much as 5 to 13 rows of products, so packed copies of weights are
 * not kept in the handle: they would save one per cent and cost a second and third copy of the model.
 *
 * A is read in place where it lies row by row in the kernel's type. Otherwise (gradient of the weights, odd k
 * of bf16, f32 kernel on bf16 data) it is packed like B, a panel holding as many rows of A, and since either side
 * is then used as often as the other is long, the smaller side is packed once for all threads beforehand, and
 * the larger one is the one that threads pack and keep. k is worked off in chunks where the shared panels
 * would be too large.
 *
 * A thread owns a range of tasks that shares few panels with others; one that is done takes tasks from the
 * others. k is cut by sizes alone and each sum is made by one thread, so results do not depend on the
 * threads. */
#include <omp.h>
#include <stdatomic.h>

#include "compute/cpu/gemm/gemm.h"

enum {
    MR = 6,
    ROWS_MIN = 48, /* of a task */
    LINE = 64,     /* bytes */
    KEEP_BYTES = 8 << 20,
    CHUNK = 512, /* tokens, at least and in steps, of a gradient whose panels exceed that */
};

/* An operand in panels: block of k by block of k, panel by panel within it. */
typedef struct side {
    oc_gemm_operand from; /* element (k, column) for B, (k, row) for A */
    int size, panels;     /* columns or rows altogether; those of one store */
    char *shared; /* all panels, made before the tasks, or NULL: each thread makes those of its task */
    bool keep;    /* a thread's store holds all blocks of k, else the present one */
    size_t bytes; /* of a thread's store */
} side;

typedef struct plan {
    const oc_gemm_kernel *kernel;
    const oc_gemm *g;
    bool a_packed, direct; /* direct: sums are made in C itself */
    int nr;                /* columns of a panel */
    int kc, k_blocks;      /* elements of k per block, a multiple of the kernel's unit */
    int threads, rows, row_tasks, col_tasks;
    bool columns_first; /* the order of tasks: a thread goes along columns first */
    side a, b;
    size_t sum_bytes;
} plan;

static int ceil_div(int a, int b) { return (a + b - 1) / b; }

/* Bytes of k elements of a panel. */
static size_t panel_bytes(const plan *p, int k) {
    return (size_t)ceil_div(k, p->kernel->unit) * (size_t)p->nr * 4;
}

/* ---- The plan -------------------------------------------------------------------------------------- */

/* Rows per task: few enough that all threads get the same number of tasks, where the matrix is large enough.
 */
static void cut_rows(plan *p, int most) {
    int m = p->g->m, threads = p->threads, step = p->a_packed ? p->nr : MR;
    int tasks = ceil_div(m, most);
    while (tasks * p->col_tasks < 4 * threads && ceil_div(m, tasks) > 2 * ROWS_MIN) tasks++;
    for (int i = 1; i < threads && tasks * p->col_tasks % threads && ceil_div(m, tasks) > 2 * ROWS_MIN; i++)
        tasks++;
    p->rows = ceil_div(ceil_div(m, tasks), step) * step;
    p->row_tasks = ceil_div(m, p->rows);
}

/* A thread's store: all of k if the panels serve more than one task in a row. */
static void plan_store(side *s, const plan *p, int uses) {
    size_t block = panel_bytes(p, p->kc) * (size_t)s->panels;
    s->keep = uses > 1 && block * (size_t)p->k_blocks <= KEEP_BYTES;
    s->bytes = s->keep ? block * (size_t)p->k_blocks : block;
}

static plan make_plan(const oc_compute *c, const oc_gemm_kernel *kernel, const oc_gemm *g) {
    enum { PER_CYCLE = 16 }; /* multiplications in the time of one element of other loops */
    int nr = kernel->panel;
    plan p = {.kernel = kernel, .g = g, .nr = nr, .b = {.from = g->b, .size = g->n, .panels = OC_GEMM_GROUP / nr}};
    p.a_packed = g->a.trans || g->a.type != kernel->type || (g->k % kernel->unit && !g->a_padded);
    p.direct = g->c_type == OC_F32 && !g->e && !g->sink;
    p.threads = oc_cpu_team(c, (size_t)g->m * (size_t)g->n * (size_t)g->k / PER_CYCLE);
    const oc_gemm_cut *cut = p.a_packed ? &kernel->packed : &kernel->in_place;
    int units = ceil_div(g->k, kernel->unit);
    p.k_blocks = ceil_div(units, cut->units);
    p.kc = ceil_div(units, p.k_blocks) * kernel->unit;
    p.k_blocks = ceil_div(g->k, p.kc);
    p.col_tasks = ceil_div(g->n, OC_GEMM_GROUP);
    cut_rows(&p, cut->rows);
    plan_store(&p.b, &p, p.row_tasks);
    if (p.a_packed) {
        p.a = (side){.from = g->a, .size = g->m, .panels = p.rows / nr};
        p.a.from.trans = !g->a.trans;
        plan_store(&p.a, &p, p.col_tasks);
        p.columns_first = g->n <= g->m;
    }
    p.sum_bytes = p.direct ? 0 : (size_t)(p.k_blocks > 1 ? p.rows : MR) * OC_GEMM_GROUP * sizeof(float);
    return p;
}

/* ---- Panels ---------------------------------------------------------------------------------------- */

/* Packs the panels of columns j0.. of one block of k to `to`. Where a row of the source goes through all panels, a few
 * rows at a time, so that memory is read as it lies. */
static void pack_panels(const plan *p, char *to, const side *s, int k0, int k, int j0, int count) {
    enum { ROWS = 8 };
    size_t panel = panel_bytes(p, k);
    int step = s->from.trans ? k : ROWS;
    for (int u = 0; u < k; u += step)
        for (int j = 0; j < count; j += p->nr)
            p->kernel->pack(to + (size_t)(j / p->nr) * panel + panel_bytes(p, u), &s->from, p->g->t, k0 + u,
                            OC_MIN(step, k - u), j0 + j, OC_MIN(p->nr, count - j));
}

/* Where the panels of the block of k at k0 begin, in a store of this many panels. */
static size_t block_at(const plan *p, int panels, int k0) {
    return panel_bytes(p, k0) * (size_t)panels;
}

static void share(oc_compute *c, const plan *p, side *s) {
    int panels = ceil_div(s->size, p->nr);
    s->bytes = 0;
    s->shared = oc_gemm_buffer(c, OC_GEMM_BUFFER_PANELS, block_at(p, panels, p->kc) * (size_t)p->k_blocks);
#pragma omp parallel for num_threads(p->threads) collapse(2)
    for (int b = 0; b < p->k_blocks; b++)
        for (int j = 0; j < panels; j++) {
            int k0 = b * p->kc, k = OC_MIN(p->kc, p->g->k - k0);
            pack_panels(p, s->shared + block_at(p, panels, k0) + (size_t)j * panel_bytes(p, k), s, k0, k, j * p->nr,
                        OC_MIN(p->nr, s->size - j * p->nr));
        }
}

/* ---- Tasks ----------------------------------------------------------------------------------------- */

/* What a thread goes through its tasks with. */
typedef struct worker {
    char *a, *b;  /* stores */
    float *sums;  /* rows of OC_GEMM_GROUP */
    int row, col; /* where the panels begin that the stores hold; -1: none */
} worker;

typedef struct task {
    int row0, rows, col0, cols;
    const char *a, *b; /* panels of the present block of k */
} task;

/* The panels of one block of k, made if need be. */
static const char *panels_of(const plan *p, const side *s, char *store, bool held, int k0, int k, int j0,
                             int count) {
    if (s->shared) {
        return s->shared + block_at(p, ceil_div(s->size, p->nr), k0) + (size_t)(j0 / p->nr) * panel_bytes(p, k);
    }
    char *at = store + (s->keep ? block_at(p, s->panels, k0) : 0);
    if (!held) pack_panels(p, at, s, k0, k, j0, count);
    return at;
}

/* Asks for what the products after this panel read and write, a panel's share of it at a time. The addresses may lie
 * past the end of a matrix: a prefetch cannot fault. */
static void ask_ahead(const char *a, size_t a_row, size_t a_begin, size_t a_end, const char *c, size_t c_row, int rows) {
    for (int r = 0; r < rows; r++) {
        for (size_t at = a_begin; at < a_end; at += LINE) __builtin_prefetch(a + (size_t)r * a_row + at, 0);
        if (c) __builtin_prefetch(c + (size_t)r * c_row, 1);
    }
}

static void multiply_rows(const plan *p, const task *t, float *sums, int i, int rows, int k0, int k) {
    const oc_gemm *g = p->g;
    int units = ceil_div(k, p->kernel->unit), nr = p->nr;
    size_t panel = panel_bytes(p, k), a_row = 4, a_unit = (size_t)nr * 4;
    const char *a;
    if (p->a_packed) a = t->a + (size_t)(i / nr) * panel + (size_t)(i % nr) * 4;
    else {
        size_t size = oc_dtype_size(g->a.type);
        a = (const char *)g->a.p + ((size_t)(t->row0 + i) * g->a.ld + (size_t)k0) * size;
        a_row = g->a.ld * size, a_unit = 4;
    }
    float *c = sums + (p->k_blocks > 1 ? (size_t)i * OC_GEMM_GROUP : 0);
    size_t ldc = OC_GEMM_GROUP, at = (size_t)(t->row0 + i) * g->ldc + (size_t)t->col0, c_size = oc_dtype_size(g->c_type);
    if (p->direct) c = (float *)g->c + at, ldc = g->ldc;
    bool last = k0 + k == g->k;
    const char *b = t->b, *c_next = g->sink || !(last || p->direct) ? NULL : (const char *)g->c + at * c_size;
    size_t share = p->a_packed ? 0 : ((size_t)k * 4 / (size_t)ceil_div(t->cols, nr) + LINE) / LINE * LINE, asked = 0;
    for (int j = 0; j < t->cols; j += nr, b += panel) {
        if (p->kernel->asks) {
            ask_ahead(a + (size_t)rows * a_row, a_row, asked, OC_MIN(asked + share, (size_t)k * 4),
                      c_next ? c_next + (size_t)j * c_size : NULL, g->ldc * c_size, rows);
            asked += share;
        }
        p->kernel->tile(rows, OC_MIN(nr, t->cols - j), units, a, a_row, a_unit, b, c + j, ldc,
                        k0 > 0 || (p->direct && g->accumulate));
    }
    if (p->direct || !last) return;
    if (g->sink)
        g->sink(g->sink_context, t->row0 + i, t->col0, rows, t->cols, c, ldc);
    else
        p->kernel->finish(g, t->row0 + i, t->col0, rows, t->cols, c, ldc);
}

static void run_task(const plan *p, worker *w, int index) {
    const oc_gemm *g = p->g;
    int row = p->columns_first ? index / p->col_tasks : index % p->row_tasks;
    int col = p->columns_first ? index % p->col_tasks : index / p->row_tasks;
    task t = {.row0 = row * p->rows, .col0 = col * OC_GEMM_GROUP};
    t.rows = OC_MIN(p->rows, g->m - t.row0);
    t.cols = OC_MIN(OC_GEMM_GROUP, g->n - t.col0);
    for (int k0 = 0; k0 < g->k; k0 += p->kc) {
        int k = OC_MIN(p->kc, g->k - k0);
        t.b = panels_of(p, &p->b, w->b, w->col == t.col0, k0, k, t.col0, t.cols);
        if (p->a_packed) t.a = panels_of(p, &p->a, w->a, w->row == t.row0, k0, k, t.row0, t.rows);
        for (int i = 0, rows; i < t.rows; i += rows) {
            rows = t.rows - i;
            if (p->a_packed) rows = OC_MIN(rows, p->nr - i % p->nr); /* not across panels of A */
            rows = ceil_div(rows, ceil_div(rows, MR));               /* 16 as 6, 5, 5 */
            multiply_rows(p, &t, w->sums, i, rows, k0, k);
        }
    }
    w->row = p->a.keep ? t.row0 : -1;
    w->col = p->b.keep ? t.col0 : -1;
}

/* The next task of one thread's range; threads that are done read it too. */
typedef struct cursor {
    _Alignas(64) atomic_int next;
    int end;
} cursor;

static void run_plan(oc_compute *c, const plan *p) {
    int tasks = p->row_tasks * p->col_tasks, threads = OC_MIN(p->threads, tasks);
    cursor *range = oc_gemm_buffer(c, OC_GEMM_BUFFER_TASKS, (size_t)threads * sizeof *range);
    for (int i = 0; i < threads; i++) {
        atomic_init(&range[i].next, (int)((int64_t)tasks * i / threads));
        range[i].end = (int)((int64_t)tasks * (i + 1) / threads);
    }
    oc_compute_scratch_threads(c, p->b.bytes + p->a.bytes + p->sum_bytes);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int me = omp_get_thread_num();
        char *scratch = oc_compute_scratch(c, me, p->b.bytes + p->a.bytes + p->sum_bytes);
        worker w = {.b = scratch, .a = scratch + p->b.bytes, .row = -1, .col = -1};
        w.sums = (float *)(void *)(scratch + p->b.bytes + p->a.bytes);
        for (int v = 0; v < threads; v++) {
            cursor *from = &range[(me + v) % threads];
            for (int i; (i = atomic_fetch_add(&from->next, 1)) < from->end;) run_task(p, &w, i);
        }
    }
}

static void run(oc_compute *c, const oc_gemm_kernel *kernel, const oc_gemm *g) {
    plan p = make_plan(c, kernel, g);
    if (p.a_packed) share(c, &p, p.columns_first ? &p.b : &p.a);
    run_plan(c, &p);
}

void oc_gemm_blocked(oc_compute *c, const oc_gemm_kernel *kernel, const oc_gemm *g) {
    if (!g->a.trans || g->c_type != OC_F32) {
        run(c, kernel, g);
        return;
    }
    /* Gradient of the weights: as many tokens at a time as the shared panels may have. */
    int chunk = (int)(kernel->shared_bytes / ((size_t)OC_MIN(g->m, g->n) * oc_dtype_size(kernel->type)));
    chunk = OC_MAX(chunk / CHUNK * CHUNK, CHUNK);
    for (int k0 = 0; k0 < g->k; k0 += chunk) {
        oc_gemm part = *g;
        part.k = OC_MIN(chunk, g->k - k0);
        part.a.p = (const char *)g->a.p + (size_t)k0 * g->a.ld * oc_dtype_size(g->a.type);
        part.b.p = (const char *)g->b.p + (size_t)k0 * g->b.ld * oc_dtype_size(g->b.type);
        part.accumulate = g->accumulate || k0 > 0;
        run(c, kernel, &part);
    }
}
