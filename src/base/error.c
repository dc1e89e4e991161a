#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void replace_control(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

oc_status oc_fail(oc_error *err, oc_status code, const char *fmt, ...) {
    if (err) {
        char text[sizeof err->msg];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        replace_control(text);
        memcpy(err->msg, text, sizeof text);
        err->code = code;
    }
    return code;
}

oc_status oc_fail_prefix(oc_error *err, const char *fmt, ...) {
    if (!err) return OC_ERR_FORMAT;
    char prefix[512], rest[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    replace_control(prefix);
    memcpy(rest, err->msg, sizeof rest);
    snprintf(err->msg, sizeof err->msg, "%s: %.*s", prefix, (int)(sizeof err->msg - strlen(prefix) - 3), rest);
    return err->code;
}

oc_status oc_fail_suffix(oc_error *err, const char *fmt, ...) {
    if (!err) return OC_ERR_FORMAT;
    char suffix[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(suffix, sizeof suffix, fmt, ap);
    va_end(ap);
    replace_control(suffix);
    size_t room = sizeof err->msg - 1 - strlen(suffix), n = strlen(err->msg);
    if (n > room) n = room;
    memcpy(err->msg + n, suffix, strlen(suffix) + 1);
    return err->code;
}

void oc_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "ocellus: internal error: %s (%s:%d)\n", cond, file, line);
    abort();
}
