#include "train/muon.h"

#include <math.h>
#include <omp.h>
#include <string.h>

oc_status oc_muon_open(oc_muon *s, size_t values, int side, oc_dtype t, oc_error *err) {
    *s = (oc_muon){.values = values, .side = side, .t = t};
    const size_t square = (size_t)side * (size_t)side, size = oc_dtype_size(t);
    struct {
        void *p;
        size_t bytes;
    } all[] = {
        {&s->x, values * sizeof(float)},    {&s->y, values * sizeof(float)}, {&s->square, square * sizeof(float)},
        {&s->poly, square * sizeof(float)}, {&s->xt, values * size},         {&s->yt, values * size},
        {&s->square_t, square * size},      {&s->poly_t, square * size}};
    const size_t n = t == OC_F32 ? 4 : OC_COUNT(all); /* the first four hold float32, which then are operands too */
    oc_status st = OC_OK;
    for (size_t i = 0; i < n; i++)
        OC_GO(oc_alloc_for(all[i].p, all[i].bytes, "Muon's update", err));
done:
    if (st != OC_OK) oc_muon_close(s);
    return st;
}

void oc_muon_close(oc_muon *s) {
    void *all[] = {s->x, s->y, s->square, s->poly, s->xt, s->yt, s->square_t, s->poly_t};
    for (size_t i = 0; i < OC_COUNT(all); i++) oc_free(all[i]);
    *s = (oc_muon){0};
}

static void transpose(float *restrict y, const float *restrict x, int rows, int cols) {
    enum { TILE = 16 };
    for (int i0 = 0; i0 < rows; i0 += TILE)
        for (int j0 = 0; j0 < cols; j0 += TILE)
            for (int i = i0; i < OC_MIN(i0 + TILE, rows); i++)
                for (int j = j0; j < OC_MIN(j0 + TILE, cols); j++)
                    y[(size_t)j * (size_t)rows + (size_t)i] = x[(size_t)i * (size_t)cols + (size_t)j];
}

/* y[a, b] += p^T q, with p [n, a] and q [n, b]. */
static void add_product(const oc_muon *s, oc_compute *c, float *y, const void *p, const void *q, int n, int a, int b) {
    c->ops.linear_bwd_w(c, y, NULL, p, a, q, b, s->t, n, a, b);
}

/* x as an operand of products: itself, or converted into `buffer`. */
static const void *operand(const oc_muon *s, oc_compute *c, void *buffer, const float *x, size_t n) {
    if (s->t == OC_F32) return x;
    c->ops.convert(c, buffer, s->t, x, OC_F32, n);
    return buffer;
}

/* One step x <- a x + (b S + c S^2) x, with S = x x^T, on the tall transpose in s->x [n, k]. */
static void newton_schulz(oc_muon *s, oc_compute *c, int n, int k) {
    static const float A = 3.4445f, B = -4.7750f, C = 2.0315f;
    const size_t square = (size_t)k * (size_t)k, values = (size_t)n * (size_t)k;
    const void *x = operand(s, c, s->xt, s->x, values);
    memset(s->square, 0, square * sizeof(float));
    add_product(s, c, s->square, x, x, n, k, k);
    const void *gram = operand(s, c, s->square_t, s->square, square);
    memset(s->poly, 0, square * sizeof(float));
    add_product(s, c, s->poly, gram, gram, k, k, k); /* S is symmetric */
    for (size_t i = 0; i < square; i++) s->poly[i] = B * s->square[i] + C * s->poly[i];
    const void *poly = operand(s, c, s->poly_t, s->poly, square);
    transpose(s->y, s->x, n, k);
    const void *y = operand(s, c, s->yt, s->y, values);
    for (size_t i = 0; i < values; i++) s->x[i] *= A;
    add_product(s, c, s->x, y, poly, k, n, k);
}

void oc_muon_orthogonalize(oc_muon *s, oc_compute *c, float *y, const float *x, int rows, int cols) {
    enum { STEPS = 5 };
    size_t values = (size_t)rows * (size_t)cols;
    bool wide = rows < cols;
    int n = OC_MAX(rows, cols), k = OC_MIN(rows, cols);
    OC_ASSERT(values <= s->values && k <= s->side);
    if (wide)
        transpose(s->x, x, rows, cols);
    else
        memcpy(s->x, x, values * sizeof(float));
    double norm = sqrt(c->ops.sum_squares(c, s->x, values));
    float scale = (float)(1 / (norm + 1e-12));
    for (size_t i = 0; i < values; i++) s->x[i] *= scale;
    for (int i = 0; i < STEPS; i++) newton_schulz(s, c, n, k);
    if (wide)
        transpose(y, s->x, n, k);
    else
        memcpy(y, s->x, values * sizeof(float));
}

void oc_muon_update(oc_muon *s, oc_compute *c, float *w, float *m, const float *g, int rows, int cols,
                    const oc_muon_step *o) {
    size_t n = (size_t)rows * (size_t)cols;
    OC_ASSERT(n <= s->values);
    const float keep = o->momentum, add = (1 - o->momentum) * o->grad_scale;
    float *u = s->y;
    for (size_t i = 0; i < n; i++) {
        m[i] = keep * m[i] + add * g[i];
        u[i] = keep * m[i] + add * g[i];
    }
    oc_muon_orthogonalize(s, c, u, u, rows, cols);
    const float step = o->lr * 0.2f * sqrtf((float)OC_MAX(rows, cols)), shrink = 1 - o->lr * o->decay;
    for (size_t i = 0; i < n; i++) w[i] = shrink * w[i] - step * u[i];
}

/* ---- Several matrices at once --------------------------------------------------------------------------------------- */

typedef struct rehearsal {
    oc_compute *c;
    oc_muon *buffers;
    const oc_muon_matrix *matrix;
    int n;
} rehearsal;

/* Products take the memory that they work in at their first call. */
static void rehearse(void *ctx) {
    const rehearsal *r = ctx;
    for (int i = 0; i < r->n; i++) {
        const oc_muon_matrix *a = &r->matrix[i];
        if (i > 0 && a->rows == a[-1].rows && a->cols == a[-1].cols) continue;
        memset(r->buffers->y, 0, (size_t)a->rows * (size_t)a->cols * sizeof(float));
        oc_muon_orthogonalize(r->buffers, r->c, r->buffers->y, r->buffers->y, a->rows, a->cols);
    }
}

static oc_status open_member(oc_muon_team *t, size_t values, int side, const oc_muon_matrix *matrix, int n,
                             oc_dtype type, oc_error *err) {
    oc_compute **c = &t->compute[t->n];
    OC_TRY(oc_compute_open(c, &(oc_compute_options){.threads = 1, .backend = t->all->ops.name}, err));
    oc_muon *b = &t->buffers[t->n++];
    if (t->n > 1) OC_TRY(oc_muon_open(b, values, side, type, err));
    return oc_compute_try(*c, rehearse, &(rehearsal){*c, b, matrix, n}, err);
}

oc_status oc_muon_team_open(oc_muon_team *t, oc_compute *c, const oc_muon_matrix *matrix, int n, oc_dtype type,
                            oc_error *err) {
    enum { MOST_VALUES = 1 << 20 };
    size_t values = 0;
    int side = 0;
    for (int i = 0; i < n; i++) {
        values = OC_MAX(values, (size_t)matrix[i].rows * (size_t)matrix[i].cols);
        side = OC_MAX(side, OC_MIN(matrix[i].rows, matrix[i].cols));
    }
    const int members = c->threads > 1 && values <= MOST_VALUES ? OC_MIN(c->threads, n) : 0;
    *t = (oc_muon_team){.all = c};
    oc_status st = OC_OK;
    OC_GO(oc_alloc_for(&t->buffers, (size_t)OC_MAX(members, 1) * sizeof *t->buffers, "Muon's buffers", err));
    memset(t->buffers, 0, (size_t)OC_MAX(members, 1) * sizeof *t->buffers);
    OC_GO(oc_muon_open(&t->buffers[0], values, side, type, err));
    if (!members) return OC_OK;
    OC_GO(oc_alloc_for(&t->compute, (size_t)members * sizeof(oc_compute *), "Muon's threads", err));
    memset(t->compute, 0, (size_t)members * sizeof(oc_compute *));
    while (t->n < members) OC_GO(open_member(t, values, side, matrix, n, type, err));
done:
    if (st != OC_OK) oc_muon_team_close(t);
    return st;
}

void oc_muon_team_close(oc_muon_team *t) {
    for (int i = 0; t->buffers && i < OC_MAX(t->n, 1); i++) oc_muon_close(&t->buffers[i]);
    for (int i = 0; t->compute && i < t->n; i++) oc_compute_close(t->compute[i]);
    oc_free(t->buffers);
    oc_free(t->compute);
    *t = (oc_muon_team){0};
}

static void update_one(oc_muon *s, oc_compute *c, const oc_muon_matrix *a) {
    oc_muon_update(s, c, a->w, a->m, a->g, a->rows, a->cols, &a->step);
}

void oc_muon_team_update(oc_muon_team *t, const oc_muon_matrix *matrix, int n) {
    if (t->n == 0 || t->all->profile) {
        for (int i = 0; i < n; i++) update_one(&t->buffers[0], t->all, &matrix[i]);
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(t->n)
    for (int i = 0; i < n; i++) {
        const int me = omp_get_thread_num();
        update_one(&t->buffers[me], t->compute[me], &matrix[i]);
    }
}
