/* The progress of one stage of long work, on stderr: a bar at the bottom of a terminal, or a plain line every ten
 * seconds where stderr is a file or a pipe.
 *
 *   stage 1 [=======>            ]  37% 370/1000  loss 2.31, 14.2 samples/s  01:12, 02:03 left
 *
 * At most one is open at a time. Update and log from any thread. */
#ifndef OC_BASE_PROGRESS_H
#define OC_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct oc_progress {
    char label[48];
    char extra[160];       /* loss, rates, memory: whatever the caller wants shown */
    double done, total;    /* total 0: unknown. Steps, samples, bytes, or seconds of a time budget */
    double first_done;     /* done at the first update, so that a resumed stage estimates rightly */
    double start, last;    /* oc_now() at open and at the last output */
    double plain_every_s;  /* seconds between plain lines; 0 means 10 */
    bool started, terminal, quiet;
} oc_progress;

/* quiet: keeps count and prints nothing (log level below OC_LOG_INFO does the same). */
void oc_progress_open(oc_progress *p, const char *label, double total, bool quiet);

/* Cheap enough for every step: it prints ten times a second at most. fmt gives `extra`, NULL leaves it. The total may
 * change on the way. */
void oc_progress_update(oc_progress *p, double done, double total, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Prints the last state as a line that stays. */
void oc_progress_close(oc_progress *p);

/* Writes complete lines to stderr above the bar that is open, if any (this is what the log uses). */
void oc_progress_print(const char *text, size_t len);

/* The bar as text of at most `width` columns (and size - 1 bytes); the length is returned. */
size_t oc_progress_format(const oc_progress *p, char *out, size_t size, int width, double now);

#endif
