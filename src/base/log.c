#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/progress.h"

static atomic_int log_level = OC_LOG_INFO;

void oc_log_set_level(oc_log_level level) { atomic_store(&log_level, (int)level); }
oc_log_level oc_log_get_level(void) { return (oc_log_level)atomic_load(&log_level); }

void oc_log(oc_log_level level, const char *fmt, ...) {
    static const char *prefix[] = {"ocellus: error: ", "ocellus: warning: ", "", ""};
    if ((int)level > atomic_load(&log_level)) return;
    char line[1200];
    int n = snprintf(line, sizeof line - 1, "%s", prefix[level]);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof line - 1 - (size_t)n, fmt, ap);
    va_end(ap);
    size_t len = strlen(line);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?';
    line[len] = '\n';
    oc_progress_print(line, len + 1);
}
