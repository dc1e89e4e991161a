/* What the readers of data set formats share. */
#ifndef OC_DATA_DATASET_INTERNAL_H
#define OC_DATA_DATASET_INTERNAL_H

#include "base/json.h"
#include "data/dataset.h"
#include "data/image_store.h"

typedef struct dataset_record {
    size_t first_image, first_turn, first_answer;
    int n_images, n_turns, n_answers;
    const char *id, *system, *question_type;
} dataset_record;

struct oc_dataset {
    oc_dataset_options opt;
    dataset_record *record;
    const char **image, **answer;
    oc_turn *turn;
    size_t n_records, n_images, n_turns, n_answers, record_capacity, image_capacity, turn_capacity, answer_capacity;
    struct string_block *strings;
    oc_image_store *store;
    size_t *grouped; /* sample indices, those of one picture together */
    oc_image_group *group;
    size_t n_groups;
};

/* A reader begins a record, then adds its pictures and turns. A record found wanting fails the whole file. */
const char *oc_dataset_store(oc_dataset *d, const char *s, size_t n); /* NULL when memory is out */
oc_status oc_dataset_begin(oc_dataset *d, const char *id, const char *system, const char *question_type, oc_error *err);
oc_status oc_dataset_add_image(oc_dataset *d, const char *name, oc_error *err);
oc_status oc_dataset_add_turn(oc_dataset *d, bool assistant, const char *text, size_t len, oc_error *err);
oc_status oc_dataset_add_answer(oc_dataset *d, const char *text, oc_error *err); /* of several that people gave */

/* One picture, one question, one answer: "<image>\n", the question and the suffix of the options, then the answer. */
oc_status oc_dataset_add_pair(oc_dataset *d, const char *id, const char *image, const char *question,
                              const char *answer, const char *type, oc_error *err);

/* Calls record for every element of the member `key` of a JSON file, which is mapped, not read: one element is in memory
 * at a time. *found = false without that member. A file that is itself an array or JSON lines is read as such. */
typedef oc_status (*oc_dataset_element)(oc_dataset *d, size_t index, int line, const json_t *o, void *ctx,
                                        oc_error *err);
oc_status oc_dataset_each(oc_dataset *d, const char *file, const char *key, bool *found, oc_dataset_element record,
                          void *ctx, oc_error *err);
oc_status oc_dataset_fail_item(oc_error *err, const char *file, const char *list, size_t i, const char *what);

/* The line on which the next record begins. */
int oc_dataset_record_line(const oc_json_reader *r);

oc_status oc_dataset_read_llava(oc_dataset *d, oc_error *err);
oc_status oc_dataset_read_coco(oc_dataset *d, oc_error *err);
oc_status oc_dataset_read_karpathy(oc_dataset *d, oc_error *err);
oc_status oc_dataset_read_caption_list(oc_dataset *d, oc_error *err);
oc_status oc_dataset_read_vqa(oc_dataset *d, oc_error *err);
oc_status oc_dataset_read_vqav2(oc_dataset *d, oc_error *err);
oc_status oc_dataset_read_pathvqa(oc_dataset *d, oc_error *err);

#endif
