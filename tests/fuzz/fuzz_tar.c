/* Any bytes as a tar archive: members lie inside the input, in order, and the index finds each. */
#include <string.h>

#include "data/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    oc_tar *tar;
    oc_error err;
    if (oc_tar_open_memory(&tar, data, size, "fuzz", &err) != OC_OK) return 0;
    oc_tar_member m;
    uint64_t end = 0;
    size_t n = 0;
    bool good;
    while ((good = oc_tar_next(tar, &m, &err) == OC_OK) && m.name) {
        OC_ASSERT(m.offset >= end && m.offset + m.size <= size && m.data == data + m.offset && m.name[0]);
        end = m.offset + m.size;
        n++;
    }
    oc_tar_index index;
    if (oc_tar_index_open(&index, tar, &err) == OC_OK) {
        OC_ASSERT(good && index.n == n);
        for (size_t i = 0; i < n; i++) {
            const oc_tar_entry *e = oc_tar_find(&index, index.entry[i].name);
            OC_ASSERT(e >= &index.entry[i] && !strcmp(e->name, index.entry[i].name)); /* itself, or a later one of the name */
        }
        oc_tar_index_close(&index);
    } else {
        OC_ASSERT(!good);
    }
    oc_tar_close(tar);
    return 0;
}
