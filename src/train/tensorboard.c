#include "train/tensorboard.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

struct oc_tensorboard {
    FILE *file;
    char *path;
    oc_strbuf event, summary, value, inner; /* reused; a message is built inside out, since lengths come first */
};

/* --- Checksum ------------------------------------------------------------------------------------------------------- */

uint32_t oc_crc32c(const void *data, size_t size) {
    const uint8_t *p = data;
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = (c >> 1) ^ (0x82f63b78u & (0u - (c & 1u)));
    }
    return ~c;
}

uint32_t oc_crc32c_masked(const void *data, size_t size) {
    uint32_t c = oc_crc32c(data, size);
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

/* --- Protocol buffer encoding --------------------------------------------------------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_little(oc_strbuf *b, uint64_t v, int bytes) {
    uint8_t out[8];
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(v >> (8 * i));
    oc_strbuf_add(b, out, (size_t)bytes);
}

static void put_varint(oc_strbuf *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) oc_strbuf_putc(b, (char)(v | 0x80));
    oc_strbuf_putc(b, (char)v);
}

static void put_key(oc_strbuf *b, int field, int wire) { put_varint(b, (uint64_t)(field << 3 | wire)); }

static void put_int(oc_strbuf *b, int field, int64_t v) {
    put_key(b, field, VARINT);
    put_varint(b, (uint64_t)v);
}

static void put_bytes(oc_strbuf *b, int field, const void *data, size_t size) {
    put_key(b, field, BYTES);
    put_varint(b, size);
    oc_strbuf_add(b, data, size);
}

static void put_string(oc_strbuf *b, int field, const char *s) { put_bytes(b, field, s, strlen(s)); }
static void put_message(oc_strbuf *b, int field, const oc_strbuf *m) { put_bytes(b, field, m->data, m->len); }

static void put_float(oc_strbuf *b, int field, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_key(b, field, FIXED32);
    put_little(b, bits, 4);
}

/* Event: 1 wall_time, 2 step. */
static void begin_event(oc_tensorboard *tb, int64_t step) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    double wall = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &wall, sizeof bits);
    oc_strbuf_clear(&tb->event);
    oc_strbuf_clear(&tb->summary);
    put_key(&tb->event, 1, FIXED64);
    put_little(&tb->event, bits, 8);
    put_int(&tb->event, 2, step);
}

/* --- Records -------------------------------------------------------------------------------------------------------- */

/* length u64 | masked crc of the length | data | masked crc of the data, little-endian, in one write. */
static oc_status write_record(oc_tensorboard *tb, oc_error *err) {
    oc_strbuf *record = &tb->inner;
    oc_strbuf_clear(record);
    bool failed = tb->event.failed || tb->summary.failed || tb->value.failed;
    put_little(record, tb->event.len, 8);
    if (!record->failed) put_little(record, oc_crc32c_masked(record->data, 8), 4);
    oc_strbuf_add(record, tb->event.data, tb->event.len);
    if (!failed) put_little(record, oc_crc32c_masked(tb->event.data, tb->event.len), 4);
    if (failed || record->failed) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for an event", tb->path);
    if (fwrite(record->data, 1, record->len, tb->file) != record->len || fflush(tb->file) != 0)
        return oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", tb->path, strerror(errno));
    return OC_OK;
}

/* Event: 5 summary; Summary: 1 value, repeated. */
static void add_value(oc_tensorboard *tb) {
    put_message(&tb->summary, 1, &tb->value);
    tb->summary.failed |= tb->value.failed;
}

static oc_status end_event(oc_tensorboard *tb, oc_error *err) {
    put_message(&tb->event, 5, &tb->summary);
    return write_record(tb, err);
}

oc_status oc_tensorboard_scalars(oc_tensorboard *tb, int64_t step, const char *const *tags, const float *values, int n,
                                 oc_error *err) {
    begin_event(tb, step);
    for (int i = 0; i < n; i++) { /* Value: 1 tag, 2 simple_value */
        oc_strbuf_clear(&tb->value);
        put_string(&tb->value, 1, tags[i]);
        put_float(&tb->value, 2, values[i]);
        add_value(tb);
    }
    return end_event(tb, err);
}

oc_status oc_tensorboard_image(oc_tensorboard *tb, int64_t step, const char *tag, int width, int height,
                               const void *png, size_t png_size, oc_error *err) {
    begin_event(tb, step);
    oc_strbuf_clear(&tb->value);
    oc_strbuf_clear(&tb->inner); /* Image: 1 height, 2 width, 3 colourspace (3 = RGB), 4 the file's bytes */
    put_int(&tb->inner, 1, height);
    put_int(&tb->inner, 2, width);
    put_int(&tb->inner, 3, 3);
    put_bytes(&tb->inner, 4, png, png_size);
    put_string(&tb->value, 1, tag); /* Value: 1 tag, 4 image */
    put_message(&tb->value, 4, &tb->inner);
    tb->value.failed |= tb->inner.failed;
    add_value(tb);
    return end_event(tb, err);
}

/* --- Open and close ------------------------------------------------------------------------------------------------- */

static char *file_name(const char *dir) {
    static atomic_int serial;
    char host[128] = "localhost", name[256];
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "events.out.tfevents.%010ld.%s.%ld.%d", (long)time(NULL), host, (long)getpid(),
             atomic_fetch_add(&serial, 1));
    return oc_path_join(dir, name);
}

oc_status oc_tensorboard_open(oc_tensorboard **out, const char *dir, oc_error *err) {
    *out = NULL;
    OC_TRY(oc_make_dirs(dir, err));
    oc_tensorboard *tb = oc_calloc(1, sizeof *tb);
    if (!tb) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    oc_status st = OC_OK;
    tb->path = file_name(dir);
    if (!tb->path) st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    else if (!(tb->file = fopen(tb->path, "wbxe")))
        st = oc_fail(err, OC_ERR_IO, "%s: cannot create: %s", tb->path, strerror(errno));
    if (st == OC_OK) {
        begin_event(tb, 0);
        put_string(&tb->event, 3, "brain.Event:2"); /* Event: 3 file_version */
        st = write_record(tb, err);
    }
    if (st == OC_OK) *out = tb;
    else oc_tensorboard_close(tb);
    return st;
}

void oc_tensorboard_close(oc_tensorboard *tb) {
    if (!tb) return;
    if (tb->file) fclose(tb->file);
    oc_strbuf_free(&tb->event);
    oc_strbuf_free(&tb->summary);
    oc_strbuf_free(&tb->value);
    oc_strbuf_free(&tb->inner);
    oc_free(tb->path);
    oc_free(tb);
}

const char *oc_tensorboard_path(const oc_tensorboard *tb) { return tb->path; }
