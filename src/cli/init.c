/* ocellus init: a vision encoder and a decoder joined by a new projector. */
#include <string.h>

#include "cli/session.h"
#include "train/assemble.h"
#include "train/checkpoint.h"

static struct {
    const char *vision, *text, *out, *tokenizer;
    int hidden, merge, act, mask, aspect, seed;
    bool json;
} opt = {.merge = 1, .mask = OC_RECIPE_MASK_PREFIX};

static const oc_option options[] = {
    {"--vision", OPT_STRING | OPT_REQUIRED, &opt.vision, "DIR",
     "folder with the vision encoder: SigLIP, or a whole model"},
    {"--text", OPT_STRING | OPT_REQUIRED, &opt.text, "DIR", "folder with the decoder: Qwen2, or a whole model"},
    {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "DIR", "folder to write; its content is replaced"},
    {"--tokenizer", OPT_STRING, &opt.tokenizer, "PATH", "tokenizer.json or its folder; default: that of --text"},
    {"--projector-hidden", OPT_INT, &opt.hidden, "0..65536",
     "width between the projector's two layers; 0: the decoder's width, which other programs load"},
    {"--merge", OPT_INT, &opt.merge, "1..64", "N: N x N neighbouring patches become one token"},
    {"--act", OPT_ENUM, &opt.act, "gelu_tanh|gelu", "the projector's activation"},
    {"--mask", OPT_ENUM, &opt.mask, "causal|prefix|isolated", "which keys a visual token sees"},
    {"--aspect", OPT_ENUM, &opt.aspect, "stretch|pad", "how a picture becomes a square"},
    {"--seed", OPT_INT, &opt.seed, "0..", "of the projector's weights"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print the parameter counts as JSON"},
    {0}};

static oc_status print_result(const oc_vlm *m, oc_error *err) {
    const size_t *n = m->params.n_values;
    size_t total = n[OC_PART_VISION] + n[OC_PART_PROJECTOR] + n[OC_PART_LM];
    if (opt.json)
        return oc_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:i}", "out", opt.out, "vision",
                                       (json_int_t)n[OC_PART_VISION], "projector", (json_int_t)n[OC_PART_PROJECTOR],
                                       "lm", (json_int_t)n[OC_PART_LM], "total", (json_int_t)total, "tokens_per_image",
                                       oc_config_tokens_per_image(&m->cfg)),
                             err);
    printf("%s: %zu parameters: vision %zu, projector %zu (new), lm %zu; %d tokens a picture\n", opt.out, total,
           n[OC_PART_VISION], n[OC_PART_PROJECTOR], n[OC_PART_LM], oc_config_tokens_per_image(&m->cfg));
    return OC_OK;
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    OC_UNUSED(args);
    const oc_recipe_model model = {
        .towers = {.vision = opt.vision, .text = opt.text},
        .projector = {.hidden = opt.hidden, .merge = opt.merge, .act = (oc_recipe_act)opt.act},
        .mask = (oc_recipe_mask)opt.mask,
        .aspect = (oc_recipe_aspect)opt.aspect};
    oc_compute *c = NULL;
    oc_tokenizer *t = NULL;
    oc_vlm m = {0};
    int32_t image;
    oc_status st;
    OC_GO(oc_compute_open(&c, &(oc_compute_options){0}, err));
    OC_GO(oc_tokenizer_open(&t, opt.tokenizer ? opt.tokenizer : opt.text, err));
    OC_GO(oc_tokenizer_add_special(t, OC_IMAGE_PLACEHOLDER, &image, err));
    OC_GO(oc_assemble(&m, c, &model, t, (uint64_t)opt.seed, OC_F32, OC_F32, err));
    OC_GO(oc_model_save_atomic(opt.out, &m, t, NULL, err));
    OC_GO(print_result(&m, err));
done:
    oc_vlm_close(&m);
    oc_tokenizer_close(t);
    if (c) oc_compute_close(c);
    return (int)st;
}

const oc_command oc_command_init = {
    .name = "init",
    .summary = "Join a vision encoder and a decoder by a new projector",
    .positional = NULL,
    .min_args = 0,
    .max_args = 0,
    .details =
        "The result is a whole model with untrained projector, which a recipe's model.init can name. <image> is added to the\n"
        "tokenizer where it is missing. A recipe's model.towers does the same at the start of a run.\n\n"
        "  ocellus init --vision siglip-so400m-patch14-384 --text Qwen2-0.5B --projector-hidden 9216 --out start",
    .options = options,
    .run = run,
};
