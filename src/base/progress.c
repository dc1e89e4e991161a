#include "base/progress.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/base.h"
#include "base/log.h"

enum { DEFAULT_WIDTH = 100, MIN_BAR = 8, MAX_BAR = 40, LINE = 512 };
#define REDRAW_S 0.1
#define PLAIN_S 10.0

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards stderr, current and every open oc_progress */
static oc_progress *current;

static int terminal_width(void) {
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : DEFAULT_WIDTH;
}

static bool stderr_is_terminal(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
}

static void write_all(const char *s, size_t n) {
    while (n > 0) {
        ssize_t k = write(STDERR_FILENO, s, n);
        if (k <= 0) return; /* nobody is reading; nothing to be done about it */
        s += k;
        n -= (size_t)k;
    }
}

/* --- Text ----------------------------------------------------------------------------------------------------------- */

static void format_time(char *out, size_t size, double s) {
    long t = s < 0 ? 0 : s > 1e9 ? 1000000000L : (long)(s + 0.5);
    if (t >= 3600) snprintf(out, size, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else snprintf(out, size, "%02ld:%02ld", t / 60, t % 60);
}

/* " 37% 370/1000" and what follows it. */
static void format_tail(const oc_progress *p, char *out, size_t size, double now) {
    char elapsed[24], left[24], counts[64];
    double moved = p->done - p->first_done, spent = now - p->start;
    format_time(elapsed, sizeof elapsed, spent);
    if (p->total > 0) {
        double ratio = OC_MIN(1.0, OC_MAX(0.0, p->done / p->total));
        snprintf(counts, sizeof counts, "%3d%% %.0f/%.0f", (int)(100 * ratio), p->done, p->total);
    } else snprintf(counts, sizeof counts, "%.0f", p->done);
    bool known = p->total > 0 && moved > 0 && p->done < p->total;
    if (known) format_time(left, sizeof left, spent / moved * (p->total - p->done));
    snprintf(out, size, " %s  %s%s%s%s%s", counts, p->extra, *p->extra ? "  " : "", elapsed, known ? ", " : "",
             known ? left : "");
    if (known) strncat(out, " left", size - strlen(out) - 1);
}

size_t oc_progress_format(const oc_progress *p, char *out, size_t size, int width, double now) {
    char tail[LINE], bar[MAX_BAR + 4] = "";
    format_tail(p, tail, sizeof tail, now);
    int room = width - (int)strlen(p->label) - (int)strlen(tail) - 3; /* " [" and "]" */
    int cells = OC_MIN(MAX_BAR, room);
    if (p->total > 0 && cells >= MIN_BAR) {
        int full = (int)(OC_MIN(1.0, OC_MAX(0.0, p->done / p->total)) * cells);
        char *b = bar;
        *b++ = ' ', *b++ = '[';
        for (int i = 0; i < cells; i++) *b++ = i < full ? '=' : i == full ? '>' : ' ';
        *b++ = ']', *b = 0;
    }
    int n = snprintf(out, size, "%s%s%s", p->label, bar, tail);
    size_t len = OC_MIN((size_t)OC_MAX(n, 0), size - 1);
    if (len > (size_t)width) len = (size_t)width;
    out[len] = 0;
    return len;
}

/* --- Drawing; the lock is held -------------------------------------------------------------------------------------- */

#define ERASE "\r\033[K"

static void draw(oc_progress *p, const char *begin, const char *end, double now) {
    char line[LINE + 16];
    int width = p->terminal ? OC_MIN(terminal_width() - 1, LINE - 1) : LINE - 1;
    size_t n = strlen(begin);
    memcpy(line, begin, n);
    if (p->terminal) n += oc_progress_format(p, line + n, LINE, width, now);
    else {
        char tail[LINE];
        format_tail(p, tail, sizeof tail, now);
        int k = snprintf(line + n, LINE, "%s%s", p->label, tail);
        n += OC_MIN((size_t)OC_MAX(k, 0), (size_t)LINE - 1);
    }
    memcpy(line + n, end, strlen(end));
    write_all(line, n + strlen(end));
    p->last = now;
}

void oc_progress_open(oc_progress *p, const char *label, double total, bool quiet) {
    double now = oc_now();
    *p = (oc_progress){.total = total, .start = now, .last = now - REDRAW_S, .terminal = stderr_is_terminal()};
    p->quiet = quiet || oc_log_get_level() < OC_LOG_INFO;
    snprintf(p->label, sizeof p->label, "%s", label);
    pthread_mutex_lock(&lock);
    OC_ASSERT(current == NULL);
    current = p;
    pthread_mutex_unlock(&lock);
}

void oc_progress_update(oc_progress *p, double done, double total, const char *fmt, ...) {
    double now = oc_now();
    pthread_mutex_lock(&lock);
    if (!p->started) p->first_done = done, p->started = true;
    p->done = done;
    p->total = total;
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(p->extra, sizeof p->extra, fmt, ap);
        va_end(ap);
    }
    double every = p->terminal ? REDRAW_S : p->plain_every_s > 0 ? p->plain_every_s : PLAIN_S;
    if (!p->quiet && now - p->last >= every) draw(p, p->terminal ? ERASE : "", p->terminal ? "" : "\n", now);
    pthread_mutex_unlock(&lock);
}

void oc_progress_close(oc_progress *p) {
    pthread_mutex_lock(&lock);
    if (!p->quiet) draw(p, p->terminal ? ERASE : "", "\n", oc_now());
    if (current == p) current = NULL;
    pthread_mutex_unlock(&lock);
}

void oc_progress_print(const char *text, size_t len) {
    pthread_mutex_lock(&lock);
    bool bar = current && current->terminal && !current->quiet && current->started;
    if (bar) write_all(ERASE, sizeof ERASE - 1);
    write_all(text, len);
    if (bar) draw(current, "", "", oc_now());
    pthread_mutex_unlock(&lock);
}
