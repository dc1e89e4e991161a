/* The attention intervals against the dense mask that defines them, on random batches: several sequences in a row, with
 * images at their beginning, in the middle, at the end, side by side, and none at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "model/spans.h"

enum { MAX_N = 400, MAX_SEQ = 12, IMAGE = 3 };

static void append_random_sequence(oc_batch *b, oc_rng *rng) {
    int32_t token[64], image[16];
    uint8_t none[64] = {0};
    int n = 0, images = 0;
    for (int pieces = oc_rng_range(rng, 1, 5); pieces > 0; pieces--)
        if (oc_rng_below(rng, 2)) {
            for (int i = 0; i < b->tokens_per_image; i++) token[n++] = IMAGE;
            image[images] = images, images++;
        } else
            for (int k = oc_rng_range(rng, 1, 5); k > 0; k--) token[n++] = 7;
    assert_true(oc_batch_append(b, token, none, n, IMAGE, image, images));
}

static void random_batch(oc_batch *b, oc_rng *rng) {
    oc_error err;
    int per_image = oc_rng_range(rng, 1, 9);
    if (oc_batch_open(b, MAX_N, MAX_SEQ, 128, 0, per_image, 1, &err) != OC_OK) fail_msg("%s", err.msg);
    for (int n = oc_rng_range(rng, 1, 6); n > 0; n--) append_random_sequence(b, rng);
}

static int sequence_of(const oc_batch *b, int row) {
    for (int k = 0; k < b->n_seq; k++)
        if (row >= b->seq_start[k] && row < b->seq_start[k + 1]) return k;
    fail_msg("row %d is in no sequence", row);
    return -1;
}

/* The visual block of a row, -1 for text. */
static int block_of(const oc_batch *b, int row) {
    for (int j = 0; j < b->n_blocks; j++)
        if (row >= b->block_row[j] && row < b->block_row[j] + b->tokens_per_image) return j;
    return -1;
}

/* The definition, in the words of the table: may row i look at row j? */
static bool sees(const oc_batch *b, oc_mask mask, int i, int j) {
    if (sequence_of(b, i) != sequence_of(b, j)) return false;
    int block = block_of(b, i);
    bool same_image = block >= 0 && block == block_of(b, j);
    if (mask == OC_MASK_ISOLATED && block >= 0) return same_image;
    if (mask == OC_MASK_PREFIX && same_image) return true;
    return j <= i;
}

static void intervals_are_the_dense_mask(void **state) {
    OC_UNUSED(state);
    oc_rng rng = oc_rng_seed(11);
    int blocks = 0, wide = 0;
    for (int trial = 0; trial < 60; trial++) {
        oc_batch b;
        random_batch(&b, &rng);
        blocks += b.n_blocks;
        for (int mask = 0; mask < OC_MASK_COUNT; mask++) {
            for (int i = 0; i < b.N; i++) b.lo[i] = b.hi[i] = -1;
            oc_spans_fill(&b, (oc_mask)mask);
            for (int i = 0; i < b.N; i++) {
                wide += b.hi[i] > i + 1;
                for (int j = 0; j < b.N; j++)
                    if ((j >= b.lo[i] && j < b.hi[i]) != sees(&b, (oc_mask)mask, i, j))
                        fail_msg("trial %d, %s: row %d sees [%d, %d), which is wrong about row %d", trial, oc_mask_names[mask], i, b.lo[i], b.hi[i], j);
            }
        }
        oc_batch_close(&b);
    }
    assert_true(blocks > 100 && wide > 1000); /* the trials were about something */
}

/* Filling again with another mask leaves nothing of the first. */
static void filled_twice(void **state) {
    OC_UNUSED(state);
    oc_rng rng = oc_rng_seed(12);
    oc_batch b;
    random_batch(&b, &rng);
    oc_spans_fill(&b, OC_MASK_ISOLATED);
    oc_spans_fill(&b, OC_MASK_CAUSAL);
    for (int i = 0; i < b.N; i++) {
        assert_int_equal(b.lo[i], b.seq_start[sequence_of(&b, i)]);
        assert_int_equal(b.hi[i], i + 1);
    }
    oc_batch_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(intervals_are_the_dense_mask), cmocka_unit_test(filled_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
