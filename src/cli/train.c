/* ocellus train, pretrain vision, pretrain text: runs of a recipe. */
#include "cli/session.h"
#include "cli/train_hooks.h"
#include "cli/train_plan.h"
#include "base/text.h"

static struct {
    const char *out;
    oc_string_list set;
    int threads, stages;
    bool resume, overwrite, profile, json, dry_run;
    const char *backend, *memory, *dump_batches;
    int recompute;
} opt;

static const oc_option options[] = {
    {"--out", OPT_STRING, &opt.out, "DIR", "output folder, instead of the recipe's"},
    {"--set", OPT_LIST, &opt.set, "NAME=VALUE", "value of ${NAME} in the recipe; may be given several times"},
    {"--resume", OPT_FLAG, &opt.resume, NULL,
     "continue from the last checkpoint in the output folder, if there is one"},
    {"--overwrite", OPT_FLAG, &opt.overwrite, NULL, "start anew where the output folder holds an earlier run"},
    {"--profile", OPT_FLAG, &opt.profile, NULL,
     "time every operation: a table after each stage, and OUT/STAGE.trace.json for ui.perfetto.dev"},
    {"--dry-run", OPT_FLAG, &opt.dry_run, NULL,
     "stages only: read a batch of each and print parameters, memory, steps and time; write nothing"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print a summary as one JSON object at the end"},
    {"--threads", OPT_INT, &opt.threads, "0..1024", "threads, instead of the recipe's; 0: as the recipe says"},
    {"--stages", OPT_INT, &opt.stages, "0..", "run only the first so many stages; 0: all"},
    {"--memory", OPT_STRING, &opt.memory, "SIZE",
     "stages only, instead of the recipe's: a limit such as 8GiB. Layers are computed twice where that saves enough, and a "
     "stage that would still need more is refused"},
    {"--recompute", OPT_ENUM, &opt.recompute, "recipe|auto|off|on",
     "stages only, activation checkpointing: which layers keep their input alone and are computed again in the backward "
     "pass; auto: as many as --memory asks for"},
    {"--dump-batches", OPT_STRING, &opt.dump_batches, "DIR",
     "stages only: also write every batch as a safetensors file, for comparisons with other programs; each is as large as "
     "its pictures"},
    {"--backend", OPT_STRING, &opt.backend, "NAME",
     "kernels to use: ref, avx2, avx512, avx512_bf16, amx; default: the best for this processor"},
    {0}};

static int run_recipe(const char *path, oc_status (*run)(const oc_recipe *, const oc_train_options *, oc_error *),
                      oc_error *err) {
    oc_recipe recipe;
    OC_TRY(oc_recipe_open(&recipe, path, opt.set.item, opt.set.n, err));
    if (opt.threads > 0) recipe.threads = opt.threads;
    if (opt.recompute) recipe.recompute = (oc_recipe_recompute)(opt.recompute - 1);
    if (opt.memory && !oc_parse_bytes(opt.memory, &recipe.memory_bytes)) {
        oc_recipe_close(&recipe);
        return oc_usage(err, "--memory: \"%s\" is no size; 8GiB or 512MiB are", opt.memory);
    }
    oc_train_options o = {.out = opt.out,
                          .resume = opt.resume,
                          .overwrite = opt.overwrite,
                          .only_stages = opt.stages,
                          .backend = opt.backend,
                          .dump_batches = opt.dump_batches,
                          .profile = opt.profile};
    oc_train_summary summary;
    oc_train_summary_open(&summary, &o);
    oc_status st = run(&recipe, &o, err);
    if (st == OC_OK && opt.json && !opt.dry_run) st = oc_print_json(oc_train_summary_json(&summary, &recipe, &o), err);
    oc_train_summary_close(&summary);
    oc_recipe_close(&recipe);
    return (int)st;
}

static oc_status dry_run(const oc_recipe *recipe, const oc_train_options *o, oc_error *err) {
    oc_plan plan;
    OC_TRY(oc_train_plan(&plan, recipe, o, err));
    oc_status st = OC_OK;
    if (opt.json)
        st = oc_print_json(oc_plan_json(&plan, recipe), err);
    else
        oc_plan_print(&plan);
    oc_plan_free(&plan);
    return st;
}

static int run_train(int n, char **args, oc_error *err) {
    return OC_UNUSED(n), run_recipe(args[0], opt.dry_run ? dry_run : oc_train_run, err);
}
static int run_pretrain(const char *path, oc_status (*run)(const oc_recipe *, const oc_train_options *, oc_error *),
                        oc_error *err) {
    const char *stages = opt.dry_run        ? "--dry-run"
                         : opt.stages       ? "--stages"
                         : opt.memory       ? "--memory"
                         : opt.dump_batches ? "--dump-batches"
                                            : "--recompute";
    if (opt.dry_run || opt.stages || opt.memory || opt.dump_batches || opt.recompute)
        return oc_usage(err, "%s is about the stages of ocellus train", stages);
    return run_recipe(path, run, err);
}

static int run_vision(int n, char **args, oc_error *err) {
    return OC_UNUSED(n), run_pretrain(args[0], oc_pretrain_vision, err);
}
static int run_text(int n, char **args, oc_error *err) {
    return OC_UNUSED(n), run_pretrain(args[0], oc_pretrain_text, err);
}

const oc_command oc_command_train = {
    .name = "train",
    .summary = "Train a vision-language model through the stages of a recipe",
    .positional = "RECIPE.yaml",
    .min_args = 1,
    .max_args = 1,
    .details =
        "The output folder gets stage-K-NAME/ after each stage and model/ at the end (Hugging Face folders), log.jsonl and\n"
        "TensorBoard files, and checkpoint/, from which --resume continues. Ctrl-C writes a checkpoint and leaves.\n"
        "docs/recipes.md describes recipes.\n\n"
        "  ocellus train recipes/flickr8k.yaml --set data=photos/flickr8k --out runs/flickr8k\n"
        "  ocellus train recipes/flickr8k.yaml --set data=photos/flickr8k --out runs/flickr8k --resume",
    .options = options,
    .run = run_train,
};

const oc_command oc_command_pretrain_vision = {
    .name = "pretrain vision",
    .summary = "Train a vision encoder from nothing with SigLIP's loss on images and texts",
    .positional = "RECIPE.yaml",
    .min_args = 1,
    .max_args = 1,
    .details =
        "Runs the recipe's pretrain_vision section; sizes come from model.new.vision. Writes DIR/model, a SigLIP folder that\n"
        "a recipe's model.towers.vision can name.\n\n"
        "  ocellus pretrain vision recipes/demo.yaml --set data=demo/data --out demo/vision",
    .options = options,
    .run = run_vision,
};

const oc_command oc_command_pretrain_text = {
    .name = "pretrain text",
    .summary = "Train a decoder from nothing on texts",
    .positional = "RECIPE.yaml",
    .min_args = 1,
    .max_args = 1,
    .details =
        "Runs the recipe's pretrain_text section; sizes come from model.new.text. Writes DIR/model, a Qwen2 folder with its\n"
        "tokenizer, that a recipe's model.towers.text can name.\n\n"
        "  ocellus pretrain text recipes/demo.yaml --set data=demo/data --out demo/text",
    .options = options,
    .run = run_text,
};
