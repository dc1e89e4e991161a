/* This program run again as a child, so that what happens there (a crash, a full memory) stays there. */
#ifndef OC_CLI_CHILD_H
#define OC_CLI_CHILD_H

#include "base/base.h"

typedef struct oc_child {
    const char *const *argv; /* ends with NULL; argv[0] is only shown */
    const char *output;      /* file for standard output; NULL: thrown away */
    const char *log;         /* file that standard error is appended to; NULL: none */
    /* Called ten times a second with the last line that the child wrote to standard error ("" before the first). */
    void (*tick)(void *ctx, const char *line);
    void *ctx;
} oc_child;

typedef struct oc_child_result {
    int code;   /* exit status; -1 after a signal */
    int signal; /* that ended it; 0: none */
    double seconds;
    char message[400]; /* the last line of standard error, or what the signal was */
} oc_child_result;

/* Waits for the child's end; its failure is not one of this call. A signal to this process (base/signals.h) is passed
 * on once, so that the child saves its work, and the call then returns OC_ERR_INTERRUPTED. The child does not outlive
 * this process: when it is killed, the child gets SIGTERM. Linux. */
oc_status oc_child_run(const oc_child *c, oc_child_result *r, oc_error *err);

#endif
