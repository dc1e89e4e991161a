/* The fuzzer's bytes as a file in memory, and what must hold of every data set that opens. */
#ifndef OC_TESTS_FUZZ_DATASET_INPUT_H
#define OC_TESTS_FUZZ_DATASET_INPUT_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"

static inline int count_of(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)); text += strlen(word)) n++;
    return n;
}

static inline void check_sample(const oc_dataset *d, size_t i) {
    oc_sample s;
    int placeholders = 0;
    oc_dataset_sample(d, i, &s);
    OC_ASSERT(s.id && s.n_turns >= 2 && s.n_turns % 2 == 0);
    for (int k = 0; k < s.n_turns; k++) {
        OC_ASSERT(s.turn[k].assistant == (k % 2 == 1));
        if (!s.turn[k].assistant) placeholders += count_of(s.turn[k].text, OC_IMAGE_PLACEHOLDER);
    }
    OC_ASSERT(s.n_images == 0 || s.n_images == placeholders);
    for (int k = 0; k < s.n_images; k++) OC_ASSERT(oc_path_is_contained(s.image[k]));
}

static inline void open_and_check(const uint8_t *data, size_t size, oc_dataset_options opt) {
    int fd = memfd_create("fuzz", 0);
    char path[64];
    OC_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    opt.json = path;
    if (opt.kind == OC_DATASET_VQAV2) opt.annotations = path;
    opt.images = "/"; /* nothing is read from it */
    oc_dataset *d;
    oc_error err;
    if (oc_dataset_open(&d, &opt, &err) == OC_OK) {
        size_t grouped = 0;
        OC_ASSERT(oc_dataset_count(d) > 0);
        for (size_t i = 0; i < oc_dataset_count(d); i++) check_sample(d, i);
        for (size_t g = 0; g < oc_dataset_group_count(d); g++) {
            oc_image_group group;
            oc_dataset_group(d, g, &group);
            grouped += (size_t)group.n;
        }
        OC_ASSERT(grouped <= oc_dataset_count(d));
        oc_dataset_close(d);
    } else {
        OC_ASSERT(!d && err.msg[0]);
    }
    close(fd);
}

#endif
