/* Recipes are files from anywhere: parsing any bytes must end with a recipe or an error, and free everything. */
#include <stddef.h>
#include <stdint.h>

#include "train/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const vars[] = {"data=/somewhere", "minutes=2"};
    oc_recipe r;
    oc_error err;
    if (oc_recipe_parse(&r, (const char *)data, size, "r.yaml", vars, 2, &err) == OC_OK) oc_recipe_close(&r);
    if (oc_recipe_parse(&r, (const char *)data, size, "r.yaml", NULL, 0, &err) == OC_OK) oc_recipe_close(&r);
    return 0;
}
