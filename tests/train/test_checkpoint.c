/* Checkpoints: what is saved comes back to the bit; at every moment of a swap, dir or dir.old is whole and found; files
 * that are cut off, changed or hostile are refused by name; and each allocation fails once. */
#include "model/small.h"

#include "train/checkpoint.h"

static oc_error err;

enum { N1 = 300, N2 = 17 };

typedef struct fixture {
    char root[64], dir[96];
    float a[N1], b[N2];
    oc_state_buffer buffers[2];
    oc_position pos;
} fixture;

static void fill(fixture *f, uint64_t seed) {
    oc_rng rng = oc_rng_seed(seed);
    for (int i = 0; i < N1; i++) f->a[i] = (float)oc_rng_normal(&rng);
    for (int i = 0; i < N2; i++) f->b[i] = (float)oc_rng_normal(&rng);
    f->pos.step = (int64_t)seed;
}

static void open_fixture(fixture *f) {
    memset(f, 0, sizeof *f);
    small_folder(f->root);
    snprintf(f->dir, sizeof f->dir, "%s/checkpoint", f->root);
    f->buffers[0] = (oc_state_buffer){"m.lm", f->a, N1, OC_F32, NULL};
    f->buffers[1] = (oc_state_buffer){"w.heads", f->b, N2, OC_F32, NULL};
    f->pos = (oc_position){.stage = 2, .updates = 9, .skipped = 3, .samples = 1234567890123, .tokens = 5, .labels = 4, .data = {7, 21},
                           .seconds = 1.0 / 3, .total_seconds = 1e7 / 7, .seed = 2147483647};
    fill(f, 10);
}

static void close_fixture(fixture *f) { small_ok(oc_remove_tree(f->root, &err), &err); }

static oc_status save(fixture *f) { return oc_checkpoint_save(f->dir, NULL, NULL, "stage", &f->pos, f->buffers, 2, &err); }

/* Loads whatever is found and says which seed filled it. */
static int64_t found_step(fixture *f) {
    char *found;
    oc_position pos;
    float a[N1], b[N2];
    const oc_state_buffer into[2] = {{"m.lm", a, N1, OC_F32, NULL}, {"w.heads", b, N2, OC_F32, NULL}};
    small_ok(oc_checkpoint_find(f->dir, &found, &err), &err);
    if (!found) return -1;
    small_ok(oc_checkpoint_load_position(found, &pos, &err), &err);
    small_ok(oc_checkpoint_load_buffers(found, into, 2, &err), &err);
    oc_free(found);
    fill(f, (uint64_t)pos.step);
    assert_memory_equal(a, f->a, sizeof a);
    assert_memory_equal(b, f->b, sizeof b);
    return pos.step;
}

static void path_of(char out[192], const fixture *f, const char *suffix, const char *name) { snprintf(out, 192, "%s%s%s%s", f->dir, suffix, *name ? "/" : "", name); }

static bool exists(const fixture *f, const char *suffix) {
    char path[192];
    path_of(path, f, suffix, "");
    return oc_dir_exists(path);
}

static void move(const fixture *f, const char *from, const char *to) {
    char a[192], b[192];
    path_of(a, f, from, "");
    path_of(b, f, to, "");
    assert_int_equal(rename(a, b), 0);
}

/* ---- Whole checkpoints --------------------------------------------------------------------------------------------- */

static void round_trip(void **state) {
    OC_UNUSED(state);
    fixture f;
    open_fixture(&f);
    oc_position want = f.pos, pos;
    assert_int_equal(found_step(&f), -1); /* nothing yet */
    small_ok(save(&f), &err);
    small_ok(oc_checkpoint_load_position(f.dir, &pos, &err), &err);
    assert_true(pos.stage == want.stage && pos.step == want.step && pos.updates == want.updates && pos.skipped == want.skipped);
    assert_true(pos.samples == want.samples && pos.tokens == want.tokens && pos.labels == want.labels && pos.seed == want.seed);
    assert_true(pos.data.epoch == want.data.epoch && pos.data.cursor == want.data.cursor);
    assert_true(pos.seconds == want.seconds && pos.total_seconds == want.total_seconds);
    assert_int_equal(found_step(&f), 10);
    assert_false(exists(&f, ".new") || exists(&f, ".old"));
    fill(&f, 11);
    small_ok(save(&f), &err);
    assert_int_equal(found_step(&f), 11);
    assert_false(exists(&f, ".new") || exists(&f, ".old"));
    close_fixture(&f);
}

static void with_a_model(void **state) {
    OC_UNUSED(state);
    fixture f;
    oc_compute *c;
    oc_vlm m, back;
    oc_config cfg = small_config();
    open_fixture(&f);
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 3);
    small_ok(oc_checkpoint_save(f.dir, &m, NULL, "align", &f.pos, f.buffers, 2, &err), &err);
    small_ok(oc_weights_open(&back, c, f.dir, OC_F32, &err), &err); /* training.safetensors beside it does not disturb */
    for (int p = 0; p < OC_PART_COUNT; p++) assert_memory_equal(m.params.w[p], back.params.w[p], m.params.n[p] * sizeof(float));
    assert_int_equal(found_step(&f), 10);
    oc_vlm_close(&back);
    /* A finished model is none to resume from. */
    snprintf(f.dir, sizeof f.dir, "%s/model", f.root);
    small_ok(oc_model_save_atomic(f.dir, &m, NULL, "align", &err), &err);
    small_ok(oc_model_save_atomic(f.dir, &m, NULL, "align", &err), &err);
    assert_int_equal(found_step(&f), -1);
    small_ok(oc_weights_open(&back, c, f.dir, OC_F32, &err), &err);
    oc_vlm_close(&back);
    oc_vlm_close(&m);
    oc_compute_close(c);
    close_fixture(&f);
}

/* ---- Killed in between --------------------------------------------------------------------------------------------- */

/* The states that a process killed at each point of a save leaves behind: before the first rename, between the two, after
 * them; and the save that follows. */
static void killed_at_every_point(void **state) {
    OC_UNUSED(state);
    for (int point = 0; point < 4; point++) {
        fixture f;
        open_fixture(&f);
        fill(&f, 11);
        small_ok(save(&f), &err);
        move(&f, "", ".kept");
        fill(&f, 10);
        small_ok(save(&f), &err);
        move(&f, ".kept", ".new"); /* 10 in place, 11 written beside it */
        char path[192];
        path_of(path, &f, ".new", "training.json");
        if (point == 0) assert_int_equal(remove(path), 0); /* only half */
        if (point >= 2) move(&f, "", ".old");              /* 10 moved aside */
        if (point == 3) move(&f, ".new", "");              /* 11 in place, 10 not yet removed */
        assert_int_equal(found_step(&f), point == 3 ? 11 : 10);
        fill(&f, 12);
        small_ok(save(&f), &err);
        assert_int_equal(found_step(&f), 12);
        assert_false(exists(&f, ".new") || exists(&f, ".old"));
        close_fixture(&f);
    }
}

/* What lies where the new folder is to be made does not stop a save. */
static void rubbish_in_the_way(void **state) {
    OC_UNUSED(state);
    fixture f;
    char path[192];
    open_fixture(&f);
    small_ok(save(&f), &err);
    path_of(path, &f, ".new", "");
    small_ok(oc_file_write_atomic(path, "x", 1, &err), &err);
    fill(&f, 11);
    small_ok(save(&f), &err);
    assert_int_equal(found_step(&f), 11);
    close_fixture(&f);
}

static void every_allocation_fails_once(void **state) {
    OC_UNUSED(state);
    fixture f;
    open_fixture(&f);
    small_ok(save(&f), &err);
    oc_status st = OC_ERR_NOMEM;
    long n = 0;
    for (; st != OC_OK; n++) {
        fill(&f, 11);
        oc_alloc_fail_after(n);
        st = save(&f);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
        int64_t step = found_step(&f);
        if (st == OC_OK) assert_int_equal(step, 11);
        else assert_true(step == 10 || step == 11);
        assert_true(n < 1000);
    }
    assert_true(n > 8);
    for (n = 0, st = OC_ERR_NOMEM; st != OC_OK; n++) { /* out of memory is not "no checkpoint" */
        char *found = NULL;
        oc_alloc_fail_after(n);
        st = oc_checkpoint_find(f.dir, &found, &err);
        oc_alloc_fail_after(-1);
        assert_true((st == OC_OK) == (found != NULL));
        if (st != OC_OK) assert_int_equal(st, OC_ERR_NOMEM);
        oc_free(found);
    }
    for (n = 0, st = OC_ERR_NOMEM; st != OC_OK; n++) {
        oc_position pos;
        oc_alloc_fail_after(n);
        st = oc_checkpoint_load_position(f.dir, &pos, &err);
        if (st == OC_OK) st = oc_checkpoint_load_buffers(f.dir, f.buffers, 2, &err);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
    }
    assert_true(n > 4);
    close_fixture(&f);
}

/* ---- Hostile files ------------------------------------------------------------------------------------------------- */

static char *read_whole(const char *path, size_t *size) {
    char *data;
    small_ok(oc_file_read(&data, size, path, 1 << 20, &err), &err);
    return data;
}

static void broken_positions(void **state) {
    OC_UNUSED(state);
    fixture f;
    char path[192];
    size_t size;
    oc_position pos;
    open_fixture(&f);
    small_ok(save(&f), &err);
    path_of(path, &f, "", "training.json");
    char *good = read_whole(path, &size);
    for (size_t cut = 0; cut + 2 < size; cut += 13) { /* cut off anywhere */
        small_ok(oc_file_write_atomic(path, good, cut, &err), &err);
        assert_int_equal(oc_checkpoint_load_position(f.dir, &pos, &err), OC_ERR_FORMAT);
        assert_non_null(strstr(err.msg, path));
    }
    static const char *const keys[] = {"version", "stage", "step", "updates", "skipped", "samples", "tokens", "labels", "epoch", "cursor", "seed"};
    static const char *const values[] = {"null", "-1", "1.5", "\"3\"", "[]", "9223372036854775807"};
    for (size_t k = 0; k < OC_COUNT(keys); k++)
        for (size_t v = 0; v < OC_COUNT(values); v++) {
            if (v == 5 && (!strcmp(keys[k], "samples") || !strcmp(keys[k], "tokens") || !strcmp(keys[k], "labels") || !strcmp(keys[k], "cursor") || !strcmp(keys[k], "seed")))
                continue; /* as large as they like: nothing is computed from them unchecked */
            json_t *o = json_loads(good, 0, NULL);
            json_object_set_new(o, keys[k], json_loads(values[v], JSON_DECODE_ANY, NULL));
            small_ok(oc_json_save(o, path, &err), &err);
            json_decref(o);
            if (oc_checkpoint_load_position(f.dir, &pos, &err) == OC_OK) fail_msg("%s: %s was accepted", keys[k], values[v]);
            if (!strstr(err.msg, keys[k]) || !strstr(err.msg, path)) fail_msg("%s: %s says: %s", keys[k], values[v], err.msg);
        }
    small_ok(oc_file_write_atomic(path, "[1, 2]", 6, &err), &err);
    assert_int_equal(oc_checkpoint_load_position(f.dir, &pos, &err), OC_ERR_FORMAT);
    oc_free(good);
    close_fixture(&f);
}

static void broken_buffers(void **state) {
    OC_UNUSED(state);
    fixture f;
    char path[192];
    size_t size;
    open_fixture(&f);
    small_ok(save(&f), &err);
    path_of(path, &f, "", "training.safetensors");
    char *good = read_whole(path, &size);
    for (size_t cut = 0; cut < size; cut += 37) {
        small_ok(oc_file_write_atomic(path, good, cut, &err), &err);
        assert_int_not_equal(oc_checkpoint_load_buffers(f.dir, f.buffers, 2, &err), OC_OK);
        assert_non_null(strstr(err.msg, path));
    }
    small_ok(oc_file_write_atomic(path, good, size, &err), &err);
    small_ok(oc_checkpoint_load_buffers(f.dir, f.buffers, 2, &err), &err);
    oc_state_buffer other[2] = {f.buffers[0], f.buffers[1]};
    other[1].n--;
    assert_int_equal(oc_checkpoint_load_buffers(f.dir, other, 2, &err), OC_ERR_FORMAT);
    assert_true(strstr(err.msg, "w.heads") && strstr(err.msg, "17") && strstr(err.msg, "16") && strstr(err.msg, "recipe"));
    other[1] = f.buffers[1];
    snprintf(other[1].name, sizeof other[1].name, "v.vision");
    assert_int_equal(oc_checkpoint_load_buffers(f.dir, other, 2, &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "v.vision"));
    assert_int_equal(remove(path), 0);
    assert_int_equal(oc_checkpoint_load_buffers(f.dir, f.buffers, 2, &err), OC_ERR_IO);
    oc_free(good);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(with_a_model), cmocka_unit_test(killed_at_every_point),
        cmocka_unit_test(rubbish_in_the_way), cmocka_unit_test(every_allocation_fails_once), cmocka_unit_test(broken_positions),
        cmocka_unit_test(broken_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
