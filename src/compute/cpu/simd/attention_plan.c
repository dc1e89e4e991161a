/* Tiles, components and parts of an attention (attention_plan.h). Linear in N. */
#include "compute/cpu/simd/attention_plan.h"

enum { ENOUGH_TASKS = 16 };

size_t oc_attention_plan_bytes(int N) {
    size_t each = sizeof(oc_attention_tile) + sizeof(oc_attention_component) + sizeof(oc_attention_part);
    return ((size_t)N + 1) * each + 3 * 64;
}

static void *carve(char **p, size_t bytes) {
    void *out = *p;
    *p += (bytes + 63) / 64 * 64;
    return out;
}

static bool is_empty(int32_t begin, int32_t end) { return begin >= end; }

/* Whether row i may join: room is left, and its interval is empty or touches the union. */
static bool joins(const oc_attention_tile *t, int32_t lo, int32_t hi, int rows) {
    if (t->rows == rows) return false;
    if (is_empty(lo, hi) || is_empty(t->key0, t->key1)) return true;
    return lo < t->key1 && hi > t->key0;
}

static void add_row(oc_attention_tile *t, int32_t lo, int32_t hi) {
    if (!is_empty(lo, hi)) {
        bool first = is_empty(t->key0, t->key1);
        t->key0 = first ? lo : OC_MIN(t->key0, lo);
        t->key1 = first ? hi : OC_MAX(t->key1, hi);
    }
    t->all0 = t->rows == 0 ? lo : OC_MAX(t->all0, lo);
    t->all1 = t->rows == 0 ? hi : OC_MIN(t->all1, hi);
    t->rows++;
}

void oc_attention_plan_tiles(oc_attention_plan *p, void *memory, const oc_attention *a, int rows) {
    char *at = memory;
    size_t most = (size_t)a->N + 1;
    *p = (oc_attention_plan){0};
    p->tile = carve(&at, most * sizeof *p->tile);
    p->component = carve(&at, most * sizeof *p->component);
    p->part = carve(&at, most * sizeof *p->part);
    oc_attention_tile *t = NULL;
    for (int32_t i = 0; i < a->N; i++) {
        if (!t || !joins(t, a->lo[i], a->hi[i], rows)) {
            t = &p->tile[p->tiles++];
            *t = (oc_attention_tile){.row = i};
        }
        add_row(t, a->lo[i], a->hi[i]);
    }
}

/* ---- Components and parts --------------------------------------------------------------------- */

/* Keeps components in ascending order of keys: a tile that reaches back merges all components that it
 * reaches. */
static void find_components(oc_attention_plan *p) {
    for (int32_t i = 0; i < p->tiles; i++) {
        const oc_attention_tile *t = &p->tile[i];
        oc_attention_component c = {.tile0 = i, .tile1 = i + 1, .key0 = t->key0, .key1 = t->key1};
        while (p->components > 0) {
            const oc_attention_component *last = &p->component[p->components - 1];
            bool apart = !is_empty(c.key0, c.key1) && c.key0 >= last->key1;
            if (apart) break;
            if (is_empty(c.key0, c.key1))
                c.key0 = last->key0, c.key1 = last->key1;
            else if (!is_empty(last->key0, last->key1))
                c.key0 = OC_MIN(c.key0, last->key0), c.key1 = OC_MAX(c.key1, last->key1);
            c.tile0 = last->tile0;
            p->components--;
        }
        p->component[p->components++] = c;
    }
}

static void add_part(oc_attention_plan *p, int32_t tile0, int32_t tile1) {
    oc_attention_part part = {.tile0 = tile0, .tile1 = tile1, .offset = p->part_rows};
    for (int32_t i = tile0; i < tile1; i++) {
        const oc_attention_tile *t = &p->tile[i];
        if (is_empty(t->key0, t->key1)) continue;
        bool first = is_empty(part.key0, part.key1);
        part.key0 = first ? t->key0 : OC_MIN(part.key0, t->key0);
        part.key1 = first ? t->key1 : OC_MAX(part.key1, t->key1);
    }
    p->part_rows += (size_t)(part.key1 - part.key0);
    p->most_rows = OC_MAX(p->most_rows, part.key1 - part.key0);
    p->part[p->parts++] = part;
}

static int64_t cost(const oc_attention_tile *t) { return t->key1 - t->key0 + 16; }

/* Cuts where the cost so far passes the next multiple of total / count. */
static void cut(oc_attention_plan *p, oc_attention_component *c, int count) {
    int64_t total = 0, sum = 0;
    for (int32_t i = c->tile0; i < c->tile1; i++) total += cost(&p->tile[i]);
    c->part0 = p->parts;
    int32_t begin = c->tile0;
    for (int32_t i = c->tile0; i < c->tile1; i++) {
        sum += cost(&p->tile[i]);
        if (i + 1 < c->tile1 && sum * count < total * (p->parts - c->part0 + 1)) continue;
        add_part(p, begin, i + 1);
        begin = i + 1;
    }
    c->part1 = p->parts;
}

void oc_attention_plan_parts(oc_attention_plan *p, const oc_attention *a, int heads) {
    find_components(p);
    int tasks = heads * p->components, each = tasks > 0 ? (ENOUGH_TASKS + tasks - 1) / tasks : 1;
    for (int32_t i = 0; i < p->components; i++) {
        oc_attention_component *c = &p->component[i];
        c->own0 = i == 0 ? 0 : p->component[i - 1].own1;
        c->own1 = i + 1 == p->components ? a->N : OC_MAX(c->key1, c->own0);
        cut(p, c, each);
    }
}
