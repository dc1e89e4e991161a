/* What is asked, and how the answers are scored. 1. items  2. scores */
#include <string.h>

#include "eval/evaluate.h"

/* ---- 1. Items ------------------------------------------------------------------------------------------------------ */

/* How many items the first `groups` pictures give. */
static size_t count_items(const oc_dataset *d, oc_eval_task task, size_t groups) {
    size_t n = 0;
    if (task == OC_EVAL_CAPTION) return groups;
    for (size_t g = 0; g < groups; g++) {
        oc_image_group group;
        oc_dataset_group(d, g, &group);
        n += (size_t)group.n;
    }
    return n;
}

static void set_item(oc_evaluated *item, const oc_dataset *d, size_t g, const oc_image_group *group, size_t sample) {
    oc_sample s;
    oc_dataset_sample(d, sample, &s);
    *item = (oc_evaluated){.sample = sample,
                           .group = g,
                           .id = s.id,
                           .image = group->image,
                           .shown = group->image,
                           .type = s.question_type};
    if (s.n_turns > 1) item->prompt = s.turn[s.n_turns - 2].text;
}

/* Questions about one picture stand together, so that it is encoded once. */
static void list_items(oc_evaluation *e, const oc_dataset *d) {
    size_t k = 0;
    for (size_t g = 0; k < e->n; g++) {
        oc_image_group group;
        oc_dataset_group(d, g, &group);
        size_t n = e->task == OC_EVAL_CAPTION ? 1 : (size_t)group.n;
        for (size_t i = 0; i < n && k < e->n; i++) set_item(&e->item[k++], d, g, &group, group.sample[i]);
        e->n_groups = g + 1;
    }
}

/* The k-th item's references into ref (NULL: only counted). Returns how many. */
static size_t item_references(const oc_evaluation *e, const oc_dataset *d, size_t k, const char **ref) {
    oc_image_group g;
    oc_sample s;
    oc_dataset_sample(d, e->item[k].sample, &s);
    oc_dataset_group(d, e->item[k].group, &g);
    const bool captions = e->task == OC_EVAL_CAPTION, several = !captions && s.n_answers > 0;
    size_t n = captions ? (size_t)g.n : several ? (size_t)s.n_answers : 1;
    for (size_t i = 0; ref && i < n; i++) {
        if (captions) oc_dataset_sample(d, g.sample[i], &s);
        ref[i] = several ? s.answer[i] : s.turn[s.n_turns - 1].text;
    }
    return n;
}

static oc_status list_references(oc_evaluation *e, const oc_dataset *d, oc_error *err) {
    for (size_t k = 0; k < e->n; k++) e->n_references += item_references(e, d, k, NULL);
    OC_TRY(oc_alloc_for(&e->references, e->n_references * sizeof *e->references, "the references", err));
    const char **ref = e->references;
    for (size_t k = 0; k < e->n; k++, ref += e->item[k - 1].n_references) {
        e->item[k].reference = ref;
        e->item[k].n_references = item_references(e, d, k, ref);
    }
    return OC_OK;
}

/* Rotating the pictures by half of their list keeps how often each occurs and gives no item its own. */
static void exchange_pictures(oc_evaluation *e, const oc_dataset *d) {
    for (size_t k = 0; k < e->n; k++) {
        oc_image_group g;
        oc_dataset_group(d, (e->item[k].group + e->n_groups / 2) % e->n_groups, &g);
        e->item[k].shown = g.image;
    }
}

oc_status oc_evaluation_open(oc_evaluation *out, const oc_dataset *d, const oc_evaluate_options *opt, oc_error *err) {
    size_t groups = oc_dataset_group_count(d), all = count_items(d, opt->task, groups);
    memset(out, 0, sizeof *out);
    if (groups == 0) return oc_fail(err, OC_ERR_ARG, "the data set shows no pictures; there is nothing to evaluate");
    out->task = opt->task;
    out->n = opt->limit > 0 ? OC_MIN(all, (size_t)opt->limit) : all;
    oc_status st = OC_OK;
    out->item = oc_calloc(out->n, sizeof *out->item);
    if (!out->item) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu items", out->n);
    OC_GO(st);
    list_items(out, d);
    OC_GO(list_references(out, d, err));
    if (opt->shuffle_images && out->n_groups < 2)
        st = oc_fail(err, OC_ERR_ARG, "to exchange pictures takes at least two of them");
    else if (opt->shuffle_images)
        exchange_pictures(out, d);
done:
    if (st != OC_OK) oc_evaluation_free(out);
    return st;
}

void oc_evaluation_free(oc_evaluation *e) {
    for (size_t k = 0; e->item && k < e->n; k++) oc_free(e->item[k].answer);
    oc_free(e->item);
    oc_free(e->references);
    oc_strbuf *owned = e->owned;
    if (owned) oc_strbuf_free(owned);
    oc_free(owned);
    oc_vqa_report_free(&e->vqa);
    memset(e, 0, sizeof *e);
}

/* ---- 2. Scores ----------------------------------------------------------------------------------------------------- */

static oc_status score_captions(oc_evaluation *e, oc_error *err) {
    oc_caption_item *item = oc_calloc(e->n, sizeof *item);
    oc_caption_scores *each = oc_calloc(e->n, sizeof *each);
    oc_status st = item && each ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the scores");
    for (size_t k = 0; k < e->n && st == OC_OK; k++)
        item[k] = (oc_caption_item){e->item[k].id, e->item[k].answer, e->item[k].reference, e->item[k].n_references};
    if (st == OC_OK) st = oc_caption_scores_compute(&e->caption, each, item, e->n, NULL, err);
    for (size_t k = 0; k < e->n && st == OC_OK; k++) e->item[k].caption = each[k];
    oc_free(item);
    oc_free(each);
    return st;
}

static oc_status score_answers(oc_evaluation *e, oc_error *err) {
    oc_vqa_item *item = oc_calloc(e->n, sizeof *item);
    oc_vqa_scores *each = oc_calloc(e->n, sizeof *each);
    oc_status st = item && each ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the scores");
    for (size_t k = 0; k < e->n && st == OC_OK; k++)
        item[k] = (oc_vqa_item){e->item[k].id, e->item[k].type, e->item[k].reference, e->item[k].n_references,
                                e->item[k].answer};
    oc_vqa_report_free(&e->vqa);
    if (st == OC_OK) st = oc_vqa_compute(&e->vqa, each, item, e->n, err);
    for (size_t k = 0; k < e->n && st == OC_OK; k++) e->item[k].vqa = each[k];
    oc_free(item);
    oc_free(each);
    return st;
}

oc_status oc_evaluation_score(oc_evaluation *e, oc_error *err) {
    double start = oc_now();
    oc_status st = e->task == OC_EVAL_CAPTION ? score_captions(e, err) : score_answers(e, err);
    e->score_s = oc_now() - start;
    return st;
}
