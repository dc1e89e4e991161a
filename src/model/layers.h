/* What the vision encoder and the decoder have in common: how much a pass keeps, taps for tests, scratch planning.
 *
 * Activation checkpointing (Chen et al., arXiv 1604.06174), layer by layer: of the layers [0, k) only the input is kept.
 * They share one set of buffers for everything else, which the backward pass fills again, from the kept input and with
 * the same kernels, before it needs them: gradients are the same bit for bit. The last of them, k - 1, finds its own
 * activations still there, so k = 1 is the same as k = 0, and k layers cost k - 1 further forward passes of a layer (less
 * the last product, whose result is not needed). A pass that keeps nothing (OC_PASS_FORWARD) has nothing to save. */
#ifndef OC_MODEL_LAYERS_H
#define OC_MODEL_LAYERS_H

#include "model/linear.h"
#include "model/transfer.h"

/* What a forward pass keeps for the backward pass that follows. */
typedef enum {
    OC_PASS_FORWARD,    /* nothing: one layer's buffers serve all layers */
    OC_PASS_BACKWARD_X, /* frozen, but the gradient passes through: no inputs of linear layers are kept */
    OC_PASS_BACKWARD_W  /* trainable */
} oc_pass;

/* Shown each named activation as it is made: x is T [rows, cols] at stride ld, in memory that can be read. Only tests and
 * pictures set one. */
typedef struct oc_tap {
    void (*fn)(void *ctx, const char *name, const void *x, int rows, int cols, int ld, oc_dtype t);
    void *ctx;
} oc_tap;

/* Of x in memory of the device. */
static inline void oc_tap_show(const oc_tap *tap, oc_compute *c, const char *name, const void *x, int rows, int cols,
                               int ld, oc_dtype t) {
    if (!tap || !tap->fn || rows == 0) return;
    oc_error err;
    oc_readable r;
    oc_status st = oc_read_back(&r, c, x, (((size_t)rows - 1) * (size_t)ld + (size_t)cols) * oc_dtype_size(t), &err);
    OC_ASSERT(st == OC_OK); /* memory, of a test */
    tap->fn(tap->ctx, name, r.p, rows, cols, ld, t);
    oc_readable_free(&r);
}

/* rows x cols elements of type t from the arena. */
static inline void *oc_push(oc_arena *a, oc_dtype t, size_t rows, size_t cols) {
    return oc_arena_push(a, rows * cols * oc_dtype_size(t));
}

/* Columns from `col` on of a T matrix. */
static inline void *oc_column(const void *x, oc_dtype t, size_t col) {
    return (char *)(uintptr_t)x + col * oc_dtype_size(t);
}

#endif
