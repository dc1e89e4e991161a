/* ocellus data synth: writes a data set of synthetic scenes or smears. */
#include "base/progress.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "data/synth.h"

static struct {
    const char *out;
    int count, seed, size, split, format, quality, pack, shard_size, min_objects, max_objects, domain, colors;
    bool overwrite, json;
} opt = {.size = 64, .quality = 90, .shard_size = 1000, .min_objects = 1};

static const oc_option options[] = {
    {"--domain", OPT_ENUM, &opt.domain, "scenes|cells",
     "coloured shapes, or stained cells under a microscope: another vocabulary, to adapt a model to"},
    {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "DIR", "folder to write"},
    {"--count", OPT_INT | OPT_REQUIRED, &opt.count, "1..100000000", "number of images"},
    {"--seed", OPT_INT, &opt.seed, "0..", "equal seeds give equal data sets"},
    {"--split", OPT_ENUM, &opt.split, "train|val|test",
     "val is new scenes of train's kinds; test shows combinations that train lacks"},
    {"--size", OPT_INT, &opt.size, "16..4096", "pixels a side"},
    {"--format", OPT_ENUM, &opt.format, "png|jpeg", "of the images"},
    {"--quality", OPT_INT, &opt.quality, "1..100", "of JPEG"},
    {"--pack", OPT_ENUM, &opt.pack, "folder|tar", "images as files, or in WebDataset shards"},
    {"--shard-size", OPT_INT, &opt.shard_size, "1..1000000", "images a shard"},
    {"--min-objects", OPT_INT, &opt.min_objects, "1..6", "fewest objects in an image"},
    {"--max-objects", OPT_INT, &opt.max_objects, "0..6", "most objects in an image; 0: 4 in scenes, 6 in smears"},
    {"--colors", OPT_ENUM, &opt.colors, "named|unnamed",
     "unnamed: objects of random colours far from the named ones, and shapes.json as the only text"},
    {"--overwrite", OPT_FLAG, &opt.overwrite, NULL, "replace a data set that is there"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print the result as JSON"},
    {0}};

static bool on_image(void *ctx, int done, int total) {
    oc_progress_update(ctx, done, total, NULL);
    return !oc_interrupted();
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    OC_UNUSED(args);
    const int most = oc_synth_domains[opt.domain].max_objects;
    if (!opt.max_objects) opt.max_objects = most;
    if (opt.max_objects > most)
        return oc_usage(err, "--max-objects %d: this domain has %d at most", opt.max_objects, most);
    if (opt.min_objects > opt.max_objects)
        return oc_usage(err, "--min-objects %d is more than --max-objects %d", opt.min_objects, opt.max_objects);
    oc_progress bar;
    oc_scene_dataset set = {.domain = (oc_synth_domain)opt.domain,
                            .dir = opt.out,
                            .split = (oc_split)opt.split,
                            .seed = (uint64_t)opt.seed,
                            .count = opt.count,
                            .size = opt.size,
                            .jpeg = opt.format == 1,
                            .quality = opt.quality,
                            .tar = opt.pack == 1,
                            .shard_size = opt.shard_size,
                            .overwrite = opt.overwrite,
                            .scene = {opt.min_objects, opt.max_objects, opt.colors == 1},
                            .progress = on_image,
                            .ctx = &bar};
    const double start = oc_now();
    oc_progress_open(&bar, opt.domain ? "smears" : "scenes", opt.count, false);
    oc_status st = oc_scene_dataset_write(&set, err);
    oc_progress_close(&bar);
    if (st != OC_OK) return (int)st;
    const double seconds = oc_now() - start;
    if (opt.json)
        printf("{\"images\": %d, \"seconds\": %.3f}\n", opt.count, seconds);
    else
        printf("%s: %d images of %d px (%s) with %s, in %.1f s\n", opt.out, opt.count, opt.size, oc_split_name(set.split),
               set.scene.unnamed_colors ? "lists of shapes" : "captions and questions", seconds);
    return OC_OK;
}

const oc_command oc_command_data_synth = {
    .name = "data synth",
    .summary = "Make a data set of synthetic pictures with captions and questions",
    .details =
        "Writes images, recap.json, human.json and qa.json (LLaVA conversations), captions_coco.json (five references an\n"
        "image) and qa.jsonl (questions for evaluation). For training there are also places.jsonl (what is where), and\n"
        "shapes.json, colors.json and find.json (scenes as lists). Twelve (colour, shape) pairs and four (shape left of\n"
        "shape) arrangements are kept out of train and val; every test image shows one of the pairs or more. --domain cells\n"
        "draws smears instead: four (kind of cell, stain) pairs are kept out. A model that sees shapes in a few colours learns\n"
        "which pairs exist before it learns shapes; --colors unnamed makes pictures that teach it shapes whatever the colour.\n\n"
        "  ocellus data synth --out scenes/train --count 20000\n"
        "  ocellus data synth --out scenes/test --count 1000 --split test --seed 1\n"
        "  ocellus data synth --out smears --count 2000 --domain cells\n"
        "  ocellus data synth --out shards --count 100000 --pack tar --format jpeg",
    .options = options,
    .run = run,
};
