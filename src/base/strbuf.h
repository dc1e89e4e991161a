/* A growing string with a limit set at birth, so that hostile input cannot make it grow without end. */
#ifndef OC_BASE_STRBUF_H
#define OC_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

/* Always NUL-terminated once anything was added (data may be NULL while len is 0). After an overflow or a failed
 * allocation `failed` stays true and further calls do nothing; check it once at the end. Zero-initialise, set max
 * (0 means 1 GiB). */
typedef struct oc_strbuf {
    char *data;
    size_t len, capacity, max;
    bool failed;
} oc_strbuf;

void oc_strbuf_add(oc_strbuf *b, const void *bytes, size_t n);
void oc_strbuf_puts(oc_strbuf *b, const char *s);
void oc_strbuf_putc(oc_strbuf *b, char c);
void oc_strbuf_printf(oc_strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void oc_strbuf_clear(oc_strbuf *b); /* keeps the memory */
void oc_strbuf_free(oc_strbuf *b);

#endif
