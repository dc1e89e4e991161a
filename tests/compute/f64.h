/* The forward operations once more, in double and written from their equations alone, and the numerical
 * gradient of sum(dy * y) by central differences on them. The step is 1e-5 for inputs of size 1: what is cut
 * off is h^2 / 6 times the third derivative and what rounding leaves 2^-53 / h, both near 1e-10, far below
 * what the kernels are asked for. */
#ifndef OC_TESTS_COMPUTE_F64_H
#define OC_TESTS_COMPUTE_F64_H

#include <math.h>
#include <stddef.h>

#include "compute/compute.h"

enum { MAX_INPUTS = 4 };

/* y = f(in[0], in[1], ...), with the sizes that f needs. */
typedef struct problem problem;
struct problem {
    void (*forward)(double *y, const problem *p);
    double *in[MAX_INPUTS];
    size_t n[MAX_INPUTS], ny;
    int N, C, rows; /* rows: outputs of a linear layer, hidden size, positions, heads, ... */
    double eps;
    oc_act act;
    const int32_t *index; /* targets, ids, rows, positions */
    const oc_attention *a;
    int grid, block; /* merge */
};

static inline double f64_objective(const problem *p, double *y, const double *dy) {
    double sum = 0;
    p->forward(y, p);
    for (size_t i = 0; i < p->ny; i++) sum += y[i] * dy[i];
    return sum;
}

/* grad [n[which]] of sum(dy * y) with respect to in[which]; y [ny] is workspace. */
static inline void f64_gradient(double *grad, const problem *p, int which, double *y, const double *dy) {
    const double h = 1e-5;
    for (size_t i = 0; i < p->n[which]; i++) {
        double *v = &p->in[which][i], keep = *v;
        *v = keep + h;
        double above = f64_objective(p, y, dy);
        *v = keep - h;
        double below = f64_objective(p, y, dy);
        *v = keep;
        grad[i] = (above - below) / (2 * h);
    }
}

static inline double f64_act(double x, oc_act act) {
    if (act == OC_ACT_GELU_TANH) return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3))));
    if (act == OC_ACT_GELU_ERF) return 0.5 * x * (1 + erf(x / sqrt(2)));
    return x;
}

/* in: x [N, C], w [rows, C], b [rows], residual [N, rows] */
static inline void f64_linear(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++)
        for (int r = 0; r < p->rows; r++) {
            double sum = p->in[2][r];
            for (int k = 0; k < p->C; k++) sum += p->in[0][n * p->C + k] * p->in[1][r * p->C + k];
            y[n * p->rows + r] = p->in[3][n * p->rows + r] + f64_act(sum, p->act);
        }
}

/* in: x [N, C], w [rows, C]; index [N] targets; y [N] losses */
static inline void f64_xent(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++) {
        double sum = 0, target = 0;
        for (int v = 0; v < p->rows; v++) {
            double z = 0;
            for (int k = 0; k < p->C; k++) z += p->in[0][n * p->C + k] * p->in[1][v * p->C + k];
            sum += exp(z);
            if (v == p->index[n]) target = z;
        }
        y[n] = log(sum) - target;
    }
}

/* in: q [N, NH HS], k, v [N, NKV HS], contiguous; y [N, NH HS] */
static inline void f64_attention(double *y, const problem *p) {
    const oc_attention *a = p->a;
    int HS = a->HS;
    for (int i = 0; i < a->N; i++)
        for (int h = 0; h < a->NH; h++) {
            int g = h * a->NKV / a->NH;
            double *o = y + (i * a->NH + h) * HS, total = 0;
            for (int d = 0; d < HS; d++) o[d] = 0;
            for (int j = a->lo[i]; j < a->hi[i]; j++) {
                double s = 0;
                for (int d = 0; d < HS; d++)
                    s += p->in[0][(i * a->NH + h) * HS + d] * p->in[1][(j * a->NKV + g) * HS + d];
                double e = exp(s * (double)a->scale);
                total += e;
                for (int d = 0; d < HS; d++) o[d] += e * p->in[2][(j * a->NKV + g) * HS + d];
            }
            for (int d = 0; d < HS && total > 0; d++) o[d] /= total;
        }
}

/* in: x [N, C], w [C], b [C] */
static inline void f64_layernorm(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++) {
        const double *x = p->in[0] + n * p->C;
        double mean = 0, var = 0;
        for (int k = 0; k < p->C; k++) mean += x[k] / p->C;
        for (int k = 0; k < p->C; k++) var += pow(x[k] - mean, 2) / p->C;
        for (int k = 0; k < p->C; k++)
            y[n * p->C + k] = (x[k] - mean) / sqrt(var + p->eps) * p->in[1][k] + p->in[2][k];
    }
}

/* in: x [N, C], w [C] */
static inline void f64_rmsnorm(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++) {
        const double *x = p->in[0] + n * p->C;
        double square = 0;
        for (int k = 0; k < p->C; k++) square += x[k] * x[k] / p->C;
        for (int k = 0; k < p->C; k++) y[n * p->C + k] = x[k] / sqrt(square + p->eps) * p->in[1][k];
    }
}

/* in: x [N, rows heads of C]; index [N] positions; theta 10000 */
static inline void f64_rope(double *y, const problem *p) {
    int half = p->C / 2;
    for (int n = 0; n < p->N * p->rows; n++)
        for (int j = 0; j < half; j++) {
            double angle = p->index[n / p->rows] * pow(10000.0, -2.0 * j / p->C);
            double a = p->in[0][n * p->C + j], b = p->in[0][n * p->C + j + half];
            y[n * p->C + j] = a * cos(angle) - b * sin(angle);
            y[n * p->C + j + half] = a * sin(angle) + b * cos(angle);
        }
}

/* in: x [C] */
static inline void f64_pointwise(double *y, const problem *p) {
    for (int k = 0; k < p->C; k++) y[k] = f64_act(p->in[0][k], p->act);
}

/* in: gate and up [N, 2 C] */
static inline void f64_swiglu(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++)
        for (int k = 0; k < p->C; k++) {
            double gate = p->in[0][n * 2 * p->C + k], up = p->in[0][n * 2 * p->C + p->C + k];
            y[n * p->C + k] = gate / (1 + exp(-gate)) * up;
        }
}

/* in: table or x [rows, C]; y[n] = in[index[n]], zeros for a negative index */
static inline void f64_rows(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++)
        for (int k = 0; k < p->C; k++)
            y[n * p->C + k] = p->index[n] < 0 ? 0 : p->in[0][p->index[n] * p->C + k];
}

/* in: x [N, C], pos [rows, C] */
static inline void f64_position_add(double *y, const problem *p) {
    for (int n = 0; n < p->N; n++)
        for (int k = 0; k < p->C; k++)
            y[n * p->C + k] = p->in[0][n * p->C + k] + p->in[1][n % p->rows * p->C + k];
}

/* in: x [N images, grid^2, C]; channel k of patch (dy, dx) of a block lands at ((dy * block) + dx) * C + k */
static inline void f64_merge(double *y, const problem *p) {
    int G = p->grid, s = p->block, M = G / s;
    for (int image = 0; image < p->N; image++)
        for (int row = 0; row < M * s; row++)
            for (int col = 0; col < M * s; col++)
                for (int k = 0; k < p->C; k++) {
                    int out = (image * M + row / s) * M + col / s, inside = row % s * s + col % s;
                    y[(out * s * s + inside) * p->C + k] = p->in[0][((image * G + row) * G + col) * p->C + k];
                }
}

#endif
