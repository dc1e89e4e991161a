/* Any bytes as LLaVA conversations, with all options off and on. */
#define _GNU_SOURCE
#include "fuzz/dataset_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_and_check(data, size, (oc_dataset_options){0});
    open_and_check(data, size, (oc_dataset_options){.fix_placeholders = true, .lowercase = true, .prompt_suffix = " Go.", .sampling = "random:50%", .seed = 1});
    return 0;
}
