/* Sweep files are files from anywhere: any bytes must end with a sweep or an error; its commands split and its places
 * expand. */
#include <stddef.h>
#include <stdint.h>

#include "train/sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const oc_sweep *s) {
    static const oc_sweep_place place[] = {{"seed", "1"}, {"full", "/out/prepared/full"}, {"here", "."}};
    for (int i = 0; i < s->prepare.n; i++) {
        char **word, *text;
        int n;
        if (oc_sweep_words(&word, &n, oc_sweep_prepare_at(s, i)->command, NULL) == OC_OK) {
            for (int k = 0; k < n; k++)
                if (oc_sweep_expand(&text, word[k], k % 2, place, (int)OC_COUNT(place), NULL) == OC_OK) oc_free(text);
            oc_free(word);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const vars[] = {"seeds=2", "data=/somewhere"};
    oc_sweep s;
    oc_error err;
    for (int n = 0; n <= 2; n += 2)
        if (oc_sweep_parse(&s, (const char *)data, size, "s.yaml", vars, n, &err) == OC_OK) {
            use(&s);
            oc_sweep_close(&s);
        }
    return 0;
}
