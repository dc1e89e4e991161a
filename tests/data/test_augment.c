/* From an encoded picture to pixels: without random changes exactly resizing and normalising; each change by itself. */
#include "data/dataset_files.h"

#include <math.h>

#include "data/augment.h"

enum { S = 24, PIXELS = S * S, VALUES = 3 * PIXELS };

static const oc_image_options plain = {.size = S, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}};

/* The pixels of a picture of 40 x 30 with the generator seeded by `seed`; 0: no generator. */
static void pixels_of(float out[VALUES], const oc_image_options *opt, uint64_t seed) {
    oc_strbuf png = {0};
    make_picture(&png, 3, 40, 30);
    oc_rng rng = oc_rng_seed(seed);
    OK(oc_image_pixels(out, png.data, png.len, "p", opt, seed ? &rng : NULL, &err));
    oc_strbuf_free(&png);
}

static void assert_same(const float *a, const float *b) {
    for (int i = 0; i < VALUES; i++)
        if (a[i] != b[i]) fail_msg("value %d: %g, wanted %g", i, (double)a[i], (double)b[i]);
}

static bool same(const float *a, const float *b) { return !memcmp(a, b, VALUES * sizeof *a); }

static void nothing_random(void **state) {
    OC_UNUSED(state);
    static float got[VALUES], want[VALUES];
    static const oc_aspect aspects[] = {OC_ASPECT_STRETCH, OC_ASPECT_PAD, OC_ASPECT_PAD_AFTER};
    for (size_t i = 0; i < OC_COUNT(aspects); i++) {
        oc_image_options opt = plain;
        oc_strbuf png = {0};
        oc_image img;
        uint8_t rgb[VALUES];
        opt.aspect = aspects[i];
        make_picture(&png, 3, 40, 30);
        OK(oc_image_decode(&img, png.data, png.len, "p", NULL, &err));
        OK(oc_resize_square(rgb, S, img.rgb, img.width, img.height, aspects[i], NULL, &err));
        oc_image_to_pixels(want, rgb, S, opt.mean, opt.std, false);
        pixels_of(got, &opt, 0);
        assert_same(got, want);
        pixels_of(got, &opt, 7); /* a generator without anything to change */
        assert_same(got, want);
        opt.augment = (oc_augment){.crop_min = 0.5, .flip = 1, .jitter = 0.5, .grayscale = 1}; /* settings without a generator */
        pixels_of(got, &opt, 0);
        assert_same(got, want);
        oc_image_close(&img);
        oc_strbuf_free(&png);
    }
}

static void flip(void **state) {
    OC_UNUSED(state);
    static float whole[VALUES], got[VALUES], mirrored[VALUES];
    oc_image_options opt = plain;
    pixels_of(whole, &opt, 0);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < S; y++)
            for (int x = 0; x < S; x++) mirrored[(c * S + y) * S + x] = whole[(c * S + y) * S + S - 1 - x];
    opt.augment.flip = 1;
    pixels_of(got, &opt, 1);
    assert_same(got, mirrored);
    opt.augment.flip = 0.25;
    int flipped = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        pixels_of(got, &opt, seed);
        assert_true(same(got, mirrored) || same(got, whole));
        flipped += same(got, mirrored);
    }
    assert_in_range(flipped, 30, 75); /* mean 50, deviation 6.1 */
}

static void base_size(void **state) {
    OC_UNUSED(state);
    oc_image_options opt = plain;
    assert_int_equal(oc_augment_base_size(&opt), S);
    opt.augment.crop_min = 1;
    assert_int_equal(oc_augment_base_size(&opt), S);
    opt.augment.crop_min = 0.5;
    assert_int_equal(oc_augment_base_size(&opt), 28); /* 1.15 * 24 */
}

/* A base whose red rises with x and green with y shows which box was cropped. */
static void crops(void **state) {
    OC_UNUSED(state);
    oc_image_options opt = plain;
    opt.augment.crop_min = 0.4;
    const int R = oc_augment_base_size(&opt);
    uint8_t *base = oc_alloc((size_t)(3 * R * R)), scratch[VALUES];
    static float out[VALUES];
    for (int y = 0; y < R; y++)
        for (int x = 0; x < R; x++) {
            base[3 * (y * R + x)] = (uint8_t)(8 * x);
            base[3 * (y * R + x) + 1] = (uint8_t)(8 * y);
            base[3 * (y * R + x) + 2] = 0;
        }
    double smallest = 1, largest = 0, tallest = 0, widest = 0, leftmost = 1e9, rightmost = 0, rightmost_tall = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        oc_rng rng = oc_rng_seed(seed);
        OK(oc_augment_pixels(out, base, scratch, &opt, &rng, &err));
        const uint8_t *p = scratch + 3 * (S / 2 * S), *top = scratch + 3 * (S / 2);
        /* between the centres of columns 4 and S - 5, where the edges of the base do not reach */
        double w = (p[3 * (S - 5)] - p[3 * 4]) / 8.0 * S / (S - 9), h = (top[3 * (S - 5) * S + 1] - top[3 * 4 * S + 1]) / 8.0 * S / (S - 9);
        double area = w * h / (R * R), up = top[3 * 4 * S + 1] / 8.0 - 4.5 * h / S, left = p[3 * 4] / 8.0 - 4.5 * w / S, ratio = w / h;
        smallest = fmin(smallest, area), largest = fmax(largest, area);
        tallest = fmax(tallest, 1 / ratio), widest = fmax(widest, ratio);
        leftmost = fmin(leftmost, left), rightmost = fmax(rightmost, left + w);
        if (h > w + 3) rightmost_tall = fmax(rightmost_tall, left + w);
        assert_true(left > -1.5 && up > -1.5 && left + w < R + 1.5 && up + h < R + 1.5);
    }
    assert_true(smallest > 0.36 && smallest < 0.5);
    assert_true(largest > 0.85 && largest < 1.04);
    assert_true(tallest < 1.40 && widest < 1.40 && tallest > 1.15 && widest > 1.15);
    assert_true(leftmost > -1.5 && leftmost < 1 && rightmost > R - 1.5 && rightmost < R + 1 && rightmost_tall > R - 2);
    OK(oc_augment_pixels(out, base, scratch, &opt, NULL, &err)); /* no generator: the whole square */
    assert_in_range(scratch[3 * (S / 2 * S)], 0, 8);
    oc_free(base);
}

static void jitter(void **state) {
    OC_UNUSED(state);
    oc_image_options opt = plain;
    opt.augment.jitter = 0.4;
    uint8_t gray[VALUES], scratch[VALUES];
    static float out[VALUES];
    memset(gray, 100, sizeof gray); /* contrast and saturation leave one gray alone; brightness scales it */
    int least = 255, most = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        oc_rng rng = oc_rng_seed(seed);
        OK(oc_augment_pixels(out, gray, scratch, &opt, &rng, &err));
        for (int i = 1; i < VALUES; i++) assert_int_equal(scratch[i], scratch[0]);
        least = OC_MIN(least, scratch[0]), most = OC_MAX(most, scratch[0]);
    }
    assert_in_range(least, 60, 65);
    assert_in_range(most, 135, 140);
    uint8_t black_white[VALUES];
    for (int i = 0; i < VALUES; i++) black_white[i] = i / 3 % 2 ? 255 : 0; /* extremes are clamped, not wrapped */
    for (uint64_t seed = 1; seed <= 50; seed++) {
        oc_rng rng = oc_rng_seed(seed);
        OK(oc_augment_pixels(out, black_white, scratch, &opt, &rng, &err));
        assert_true(scratch[0] < 75 && scratch[3] > 118);
    }
}

/* Every pixel goes the same part of the way to the same mixture of its colours: differences between its colours shrink by
 * one factor, and what black and white are they stay. */
static void grayscale(void **state) {
    OC_UNUSED(state);
    oc_image_options opt = plain;
    opt.augment.grayscale = 1;
    uint8_t base[VALUES], scratch[VALUES];
    static float out[VALUES];
    oc_rng colors = oc_rng_seed(5);
    for (int i = 0; i < VALUES; i++) base[i] = (uint8_t)oc_rng_below(&colors, 256);
    for (int c = 0; c < 3; c++) base[c] = 0, base[3 + c] = 255, base[6 + c] = c == 0 ? 255 : 0, base[9 + c] = c == 2 ? 255 : 0;
    int nearly_gray = 0, red_darker = 0, changed = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        oc_rng rng = oc_rng_seed(seed);
        OK(oc_augment_pixels(out, base, scratch, &opt, &rng, &err));
        assert_int_equal(scratch[0], 0);
        assert_int_equal(scratch[3], 255);
        const double keep = (scratch[6] - scratch[7]) / 255.0;
        assert_true(keep >= 0);
        for (int i = 0; i < PIXELS; i++)
            for (int c = 0; c < 2; c++) {
                const double before = base[3 * i + c] - base[3 * i + c + 1], after = scratch[3 * i + c] - scratch[3 * i + c + 1];
                assert_true(fabs(after - keep * before) < 2.1); /* both rounded, and keep was */
            }
        nearly_gray += keep < 0.25;
        red_darker += scratch[7] < scratch[9]; /* the gray that red becomes and the gray that blue does */
    }
    assert_in_range(nearly_gray, 160, 240); /* half of them */
    assert_in_range(red_darker, 150, 250);  /* the filter favours no colour */
    opt.augment.grayscale = 0.25;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        oc_rng rng = oc_rng_seed(seed);
        OK(oc_augment_pixels(out, base, scratch, &opt, &rng, &err));
        changed += memcmp(base, scratch, sizeof base) != 0;
    }
    assert_in_range(changed, 65, 140); /* mean 100, deviation 8.7 */
}

static void equal_seeds_equal_pixels(void **state) {
    OC_UNUSED(state);
    static float a[VALUES], b[VALUES], c[VALUES];
    oc_image_options opt = plain;
    opt.augment = (oc_augment){.crop_min = 0.5, .flip = 0.5, .jitter = 0.2};
    pixels_of(a, &opt, 11);
    pixels_of(b, &opt, 11);
    pixels_of(c, &opt, 12);
    assert_same(a, b);
    assert_false(same(a, c));
}

static void failures(void **state) {
    OC_UNUSED(state);
    static float out[VALUES];
    oc_strbuf png = {0};
    oc_image_options opt = plain;
    opt.augment.crop_min = 0.5;
    make_picture(&png, 3, 40, 30);
    FAILS(oc_image_pixels(out, "no picture", 10, "p.jpg", &opt, NULL, &err), OC_ERR_FORMAT, "p.jpg");
    FAILS(oc_image_pixels(out, png.data, png.len / 2, "half.png", &opt, NULL, &err), OC_ERR_FORMAT, "half.png");
    for (long n = 0;; n++) {
        oc_rng rng = oc_rng_seed(1);
        oc_alloc_fail_after(n);
        oc_status st = oc_image_pixels(out, png.data, png.len, "p", &opt, &rng, &err);
        oc_alloc_fail_after(-1);
        if (st == OC_OK) break;
        assert_int_equal(st, OC_ERR_NOMEM);
    }
    oc_strbuf_free(&png);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_random), cmocka_unit_test(flip),   cmocka_unit_test(base_size), cmocka_unit_test(crops),
        cmocka_unit_test(jitter),         cmocka_unit_test(grayscale), cmocka_unit_test(equal_seeds_equal_pixels), cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
