/* Event files: published checksum values, and a file read back by an independent little parser. The run log: lines,
 * and what a killed run leaves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "train/run_log.h"
#include "train/tensorboard.h"

static char dir[64];
static oc_error err;

static int make_dir(void **state) {
    OC_UNUSED(state);
    snprintf(dir, sizeof dir, "/tmp/ocellus-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(dir, &err) == OC_OK ? 0 : -1;
}

static void checksums(void **state) {
    OC_UNUSED(state);
    assert_int_equal(oc_crc32c("123456789", 9), 0xe3069283u); /* the catalogue's check value of CRC-32C */
    assert_int_equal(oc_crc32c_masked("123456789", 9), 0xc78ab0e5u);
    uint8_t length[8] = {24};
    assert_int_equal(oc_crc32c_masked(length, 8), 0x224b7fa3u);
    assert_int_equal(oc_crc32c("", 0), 0);
}

/* --- A reader ------------------------------------------------------------------------------------------------------- */

typedef struct span {
    const uint8_t *p, *end;
} span;

static uint64_t little(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static uint64_t varint(span *s) {
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(s->p < s->end && shift < 64);
        v |= (uint64_t)(*s->p & 0x7f) << shift;
        if (!(*s->p++ & 0x80)) return v;
    }
}

/* The payload of the n-th occurrence of a field (from 0) in a message; numbers are returned as the span of their bytes. */
static bool field(span m, int number, int n, span *out, uint64_t *value) {
    while (m.p < m.end) {
        uint64_t key = varint(&m);
        span at = {m.p, m.p};
        uint64_t v = 0;
        switch (key & 7) {
        case 0: v = varint(&m); break;
        case 1: v = little(m.p, 8), m.p += 8; break;
        case 5: v = little(m.p, 4), m.p += 4; break;
        case 2: {
            uint64_t len = varint(&m);
            assert_true(len <= (uint64_t)(m.end - m.p));
            at.p = m.p;
            m.p += len;
            break;
        }
        default: fail_msg("wire type %d", (int)(key & 7));
        }
        at.end = m.p;
        if ((int)(key >> 3) == number && n-- == 0) {
            if (out) *out = at;
            if (value) *value = v;
            return true;
        }
    }
    return false;
}

static bool is_text(span s, const char *want) {
    return (size_t)(s.end - s.p) == strlen(want) && !memcmp(s.p, want, strlen(want));
}

/* The next record of a file; checks both checksums. */
static bool record(span *file, span *out) {
    if (file->p == file->end) return false;
    assert_true(file->end - file->p >= 16);
    uint64_t len = little(file->p, 8);
    assert_int_equal(little(file->p + 8, 4), oc_crc32c_masked(file->p, 8));
    assert_true(len <= (uint64_t)(file->end - file->p) - 16);
    *out = (span){file->p + 12, file->p + 12 + len};
    assert_int_equal(little(out->end, 4), oc_crc32c_masked(out->p, len));
    file->p = out->end + 4;
    return true;
}

/* --- Tests ---------------------------------------------------------------------------------------------------------- */

static void read_back(void **state) {
    OC_UNUSED(state);
    oc_tensorboard *tb;
    char sub[100];
    snprintf(sub, sizeof sub, "%s/a/b", dir);
    assert_int_equal(oc_tensorboard_open(&tb, sub, &err), OC_OK);
    const char *tags[] = {"train/loss", "train/lr"};
    const float values[] = {1.5f, NAN};
    assert_int_equal(oc_tensorboard_scalars(tb, 300, tags, values, 2, &err), OC_OK);
    uint8_t png[300];
    memset(png, 7, sizeof png);
    assert_int_equal(oc_tensorboard_image(tb, 301, "eval/x", 20, 10, png, sizeof png, &err), OC_OK);
    assert_non_null(strstr(oc_tensorboard_path(tb), "/a/b/events.out.tfevents."));

    char *data; /* before the file is closed: every record is flushed */
    size_t size;
    assert_int_equal(oc_file_read(&data, &size, oc_tensorboard_path(tb), 1 << 20, &err), OC_OK);
    oc_tensorboard_close(tb);
    span file = {(const uint8_t *)data, (const uint8_t *)data + size}, event, summary, value, s;
    uint64_t v;
    assert_true(record(&file, &event));
    assert_true(field(event, 3, 0, &s, NULL) && is_text(s, "brain.Event:2"));

    assert_true(record(&file, &event));
    assert_true(field(event, 2, 0, NULL, &v) && v == 300);
    assert_true(field(event, 1, 0, NULL, &v));
    double wall;
    memcpy(&wall, &v, 8);
    assert_true(wall > 1.6e9 && wall < 1e10);
    assert_true(field(event, 5, 0, &summary, NULL));
    assert_true(field(summary, 1, 0, &value, NULL));
    assert_true(field(value, 1, 0, &s, NULL) && is_text(s, "train/loss"));
    assert_true(field(value, 2, 0, NULL, &v) && v == 0x3fc00000u);
    assert_true(field(summary, 1, 1, &value, NULL));
    assert_true(field(value, 1, 0, &s, NULL) && is_text(s, "train/lr"));
    assert_false(field(summary, 1, 2, &value, NULL));

    assert_true(record(&file, &event));
    assert_true(field(event, 5, 0, &summary, NULL) && field(summary, 1, 0, &value, NULL) && field(value, 4, 0, &s, NULL));
    span image = s;
    assert_true(field(image, 1, 0, NULL, &v) && v == 10);
    assert_true(field(image, 2, 0, NULL, &v) && v == 20);
    assert_true(field(image, 3, 0, NULL, &v) && v == 3);
    assert_true(field(image, 4, 0, &s, NULL) && s.end - s.p == 300);
    assert_false(record(&file, &event));
    oc_free(data);
}

static void every_allocation_may_fail(void **state) {
    OC_UNUSED(state);
    const char *tags[] = {"loss"};
    const float values[] = {1};
    char tag[5000];
    memset(tag, 'x', sizeof tag);
    tag[sizeof tag - 1] = 0;
    bool failed = true;
    for (long n = 0; failed; n++) {
        oc_tensorboard *tb = NULL;
        assert_true(n < 200);
        oc_alloc_fail_after(n);
        oc_status st = oc_tensorboard_open(&tb, dir, &err);
        if (st == OC_OK) st = oc_tensorboard_scalars(tb, 1, tags, values, 1, &err);
        if (st == OC_OK) st = oc_tensorboard_image(tb, 1, tag, 1, 1, tag, sizeof tag, &err);
        oc_alloc_fail_after(-1);
        failed = st != OC_OK;
        if (failed) assert_int_equal(st, OC_ERR_NOMEM);
        oc_tensorboard_close(tb);
    }
}

static void unwritable(void **state) {
    OC_UNUSED(state);
    oc_tensorboard *tb;
    assert_int_equal(oc_tensorboard_open(&tb, "/dev/null/x", &err), OC_ERR_IO);
    assert_null(tb);
    oc_run_log *log;
    assert_int_equal(oc_run_log_open(&log, "/dev/null/x/log.jsonl", &err), OC_ERR_IO);
    assert_null(log);
    if (access("/dev/full", W_OK) != 0) return;
    assert_int_equal(oc_run_log_open(&log, "/dev/full", &err), OC_OK);
    assert_int_equal(oc_run_log_write(log, json_pack("{s:i}", "step", 1), &err), OC_ERR_IO);
    oc_run_log_close(log);
}

static void run_log(void **state) {
    OC_UNUSED(state);
    char path[100], *data;
    size_t size;
    snprintf(path, sizeof path, "%s/log.jsonl", dir);
    oc_run_log *log;
    assert_int_equal(oc_run_log_open(&log, path, &err), OC_OK);
    assert_int_equal(oc_run_log_write(log, json_pack("{s:i,s:o}", "step", 1, "loss", oc_run_log_number(2.5)), &err), OC_OK);
    assert_int_equal(oc_run_log_write(log, json_pack("{s:o}", "loss", oc_run_log_number(NAN)), &err), OC_OK);
    assert_int_equal(oc_run_log_write(log, NULL, &err), OC_ERR_NOMEM);
    oc_run_log_close(log);
    const char *two = "{\"step\":1,\"loss\":2.5}\n{\"loss\":null}\n";
    assert_int_equal(oc_file_read(&data, &size, path, 1 << 20, &err), OC_OK);
    assert_string_equal(data, two);
    oc_free(data);

    FILE *f = fopen(path, "ab"); /* killed in the middle of a line */
    fputs("{\"step\":2,\"lo", f);
    fclose(f);
    assert_int_equal(oc_run_log_open(&log, path, &err), OC_OK);
    assert_int_equal(oc_run_log_write(log, json_pack("{s:i}", "step", 2), &err), OC_OK);
    oc_run_log_close(log);
    assert_int_equal(oc_file_read(&data, &size, path, 1 << 20, &err), OC_OK);
    assert_memory_equal(data, two, strlen(two));
    assert_string_equal(data + strlen(two), "{\"step\":2}\n");
    oc_free(data);

    f = fopen(path, "wb"); /* nothing but half a line */
    fputs("{\"st", f);
    fclose(f);
    assert_int_equal(oc_run_log_open(&log, path, &err), OC_OK);
    oc_run_log_close(log);
    assert_int_equal(oc_file_read(&data, &size, path, 1 << 20, &err), OC_OK);
    assert_int_equal(size, 0);
    oc_free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums),
        cmocka_unit_test_setup_teardown(read_back, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(every_allocation_may_fail, make_dir, remove_dir),
        cmocka_unit_test(unwritable),
        cmocka_unit_test_setup_teardown(run_log, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
