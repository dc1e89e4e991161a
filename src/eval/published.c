/* Numbers that others published, each with the place where it was read; and the user's own table.
 *
 * A row without a score says that no number was read in a source that is named: the page shows an empty cell. */
#include <string.h>

#include "eval/benchmark_scores.h"

#define PAPER "Jangra et al. (the paper)", "900M"
#define ABSTRACT                                                                                                       \
    "arXiv 2503.19508, abstract: better than VILA-13B and close to GIT-2 by CIDEr; its tables were not read"
#define NOT_READ "its tables (arXiv 2312.07533) were not read"
#define COGVLM   "Wang et al., CogVLM, arXiv 2311.03079v2, Table 1: "
#define QWEN_VL  "README of github.com/QwenLM/Qwen-VL, table of zero-shot captioning and general VQA: "
#define VILA2    "Fang et al., VILA2, arXiv 2407.17453v2, Table 5, which names no split"

static const oc_published builtin[] = {
    {"coco-karpathy", PAPER, NULL, 0, ABSTRACT},
    {"coco-karpathy", "GIT-2", NULL, "CIDEr", 145.0, COGVLM "Karpathy's test split, fine-tuned on COCO"},
    {"coco-karpathy", "VILA-13B", NULL, NULL, 0, NOT_READ},
    {"flickr30k", PAPER, NULL, 0, ABSTRACT},
    {"flickr30k", "GIT-2", NULL, "CIDEr", 50.7, COGVLM "Karpathy's test split, zero-shot"},
    {"flickr30k", "VILA-13B", NULL, NULL, 0, NOT_READ},
    {"flickr30k", "Flamingo-80B", "80B", "CIDEr", 67.2, QWEN_VL "zero-shot"},
    {"flickr30k", "BLIP-2 (Vicuna-13B)", NULL, "CIDEr", 71.6, QWEN_VL "zero-shot"},
    {"flickr30k", "Kosmos-2", NULL, "CIDEr", 80.5, QWEN_VL "zero-shot"},
    {"flickr30k", "InstructBLIP (Vicuna-13B)", NULL, "CIDEr", 82.8, QWEN_VL "zero-shot"},
    {"flickr30k", "Qwen-VL (Qwen-7B)", NULL, "CIDEr", 85.8, QWEN_VL "zero-shot"},
    {"pathvqa", PAPER, NULL, 0, "arXiv 2503.19508, abstract: adapts easily; its tables were not read"},
    {"vqav2", "VILA-13B", "13B", "overall.accuracy", 80.8, VILA2},
    {"vqav2", "LLaVA-1.5 (Vicuna-13B)", NULL, "overall.accuracy", 80.0, VILA2},
    {"vqav2", "VILA-7B", "7B", "overall.accuracy", 79.9, VILA2},
    {"vqav2", "Qwen-VL (Qwen-7B)", NULL, "overall.accuracy", 78.8, QWEN_VL "VQAv2 dev"},
    {"vqav2", "LLaVA-1.5 (Vicuna-7B)", NULL, "overall.accuracy", 78.5, VILA2},
    {"vqav2", "BLIP-2 (Vicuna-13B)", NULL, "overall.accuracy", 65.0, QWEN_VL "VQAv2 dev"},
};

const oc_published *oc_published_builtin(size_t *n) {
    *n = OC_COUNT(builtin);
    return builtin;
}

/* ---- The user's table ------------------------------------------------------------------------------------------------ */

static oc_status add_row(oc_published **rows, size_t *n, oc_published row, oc_error *err) {
    oc_published *p = oc_realloc(*rows, *n * sizeof *p, (*n + 1) * sizeof *p);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the published numbers");
    *rows = p;
    p[(*n)++] = row;
    return OC_OK;
}

/* A row for each score, and one for a record without any. */
static oc_status read_row(oc_published **rows, size_t *n, const json_t *o, size_t i, const char *path, oc_error *err) {
    const json_t *scores = json_object_get(o, "scores"), *v;
    const char *score;
    oc_published row = {.benchmark = json_string_value(json_object_get(o, "benchmark")),
                        .model = json_string_value(json_object_get(o, "model")),
                        .size = json_string_value(json_object_get(o, "parameters")),
                        .source = json_string_value(json_object_get(o, "source"))};
    if (!row.benchmark || !row.model || !row.source)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: row %zu: \"benchmark\", \"model\" and \"source\" (where the numbers stand) must be texts",
                       path, i);
    if (!oc_benchmark_find(row.benchmark))
        return oc_fail(err, OC_ERR_FORMAT, "%s: row %zu: \"benchmark\" is \"%s\"; there are " OC_BENCHMARK_NAMES, path,
                       i, row.benchmark);
    if (json_object_size(scores) == 0) return add_row(rows, n, row, err);
    json_object_foreach((json_t *)(uintptr_t)scores, score, v) {
        if (!json_is_number(v))
            return oc_fail(err, OC_ERR_FORMAT, "%s: row %zu: \"%s\" is not a number; leave out what is not known", path,
                           i, score);
        row.score = score;
        row.value = json_number_value(v);
        OC_TRY(add_row(rows, n, row, err));
    }
    return OC_OK;
}

oc_status oc_published_load(oc_published **rows, size_t *n, json_t **root, const char *path, oc_error *err) {
    const json_t *o;
    size_t i;
    *rows = NULL;
    *n = 0;
    OC_TRY(oc_json_load(root, path, 1 << 24, err));
    oc_status st = json_is_array(*root) ? OC_OK
                                        : oc_fail(err, OC_ERR_FORMAT,
                                                  "%s: a list of rows was expected: "
                                                  "[{\"benchmark\", \"model\", \"scores\", \"source\"}]",
                                                  path);
    if (st == OC_OK) json_array_foreach(*root, i, o) {
            st = read_row(rows, n, o, i, path, err);
            if (st != OC_OK) break;
        }
    if (st == OC_OK) return OC_OK;
    json_decref(*root);
    *root = NULL;
    oc_free(*rows);
    *rows = NULL;
    *n = 0;
    return st;
}
