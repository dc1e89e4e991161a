/* ocellus score: captions against reference captions, answers against reference answers. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/cli.h"
#include "eval/score_io.h"

static struct {
    int task;
    const char *references, *results, *per_item;
    bool json, strict, lenient, tokenized;
} opt;

static const oc_option options[] = {
    {"--task", OPT_ENUM | OPT_REQUIRED, &opt.task, "caption|vqa", "what is scored"},
    {"--references", OPT_STRING | OPT_REQUIRED, &opt.references, "FILE",
     "COCO caption annotations, or questions with answers"},
    {"--results", OPT_STRING | OPT_REQUIRED, &opt.results, "FILE",
     "COCO result list, or answers; - is standard input"},
    {"--per-item", OPT_STRING, &opt.per_item, "FILE",
     "write the scores of each image or question as JSON lines"},
    {"--strict", OPT_FLAG, &opt.strict, NULL, "every image or question must have a result"},
    {"--lenient", OPT_FLAG, &opt.lenient, NULL, "leave out what does not match instead of failing"},
    {"--tokenized", OPT_FLAG, &opt.tokenized, NULL, "captions are tokens joined by blanks already"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print the scores as JSON"},
    {0}};

static oc_match match(void) {
    return opt.strict ? OC_MATCH_STRICT : opt.lenient ? OC_MATCH_LENIENT : OC_MATCH_OFFICIAL;
}

static void warn_about(size_t ignored, size_t unanswered, const char *what) {
    if (ignored) oc_log(OC_LOG_WARN, "%s: %zu results left out", opt.results, ignored);
    if (unanswered)
        oc_log(OC_LOG_WARN, "%s: %zu %s without a result are not in the scores", opt.results, unanswered,
               what);
}

/* text with JSON's quotes and escapes. */
static void put_json(oc_strbuf *b, const char *text) {
    json_t *v = json_string(text);
    char *quoted = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
    if (quoted)
        oc_strbuf_puts(b, quoted);
    else
        b->failed = true;
    free(quoted);
    json_decref(v);
}

/* An id as JSON: a number where it reads as one, as in the usual files. */
static void put_id(oc_strbuf *b, const char *id) {
    size_t digits = strspn(id, "0123456789");
    if (digits > 0 && digits < 19 && !id[digits] && (id[0] != '0' || digits == 1))
        oc_strbuf_puts(b, id);
    else
        put_json(b, id);
}

static oc_status write_lines(oc_strbuf *b, oc_error *err) {
    if (b->failed) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", opt.per_item);
    return oc_file_write_atomic(opt.per_item, b->data, b->len, err);
}

/* --- Captions ---------------------------------------------------------------------------------------- */

static oc_status write_captions(const oc_caption_set *set, const oc_caption_scores *item, oc_error *err) {
    oc_strbuf b = {.max = SIZE_MAX / 2};
    for (size_t i = 0; i < set->n; i++) {
        oc_strbuf_puts(&b, "{\"image_id\": ");
        put_id(&b, set->items[i].id);
        for (int k = 0; k < OC_SCORE_COUNT; k++)
            oc_strbuf_printf(&b, ", \"%s\": %.17g", oc_score_name((oc_score)k), item[i].v[k]);
        oc_strbuf_puts(&b, "}\n");
    }
    oc_status st = write_lines(&b, err);
    oc_strbuf_free(&b);
    return st;
}

static void print_captions(const oc_caption_set *set, const oc_caption_scores *s) {
    if (opt.json) {
        printf("{\"task\": \"caption\", \"images\": %zu, \"references\": %zu", set->n, set->n_references);
        for (int k = 0; k < OC_SCORE_COUNT; k++)
            printf(", \"%s\": %.17g", oc_score_name((oc_score)k), s->v[k]);
        puts("}");
        return;
    }
    printf("%zu images, %zu references\n", set->n, set->n_references);
    for (int k = 0; k < OC_SCORE_COUNT; k++)
        printf("%-14s %8.2f\n", oc_score_name((oc_score)k), 100 * s->v[k]);
    puts("Scores are times 100, as papers print them; CIDEr is CIDEr-D. METEOR and SPICE need Java and are "
         "not built in:\n"
         "pycocoevalcap computes them from the same two files.");
}

static oc_status score_captions(oc_error *err) {
    oc_caption_set set;
    oc_caption_scores corpus, *item = NULL;
    OC_TRY(oc_caption_set_load(&set, opt.references, opt.results, match(), err));
    oc_status st = OC_OK;
    warn_about(set.ignored, set.unanswered, "images");
    OC_GO(oc_alloc_for(&item, set.n * sizeof *item, "scores", err));
    OC_GO(oc_caption_scores_compute(&corpus, item, set.items, set.n,
                                    &(oc_caption_options){.tokenized = opt.tokenized}, err));
    if (opt.per_item) OC_GO(write_captions(&set, item, err));
    print_captions(&set, &corpus);
done:
    oc_free(item);
    oc_caption_set_free(&set);
    return st;
}

/* --- Answers ----------------------------------------------------------------------------------------- */

static void put_vqa(oc_strbuf *b, const oc_vqa_scores *s) {
    oc_strbuf_printf(
        b,
        "\"accuracy\": %.17g, \"exact\": %.17g, \"exact_pathvqa\": %.17g, \"f1\": %.17g, \"Bleu_1\": %.17g",
        s->accuracy, s->exact, s->exact_pathvqa, s->f1, s->bleu_1);
}

static oc_status write_answers(const oc_vqa_set *set, const oc_vqa_scores *item, oc_error *err) {
    oc_strbuf b = {.max = SIZE_MAX / 2};
    for (size_t i = 0; i < set->n; i++) {
        oc_strbuf_puts(&b, "{\"question_id\": ");
        put_id(&b, set->items[i].id);
        oc_strbuf_puts(&b, ", \"type\": ");
        put_json(&b, item[i].type);
        oc_strbuf_puts(&b, ", ");
        put_vqa(&b, &item[i]);
        oc_strbuf_puts(&b, "}\n");
    }
    oc_status st = write_lines(&b, err);
    oc_strbuf_free(&b);
    return st;
}

static void put_group(oc_strbuf *b, const char *key, const oc_vqa_scores *s) {
    put_json(b, key);
    oc_strbuf_printf(b, ": {\"questions\": %zu, ", s->n);
    put_vqa(b, s);
    oc_strbuf_putc(b, '}');
}

static oc_status print_answers_json(const oc_vqa_report *r, oc_error *err) {
    oc_strbuf b = {0};
    oc_strbuf_printf(&b, "{\"task\": \"vqa\", \"questions\": %zu, ", r->overall.n);
    put_vqa(&b, &r->overall);
    oc_strbuf_printf(&b, ", \"yesno_accuracy\": %.17g, \"open_exact\": %.17g, ", r->yesno.exact,
                     r->open.exact);
    put_group(&b, "yesno", &r->yesno);
    oc_strbuf_puts(&b, ", ");
    put_group(&b, "open", &r->open);
    oc_strbuf_puts(&b, ", \"types\": {");
    for (size_t i = 0; i < r->n_types; i++) {
        if (i) oc_strbuf_puts(&b, ", ");
        put_group(&b, r->type[i].type, &r->type[i]);
    }
    oc_strbuf_puts(&b, "}}\n");
    oc_status st = b.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the scores") : OC_OK;
    if (st == OC_OK) fputs(b.data, stdout);
    oc_strbuf_free(&b);
    return st;
}

static void print_group(const char *name, const oc_vqa_scores *s) {
    printf("%-20s %9zu %9.2f %9.2f %9.2f %9.2f %9.2f\n", name, s->n, 100 * s->accuracy, 100 * s->exact,
           100 * s->exact_pathvqa, 100 * s->f1, 100 * s->bleu_1);
}

static void print_answers(const oc_vqa_report *r) {
    printf("%-20s %9s %9s %9s %9s %9s %9s\n", "", "questions", "accuracy", "exact", "PathVQA", "F1",
           "BLEU-1");
    print_group("overall", &r->overall);
    print_group("yes/no", &r->yesno);
    print_group("open", &r->open);
    for (size_t i = 0; i < r->n_types; i++) {
        if (i == 0) puts("by type");
        print_group(r->type[i].type, &r->type[i]);
    }
    puts("accuracy: VQA accuracy; exact: without case, articles and punctuation; PathVQA: letters only. "
         "Times 100.");
}

static oc_status score_answers(oc_error *err) {
    oc_vqa_set set;
    oc_vqa_report report = {0};
    oc_vqa_scores *item = NULL;
    OC_TRY(oc_vqa_set_load(&set, opt.references, opt.results, match(), err));
    oc_status st = OC_OK;
    warn_about(set.ignored, set.unanswered, "questions");
    OC_GO(oc_alloc_for(&item, set.n * sizeof *item, "scores", err));
    OC_GO(oc_vqa_compute(&report, item, set.items, set.n, err));
    if (opt.per_item) OC_GO(write_answers(&set, item, err));
    if (opt.json)
        OC_GO(print_answers_json(&report, err));
    else
        print_answers(&report);
done:
    oc_free(item);
    oc_vqa_report_free(&report);
    oc_vqa_set_free(&set);
    return st;
}

/* --- The command ------------------------------------------------------------------------------------- */

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    OC_UNUSED(args);
    if (opt.strict && opt.lenient) return oc_usage(err, "--strict and --lenient exclude each other");
    if (opt.tokenized && opt.task != 0) return oc_usage(err, "--tokenized is about captions, not --task vqa");
    if (!strcmp(opt.references, "-") && !strcmp(opt.results, "-"))
        return oc_usage(err, "only one of --references and --results can be standard input");
    return (int)(opt.task == 0 ? score_captions(err) : score_answers(err));
}

const oc_command oc_command_score = {
    .name = "score",
    .summary = "Score captions (BLEU, ROUGE-L, CIDEr) or answers (VQA accuracy, exact match, F1)",
    .details =
        "Captions: references are COCO annotations, {\"images\": [{\"id\"}], \"annotations\": "
        "[{\"image_id\", \"caption\"}]};\n"
        "results are a list of {\"image_id\", \"caption\"}. Ids are numbers or strings. Scores equal those "
        "of pycocoevalcap:\n"
        "Bleu_1 to Bleu_4, ROUGE_L, CIDEr (which is CIDEr-D); CIDEr_original is the first form of CIDEr. "
        "METEOR and SPICE\n"
        "need Java: pycocoevalcap computes them from the same files.\n\n"
        "Answers: records of {\"question_id\", \"answer\" or \"answers\", \"type\"}, as JSON lines or an "
        "array, or the official VQA\n"
        "annotations; results are {\"question_id\", \"answer\"}.\n\n"
        "Without --strict or --lenient, images without a result are not scored (pycocoevalcap does the "
        "same); a result that\n"
        "belongs to no image, a second result for an image and an image without references are errors.\n\n"
        "  ocellus score --task caption --references captions_val2017.json --results captions.json\n"
        "  ocellus score --task vqa --references val_qa.jsonl --results answers.jsonl --json",
    .options = options,
    .run = run,
};
