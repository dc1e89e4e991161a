#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static oc_status fail_errno(oc_error *err, const char *verb, const char *path) {
    int e = errno;
    return oc_fail(err, OC_ERR_IO, "%s: cannot %s: %s", path, verb, strerror(e));
}

oc_status oc_map_open(oc_map *map, const char *path, oc_error *err) {
    map->data = NULL;
    map->size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(err, "open", path);
    struct stat sb;
    oc_status st = OC_OK;
    if (fstat(fd, &sb) < 0)
        st = fail_errno(err, "read", path);
    else if (!S_ISREG(sb.st_mode))
        st = oc_fail(err, OC_ERR_IO, "%s: not a regular file", path);
    else if (sb.st_size > 0) {
        void *p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = fail_errno(err, "map", path);
        else {
            map->data = p;
            map->size = (size_t)sb.st_size;
        }
    }
    close(fd);
    return st;
}

void oc_map_close(oc_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    map->data = NULL;
    map->size = 0;
}

void oc_map_release(const oc_map *map, const void *from, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)from;
    OC_ASSERT(bytes == 0 || (at >= (uintptr_t)map->data && at + bytes <= (uintptr_t)map->data + map->size));
    uintptr_t first = (at + page - 1) / page * page, end = (at + bytes) / page * page; /* whole pages only */
    if (end > first) madvise((void *)first, end - first, MADV_DONTNEED);
}

static oc_status read_stream(FILE *f, char **data, size_t *size, const char *path, size_t max, oc_error *err) {
    oc_strbuf b = {.max = max + 2};
    char chunk[1 << 16];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        oc_strbuf_add(&b, chunk, n);
        if (b.failed || b.len > max) {
            bool too_big = b.len + n > max;
            oc_strbuf_free(&b);
            if (too_big) return oc_fail(err, OC_ERR_FORMAT, "%s: larger than the limit of %zu MiB", path, max >> 20);
            return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory while reading", path);
        }
    }
    if (ferror(f)) {
        oc_strbuf_free(&b);
        return fail_errno(err, "read", path);
    }
    oc_strbuf_add(&b, "", 0);
    if (b.failed) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory while reading", path);
    *data = b.data;
    *size = b.len;
    return OC_OK;
}

oc_status oc_file_read(char **data, size_t *size, const char *path, size_t max, oc_error *err) {
    *data = NULL;
    *size = 0;
    if (!strcmp(path, "-")) return read_stream(stdin, data, size, "standard input", max, err);
    FILE *f = fopen(path, "rbe");
    if (!f) return fail_errno(err, "open", path);
    struct stat sb;
    oc_status st = OC_OK;
    if (fstat(fileno(f), &sb) == 0 && S_ISDIR(sb.st_mode))
        st = oc_fail(err, OC_ERR_IO, "%s: is a folder, a file was expected", path);
    else if (S_ISREG(sb.st_mode) && (uint64_t)sb.st_size > max)
        st = oc_fail(err, OC_ERR_FORMAT, "%s: %.1f MiB, larger than the limit of %zu MiB", path,
                     (double)sb.st_size / (1 << 20), max >> 20);
    if (st == OC_OK) st = read_stream(f, data, size, path, max, err);
    fclose(f);
    return st;
}

oc_status oc_file_write_atomic(const char *path, const void *data, size_t size, oc_error *err) {
    oc_strbuf tmp = {0};
    oc_strbuf_printf(&tmp, "%s.tmp.%ld", path, (long)getpid());
    if (tmp.failed) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_status st = OC_OK;
    int fd = open(tmp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        st = fail_errno(err, "create", tmp.data);
        goto done;
    }
    const char *p = data;
    for (size_t left = size; left > 0;) {
        ssize_t n = write(fd, p, left > (1u << 30) ? (1u << 30) : left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            st = fail_errno(err, "write", tmp.data);
            break;
        }
        p += n;
        left -= (size_t)n;
    }
    if (st == OC_OK && fsync(fd) < 0) st = fail_errno(err, "flush", tmp.data);
    if (close(fd) < 0 && st == OC_OK) st = fail_errno(err, "close", tmp.data);
    if (st == OC_OK && rename(tmp.data, path) < 0) st = fail_errno(err, "rename to", path);
    if (st != OC_OK) unlink(tmp.data);
done:
    oc_strbuf_free(&tmp);
    return st;
}

bool oc_file_exists(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISREG(sb.st_mode);
}

bool oc_dir_exists(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

oc_status oc_make_dirs(const char *path, oc_error *err) {
    if (!*path) return oc_fail(err, OC_ERR_IO, "cannot create a folder without a name");
    char *p = oc_strdup(path);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_status st = OC_OK;
    for (char *s = p + 1; st == OC_OK; s++) {
        if (*s != '/' && *s != 0) continue;
        char c = *s;
        *s = 0;
        if (mkdir(p, 0777) < 0 && errno != EEXIST) st = fail_errno(err, "create folder", p);
        *s = c;
        if (!c) break;
    }
    if (st == OC_OK && !oc_dir_exists(path)) st = oc_fail(err, OC_ERR_IO, "%s: exists but is not a folder", path);
    oc_free(p);
    return st;
}

oc_status oc_fsync_dir(const char *path, oc_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(err, "open", path);
    oc_status st = fsync(fd) < 0 ? fail_errno(err, "flush", path) : OC_OK;
    close(fd);
    return st;
}

oc_status oc_remove_tree(const char *path, oc_error *err) {
    struct stat sb;
    if (lstat(path, &sb) < 0) return errno == ENOENT ? OC_OK : fail_errno(err, "remove", path);
    if (!S_ISDIR(sb.st_mode)) return unlink(path) < 0 ? fail_errno(err, "remove", path) : OC_OK;
    DIR *d = opendir(path);
    if (!d) return fail_errno(err, "open", path);
    oc_status st = OC_OK;
    for (struct dirent *e; st == OC_OK && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *child = oc_path_join(path, e->d_name);
        st = child ? oc_remove_tree(child, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
        oc_free(child);
    }
    closedir(d);
    if (st == OC_OK && rmdir(path) < 0) st = fail_errno(err, "remove", path);
    return st;
}

char *oc_path_join(const char *dir, const char *name) {
    if (!dir || !*dir || name[0] == '/') return oc_strdup(name);
    oc_strbuf b = {0};
    size_t n = strlen(dir);
    oc_strbuf_printf(&b, "%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
    if (b.failed) oc_strbuf_free(&b);
    return b.data;
}

const char *oc_path_base(const char *path) {
    const char *s = strrchr(path, '/');
    return s ? s + 1 : path;
}

char *oc_path_dir(const char *path) {
    const char *s = strrchr(path, '/');
    if (!s) return oc_strdup(".");
    return oc_strndup(path, s == path ? 1 : (size_t)(s - path));
}

bool oc_path_is_contained(const char *name) {
    if (!*name || name[0] == '/') return false;
    for (const char *s = name; s;) {
        const char *next = strchr(s, '/');
        size_t n = next ? (size_t)(next - s) : strlen(s);
        if (n == 2 && s[0] == '.' && s[1] == '.') return false;
        s = next ? next + 1 : NULL;
    }
    return true;
}
