/* VQA files. References: JSON lines or a JSON array of {"question_id", "answer" | "answers": [text |
 * {"answer": text}], "type"?}, or the official annotations, {"annotations": [...]}. Results: the same shapes
 * with one "answer" each. "question_id" may also be "id", the answer of a result also "prediction" or "text",
 * "type" also "answer_type". Where a file has no ids, its records are numbered from 0, so that two files
 * without ids match line by line. */
#ifndef OC_EVAL_VQA_IO_H
#define OC_EVAL_VQA_IO_H

#include "eval/caption_metrics_io.h" /* oc_match */
#include "eval/vqa.h"

typedef struct oc_vqa_set {
    oc_vqa_item *items; /* [n], in the order of the references; all strings belong to the set */
    size_t n;
    size_t unanswered; /* questions without a result */
    size_t ignored;    /* results that were left out (lenient) */
    void *owned;
} oc_vqa_set;

/* oc_match is read as for captions, questions in the place of images. */
oc_status oc_vqa_set_parse(oc_vqa_set *set, const char *references, size_t references_len,
                           const char *references_name, const char *results, size_t results_len,
                           const char *results_name, oc_match match, oc_error *err);
oc_status oc_vqa_set_load(oc_vqa_set *set, const char *references_path, const char *results_path,
                          oc_match match, oc_error *err);
void oc_vqa_set_free(oc_vqa_set *set);

#endif
