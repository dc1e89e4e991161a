/* Vocabulary projection and cross-entropy in one, a chunk of rows at a time.
 *
 *   z = x W^T  [rows, V]          loss_i = logsumexp(z_i) - z_i[target_i]
 *   d = (softmax(z) - onehot) * scale,   dx = d W,   dw += d^T x
 *
 * z exists as tiles in the cache only. A piece is one row's part of 256 columns; of each piece we keep, as
 * soon as its logits are complete, the maximum m and s = sum of exp(z - m), and of each element p = exp(z -
 * m) in type T. When a row is complete,
 *
 *   M = max m,   loss = (M - z[target]) + log(sum of s exp(m - M)),   d = p * exp(m - logsumexp) * scale
 *
 * so that every exponential is taken once, and p takes half of the memory of the logits where T is bf16. Its
 * rounding adds to that of d one of the same size. d at the target is formed from the loss. W and dw are
 * streamed once per chunk, which is why chunks are large: EXP_BYTES of p or MIN_ROWS, whichever is more. */
#include <math.h>
#include <string.h>

#include "compute/cpu/gemm/gemm.h"

enum { EXP_BYTES = 8 << 20, MIN_ROWS = 512, MAX_ROWS = 1024, PIECE = OC_GEMM_GROUP };

typedef struct piece {
    float max, sum;
} piece;

typedef struct chunk {
    const oc_gemm_softmax *softmax;
    int V, pieces, rows;
    oc_dtype t;
    const int32_t *target; /* [rows] */
    const float *weight;   /* [rows], NULL: 1 */
    piece *piece;          /* [rows, pieces] */
    float *at_target;      /* [rows] logit of the target */
    bool *leads;           /* [rows] it is larger than all before it in its piece */
    char *p;               /* T [rows, ldp], NULL without gradients; one zero behind each row of odd length */
    size_t ldp;
    float scale;
} chunk;

static char *element(const chunk *k, int row, int col) {
    return k->p + ((size_t)row * k->ldp + (size_t)col) * oc_dtype_size(k->t);
}

/* An oc_gemm_sink. */
static void take_logits(void *context, int row, int col, int rows, int cols, const float *z, size_t ld) {
    const chunk *k = context;
    for (int i = 0; i < rows; i++, z += ld)
        for (int j = 0; j < cols; j += PIECE) {
            piece *q = &k->piece[(size_t)(row + i) * (size_t)k->pieces + (size_t)((col + j) / PIECE)];
            k->softmax->piece(k->p ? element(k, row + i, col + j) : NULL, k->t, z + j,
                              OC_MIN(PIECE, cols - j), &q->max, &q->sum);
            int target = k->target[row + i] - col - j;
            if (target < 0 || target >= OC_MIN(PIECE, cols - j)) continue;
            k->at_target[row + i] = z[j + target];
            k->leads[row + i] = true;
            for (int v = 0; v < target; v++)
                if (!(z[j + v] < z[j + target])) k->leads[row + i] = false;
        }
}

/* Of one row whose pieces are complete. */
static double finish_row(const chunk *k, int row, uint8_t *correct) {
    const piece *q = &k->piece[(size_t)row * (size_t)k->pieces];
    int best = 0;
    for (int i = 1; i < k->pieces; i++)
        if (q[i].max > q[best].max) best = i;
    double largest = (double)q[best].max, sum = 0;
    for (int i = 0; i < k->pieces; i++) sum += (double)q[i].sum * exp((double)q[i].max - largest);
    /* the first of the largest is the target */
    if (correct)
        *correct = best == k->target[row] / PIECE && k->leads[row] && k->at_target[row] == q[best].max;
    double loss = largest - (double)k->at_target[row] + log(sum);
    if (!k->p) return loss;

    const float scale = k->weight ? k->scale * k->weight[row] : k->scale;
    for (int i = 0; i < k->pieces; i++) {
        float factor = (float)(exp((double)q[i].max - largest) / sum) * scale;
        k->softmax->scale(element(k, row, i * PIECE), k->t, OC_MIN(PIECE, k->V - i * PIECE), factor);
    }
    float d = (float)expm1(-loss) * scale; /* (softmax - 1) * scale */
    if (k->t == OC_F32)
        *(float *)(void *)element(k, row, k->target[row]) = d;
    else
        *(uint16_t *)(void *)element(k, row, k->target[row]) = oc_f32_to_bf16(d);
    if ((size_t)k->V < k->ldp) memset(element(k, row, k->V), 0, oc_dtype_size(k->t));
    return loss;
}

/* Logits of the chunk into take_logits. */
static void project(oc_compute *c, chunk *k, const void *x, oc_matrix *w) {
    size_t ld = (size_t)w->d.cols;
    oc_gemm g = {.m = k->rows,
                 .n = k->V,
                 .k = w->d.cols,
                 .t = k->t,
                 .a = {x, k->t, false, ld},
                 .b = {w->d.w, w->d.w_type, true, ld},
                 .c_type = OC_F32,
                 .ldc = (size_t)k->V,
                 .w = w};
    if (oc_gemm_choose(c, &g) != OC_GEMM_DNNL) {
        g.sink = take_logits;
        g.sink_context = k;
        oc_gemm_run_on(c, &g, OC_GEMM_BLOCKED);
        return;
    }
    float *z = g.c = oc_gemm_buffer(c, OC_GEMM_BUFFER_LOGITS, (size_t)k->rows * (size_t)k->V * sizeof *z);
    oc_gemm_run(c, &g);
#pragma omp parallel for num_threads(c->threads)
    for (int i = 0; i < k->rows; i++)
        take_logits(k, i, 0, 1, k->V, z + (size_t)i * (size_t)k->V, (size_t)k->V);
}

static void gradients(oc_compute *c, const chunk *k, void *dx, float *dw, const void *x, oc_matrix *w) {
    size_t ld = (size_t)w->d.cols;
    oc_gemm_run(c, &(oc_gemm){
                       .m = k->rows,
                       .n = w->d.cols,
                       .k = k->V,
                       .t = k->t,
                       .a = {k->p, k->t, false, k->ldp},
                       .a_padded = true,
                       .b = {w->d.w, w->d.w_type, false, ld},
                       .c = dx,
                       .c_type = k->t,
                       .ldc = ld,
                       .w = w,
                   });
    if (!dw) return;
    oc_gemm_run(c, &(oc_gemm){
                       .m = k->V,
                       .n = w->d.cols,
                       .k = k->rows,
                       .t = k->t,
                       .a = {k->p, k->t, true, k->ldp},
                       .b = {x, k->t, false, ld},
                       .c = dw,
                       .c_type = OC_F32,
                       .ldc = ld,
                       .accumulate = true,
                   });
}

static int chunk_rows(int V, oc_dtype t) {
    size_t rows = (size_t)EXP_BYTES / ((size_t)V * oc_dtype_size(t));
    return (int)OC_MIN(OC_MAX(rows, (size_t)MIN_ROWS), (size_t)MAX_ROWS);
}

void oc_gemm_linear_xent(oc_compute *c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x,
                         const int32_t *target, const float *weight, oc_matrix *w, int n, float scale) {
    int V = w->d.rows;
    size_t size = oc_dtype_size(w->d.t), row_bytes = (size_t)w->d.cols * size;
    int most = OC_MIN(chunk_rows(V, w->d.t), n);
    chunk k = {.softmax = oc_gemm_softmax_of(c, w->d.t),
               .V = V,
               .pieces = (V + PIECE - 1) / PIECE,
               .t = w->d.t,
               .ldp = (size_t)V + (size_t)V % 2,
               .scale = scale};
    if (n == 0) return;
    if (dx) k.p = oc_gemm_buffer(c, OC_GEMM_BUFFER_EXP, (size_t)most * k.ldp * size);
    size_t stats = (size_t)most * (size_t)k.pieces * sizeof(piece);
    k.piece = oc_gemm_buffer(c, OC_GEMM_BUFFER_PIECES, stats + (size_t)most * (sizeof(float) + sizeof(bool)));
    k.at_target = (float *)(void *)((char *)k.piece + stats);
    k.leads = (bool *)(void *)(k.at_target + most);
    for (int i = 0; i < n; i += most) {
        const void *xi = (const char *)x + (size_t)i * row_bytes;
        k.rows = OC_MIN(most, n - i);
        k.target = target + i;
        k.weight = weight ? weight + i : NULL;
        project(c, &k, xi, w);
#pragma omp parallel for num_threads(c->threads)
        for (int r = 0; r < k.rows; r++)
            loss[i + r] = (float)finish_row(&k, r, correct ? correct + i + r : NULL);
        if (dx) gradients(c, &k, (char *)dx + (size_t)i * row_bytes, dw, xi, w);
    }
}
