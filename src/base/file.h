/* Files: whole reads with a limit, read-only maps, atomic writes, folders. */
#ifndef OC_BASE_FILE_H
#define OC_BASE_FILE_H

#include "base/base.h"

/* A read-only mapping of a whole file. data is NULL for an empty file. */
typedef struct oc_map {
    const uint8_t *data;
    size_t size;
} oc_map;

oc_status oc_map_open(oc_map *map, const char *path, oc_error *err);
void oc_map_close(oc_map *map);
/* These bytes of the mapping are done with: their pages leave memory, and are read again should they be touched. */
void oc_map_release(const oc_map *map, const void *from, size_t bytes);

/* Reads the whole file (or standard input for "-") into memory that the caller frees with oc_free; a NUL follows the
 * last byte. More than max bytes is an error, found before reading where the size is known. */
oc_status oc_file_read(char **data, size_t *size, const char *path, size_t max, oc_error *err);

/* Writes beside the target, flushes to disk, then renames: readers see the old or the new file, never half of one. */
oc_status oc_file_write_atomic(const char *path, const void *data, size_t size, oc_error *err);

bool oc_file_exists(const char *path);
bool oc_dir_exists(const char *path);
oc_status oc_make_dirs(const char *path, oc_error *err); /* like mkdir -p */
oc_status oc_fsync_dir(const char *path, oc_error *err);
oc_status oc_remove_tree(const char *path, oc_error *err); /* like rm -r; a missing path is not an error */

/* dir + "/" + name as a new string (oc_free); just name when dir is "" or name is absolute. NULL when memory is out. */
char *oc_path_join(const char *dir, const char *name);
const char *oc_path_base(const char *path); /* after the last '/' */
char *oc_path_dir(const char *path);        /* before the last '/', "." if none; new string */

/* True if a relative name from untrusted input stays below the folder it is joined to: not absolute, no "..", no NUL. */
bool oc_path_is_contained(const char *name);

#endif
