/* Any bytes as captions: no crash, and output that is valid: UTF-8, one line for each line, no blank at the
 * ends or twice in a row, every caption's tokens inside of the output and in order. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "eval/ptb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tokens(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t used =
            utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        if (used < 1) abort();
        if (c == ' ' && (i == 0 || i + 1 == n || s[i + 1] == ' ')) abort();
        i += (size_t)used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static oc_ptb *p;
    oc_error err;
    oc_strbuf out = {0};
    if (size > 1 << 14) return 0;
    if (!p && oc_ptb_open(&p, &err) != OC_OK) abort();
    if (oc_ptb_tokenize(p, (const char *)data, size, &out, &err) != OC_OK) abort();
    for (size_t i = 0, from = 0; out.len > 0 && i <= out.len; i++) {
        if (i < out.len && out.data[i] != '\n') continue;
        check_tokens(out.data + from, i - from);
        from = i + 1;
    }

    /* The same as three captions. */
    char *text = malloc(size + 3);
    if (!text) abort();
    const char *captions[3];
    size_t end[3], at = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t from = size * i / 3, n = size * (i + 1) / 3 - from;
        captions[i] = text + at;
        if (n > 0) memcpy(text + at, data + from, n);
        at += n;
        text[at++] = 0;
    }
    oc_strbuf_clear(&out);
    if (oc_ptb_captions(p, captions, 3, &out, end, &err) != OC_OK || end[2] != out.len) abort();
    for (size_t i = 0, from = 0; i < 3; from = end[i++]) {
        if (end[i] < from) abort();
        if (end[i] > from) check_tokens(out.data + from, end[i] - from);
        if (end[i] > from && memchr(out.data + from, '\n', end[i] - from)) abort();
    }
    free(text);
    oc_strbuf_free(&out);
    return 0;
}
