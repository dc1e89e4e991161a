/* A folder of made-up data set files for one test program, removed at its end. */
#ifndef OC_TESTS_DATA_DATASET_FILES_H
#define OC_TESTS_DATA_DATASET_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/tar_write.h"

static char folder[64];
static oc_error err;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        oc_status ok_status_ = (call);                                                                                 \
        if (ok_status_ != OC_OK) fail_msg("%s: %s", #call, err.msg);                                                   \
    } while (0)

/* The call fails with this code and says these words. */
#define FAILS(call, code_, words)                                                                                      \
    do {                                                                                                               \
        oc_status st_ = (call);                                                                                        \
        if (st_ == OC_OK) fail_msg("%s: succeeded, wanted an error with \"%s\"", #call, words);                        \
        if (!strstr(err.msg, words)) fail_msg("%s: \"%s\" lacks \"%s\"", #call, err.msg, words);                       \
        assert_int_equal(st_, code_);                                                                                  \
        assert_int_equal(err.code, code_);                                                                             \
    } while (0)

static inline int make_folder(void **state) {
    OC_UNUSED(state);
    snprintf(folder, sizeof folder, "/tmp/oc_data_XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static inline int remove_folder(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(folder, NULL) != OC_OK;
}

/* The path of a file in the folder; eight of them stay valid. */
static inline const char *in_folder(const char *name) {
    static char path[8][256];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline const char *write_bytes(const char *name, const void *data, size_t size) {
    const char *path = in_folder(name);
    OK(oc_file_write_atomic(path, data, size, &err));
    return path;
}

static inline const char *write_text(const char *name, const char *text) { return write_bytes(name, text, strlen(text)); }

/* A PNG in which every picture number, row and column gives another colour. */
static inline void make_picture(oc_strbuf *out, int number, int width, int height) {
    uint8_t *rgb = oc_alloc((size_t)(width * height * 3));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = rgb + 3 * (y * width + x);
            p[0] = (uint8_t)(37 * number + 11 * x), p[1] = (uint8_t)(91 * number + 7 * y), p[2] = (uint8_t)(13 * number + x * y);
        }
    oc_strbuf_clear(out);
    OK(oc_image_encode_png(out, rgb, width, height, &err));
    oc_free(rgb);
}

static inline void write_picture(const char *name, int number, int width, int height) {
    oc_strbuf png = {0};
    make_picture(&png, number, width, height);
    write_bytes(name, png.data, png.len);
    oc_strbuf_free(&png);
}

/* Opens a data set whose pictures are never asked for. */
static inline oc_dataset *open_llava(const char *json) {
    oc_dataset *d;
    OK(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("t.json", json)}, &err));
    return d;
}

#endif
