/* PNG through libspng: all colour types and depths, interlaced or not. */
#include <spng.h>

#include "data/image_codec.h"

/* Text, colour profiles and the like are inflated by libspng only within these bounds. */
enum { MAX_CHUNK = 64 << 20, MAX_CACHED = 128 << 20 };

static oc_status fail_spng(const oc_image_source *in, int code, oc_error *err) {
    return oc_fail(err, code == SPNG_EMEM ? OC_ERR_NOMEM : OC_ERR_FORMAT,
                   "%s: damaged PNG: %s; fetch or save it again", in->name, spng_strerror(code));
}

static oc_status decode_alpha(oc_image *out, spng_ctx *ctx, const oc_image_source *in, oc_error *err) {
    size_t n = (size_t)out->width * (size_t)out->height;
    uint8_t *rgba;
    OC_TRY(oc_alloc_for(&rgba, n * 4, in->name, err));
    int code = spng_decode_image(ctx, rgba, n * 4, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS);
    if (!code) oc_image_composite_white(out->rgb, rgba, n);
    oc_free(rgba);
    return code ? fail_spng(in, code, err) : OC_OK;
}

static oc_status decode_opaque(oc_image *out, spng_ctx *ctx, const oc_image_source *in, oc_error *err) {
    int code = spng_decode_image(ctx, out->rgb, (size_t)out->width * (size_t)out->height * 3, SPNG_FMT_RGB8, 0);
    return code ? fail_spng(in, code, err) : OC_OK;
}

static oc_status decode(oc_image *out, int *orientation, spng_ctx *ctx, const oc_image_source *in, oc_error *err) {
    struct spng_ihdr ihdr;
    struct spng_trns trns;
    struct spng_exif exif;
    int code = spng_set_chunk_limits(ctx, MAX_CHUNK, MAX_CACHED);
    if (!code) code = spng_set_png_buffer(ctx, in->data, in->size);
    if (!code) code = spng_get_ihdr(ctx, &ihdr);
    if (code) return fail_spng(in, code, err);
    OC_TRY(oc_image_allocate(out, ihdr.width, ihdr.height, in, err));
    bool alpha = ihdr.color_type & 4; /* SPNG_COLOR_TYPE_*_ALPHA */
    int no_trns = alpha ? SPNG_ECHUNKAVAIL : spng_get_trns(ctx, &trns);
    if (no_trns && no_trns != SPNG_ECHUNKAVAIL) return fail_spng(in, no_trns, err);
    OC_TRY(alpha || !no_trns ? decode_alpha(out, ctx, in, err) : decode_opaque(out, ctx, in, err));
    if ((code = spng_decode_chunks(ctx))) return fail_spng(in, code, err); /* up to the end: EXIF may come last */
    if (!spng_get_exif(ctx, &exif)) *orientation = oc_exif_orientation((const uint8_t *)exif.data, exif.length);
    return OC_OK;
}

oc_status oc_image_decode_png(oc_image *out, int *orientation, const oc_image_source *in, oc_error *err) {
    spng_ctx *ctx = spng_ctx_new(0);
    if (!ctx) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", in->name);
    oc_status st = decode(out, orientation, ctx, in, err);
    spng_ctx_free(ctx);
    return st;
}

/* ---- Encoding ----------------------------------------------------------------------------------------------------- */

static int append(spng_ctx *ctx, void *user, void *data, size_t n) {
    OC_UNUSED(ctx);
    oc_strbuf *out = user;
    oc_strbuf_add(out, data, n);
    return out->failed ? SPNG_IO_ERROR : 0;
}

oc_status oc_image_encode_png(oc_strbuf *out, const uint8_t *rgb, int width, int height, oc_error *err) {
    if (width < 1 || height < 1) return oc_fail(err, OC_ERR_ARG, "PNG of %d x %d pixels", width, height);
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    if (!ctx) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a PNG of %d x %d pixels", width, height);
    struct spng_ihdr ihdr = {.width = (uint32_t)width, .height = (uint32_t)height, .bit_depth = 8,
                             .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    int code = spng_set_png_stream(ctx, append, out);
    if (!code) code = spng_set_ihdr(ctx, &ihdr);
    if (!code)
        code = spng_encode_image(ctx, rgb, (size_t)width * (size_t)height * 3, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    spng_ctx_free(ctx);
    if (!code) return OC_OK;
    return oc_fail(err, out->failed ? OC_ERR_NOMEM : OC_ERR_ARG, "PNG of %d x %d pixels: %s", width, height,
                   out->failed ? "out of memory" : spng_strerror(code));
}
