/* SigLIP's loss and heads against their definition, written once more in double: values, and gradients by central
 * differences of the definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/rng.h"
#include "train/siglip.h"

enum { B = 5, C = 7, D = 6 };

static void random_floats(float *x, int n, double scale, oc_rng *rng) {
    for (int i = 0; i < n; i++) x[i] = (float)(scale * oc_rng_normal(rng));
}

/* ---- The definition ------------------------------------------------------------------------------------------------ */

static double define_loss(const double *z, const double *u, double s, double b) {
    double loss = 0;
    for (int i = 0; i < B; i++)
        for (int j = 0; j < B; j++) {
            double dot = 0;
            for (int d = 0; d < D; d++) dot += z[i * D + d] * u[j * D + d];
            double l = exp(s) * dot + b, y = i == j ? 1 : -1;
            loss -= log(1 / (1 + exp(-y * l)));
        }
    return loss / B;
}

static void define_head(double *z, const double *x, const double *w, const double *b) {
    for (int i = 0; i < B; i++) {
        double norm = 0;
        for (int d = 0; d < D; d++) {
            double y = b[d];
            for (int c = 0; c < C; c++) y += x[i * C + c] * w[d * C + c];
            z[i * D + d] = y;
            norm += y * y;
        }
        for (int d = 0; d < D; d++) z[i * D + d] /= sqrt(norm);
    }
}

/* Everything that the loss depends on, as one vector: x [B, C], w [D, C], b [D], t [B, C], v [D, C], e [D], s, b. */
enum { X = 0, W = X + B * C, BIAS = W + D * C, T = BIAS + D, V = T + B * C, E = V + D * C, S = E + D, OFFSET = S + 1, ALL = OFFSET + 1 };

static double define_all(const double p[ALL]) {
    double z[B * D], u[B * D];
    define_head(z, p + X, p + W, p + BIAS);
    define_head(u, p + T, p + V, p + E);
    return define_loss(z, u, p[S], p[OFFSET]);
}

/* ---- The code ------------------------------------------------------------------------------------------------------ */

static double run_all(float g[ALL], const float p[ALL], int *matches) {
    float z[B * D], u[B * D], dz[B * D], du[B * D], zn[B], un[B];
    oc_embed_head_fwd(z, zn, p + X, p + W, p + BIAS, B, C, D);
    oc_embed_head_fwd(u, un, p + T, p + V, p + E, B, C, D);
    double loss = oc_sigmoid_loss(dz, du, &g[S], &g[OFFSET], matches, z, u, p[S], p[OFFSET], B, D);
    oc_embed_head_bwd(g + X, g + W, g + BIAS, dz, z, zn, p + X, p + W, B, C, D);
    oc_embed_head_bwd(g + T, g + V, g + E, du, u, un, p + T, p + V, B, C, D);
    return loss;
}

static void setting(float p[ALL], uint64_t seed, float scale, float bias) {
    oc_rng rng = oc_rng_seed(seed);
    random_floats(p, S, 0.7, &rng);
    p[S] = scale;
    p[OFFSET] = bias;
}

static void loss_and_gradients(void **state) {
    OC_UNUSED(state);
    static const struct { float scale, bias; } at[] = {{2.302585f, -10}, {0.3f, 0}, {1, 1.5f}, {0, -0.5f}}; /* the first: training's start */
    for (size_t k = 0; k < OC_COUNT(at); k++) {
        float p[ALL], g[ALL] = {0};
        double q[ALL];
        int matches;
        setting(p, 3 + k, at[k].scale, at[k].bias);
        for (int i = 0; i < ALL; i++) q[i] = (double)p[i];
        double loss = run_all(g, p, &matches), want = define_all(q);
        if (!(fabs(loss - want) < 1e-5 * want)) fail_msg("case %zu: loss %.9g, by definition %.9g", k, loss, want);
        double largest = 0;
        for (int i = 0; i < ALL; i++) largest = fmax(largest, fabs((double)g[i]));
        for (int i = 0; i < ALL; i++) {
            const double h = 1e-5, at_i = q[i];
            q[i] = at_i + h;
            double up = define_all(q);
            q[i] = at_i - h;
            double slope = (up - define_all(q)) / (2 * h);
            q[i] = at_i;
            if (!(fabs(slope - (double)g[i]) < 2e-5 * largest + 1e-7)) fail_msg("case %zu: derivative %d is %.8g, by differences %.8g", k, i, (double)g[i], slope);
        }
    }
}

/* What is to be added to is added to; what is to be overwritten is overwritten. */
static void gradients_add_up(void **state) {
    OC_UNUSED(state);
    float p[ALL], once[ALL] = {0}, twice[ALL];
    int matches;
    setting(p, 5, 1, -1);
    run_all(once, p, &matches);
    memcpy(twice, once, sizeof once);
    run_all(twice, p, &matches);
    for (int i = 0; i < ALL; i++) {
        bool activation = i < W || (i >= T && i < V);
        float want = activation ? once[i] : 2 * once[i];
        assert_true(fabsf(twice[i] - want) <= 1e-6f * fabsf(want) + 1e-9f);
    }
}

/* A row counts when its own text is the nearest one. */
static void matches_are_counted(void **state) {
    OC_UNUSED(state);
    float z[B * D] = {0}, u[B * D] = {0}, dz[B * D], du[B * D], ds = 0, db = 0;
    int matches;
    for (int i = 0; i < B; i++) z[i * D + i] = u[i * D + i] = 1;
    double loss = oc_sigmoid_loss(dz, du, &ds, &db, &matches, z, u, logf(10), -5, B, D);
    assert_int_equal(matches, B);
    assert_true(loss < 0.1);
    u[0] = 0, u[1] = 1, u[D] = 1, u[D + 1] = 0; /* texts 0 and 1 change places */
    assert_true(oc_sigmoid_loss(dz, du, &ds, &db, &matches, z, u, logf(10), -5, B, D) > loss);
    assert_int_equal(matches, B - 2);
}

/* Logits of +-1000 and embeddings of length zero: finite everywhere. */
static void extremes(void **state) {
    OC_UNUSED(state);
    float p[ALL], g[ALL];
    int matches;
    for (int k = 0; k < 3; k++) {
        memset(g, 0, sizeof g);
        setting(p, 6, k == 0 ? 6.9f : 1, k == 1 ? -1000.0f : 0);
        if (k == 2) memset(p + X, 0, B * C * sizeof(float)), memset(p + BIAS, 0, D * sizeof(float));
        assert_true(isfinite(run_all(g, p, &matches)));
        for (int i = 0; i < ALL; i++) assert_true(k == 2 || isfinite(g[i]));
        assert_true(isfinite(g[S]) && isfinite(g[OFFSET]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(loss_and_gradients), cmocka_unit_test(gradients_add_up),
                                       cmocka_unit_test(matches_are_counted), cmocka_unit_test(extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
