/* JPEG through libjpeg-turbo: accurate integer DCT and smooth chroma upsampling, as Pillow uses them.
 *
 * libjpeg reports fatal errors through a callback that must not return, hence setjmp. Everything that lives across the
 * jump is in one struct owned by the caller of the function that calls setjmp. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "data/image_codec.h"

enum { MAX_SCANS = 200, EXIF_MARKER = JPEG_APP0 + 1 }; /* a progressive file has about 10 scans */

typedef struct decoder {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    bool strict;
    char message[JMSG_LENGTH_MAX];
    uint8_t *row; /* CMYK [width, 4] */
} decoder;

static _Noreturn void on_error(j_common_ptr cinfo) {
    decoder *d = cinfo->client_data;
    (*cinfo->err->format_message)(cinfo, d->message);
    longjmp(d->jump, 1);
}

/* Level -1 is a warning: the data is damaged and libjpeg would go on with something made up. */
static void on_message(j_common_ptr cinfo, int level) {
    decoder *d = cinfo->client_data;
    int code = cinfo->err->msg_code;
    bool harmless = code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM || code == JWRN_BOGUS_ICC;
    if (level < 0 && d->strict && !harmless) on_error(cinfo);
}

/* A small file may claim scan after scan over a large image. */
static void on_progress(j_common_ptr cinfo) {
    decoder *d = cinfo->client_data;
    if (d->cinfo.input_scan_number <= MAX_SCANS) return;
    snprintf(d->message, sizeof d->message, "more than %d scans", MAX_SCANS);
    longjmp(d->jump, 1);
}

static void on_output(j_common_ptr cinfo) { OC_UNUSED(cinfo); }

static void find_orientation(const decoder *d, int *orientation) {
    for (jpeg_saved_marker_ptr m = d->cinfo.marker_list; m; m = m->next)
        if (m->marker == EXIF_MARKER && m->data_length > 6 && !memcmp(m->data, "Exif\0", 6)) {
            *orientation = oc_exif_orientation(m->data + 6, m->data_length - 6);
            return;
        }
}

static bool read_header(decoder *d, const oc_image_source *in) {
    if (setjmp(d->jump)) return false;
    jpeg_create_decompress(&d->cinfo);
    d->cinfo.client_data = d;
    d->cinfo.progress = &d->progress;
    jpeg_mem_src(&d->cinfo, in->data, (unsigned long)in->size);
    jpeg_save_markers(&d->cinfo, EXIF_MARKER, 0xffff);
    jpeg_read_header(&d->cinfo, TRUE);
    d->cinfo.out_color_space = d->cinfo.num_components == 4 ? JCS_CMYK : JCS_RGB;
    d->cinfo.dct_method = JDCT_ISLOW;
    d->cinfo.do_fancy_upsampling = TRUE;
    return true;
}

/* Samples are inverted (255 = no ink): Adobe's custom, which Pillow and browsers assume of every CMYK JPEG. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int width) {
    for (int x = 0; x < width; x++)
        for (int c = 0; c < 3; c++) {
            int k = cmyk[4 * x + 3], ink = (255 - cmyk[4 * x + c]) * k + 128; /* ink * k / 255, rounded */
            int v = k - (((ink >> 8) + ink) >> 8);
            rgb[3 * x + c] = (uint8_t)OC_MAX(v, 0);
        }
}

static bool read_pixels(decoder *d, oc_image *out) {
    if (setjmp(d->jump)) return false;
    jpeg_start_decompress(&d->cinfo);
    size_t stride = (size_t)out->width * 3;
    while (d->cinfo.output_scanline < d->cinfo.output_height) {
        uint8_t *rgb = out->rgb + d->cinfo.output_scanline * stride, *to = d->row ? d->row : rgb;
        jpeg_read_scanlines(&d->cinfo, &to, 1);
        if (d->row) cmyk_to_rgb(rgb, d->row, out->width);
    }
    jpeg_finish_decompress(&d->cinfo);
    return true;
}

oc_status oc_image_decode_jpeg(oc_image *out, int *orientation, const oc_image_source *in, oc_error *err) {
    decoder d = {.strict = !in->lim->allow_damaged};
    oc_status st = OC_OK;
    d.cinfo.err = jpeg_std_error(&d.errors);
    d.cinfo.client_data = &d;
    d.errors.error_exit = on_error;
    d.errors.emit_message = on_message;
    d.errors.output_message = on_output;
    d.progress.progress_monitor = on_progress;
    bool good = read_header(&d, in);
    if (good) {
        find_orientation(&d, orientation);
        OC_GO(oc_image_allocate(out, d.cinfo.image_width, d.cinfo.image_height, in, err));
        if (d.cinfo.out_color_space == JCS_CMYK) OC_GO(oc_alloc_for(&d.row, (size_t)out->width * 4, in->name, err));
        good = read_pixels(&d, out);
    }
    if (!good)
        st = oc_fail(err, OC_ERR_FORMAT, "%s: damaged or unsupported JPEG: %s (row %u of %u); fetch or save it again",
                     in->name, d.message, d.cinfo.output_scanline, d.cinfo.image_height);
done:
    jpeg_destroy_decompress(&d.cinfo);
    oc_free(d.row);
    return st;
}

/* ---- Encoding ----------------------------------------------------------------------------------------------------- */

typedef struct encoder {
    struct jpeg_compress_struct cinfo;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    unsigned char *file; /* by libjpeg's malloc */
    unsigned long size;
} encoder;

static _Noreturn void on_encode_error(j_common_ptr cinfo) {
    encoder *e = cinfo->client_data;
    (*cinfo->err->format_message)(cinfo, e->message);
    longjmp(e->jump, 1);
}

static bool encode(encoder *e, const uint8_t *rgb, int width, int height, int quality) {
    if (setjmp(e->jump)) return false;
    jpeg_create_compress(&e->cinfo);
    e->cinfo.client_data = e;
    jpeg_mem_dest(&e->cinfo, &e->file, &e->size);
    e->cinfo.image_width = (JDIMENSION)width;
    e->cinfo.image_height = (JDIMENSION)height;
    e->cinfo.input_components = 3;
    e->cinfo.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e->cinfo);
    jpeg_set_quality(&e->cinfo, quality, TRUE);
    jpeg_start_compress(&e->cinfo, TRUE);
    while (e->cinfo.next_scanline < e->cinfo.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rgb + (size_t)e->cinfo.next_scanline * (size_t)width * 3);
        jpeg_write_scanlines(&e->cinfo, &row, 1);
    }
    jpeg_finish_compress(&e->cinfo);
    return true;
}

oc_status oc_image_encode_jpeg(oc_strbuf *out, const uint8_t *rgb, int width, int height, int quality, oc_error *err) {
    encoder e = {0};
    oc_status st = OC_OK;
    e.cinfo.err = jpeg_std_error(&e.errors);
    e.cinfo.client_data = &e;
    e.errors.error_exit = on_encode_error;
    e.errors.output_message = on_output;
    if (!encode(&e, rgb, width, height, quality))
        st = oc_fail(err, OC_ERR_ARG, "JPEG of %d x %d pixels: %s", width, height, e.message);
    else {
        oc_strbuf_add(out, e.file, e.size);
        if (out->failed) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for a JPEG of %d x %d pixels", width, height);
    }
    jpeg_destroy_compress(&e.cinfo);
    free(e.file);
    return st;
}
