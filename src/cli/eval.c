/* ocellus eval: captions and answers for a data set's pictures, scored against its references. */
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/eval_benchmark.h"
#include "eval/constant.h"

static struct {
    const char *data, *images, *prompt, *suffix, *split, *out, *published;
    int benchmark, kind, task, limit, batch, resamples, resample_seed;
    bool shuffle_images, constant, lowercase, restart, json;
    oc_model_settings model;
    oc_prompt_settings prompting;
    oc_decoding_settings decoding;
} opt = {.resamples = OC_BOOTSTRAP_RESAMPLES, .decoding = OC_DECODING_DEFAULTS};

static const oc_option options[] = {
    {"--benchmark", OPT_ENUM, &opt.benchmark, "none|" OC_BENCHMARK_NAMES,
     "a published benchmark: --data is its folder; prompt and decoding are fixed"},
    {"--data", OPT_STRING | OPT_REQUIRED, &opt.data, "FILE",
     "annotations: pictures with their references; with --benchmark the data set's folder"},
    {"--kind", OPT_ENUM, &opt.kind, "auto|llava|coco|karpathy|vqa",
     "format of the annotations; auto: by what the file's name ends with, else coco"},
    {"--task", OPT_ENUM, &opt.task, "auto|caption|vqa", "auto: vqa for VQA files, else caption"},
    {"--images", OPT_STRING, &opt.images, "WHERE",
     "folder, tar file or pattern of tar files; default: the folder of --data"},
    {"--split", OPT_STRING, &opt.split, "NAME",
     "karpathy, benchmarks: train, val, test or all; default: test (VQA v2: val)"},
    {"--limit", OPT_INT, &opt.limit, "0..", "so many pictures (questions) at most, from the beginning; 0: all"},
    {"--batch", OPT_INT, &opt.batch, "0..4096", "prompts at once; 0: 32, or fewer where they are long"},
    {"--prompt", OPT_STRING, &opt.prompt, "TEXT",
     "question for caption files; default: what training asked for captions with, where the model's folder says so, else "
     "\"" OC_CAPTION_PROMPT "\""},
    {"--prompt-suffix", OPT_STRING, &opt.suffix, "TEXT", "appended to every question"},
    {"--lowercase", OPT_FLAG, &opt.lowercase, NULL, "references in lower case (scores do not depend on it)"},
    {"--shuffle-images", OPT_FLAG, &opt.shuffle_images, NULL, "control: show another picture than the one asked about"},
    {"--constant", OPT_FLAG, &opt.constant, NULL,
     "control, without MODEL: the best answer that is the same for all pictures"},
    {"--out", OPT_STRING, &opt.out, "DIR",
     "write results.json (COCO format), items.jsonl and scores.json; benchmarks also journal.jsonl and report.html, by default "
     "beside the model, in MODEL-eval/NAME"},
    {"--restart", OPT_FLAG, &opt.restart, NULL, "benchmarks: forget the answers that --out has from an earlier start"},
    {"--resamples", OPT_INT, &opt.resamples, "0..1000000", "benchmarks: of the bootstrap intervals; 0: no intervals"},
    {"--resample-seed", OPT_INT, &opt.resample_seed, "0..", "benchmarks: of the bootstrap"},
    {"--published", OPT_STRING, &opt.published, "FILE.json",
     "benchmarks: more rows for the page's table of published numbers: [{\"benchmark\", \"model\", \"scores\": {\"CIDEr\": 1}, "
     "\"source\"}]"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print one JSON object"},
    OC_PROMPT_OPTIONS(opt.prompting),
    OC_DECODING_OPTIONS(opt.decoding),
    OC_MODEL_OPTIONS(opt.model),
    {0}};

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static oc_dataset_kind data_kind(void) {
    static const oc_dataset_kind kind[] = {OC_DATASET_COCO, OC_DATASET_LLAVA, OC_DATASET_COCO, OC_DATASET_KARPATHY,
                                           OC_DATASET_VQA};
    if (opt.kind == 0 && ends_with(opt.data, "llava.json")) return OC_DATASET_LLAVA;
    if (opt.kind == 0 && (ends_with(opt.data, "vqa.jsonl") || ends_with(opt.data, "vqa.json"))) return OC_DATASET_VQA;
    return kind[opt.kind];
}

/* model: NULL without one. */
static oc_status open_data(oc_dataset **d, const oc_config *model, oc_error *err) {
    oc_dataset_options o = {.kind = data_kind(),
                            .json = opt.data,
                            .images = opt.images,
                            .prompt = opt.prompt || !model ? opt.prompt : oc_config_caption_prompt(model),
                            .prompt_suffix = opt.suffix,
                            .split = opt.split,
                            .lowercase = opt.lowercase};
    if (o.kind == OC_DATASET_KARPATHY && !o.split) o.split = "test";
    return oc_dataset_open(d, &o, err);
}

static oc_status print_text(oc_strbuf *text, oc_error *err) {
    oc_status st = text->failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the result") : OC_OK;
    if (st == OC_OK) fputs(text->data, stdout);
    oc_strbuf_free(text);
    return st;
}

static oc_status print_evaluation(const oc_evaluation *e, oc_error *err) {
    if (opt.json) return oc_print_json(oc_evaluation_json(e), err);
    oc_strbuf text = {0};
    oc_evaluation_describe(e, &text);
    return print_text(&text, err);
}

static oc_status evaluate(oc_session *s, const oc_dataset *d, const oc_evaluate_options *eo, oc_error *err) {
    oc_evaluation e;
    OC_TRY(oc_evaluate(&e, &s->model, s->tokenizer, d, eo, err));
    oc_log(OC_LOG_INFO, "%zu pictures read in %.1f s, %lld tokens generated in %.1f s", e.n_images, e.picture_s,
           (long long)e.new_tokens, e.generate_s);
    oc_status st = opt.out ? oc_evaluation_save(&e, opt.out, NULL, err) : OC_OK;
    if (st == OC_OK) st = print_evaluation(&e, err);
    oc_evaluation_free(&e);
    return st;
}

static const oc_benchmark *benchmark(void) {
    char name[32];
    int len;
    const char *word = oc_word_at("none|" OC_BENCHMARK_NAMES, opt.benchmark, &len);
    snprintf(name, sizeof name, "%.*s", len, word);
    return oc_benchmark_find(name);
}

static oc_benchmark_options benchmark_data(void) {
    return (oc_benchmark_options){.dir = opt.data,
                                  .split = opt.split,
                                  .prompt = opt.prompt,
                                  .suffix = opt.suffix,
                                  .images = opt.images,
                                  .no_images = opt.constant};
}

/* A benchmark's own training questions, where they are there: *questions stays NULL where they are not. */
static oc_status open_training(oc_evaluation *training, oc_dataset **questions, const oc_evaluate_options *eo,
                               oc_error *err) {
    oc_benchmark_files files = {0};
    oc_benchmark_options data = benchmark_data();
    oc_evaluate_options all = {.task = eo->task};
    oc_error missing;
    if (!opt.benchmark || eo->task != OC_EVAL_VQA || (opt.split && !strcmp(opt.split, "train"))) return OC_OK;
    data.split = "train";
    oc_status st = oc_benchmark_open(questions, &files, benchmark(), &data, &missing);
    if (st == OC_ERR_IO) return OC_OK; /* no such files */
    if (st != OC_OK) return *err = missing, st;
    oc_benchmark_files_free(&files);
    return oc_evaluation_open(training, *questions, &all, err);
}

static oc_status print_constant(const oc_dataset *d, const oc_evaluate_options *eo, oc_error *err) {
    oc_evaluation e;
    oc_constant c;
    oc_evaluation training = {0};
    oc_dataset *questions = NULL;
    OC_TRY(oc_evaluation_open(&e, d, eo, err));
    oc_status st = open_training(&training, &questions, eo, err);
    if (st == OC_OK)
        st = oc_constant_find(&c, &e, questions ? &training : NULL, eo->quiet, err);
    else
        memset(&c, 0, sizeof c);
    if (st == OC_OK && opt.json)
        st = oc_print_json(oc_constant_json(&c, &e), err);
    else if (st == OC_OK) {
        oc_strbuf text = {0};
        oc_constant_describe(&c, &e, &text);
        st = print_text(&text, err);
    }
    oc_constant_free(&c);
    oc_evaluation_free(&e);
    oc_evaluation_free(&training);
    oc_dataset_close(questions);
    return st;
}

static oc_status with_data(oc_session *s, const oc_evaluate_options *eo, oc_error *err) {
    oc_dataset *d;
    oc_benchmark_files files = {0};
    const oc_benchmark_options data = benchmark_data();
    OC_TRY(opt.benchmark ? oc_benchmark_open(&d, &files, benchmark(), &data, err) : open_data(&d, s ? &s->model.cfg : NULL, err));
    oc_benchmark_files_free(&files);
    oc_status st = opt.constant ? print_constant(d, eo, err) : evaluate(s, d, eo, err);
    oc_dataset_close(d);
    return st;
}

static oc_status run_benchmark(const char *model, oc_evaluate_options *eo, oc_error *err) {
    const oc_benchmark_settings s = {.benchmark = benchmark(),
                                     .model = model,
                                     .out = opt.out,
                                     .published = opt.published,
                                     .data = benchmark_data(),
                                     .resamples = opt.resamples,
                                     .seed = opt.resample_seed,
                                     .restart = opt.restart,
                                     .json = opt.json,
                                     .arithmetic = opt.model,
                                     .prompting = opt.prompting};
    return oc_eval_benchmark(&s, eo, err);
}

static int run(int n_args, char **args, oc_error *err) {
    oc_evaluate_options eo = {.limit = opt.limit, .batch = opt.batch, .shuffle_images = opt.shuffle_images};
    if (opt.benchmark && (opt.kind || opt.task || opt.lowercase))
        return oc_usage(err,
                        "--benchmark goes with none of --kind, --task and --lowercase: the benchmark says what it is");
    if (!opt.benchmark && (opt.restart || opt.published))
        return oc_usage(err, "--restart and --published are for --benchmark");
    eo.task = opt.benchmark                                                       ? benchmark()->task
              : opt.task == 2 || (opt.task == 0 && data_kind() == OC_DATASET_VQA) ? OC_EVAL_VQA
                                                                                  : OC_EVAL_CAPTION;
    int usage = oc_decoding_options(&eo.generate, &opt.decoding, err);
    if (usage) return usage;
    if (opt.constant == (n_args == 1))
        return oc_usage(err, opt.constant ? "--constant takes no MODEL" : "MODEL is missing");
    if (opt.constant && (opt.shuffle_images || opt.out))
        return oc_usage(err, "--constant goes with neither --shuffle-images nor --out");
    if (opt.constant) return (int)with_data(NULL, &eo, err);
    if (opt.benchmark) return (int)run_benchmark(args[0], &eo, err);
    oc_session s;
    oc_status st = oc_session_open(&s, args[0], &opt.model, true, err);
    if (st != OC_OK) return (int)st;
    OC_GO(oc_session_needs_vlm(&s, args[0], err));
    OC_GO(oc_session_set_prompt(&s, args[0], &opt.prompting, err));
    eo.system = s.system;
    st = with_data(&s, &eo, err);
done:
    oc_session_close(&s);
    return (int)st;
}

const oc_command oc_command_eval = {
    .name = "eval",
    .summary = "Measure a model on a data set",
    .positional = "MODEL",
    .min_args = 0,
    .max_args = 1,
    .details =
        "Captions: one for every picture, scored against all its references by BLEU-1 to 4, ROUGE-L and CIDEr as the COCO\n"
        "evaluation computes them. Questions (--task vqa): VQA accuracy, exact match and F1 by type. All times 100.\n\n"
        "Two controls tell what the pictures are worth: --shuffle-images asks about another picture than the one that the\n"
        "references describe, and --constant finds the best answer that is the same for all pictures.\n\n"
        "--benchmark measures on a published set, whose folder --data is, laid out as it is published: dataset_coco.json\n"
        "or dataset_flickr30k.json beside the pictures, PathVQA's questions as JSON, VQA v2's two files. What is asked is fixed,\n"
        "decoding is greedy with at most 64 tokens. A run that was killed goes on when it is started again. Scores come with\n"
        "95% bootstrap intervals, and report.html shows them beside published numbers.\n\n"
        "  ocellus eval runs/vlm/model --benchmark coco-karpathy --data coco\n"
        "  ocellus eval --constant --benchmark pathvqa --data pathvqa --split val   (the best that needs no picture)\n\n"
        "  ocellus eval runs/flickr8k/model --data val_coco.json --images 'val-*.tar' --out eval\n"
        "  ocellus eval runs/flickr8k/model --data val_coco.json --images 'val-*.tar' --shuffle-images\n"
        "  ocellus eval --constant --data val_coco.json --images 'val-*.tar'",
    .options = options,
    .run = run,
};
