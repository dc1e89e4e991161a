/* The record of a run as JSON lines: one object a line, in the file when the call returns, so that a killed run loses
 * nothing that was logged. A run that continues appends; a step that comes again supersedes the earlier line. */
#ifndef OC_TRAIN_RUN_LOG_H
#define OC_TRAIN_RUN_LOG_H

#include "base/json.h"

typedef struct oc_run_log oc_run_log;

/* Opens for appending. A last line without its newline (the process was killed while writing) is removed first. */
oc_status oc_run_log_open(oc_run_log **out, const char *path, oc_error *err);
void oc_run_log_close(oc_run_log *log); /* NULL allowed */

/* Writes the object and gives up the caller's reference to it, also on failure. NULL is reported as out of memory, so
 * that json_pack(...) can be passed as it is. Not thread safe. */
oc_status oc_run_log_write(oc_run_log *log, json_t *object, oc_error *err);

/* A number for such an object: null for NaN and infinities, which JSON lacks. */
json_t *oc_run_log_number(double x);

#endif
