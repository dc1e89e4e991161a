#include "eval/compare.h"

#include <stdlib.h>
#include <string.h>

#include "eval/id_map.h"

static oc_status no_memory(oc_error *err) { return oc_fail(err, OC_ERR_NOMEM, "out of memory for the comparison"); }

static oc_status check_references(const oc_evaluated *a, const oc_evaluated *b, const char *dir_a, const char *dir_b,
                                  oc_error *err) {
    bool same = a->n_references == b->n_references;
    for (size_t i = 0; same && i < a->n_references; i++) same = !strcmp(a->reference[i], b->reference[i]);
    if (same) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "item %s has other references in %s than in %s: they are not of the same data",
                   a->id, dir_b, dir_a);
}

/* e's items become those at index[n], in that order; the other ones are freed. */
static oc_status keep_items(oc_evaluation *e, const size_t *index, size_t n, oc_error *err) {
    bool changed = n != e->n;
    for (size_t i = 0; i < n && !changed; i++) changed = index[i] != i;
    if (!changed) return OC_OK;
    oc_evaluated *item = oc_calloc(n, sizeof *item);
    if (!item) return no_memory(err);
    e->n_references = 0;
    for (size_t i = 0; i < n; i++) {
        item[i] = e->item[index[i]];
        e->item[index[i]].answer = NULL;
        e->n_references += item[i].n_references;
    }
    for (size_t k = 0; k < e->n; k++) oc_free(e->item[k].answer);
    oc_free(e->item);
    e->item = item;
    e->n = n;
    return oc_evaluation_score(e, err);
}

/* Reduces both to what they share. */
static oc_status match_items(oc_comparison *c, const char *dir_a, const char *dir_b, oc_error *err) {
    oc_id_map ids = {0};
    size_t n = 0, at, *in_a = oc_calloc(c->a.n, sizeof *in_a), *in_b = oc_calloc(c->b.n + c->a.n, sizeof *in_b),
           *first = oc_calloc(c->b.n, sizeof *first); /* first[id]: b's item of that id */
    oc_status st = in_a && in_b && first ? OC_OK : no_memory(err);
    for (size_t k = 0; st == OC_OK && k < c->b.n; k++) {
        const size_t known = ids.n;
        st = oc_id_map_add(&ids, c->b.item[k].id, &at, err);
        if (st == OC_OK && at < known)
            st = oc_fail(err, OC_ERR_FORMAT, "%s: item %s occurs twice", dir_b, c->b.item[k].id);
        if (st == OC_OK) first[at] = k;
    }
    for (size_t k = 0; st == OC_OK && k < c->a.n; k++) {
        if (!oc_id_map_find(&ids, c->a.item[k].id, &at)) continue;
        if (first[at] == SIZE_MAX) {
            st = oc_fail(err, OC_ERR_FORMAT, "%s: item %s occurs twice", dir_a, c->a.item[k].id);
            break;
        }
        in_a[n] = k;
        in_b[n++] = first[at];
        st = check_references(&c->a.item[k], &c->b.item[first[at]], dir_a, dir_b, err);
        c->b.item[first[at]].group = c->a.item[k].group; /* pictures are told apart as a does */
        first[at] = SIZE_MAX;
    }
    if (st == OC_OK && n == 0) st = oc_fail(err, OC_ERR_FORMAT, "%s and %s have no item in common", dir_a, dir_b);
    c->only_a = c->a.n - n;
    c->only_b = c->b.n - n;
    if (st == OC_OK) st = keep_items(&c->a, in_a, n, err);
    if (st == OC_OK) st = keep_items(&c->b, in_b, n, err);
    oc_id_map_free(&ids);
    oc_free(in_a);
    oc_free(in_b);
    oc_free(first);
    return st;
}

double oc_compare_item_score(const oc_evaluation *e, size_t k) {
    const oc_evaluated *it = &e->item[k];
    return e->task == OC_EVAL_CAPTION ? it->caption.v[OC_SCORE_CIDER] : it->vqa.accuracy + 1e-3 * it->vqa.f1;
}

typedef struct gain {
    double by;
    size_t item;
} gain;

static int by_gain(const void *a, const void *b) {
    const gain *x = a, *y = b;
    if (x->by != y->by) return x->by < y->by ? 1 : -1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static oc_status order_items(oc_comparison *c, oc_error *err) {
    gain *g = oc_calloc(c->a.n, sizeof *g);
    c->order = oc_calloc(c->a.n, sizeof *c->order);
    if (!g || !c->order) {
        oc_free(g);
        return no_memory(err);
    }
    for (size_t k = 0; k < c->a.n; k++)
        g[k] = (gain){oc_compare_item_score(&c->b, k) - oc_compare_item_score(&c->a, k), k};
    qsort(g, c->a.n, sizeof *g, by_gain);
    for (size_t k = 0; k < c->a.n; k++) c->order[k] = g[k].item;
    oc_free(g);
    return OC_OK;
}

static oc_status test_difference(oc_comparison *c, oc_error *err) {
    oc_samples b;
    OC_TRY(oc_samples_open(&c->samples, &c->a, err));
    OC_TRY(oc_samples_open(&b, &c->b, err));
    oc_status st =
        oc_alloc_for(&c->difference, (size_t)c->samples.n_scores * sizeof *c->difference, "the differences", err);
    if (st == OC_OK) st = oc_bootstrap_paired(c->difference, &c->samples, &b, c->resamples, c->seed, err);
    oc_samples_close(&b);
    return st;
}

oc_status oc_compare_open(oc_comparison *c, const char *dir_a, const char *dir_b, int resamples, uint64_t seed,
                          oc_error *err) {
    *c = (oc_comparison){.resamples = resamples, .seed = seed};
    oc_status st;
    OC_GO(oc_evaluation_load(&c->a, dir_a, err));
    OC_GO(oc_evaluation_load(&c->b, dir_b, err));
    if (c->a.task != c->b.task)
        OC_GO(oc_fail(err, OC_ERR_FORMAT, "%s has captions and %s answers; both must be of one task",
                      c->a.task == OC_EVAL_CAPTION ? dir_a : dir_b, c->a.task == OC_EVAL_CAPTION ? dir_b : dir_a));
    OC_GO(match_items(c, dir_a, dir_b, err));
    OC_GO(test_difference(c, err));
    OC_GO(order_items(c, err));
done:
    if (st != OC_OK) oc_compare_close(c);
    return st;
}

void oc_compare_close(oc_comparison *c) {
    oc_evaluation_free(&c->a);
    oc_evaluation_free(&c->b);
    oc_samples_close(&c->samples);
    oc_free(c->difference);
    oc_free(c->order);
    *c = (oc_comparison){0};
}
