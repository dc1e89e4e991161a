/* safetensors: the file format of Hugging Face checkpoints (https://github.com/huggingface/safetensors).
 *
 *   u64 LE header length | JSON header, padded with spaces | tensor data
 *   header: {"__metadata__": {key: string}, name: {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
 *
 * Reading maps the file, so opening costs the header only, and pages are read when they are touched. Everything that
 * the header claims is checked before the first tensor is given out. Data is little-endian, as is every host that we
 * build for. */
#ifndef OC_DATA_SAFETENSORS_H
#define OC_DATA_SAFETENSORS_H

#include "base/base.h"

enum { OC_TENSOR_MAX_DIMS = 8 };

typedef struct oc_tensor_info {
    const char *name;
    oc_dtype dtype;
    int n_dims; /* 0: a scalar, one element */
    int64_t shape[OC_TENSOR_MAX_DIMS];
    const void *data;  /* into the map; aligned to the element size only if the writer cared (most do) */
    size_t bytes;      /* product of shape * element size */
    const char *file;  /* for messages */
} oc_tensor_info;

static inline size_t oc_tensor_elements(const oc_tensor_info *t) { return t->bytes / oc_dtype_size(t->dtype); }

/* "BF16 [896, 4864]", for messages; cut off at size. Returns text. */
char *oc_tensor_describe(char *text, size_t size, const oc_tensor_info *t);

/* Converts all elements to float: F32, F64 (rounded to nearest), BF16, F16. Other types fail. out [elements]. */
oc_status oc_tensor_to_f32(const oc_tensor_info *t, float *out, oc_error *err);

/* ---- Reading ------------------------------------------------------------------------------------------------------ */

typedef struct oc_safetensors oc_safetensors; /* one file, or all shards of a folder; immutable once open */

/* path: a .safetensors file, or a folder that holds model.safetensors or else model.safetensors.index.json with its
 * shards. On success *out is owned by the caller; names and data stay valid until oc_safetensors_close. */
oc_status oc_safetensors_open(oc_safetensors **out, const char *path, oc_error *err);
/* The same for one file in memory, which must outlive *out; `name` stands in messages. */
oc_status oc_safetensors_open_memory(oc_safetensors **out, const void *data, size_t size, const char *name,
                                     oc_error *err);
void oc_safetensors_close(oc_safetensors *st); /* NULL allowed */

size_t oc_safetensors_count(const oc_safetensors *st);
/* i-th tensor in file order (by data offset, shard after shard). */
const oc_tensor_info *oc_safetensors_at(const oc_safetensors *st, size_t i);
/* NULL when there is no such tensor. */
const oc_tensor_info *oc_safetensors_find(const oc_safetensors *st, const char *name);
/* The data of t, a tensor of st, has been used: its pages leave memory (they are read again should they be touched). So a
 * checkpoint that is copied tensor by tensor is never in memory twice. */
void oc_safetensors_release(const oc_safetensors *st, const oc_tensor_info *t);
/* Value of a __metadata__ key (of the first shard that has it), or NULL. */
const char *oc_safetensors_metadata(const oc_safetensors *st, const char *key);

/* ---- Writing ------------------------------------------------------------------------------------------------------ */

typedef struct oc_metadata {
    const char *key, *value;
} oc_metadata;

typedef struct oc_safetensors_writer oc_safetensors_writer;

/* All tensors are declared first (name, dtype, n_dims, shape; the other fields are ignored), then their bytes follow in
 * that order in pieces of any size, so no copy of the data is held. Everything goes to a temporary file beside path,
 * which takes its place only in oc_safetensors_writer_finish: readers see the old or the new file. "format": "pt" is
 * put into the metadata unless meta has it. Declarations are copied. */
oc_status oc_safetensors_writer_open(oc_safetensors_writer **out, const char *path, const oc_tensor_info *tensors,
                                     size_t n, const oc_metadata *meta, size_t n_meta, oc_error *err);
oc_status oc_safetensors_write(oc_safetensors_writer *w, const void *data, size_t bytes, oc_error *err);
/* Checks that all bytes came, flushes to disk, renames; frees w, also on failure. */
oc_status oc_safetensors_writer_finish(oc_safetensors_writer *w, oc_error *err);
/* Gives up: removes the temporary file and frees w (NULL allowed). */
void oc_safetensors_writer_abort(oc_safetensors_writer *w);

/* All of the above for tensors whose data is in memory. */
oc_status oc_safetensors_save(const char *path, const oc_tensor_info *tensors, size_t n, const oc_metadata *meta,
                              size_t n_meta, oc_error *err);

#endif
