/* TensorBoard event files, written by hand: records of length, checksum, data, checksum; the data is an Event message in
 * protocol buffer encoding (tensorflow/core/util/event.proto). TensorBoard merges all files of a folder, and a step that
 * comes again later replaces the earlier one, so a resumed run simply opens a new file. */
#ifndef OC_TRAIN_TENSORBOARD_H
#define OC_TRAIN_TENSORBOARD_H

#include "base/base.h"

typedef struct oc_tensorboard oc_tensorboard;

/* Makes the folder if need be and a new file in it. *out is closed by oc_tensorboard_close. */
oc_status oc_tensorboard_open(oc_tensorboard **out, const char *dir, oc_error *err);
void oc_tensorboard_close(oc_tensorboard *tb); /* NULL allowed */
const char *oc_tensorboard_path(const oc_tensorboard *tb);

/* One event with n values, on disk (as far as the system is concerned) when the call returns. Not thread safe. */
oc_status oc_tensorboard_scalars(oc_tensorboard *tb, int64_t step, const char *const *tags, const float *values, int n,
                                 oc_error *err);
/* An image as the bytes of a PNG file. */
oc_status oc_tensorboard_image(oc_tensorboard *tb, int64_t step, const char *tag, int width, int height,
                               const void *png, size_t png_size, oc_error *err);

/* CRC-32C (Castagnoli), and the form in which records hold it. */
uint32_t oc_crc32c(const void *data, size_t size);
uint32_t oc_crc32c_masked(const void *data, size_t size);

#endif
