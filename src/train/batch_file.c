#include "train/batch_file.h"

#include "base/file.h"
#include "data/safetensors.h"

oc_status oc_batch_write(const char *dir, const char *stage, int64_t step, int micro, const oc_batch *b,
                         oc_error *err) {
    const struct {
        const char *name;
        const int32_t *data;
        int n;
    } rows[] = {{"token", b->token, b->N},
                {"label", b->label, b->N},
                {"position", b->position, b->N},
                {"seq_start", b->seq_start, b->n_seq + 1},
                {"block_row", b->block_row, b->n_blocks},
                {"block_image", b->block_image, b->n_blocks}};
    oc_tensor_info t[OC_COUNT(rows) + 1];
    size_t n = 0;
    for (size_t i = 0; i < OC_COUNT(rows); i++)
        if (rows[i].n > 0)
            t[n++] = (oc_tensor_info){.name = rows[i].name,
                                      .dtype = OC_I32,
                                      .n_dims = 1,
                                      .shape = {rows[i].n},
                                      .data = rows[i].data,
                                      .bytes = (size_t)rows[i].n * sizeof(int32_t)};
    if (b->n_images > 0)
        t[n++] = (oc_tensor_info){.name = "pixels",
                                  .dtype = OC_F32,
                                  .n_dims = 4,
                                  .shape = {b->n_images, 3, b->image_size, b->image_size},
                                  .data = b->pixels,
                                  .bytes = (size_t)b->n_images * 3 * (size_t)b->image_size * (size_t)b->image_size *
                                           sizeof(float)};
    oc_strbuf path = {0};
    oc_strbuf_printf(&path, "%s/%s-%06lld-%d.safetensors", dir, stage, (long long)step, micro);
    oc_status st = path.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir) : oc_make_dirs(dir, err);
    if (st == OC_OK) st = oc_safetensors_save(path.data, t, n, NULL, 0, err);
    oc_strbuf_free(&path);
    return st;
}
