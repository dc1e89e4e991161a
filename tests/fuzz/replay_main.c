/* Replays every file of the folders named on the command line through LLVMFuzzerTestOneInput, so that corpora are also
 * ordinary regression tests in builds without libFuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    int files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) return fprintf(stderr, "%s: no such folder\n", argv[i]), 1;
        for (struct dirent *e; (e = readdir(d));) {
            if (e->d_name[0] == '.') continue;
            char *path = oc_path_join(argv[i], e->d_name), *data;
            size_t size;
            oc_error err;
            if (oc_file_read(&data, &size, path, (size_t)1 << 26, &err) != OC_OK) return fprintf(stderr, "%s\n", err.msg), 1;
            LLVMFuzzerTestOneInput((const uint8_t *)data, size);
            files++;
            oc_free(data);
            oc_free(path);
        }
        closedir(d);
    }
    printf("%d inputs replayed\n", files);
    return files > 0 ? 0 : 1;
}
