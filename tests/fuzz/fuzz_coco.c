/* Any bytes as a file of captions or of questions. */
#define _GNU_SOURCE
#include "fuzz/dataset_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_COCO, .lowercase = true});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_KARPATHY, .split = "train"});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_VQA, .prompt_suffix = " Go."});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_CAPTION_LIST});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_PATHVQA});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_VQAV2}); /* questions and answers in one file */
    return 0;
}
