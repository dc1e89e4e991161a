/* tar archives, read only: ustar, GNU (long names, large sizes) and PAX (path, size) members, as WebDataset shards have
 * them. The file is mapped and nothing is copied but names. */
#ifndef OC_DATA_TAR_H
#define OC_DATA_TAR_H

#include "base/base.h"

typedef struct oc_tar oc_tar; /* one open archive with a position; not thread safe */

typedef struct oc_tar_member {
    const char *name;    /* NULL after the last member; valid until the next call */
    const uint8_t *data; /* valid until oc_tar_close */
    size_t size;
    uint64_t offset; /* of data in the file */
} oc_tar_member;

/* A compressed archive is refused with a hint to decompress it: members could not be reached at random. */
oc_status oc_tar_open(oc_tar **out, const char *path, oc_error *err);
/* The same for an archive in memory, which must outlive *out; `name` stands in messages. */
oc_status oc_tar_open_memory(oc_tar **out, const void *data, size_t size, const char *name, oc_error *err);
void oc_tar_close(oc_tar *tar); /* NULL allowed */

/* The next regular file. Folders, links and devices are passed over. An error leaves the position where it is. */
oc_status oc_tar_next(oc_tar *tar, oc_tar_member *out, oc_error *err);
void oc_tar_rewind(oc_tar *tar);

/* ---- Random access ------------------------------------------------------------------------------------------------ */

typedef struct oc_tar_entry {
    const char *name;
    const uint8_t *data;
    size_t size;
    uint64_t offset;
} oc_tar_entry;

typedef struct oc_tar_index {
    oc_tar_entry *entry; /* [n], in archive order */
    size_t n;
    char *names;                   /* all names, NUL after each */
    const oc_tar_entry **by_name; /* [n], ascending */
} oc_tar_index;

/* Reads all headers, leaving the archive at its end. Valid until the archive is closed; oc_tar_index_close frees. */
oc_status oc_tar_index_open(oc_tar_index *out, oc_tar *tar, oc_error *err);
void oc_tar_index_close(oc_tar_index *index);
/* NULL if absent. Of several members with one name the last counts, as when an archive is unpacked. Thread safe. */
const oc_tar_entry *oc_tar_find(const oc_tar_index *index, const char *name);

#endif
