/* A timeline of what each thread does, in the JSON that chrome://tracing and ui.perfetto.dev open (Trace Event Format,
 * Google 2016): complete events ("ph": "X") with times in microseconds since the trace was opened.
 *
 *     double start = oc_now();
 *     ... work ...
 *     oc_trace_add(trace, &(oc_trace_event){.name = "optimizer", .category = "train", .start = start});
 *
 * Bounded: events after the first `max` are counted and left out, so a trace shows the beginning of a long run. Events may
 * be added from any thread; spans of one thread must nest. A NULL trace takes nothing and costs nothing. */
#ifndef OC_BASE_TRACE_H
#define OC_BASE_TRACE_H

#include "base/base.h"

enum { OC_TRACE_DIMS = 4 };

typedef struct oc_trace oc_trace;

typedef struct oc_trace_event {
    const char *name, *category; /* identifiers that outlive the trace */
    const char *dims;            /* names of the sizes, each one word: "N rows cols"; NULL: none */
    int64_t dim[OC_TRACE_DIMS];
    double start, seconds; /* oc_now() at the beginning; seconds 0: until now */
    double flops, bytes;   /* 0: not counted */
} oc_trace_event;

oc_status oc_trace_open(oc_trace **out, size_t max, oc_error *err);
void oc_trace_close(oc_trace *t);
void oc_trace_add(oc_trace *t, const oc_trace_event *e);
/* What the calling thread is called in the picture: an identifier that outlives the trace, and a number where there are
 * several (0: none). */
void oc_trace_name_thread(oc_trace *t, const char *name, int number);
/* Writes what was recorded so far and begins anew. The file appears whole or not at all. */
oc_status oc_trace_write(oc_trace *t, const char *path, oc_error *err);
size_t oc_trace_dropped(oc_trace *t); /* events that found no room */

#endif
