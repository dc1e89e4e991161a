/* Where the time goes: the operation table of an oc_compute wrapped so that every call is timed and its arithmetic counted.
 *
 *     OC_TRY(oc_profile_start(c, err));
 *     ... work ...
 *     oc_profile_row row[OC_PROFILE_ROWS];
 *     int n = oc_profile_read(c, row);   // the costliest first
 *     oc_profile_stop(c);
 *
 * A call that an operation makes to another counts for the outer one. Packing a matrix counts for the product that needed
 * it. The wrapper takes less than 100 ns a call. */
#ifndef OC_COMPUTE_PROFILE_H
#define OC_COMPUTE_PROFILE_H

#include "base/trace.h"
#include "compute/compute.h"

enum { OC_PROFILE_ROWS = 48 };
#define OC_PROFILE_CATEGORY "operation" /* of the events in a trace */

typedef struct oc_profile_row {
    const char *name; /* of the operation, as in oc_ops */
    int64_t calls;
    double seconds;
    double flops; /* 0 where an operation is bound by memory and none are counted */
} oc_profile_row;

oc_status oc_profile_start(oc_compute *c, oc_error *err); /* counts from zero; also when it runs already */
/* From now on every call that is counted is also an event of the trace, with the same time, its sizes, arithmetic and bytes.
 * The trace stays the caller's and is kept when counting begins anew; NULL: none. */
void oc_profile_trace(oc_compute *c, oc_trace *trace);
int oc_profile_read(const oc_compute *c,
                    oc_profile_row row[OC_PROFILE_ROWS]); /* operations that were called; 0 when not started */
void oc_profile_gave_up(oc_compute *c);                   /* an operation did not return (oc_compute_try) */
void oc_profile_stop(oc_compute *c);                      /* the table is as before. oc_compute_close does this too */

#endif
