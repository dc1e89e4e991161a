#include "data/tar_write.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { BLOCK = 512 };

/* A ustar header: fields of fixed width, numbers in octal. */
typedef struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
} header;
_Static_assert(sizeof(header) == BLOCK, "a tar header is one block");

oc_status oc_tar_create(oc_tar_writer *w, const char *path, oc_error *err) {
    const size_t n = strlen(path);
    *w = (oc_tar_writer){.path = oc_strdup(path), .part = oc_alloc(n + 6)};
    if (!w->path || !w->part) {
        oc_free(w->path);
        oc_free(w->part);
        *w = (oc_tar_writer){0};
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for the name of %s", path);
    }
    memcpy(w->part, path, n);
    memcpy(w->part + n, ".part", 6);
    w->file = fopen(w->part, "wb");
    if (w->file) return OC_OK;
    oc_fail(err, OC_ERR_IO, "%s: cannot create: %s", w->part, strerror(errno));
    oc_tar_discard(w);
    return OC_ERR_IO;
}

static oc_status put(oc_tar_writer *w, const void *data, size_t size, oc_error *err) {
    if (size == 0 || fwrite(data, 1, size, w->file) == size) return OC_OK;
    return oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", w->part, strerror(errno));
}

/* The checksum is the sum of the header's bytes with its own field read as blanks. */
static void seal(header *h) {
    unsigned sum = 0;
    memset(h->checksum, ' ', sizeof h->checksum);
    for (size_t i = 0; i < BLOCK; i++) sum += ((const unsigned char *)h)[i];
    snprintf(h->checksum, sizeof h->checksum, "%06o", sum);
}

oc_status oc_tar_add(oc_tar_writer *w, const char *name, const void *data, size_t size, oc_error *err) {
    static const char zeros[BLOCK] = {0};
    header h = {.type = '0',
                .magic = "ustar",
                .version = {'0', '0'},
                .mode = "0000644",
                .uid = "0000000",
                .gid = "0000000",
                .mtime = "00000000000"};
    const size_t n = strlen(name);
    if (n == 0 || n > sizeof h.name || size > 077777777777)
        return oc_fail(err, OC_ERR_ARG,
                       "%s: member \"%s\" of %zu bytes: names have 1 to 100 bytes, members at most 8 GiB", w->path,
                       name, size);
    memcpy(h.name, name, n);
    snprintf(h.size, sizeof h.size, "%011llo", (unsigned long long)size);
    seal(&h);
    OC_TRY(put(w, &h, sizeof h, err));
    OC_TRY(put(w, data, size, err));
    return put(w, zeros, (BLOCK - size % BLOCK) % BLOCK, err);
}

oc_status oc_tar_finish(oc_tar_writer *w, oc_error *err) {
    static const char zeros[2 * BLOCK] = {0};
    OC_TRY(put(w, zeros, sizeof zeros, err));
    FILE *f = w->file;
    w->file = NULL;
    bool bad = fflush(f) != 0 || fsync(fileno(f)) != 0;
    if (fclose(f) != 0 || bad) return oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", w->part, strerror(errno));
    if (rename(w->part, w->path) != 0)
        return oc_fail(err, OC_ERR_IO, "%s: cannot rename to %s: %s", w->part, w->path, strerror(errno));
    oc_free(w->part);
    w->part = NULL;
    return OC_OK;
}

void oc_tar_discard(oc_tar_writer *w) {
    if (w->file) fclose(w->file);
    if (w->part) unlink(w->part);
    oc_free(w->part);
    oc_free(w->path);
    *w = (oc_tar_writer){0};
}
