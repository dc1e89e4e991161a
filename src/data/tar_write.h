/* Writes a tar archive (POSIX ustar) of small regular files, for WebDataset shards. Equal input gives equal bytes: owner,
 * mode and time are fixed. */
#ifndef OC_DATA_TAR_WRITE_H
#define OC_DATA_TAR_WRITE_H

#include <stdio.h>

#include "base/base.h"

typedef struct oc_tar_writer {
    FILE *file;
    char *path, *part; /* the archive is written as "<path>.part" and renamed at the end */
} oc_tar_writer;

oc_status oc_tar_create(oc_tar_writer *w, const char *path, oc_error *err);

/* name: at most 100 bytes, relative. */
oc_status oc_tar_add(oc_tar_writer *w, const char *name, const void *data, size_t size, oc_error *err);

/* Ends the archive and puts it in place. On failure the writer still has to be discarded. */
oc_status oc_tar_finish(oc_tar_writer *w, oc_error *err);

/* Frees everything; an archive that was not finished is removed. A zeroed or finished writer is allowed. */
void oc_tar_discard(oc_tar_writer *w);

#endif
