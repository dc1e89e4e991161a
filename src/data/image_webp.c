/* WebP through libwebp. The container is walked here only to find an EXIF chunk. */
#include <string.h>

#include <webp/decode.h>

#include "data/image_codec.h"

static oc_status fail_webp(const oc_image_source *in, VP8StatusCode code, oc_error *err) {
    static const char *const what[] = {
        [VP8_STATUS_OUT_OF_MEMORY] = "out of memory",
        [VP8_STATUS_INVALID_PARAM] = "invalid parameter",
        [VP8_STATUS_BITSTREAM_ERROR] = "bit stream error",
        [VP8_STATUS_UNSUPPORTED_FEATURE] = "unsupported feature",
        [VP8_STATUS_SUSPENDED] = "cut off",
        [VP8_STATUS_USER_ABORT] = "aborted",
        [VP8_STATUS_NOT_ENOUGH_DATA] = "cut off",
    };
    return oc_fail(err, code == VP8_STATUS_OUT_OF_MEMORY ? OC_ERR_NOMEM : OC_ERR_FORMAT,
                   "%s: damaged WebP: %s; fetch or save it again", in->name, what[code]);
}

/* RIFF: 12 bytes, then chunks of a name, u32 LE size, and data padded to an even size. */
static void find_orientation(int *orientation, const oc_image_source *in) {
    for (size_t at = 12; in->size - at >= 8;) {
        const uint8_t *p = in->data + at;
        size_t n = (size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24;
        if (n > in->size - at - 8) return;
        if (!memcmp(p, "EXIF", 4)) {
            size_t skip = n >= 6 && !memcmp(p + 8, "Exif\0", 6) ? 6 : 0; /* some writers keep JPEG's prefix */
            *orientation = oc_exif_orientation(p + 8 + skip, n - skip);
            return;
        }
        at += OC_MIN(8 + n + n % 2, in->size - at);
    }
}

static oc_status decode_into(uint8_t *to, int channels, int width, int height, const oc_image_source *in,
                             oc_error *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return oc_fail(err, OC_ERR_UNSUPPORTED, "libwebp is another version than its header");
    config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = to;
    config.output.u.RGBA.stride = width * channels;
    config.output.u.RGBA.size = (size_t)width * (size_t)height * (size_t)channels;
    VP8StatusCode code = WebPDecode(in->data, in->size, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? OC_OK : fail_webp(in, code, err);
}

oc_status oc_image_decode_webp(oc_image *out, int *orientation, const oc_image_source *in, oc_error *err) {
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(in->data, in->size, &f);
    if (code != VP8_STATUS_OK) return fail_webp(in, code, err);
    if (f.has_animation)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: an animated WebP; save one frame of it as an image", in->name);
    OC_TRY(oc_image_allocate(out, (uint64_t)f.width, (uint64_t)f.height, in, err));
    find_orientation(orientation, in);
    if (!f.has_alpha) return decode_into(out->rgb, 3, f.width, f.height, in, err);
    size_t n = (size_t)f.width * (size_t)f.height;
    uint8_t *rgba;
    OC_TRY(oc_alloc_for(&rgba, n * 4, in->name, err));
    oc_status st = decode_into(rgba, 4, f.width, f.height, in, err);
    if (st == OC_OK) oc_image_composite_white(out->rgb, rgba, n);
    oc_free(rgba);
    return st;
}
