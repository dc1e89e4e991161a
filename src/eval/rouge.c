#include "eval/rouge.h"

#include <string.h>

/* Length of the longest common subsequence of a[n] and b[m]; row[m + 1] is scratch. */
static uint32_t lcs(const uint32_t *a, size_t n, const uint32_t *b, size_t m, uint32_t *row) {
    memset(row, 0, (m + 1) * sizeof *row);
    for (size_t i = 0; i < n; i++) {
        uint32_t diagonal = 0; /* row[j] before a[i] was considered */
        for (size_t j = 0; j < m; j++) {
            uint32_t up = row[j + 1];
            row[j + 1] = a[i] == b[j] ? diagonal + 1 : OC_MAX(up, row[j]);
            diagonal = up;
        }
    }
    return row[m];
}

double oc_rouge_l(const oc_sentence *cand, const oc_sentence *refs, size_t n_refs, uint32_t *row) {
    const double beta2 = 1.2 * 1.2;
    double precision = 0, recall = 0;
    for (size_t r = 0; r < n_refs; r++) {
        double common = lcs(refs[r].piece, refs[r].n_pieces, cand->piece, cand->n_pieces, row);
        precision = OC_MAX(precision, common / (double)cand->n_pieces);
        recall = OC_MAX(recall, common / (double)refs[r].n_pieces);
    }
    if (precision == 0 || recall == 0) return 0;
    return (1 + beta2) * precision * recall / (recall + beta2 * precision);
}
