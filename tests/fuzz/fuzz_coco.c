/* Any bytes as a COCO, Karpathy or VQA file. */
#define _GNU_SOURCE
#include "fuzz/dataset_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_COCO, .lowercase = true});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_KARPATHY, .split = "train"});
    open_and_check(data, size, (oc_dataset_options){.kind = OC_DATASET_VQA, .prompt_suffix = " Go."});
    return 0;
}
