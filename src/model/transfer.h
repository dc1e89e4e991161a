/* Between the caller's memory and the device's (compute.h). On a processor both are the same and nothing is copied. */
#ifndef OC_MODEL_TRANSFER_H
#define OC_MODEL_TRANSFER_H

#include "compute/compute.h"

/* An array that is written here and read by operations: write `here`, oc_input_send, pass `there`. On a processor both are
 * the same. */
typedef struct oc_input {
    int32_t *here, *there;
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

/* What lies at `p` in memory of the device (c NULL: in ordinary memory), in memory that can be read. */
typedef struct oc_readable {
    const void *p;
    void *copy; /* NULL where p could be read as it was */
} oc_readable;

static inline oc_status oc_read_back(oc_readable *r, oc_compute *c, const void *p, size_t bytes, oc_error *err) {
    *r = (oc_readable){.p = p};
    if (!c || c->ops.host_memory) return OC_OK;
    OC_TRY(oc_alloc_for(&r->copy, bytes, "what is read back from the device", err));
    c->ops.download(c, r->copy, p, bytes);
    r->p = r->copy;
    return OC_OK;
}

static inline void oc_readable_free(oc_readable *r) { oc_free(r->copy); }

#endif
