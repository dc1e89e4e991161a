#include "data/image.h"

#include <string.h>

#include "base/file.h"
#include "data/image_codec.h"

/* ---- Recognising what a file is ----------------------------------------------------------------------------------- */

typedef enum { JPEG, PNG, WEBP, OTHER } format;

static bool begins(const oc_image_source *in, size_t at, const char *magic, size_t n) {
    return in->size >= at + n && !memcmp(in->data + at, magic, n);
}

static format sniff(const oc_image_source *in) {
    if (begins(in, 0, "\xff\xd8\xff", 3)) return JPEG;
    if (begins(in, 0, "\x89PNG\r\n\x1a\n", 8)) return PNG;
    if (begins(in, 0, "RIFF", 4) && begins(in, 8, "WEBP", 4)) return WEBP;
    return OTHER;
}

/* What else people have under an image's name, for the message. */
static const char *describe_other(const oc_image_source *in) {
    size_t text = 0;
    while (text < in->size && (in->data[text] == ' ' || in->data[text] == '\n' || in->data[text] == '\r')) text++;
    if (begins(in, 0, "GIF8", 4)) return "a GIF";
    if (begins(in, 0, "BM", 2)) return "a BMP";
    if (begins(in, 0, "II*\0", 4) || begins(in, 0, "MM\0*", 4)) return "a TIFF";
    if (begins(in, 4, "ftyp", 4)) return "a HEIC, AVIF or video file";
    if (begins(in, 0, "%PDF", 4)) return "a PDF";
    if (begins(in, 0, "version https://git-lfs", 23)) return "a Git LFS pointer, not the file itself";
    if (text < in->size && in->data[text] == '<') return "a web page or SVG (did a download fail?)";
    if (text < in->size && in->data[text] == '{') return "JSON (did a download fail?)";
    return "not an image that is known";
}

/* ---- Helpers of the codecs ---------------------------------------------------------------------------------------- */

oc_status oc_image_allocate(oc_image *out, uint64_t width, uint64_t height, const oc_image_source *in, oc_error *err) {
    const oc_image_limits *lim = in->lim;
    if (width < 1 || height < 1)
        return oc_fail(err, OC_ERR_FORMAT, "%s: an image of %llu x %llu pixels", in->name, (unsigned long long)width,
                       (unsigned long long)height);
    if (width > (uint64_t)lim->max_side || height > (uint64_t)lim->max_side || width * height > lim->max_pixels)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: %llu x %llu pixels, more than the limits of %d a side and %llu in all; "
                       "make it smaller",
                       in->name, (unsigned long long)width, (unsigned long long)height, lim->max_side,
                       (unsigned long long)lim->max_pixels);
    OC_TRY(oc_alloc_for(&out->rgb, (size_t)width * (size_t)height * 3, in->name, err));
    out->width = (int)width;
    out->height = (int)height;
    return OC_OK;
}

void oc_image_composite_white(uint8_t *rgb, const uint8_t *rgba, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned a = rgba[4 * i + 3], white = 255 * (255 - a) + 127; /* 127: / 255 rounds to nearest */
        for (size_t c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)((rgba[4 * i + c] * a + white) / 255);
    }
}

static uint32_t tiff_int(const uint8_t *p, int bytes, bool big) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[big ? i : bytes - 1 - i];
    return v;
}

int oc_exif_orientation(const uint8_t *tiff, size_t size) {
    enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3 };
    if (size < 8) return 1;
    bool big = tiff[0] == 'M';
    if (memcmp(tiff, big ? "MM\0*" : "II*\0", 4)) return 1;
    size_t ifd = tiff_int(tiff + 4, 4, big);
    if (ifd > size - 2) return 1;
    size_t n = tiff_int(tiff + ifd, 2, big), room = (size - ifd - 2) / 12;
    for (size_t i = 0; i < n && i < room; i++) {
        const uint8_t *e = tiff + ifd + 2 + 12 * i; /* tag, type, count, value */
        if (tiff_int(e, 2, big) != TAG_ORIENTATION) continue;
        uint32_t value = tiff_int(e + 8, 2, big);
        bool valid = tiff_int(e + 2, 2, big) == TYPE_SHORT && tiff_int(e + 4, 4, big) == 1 && value >= 1 && value <= 8;
        return valid ? (int)value : 1;
    }
    return 1;
}

/* ---- Orientation -------------------------------------------------------------------------------------------------- */

/* Where the output's first pixel lies in the stored image, and the step to its right and lower neighbour: each flag
 * says from which end x and y run, and whether they change places (orientations 5 to 8). */
static const struct {
    bool from_right, from_bottom, swap;
} orientations[9] = {[2] = {1, 0, 0}, [3] = {1, 1, 0}, [4] = {0, 1, 0}, [5] = {0, 0, 1},
                     [6] = {0, 1, 1}, [7] = {1, 1, 1}, [8] = {1, 0, 1}};

static oc_status apply_orientation(oc_image *img, int orientation, const char *name, oc_error *err) {
    if (orientation < 2) return OC_OK;
    size_t w = (size_t)img->width, h = (size_t)img->height;
    uint8_t *rgb;
    OC_TRY(oc_alloc_for(&rgb, w * h * 3, name, err));
    bool right = orientations[orientation].from_right, bottom = orientations[orientation].from_bottom;
    bool swap = orientations[orientation].swap;
    const uint8_t *first = img->rgb + 3 * ((bottom ? h - 1 : 0) * w + (right ? w - 1 : 0));
    ptrdiff_t along_x = right ? -3 : 3, along_y = (ptrdiff_t)(3 * w) * (bottom ? -1 : 1);
    ptrdiff_t step_x = swap ? along_y : along_x, step_y = swap ? along_x : along_y;
    if (swap) {
        img->width = (int)h;
        img->height = (int)w;
    }
    uint8_t *to = rgb;
    for (int y = 0; y < img->height; y++)
        for (int x = 0; x < img->width; x++, to += 3) memcpy(to, first + y * step_y + x * step_x, 3);
    oc_free(img->rgb);
    img->rgb = rgb;
    return OC_OK;
}

/* ---- Public ------------------------------------------------------------------------------------------------------- */

static oc_image_limits with_defaults(const oc_image_limits *lim) {
    oc_image_limits l = lim ? *lim : (oc_image_limits){0};
    if (!l.max_bytes) l.max_bytes = (size_t)256 << 20;
    if (!l.max_pixels) l.max_pixels = (uint64_t)64 << 20;
    if (!l.max_side) l.max_side = 32768;
    return l;
}

oc_status oc_image_decode(oc_image *out, const void *bytes, size_t size, const char *name, const oc_image_limits *lim,
                          oc_error *err) {
    *out = (oc_image){0};
    oc_image_limits limits = with_defaults(lim);
    oc_image_source in = {.data = bytes, .size = size, .name = name, .lim = &limits};
    if (size == 0) return oc_fail(err, OC_ERR_FORMAT, "%s: empty; a JPEG, PNG or WebP image was expected", name);
    if (size > limits.max_bytes)
        return oc_fail(err, OC_ERR_FORMAT, "%s: %.1f MiB, more than the limit of %.1f MiB for an image file", name,
                       (double)size / (1 << 20), (double)limits.max_bytes / (1 << 20));
    int orientation = 1;
    oc_status st;
    switch (sniff(&in)) {
    case JPEG: st = oc_image_decode_jpeg(out, &orientation, &in, err); break;
    case PNG: st = oc_image_decode_png(out, &orientation, &in, err); break;
    case WEBP: st = oc_image_decode_webp(out, &orientation, &in, err); break;
    default:
        return oc_fail(err, OC_ERR_FORMAT, "%s: %s; a JPEG, PNG or WebP image was expected", name, describe_other(&in));
    }
    if (st == OC_OK) st = apply_orientation(out, orientation, name, err);
    if (st != OC_OK) oc_image_close(out);
    return st;
}

oc_status oc_image_load(oc_image *out, const char *path, const oc_image_limits *lim, oc_error *err) {
    *out = (oc_image){0};
    oc_map map;
    OC_TRY(oc_map_open(&map, path, err));
    oc_status st = oc_image_decode(out, map.data, map.size, path, lim, err);
    oc_map_close(&map);
    return st;
}

void oc_image_close(oc_image *img) {
    oc_free(img->rgb);
    *img = (oc_image){0};
}
