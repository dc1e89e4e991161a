#include "model/linear.h"

#include <string.h>

static const void *column_of(const void *x, oc_dtype t, size_t col) { return (const char *)x + col * oc_dtype_size(t); }

oc_status oc_linear_open(oc_linear *l, oc_compute *c, const oc_params *p, const char *weight_name,
                         const char *bias_name, int n_fused, oc_dtype t, oc_error *err) {
    *l = (oc_linear){.params = p, .bias = -1};
    l->weight = oc_params_find(p, weight_name);
    OC_ASSERT(l->weight >= 0);
    const oc_param *first = &p->row[l->weight];
    l->cols = (int)(first->n / (size_t)first->shape[0]);
    for (int i = 0; i < n_fused; i++) {
        const oc_param *r = first + i;
        OC_ASSERT((int)(r->n / (size_t)r->shape[0]) == l->cols);
        OC_ASSERT(r->offset == first->offset + (size_t)l->rows * (size_t)l->cols);
        OC_ASSERT(r->weight.offset == first->weight.offset + (size_t)l->rows * (size_t)l->cols);
        l->rows += r->shape[0];
    }
    if (bias_name) l->bias = oc_params_find(p, bias_name);
    OC_ASSERT(!bias_name || l->bias >= 0);
    oc_matrix_desc d = oc_params_matrix(p, l->weight, t);
    d.rows = l->rows;
    l->matrix = c->ops.matrix_create(c, &d);
    return l->matrix ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for %s", weight_name);
}

void oc_linear_close(oc_linear *l, oc_compute *c) {
    if (l->matrix) c->ops.matrix_free(c, l->matrix);
    l->matrix = NULL;
}

void oc_linear_changed(oc_linear *l, oc_compute *c) { c->ops.matrix_changed(c, l->matrix); }

void oc_linear_fwd(oc_compute *c, const oc_linear *l, void *y, const void *x, int N, oc_act act, void *pre,
                   const void *residual) {
    oc_epilogue e = {.bias = l->bias >= 0 ? oc_params_weight(l->params, l->bias) : NULL,
                     .act = act,
                     .pre_act = pre,
                     .residual = residual};
    c->ops.linear_fwd(c, y, l->rows, x, l->cols, l->matrix, N, &e);
}

/* The weights' gradient into bf16: as many rows of it at a time as there is float32 memory for. */
static void narrow_bwd_w(oc_compute *c, const oc_linear *l, float *db, const void *dy, const void *x, int N,
                         oc_dtype t) {
    uint16_t *g = oc_params_grad16(l->params, l->weight);
    float *dw = l->params->dw;
    const int most = OC_MAX(1, OC_PARAMS_DW / l->cols);
    OC_ASSERT(l->cols <= OC_PARAMS_DW);
    for (int row = 0; row < l->rows; row += most) {
        int rows = OC_MIN(most, l->rows - row);
        size_t n = (size_t)rows * (size_t)l->cols, at = (size_t)row * (size_t)l->cols;
        c->ops.zero(c, dw, n * sizeof *dw);
        c->ops.linear_bwd_w(c, dw, db ? db + row : NULL, column_of(dy, t, (size_t)row), l->rows, x, l->cols, t, N, rows,
                            l->cols);
        c->ops.add_narrow(c, g + at, dw, n);
    }
}

void oc_linear_bwd(oc_compute *c, const oc_linear *l, void *dx, const void *dy, const void *x, int N, oc_dtype t) {
    float *dw = oc_params_grad(l->params, l->weight);
    float *db = l->bias >= 0 ? oc_params_grad(l->params, l->bias) : NULL;
    if (dw)
        c->ops.linear_bwd_w(c, dw, db, dy, l->rows, x, l->cols, t, N, l->rows, l->cols);
    else if (oc_params_grad16(l->params, l->weight))
        narrow_bwd_w(c, l, db, dy, x, N, t);
    if (dx) c->ops.linear_bwd_x(c, dx, l->cols, dy, l->rows, l->matrix, N, false);
}
