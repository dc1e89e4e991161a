/* Where the encoded pictures of a data set lie: below a folder, or as members of tar shards. */
#ifndef OC_DATA_IMAGE_STORE_H
#define OC_DATA_IMAGE_STORE_H

#include "base/base.h"

typedef struct oc_image_store oc_image_store; /* immutable once open; shared by threads */

/* where: a folder; a .tar file; a glob ("train-*.tar"); a range ("name-{000000..000005}.tar"). */
oc_status oc_image_store_open(oc_image_store **out, const char *where, oc_error *err);
void oc_image_store_close(oc_image_store *s); /* NULL allowed */

/* flat: names lose their folders before they are looked up. */
void oc_image_store_set_flat(oc_image_store *s, bool flat);

/* As oc_dataset_image_bytes. Names that would leave the folder are refused. */
oc_status oc_image_store_get(const oc_image_store *s, const char *name, const uint8_t **data, size_t *size,
                             void **owned, oc_error *err);
bool oc_image_store_has(const oc_image_store *s, const char *name);

#endif
