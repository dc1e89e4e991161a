#include "model/projector.h"

#include <string.h>

oc_status oc_projector_open(oc_projector *p, oc_compute *c, const oc_config *cfg, const oc_params *params, oc_dtype t,
                            oc_error *err) {
    memset(p, 0, sizeof *p);
    p->cfg = cfg;
    p->t = t;
    OC_TRY(oc_linear_open(&p->linear1, c, params, "multi_modal_projector.linear_1.weight",
                          "multi_modal_projector.linear_1.bias", 1, t, err));
    return oc_linear_open(&p->linear2, c, params, "multi_modal_projector.linear_2.weight",
                          "multi_modal_projector.linear_2.bias", 1, t, err);
}

void oc_projector_close(oc_projector *p, oc_compute *c) {
    oc_linear_close(&p->linear1, c);
    oc_linear_close(&p->linear2, c);
    memset(p, 0, sizeof *p);
}

void oc_projector_changed(oc_projector *p, oc_compute *c) {
    oc_linear_changed(&p->linear1, c);
    oc_linear_changed(&p->linear2, c);
}

void oc_projector_layout(oc_projector *p, oc_arena *a, int images, oc_pass pass, bool want_dx) {
    const oc_config *cfg = p->cfg;
    int s = cfg->projector.merge;
    size_t Cin = (size_t)p->linear1.cols, H = (size_t)cfg->projector.hidden, C = (size_t)cfg->text.hidden;
    p->images = images;
    p->rows = images * oc_config_tokens_per_image(cfg);
    p->pass = pass;
    size_t R = (size_t)p->rows;
    p->merged = s > 1 ? oc_push(a, p->t, R, Cin) : NULL;
    p->h_pre = pass == OC_PASS_FORWARD ? NULL : oc_push(a, p->t, R, H);
    p->h = oc_push(a, p->t, R, H);
    p->y = oc_push(a, p->t, R, C);
    p->d_h = p->d_merged = p->d_x = NULL;
    if (pass == OC_PASS_FORWARD) return;
    p->d_h = oc_push(a, p->t, R, H);
    if (!want_dx) return;
    p->d_x = oc_push(a, p->t, (size_t)images * (size_t)oc_vision_patches(&cfg->vision), (size_t)cfg->vision.hidden);
    p->d_merged = s > 1 ? oc_push(a, p->t, R, Cin) : p->d_x;
}

void *oc_projector_fwd(oc_projector *p, oc_compute *c, const void *x) {
    const oc_config *cfg = p->cfg;
    if (p->merged) {
        c->ops.merge_fwd(c, p->merged, x, p->images, oc_vision_grid(&cfg->vision), cfg->projector.merge,
                         cfg->vision.hidden, p->t);
        x = p->merged;
    }
    oc_linear_fwd(c, &p->linear1, p->h, x, p->rows, cfg->projector.act, p->h_pre, NULL);
    oc_linear_fwd(c, &p->linear2, p->y, p->h, p->rows, OC_ACT_NONE, NULL, NULL);
    return p->y;
}

void *oc_projector_bwd(oc_projector *p, oc_compute *c, const void *dy, const void *x) {
    const oc_config *cfg = p->cfg;
    oc_linear_bwd(c, &p->linear2, p->d_h, dy, p->h, p->rows, p->t);
    c->ops.act_bwd(c, p->d_h, p->d_h, p->h_pre, (size_t)p->rows * (size_t)cfg->projector.hidden, cfg->projector.act,
                   p->t);
    oc_linear_bwd(c, &p->linear1, p->d_merged, p->d_h, p->merged ? p->merged : x, p->rows, p->t);
    if (p->d_x && p->merged)
        c->ops.merge_bwd(c, p->d_x, p->d_merged, p->images, oc_vision_grid(&cfg->vision), cfg->projector.merge,
                         cfg->vision.hidden, p->t);
    return p->d_x;
}
