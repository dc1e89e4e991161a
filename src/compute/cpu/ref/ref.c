/* The reference table, group by group. */
#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

void oc_cpu_ref_fill(oc_ops *ops) {
    ops->name = "ref";
    oc_ref_fill_memory(ops);
    oc_ref_fill_linear(ops);
    oc_ref_fill_xent(ops);
    oc_ref_fill_attention(ops);
    oc_ref_fill_norm(ops);
    oc_ref_fill_rope(ops);
    oc_ref_fill_pointwise(ops);
    oc_ref_fill_rows(ops);
    oc_ref_fill_image(ops);
    oc_ref_fill_optimizer(ops);
}
