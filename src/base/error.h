/* Operating errors (files, formats, memory, requests) are returned; programming errors abort. */
#ifndef OC_BASE_ERROR_H
#define OC_BASE_ERROR_H

#include "ocellus_error.h" /* oc_status, oc_error */

/* Writes the message (err may be NULL) and returns code, so that callers can `return oc_fail(...)`.
 * Control characters from hostile input are replaced by '?'. */
oc_status oc_fail(oc_error *err, oc_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of a message that a callee wrote, and returns its code. */
oc_status oc_fail_prefix(oc_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts text behind a message that a callee wrote, and returns its code. */
oc_status oc_fail_suffix(oc_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define OC_TRY(call)                                                                                                   \
    do {                                                                                                               \
        oc_status oc_try_status_ = (call);                                                                             \
        if (oc_try_status_ != OC_OK) return oc_try_status_;                                                            \
    } while (0)

/* For functions that unwind through one `done:` label with a local `oc_status st`. */
#define OC_GO(call)                                                                                                    \
    do {                                                                                                               \
        st = (call);                                                                                                   \
        if (st != OC_OK) goto done;                                                                                    \
    } while (0)

/* A broken promise between parts of this program. On in release builds too; not for inner loops. */
#define OC_ASSERT(cond) ((cond) ? (void)0 : oc_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void oc_assert_failed(const char *cond, const char *file, int line);

#endif
