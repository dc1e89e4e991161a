/* The reference table, group by group. */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

void oc_cpu_ref_fill(oc_ops *ops) {
    memset(ops, 0, sizeof *ops);
    ops->name = "ref";
}
