#include "data/batch.h"

#include <string.h>

oc_status oc_batch_open(oc_batch *b, int max_tokens, int max_seq, int max_blocks, int max_images, int tokens_per_image,
                        int image_size, oc_error *err) {
    memset(b, 0, sizeof *b);
    OC_ASSERT(max_tokens > 0 && max_seq > 0 && max_blocks >= 0 && max_images >= 0);
    size_t n = (size_t)max_tokens, pixels;
    size_t side = (size_t)image_size;
    if (!oc_mul_size((size_t)max_images, 3 * side * side * sizeof(float), &pixels))
        return oc_fail(err, OC_ERR_NOMEM, "a batch of %d images of %d pixels does not fit into memory", max_images,
                       image_size);
    oc_status st = OC_OK;
    int32_t **rows[] = {&b->token, &b->label, &b->position, &b->lo, &b->hi};
    for (size_t i = 0; i < OC_COUNT(rows); i++) OC_GO(oc_alloc_for(rows[i], n * sizeof(int32_t), "a batch", err));
    OC_GO(oc_alloc_for(&b->seq_start, ((size_t)max_seq + 1) * sizeof(int32_t), "a batch", err));
    OC_GO(oc_alloc_for(&b->block_row, (size_t)max_blocks * sizeof(int32_t), "a batch", err));
    OC_GO(oc_alloc_for(&b->block_image, (size_t)max_blocks * sizeof(int32_t), "a batch", err));
    OC_GO(oc_alloc_for(&b->pixels, pixels, "the pixels of a batch", err));
    b->max_tokens = max_tokens;
    b->max_seq = max_seq;
    b->max_blocks = max_blocks;
    b->max_images = max_images;
    b->tokens_per_image = tokens_per_image;
    b->image_size = image_size;
    oc_batch_clear(b);
    return OC_OK;
done:
    oc_batch_close(b);
    return st;
}

void oc_batch_close(oc_batch *b) {
    void *all[] = {b->token,     b->label,     b->position,    b->lo,    b->hi,
                   b->seq_start, b->block_row, b->block_image, b->pixels};
    for (size_t i = 0; i < OC_COUNT(all); i++) oc_free(all[i]);
    memset(b, 0, sizeof *b);
}

void oc_batch_clear(oc_batch *b) {
    b->N = b->n_seq = b->n_blocks = b->n_images = b->n_labels = 0;
    b->seq_start[0] = 0;
}

bool oc_batch_append(oc_batch *b, const int32_t *token, const uint8_t *is_answer, int n, int32_t image_token,
                     const int32_t *image, int n_images) {
    if (n > b->max_tokens - b->N || b->n_seq == b->max_seq || n_images > b->max_blocks - b->n_blocks) return false;
    int at = b->N, block = 0;
    for (int i = 0; i < n; i++) {
        b->token[at + i] = token[i];
        b->position[at + i] = i;
        bool labelled = i + 1 < n && is_answer[i + 1];
        b->label[at + i] = labelled ? token[i + 1] : -1;
        b->n_labels += labelled;
    }
    for (int i = 0; i < n; i++) {
        if (token[i] != image_token || block == n_images) continue;
        b->block_row[b->n_blocks] = at + i;
        b->block_image[b->n_blocks++] = image[block++];
        i += b->tokens_per_image - 1;
    }
    OC_ASSERT(block == n_images);
    b->N += n;
    b->seq_start[++b->n_seq] = b->N;
    return true;
}
