/* compute/cpu: what the CPU tables share: the processor's features, the functions that fill a table, scratch
 * memory. Private to src/compute (the rest of the program sees compute.h only) and to tests/compute.
 *
 * A table is filled in layers, each overwriting the entries that it does better (compute.c):
 *     ref -> gemm -> avx2 -> avx512 -> avx512bf16
 * stopping at the level of the backend: "ref" is the first alone, "portable" adds gemm, "avx2", "avx512" and
 * "avx512_bf16" add the vector kernels up to theirs, "amx" is avx512_bf16 with AMX allowed in gemm.
 *
 * Threads. Kernels write `#pragma omp parallel for num_threads(oc_cpu_team(c, work))`. A library that takes
 * the number of threads from the OpenMP runtime of the calling thread (oneDNN) is called after
 * oc_cpu_use_threads(c). One oc_compute is used by one caller at a time, outside of parallel regions; several
 * of them may exist, with different settings. */
#ifndef OC_COMPUTE_CPU_CPU_H
#define OC_COMPUTE_CPU_CPU_H

#include "compute/backend.h"

/* What a table may use: what the processor has, what the operating system saves, and what the backend
 * allows. */
typedef struct oc_cpu_features {
    bool avx2;        /* AVX2, FMA, F16C */
    bool avx512;      /* AVX-512 F, BW, DQ, VL, VNNI */
    bool avx512_bf16; /* avx512 and AVX512_BF16 */
    bool amx;         /* avx512_bf16, AMX-TILE, AMX-BF16, and the system's permission to use tiles */
} oc_cpu_features;

oc_cpu_features oc_cpu_detect(void);

/* Kept in oc_compute.backend by every CPU table. */
typedef struct oc_cpu {
    oc_cpu_features features; /* as allowed by the backend that was opened */
    void *gemm;               /* of cpu/gemm: engine, stream, caches of primitives; made at first use, NULL before */
    void (*gemm_close)(oc_compute *);         /* set by cpu/gemm together with gemm; oc_compute_close calls it */
    size_t (*gemm_bytes)(const oc_compute *); /* ... and tells what its buffers hold */
    char describe[128];
} oc_cpu;

static inline oc_cpu *oc_cpu_of(const oc_compute *c) { return (oc_cpu *)c->backend; }

/* Makes c->threads the number of OpenMP threads of the calling thread, for libraries that read it from
 * there. */
void oc_cpu_use_threads(const oc_compute *c);

/* The number of threads for a loop over `work` elements (or multiplications): one where starting the others
 * would take longer than the loop. Loops split by index, so the results are the same. */
enum { OC_CPU_LARGE = 1 << 14 };
static inline int oc_cpu_team(const oc_compute *c, size_t work) { return work < OC_CPU_LARGE ? 1 : c->threads; }

/* Scratch memory of one thread (omp_get_thread_num() inside of a parallel region of c->threads threads) or,
 * with thread = -1, of the call as a whole (outside of parallel regions only). 64-byte aligned, not cleared,
 * at least `bytes` long, kept for the next call and freed by oc_compute_close; growing loses the contents.
 * There is one block per thread: a kernel asks once and divides it, and a kernel that calls another entry of
 * the table must expect it to be overwritten. When memory is out, a call outside of parallel regions gives up
 * (below); inside of one it aborts, so what a region asks for is made ready before: */
void *oc_compute_scratch(oc_compute *c, int thread, size_t bytes);
void oc_compute_scratch_threads(oc_compute *c, size_t bytes); /* at least so much for every thread */

/* The backends that this processor can run, slowest first ("ref" always). Returns their number, writes at
 * most max. */
int oc_compute_backends(const char **names, int max);

/* ---- The layers of a table ----------------------------------------------------------------------------- */

void oc_cpu_ref_fill(oc_ops *ops);
void oc_cpu_gemm_fill(oc_ops *ops, const oc_cpu_features *f); /* linear_*, linear_xent, matrix_* */
#if defined(__x86_64__)
void oc_cpu_avx2_fill(oc_ops *ops);
void oc_cpu_avx512_fill(oc_ops *ops);
void oc_cpu_avx512bf16_fill(oc_ops *ops);
#endif

#endif
