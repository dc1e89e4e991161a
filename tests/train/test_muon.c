/* Muon: the orthogonal factor keeps singular vectors and makes singular values about one, updates are those of the papers,
 * threads do not change results, and the optimizer gives it the matrices between hidden layers and nothing else. */
#include "model/small.h"

#include "train/optimizer.h"
#include "train/whiten.h"

static oc_error err;

static oc_compute *open_compute(int threads) {
    oc_compute *c;
    small_ok(oc_compute_open(&c, &(oc_compute_options){.threads = threads}, &err), &err);
    return c;
}

static float *random_matrix(int rows, int cols, uint64_t seed, double scale) {
    oc_rng rng = oc_rng_seed(seed);
    float *x = malloc((size_t)rows * (size_t)cols * sizeof *x);
    for (int i = 0; i < rows * cols; i++) x[i] = (float)(scale * oc_rng_normal(&rng));
    return x;
}

/* z [k, k] = x^T y over the long side, so k is the shorter. */
static double *gram(const float *x, const float *y, int rows, int cols) {
    int k = OC_MIN(rows, cols), n = OC_MAX(rows, cols);
    double *z = calloc((size_t)k * (size_t)k, sizeof *z);
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++)
            for (int l = 0; l < n; l++) {
                size_t a = (size_t)(rows > cols ? l * cols + i : i * cols + l), b = (size_t)(rows > cols ? l * cols + j : j * cols + l);
                z[i * k + j] += (double)x[a] * (double)y[b];
            }
    return z;
}

/* A Gaussian matrix whose singular values spread over two orders of magnitude. */
static float *stretched_matrix(int rows, int cols, uint64_t seed) {
    float *x = random_matrix(rows, cols, seed, 1e-3);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) x[i * cols + j] *= (float)pow(100, -(double)(rows > cols ? j : i) / OC_MIN(rows, cols));
    return x;
}

static void check_orthogonal(int rows, int cols, oc_dtype t, double low, double high) {
    oc_compute *c = open_compute(1);
    oc_muon s;
    int k = OC_MIN(rows, cols);
    float *x = stretched_matrix(rows, cols, 3), *y = malloc((size_t)rows * (size_t)cols * sizeof *y);
    double *vector = malloc((size_t)k * (size_t)k * sizeof *vector), *value = malloc((size_t)k * sizeof *value);
    small_ok(oc_muon_open(&s, (size_t)rows * (size_t)cols, k, t, &err), &err);
    oc_muon_orthogonalize(&s, c, y, x, rows, cols);
    double *yy = gram(y, y, rows, cols), *xy = gram(x, y, rows, cols);
    double asymmetry = 0, size = 0;
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) {
            double d = xy[i * k + j] - xy[j * k + i];
            asymmetry += d * d, size += xy[i * k + j] * xy[i * k + j];
        }
    if (!(sqrt(asymmetry / size) < (t == OC_F32 ? 1e-4 : 0.1))) fail_msg("%d x %d: singular vectors turn by %g", rows, cols, sqrt(asymmetry / size));
    small_ok(oc_eigen_symmetric(yy, k, vector, value, &err), &err);
    double biggest = sqrt(value[0]), smallest = sqrt(value[k - 1]);
    if (!(smallest > low && biggest < high)) fail_msg("%d x %d: singular values from %g to %g", rows, cols, smallest, biggest);
    oc_muon_orthogonalize(&s, c, x, x, rows, cols); /* in place */
    assert_memory_equal(x, y, (size_t)rows * (size_t)cols * sizeof *y);
    free(x), free(y), free(yy), free(xy), free(vector), free(value);
    oc_muon_close(&s);
    oc_compute_close(c);
}

static void singular_values_become_one(void **state) {
    OC_UNUSED(state);
    static const int size[][2] = {{24, 24}, {96, 32}, {32, 96}, {128, 17}, {5, 64}, {1, 8}, {8, 1}};
    for (size_t i = 0; i < OC_COUNT(size); i++) {
        check_orthogonal(size[i][0], size[i][1], OC_F32, 0.2, 1.3);
        check_orthogonal(size[i][0], size[i][1], OC_BF16, 0.2, 1.4);
    }
}

static void nothing_stays_nothing(void **state) {
    OC_UNUSED(state);
    oc_compute *c = open_compute(1);
    oc_muon s;
    float x[48] = {0};
    small_ok(oc_muon_open(&s, 48, 6, OC_F32, &err), &err);
    oc_muon_orthogonalize(&s, c, x, x, 6, 8);
    for (int i = 0; i < 48; i++) assert_true(x[i] == 0);
    oc_muon_close(&s);
    oc_compute_close(c);
}

static void threads_do_not_change_results(void **state) {
    OC_UNUSED(state);
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        oc_compute *c = open_compute(threads);
        oc_muon s;
        float *x = random_matrix(130, 70, 5, 1);
        small_ok(oc_muon_open(&s, 130 * 70, 70, OC_F32, &err), &err);
        oc_muon_orthogonalize(&s, c, x, x, 130, 70);
        if (first) assert_memory_equal(first, x, 130 * 70 * sizeof *x);
        if (first) free(x);
        else first = x;
        oc_muon_close(&s);
        oc_compute_close(c);
    }
    free(first);
}

static void an_update_is_that_of_the_papers(void **state) {
    OC_UNUSED(state);
    enum { ROWS = 12, COLS = 40, N = ROWS * COLS };
    oc_compute *c = open_compute(1);
    oc_muon s;
    const oc_muon_step o = {.lr = 0.01f, .momentum = 0.9f, .decay = 0.2f, .grad_scale = 0.5f};
    float *w = random_matrix(ROWS, COLS, 1, 0.1), m[N] = {0}, want_m[N] = {0}, direction[N];
    small_ok(oc_muon_open(&s, N, ROWS, OC_F32, &err), &err);
    for (int step = 0; step < 3; step++) {
        float *g = random_matrix(ROWS, COLS, 7 + (uint64_t)step, 1), before[N];
        memcpy(before, w, sizeof before);
        for (int i = 0; i < N; i++) {
            want_m[i] = 0.9f * want_m[i] + 0.1f * 0.5f * g[i];
            direction[i] = 0.9f * want_m[i] + 0.1f * 0.5f * g[i];
        }
        oc_muon_orthogonalize(&s, c, direction, direction, ROWS, COLS);
        oc_muon_update(&s, c, w, m, g, ROWS, COLS, &o);
        for (int i = 0; i < N; i++) {
            double want = (1 - 0.01 * 0.2) * (double)before[i] - 0.01 * 0.2 * sqrt(COLS) * (double)direction[i];
            if (!(fabs((double)w[i] - want) < 1e-5)) fail_msg("step %d, [%d]: %g, not %g", step, i, (double)w[i], want);
            assert_true(fabs((double)(m[i] - want_m[i])) < 1e-6);
        }
        free(g);
    }
    free(w);
    oc_muon_close(&s);
    oc_compute_close(c);
}

/* Side by side or one after the other, and with however many members: the same bits. */
static void a_team_changes_nothing(void **state) {
    OC_UNUSED(state);
    enum { MATRICES = 7 };
    static const int size[MATRICES][2] = {{24, 24}, {24, 24}, {96, 32}, {130, 70}, {5, 64}, {8, 1}, {70, 130}};
    float *w[MATRICES], *m[MATRICES], *g[MATRICES], *first[MATRICES] = {NULL};
    for (int threads = 1; threads <= 4; threads++) {
        oc_compute *c = open_compute(threads);
        oc_muon_team team;
        oc_muon_matrix matrix[MATRICES];
        for (int i = 0; i < MATRICES; i++) {
            const int rows = size[i][0], cols = size[i][1];
            w[i] = random_matrix(rows, cols, 1 + (uint64_t)i, 0.1), g[i] = random_matrix(rows, cols, 20 + (uint64_t)i, 1);
            m[i] = random_matrix(rows, cols, 40 + (uint64_t)i, 0.01);
            matrix[i] = (oc_muon_matrix){.w = w[i], .m = m[i], .g = g[i], .rows = rows, .cols = cols,
                                         .step = {.lr = 0.01f * (float)(i + 1), .momentum = 0.9f, .grad_scale = 0.5f}};
        }
        small_ok(oc_muon_team_open(&team, c, matrix, MATRICES, OC_F32, &err), &err);
        assert_int_equal(team.n, threads == 1 ? 0 : threads);
        for (int step = 0; step < 2; step++) oc_muon_team_update(&team, matrix, MATRICES);
        oc_muon_team_close(&team);
        oc_compute_close(c);
        for (int i = 0; i < MATRICES; i++) {
            if (first[i]) assert_memory_equal(first[i], w[i], (size_t)(size[i][0] * size[i][1]) * sizeof(float));
            if (first[i]) free(w[i]);
            else first[i] = w[i];
            free(m[i]), free(g[i]);
        }
    }
    for (int i = 0; i < MATRICES; i++) free(first[i]);
}

/* Every allocation may fail: an error then, nothing leaked, and nothing is left open. */
static void a_team_without_memory(void **state) {
    OC_UNUSED(state);
    oc_compute *c = open_compute(2);
    const oc_muon_matrix matrix[2] = {{.rows = 40, .cols = 24}, {.rows = 24, .cols = 24}};
    int failures = 0;
    for (long n = 0;; n++) {
        oc_muon_team team;
        oc_alloc_fail_after(n);
        oc_status st = oc_muon_team_open(&team, c, matrix, 2, OC_F32, &err);
        oc_alloc_fail_after(-1);
        if (st == OC_OK) {
            oc_muon_team_close(&team);
            break;
        }
        assert_int_equal(st, OC_ERR_NOMEM);
        assert_null(team.buffers);
        failures++;
    }
    assert_true(failures > 8);
    oc_compute_close(c);
}

/* ---- In the optimizer ---------------------------------------------------------------------------------------------- */

static const double LR[OC_PART_COUNT] = {1e-3, 2e-3, 3e-3};

static bool between_hidden_layers(const oc_param *r) {
    return r->n_dims >= 2 && !strstr(r->name, "embed_tokens") && !strstr(r->name, "position_embedding") && !strstr(r->name, "lm_head");
}

static void matrices_are_muon_s_and_the_rest_is_adamw_s(void **state) {
    OC_UNUSED(state);
    oc_config cfg = small_config();
    cfg.text.tied = false;
    oc_compute *c = open_compute(1);
    oc_vlm m[2]; /* the second under AdamW alone */
    oc_optimizer o[2];
    for (int k = 0; k < 2; k++) {
        small_model(&m[k], c, &cfg, OC_F32, 2);
        small_ok(oc_vlm_set_trainable(&m[k], SMALL_ALL, &err), &err);
        o[k] = (oc_optimizer){.compute = c, .opt = {.rule = k ? OC_RULE_ADAMW : OC_RULE_MUON, .momentum = 0.95, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1}};
        small_ok(oc_optimizer_add_model(&o[k], &m[k], LR, NULL, false, &err), &err);
        oc_rng rng = oc_rng_seed(8);
        for (int p = 0; p < OC_PART_COUNT; p++)
            for (size_t j = 0; j < m[k].params.n[p]; j++) m[k].params.g[p][j] = (float)oc_rng_normal(&rng);
        assert_true(oc_optimizer_step(&o[k], 1, 1, 1));
    }
    size_t covered = 0;
    for (int i = 0; i < o[0].n_ranges; i++) {
        const oc_range *r = &o[0].range[i];
        covered += r->n;
        if (r->rows) assert_int_equal((size_t)r->rows * (size_t)r->cols, r->n);
    }
    for (int i = 0; i < m[0].params.count; i++) {
        const oc_param *row = &m[0].params.row[i];
        const float *a = oc_params_weight(&m[0].params, i), *b = oc_params_weight(&m[1].params, i);
        if (row->unused) continue;
        covered -= row->n;
        if (!between_hidden_layers(row)) {
            assert_memory_equal(a, b, row->n * sizeof *a);
            continue;
        }
        bool found = false;
        for (int k = 0; k < o[0].n_ranges; k++) found |= o[0].range[k].w == a && o[0].range[k].n == row->n && o[0].range[k].rows == row->shape[0];
        if (!found) fail_msg("%s is no range of its own", row->name);
        if (!memcmp(a, b, row->n * sizeof *a)) fail_msg("%s is updated by AdamW", row->name);
    }
    assert_int_equal(covered, 0);
    for (int k = 0; k < 2; k++) oc_optimizer_close(&o[k]), oc_vlm_close(&m[k]);
    oc_compute_close(c);
}

static void bf16_state_is_refused(void **state) {
    OC_UNUSED(state);
    oc_config cfg = small_config();
    oc_compute *c = open_compute(1);
    for (int moments = 0; moments < 2; moments++) {
        oc_vlm m;
        oc_optimizer o = {.compute = c, .opt = {.rule = OC_RULE_MUON, .momentum = 0.95}};
        small_model(&m, c, &cfg, OC_F32, 2);
        oc_params_narrow(&m.params, !moments, moments);
        small_ok(oc_vlm_set_trainable(&m, SMALL_ALL, &err), &err);
        assert_int_equal(oc_optimizer_add_model(&o, &m, LR, NULL, false, &err), OC_ERR_ARG);
        assert_non_null(strstr(err.msg, "muon needs float32 state"));
        oc_optimizer_close(&o);
        oc_vlm_close(&m);
    }
    oc_compute_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(singular_values_become_one), cmocka_unit_test(nothing_stays_nothing),
                                       cmocka_unit_test(threads_do_not_change_results), cmocka_unit_test(an_update_is_that_of_the_papers),
                                       cmocka_unit_test(a_team_changes_nothing), cmocka_unit_test(a_team_without_memory),
                                       cmocka_unit_test(matrices_are_muon_s_and_the_rest_is_adamw_s), cmocka_unit_test(bf16_state_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
