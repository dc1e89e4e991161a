/* A device with memory of its own, made of a processor, for tests. Its memory can be neither read nor written but by
 * operations, and operations accept no other memory: what runs on it needs nothing that compute.h does not promise of a
 * GPU. Results are those of the processor, bit for bit. One device at a time. */
#ifndef OC_TESTS_COMPUTE_DEVICE_H
#define OC_TESTS_COMPUTE_DEVICE_H

/* cmocka wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/mman.h>

#include "compute/operations.h"

enum { DEVICE_BYTES = 1 << 28 };

static struct {
    oc_ops real;
    char *memory; /* [DEVICE_BYTES] */
    size_t used;
    int depth;    /* operations that are running: one may call another */
    int live;     /* pieces that are not freed */
} device;

static void device_enter(void) {
    if (device.depth++ == 0) assert_int_equal(mprotect(device.memory, DEVICE_BYTES, PROT_READ | PROT_WRITE), 0);
}

static void device_leave(void) {
    if (--device.depth == 0) assert_int_equal(mprotect(device.memory, DEVICE_BYTES, PROT_NONE), 0);
}

static bool device_has(const void *p) {
    return (const char *)p >= device.memory && (const char *)p < device.memory + DEVICE_BYTES;
}

/* p, which must be of the device. What operations hand to operations is their own affair. */
static void *device_pointer(const void *p) {
    if (p && device.depth <= 1 && !device_has(p)) fail_msg("an operation was given ordinary memory");
    return (void *)(uintptr_t)p;
}

static const oc_epilogue *device_epilogue(const oc_epilogue *e) {
    if (e) device_pointer(e->bias), device_pointer(e->pre_act), device_pointer(e->residual);
    return e;
}

static const oc_attention *device_attention(const oc_attention *a) {
    device_pointer(a->lo), device_pointer(a->hi);
    return a;
}

#define D(pointer) device_pointer(pointer)
#define E(epilogue) device_epilogue(epilogue)
#define A(attention) device_attention(attention)
#define WRAPPER(name, params, args, ...)                                                                               \
    static void device_##name params {                                                                                 \
        device_enter();                                                                                                \
        device.real.name args;                                                                                         \
        device_leave();                                                                                                \
    }
OC_OPERATIONS(WRAPPER)
#undef WRAPPER
#undef D
#undef E
#undef A

static double device_sum_squares(oc_compute *c, const float *x, size_t n) {
    device_enter();
    double sum = device.real.sum_squares(c, device_pointer(x), n);
    device_leave();
    return sum;
}

static void *device_alloc(oc_compute *c, size_t bytes) {
    OC_UNUSED(c);
    const size_t at = device.used, rounded = (bytes + 63) / 64 * 64;
    if (rounded > DEVICE_BYTES - at) return NULL;
    device.used += rounded;
    device.live++;
    return device.memory + at;
}

static void device_free(oc_compute *c, void *p) {
    OC_UNUSED(c);
    if (!p) return;
    assert_true(device_has(p));
    device.live--;
}

/* Whatever is copied must lie on one side. */
static void device_move(oc_compute *c, void *to, const void *from, size_t bytes) {
    device_enter();
    device.real.copy(c, to, from, bytes);
    device_leave();
}

static void device_upload(oc_compute *c, void *to, const void *from, size_t bytes) {
    assert_true(bytes == 0 || (device_has(to) && !device_has(from)));
    device_move(c, to, from, bytes);
}

static void device_download(oc_compute *c, void *to, const void *from, size_t bytes) {
    assert_true(bytes == 0 || (!device_has(to) && device_has(from)));
    device_move(c, to, from, bytes);
}

static void device_copy(oc_compute *c, void *to, const void *from, size_t bytes) {
    assert_true(bytes == 0 || (device_has(to) && device_has(from)));
    device_move(c, to, from, bytes);
}

static oc_matrix *device_matrix_create(oc_compute *c, const oc_matrix_desc *d) {
    device_enter();
    device_pointer(d->w);
    oc_matrix *w = device.real.matrix_create(c, d);
    device_leave();
    return w;
}

static void device_matrix_changed(oc_compute *c, oc_matrix *w) {
    device_enter();
    device.real.matrix_changed(c, w);
    device_leave();
}

static inline void device_open(oc_compute **c) {
    oc_error err;
    if (oc_compute_open(c, &(oc_compute_options){.threads = 2}, &err) != OC_OK) fail_msg("%s", err.msg);
    device.real = (*c)->ops;
    device.memory = mmap(NULL, DEVICE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(device.memory != MAP_FAILED);
    device.used = 0;
    device.depth = device.live = 0;
    oc_ops *ops = &(*c)->ops;
#define TAKE(name, ...) ops->name = device_##name;
    OC_OPERATIONS(TAKE)
#undef TAKE
    ops->sum_squares = device_sum_squares;
    ops->host_memory = false;
    ops->device_alloc = device_alloc;
    ops->device_free = device_free;
    ops->upload = device_upload;
    ops->download = device_download;
    ops->copy = device_copy;
    ops->matrix_create = device_matrix_create;
    ops->matrix_changed = device_matrix_changed;
}

/* Nothing may have been left behind. */
static inline void device_close(oc_compute *c) {
    assert_int_equal(device.live, 0);
    oc_compute_close(c);
    assert_int_equal(munmap(device.memory, DEVICE_BYTES), 0);
}

#endif
