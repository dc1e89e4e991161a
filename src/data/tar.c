#include "data/tar.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { BLOCK = 512, MAX_EXTENSION = 1 << 20 /* bytes of a long name or of PAX records */ };

/* The header block (POSIX.1-1988, ustar). Numbers are octal text. */
typedef struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2],
        user[32], group[32], dev_major[8], dev_minor[8], prefix[155], unused[12];
} header;
_Static_assert(sizeof(header) == BLOCK, "a tar header is one block");

struct oc_tar {
    char *path;
    oc_map map;
    bool mapped; /* map is ours to unmap */
    size_t at;   /* of the next header */
    oc_strbuf name;
};

/* What extension members say about the file that follows them. */
typedef struct extension {
    const char *name; /* not NUL-terminated */
    size_t name_len;
    bool has_size;
    uint64_t size;
} extension;

static oc_status fail_at(const oc_tar *tar, size_t at, const char *what, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s: byte %zu: %s; fetch the archive again", tar->path, at, what);
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------ */

/* Octal digits between optional spaces, ended by a space, a NUL or the field's end; or GNU's base 256, which the first
 * bit marks. false for anything else. */
static bool parse_number(uint64_t *out, const char *field, size_t n) {
    const uint8_t *p = (const uint8_t *)field;
    uint64_t v = 0;
    if (p[0] & 0x80) {
        if (p[0] != 0x80) return false; /* negative, or more than 64 bits can be */
        for (size_t i = 1; i < n; i++) {
            if (v >> 56) return false;
            v = v << 8 | p[i];
        }
        *out = v;
        return true;
    }
    size_t i = 0;
    while (i < n && p[i] == ' ') i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
        if (v >> 61) return false;
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    *out = v;
    return i == n || p[i] == ' ' || p[i] == 0;
}

/* The sum of the header's bytes with spaces in place of the checksum; old programs added signed chars. */
static bool checksum_is_right(const header *h) {
    uint64_t want;
    int64_t sum = 0, signed_sum = 0;
    const uint8_t *p = (const uint8_t *)h;
    size_t from = offsetof(header, checksum), to = from + sizeof h->checksum;
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t b = i >= from && i < to ? ' ' : p[i];
        sum += b;
        signed_sum += (int8_t)b;
    }
    return parse_number(&want, h->checksum, sizeof h->checksum) &&
           ((int64_t)want == sum || (int64_t)want == signed_sum);
}

/* ---- Extensions --------------------------------------------------------------------------------------------------- */

/* "len key=value\n", len in decimal and counting the whole record. Advances *p. */
static bool next_record(const char **p, const char *end, const char **key, size_t *key_len, const char **value,
                        size_t *value_len) {
    size_t len = 0;
    const char *s = *p;
    while (s < end && *s >= '0' && *s <= '9' && len <= MAX_EXTENSION) len = len * 10 + (size_t)(*s++ - '0');
    if (s == *p || s == end || *s != ' ' || len > (size_t)(end - *p) || len < (size_t)(s - *p) + 3) return false;
    const char *last = *p + len - 1, *equals = memchr(s + 1, '=', (size_t)(last - s - 1));
    if (*last != '\n' || !equals) return false;
    *key = s + 1;
    *key_len = (size_t)(equals - *key);
    *value = equals + 1;
    *value_len = (size_t)(last - *value);
    *p += len;
    return true;
}

static bool is(const char *s, size_t n, const char *word) { return n == strlen(word) && !memcmp(s, word, n); }

static bool parse_decimal(uint64_t *out, const char *s, size_t n) {
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || *out > (UINT64_MAX - 9) / 10) return false;
        *out = *out * 10 + (uint64_t)(s[i] - '0');
    }
    return n > 0;
}

static oc_status read_pax(extension *e, const oc_tar *tar, size_t at, const char *data, size_t size, oc_error *err) {
    const char *end = data + size, *key, *value;
    size_t key_len, value_len;
    while (data < end) {
        if (!next_record(&data, end, &key, &key_len, &value, &value_len))
            return fail_at(tar, at, "damaged PAX records", err);
        if (is(key, key_len, "path")) {
            e->name = value;
            e->name_len = value_len;
        } else if (is(key, key_len, "size")) {
            if (!parse_decimal(&e->size, value, value_len))
                return fail_at(tar, at, "the PAX size is not a number", err);
            e->has_size = true;
        } else if (key_len > 11 && !memcmp(key, "GNU.sparse.", 11)) {
            return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: byte %zu: a sparse file; pack the archive without --sparse",
                           tar->path, at);
        }
    }
    return OC_OK;
}

/* ---- Members ------------------------------------------------------------------------------------------------------ */

typedef struct block {
    const header *h;
    size_t at;           /* of the header */
    const uint8_t *data; /* after it */
    uint64_t size;       /* as the header says */
} block;

static bool all_zero(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

/* Reads the header at *at. b->h is NULL at the archive's end. */
static oc_status read_header(block *b, const oc_tar *tar, size_t at, oc_error *err) {
    *b = (block){.at = at};
    size_t left = tar->map.size - at;
    if (left == 0) return OC_OK;
    const uint8_t *p = tar->map.data + at;
    if (all_zero(p, OC_MIN(left, (size_t)BLOCK))) {
        if (all_zero(p, left)) return OC_OK;
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: byte %zu: the archive ends here, but the file goes on; if archives were "
                       "joined, unpack them (tar --ignore-zeros) and pack again",
                       tar->path, at);
    }
    if (left < BLOCK) return fail_at(tar, at, "the file is cut off in a header", err);
    b->h = (const header *)(const void *)p;
    b->data = p + BLOCK;
    if (!checksum_is_right(b->h))
        return fail_at(tar, at,
                       at ? "a header's checksum is wrong" : "not a tar archive (checksum of the first header)", err);
    if (!parse_number(&b->size, b->h->size, sizeof b->h->size))
        return fail_at(tar, at, "a member's size is not a number", err);
    return OC_OK;
}

/* The member's bytes must be in the file. *next is where the following header begins. */
static oc_status check_size(const oc_tar *tar, const block *b, uint64_t size, size_t *next, oc_error *err) {
    size_t begin = b->at + BLOCK, left = tar->map.size - begin;
    if (size > left)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: byte %zu: a member of %" PRIu64 " bytes, but only %zu are left; the archive "
                       "is cut off, fetch it again",
                       tar->path, b->at, size, left);
    size_t padded = ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
    *next = begin + OC_MIN(padded, left); /* the last padding may be missing */
    return OC_OK;
}

static size_t text_length(const char *field, size_t n) {
    const char *end = memchr(field, 0, n);
    return end ? (size_t)(end - field) : n;
}

static oc_status set_name(oc_tar *tar, const block *b, const extension *e, oc_error *err) {
    const header *h = b->h;
    oc_strbuf_clear(&tar->name);
    if (e->name) oc_strbuf_add(&tar->name, e->name, e->name_len);
    else {
        size_t prefix = text_length(h->prefix, sizeof h->prefix);
        if (!memcmp(h->magic, "ustar", 6) && prefix) { /* with its NUL: POSIX; GNU keeps other things there */
            oc_strbuf_add(&tar->name, h->prefix, prefix);
            oc_strbuf_putc(&tar->name, '/');
        }
        oc_strbuf_add(&tar->name, h->name, text_length(h->name, sizeof h->name));
    }
    if (tar->name.failed) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", tar->path);
    if (!tar->name.len || strlen(tar->name.data) != tar->name.len)
        return fail_at(tar, b->at, "a member's name is empty or holds a NUL", err);
    return OC_OK;
}

/* Takes up an extension member (type L, K, x or g). */
static oc_status read_extension(extension *e, const oc_tar *tar, const block *b, oc_error *err) {
    if (b->size > MAX_EXTENSION) return fail_at(tar, b->at, "a long name or PAX header of more than 1 MiB", err);
    const char *text = (const char *)b->data;
    if (b->h->type == 'x') return read_pax(e, tar, b->at, text, (size_t)b->size, err);
    if (b->h->type == 'L') {
        e->name = text;
        e->name_len = text_length(text, (size_t)b->size);
    }
    return OC_OK; /* K: a link's target; g: defaults of all members, none of which concerns us */
}

oc_status oc_tar_next(oc_tar *tar, oc_tar_member *out, oc_error *err) {
    *out = (oc_tar_member){0};
    extension e = {0};
    size_t at = tar->at, next = at;
    for (block b;; at = next) {
        OC_TRY(read_header(&b, tar, at, err));
        if (!b.h) {
            tar->at = at;
            return OC_OK;
        }
        char type = b.h->type;
        if (type == 'L' || type == 'K' || type == 'x' || type == 'g') {
            OC_TRY(check_size(tar, &b, b.size, &next, err));
            OC_TRY(read_extension(&e, tar, &b, err));
            continue;
        }
        if (type == 'S')
            return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: byte %zu: a sparse file; pack the archive without --sparse",
                           tar->path, at);
        if (type >= '1' && type <= '6') b.size = 0; /* links, devices, folders, pipes have no data whatever they say */
        else if (e.has_size) b.size = e.size;
        OC_TRY(check_size(tar, &b, b.size, &next, err));
        OC_TRY(set_name(tar, &b, &e, err));
        e = (extension){0};
        bool regular = type == '0' || type == 0 || type == '7';
        if (!regular || tar->name.data[tar->name.len - 1] == '/') continue; /* folders of old archives end in '/' */
        *out = (oc_tar_member){.name = tar->name.data, .data = b.data, .size = (size_t)b.size, .offset = b.at + BLOCK};
        tar->at = next;
        return OC_OK;
    }
}

void oc_tar_rewind(oc_tar *tar) { tar->at = 0; }

/* ---- Opening ------------------------------------------------------------------------------------------------------ */

static oc_status check_start(const oc_tar *tar, oc_error *err) {
    static const struct {
        const char *magic, *name, *remedy;
    } compressed[] = {{"\x1f\x8b", "gzip", "gunzip"}, {"\x28\xb5\x2f\xfd", "zstd", "unzstd"},
                      {"\xfd" "7zXZ", "xz", "unxz"}, {"BZh", "bzip2", "bunzip2"}};
    const oc_map *m = &tar->map;
    for (size_t i = 0; i < OC_COUNT(compressed); i++) {
        size_t n = strlen(compressed[i].magic);
        if (m->size >= n && !memcmp(m->data, compressed[i].magic, n))
            return oc_fail(err, OC_ERR_UNSUPPORTED,
                           "%s: compressed with %s, a plain tar archive was expected; run %s on it "
                           "(images hardly shrink)",
                           tar->path, compressed[i].name, compressed[i].remedy);
    }
    if (m->size == 0) return oc_fail(err, OC_ERR_FORMAT, "%s: empty; a tar archive was expected", tar->path);
    return OC_OK;
}

static oc_status finish_open(oc_tar **out, oc_status st, oc_error *err) {
    if (st == OC_OK) st = check_start(*out, err);
    if (st != OC_OK) {
        oc_tar_close(*out);
        *out = NULL;
    }
    return st;
}

static oc_status new_tar(oc_tar **out, const char *name, oc_error *err) {
    *out = oc_calloc(1, sizeof **out);
    if (*out) (*out)->path = oc_strdup(name);
    if (*out && (*out)->path) return OC_OK;
    oc_tar_close(*out);
    *out = NULL;
    return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", name);
}

oc_status oc_tar_open(oc_tar **out, const char *path, oc_error *err) {
    OC_TRY(new_tar(out, path, err));
    oc_status st = oc_map_open(&(*out)->map, path, err);
    (*out)->mapped = st == OC_OK;
    return finish_open(out, st, err);
}

oc_status oc_tar_open_memory(oc_tar **out, const void *data, size_t size, const char *name, oc_error *err) {
    OC_TRY(new_tar(out, name, err));
    (*out)->map = (oc_map){.data = data, .size = size};
    return finish_open(out, OC_OK, err);
}

void oc_tar_close(oc_tar *tar) {
    if (!tar) return;
    if (tar->mapped) oc_map_close(&tar->map);
    oc_strbuf_free(&tar->name);
    oc_free(tar->path);
    oc_free(tar);
}

/* ---- Index -------------------------------------------------------------------------------------------------------- */

static oc_status grow(oc_tar_index *index, size_t *capacity, oc_error *err) {
    if (index->n < *capacity) return OC_OK;
    size_t want = *capacity ? *capacity * 2 : 256;
    oc_tar_entry *e = oc_realloc(index->entry, index->n * sizeof *e, want * sizeof *e);
    if (!e) return oc_fail(err, OC_ERR_NOMEM, "out of memory for an index of %zu archive members", index->n);
    index->entry = e;
    *capacity = want;
    return OC_OK;
}

/* By name, then by place. */
static int compare(const void *pa, const void *pb) {
    const oc_tar_entry *a = *(const oc_tar_entry *const *)pa, *b = *(const oc_tar_entry *const *)pb;
    int c = strcmp(a->name, b->name);
    return c ? c : (a->offset > b->offset) - (a->offset < b->offset);
}

oc_status oc_tar_index_open(oc_tar_index *out, oc_tar *tar, oc_error *err) {
    *out = (oc_tar_index){0};
    oc_strbuf names = {.max = (size_t)1 << 40};
    size_t capacity = 0;
    oc_status st = OC_OK;
    oc_tar_rewind(tar);
    for (oc_tar_member m;;) {
        OC_GO(oc_tar_next(tar, &m, err));
        if (!m.name) break;
        OC_GO(grow(out, &capacity, err));
        out->entry[out->n++] = (oc_tar_entry){.data = m.data, .size = m.size, .offset = m.offset};
        oc_strbuf_add(&names, m.name, strlen(m.name) + 1);
    }
    OC_GO(oc_alloc_for(&out->by_name, (out->n + 1) * sizeof *out->by_name, "an index of archive members", err));
    if (names.failed) {
        st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the names of %zu archive members", out->n);
        goto done;
    }
    out->names = names.data;
    names.data = NULL;
    const char *name = out->names;
    for (size_t i = 0; i < out->n; i++, name += strlen(name) + 1) {
        out->entry[i].name = name;
        out->by_name[i] = &out->entry[i];
    }
    if (out->n) qsort(out->by_name, out->n, sizeof *out->by_name, compare);
done:
    oc_strbuf_free(&names);
    if (st != OC_OK) oc_tar_index_close(out);
    return st;
}

void oc_tar_index_close(oc_tar_index *index) {
    oc_free(index->entry);
    oc_free(index->names);
    oc_free(index->by_name);
    *index = (oc_tar_index){0};
}

const oc_tar_entry *oc_tar_find(const oc_tar_index *index, const char *name) {
    size_t lo = 0, hi = index->n; /* the first entry that comes after name */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(index->by_name[mid]->name, name) <= 0) lo = mid + 1;
        else hi = mid;
    }
    return lo > 0 && !strcmp(index->by_name[lo - 1]->name, name) ? index->by_name[lo - 1] : NULL;
}
