/* Memory: checked allocation, and the arena from which a step's activations come. */
#ifndef OC_BASE_MEMORY_H
#define OC_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* 64-byte aligned, not cleared. NULL when memory is out. Freed by oc_free. Size 0 gives a valid pointer. */
void *oc_alloc(size_t bytes);
void *oc_calloc(size_t count, size_t size); /* cleared; NULL also when count * size overflows */
void *oc_realloc(void *p, size_t old_bytes, size_t new_bytes);
void oc_free(void *p); /* NULL allowed */
char *oc_strdup(const char *s);
char *oc_strndup(const char *s, size_t n);

/* As above, with an error that says how much was wanted and for what. */
oc_status oc_alloc_for(void *out, size_t bytes, const char *what, oc_error *err);

/* a * b, or 0 and false when it does not fit. */
static inline int oc_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* Fault injection for tests: the n-th allocation from now (0 = the next one) fails, once. Negative: none. */
void oc_alloc_fail_after(long n);

/* An arena hands out pieces of one block that was sized before. Planning and running use the same calls: with
 * base == NULL an arena only counts, so "plan, then run" is one piece of code executed twice.
 * Pieces are 64-byte aligned. Not thread safe. */
typedef struct oc_arena {
    char *base;      /* NULL while planning */
    size_t capacity; /* bytes at base */
    size_t used;     /* bytes handed out now */
    size_t peak;     /* highest `used` so far */
} oc_arena;

/* Aborts when a real arena is too small: the plan and the run would then differ. */
void *oc_arena_push(oc_arena *a, size_t bytes);
/* mark/pop free everything that was handed out after the mark, in stack order. */
static inline size_t oc_arena_mark(const oc_arena *a) { return a->used; }
void oc_arena_pop(oc_arena *a, size_t mark);
oc_status oc_arena_open(oc_arena *a, size_t capacity, const char *what, oc_error *err);
void oc_arena_close(oc_arena *a);

#endif
