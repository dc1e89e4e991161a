/* Files to score: references and results, matched by their ids.
 *
 * Captions: references are COCO annotations, {"images": [{"id"}], "annotations": [{"image_id", "caption"}]}, and results the
 * COCO result list, [{"image_id", "caption"}].
 *
 * Answers: references are JSON lines or a JSON array of {"question_id", "answer" | "answers": [text | {"answer": text}],
 * "type"?}, or the official annotations, {"annotations": [...]}. Results: the same shapes with one "answer" each.
 * "question_id" may also be "id", the answer of a result also "prediction" or "text", "type" also "answer_type". Where a file
 * has no ids, its records are numbered from 0, so that two files without ids match line by line.
 *
 * Ids are integers or strings, and 17 is "17". Files are mapped and read record by record, so their size is not limited;
 * standard input ("-") is, to 1 GiB. */
#ifndef OC_EVAL_SCORE_IO_H
#define OC_EVAL_SCORE_IO_H

#include "eval/caption_metrics.h"
#include "eval/vqa.h"

/* What to do about images (questions) that only one of the two files has. A second result for an image, or a result without
 * a caption, is an error unless lenient. */
typedef enum {
    OC_MATCH_OFFICIAL, /* like pycocoevalcap: score the images that have a result; a result for an unknown image is an error */
    OC_MATCH_STRICT, /* every image must have a result and every result an image */
    OC_MATCH_LENIENT /* score what matches, count the rest; of two results for an image the first counts */
} oc_match;

/* Items in the order of "images" (of first annotations where there is no "images"), as pycocoevalcap takes them. */
typedef struct oc_caption_set {
    oc_caption_item *items; /* [n]; all strings belong to the set */
    size_t n, n_references;
    size_t unanswered; /* images without a result */
    size_t ignored;    /* results that were left out (lenient) */
    void *owned;
} oc_caption_set;

/* Items in the order of the references. */
typedef struct oc_vqa_set {
    oc_vqa_item *items;
    size_t n, n_references, unanswered, ignored;
    void *owned;
} oc_vqa_set;

/* The texts are only read during the call; the names stand in messages. */
oc_status oc_caption_set_parse(oc_caption_set *set, const char *references, size_t references_len,
                               const char *references_name, const char *results, size_t results_len,
                               const char *results_name, oc_match match, oc_error *err);
oc_status oc_caption_set_load(oc_caption_set *set, const char *references_path, const char *results_path,
                              oc_match match, oc_error *err);
void oc_caption_set_free(oc_caption_set *set);

oc_status oc_vqa_set_parse(oc_vqa_set *set, const char *references, size_t references_len, const char *references_name,
                           const char *results, size_t results_len, const char *results_name, oc_match match,
                           oc_error *err);
oc_status oc_vqa_set_load(oc_vqa_set *set, const char *references_path, const char *results_path, oc_match match,
                          oc_error *err);
void oc_vqa_set_free(oc_vqa_set *set);

#endif
