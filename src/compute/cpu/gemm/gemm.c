/* Choosing what multiplies, and the memory that products keep. */
#include "compute/cpu/gemm/gemm.h"

/* ---- State of one oc_compute ----------------------------------------------------------------------- */

static void close_state(oc_compute *c) {
    oc_gemm_state *s = oc_cpu_of(c)->gemm;
    oc_gemm_dnnl_close(s->dnnl);
    for (int i = 0; i < OC_GEMM_BUFFERS; i++) oc_free(s->buffer[i]);
    oc_free(s);
}

static size_t buffer_bytes(const oc_compute *c) {
    const oc_gemm_state *s = oc_cpu_of(c)->gemm;
    size_t sum = 0;
    for (int i = 0; i < OC_GEMM_BUFFERS; i++) sum += s->buffer_bytes[i];
    return sum;
}

oc_gemm_state *oc_gemm_state_of(oc_compute *c) {
    oc_cpu *cpu = oc_cpu_of(c);
    if (!cpu->gemm) {
        cpu->gemm = oc_calloc(1, sizeof(oc_gemm_state));
        if (!cpu->gemm) oc_compute_give_up(c, sizeof(oc_gemm_state));
        cpu->gemm_close = close_state;
        cpu->gemm_bytes = buffer_bytes;
    }
    return cpu->gemm;
}

void *oc_gemm_buffer(oc_compute *c, oc_gemm_buffer_id id, size_t bytes) {
    oc_gemm_state *s = oc_gemm_state_of(c);
    if (s->buffer_bytes[id] < bytes) {
        oc_free(s->buffer[id]);
        s->buffer_bytes[id] = 0;
        if (!(s->buffer[id] = oc_alloc(bytes))) oc_compute_give_up(c, bytes);
        s->buffer_bytes[id] = bytes;
    }
    return s->buffer[id];
}

/* ---- Kernels --------------------------------------------------------------------------------------- */

/* The blocked kernel of this processor for products of type t, or NULL. */
static const oc_gemm_kernel *kernel_of(const oc_compute *c, oc_dtype t) {
#if defined(__x86_64__)
    const oc_cpu_features *f = &oc_cpu_of(c)->features;
    if (t == OC_BF16 && f->avx512_bf16) return &oc_avx512bf16_gemm;
    if (f->avx512) return &oc_avx512_gemm;
    if (f->avx2) return &oc_avx2_gemm;
#else
    OC_UNUSED(c), OC_UNUSED(t);
#endif
    return NULL;
}

/* ---- oneDNN ---------------------------------------------------------------------------------------- */

static oc_gemm_dnnl *dnnl_of(oc_compute *c) {
    oc_gemm_state *s = oc_gemm_state_of(c);
    if (!s->dnnl) s->dnnl = oc_gemm_dnnl_open(c);
    return s->dnnl;
}

/* C += A^T B in f32 where bf16 has no instructions: both operands are widened, CHUNK tokens at a time. */
static void gradient_widened(oc_compute *c, const oc_gemm *g) {
    enum { CHUNK = 1024 };
    for (int k0 = 0; k0 < g->k; k0 += CHUNK) {
        oc_gemm part = *g;
        part.t = OC_F32;
        part.k = OC_MIN(CHUNK, g->k - k0);
        part.accumulate = g->accumulate || k0 > 0;
        float *a = oc_gemm_buffer(c, OC_GEMM_BUFFER_A, (size_t)part.k * (size_t)g->m * sizeof *a);
        float *b = oc_gemm_buffer(c, OC_GEMM_BUFFER_B, (size_t)part.k * (size_t)g->n * sizeof *b);
        oc_gemm_widen(c, a, (const uint16_t *)g->a.p + (size_t)k0 * g->a.ld, g->a.ld, part.k, g->m);
        oc_gemm_widen(c, b, (const uint16_t *)g->b.p + (size_t)k0 * g->b.ld, g->b.ld, part.k, g->n);
        part.a = (oc_gemm_operand){a, OC_F32, true, (size_t)g->m};
        part.b = (oc_gemm_operand){b, OC_F32, false, (size_t)g->n};
        oc_gemm_dnnl_run(dnnl_of(c), &part, NULL);
    }
}

/* Weights of a bf16 product count as rounded to bf16, also where they are multiplied as f32: what to pack
 * then. */
static const float *rounded_weights(oc_compute *c, const oc_matrix *w) {
    size_t n = (size_t)w->d.rows * (size_t)w->d.cols;
    float *r = oc_gemm_buffer(c, OC_GEMM_BUFFER_B, n * sizeof *r);
    const float *from = w->d.w;
#pragma omp parallel for num_threads(c->threads)
    for (size_t i = 0; i < n; i++) r[i] = oc_bf16_to_f32(oc_f32_to_bf16(from[i]));
    return r;
}

/* Rows row0.. of C from their sums [rows, n]. */
static void finish(oc_compute *c, const oc_gemm *g, int row0, int rows, const float *sums) {
    const oc_gemm_kernel *kernel = kernel_of(c, g->t);
    void (*one)(const oc_gemm *, int, int, int, int, const float *, size_t) =
        kernel ? kernel->finish : oc_gemm_finish;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)rows *(size_t)g->n))
    for (int i = 0; i < rows; i++)
        one(g, row0 + i, 0, 1, g->n, sums + (size_t)i * (size_t)g->n, (size_t)g->n);
}

/* In chunks of rows: widen A where needed, multiply into an f32 buffer, finish from there. */
static void run_dnnl_in_chunks(oc_compute *c, const oc_gemm *g, bool widen) {
    enum { CHUNK = 256 };
    oc_gemm part = *g;
    part.c = oc_gemm_buffer(c, OC_GEMM_BUFFER_C,
                            ((size_t)OC_MIN(CHUNK, g->m) * (size_t)g->n + OC_GEMM_SLACK) * sizeof(float));
    part.c_type = OC_F32;
    part.ldc = (size_t)g->n;
    part.accumulate = false;
    if (widen && g->b.type == OC_F32 && !g->w->fresh[g->b.trans ? OC_GEMM_FORWARD : OC_GEMM_BACKWARD])
        part.b.p = rounded_weights(c, g->w);
    for (int i = 0; i < g->m; i += CHUNK) {
        part.m = OC_MIN(CHUNK, g->m - i);
        part.a.p = (const char *)g->a.p + (size_t)i * g->a.ld * oc_dtype_size(g->t);
        if (widen) {
            float *a = oc_gemm_buffer(c, OC_GEMM_BUFFER_A, (size_t)CHUNK * (size_t)g->k * sizeof *a);
            oc_gemm_widen(c, a, part.a.p, g->a.ld, part.m, g->k);
            part.a = (oc_gemm_operand){a, OC_F32, false, (size_t)g->k};
            part.t = OC_F32;
        }
        oc_gemm_dnnl_run(dnnl_of(c), &part, NULL);
        finish(c, g, i, part.m, part.c);
    }
}

static void run_dnnl(oc_compute *c, const oc_gemm *g) {
    bool widen = g->t == OC_BF16 && !oc_cpu_of(c)->features.avx512_bf16;
    bool plain = !g->e || (g->e->act == OC_ACT_NONE && !g->e->pre_act && !g->e->residual);
    oc_cpu_use_threads(c);
    if (g->a.trans && widen)
        gradient_widened(c, g);
    else if (plain && !widen)
        oc_gemm_dnnl_run(dnnl_of(c), g, g->e ? g->e->bias : NULL);
    else
        run_dnnl_in_chunks(c, g, widen);
}

/* ---- The choice ------------------------------------------------------------------------------------ */

const oc_gemm_softmax *oc_gemm_softmax_of(const oc_compute *c, oc_dtype t) {
    const oc_gemm_kernel *kernel = kernel_of(c, t);
    return kernel ? &kernel->softmax : &oc_gemm_softmax_portable;
}

/* Rows up to which it is better to read W in place: packing it costs as much as about 13 rows, the sums over
 * lanes as much as about 60 more elements of k (bench_gemm "few rows"). W of another type is converted once
 * per 6 rows. With AVX2 the dots reach half of the speed of the blocked product and the limit is the kernel's. */
static int few_rows(const oc_compute *c, const oc_gemm *g) {
    enum { AT_LEAST = 6, OTHER_TYPE = OC_GEMM_FEW / 2 };
    const oc_gemm_kernel *kernel = kernel_of(c, g->t);
    int most = kernel ? kernel->few : OC_GEMM_FEW;
    return OC_MIN(OC_MAX(g->k / 5, AT_LEAST), g->b.type == g->t ? most : OC_MIN(most, OTHER_TYPE));
}

bool oc_gemm_can(const oc_compute *c, const oc_gemm *g, oc_gemm_engine engine) {
    if (engine == OC_GEMM_DNNL) return !g->sink;
    if (!kernel_of(c, g->t)) return false;
    return engine == OC_GEMM_BLOCKED || (g->b.trans && !g->a.trans && !g->sink && g->m <= OC_GEMM_FEW);
}

oc_gemm_engine oc_gemm_choose(const oc_compute *c, const oc_gemm *g) {
    if (g->m <= few_rows(c, g) && oc_gemm_can(c, g, OC_GEMM_DOTS)) return OC_GEMM_DOTS;
    bool tiles = g->t == OC_BF16 && oc_cpu_of(c)->features.amx;
    return oc_gemm_can(c, g, OC_GEMM_BLOCKED) && !tiles ? OC_GEMM_BLOCKED : OC_GEMM_DNNL;
}

bool oc_gemm_packs(const oc_compute *c, oc_dtype t) {
    return oc_gemm_choose(c, &(oc_gemm){.m = 2 * OC_GEMM_FEW, .n = 1, .k = 1, .t = t}) == OC_GEMM_DNNL;
}

void oc_gemm_run_on(oc_compute *c, const oc_gemm *g, oc_gemm_engine engine) {
    if (engine == OC_GEMM_BLOCKED)
        oc_gemm_blocked(c, kernel_of(c, g->t), g);
    else if (engine == OC_GEMM_DOTS)
        oc_gemm_few(c, kernel_of(c, g->t), g);
    else
        run_dnnl(c, g);
}

void oc_gemm_run(oc_compute *c, const oc_gemm *g) { oc_gemm_run_on(c, g, oc_gemm_choose(c, g)); }
