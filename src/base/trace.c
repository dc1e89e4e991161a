#define _GNU_SOURCE
#include "base/trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 64 };

typedef struct recorded {
    oc_trace_event e;
    int thread; /* of the system */
} recorded;

struct oc_trace {
    pthread_mutex_t lock; /* guards all that follows */
    recorded *event;
    size_t n, max, dropped;
    double origin;
    struct {
        const char *name;
        int number, thread;
    } named[MAX_THREADS];
    int n_named;
};

static int this_thread(void) { return (int)syscall(SYS_gettid); }

oc_status oc_trace_open(oc_trace **out, size_t max, oc_error *err) {
    *out = NULL;
    oc_trace *t = oc_calloc(1, sizeof *t);
    if (!t) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a trace");
    oc_status st = oc_alloc_for(&t->event, max * sizeof *t->event, "a trace", err);
    if (st != OC_OK) {
        oc_free(t);
        return st;
    }
    pthread_mutex_init(&t->lock, NULL);
    t->max = max;
    t->origin = oc_now();
    *out = t;
    return OC_OK;
}

void oc_trace_close(oc_trace *t) {
    if (!t) return;
    pthread_mutex_destroy(&t->lock);
    oc_free(t->event);
    oc_free(t);
}

void oc_trace_add(oc_trace *t, const oc_trace_event *e) {
    if (!t) return;
    recorded r = {*e, this_thread()};
    if (r.e.seconds <= 0) r.e.seconds = oc_now() - e->start;
    pthread_mutex_lock(&t->lock);
    if (t->n < t->max)
        t->event[t->n++] = r;
    else
        t->dropped++;
    pthread_mutex_unlock(&t->lock);
}

void oc_trace_name_thread(oc_trace *t, const char *name, int number) {
    if (!t) return;
    int thread = this_thread(), i = 0;
    pthread_mutex_lock(&t->lock);
    while (i < t->n_named && t->named[i].thread != thread) i++; /* the system gives a number again */
    if (i < MAX_THREADS) {
        t->named[i].name = name;
        t->named[i].number = number;
        t->named[i].thread = thread;
        if (i == t->n_named) t->n_named++;
    }
    pthread_mutex_unlock(&t->lock);
}

size_t oc_trace_dropped(oc_trace *t) {
    pthread_mutex_lock(&t->lock);
    size_t n = t->dropped;
    pthread_mutex_unlock(&t->lock);
    return n;
}

/* ---- Writing ------------------------------------------------------------------------------------------------------- */

static void write_dims(FILE *f, const oc_trace_event *e, const char **comma) {
    const char *at = e->dims;
    for (int i = 0; at && *at && i < OC_TRACE_DIMS; i++) {
        size_t n = strcspn(at, " ");
        fprintf(f, "%s\"%.*s\":%lld", *comma, (int)n, at, (long long)e->dim[i]);
        *comma = ",";
        at += n + (at[n] == ' ');
    }
}

static void write_event(FILE *f, const recorded *r, double origin, int process) {
    const oc_trace_event *e = &r->e;
    const char *comma = "";
    fprintf(f,
            ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":%d,\"tid\":%d,\"args\":{",
            e->name, e->category, (e->start - origin) * 1e6, e->seconds * 1e6, process, r->thread);
    write_dims(f, e, &comma);
    if (e->flops > 0) fprintf(f, "%s\"flops\":%.0f", comma, e->flops), comma = ",";
    if (e->bytes > 0) fprintf(f, "%s\"bytes\":%.0f", comma, e->bytes);
    fputs("}}", f);
}

static void write_all(FILE *f, const oc_trace *t) {
    const int process = (int)getpid();
    fprintf(f, "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"events\":%zu,\"dropped\":%zu},\"traceEvents\":[\n", t->n,
            t->dropped);
    fprintf(f, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,\"args\":{\"name\":\"ocellus\"}}",
            process);
    for (int i = 0; i < t->n_named; i++) {
        char number[16] = "";
        if (t->named[i].number) snprintf(number, sizeof number, " %d", t->named[i].number);
        fprintf(f, ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"%s%s\"}}",
                process, t->named[i].thread, t->named[i].name, number);
    }
    for (size_t i = 0; i < t->n; i++) write_event(f, &t->event[i], t->origin, process);
    fputs("\n]}\n", f);
}

static oc_status write_beside(const oc_trace *t, const char *path, const char *beside, oc_error *err) {
    FILE *f = fopen(beside, "we");
    if (!f) return oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", beside, strerror(errno));
    write_all(f, t);
    bool ok = !ferror(f);
    if (fclose(f) != 0) ok = false;
    if (ok && rename(beside, path) == 0) return OC_OK;
    oc_status st = oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    remove(beside);
    return st;
}

oc_status oc_trace_write(oc_trace *t, const char *path, oc_error *err) {
    oc_strbuf beside = {0};
    oc_strbuf_printf(&beside, "%s.new", path);
    if (beside.failed) {
        oc_strbuf_free(&beside);
        return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    }
    pthread_mutex_lock(&t->lock);
    oc_status st = write_beside(t, path, beside.data, err);
    t->n = t->dropped = 0;
    pthread_mutex_unlock(&t->lock);
    oc_strbuf_free(&beside);
    return st;
}
