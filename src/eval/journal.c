/* 1. hashes  2. what differs  3. reading back  4. open and keep */
#include "eval/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"

struct oc_journal {
    int fd;
    char *path;
};

enum { HEX = 17 };

/* ---- 1. Hashes ----------------------------------------------------------------------------------------------------- */

static void put_hex(char out[HEX], uint64_t v) { snprintf(out, HEX, "%016llx", (unsigned long long)v); }

static oc_status hash_content(uint64_t *out, const char *path, oc_error *err) {
    oc_map map;
    OC_TRY(oc_map_open(&map, path, err));
    *out = XXH3_64bits(map.data ? (const void *)map.data : "", map.size);
    oc_map_close(&map);
    return OC_OK;
}

oc_status oc_hash_file(char out[17], const char *path, oc_error *err) {
    uint64_t h;
    OC_TRY(hash_content(&h, path, err));
    put_hex(out, h);
    return OC_OK;
}

static int is_model_file(const struct dirent *d) {
    static const char *const ends[] = {".json", ".safetensors", ".txt", ".jinja"};
    const size_t n = strlen(d->d_name);
    for (size_t i = 0; i < OC_COUNT(ends); i++)
        if (n > strlen(ends[i]) && !strcmp(d->d_name + n - strlen(ends[i]), ends[i])) return 1;
    return 0;
}

/* The sum of each file's hash, seeded by its name, so that the order does not matter. */
oc_status oc_hash_model(char out[17], const char *dir, oc_error *err) {
    struct dirent **list;
    uint64_t sum = 0;
    int n = scandir(dir, &list, is_model_file, NULL);
    if (n < 0) return oc_fail(err, OC_ERR_IO, "%s: cannot list the folder: %s", dir, strerror(errno));
    oc_status st = OC_OK;
    for (int i = 0; i < n; i++) {
        char *path = oc_path_join(dir, list[i]->d_name);
        uint64_t h = 0;
        if (st == OC_OK && !path) st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
        if (st == OC_OK && !oc_dir_exists(path)) {
            st = hash_content(&h, path, err);
            sum += XXH3_64bits_withSeed(list[i]->d_name, strlen(list[i]->d_name), h);
        }
        oc_free(path);
        free(list[i]);
    }
    free(list);
    put_hex(out, sum);
    return st;
}

/* ---- 2. What differs ----------------------------------------------------------------------------------------------- */

static void show(oc_strbuf *b, const json_t *v) {
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    oc_strbuf_printf(b, "%.80s", text ? text : "nothing");
    free(text);
}

/* The first member in which the two differ, as "prompt was ..., is ..."; false: none. */
static bool find_difference(oc_strbuf *b, const char *prefix, const json_t *was, const json_t *is) {
    const char *key;
    const json_t *v;
    char name[128];
    json_object_foreach((json_t *)(uintptr_t)is, key, v) {
        const json_t *old = json_object_get(was, key);
        if (json_equal(old, v)) continue;
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (json_is_object(old) && json_is_object(v) && find_difference(b, name, old, v)) return true;
        oc_strbuf_printf(b, "%s was ", name);
        show(b, old);
        oc_strbuf_puts(b, " and is now ");
        show(b, v);
        return true;
    }
    json_object_foreach((json_t *)(uintptr_t)was, key, v) if (!json_object_get(is, key)) return oc_strbuf_printf(
        b, "%s%s%s is gone", prefix, *prefix ? "." : "", key),
        true;
    return false;
}

static oc_status fail_differs(const oc_journal *j, const char *what, oc_error *err) {
    return oc_fail(err, OC_ERR_ARG,
                   "%s was begun with something else: %s; undo that to go on, choose another --out, or begin anew with "
                   "--restart",
                   j->path, what);
}

static oc_status check_identity(const oc_journal *j, const json_t *header, const json_t *identity, oc_error *err) {
    oc_strbuf b = {.max = 900};
    const json_t *was = json_object_get(header, "identity");
    if (!json_is_object(was))
        return oc_fail(err, OC_ERR_FORMAT, "%s:1: not the journal of an evaluation; move it away or use --restart",
                       j->path);
    oc_status st = find_difference(&b, "", was, identity) ? fail_differs(j, b.data ? b.data : "a setting", err) : OC_OK;
    oc_strbuf_free(&b);
    return st;
}

/* ---- 3. Reading back ----------------------------------------------------------------------------------------------- */

/* False: the line is not what item k's would be. */
static bool read_item(oc_evaluated *item, size_t k, const json_t *o) {
    const json_t *answer = json_object_get(o, "answer"), *tokens = json_object_get(o, "tokens");
    const char *id = json_string_value(json_object_get(o, "id")),
               *hash = json_string_value(json_object_get(o, "picture"));
    char *end;
    if (json_integer_value(json_object_get(o, "item")) != (json_int_t)k || !json_is_string(answer) || !id || !hash ||
        strcmp(id, item->id) || !json_is_integer(tokens) || json_integer_value(tokens) < 0 ||
        json_integer_value(tokens) > INT32_MAX)
        return false;
    item->picture_hash = strtoull(hash, &end, 16);
    if (*end || end == hash) return false;
    item->answer = oc_strdup(json_string_value(answer));
    item->n_tokens = (int)json_integer_value(tokens);
    item->finished = json_is_true(json_object_get(o, "finished"));
    item->logprob = json_number_value(json_object_get(o, "logprob"));
    return item->answer != NULL;
}

static void forget(oc_evaluation *e, size_t first) {
    for (size_t k = first; k < e->n; k++) {
        oc_free(e->item[k].answer);
        e->item[k].answer = NULL;
        e->item[k].picture_hash = 0;
    }
}

/* The complete lines of text; *done whole batches of them, which end at *kept. */
static oc_status read_lines(oc_journal *j, const char *text, size_t len, const json_t *identity, oc_evaluation *e,
                            size_t batch, size_t *done, size_t *kept, oc_error *err) {
    *done = *kept = 0;
    size_t k = 0;
    for (size_t at = 0, line = 0; at < len; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        if (!end) break; /* the kill cut it off */
        json_t *o = json_loadb(text + at, (size_t)(end - text) - at, 0, NULL);
        at = (size_t)(end - text) + 1;
        oc_status st = OC_OK;
        bool good = o != NULL;
        if (line == 0)
            st = check_identity(j, o, identity, err);
        else
            good = o && k < e->n && read_item(&e->item[k], k, o), k += good;
        json_decref(o);
        if (st != OC_OK) return st;
        if (line > 0 && !good) {
            oc_log(OC_LOG_WARN, "%s:%zu: not the line of item %zu; it and what follows are done again", j->path,
                   line + 1, k);
            break;
        }
        if (line == 0 || k % batch == 0 || k == e->n) *done = k, *kept = at;
    }
    forget(e, *done);
    return OC_OK;
}

/* Pictures of answered items must still be the same files. */
static oc_status check_pictures(const oc_journal *j, const oc_evaluation *e, const oc_dataset *d, size_t done,
                                oc_error *err) {
    oc_progress bar;
    oc_status st = OC_OK;
    const char *last = NULL;
    oc_progress_open(&bar, "check pictures", (double)done, false);
    for (size_t k = 0; k < done && st == OC_OK; k++) {
        const oc_evaluated *item = &e->item[k];
        const uint8_t *bytes;
        size_t size;
        void *owned;
        if (last && !strcmp(last, item->shown)) continue; /* of the question before */
        last = item->shown;
        OC_GO(oc_dataset_image_bytes(d, item->shown, &bytes, &size, &owned, err));
        if (XXH3_64bits(bytes, size) != item->picture_hash) {
            char what[400];
            snprintf(what, sizeof what, "picture %.300s is another file now", item->shown);
            st = fail_differs(j, what, err);
        }
        oc_free(owned);
        if (st == OC_OK && oc_interrupted()) st = oc_fail(err, OC_ERR_INTERRUPTED, "interrupted");
        oc_progress_update(&bar, (double)k + 1, (double)done, NULL);
    }
done:
    oc_progress_close(&bar);
    return st;
}

/* ---- 4. Open and keep ---------------------------------------------------------------------------------------------- */

static oc_status fail_errno(const oc_journal *j, const char *verb, oc_error *err) {
    return oc_fail(err, OC_ERR_IO, "%s: cannot %s: %s", j->path, verb, strerror(errno));
}

static oc_status append(oc_journal *j, const char *data, size_t len, oc_error *err) {
    while (len > 0) {
        ssize_t n = write(j->fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(j, "write", err);
        data += n;
        len -= (size_t)n;
    }
    return fdatasync(j->fd) == 0 ? OC_OK : fail_errno(j, "write", err);
}

/* Adds o as a line and gives up the reference. */
static void put_line(oc_strbuf *b, json_t *o) {
    char *line = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    if (line)
        oc_strbuf_printf(b, "%s\n", line);
    else
        b->failed = true;
    free(line);
    json_decref(o);
}

static oc_status begin(oc_journal *j, const json_t *identity, oc_error *err) {
    oc_strbuf b = {0};
    put_line(&b, json_pack("{s:O}", "identity", identity));
    oc_status st = b.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", j->path) : OC_OK;
    if (st == OC_OK && ftruncate(j->fd, 0) != 0) st = fail_errno(j, "empty", err);
    if (st == OC_OK) st = append(j, b.data, b.len, err);
    oc_strbuf_free(&b);
    return st;
}

static oc_status read_back(oc_journal *j, const json_t *identity, oc_evaluation *e, size_t batch, size_t *done,
                           oc_error *err) {
    oc_map map;
    size_t kept;
    OC_TRY(oc_map_open(&map, j->path, err));
    oc_status st = read_lines(j, (const char *)map.data, map.size, identity, e, batch, done, &kept, err);
    oc_map_close(&map);
    if (st != OC_OK) return st;
    if (kept == 0) return begin(j, identity, err);
    if (ftruncate(j->fd, (off_t)kept) != 0) return fail_errno(j, "cut", err);
    return OC_OK;
}

oc_status oc_journal_open(oc_journal **out, const char *dir, const json_t *identity, oc_evaluation *e,
                          const oc_dataset *d, size_t batch, bool restart, size_t *done, oc_error *err) {
    *out = NULL;
    *done = 0;
    OC_TRY(oc_make_dirs(dir, err));
    oc_journal *j = oc_calloc(1, sizeof *j);
    if (!j) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    j->fd = -1;
    oc_status st = OC_OK;
    if (!(j->path = oc_path_join(dir, "journal.jsonl"))) OC_GO(oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir));
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0) OC_GO(fail_errno(j, "open", err));
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
        OC_GO(
            oc_fail(err, OC_ERR_IO, "%s: another evaluation writes it; wait for it or choose another --out", j->path));
    if (restart)
        OC_GO(begin(j, identity, err));
    else
        OC_GO(read_back(j, identity, e, batch, done, err));
    if (*done) {
        oc_log(OC_LOG_INFO, "%s: goes on after %zu of %zu items", j->path, *done, e->n);
        OC_GO(check_pictures(j, e, d, *done, err));
    }
done:
    if (st == OC_OK)
        *out = j;
    else
        oc_journal_close(j);
    return st;
}

void oc_journal_close(oc_journal *j) {
    if (!j) return;
    if (j->fd >= 0) close(j->fd); /* and the lock with it */
    oc_free(j->path);
    oc_free(j);
}

oc_status oc_journal_keep(void *journal, const oc_evaluation *e, size_t first, size_t n, oc_error *err) {
    oc_journal *j = journal;
    oc_strbuf b = {0};
    for (size_t k = first; k < first + n; k++) {
        const oc_evaluated *it = &e->item[k];
        char hash[HEX];
        put_hex(hash, it->picture_hash);
        put_line(&b, json_pack("{s:I, s:s, s:s, s:i, s:b, s:f, s:s}", "item", (json_int_t)k, "id", it->id, "answer",
                               it->answer, "tokens", it->n_tokens, "finished", (int)it->finished, "logprob",
                               it->logprob, "picture", hash));
    }
    oc_status st = b.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", j->path) : append(j, b.data, b.len, err);
    oc_strbuf_free(&b);
    return st;
}
