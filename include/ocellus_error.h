/* How calls report failure. Part of ocellus.h. */
#ifndef OCELLUS_ERROR_H
#define OCELLUS_ERROR_H

typedef enum {
    OC_OK = 0,
    OC_ERR_IO,          /* the system refused: open, read, write, rename */
    OC_ERR_FORMAT,      /* the input is not what its format says */
    OC_ERR_NOMEM,       /* out of memory, or more than the limit that was set */
    OC_ERR_ARG,         /* a setting is wrong; the message names it and what is allowed */
    OC_ERR_UNSUPPORTED, /* valid, but not something this program does */
    OC_ERR_INTERRUPTED, /* SIGINT or SIGTERM; state has been saved */
    OC_ERR_DIVERGED,    /* training produced NaN or Inf too often */
    OC_ERR_DEVICE       /* a GPU or its driver failed */
} oc_status;

/* Filled by the call that failed. One line: what was found, where (file, position), what was wanted, what to try. */
typedef struct oc_error {
    oc_status code;
    char msg[1024];
} oc_error;

#endif
