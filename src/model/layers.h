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

/* What a forward pass keeps for the backward pass that follows. */
typedef enum {
    OC_PASS_FORWARD,    /* nothing: one layer's buffers serve all layers */
    OC_PASS_BACKWARD_X, /* frozen, but the gradient passes through: no inputs of linear layers are kept */
    OC_PASS_BACKWARD_W  /* trainable */
} oc_pass;

/* ---- Between the caller's memory and the device's (compute.h) -------------------------------------------------------- */

/* An array that is written here and read by operations: write `here`, oc_input_send, pass `there`. On a processor both are
 * the same. */
typedef struct oc_input {
    int32_t *here;
    void *there;
} oc_input;

/* n numbers from the arenas; `host` is used where the device has memory of its own. */
static inline oc_input oc_push_input(const oc_compute *c, oc_arena *a, oc_arena *host, size_t n) {
    oc_input in = {.there = oc_arena_push(a, n * sizeof(int32_t))};
    in.here = c->ops.host_memory ? in.there : oc_arena_push(host, n * sizeof(int32_t));
    return in;
}

static inline const int32_t *oc_input_send(oc_compute *c, const oc_input *in, size_t n) {
    if (!c->ops.host_memory) c->ops.upload(c, in->there, in->here, n * sizeof(int32_t));
    return in->there;
}

/* Room on the device for what the caller has in ordinary memory: none on a processor, where operations read it in place. */
static inline void *oc_push_room(const oc_compute *c, oc_arena *a, size_t bytes) {
    return c->ops.host_memory ? NULL : oc_arena_push(a, bytes);
}

/* x, or where it is after it was brought to the room. */
static inline const void *oc_bring(oc_compute *c, void *room, const void *x, size_t bytes) {
    if (c->ops.host_memory) return x;
    c->ops.upload(c, room, x, bytes);
    return room;
}

/* What the device has at x, in memory that can be read. Aborts without memory: for taps and pictures. */
typedef struct oc_readable {
    const void *p;
    void *copy;
} oc_readable;

static inline oc_readable oc_read_back(oc_compute *c, const void *x, size_t bytes) {
    if (c->ops.host_memory) return (oc_readable){.p = x};
    void *copy = oc_alloc(bytes);
    OC_ASSERT(copy != NULL);
    c->ops.download(c, copy, x, bytes);
    return (oc_readable){copy, copy};
}

static inline void oc_readable_free(oc_readable *r) { oc_free(r->copy); }

/* ---- Taps and scratch -------------------------------------------------------------------------------------------------- */

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
    oc_readable r = oc_read_back(c, x, (((size_t)rows - 1) * (size_t)ld + (size_t)cols) * oc_dtype_size(t));
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
