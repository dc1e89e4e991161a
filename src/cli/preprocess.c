/* ocellus preprocess: what a model gets to see of an image, for comparison with other programs. */
#include "cli/cli.h"
#include "data/image.h"
#include "data/resize.h"
#include "data/safetensors.h"
#include "model/config.h"

static struct { const char *model, *out; int size, aspect; } opt;

static const oc_option options[] = {
    {"--model", OPT_STRING, &opt.model, "DIR", "take size, aspect, mean and deviation from this model"},
    {"--size", OPT_INT, &opt.size, "1..16384", "pixels a side, without a model (mean and deviation 0.5)"},
    {"--aspect", OPT_ENUM, &opt.aspect, "stretch|pad|pad_after", "with --size: how a picture becomes a square"},
    {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "FILE", "safetensors file to write"},
    {0}};

/* How pictures become pixels: from the model's files, or SigLIP's way at the given size. */
typedef struct recipe {
    int size;
    oc_aspect aspect;
    float mean[3], std[3];
} recipe;

static oc_status read_recipe(recipe *r, oc_error *err) {
    *r = (recipe){opt.size, (oc_aspect)opt.aspect, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
    if (!opt.model) return OC_OK;
    oc_config c;
    OC_TRY(oc_config_load(&c, opt.model, err));
    if (!c.has_vision)
        return oc_fail(err, OC_ERR_ARG, "%s: a language model without a vision encoder; it sees no images", opt.model);
    r->size = c.vision.image_size;
    r->aspect = c.aspect;
    for (int i = 0; i < 3; i++) {
        r->mean[i] = c.image_mean[i];
        r->std[i] = c.image_std[i];
    }
    return OC_OK;
}

/* resized U8 [S, S, 3] and pixels F32 [3, S, S] are the caller's memory. */
static oc_status write_result(const recipe *r, const oc_image *img, uint8_t *resized, float *pixels, oc_error *err) {
    const int64_t S = r->size;
    OC_TRY(oc_resize_square(resized, r->size, img->rgb, img->width, img->height, r->aspect, NULL, err));
    oc_image_to_pixels(pixels, resized, r->size, r->mean, r->std, false);
    const oc_tensor_info tensors[] = {
        {.name = "pixel_values", .dtype = OC_F32, .n_dims = 3, .shape = {3, S, S}, .data = pixels},
        {.name = "decoded", .dtype = OC_U8, .n_dims = 3, .shape = {img->height, img->width, 3}, .data = img->rgb},
        {.name = "resized", .dtype = OC_U8, .n_dims = 3, .shape = {S, S, 3}, .data = resized},
    };
    return oc_safetensors_save(opt.out, tensors, OC_COUNT(tensors), NULL, 0, err);
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    if (!opt.model == !opt.size) return oc_usage(err, "one of --model DIR and --size N is needed");
    if (opt.model && opt.aspect) return oc_usage(err, "--aspect goes with --size; a model has its own");
    recipe r;
    oc_image img = {0};
    uint8_t *resized = NULL;
    float *pixels = NULL;
    oc_status st = OC_OK;
    OC_GO(read_recipe(&r, err));
    const size_t n = (size_t)r.size * (size_t)r.size * 3;
    OC_GO(oc_image_load(&img, args[0], NULL, err));
    OC_GO(oc_alloc_for(&resized, n, "the resized image", err));
    OC_GO(oc_alloc_for(&pixels, n * sizeof *pixels, "the pixels", err));
    OC_GO(write_result(&r, &img, resized, pixels, err));
    printf("%s: %d x %d pixels, to %d x %d\n", opt.out, img.width, img.height, r.size, r.size);
done:
    oc_free(resized);
    oc_free(pixels);
    oc_image_close(&img);
    return (int)st;
}

const oc_command oc_command_preprocess = {
    .name = "preprocess",
    .summary = "Show what a model gets to see of an image",
    .positional = "IMAGE",
    .min_args = 1,
    .max_args = 1,
    .details = "Writes decoded U8 [h, w, 3] (orientation applied, transparency over white), resized U8 [N, N, 3] and\n"
               "pixel_values F32 [3, N, N]. They equal those of Hugging Face's SiglipImageProcessor on Pillow 13.\n\n"
               "  ocellus preprocess cat.jpg --model runs/final --out cat.safetensors\n"
               "  ocellus preprocess cat.jpg --size 384 --aspect pad --out cat.safetensors",
    .options = options,
    .run = run,
};
