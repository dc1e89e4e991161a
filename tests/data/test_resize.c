#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "data/golden.h"
#include "data/resize.c" /* for its kernels, which must agree */

static void assert_same(const uint8_t *got, const uint8_t *want, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) fail_msg("%s: byte %zu of %zu is %d, wanted %d", what, i, n, got[i], want[i]);
}

/* Names are "<file>/<size>"; "<file>/<size>/horizontal_first" is what Pillow 12 gave, where that differs. */
static void test_golden(void **state) {
    OC_UNUSED(state);
    oc_safetensors *decoded = golden_open("image/decoded.safetensors"), *resized = golden_open("image/resized.safetensors");
    int compared = 0;
    for (size_t i = 0; i < oc_safetensors_count(resized); i++) {
        const oc_tensor_info *want = oc_safetensors_at(resized, i);
        char file[64];
        int size, end = 0;
        sscanf(want->name, "%63[^/]/%d%n", file, &size, &end);
        if (want->name[end]) continue;
        const oc_tensor_info *src = golden(decoded, file);
        uint8_t *got = malloc(want->bytes);
        assert_int_equal(oc_resize_bicubic(got, size, size, src->data, (int)src->shape[1], (int)src->shape[0], NULL, NULL), OC_OK);
        assert_same(got, want->data, want->bytes, want->name);
        free(got);
        compared++;
    }
    assert_int_equal(compared, 27);
    oc_safetensors_close(decoded);
    oc_safetensors_close(resized);
}

static void test_pixel_values(void **state) {
    OC_UNUSED(state);
    oc_safetensors *st = golden_open("image/pixel_values.safetensors"), *resized = golden_open("image/resized.safetensors");
    const float half[3] = {0.5f, 0.5f, 0.5f};
    const float *lut = golden(st, "lut_slow")->data;
    uint8_t ramp[16 * 16 * 3];
    float out[3 * 16 * 16];
    for (int i = 0; i < 256; i++) memset(ramp + 3 * i, i, 3);
    oc_image_to_pixels(out, ramp, 16, half, half, false);
    for (int i = 0; i < 768; i++)
        if (out[i] != lut[i % 256]) fail_msg("level %d is %.9g, wanted %.9g", i % 256, (double)out[i], (double)lut[i % 256]);
    oc_image_to_pixels(out, ramp, 16, half, half, true);
    for (int i = 0; i < 768; i++) assert_true(out[i] == lut[i / 16 * 16 % 256 + 15 - i % 16]);

    float pixels[3 * 56 * 56];
    oc_image_to_pixels(pixels, golden(resized, "rgb.png/56")->data, 56, half, half, false);
    assert_memory_equal(pixels, golden(st, "rgb.png")->data, sizeof pixels);
    const float mean[3] = {0.48f, 0.45f, 0.40f}, std[3] = {0.26f, 0.25f, 0.27f};
    uint8_t one[3] = {255, 0, 51};
    oc_image_to_pixels(out, one, 1, mean, std, false);
    assert_true(fabsf(out[0] - 2.0f) < 1e-6f && fabsf(out[1] + 1.8f) < 1e-6f && fabsf(out[2] + 0.2f / 0.27f) < 1e-6f);
    oc_safetensors_close(st);
    oc_safetensors_close(resized);
}

/* ---- Against the definition --------------------------------------------------------------------------------------- */

static double kernel(double x) {
    x = fabs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0;
}

/* One axis in double precision: in [n_in] at `step`, out [n_out], rounded to a level. */
static void resample_line(uint8_t *out, int out_step, int n_out, const uint8_t *in, int in_step, int n_in, double a, double b) {
    double scale = (b - a) / n_out, widen = scale > 1 ? scale : 1;
    for (int i = 0; i < n_out; i++) {
        double center = a + (i + 0.5) * scale, sum = 0, total = 0;
        int lo = (int)fmax(center - 2 * widen + 0.5, 0), hi = (int)fmin(center + 2 * widen + 0.5, n_in);
        for (int x = lo; x < hi; x++) {
            double w = kernel((x + 0.5 - center) / widen);
            sum += w * in[x * in_step];
            total += w;
        }
        double v = floor(sum / total + 0.5);
        out[i * out_step] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

static void resample_reference(uint8_t *dst, int dw, int dh, const uint8_t *src, int sw, int sh, const float *box, bool vertical_first) {
    uint8_t *tmp = malloc((size_t)OC_MAX(dw, sw) * (size_t)OC_MAX(dh, sh) * 3);
    for (int c = 0; c < 3; c++) {
        if (vertical_first) {
            for (int x = 0; x < sw; x++) resample_line(tmp + 3 * x + c, 3 * sw, dh, src + 3 * x + c, 3 * sw, sh, box[1], box[3]);
            for (int y = 0; y < dh; y++) resample_line(dst + 3 * y * dw + c, 3, dw, tmp + 3 * y * sw + c, 3, sw, box[0], box[2]);
        } else {
            for (int y = 0; y < sh; y++) resample_line(tmp + 3 * y * dw + c, 3, dw, src + 3 * y * sw + c, 3, sw, box[0], box[2]);
            for (int x = 0; x < dw; x++) resample_line(dst + 3 * x + c, 3 * dw, dh, tmp + 3 * x + c, 3 * dw, sh, box[1], box[3]);
        }
    }
    free(tmp);
}

/* At most one level apart, and that rarely: fixed-point weights and exact ones round differently near a half. */
static void assert_close(const uint8_t *got, const uint8_t *want, size_t n, const char *what) {
    size_t different = 0;
    for (size_t i = 0; i < n; i++) {
        if (abs(got[i] - want[i]) > 2) fail_msg("%s: byte %zu is %d, wanted %d", what, i, got[i], want[i]);
        different += got[i] != want[i];
    }
    if (different > n / 100 + 2) fail_msg("%s: %zu of %zu bytes differ", what, different, n);
}

static uint8_t *noise(oc_rng *r, int w, int h) {
    size_t n = (size_t)w * (size_t)h * 3;
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)oc_rng_below(r, 256);
    return p;
}

static void test_sizes_and_boxes(void **state) {
    OC_UNUSED(state);
    oc_rng r = oc_rng_seed(5);
    for (int i = 0; i < 300; i++) {
        int sw = oc_rng_range(&r, 1, 70), sh = oc_rng_range(&r, 1, 70), dw = oc_rng_range(&r, 1, 50), dh = oc_rng_range(&r, 1, 50);
        uint8_t *src = noise(&r, sw, sh), *got = malloc((size_t)(dw * dh * 3)), *want = malloc((size_t)(dw * dh * 3));
        float box[4] = {0, 0, (float)sw, (float)sh};
        if (i % 2) {
            box[0] = (float)(oc_rng_uniform(&r) * 0.7 * sw);
            box[1] = (float)(oc_rng_uniform(&r) * 0.7 * sh);
            box[2] = box[0] + (float)(0.1 + 0.89 * oc_rng_uniform(&r)) * ((float)sw - box[0]);
            box[3] = box[1] + (float)(0.1 + 0.89 * oc_rng_uniform(&r)) * ((float)sh - box[1]);
        }
        char what[128];
        snprintf(what, sizeof what, "%d x %d (%g %g %g %g) to %d x %d", sw, sh, (double)box[0], (double)box[1], (double)box[2],
                 (double)box[3], dw, dh);
        oc_error err = {0};
        if (oc_resize_bicubic(got, dw, dh, src, sw, sh, box, &err) != OC_OK) fail_msg("%s: %s", what, err.msg);
        resample_reference(want, dw, dh, src, sw, sh, box, sh - dh > 0 && sh - dh > 2 * (sw - dw));
        assert_close(got, want, (size_t)(dw * dh * 3), what);
        free(src), free(got), free(want);
    }
}

static void test_wrong_arguments(void **state) {
    OC_UNUSED(state);
    uint8_t src[4 * 4 * 3] = {0}, dst[4 * 4 * 3];
    oc_error err;
    static const float bad[][4] = {{-1, 0, 4, 4}, {0, 0, 4.5f, 4}, {0, 0, 4, 5}, {2, 0, 2, 4}, {0, 3, 4, 1}, {NAN, 0, 4, 4}, {0, 0, 4, NAN}};
    for (size_t i = 0; i < OC_COUNT(bad); i++) assert_int_equal(oc_resize_bicubic(dst, 4, 4, src, 4, 4, bad[i], &err), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "not inside an image of 4 x 4"));
    assert_int_equal(oc_resize_bicubic(dst, 0, 4, src, 4, 4, NULL, &err), OC_ERR_ARG);
    assert_int_equal(oc_resize_square(dst, 4, src, 4, 0, OC_ASPECT_PAD, NULL, &err), OC_ERR_ARG);
    assert_int_equal(oc_resize_bicubic(dst, 4, 4, src, 4, 4, NULL, &err), OC_OK);
}

/* ---- Squares ------------------------------------------------------------------------------------------------------ */

static void test_pad(void **state) {
    OC_UNUSED(state);
    static const int sizes[][2] = {{50, 20}, {20, 50}, {1, 40}, {61, 60}, {30, 30}, {7, 3}};
    const uint8_t colour[3] = {10, 200, 90};
    oc_rng r = oc_rng_seed(6);
    for (size_t i = 0; i < OC_COUNT(sizes); i++) {
        int w = sizes[i][0], h = sizes[i][1], side = OC_MAX(w, h), S = 33;
        uint8_t *src = noise(&r, w, h), *square = malloc((size_t)(side * side * 3)), *got = malloc((size_t)(S * S * 3)), *want = malloc((size_t)(S * S * 3));
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                int sx = x - (side - w) / 2, sy = y - (side - h) / 2;
                bool inside = sx >= 0 && sy >= 0 && sx < w && sy < h;
                memcpy(square + 3 * (y * side + x), inside ? src + 3 * (sy * w + sx) : colour, 3);
            }
        assert_int_equal(oc_resize_bicubic(want, S, S, square, side, side, NULL, NULL), OC_OK);
        assert_int_equal(oc_resize_square(got, S, src, w, h, OC_ASPECT_PAD, colour, NULL), OC_OK);
        assert_same(got, want, (size_t)(S * S * 3), "pad");
        free(src), free(square), free(got), free(want);
    }
    uint8_t one[3] = {1, 2, 3}, wide[2 * 3] = {9, 9, 9, 9, 9, 9}, out[4 * 4 * 3];
    assert_int_equal(oc_resize_square(out, 4, one, 1, 1, OC_ASPECT_STRETCH, NULL, NULL), OC_OK);
    assert_same(out, (uint8_t[3]){1, 2, 3}, 3, "stretch");
    assert_int_equal(oc_resize_square(out, 2, wide, 2, 1, OC_ASPECT_PAD, NULL, NULL), OC_OK);
    assert_same(out, (uint8_t[12]){9, 9, 9, 9, 9, 9, 127, 127, 127, 127, 127, 127}, 12, "default colour");
}

static void test_pad_after(void **state) {
    OC_UNUSED(state);
    oc_rng r = oc_rng_seed(7);
    int w = 100, h = 31, S = 40; /* 40 x 12.4: 13 rows, of which 13 are above the content and 14 below */
    uint8_t *src = noise(&r, w, h), got[40 * 40 * 3], content[40 * 13 * 3];
    assert_int_equal(oc_resize_bicubic(content, S, 13, src, w, h, NULL, NULL), OC_OK);
    assert_int_equal(oc_resize_square(got, S, src, w, h, OC_ASPECT_PAD_AFTER, NULL, NULL), OC_OK);
    assert_same(got + 13 * S * 3, content, sizeof content, "content");
    for (int i = 0; i < S * S; i++)
        if (i < 13 * S || i >= 26 * S) assert_same(got + 3 * i, (uint8_t[3]){122, 116, 104}, 3, "padding");
    free(src);

    /* A tall picture, where Pillow 13 would go vertical first and llama.cpp does not. */
    float all[4] = {0, 0, 30, 200};
    src = noise(&r, 30, 200);
    uint8_t want[6 * 40 * 3];
    resample_reference(want, 6, 40, src, 30, 200, all, false);
    assert_int_equal(oc_resize_square(got, S, src, 30, 200, OC_ASPECT_PAD_AFTER, NULL, NULL), OC_OK);
    for (int y = 0; y < S; y++) memcpy(content + y * 18, got + (y * S + 17) * 3, 18);
    assert_close(content, want, sizeof want, "tall content");
    free(src);
}

static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    uint8_t src[20 * 50 * 3] = {0}, dst[8 * 8 * 3];
    for (int aspect = OC_ASPECT_STRETCH; aspect <= OC_ASPECT_PAD_AFTER; aspect++)
        for (long n = 0;; n++) {
            oc_alloc_fail_after(n);
            oc_status st = oc_resize_square(dst, 8, src, 20, 50, (oc_aspect)aspect, NULL, NULL);
            oc_alloc_fail_after(-1);
            if (st == OC_OK) {
                assert_true(n >= 8);
                break;
            }
            assert_int_equal(st, OC_ERR_NOMEM);
        }
}

static void test_kernels(void **state) {
    OC_UNUSED(state);
    enum { TAPS = 9, STRIDE = 211 };
    oc_rng r = oc_rng_seed(8);
    uint8_t in[TAPS * STRIDE], got[STRIDE], want[STRIDE];
    for (size_t i = 0; i < sizeof in; i++) in[i] = (uint8_t)(oc_rng_below(&r, 3) * 127); /* extremes, so that clipping occurs */
    for (size_t n = 0; n <= STRIDE; n++) {
        int32_t k[TAPS];
        for (int i = 0; i < TAPS; i++) k[i] = oc_rng_range(&r, -(1 << 19), 3 << 18);
        taps t = {.n = oc_rng_range(&r, 1, TAPS), .k = k};
        memset(got, 1, sizeof got);
        memset(want, 1, sizeof want);
        weigh_plain(want, in, STRIDE, &t, n);
        choose_weigh()(got, in, STRIDE, &t, n);
        assert_same(got, want, STRIDE, "kernel");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_pixel_values), cmocka_unit_test(test_sizes_and_boxes),
        cmocka_unit_test(test_wrong_arguments), cmocka_unit_test(test_pad),          cmocka_unit_test(test_pad_after),
        cmocka_unit_test(test_out_of_memory),   cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests_name("data.resize", tests, NULL, NULL);
}
