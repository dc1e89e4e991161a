/* Memory of the device, which on a processor is ordinary memory. */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

static void *device_alloc(oc_compute *c, size_t bytes) {
    OC_UNUSED(c);
    return oc_alloc(bytes);
}

static void device_free(oc_compute *c, void *p) {
    OC_UNUSED(c);
    oc_free(p);
}

static void copy(oc_compute *c, void *to, const void *from, size_t bytes) {
    OC_UNUSED(c);
    memcpy(to, from, bytes);
}

/* By all threads: gradients of the full model are 3.6 GB. */
static void zero(oc_compute *c, void *x, size_t bytes) {
    const size_t piece = (size_t)1 << 20, pieces = (bytes + piece - 1) / piece;
#pragma omp parallel for num_threads(c->threads) if (pieces > 1)
    for (size_t i = 0; i < pieces; i++) memset((char *)x + i * piece, 0, OC_MIN(piece, bytes - i * piece));
}

void oc_ref_fill_memory(oc_ops *ops) {
    ops->host_memory = true;
    ops->device_alloc = device_alloc;
    ops->device_free = device_free;
    ops->upload = ops->download = ops->copy = copy;
    ops->zero = zero;
}
