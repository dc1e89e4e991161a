#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

enum { MAX_WORD = 64 };

/* --- Numbers -------------------------------------------------------------------------------------------------------- */

static bool in_range(double v, const char *range) {
    if (!range) return true;
    const char *dots = strstr(range, "..");
    OC_ASSERT(dots);
    return (dots == range || v >= strtod(range, NULL)) && (!dots[2] || v <= strtod(dots + 2, NULL));
}

/* strtol and strtod skip spaces; a number from a person begins at once. */
static bool starts_a_number(const char *s) { return isdigit((unsigned char)*s) || *s == '-' || *s == '+' || *s == '.'; }

bool oc_parse_int(const char *text, const char *range, int *out) {
    char *end;
    if (!starts_a_number(text)) return false;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < INT_MIN || v > INT_MAX || !in_range((double)v, range)) return false;
    *out = (int)v;
    return true;
}

bool oc_parse_double(const char *text, const char *range, double *out) {
    char *end;
    if (!starts_a_number(text)) return false;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || !in_range(v, range)) return false;
    *out = v;
    return true;
}

bool oc_parse_bytes(const char *text, size_t *out) {
    static const char units[] = "KMGT";
    char *end;
    if (!isdigit((unsigned char)*text)) return false;
    double v = strtod(text, &end);
    while (*end == ' ') end++;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++) v *= 1024;
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B') end++;
    if (*end || !(v <= 0x1p60)) return false;
    *out = (size_t)v;
    return true;
}

/* --- Words ---------------------------------------------------------------------------------------------------------- */

const char *oc_word_at(const char *list, int index, int *len) {
    while (index-- > 0) {
        list = strchr(list, '|');
        OC_ASSERT(list);
        list++;
    }
    *len = (int)strcspn(list, "|");
    return list;
}

int oc_word_index(const char *list, const char *word) {
    size_t n = strlen(word);
    for (int i = 0;; i++) {
        size_t len = strcspn(list, "|");
        if (len == n && !memcmp(list, word, n)) return i;
        if (!list[len]) return -1;
        list += len + 1;
    }
}

/* Optimal string alignment distance: insert, delete, replace, swap neighbours. */
static int distance(const char *a, const char *b) {
    int n = (int)strlen(a), m = (int)strlen(b), row[3][MAX_WORD + 1];
    if (n > MAX_WORD || m > MAX_WORD) return INT_MAX;
    for (int j = 0; j <= m; j++) row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int d = up[j - 1] + (a[i - 1] != b[j - 1]);
            d = OC_MIN(d, OC_MIN(up[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d = OC_MIN(d, up2[j - 2] + 1);
            now[j] = d;
        }
    }
    return row[n % 3][m];
}

const char *oc_nearest(const char *word, const char *const *names, int n) {
    const char *best = NULL;
    size_t length = strlen(word);
    if (length == 0 || length > MAX_WORD) return NULL;
    int limit = OC_MAX(1, (int)length / 3), best_d = limit + 1;
    for (int i = 0; i < n; i++) {
        int d = distance(word, names[i]);
        if (d > limit && length >= 4 && !strncmp(word, names[i], length)) d = limit; /* cut short */
        if (d < best_d) best = names[i], best_d = d;
    }
    return best;
}
