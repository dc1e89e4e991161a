#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };
#define HUGE_PAGE ((size_t)2 << 20)

static atomic_long fail_after = -1;

void oc_alloc_fail_after(long n) { atomic_store(&fail_after, n); }

static int injected_failure(void) {
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) < 0) return 0;
    return atomic_fetch_sub(&fail_after, 1) == 0;
}

void *oc_alloc(size_t bytes) {
    if (injected_failure() || bytes > SIZE_MAX / 2) return NULL;
    bool huge = bytes >= 2 * HUGE_PAGE;
    void *p;
    /* The size is not rounded up, so that AddressSanitizer sees the first byte beyond it. */
    if (posix_memalign(&p, huge ? HUGE_PAGE : ALIGNMENT, bytes ? bytes : 1) != 0) return NULL;
    if (huge) madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return p;
}

void *oc_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!oc_mul_size(count, size, &bytes)) return NULL;
    void *p = oc_alloc(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *oc_realloc(void *p, size_t old_bytes, size_t new_bytes) {
    void *q = oc_alloc(new_bytes);
    if (!q) return NULL;
    if (p) memcpy(q, p, old_bytes < new_bytes ? old_bytes : new_bytes);
    oc_free(p);
    return q;
}

void oc_free(void *p) { free(p); }

char *oc_strndup(const char *s, size_t n) {
    char *p = oc_alloc(n + 1);
    if (!p) return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *oc_strdup(const char *s) { return oc_strndup(s, strlen(s)); }

oc_status oc_alloc_for(void *out, size_t bytes, const char *what, oc_error *err) {
    void *p = oc_alloc(bytes);
    memcpy(out, &p, sizeof p);
    if (p) return OC_OK;
    return oc_fail(err, OC_ERR_NOMEM,
                   "out of memory: %.1f MiB for %s; close other programs or choose a smaller batch or model",
                   (double)bytes / (1 << 20), what);
}

void *oc_arena_push(oc_arena *a, size_t bytes) {
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t at = a->used;
    a->used += rounded;
    if (a->used > a->peak) a->peak = a->used;
    if (!a->base) return NULL;
    OC_ASSERT(a->used <= a->capacity);
    return a->base + at;
}

void oc_arena_pop(oc_arena *a, size_t mark) {
    OC_ASSERT(mark <= a->used);
    a->used = mark;
}

oc_status oc_arena_open(oc_arena *a, size_t capacity, const char *what, oc_error *err) {
    memset(a, 0, sizeof *a);
    OC_TRY(oc_alloc_for(&a->base, capacity, what, err));
    a->capacity = capacity;
    return OC_OK;
}

void oc_arena_close(oc_arena *a) {
    oc_free(a->base);
    memset(a, 0, sizeof *a);
}
