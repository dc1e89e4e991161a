#include "train/run_log.h"

#include <errno.h>
#include <stdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

struct oc_run_log {
    FILE *file;
    char *path;
};

static oc_status fail_errno(const oc_run_log *log, const char *verb, oc_error *err) {
    return oc_fail(err, OC_ERR_IO, "%s: cannot %s: %s", log->path, verb, strerror(errno));
}

/* Cuts the file after its last newline. */
static oc_status drop_half_line(oc_run_log *log, oc_error *err) {
    if (fseeko(log->file, 0, SEEK_END) != 0) return fail_errno(log, "read", err);
    off_t end = ftello(log->file), at = end;
    for (int c; at > 0; at--) {
        if (fseeko(log->file, at - 1, SEEK_SET) != 0 || (c = fgetc(log->file)) == EOF)
            return fail_errno(log, "read", err);
        if (c == '\n') break;
    }
    if (at < end && ftruncate(fileno(log->file), at) != 0) return fail_errno(log, "shorten", err);
    return fseeko(log->file, 0, SEEK_END) == 0 ? OC_OK : fail_errno(log, "read", err);
}

oc_status oc_run_log_open(oc_run_log **out, const char *path, oc_error *err) {
    *out = NULL;
    oc_run_log *log = oc_calloc(1, sizeof *log);
    if (!log) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_status st;
    log->path = oc_strdup(path);
    if (!log->path) st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    else if (!(log->file = fopen(path, "a+be"))) st = fail_errno(log, "open", err);
    else st = drop_half_line(log, err);
    if (st == OC_OK) *out = log;
    else oc_run_log_close(log);
    return st;
}

void oc_run_log_close(oc_run_log *log) {
    if (!log) return;
    if (log->file) fclose(log->file);
    oc_free(log->path);
    oc_free(log);
}

oc_status oc_run_log_write(oc_run_log *log, json_t *object, oc_error *err) {
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (!text) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for a line", log->path);
    bool ok = fputs(text, log->file) >= 0 && fputc('\n', log->file) != EOF && fflush(log->file) == 0;
    oc_status st = ok ? OC_OK : fail_errno(log, "write", err);
    free(text);
    return st;
}

json_t *oc_run_log_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }
