/* ocellus compare: two evaluations of the same data side by side. */
#include <string.h>

#include "base/log.h"
#include "cli/session.h"
#include "eval/compare.h"

static struct {
    int resamples, seed, items;
    bool strict, json;
} opt = {.resamples = OC_PAIRED_RESAMPLES, .items = 5};

static const oc_option options[] = {
    {"--items", OPT_INT, &opt.items, "0..100000", "show so many items that A, and so many that B, answers better"},
    {"--resamples", OPT_INT, &opt.resamples, "1..1000000", "of the paired bootstrap"},
    {"--seed", OPT_INT, &opt.seed, "0..", "of the paired bootstrap"},
    {"--strict", OPT_FLAG, &opt.strict, NULL, "fail where only one of the two has an item, instead of leaving it out"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print one JSON object"},
    {0}};

/* Types that only repeat the split into yes/no and open are not shown. */
static bool shown(const oc_comparison *c, int score) {
    return c->a.vqa.n_types > 2 || strncmp(c->samples.score[score].name, "types.", 6) != 0;
}

static int n_shown_items(const oc_comparison *c) { return (int)OC_MIN((size_t)opt.items, c->a.n / 2); }

/* ---- JSON ------------------------------------------------------------------------------------------------------------ */

static json_t *side_json(const oc_evaluation *e, size_t k) {
    return json_pack("{s:s, s:f}", "answer", e->item[k].answer, "score", oc_compare_item_score(e, k));
}

static json_t *item_json(const oc_comparison *c, size_t k) {
    const oc_evaluated *it = &c->a.item[k];
    json_t *references = json_array();
    for (size_t i = 0; i < it->n_references; i++) json_array_append_new(references, json_string(it->reference[i]));
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "id", it->id, "image", it->image, "references", references, "a",
                     side_json(&c->a, k), "b", side_json(&c->b, k));
}

static json_t *comparison_json(const oc_comparison *c, const char *a, const char *b) {
    json_t *scores = json_object(), *better_b = json_array(), *better_a = json_array();
    for (int k = 0; k < c->samples.n_scores; k++) {
        const oc_difference *d = &c->difference[k];
        if (!shown(c, k)) continue;
        json_object_set_new(scores, c->samples.score[k].name,
                            json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "a", d->a, "b", d->b, "difference", d->b - d->a,
                                      "low", d->low, "high", d->high, "p", d->p));
    }
    for (int i = 0; i < n_shown_items(c); i++) {
        json_array_append_new(better_b, item_json(c, c->order[i]));
        json_array_append_new(better_a, item_json(c, c->order[c->a.n - 1 - (size_t)i]));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:I, s:o, s:o, s:o}", "task",
                     c->a.task == OC_EVAL_CAPTION ? "caption" : "vqa", "a", a, "b", b, "items", (json_int_t)c->a.n,
                     "pictures", (json_int_t)c->samples.n, "only_a", (json_int_t)c->only_a, "only_b",
                     (json_int_t)c->only_b, "resamples", c->resamples, "seed", (json_int_t)c->seed, "scores", scores,
                     "better_in_b", better_b, "better_in_a", better_a);
}

/* ---- Text ------------------------------------------------------------------------------------------------------------ */

/* Answers may hold anything: control characters are not for the terminal. */
static void print_line(const char *before, const char *text) {
    fputs(before, stdout);
    for (; *text; text++) putchar((unsigned char)*text < ' ' ? ' ' : *text);
    putchar('\n');
}

static void print_item(const oc_comparison *c, size_t k) {
    const oc_evaluated *it = &c->a.item[k];
    printf("%s  %.1f -> %.1f\n", it->id, 100 * oc_compare_item_score(&c->a, k), 100 * oc_compare_item_score(&c->b, k));
    print_line("  A      ", c->a.item[k].answer);
    print_line("  B      ", c->b.item[k].answer);
    print_line("  truth  ", it->reference[0]);
}

static void print_text(const oc_comparison *c, const char *a, const char *b) {
    printf("A: %s\nB: %s\n%zu items, %zu pictures\n\n", a, b, c->a.n, c->samples.n);
    printf("%-28s %8s %8s %8s   %-20s %s\n", "", "A", "B", "B - A", "95% interval", "p");
    for (int k = 0; k < c->samples.n_scores; k++) {
        const oc_difference *d = &c->difference[k];
        char interval[48];
        if (!shown(c, k)) continue;
        snprintf(interval, sizeof interval, "%.2f to %.2f", 100 * d->low, 100 * d->high);
        printf("%-28s %8.2f %8.2f %+8.2f   %-20s %.4f\n", c->samples.score[k].name, 100 * d->a, 100 * d->b,
               100 * (d->b - d->a), interval, d->p);
    }
    printf("Times 100. Interval and p (two-sided) of a paired bootstrap over pictures, %d resamples, seed %llu.\n",
           c->resamples, (unsigned long long)c->seed);
    for (int side = 0; side < 2 && n_shown_items(c); side++) {
        printf("\nBetter in %s (%s)\n", side ? "A" : "B", c->a.task == OC_EVAL_CAPTION ? "CIDEr" : "accuracy");
        for (int i = 0; i < n_shown_items(c); i++) print_item(c, c->order[side ? c->a.n - 1 - (size_t)i : (size_t)i]);
    }
}

/* ---- The command ----------------------------------------------------------------------------------------------------- */

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    oc_comparison c;
    oc_status st = oc_compare_open(&c, args[0], args[1], opt.resamples, (uint64_t)opt.seed, err);
    if (st != OC_OK) return (int)st;
    if ((c.only_a || c.only_b) && opt.strict)
        st =
            oc_fail(err, OC_ERR_FORMAT,
                    "%zu items are only in %s and %zu only in %s; without --strict the %zu that both have are compared",
                    c.only_a, args[0], c.only_b, args[1], c.a.n);
    else if (c.only_a || c.only_b)
        oc_log(OC_LOG_WARN,
               "%zu items are only in %s and %zu only in %s: the %zu that both have are scored as a set of their own",
               c.only_a, args[0], c.only_b, args[1], c.a.n);
    if (st == OC_OK && opt.json)
        st = oc_print_json(comparison_json(&c, args[0], args[1]), err);
    else if (st == OC_OK)
        print_text(&c, args[0], args[1]);
    oc_compare_close(&c);
    return (int)st;
}

const oc_command oc_command_compare = {
    .name = "compare",
    .summary = "Compare two evaluations, with a paired test",
    .positional = "A B",
    .min_args = 2,
    .max_args = 2,
    .details =
        "A and B are folders that ocellus eval --out wrote, of two models (or two ways to ask one) on the same data. For every\n"
        "score: both values, the difference B - A, its 95% interval and a two-sided p value from a paired bootstrap over\n"
        "pictures; then the items on which they differ most. Answers are scored again, over the items that both have.\n\n"
        "  ocellus compare runs/causal/model-eval/coco-karpathy runs/prefix/model-eval/coco-karpathy",
    .options = options,
    .run = run,
};
