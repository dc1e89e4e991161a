/* The f32 kernel of the blocked product (blocked.c): a unit of k is one float. It also multiplies bf16 operands, widened
 * while they are packed, on processors that have no bf16 instruction. Text for one instruction set at a time: the
 * including file includes simd/vec_<isa>.h and then this, which makes the members of an oc_gemm_kernel. */
#ifndef OC_COMPUTE_CPU_GEMM_F32_H
#define OC_COMPUTE_CPU_GEMM_F32_H

#include "compute/cpu/simd/words_f32.h"

#include "compute/cpu/gemm/finish.h"
#include "compute/cpu/gemm/tile.h"

/* ---- Packing --------------------------------------------------------------------------------------- */

/* Elements at .. at+k-1 of a matrix of `type`, k <= VL; those of an f32 matrix that counts as bf16 are rounded. */
OC_INLINE vf read_as(const void *p, size_t at, size_t k, oc_dtype type, oc_dtype t) {
    vf v = v_get(p, at, k, type);
    return t != type && type == OC_F32 ? v_from_bf16(v_to_bf16(v)) : v;
}

/* Rows of the source are columns of the panel: VL x VL pieces are transposed. */
OC_INLINE void pack_transposed(float *out, const oc_gemm_operand *from, int k0, int units, int j0, int cols,
                               oc_dtype type, oc_dtype t) {
    for (int j = 0; j < cols; j += VL)
        for (int u = 0; u < units; u += VL) {
            vf r[VL];
            size_t at = (size_t)(j0 + j) * from->ld + (size_t)(k0 + u);
            bool whole = j + VL <= cols && u + VL <= units;
            size_t k = (size_t)OC_MIN(VL, units - u);
            UNROLL
            for (int i = 0; i < VL; i++, at += from->ld)
                r[i] = whole          ? read_as(from->p, at, VL, type, t)
                       : j + i < cols ? read_as(from->p, at, k, type, t)
                                      : v_zero();
            v_transpose(r);
            float *to = out + (size_t)u * PANEL + j;
            UNROLL
            for (int i = 0; i < VL; i++)
                if (whole || i < (int)k) v_store(to + i * PANEL, r[i]);
        }
}

enum { PACK_AHEAD = 16 }; /* rows; a panel's part of a row is too short for the processor to see a stream in it */

/* The addresses asked for may lie past the end of the matrix: a prefetch cannot fault. */
OC_INLINE void pack_rows(float *out, const oc_gemm_operand *from, int k0, int units, int j0, int cols, oc_dtype type,
                         oc_dtype t) {
    size_t at = (size_t)k0 * from->ld + (size_t)j0, ahead = PACK_AHEAD * from->ld * oc_dtype_size(type);
    for (int u = 0; u < units; u++, at += from->ld, out += PANEL) {
        __builtin_prefetch((const char *)oc_at(from->p, at, type) + ahead, 0, 2);
        if (cols == PANEL) UNROLL
        for (int j = 0; j < PANEL; j += VL) v_store(out + j, read_as(from->p, at + (size_t)j, VL, type, t));
        else for (int j = 0; j < cols; j += VL)
            v_store(out + j, read_as(from->p, at + (size_t)j, (size_t)OC_MIN(VL, cols - j), type, t));
    }
}

OC_INLINE void pack_any(float *out, const oc_gemm_operand *from, int k0, int units, int j0, int cols, oc_dtype type,
                        oc_dtype t) {
    if (from->trans)
        pack_transposed(out, from, k0, units, j0, cols, type, t);
    else
        pack_rows(out, from, k0, units, j0, cols, type, t);
}

static void pack(char *panel, const oc_gemm_operand *from, oc_dtype t, int k0, int k, int j0, int cols) {
    float *out = (float *)(void *)panel;
    if (from->type == OC_BF16)
        pack_any(out, from, k0, k, j0, cols, OC_BF16, OC_BF16);
    else if (t == OC_BF16)
        pack_any(out, from, k0, k, j0, cols, OC_F32, OC_BF16);
    else
        pack_any(out, from, k0, k, j0, cols, OC_F32, OC_F32);
}

/* ---- A few rows (dots.h) --------------------------------------------------------------------------- */

enum { STEP = VL };

OC_INLINE vw read_a(const void *p, size_t at, int n) { return v_get(p, at, (size_t)OC_MIN(n, VL), OC_F32); }

OC_INLINE vw read_w(const void *p, size_t at, int n, oc_dtype type, oc_dtype t) {
    return read_as(p, at, (size_t)OC_MIN(n, VL), type, t);
}

#include "compute/cpu/gemm/dots.h"

static void dots(int rows, const void *a, size_t lda, const void *w, size_t ldw, oc_dtype type, oc_dtype t, int k,
                 float *sums, size_t ld) {
    if (type == OC_BF16)
        dots_by_rows(rows, OC_BF16, OC_F32, a, lda, w, ldw, k, sums, ld);
    else if (t == OC_BF16)
        dots_by_rows(rows, OC_F32, OC_BF16, a, lda, w, ldw, k, sums, ld);
    else
        dots_by_rows(rows, OC_F32, OC_F32, a, lda, w, ldw, k, sums, ld);
}

#endif
