#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

void oc_bench_config(oc_config *c, oc_bench_preset preset) {
    oc_config_defaults(c); /* the paper's model */
    c->has_vision = c->has_text = true;
    if (preset == OC_BENCH_SMALL) {
        c->vision.hidden = 256, c->vision.mlp = 1024, c->vision.layers = 6, c->vision.heads = 4,
        c->vision.image_size = 112;
        c->text.hidden = 256, c->text.mlp = 1024, c->text.layers = 6, c->text.heads = 4, c->text.kv_heads = 2,
        c->text.vocab = 2048;
        c->text.max_positions = 4096;
    }
    c->projector = (oc_projector_config){.hidden = c->text.hidden, .merge = 1, .act = OC_ACT_GELU_ERF};
    c->image_token = c->text.vocab - 1;
    c->mask = OC_MASK_CAUSAL;
}

static void fill_piece(float *w, size_t first, size_t n, float std, uint64_t row) {
    const float scale = std * 3.4641f / 16777216.0f; /* sqrt(12) * std is the width of the interval */
    for (size_t i = 0; i < n; i++) {
        uint64_t z = (first + i + (row << 40)) * 0x9e3779b97f4a7c15u;
        z ^= z >> 32;
        z *= 0xd6e8feb86659fd93u;
        w[i] = std > 0 ? (float)((int32_t)(z >> 40) - (1 << 23)) * scale : std < 0 ? 1 : 0;
    }
}

/* Uniform values with the row's deviation from a hash of their index. */
static void fill_row(oc_params *p, int row) {
    enum { PIECE = 4096 };
    const size_t n = p->row[row].n;
#pragma omp parallel for
    for (size_t i = 0; i < n; i += PIECE) {
        float w[PIECE];
        const size_t k = OC_MIN((size_t)PIECE, n - i);
        fill_piece(w, i, k, p->row[row].init_std, (uint64_t)row);
        oc_params_write(p, row, i, w, k);
    }
}

void oc_bench_fill(oc_vlm *m) {
    const bool all[OC_PART_COUNT] = {true, true, true};
    for (int i = 0; i < m->params.count; i++) fill_row(&m->params, i);
    oc_vlm_weights_changed(m, all);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double oc_bench_median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

json_t *oc_bench_list(const double *x, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_real(x[i]));
    return list;
}

static double total_seconds(const oc_profile_row *row, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += row[i].seconds;
    return sum;
}

json_t *oc_bench_operations(const oc_compute *c, int repeats) {
    oc_profile_row row[OC_PROFILE_ROWS];
    int n = oc_profile_read(c, row);
    double sum = total_seconds(row, n);
    json_t *o = json_object();
    for (int i = 0; i < n; i++) {
        json_t *r = json_pack("{s:f, s:f, s:f}", "calls", (double)row[i].calls / repeats, "ms",
                              row[i].seconds * 1e3 / repeats, "share", row[i].seconds / sum);
        if (r && row[i].flops > 0) json_object_set_new(r, "gflops", json_real(row[i].flops / row[i].seconds / 1e9));
        json_object_set_new(o, row[i].name, r);
    }
    return o;
}

void oc_bench_print_operations(const oc_compute *c, int repeats) {
    oc_profile_row row[OC_PROFILE_ROWS];
    int n = oc_profile_read(c, row);
    double sum = total_seconds(row, n);
    printf("%-18s %8s %10s %7s %10s\n", "operation", "calls", "ms", "share", "GFLOP/s");
    for (int i = 0; i < n; i++) {
        printf("%-18s %8.0f %10.2f %6.1f%%", row[i].name, (double)row[i].calls / repeats,
               row[i].seconds * 1e3 / repeats, 100 * row[i].seconds / sum);
        if (row[i].flops > 0) printf(" %10.1f", row[i].flops / row[i].seconds / 1e9);
        puts("");
    }
}
