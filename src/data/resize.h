/* From an image's pixels to a model's input: bicubic resizing that equals Pillow's bit for bit, the ways to make a
 * square of a picture that is not one, and normalisation as Hugging Face computes it. Thread safe. */
#ifndef OC_DATA_RESIZE_H
#define OC_DATA_RESIZE_H

#include "base/base.h"

/* dst [dh, dw, 3] = Image.resize((dw, dh), BICUBIC, box) of Pillow 13 for src [sh, sw, 3]: antialiased (the kernel
 * widens when shrinking), uint8 between the two passes. box is (x0, y0, x1, y1) inside the source, NULL for all of it;
 * pixels beside the box still take part, as in Pillow. dst must not overlap src. */
oc_status oc_resize_bicubic(uint8_t *dst, int dw, int dh, const uint8_t *src, int sw, int sh, const float box[4],
                            oc_error *err);

typedef enum {
    OC_ASPECT_STRETCH,  /* both sides to the size, as SigLIP's processor does */
    OC_ASPECT_PAD,      /* centred on a square of the longer side, then resized, as LLaVA does */
    OC_ASPECT_PAD_AFTER /* resized to fit, then centred on the square, as llama.cpp does */
} oc_aspect;

/* dst [size, size, 3] from src [sh, sw, 3]. colour fills what the picture does not cover; NULL for the usual one: gray
 * 127 with PAD, (122, 116, 104) with PAD_AFTER. */
oc_status oc_resize_square(uint8_t *dst, int size, const uint8_t *src, int sw, int sh, oc_aspect aspect,
                           const uint8_t colour[3], oc_error *err);

/* out [3, S, S] = (rgb [S, S, 3] / 255 - mean) / std, in float as transformers' slow path rounds it; flip mirrors
 * left and right. */
void oc_image_to_pixels(float *out, const uint8_t *rgb, int S, const float mean[3], const float std[3], bool flip);

#endif
