/* What image.c and the codecs share. Private to src/data/image*.c. */
#ifndef OC_DATA_IMAGE_CODEC_H
#define OC_DATA_IMAGE_CODEC_H

#include "data/image.h"

typedef struct oc_image_source {
    const uint8_t *data;
    size_t size;
    const char *name;
    const oc_image_limits *lim; /* filled in, never NULL */
} oc_image_source;

/* Each decodes to stored pixels (orientation not yet applied) and sets *orientation to the EXIF value, or leaves it. On
 * failure out->rgb may be allocated. */
oc_status oc_image_decode_jpeg(oc_image *out, int *orientation, const oc_image_source *in, oc_error *err);
oc_status oc_image_decode_png(oc_image *out, int *orientation, const oc_image_source *in, oc_error *err);
oc_status oc_image_decode_webp(oc_image *out, int *orientation, const oc_image_source *in, oc_error *err);

/* Checks a size against the limits and allocates out->rgb. */
oc_status oc_image_allocate(oc_image *out, uint64_t width, uint64_t height, const oc_image_source *in, oc_error *err);

/* rgb [n, 3] = rgba [n, 4] over white, rounded to nearest. */
void oc_image_composite_white(uint8_t *rgb, const uint8_t *rgba, size_t n);

/* The orientation (1 to 8) in an EXIF block (a TIFF header and what follows), or 1. */
int oc_exif_orientation(const uint8_t *tiff, size_t size);

#endif
