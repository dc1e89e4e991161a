#include "data/augment.h"

#include <math.h>
#include <string.h>

#include "data/image.h"

static const double BASE_SCALE = 1.15;

static bool crops(const oc_image_options *o) { return o->augment.crop_min > 0 && o->augment.crop_min < 1; }

int oc_augment_base_size(const oc_image_options *o) { return crops(o) ? (int)lround(BASE_SCALE * o->size) : o->size; }

oc_status oc_augment_base(uint8_t *rgb, const void *bytes, size_t size, const char *name, const oc_image_options *opt,
                          oc_error *err) {
    oc_image img;
    OC_TRY(oc_image_decode(&img, bytes, size, name, NULL, err));
    oc_status st =
        oc_resize_square(rgb, oc_augment_base_size(opt), img.rgb, img.width, img.height, opt->aspect, NULL, err);
    oc_image_close(&img);
    return st;
}

/* A box of a random share of the area and a random aspect ratio between 3:4 and 4:3 (Szegedy et al., arXiv 1409.4842). */
static void random_box(float box[4], int R, double crop_min, oc_rng *rng) {
    double area = crop_min + (1 - crop_min) * oc_rng_uniform(rng);
    double ratio = exp((2 * oc_rng_uniform(rng) - 1) * log(4.0 / 3.0));
    double w = fmin(1, sqrt(area * ratio)) * R, h = fmin(1, sqrt(area / ratio)) * R;
    double x = oc_rng_uniform(rng) * (R - w), y = oc_rng_uniform(rng) * (R - h);
    box[0] = (float)x, box[1] = (float)y, box[2] = (float)fmin(x + w, R), box[3] = (float)fmin(y + h, R);
}

static uint8_t to_byte(float x) { return x <= 0 ? 0 : x >= 255 ? 255 : (uint8_t)(x + 0.5f); }

/* Brightness, contrast (around the mean gray) and saturation (away from each pixel's gray), one factor each. */
static void jitter(uint8_t *rgb, size_t pixels, double j, oc_rng *rng) {
    float f[3];
    for (int i = 0; i < 3; i++) f[i] = (float)(1 + j * (2 * oc_rng_uniform(rng) - 1));
    double sum = 0;
    for (size_t i = 0; i < pixels; i++) sum += 0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2];
    float mean = (float)(sum / (double)pixels) * f[0];
    for (size_t i = 0; i < pixels; i++) {
        uint8_t *p = rgb + 3 * i;
        float gray = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
        for (int c = 0; c < 3; c++) {
            float x = (gray + ((float)p[c] - gray) * f[2]) * f[0];
            p[c] = to_byte(mean + (x - mean) * f[1]);
        }
    }
}

/* One mixture of the three colours for the whole picture, its weights uniform among all that add up to one, in place of a
 * random part of the colour, most of the time nearly all of it: gray pictures and colourful ones are one domain. */
static void grayscale(uint8_t *rgb, size_t pixels, oc_rng *rng) {
    double a = oc_rng_uniform(rng), b = oc_rng_uniform(rng);
    const float f[3] = {(float)fmin(a, b), (float)fabs(a - b), (float)(1 - fmax(a, b))};
    const float u = (float)oc_rng_uniform(rng), keep = u * u;
    for (size_t i = 0; i < pixels; i++) {
        uint8_t *p = rgb + 3 * i;
        const float gray = f[0] * p[0] + f[1] * p[1] + f[2] * p[2];
        for (int c = 0; c < 3; c++) p[c] = to_byte(gray + keep * ((float)p[c] - gray));
    }
}

oc_status oc_augment_pixels(float *out, const uint8_t *base, uint8_t *scratch, const oc_image_options *opt, oc_rng *rng,
                            oc_error *err) {
    const int S = opt->size, R = oc_augment_base_size(opt);
    const size_t pixels = (size_t)S * (size_t)S;
    bool flip = rng && oc_rng_uniform(rng) < opt->augment.flip;
    float box[4] = {0, 0, (float)R, (float)R};
    if (rng && crops(opt)) random_box(box, R, opt->augment.crop_min, rng);
    if (R == S) memcpy(scratch, base, 3 * pixels);
    else OC_TRY(oc_resize_bicubic(scratch, S, S, base, R, R, box, err));
    if (rng && opt->augment.jitter > 0) jitter(scratch, pixels, opt->augment.jitter, rng);
    if (rng && opt->augment.grayscale > 0 && oc_rng_uniform(rng) < opt->augment.grayscale)
        grayscale(scratch, pixels, rng);
    oc_image_to_pixels(out, scratch, S, opt->mean, opt->std, flip);
    return OC_OK;
}

oc_status oc_image_pixels(float *out, const void *bytes, size_t size, const char *name, const oc_image_options *opt,
                          oc_rng *rng, oc_error *err) {
    size_t R = (size_t)(rng ? oc_augment_base_size(opt) : opt->size), S = (size_t)opt->size;
    oc_image_options o = *opt;
    if (!rng) o.augment = (oc_augment){0}; /* straight to S */
    uint8_t *base = oc_alloc(3 * R * R), *scratch = oc_alloc(3 * S * S);
    oc_status st = base && scratch ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", name);
    if (st == OC_OK) st = oc_augment_base(base, bytes, size, name, &o, err);
    if (st == OC_OK) st = oc_augment_pixels(out, base, scratch, &o, rng, err);
    oc_free(base);
    oc_free(scratch);
    return st;
}
