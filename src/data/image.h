/* Images: JPEG, PNG and WebP files to RGB bytes, as Hugging Face's loader sees them, and back to PNG and JPEG.
 *
 * The format is recognised from the bytes, never from a name. EXIF orientation (in all three formats) is applied;
 * transparency is composited over white; 16-bit samples are reduced to their high byte; gray, palette and CMYK become
 * RGB. The pixels equal those of Pillow 13 with convert_to_rgb of transformers 5, except for 16-bit gray, which Pillow
 * clips at 255. Input is hostile: sizes are checked in the header, before memory is asked for. */
#ifndef OC_DATA_IMAGE_H
#define OC_DATA_IMAGE_H

#include "base/base.h"

typedef struct oc_image {
    uint8_t *rgb; /* [height, width, 3] */
    int width, height;
} oc_image;

/* All zero (or a NULL pointer) means the defaults. */
typedef struct oc_image_limits {
    size_t max_bytes;    /* of the compressed file; 256 MiB */
    uint64_t max_pixels; /* 64 * 2^20 */
    int max_side;        /* 32768 */
    bool allow_damaged;  /* JPEG only: keep what a damaged or cut off file still shows; normally that is an error */
} oc_image_limits;

/* Decodes a whole file in memory. `name` stands in messages. On success the caller frees with oc_image_close; on
 * failure *out is zero. Thread safe. */
oc_status oc_image_decode(oc_image *out, const void *bytes, size_t size, const char *name, const oc_image_limits *lim,
                          oc_error *err);
oc_status oc_image_load(oc_image *out, const char *path, const oc_image_limits *lim, oc_error *err);
void oc_image_close(oc_image *img); /* a zeroed image is allowed */

/* Append a file to *out. rgb [height, width, 3]. quality 1 to 100 (libjpeg's scale, 4:2:0 chroma). On failure *out may
 * hold part of the file. */
oc_status oc_image_encode_png(oc_strbuf *out, const uint8_t *rgb, int width, int height, oc_error *err);
oc_status oc_image_encode_jpeg(oc_strbuf *out, const uint8_t *rgb, int width, int height, int quality, oc_error *err);

#endif
