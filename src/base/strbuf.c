#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static bool reserve(oc_strbuf *b, size_t extra) {
    size_t max = b->max ? b->max : (size_t)1 << 30;
    if (b->failed) return false;
    if (extra >= max || b->len > max - extra - 1) return b->failed = true, false;
    size_t need = b->len + extra + 1;
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < need) capacity *= 2;
    char *p = oc_realloc(b->data, b->len, capacity);
    if (!p) return b->failed = true, false;
    b->data = p;
    b->capacity = capacity;
    return true;
}

void oc_strbuf_add(oc_strbuf *b, const void *bytes, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
}

void oc_strbuf_puts(oc_strbuf *b, const char *s) { oc_strbuf_add(b, s, strlen(s)); }

void oc_strbuf_putc(oc_strbuf *b, char c) {
    if (!reserve(b, 1)) return;
    b->data[b->len++] = c;
    b->data[b->len] = 0;
}

void oc_strbuf_printf(oc_strbuf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !reserve(b, (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void oc_strbuf_clear(oc_strbuf *b) {
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void oc_strbuf_free(oc_strbuf *b) {
    oc_free(b->data);
    b->data = NULL;
    b->len = b->capacity = 0;
    b->failed = false;
}
