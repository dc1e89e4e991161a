/* cpu/gemm: every matrix product of the table is one call of oc_gemm_run; what multiplies is chosen behind
 * it.
 *
 *   C[m,n] = epilogue(A[m,k] B[k,n])      or      C += A B
 *
 * Sums are f32. linear.c and xent.c say which operand is which; gemm.c chooses the kernel per shape and
 * processor; dnnl.c is oneDNN. Private to src/compute/cpu. */
#ifndef OC_COMPUTE_CPU_GEMM_GEMM_H
#define OC_COMPUTE_CPU_GEMM_GEMM_H

#include "compute/cpu/cpu.h"

/* An operand as it lies in memory. Element (i, j) is at i * ld + j, or at j * ld + i when `trans`. */
typedef struct oc_gemm_operand {
    const void *p;
    oc_dtype type; /* OC_F32 or OC_BF16 */
    bool trans;
    size_t ld;
} oc_gemm_operand;

/* Instead of a store: receives the finished sums of some rows and columns of C (stride ld), each exactly
 * once, from several threads. Column blocks start at multiples of OC_GEMM_GROUP and are that long, the last
 * one excepted. */
typedef void (*oc_gemm_sink)(void *context, int row, int col, int rows, int cols, const float *sums,
                             size_t ld);

enum { OC_GEMM_GROUP = 256, OC_GEMM_SLACK = 16 };

typedef struct oc_gemm {
    int m, n, k; /* all > 0 */
    oc_dtype t;  /* what the operands are rounded to before they are multiplied; A has this type already */
    oc_gemm_operand a, b;
    bool a_padded; /* rows of A may be read, and are zero, up to a whole number of kernel units of k */
    void *c;
    oc_dtype c_type;
    size_t ldc;
    bool accumulate;      /* C += A B, rounded once; no epilogue then */
    const oc_epilogue *e; /* NULL: none. Its tensors have c_type and stride ldc */
    oc_gemm_sink sink;    /* NULL: C is written. With OC_GEMM_BLOCKED only */
    void *sink_context;
    oc_matrix *w; /* the matrix that B is a view of, or NULL: kernels may keep a packed copy there */
} oc_gemm;

typedef enum { OC_GEMM_BLOCKED, OC_GEMM_DOTS, OC_GEMM_DNNL, OC_GEMM_ENGINES } oc_gemm_engine;

void oc_gemm_run(oc_compute *c, const oc_gemm *g);
oc_gemm_engine oc_gemm_choose(const oc_compute *c, const oc_gemm *g);
bool oc_gemm_packs(const oc_compute *c, oc_dtype t); /* products of type t use packed copies of matrices */
bool oc_gemm_can(const oc_compute *c, const oc_gemm *g, oc_gemm_engine engine);
void oc_gemm_run_on(oc_compute *c, const oc_gemm *g, oc_gemm_engine engine); /* for tests and measurements */

/* ---- Matrix handles -------------------------------------------------------------------------------- */

/* A packed copy belongs to one view of the matrix: B = W^T (forward) or B = W (gradient of the input). */
typedef enum { OC_GEMM_FORWARD, OC_GEMM_BACKWARD, OC_GEMM_PACKS } oc_gemm_view;

struct oc_matrix {
    oc_matrix_desc d;
    bool packs;                /* oneDNN multiplies it, from packed copies */
    void *pack[OC_GEMM_PACKS]; /* of dnnl.c; NULL until the first use */
    bool fresh[OC_GEMM_PACKS]; /* the copy holds the present values of the source */
};

/* ---- Per oc_compute -------------------------------------------------------------------------------- */

typedef struct oc_gemm_dnnl oc_gemm_dnnl; /* dnnl.c */

/* Memory kept for the next call, apart from oc_compute_scratch since products are steps of other kernels. */
typedef enum {
    OC_GEMM_BUFFER_A,
    OC_GEMM_BUFFER_B,
    OC_GEMM_BUFFER_C,
    OC_GEMM_BUFFER_LOGITS,
    OC_GEMM_BUFFER_EXP,
    OC_GEMM_BUFFER_PIECES,
    OC_GEMM_BUFFER_TASKS,
    OC_GEMM_BUFFER_PANELS,
    OC_GEMM_BUFFERS
} oc_gemm_buffer_id;

typedef struct oc_gemm_state {
    oc_gemm_dnnl *dnnl; /* NULL until the first product that oneDNN makes */
    void *buffer[OC_GEMM_BUFFERS];
    size_t buffer_bytes[OC_GEMM_BUFFERS];
} oc_gemm_state;

oc_gemm_state *oc_gemm_state_of(oc_compute *c); /* made at first use; gives up (cpu.h) when memory is out */
void *oc_gemm_buffer(oc_compute *c, oc_gemm_buffer_id id,
                     size_t bytes); /* not cleared; growing loses the contents */

/* ---- oneDNN (dnnl.c) ------------------------------------------------------------------------------- */

oc_gemm_dnnl *oc_gemm_dnnl_open(oc_compute *c); /* gives up when memory is out, as does running */
void oc_gemm_dnnl_close(oc_gemm_dnnl *d);
/* C = A B + bias or C += A B: the rest of an epilogue is the caller's. A, and B where it is no matrix, have
 * type t. */
void oc_gemm_dnnl_run(oc_gemm_dnnl *d, const oc_gemm *g, const float *bias);
void oc_gemm_dnnl_pack_free(void *pack);
int oc_gemm_dnnl_cached(const oc_gemm_dnnl *d); /* primitives held now; tests look at it */

/* ---- Softmax over the vocabulary, piece by piece --------------------------------------------------- */

typedef struct oc_gemm_softmax {
    /* One row's piece of logits z [n]: maximum, sum of exp(z - max); p [n] (type t, or NULL) receives the
     * exponentials. */
    void (*piece)(void *p, oc_dtype t, const float *z, int n, float *max, float *sum);
    void (*scale)(void *p, oc_dtype t, int n, float factor); /* p *= factor */
} oc_gemm_softmax;

const oc_gemm_softmax *oc_gemm_softmax_of(const oc_compute *c, oc_dtype t);
extern const oc_gemm_softmax oc_gemm_softmax_portable; /* epilogue.c */

/* ---- The blocked product (blocked.c) and the kernels that it runs on ------------------------------- */

/* How a kernel wants products to be cut, which depends on its registers and on the caches it was measured with. */
typedef struct oc_gemm_cut {
    int rows;     /* of a task, at most */
    int units;    /* of k per block, at most */
} oc_gemm_cut;

enum { OC_GEMM_FEW = 128 };

/* A panel is the packed form of `panel` columns of B (or rows of A): [units][panel] of 4 bytes, 64-byte aligned, a
 * unit being `unit` elements that follow each other in k. Columns and elements past the end are zero. */
typedef struct oc_gemm_kernel {
    const char *name;
    oc_dtype type; /* of packed elements, and of A where it is read in place */
    int unit;      /* elements of k per 4 bytes: 1 (f32), 2 (bf16) */
    int panel;     /* OC_GEMM_GROUP is a multiple */
    int few;       /* rows of A up to which dots may be better than packing; OC_GEMM_FEW at most */
    bool asks;     /* prefetch the rows of A and C that come next: the processor does not see them coming */
    oc_gemm_cut in_place, packed; /* by what happens to A; the latter's rows are a multiple of `panel` */
    size_t shared_bytes; /* of the panels that all threads read, of a gradient of the weights: k is cut there */
    /* C[rows,cols] = (add: C +) A[rows,units] B[units,cols]; rows <= 6, cols <= panel. Unit (i, u) of A is at
     * a + i * a_row + u * a_unit bytes, b is a panel. c is written in its columns only. */
    void (*tile)(int rows, int cols, int units, const char *a, size_t a_row, size_t a_unit, const char *b,
                 float *c, size_t ldc, bool add);
    /* Columns j0.. of `from`, read as B[k, columns], elements k0..k0+k, into one panel. t: type that they
     * count as. */
    void (*pack)(char *panel, const oc_gemm_operand *from, oc_dtype t, int k0, int k, int j0, int cols);
    /* Stores rows row.. and columns col.. of C from their sums: epilogue, accumulation, rounding. Reads up to
     * OC_GEMM_SLACK floats behind each row of sums. */
    void (*finish)(const oc_gemm *g, int row, int col, int rows, int cols, const float *sums, size_t ld);
    /* sums[r,0..3] (stride ld) = A[r] . W[0..3] for 1 to 6 rows of A (of the kernel's type); W (`type`,
     * counting as t) has 4 rows that are contiguous in k. May prefetch behind them. */
    void (*dots)(int rows, const void *a, size_t lda, const void *w, size_t ldw, oc_dtype type, oc_dtype t,
                 int k, float *sums, size_t ld);
    oc_gemm_softmax softmax;
} oc_gemm_kernel;

void oc_gemm_blocked(oc_compute *c, const oc_gemm_kernel *kernel, const oc_gemm *g);

/* A few rows times W^T, W read in place (few.c): B transposed, m at most OC_GEMM_FEW, no sink. */
void oc_gemm_few(oc_compute *c, const oc_gemm_kernel *kernel, const oc_gemm *g);

extern const oc_gemm_kernel oc_avx2_gemm, oc_avx512_gemm, oc_avx512bf16_gemm; /* x86-64 only */

/* ---- Epilogues without vector instructions of their own (epilogue.c) ------------------------------- */

/* As oc_gemm_kernel.finish. */
void oc_gemm_finish(const oc_gemm *g, int row, int col, int rows, int cols, const float *sums, size_t ld);
/* f32 copy [rows, cols], dense, of a bf16 matrix. */
void oc_gemm_widen(oc_compute *c, float *y, const uint16_t *x, size_t ld, int rows, int cols);

/* ---- Entries of the table -------------------------------------------------------------------------- */

void oc_gemm_linear_xent(oc_compute *c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x,
                         const int32_t *target, const float *weight, oc_matrix *w, int n, float scale);

#endif
