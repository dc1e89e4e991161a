/* Any bytes as an image: rejected, or pixels that can all be read; then resized, so that odd shapes meet the resampler. */
#include "data/image.h"
#include "data/resize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    oc_image img;
    oc_error err;
    oc_image_limits lim = {.max_pixels = 1 << 18, .max_side = 4096, .allow_damaged = size % 2};
    if (oc_image_decode(&img, data, size, "fuzz", &lim, &err) != OC_OK) {
        OC_ASSERT(!img.rgb && err.msg[0]);
        return 0;
    }
    OC_ASSERT(img.width >= 1 && img.height >= 1 && img.width <= lim.max_side && img.height <= lim.max_side);
    uint8_t square[7 * 7 * 3];
    for (int aspect = OC_ASPECT_STRETCH; aspect <= OC_ASPECT_PAD_AFTER; aspect++)
        OC_ASSERT(oc_resize_square(square, 7, img.rgb, img.width, img.height, (oc_aspect)aspect, NULL, &err) == OC_OK);
    oc_image_close(&img);
    return 0;
}
