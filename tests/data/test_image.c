#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/golden.h"
#include "data/image.h"

static const struct {
    const char *file, *reference;
    int tolerance; /* levels; 0 where every decoder must agree */
} files[] = {
    {"rgb.png", "rgb.png", 0},
    {"rgba.png", "rgba.png", 0},
    {"gray.png", "gray.png", 0},
    {"gray_alpha.png", "gray_alpha.png", 0},
    {"palette.png", "palette.png", 0},
    {"palette_trns.png", "palette_trns.png", 0},
    {"bilevel.png", "bilevel.png", 0},
    {"gray16.png", "gray16.png/high_byte", 0},
    {"rgb16.png", "rgb16.png", 0},
    {"interlaced.png", "interlaced.png", 0},
    {"tall.png", "tall.png", 0},
    {"wide.png", "wide.png", 0},
    {"tiny1x1.png", "tiny1x1.png", 0},
    {"baseline.jpg", "baseline.jpg", 0},
    {"baseline444.jpg", "baseline444.jpg", 0},
    {"progressive.jpg", "progressive.jpg", 0},
    {"gray.jpg", "gray.jpg", 0},
    {"cmyk.jpg", "cmyk.jpg", 0},
    {"exif3.jpg", "exif3.jpg", 0},
    {"exif5.jpg", "exif5.jpg", 0},
    {"exif6.jpg", "exif6.jpg", 0},
    {"exif8.jpg", "exif8.jpg", 0},
    {"large.jpg", "large.jpg", 0},
    {"lossy.webp", "lossy.webp", 0},
    {"lossless.webp", "lossless.webp", 0},
};

static oc_image load(const char *file) {
    char path[64];
    oc_image img;
    oc_error err;
    snprintf(path, sizeof path, "image/%s", file);
    if (oc_image_load(&img, test_path(path), NULL, &err) != OC_OK) fail_msg("%s", err.msg);
    return img;
}

static void test_golden(void **state) {
    OC_UNUSED(state);
    oc_safetensors *st = golden_open("image/decoded.safetensors");
    for (size_t i = 0; i < OC_COUNT(files); i++) {
        oc_image img = load(files[i].file);
        const oc_tensor_info *t = golden(st, files[i].reference);
        const uint8_t *want = t->data;
        if (img.height != t->shape[0] || img.width != t->shape[1])
            fail_msg("%s: %d x %d, wanted %d x %d", files[i].file, img.width, img.height, (int)t->shape[1], (int)t->shape[0]);
        int worst = 0;
        size_t at = 0;
        for (size_t j = 0; j < t->bytes; j++)
            if (abs(img.rgb[j] - want[j]) > worst) worst = abs(img.rgb[j] - want[j]), at = j;
        if (worst > files[i].tolerance)
            fail_msg("%s: byte %zu (of %zu) is %d, wanted %d", files[i].file, at, t->bytes, img.rgb[at], want[at]);
        oc_image_close(&img);
    }
    oc_safetensors_close(st);
}

/* ---- Broken files ------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

/* An exact-size copy, so that a sanitizer sees every overrun. */
static bytes read_file(const char *file) {
    char path[64], *data;
    bytes b;
    snprintf(path, sizeof path, "image/%s", file);
    assert_int_equal(oc_file_read(&data, &b.size, test_path(path), 1 << 20, NULL), OC_OK);
    b.data = malloc(b.size);
    memcpy(b.data, data, b.size);
    oc_free(data);
    return b;
}

static void assert_rejected(const void *data, size_t size, const oc_image_limits *lim, const char *message) {
    oc_image img;
    oc_error err = {0};
    uint8_t *copy = malloc(size + !size);
    if (size) memcpy(copy, data, size);
    assert_int_not_equal(oc_image_decode(&img, copy, size, "x.jpg", lim, &err), OC_OK);
    if (!strstr(err.msg, message) || !strstr(err.msg, "x.jpg")) fail_msg("got '%s', wanted '%s'", err.msg, message);
    assert_null(img.rgb);
    free(copy);
}

/* No prefix of a file is an image, and none crashes. */
static void test_truncated(void **state) {
    OC_UNUSED(state);
    for (size_t i = 0; i < OC_COUNT(files); i++) {
        bytes b = read_file(files[i].file);
        size_t step = b.size > 3000 ? 37 : 7;
        for (size_t n = 0; n + 4 < b.size; n += step) { /* the last 4 may be only a checksum */
            oc_image img;
            if (oc_image_decode(&img, b.data, n, files[i].file, NULL, NULL) == OC_OK)
                fail_msg("%s: %zu of %zu bytes are taken for an image", files[i].file, n, b.size);
        }
        free(b.data);
    }
    bytes b = read_file("baseline.jpg");
    assert_rejected(b.data, b.size - 2, NULL, "Premature end of JPEG file"); /* only the end marker is missing */
    assert_rejected(b.data, b.size / 2, NULL, "Premature end of JPEG file (row ");
    oc_image img;
    oc_image_limits lenient = {.allow_damaged = true};
    assert_int_equal(oc_image_decode(&img, b.data, b.size / 2, "x", &lenient, NULL), OC_OK);
    assert_int_equal(img.width, 67);
    oc_image_close(&img);
    free(b.data);
}

static void test_corrupt(void **state) {
    OC_UNUSED(state);
    bytes b = read_file("baseline.jpg");
    for (size_t i = b.size / 2; i < b.size / 2 + 40; i++) b.data[i] = 0xff; /* runs of fill bytes, then a marker */
    assert_rejected(b.data, b.size, NULL, "damaged or unsupported JPEG");
    free(b.data);
    b = read_file("rgb.png");
    b.data[b.size / 2] ^= 1;
    assert_rejected(b.data, b.size, NULL, "damaged PNG: "); /* the checksum */
    free(b.data);
    /* One byte changed anywhere: an image or an error, nothing else. */
    for (size_t f = 0; f < OC_COUNT(files); f++) {
        b = read_file(files[f].file);
        for (size_t i = 0; i < b.size; i += b.size / 150 + 1) {
            uint8_t old = b.data[i];
            b.data[i] = (uint8_t)(old ^ (1 << i % 8));
            oc_image img;
            if (oc_image_decode(&img, b.data, b.size, "x", NULL, NULL) == OC_OK) oc_image_close(&img);
            else assert_null(img.rgb);
            b.data[i] = old;
        }
        free(b.data);
    }
}

static void test_not_images(void **state) {
    OC_UNUSED(state);
    assert_rejected("", 0, NULL, "empty");
    assert_rejected("<html>404</html>", 16, NULL, "a web page");
    assert_rejected("GIF89a......", 12, NULL, "a GIF; a JPEG, PNG or WebP image was expected");
    assert_rejected("RIFF....WAVE", 12, NULL, "not an image that is known");
    assert_rejected("\xff\xd8\xff", 3, NULL, "damaged or unsupported JPEG");
    assert_rejected("\x89PNG\r\n\x1a\n", 8, NULL, "damaged PNG");
    assert_rejected("RIFF\4\0\0\0WEBP", 12, NULL, "damaged WebP");
    oc_image img;
    oc_error err;
    assert_int_equal(oc_image_load(&img, test_path("image/absent.png"), NULL, &err), OC_ERR_IO);
    assert_null(img.rgb);
}

static void test_limits(void **state) {
    OC_UNUSED(state);
    bytes b = read_file("baseline.jpg"); /* 67 x 51 */
    assert_rejected(b.data, b.size, &(oc_image_limits){.max_side = 66}, "67 x 51 pixels, more than the limits of 66 a side");
    assert_rejected(b.data, b.size, &(oc_image_limits){.max_pixels = 67 * 51 - 1}, "3416 in all");
    assert_rejected(b.data, b.size, &(oc_image_limits){.max_bytes = b.size - 1}, "limit of");
    oc_image img;
    oc_image_limits exact = {.max_bytes = b.size, .max_pixels = 67 * 51, .max_side = 67};
    assert_int_equal(oc_image_decode(&img, b.data, b.size, "x", &exact, NULL), OC_OK);
    oc_image_close(&img);
    free(b.data);
    /* Huge sizes in the header of a small file are refused before memory is asked for. */
    b = read_file("gray.jpg");
    for (size_t i = 0; i + 9 < b.size; i++)
        if (b.data[i] == 0xff && b.data[i + 1] == 0xc0) memset(b.data + i + 5, 0xf0, 4);
    assert_rejected(b.data, b.size, NULL, "61680 x 61680 pixels, more than the limits");
    free(b.data);
    b = read_file("lossless.webp");
    assert_rejected(b.data, b.size, &(oc_image_limits){.max_side = 46}, "47 x 53 pixels");
    free(b.data);
    b = read_file("rgb.png");
    assert_rejected(b.data, b.size, &(oc_image_limits){.max_side = 60}, "61 x 43 pixels");
    free(b.data);
}

/* ---- Orientation -------------------------------------------------------------------------------------------------- */

/* A JPEG with an EXIF block of the given byte order and orientation: the first pixels must land in the right corner. */
static bytes with_exif(const oc_strbuf *jpeg, bool big, int orientation) {
    uint8_t exif[] = {0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0,
                      0x12, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    if (big) {
        uint8_t tiff[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0};
        memcpy(exif + 10, tiff, sizeof tiff);
    }
    exif[big ? 29 : 28] = (uint8_t)orientation;
    bytes b = {malloc(jpeg->len + sizeof exif), jpeg->len + sizeof exif};
    memcpy(b.data, jpeg->data, 2);
    memcpy(b.data + 2, exif, sizeof exif);
    memcpy(b.data + 2 + sizeof exif, jpeg->data + 2, jpeg->len - 2);
    return b;
}

static int gray_at(const oc_image *img, int x, int y) { return img->rgb[3 * (y * img->width + x)]; }

static void test_orientation(void **state) {
    OC_UNUSED(state);
    enum { W = 32, H = 16 };
    uint8_t rgb[W * H * 3];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) memset(rgb + 3 * (y * W + x), x < 16 && y < 8 ? 250 : x < 16 ? 150 : y < 8 ? 80 : 5, 3);
    oc_strbuf jpeg = {0};
    assert_int_equal(oc_image_encode_jpeg(&jpeg, rgb, W, H, 95, NULL), OC_OK);
    /* Levels at the left top, right top, left bottom, right bottom of what must be shown, by orientation. */
    static const int want[9][4] = {{0},
                                   {250, 80, 150, 5}, {80, 250, 5, 150}, {5, 150, 80, 250}, {150, 5, 250, 80},
                                   {250, 150, 80, 5}, {150, 250, 5, 80}, {5, 80, 150, 250}, {80, 5, 250, 150}};
    for (int o = 0; o <= 10; o++)
        for (int big = 0; big < 2; big++) {
            bytes b = with_exif(&jpeg, big, o);
            oc_image img;
            assert_int_equal(oc_image_decode(&img, b.data, b.size, "x", NULL, NULL), OC_OK);
            const int *w = want[o >= 1 && o <= 8 ? o : 1];
            bool turned = o >= 5 && o <= 8;
            assert_int_equal(img.width, turned ? H : W);
            assert_int_equal(img.height, turned ? W : H);
            int r = img.width - 2, l = img.height - 2;
            int got[4] = {gray_at(&img, 1, 1), gray_at(&img, r, 1), gray_at(&img, 1, l), gray_at(&img, r, l)};
            for (int i = 0; i < 4; i++)
                if (abs(got[i] - w[i]) > 8) fail_msg("orientation %d: corner %d is %d, wanted %d", o, i, got[i], w[i]);
            oc_image_close(&img);
            free(b.data);
        }
    oc_strbuf_free(&jpeg);
}

/* ---- Encoding ----------------------------------------------------------------------------------------------------- */

static void test_encode(void **state) {
    OC_UNUSED(state);
    oc_image img = load("large.jpg"), back;
    oc_strbuf out = {0};
    oc_error err;
    assert_int_equal(oc_image_encode_png(&out, img.rgb, img.width, img.height, &err), OC_OK);
    assert_int_equal(oc_image_decode(&back, out.data, out.len, "x", NULL, &err), OC_OK);
    assert_int_equal(back.width, img.width);
    assert_memory_equal(back.rgb, img.rgb, (size_t)img.width * (size_t)img.height * 3);
    oc_image_close(&back);
    oc_strbuf_clear(&out);

    assert_int_equal(oc_image_encode_jpeg(&out, img.rgb, img.width, img.height, 90, &err), OC_OK);
    size_t good = out.len;
    assert_int_equal(oc_image_decode(&back, out.data, out.len, "x", NULL, &err), OC_OK);
    assert_int_equal(back.height, img.height);
    double sum = 0;
    size_t n = (size_t)img.width * (size_t)img.height * 3;
    for (size_t i = 0; i < n; i++) sum += abs(back.rgb[i] - img.rgb[i]);
    assert_true(sum / (double)n < 4.0);
    oc_image_close(&back);
    oc_strbuf_clear(&out);
    assert_int_equal(oc_image_encode_jpeg(&out, img.rgb, img.width, img.height, 30, &err), OC_OK);
    assert_true(out.len < good);

    assert_int_equal(oc_image_encode_jpeg(&out, img.rgb, 0, 5, 90, &err), OC_ERR_ARG);
    assert_int_equal(oc_image_encode_jpeg(&out, img.rgb, 70000, 5, 90, &err), OC_ERR_ARG);
    assert_int_equal(oc_image_encode_png(&out, img.rgb, 0, 5, &err), OC_ERR_ARG);
    oc_strbuf small = {.max = 100};
    assert_int_equal(oc_image_encode_png(&small, img.rgb, img.width, img.height, &err), OC_ERR_NOMEM);
    assert_int_equal(oc_image_encode_jpeg(&small, img.rgb, img.width, img.height, 50, &err), OC_ERR_NOMEM);
    oc_strbuf_free(&small);
    oc_strbuf_free(&out);
    oc_image_close(&img);
}

/* Each allocation of ours fails in turn; nothing leaks (the sanitizer looks). */
static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    static const char *const kinds[] = {"rgb.png", "rgba.png", "cmyk.jpg", "exif6.jpg", "lossy.webp", "lossless.webp"};
    for (size_t i = 0; i < OC_COUNT(kinds); i++) {
        bytes b = read_file(kinds[i]);
        for (long n = 0;; n++) {
            oc_image img;
            oc_alloc_fail_after(n);
            oc_status st = oc_image_decode(&img, b.data, b.size, "x", NULL, NULL);
            oc_alloc_fail_after(-1);
            if (st == OC_OK) {
                assert_true(n >= 1);
                oc_image_close(&img);
                break;
            }
            assert_int_equal(st, OC_ERR_NOMEM);
            assert_null(img.rgb);
        }
        free(b.data);
    }
}

/* The files people really have: a folder of photos, some broken, named by OC_SHARED. */
static void test_photos(void **state) {
    OC_UNUSED(state);
    const char *folder = getenv("OC_SHARED");
    if (!folder) skip();
    static const struct { const char *name, *message; } bad[] = {
        {"empty.jpg", "empty"}, {"html_error_page.jpg", "a web page"}, {"truncated_header.jpg", "JPEG"},
        {"truncated_half.jpg", "Premature end"}, {"truncated_no_eoi.jpg", "Premature end"}, {"corrupt_scan.jpg", "Corrupt JPEG"},
        {"cmyk.jpg", NULL}, {"extreme_aspect.jpg", NULL}, {"jpeg_named.png", NULL}, {"png_named.jpg", NULL}, {"one_pixel_gray.jpg", NULL}};
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        char path[512];
        oc_image img;
        oc_error err = {0};
        snprintf(path, sizeof path, "%s/data/llava-samples/bad_images/%s", folder, bad[i].name);
        oc_status st = oc_image_load(&img, path, NULL, &err);
        if (bad[i].message ? st == OC_OK || !strstr(err.msg, bad[i].message) : st != OC_OK) fail_msg("%s: '%s'", path, err.msg);
        oc_image_close(&img);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),      cmocka_unit_test(test_truncated), cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_not_images),  cmocka_unit_test(test_limits),    cmocka_unit_test(test_orientation),
        cmocka_unit_test(test_encode),      cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_photos),
    };
    return cmocka_run_group_tests_name("data.image", tests, NULL, NULL);
}
