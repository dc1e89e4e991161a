/* What backends share beside the table. Private to src/compute and its tests. */
#ifndef OC_COMPUTE_BACKEND_H
#define OC_COMPUTE_BACKEND_H

#include "compute/compute.h"

/* Memory for `bytes` could not be had: leaves the kernel for the oc_compute_try that is running, or aborts without
 * one. Outside of parallel regions; the kernel owns nothing that would be lost. */
_Noreturn void oc_compute_give_up(oc_compute *c, size_t bytes);

/* The same for what else can go wrong behind an operation, such as an error of a device: "backend: what: why" is the message. */
_Noreturn void oc_compute_fail(oc_compute *c, const char *what, const char *why);

#endif
