/* From a decoded picture to pixels, with the random changes of training. */
#ifndef OC_DATA_AUGMENT_H
#define OC_DATA_AUGMENT_H

#include "data/loader.h"

/* Side R of the square that random crops are taken from: a little more than S, so that a crop keeps its detail. S without
 * crops. Every picture passes through it, cached or not, so that a cache changes nothing but speed. */
int oc_augment_base_size(const oc_image_options *opt);

/* rgb [R, R, 3] of an encoded picture. */
oc_status oc_augment_base(uint8_t *rgb, const void *bytes, size_t size, const char *name, const oc_image_options *opt,
                          oc_error *err);

/* base [R, R, 3] -> out f32 [3, S, S]; scratch [S, S, 3]. rng NULL: nothing random (the whole square). */
oc_status oc_augment_pixels(float *out, const uint8_t *base, uint8_t *scratch, const oc_image_options *opt, oc_rng *rng,
                            oc_error *err);

#endif
