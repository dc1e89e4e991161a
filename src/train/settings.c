#include "train/settings.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/text.h"

enum {
    MAX_VARS = 64,
    MAX_LIST = 1024,
    MAX_KEYS = 64,         /* of one table */
    MAX_DEPTH = 32,        /* of nested lists and mappings in the file */
    MAX_VALUE = 1 << 13,   /* bytes of one value after substitution */
    MAX_TOTAL = 16 << 20,  /* bytes of all values and list elements together */
};

typedef struct variable {
    char *name, *value;
    bool from_caller, used;
} variable;

typedef struct reader {
    yaml_document_t doc;
    const char *name, *dir;
    variable var[MAX_VARS];
    int n_vars;
    oc_strbuf path; /* of the key being read: "stages[2].train.lm" */
    size_t total;
    oc_error *err;
} reader;

static int kind_of(const oc_setting *s) { return s->kind & ~SET_REQUIRED; }
static bool ends(const oc_setting *s) { return !s->key && !s->fields; }

/* --- Messages and the key path -------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static oc_status fail_at(reader *r, const yaml_node_t *node, const char *fmt,
                                                               ...) {
    char text[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *path = r->path.len ? r->path.data : "";
    return oc_fail(r->err, OC_ERR_FORMAT, "%s:%zu:%zu: %.200s%s%s", r->name, node->start_mark.line + 1,
                   node->start_mark.column + 1, path, *path ? ": " : "", text);
}

static oc_status fail_memory(reader *r) { return oc_fail(r->err, OC_ERR_NOMEM, "%s: out of memory", r->name); }

static void push_key(reader *r, const char *key) { oc_strbuf_printf(&r->path, "%s%s", r->path.len ? "." : "", key); }
static void push_index(reader *r, int i) { oc_strbuf_printf(&r->path, "[%d]", i); }
static void pop_to(reader *r, size_t len) {
    if (r->path.data) r->path.data[r->path.len = len] = 0;
}

static const char *node_kind(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE ? "a value" : node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping";
}

/* Nothing, null or ~: the key counts as absent. */
static bool is_null(const yaml_node_t *node) {
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    const char *s = (const char *)node->data.scalar.value;
    return !*s || !strcmp(s, "~") || !strcmp(s, "null");
}

static bool is_text(const yaml_node_t *node, const char *text) {
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == strlen(text) &&
           !memcmp(node->data.scalar.value, text, node->data.scalar.length);
}

/* --- Variables ------------------------------------------------------------------------------------------------------ */

static variable *find_variable(reader *r, const char *name, size_t len) {
    for (int i = 0; i < r->n_vars; i++)
        if (strlen(r->var[i].name) == len && !memcmp(r->var[i].name, name, len)) return &r->var[i];
    return NULL;
}

static oc_status fail_variable(reader *r, const yaml_node_t *node, const char *name, int len) {
    oc_strbuf known = {.max = 300};
    for (int i = 0; i < r->n_vars; i++) oc_strbuf_printf(&known, "%s%s", i ? ", " : "", r->var[i].name);
    oc_status st = fail_at(r, node, "${%.*s} has no value; known are: %s. Give one with --set %.*s=VALUE or in vars",
                           OC_MIN(len, 60), name, known.len ? known.data : "none", OC_MIN(len, 60), name);
    oc_strbuf_free(&known);
    return st;
}

/* Adds the scalar's text to out with its variables replaced. *typed: it begins with one that the caller gave. */
static oc_status expand(reader *r, const yaml_node_t *node, oc_strbuf *out, bool *typed) {
    if (node->type != YAML_SCALAR_NODE) return fail_at(r, node, "%s, a single value was expected", node_kind(node));
    const char *s = (const char *)node->data.scalar.value, *end = s + node->data.scalar.length;
    if (memchr(s, 0, (size_t)(end - s))) return fail_at(r, node, "a NUL character inside a value");
    *typed = false;
    for (const char *begin = s; s < end && out->len < MAX_VALUE;) {
        if (s[0] != '$' || (s[1] != '$' && s[1] != '{')) {
            oc_strbuf_putc(out, *s++);
        } else if (s[1] == '$') {
            oc_strbuf_putc(out, '$');
            s += 2;
        } else {
            const char *name = s + 2, *close = strchr(name, '}');
            if (!close) return fail_at(r, node, "\"${\" without its \"}\"");
            variable *v = find_variable(r, name, (size_t)(close - name));
            if (!v) return fail_variable(r, node, name, (int)(close - name));
            v->used = true;
            if (s == begin) *typed = v->from_caller;
            oc_strbuf_puts(out, v->value);
            s = close + 1;
        }
    }
    oc_strbuf_puts(out, ""); /* at least the NUL */
    r->total += out->len + 1;
    if (out->len >= MAX_VALUE || r->total > MAX_TOTAL) return fail_at(r, node, "too much text");
    return out->failed ? fail_memory(r) : OC_OK;
}

static bool is_name(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_') return false;
    return n > 0 && n < 64;
}

static oc_status add_variable(reader *r, const char *name, size_t len, const char *value, bool from_caller) {
    if (r->n_vars == MAX_VARS) return oc_fail(r->err, OC_ERR_FORMAT, "%s: more than %d variables", r->name, MAX_VARS);
    variable *v = &r->var[r->n_vars];
    *v = (variable){oc_strndup(name, len), oc_strdup(value), from_caller, false};
    r->n_vars++;
    return v->name && v->value ? OC_OK : fail_memory(r);
}

static oc_status take_caller_variables(reader *r, const char *const *vars, int n) {
    for (int i = 0; i < n; i++) {
        const char *eq = strchr(vars[i], '=');
        if (!eq || !is_name(vars[i], (size_t)(eq - vars[i])))
            return oc_fail(r->err, OC_ERR_ARG, "--set %.100s: name=value was expected", vars[i]);
        if (strlen(eq) >= MAX_VALUE) return oc_fail(r->err, OC_ERR_ARG, "--set %.100s...: too long", vars[i]);
        if (find_variable(r, vars[i], (size_t)(eq - vars[i])))
            return oc_fail(r->err, OC_ERR_ARG, "--set %.*s is given twice", (int)(eq - vars[i]), vars[i]);
        OC_TRY(add_variable(r, vars[i], (size_t)(eq - vars[i]), eq + 1, true));
    }
    return OC_OK;
}

/* One line of `vars`; what the caller gave goes before it. */
static oc_status take_file_variable(reader *r, const yaml_node_t *key, const yaml_node_t *value) {
    const char *name = (const char *)key->data.scalar.value;
    if (key->type != YAML_SCALAR_NODE || !is_name(name, key->data.scalar.length))
        return fail_at(r, key, "a variable's name was expected: letters, digits and _");
    variable *v = find_variable(r, name, key->data.scalar.length);
    if (v && v->from_caller) return v->used = true, OC_OK;
    if (v) return fail_at(r, key, "the variable %s stands here twice", name);
    oc_strbuf text = {0};
    bool typed = false;
    oc_status st = expand(r, value, &text, &typed);
    if (st == OC_OK) st = add_variable(r, name, key->data.scalar.length, text.data, typed);
    oc_strbuf_free(&text);
    return st;
}

static oc_status take_file_variables(reader *r, const yaml_node_t *root) {
    if (root->type != YAML_MAPPING_NODE) return OC_OK;
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        if (!is_text(yaml_document_get_node(&r->doc, p->key), "vars")) continue;
        yaml_node_t *vars = yaml_document_get_node(&r->doc, p->value);
        push_key(r, "vars");
        if (is_null(vars)) return pop_to(r, 0), OC_OK;
        if (vars->type != YAML_MAPPING_NODE) return fail_at(r, vars, "%s, a mapping was expected", node_kind(vars));
        for (yaml_node_pair_t *q = vars->data.mapping.pairs.start; q < vars->data.mapping.pairs.top; q++)
            OC_TRY(take_file_variable(r, yaml_document_get_node(&r->doc, q->key),
                                      yaml_document_get_node(&r->doc, q->value)));
        pop_to(r, 0);
    }
    return OC_OK;
}

/* A variable that nothing uses is most likely mistyped. */
static oc_status check_used(reader *r) {
    const char *names[MAX_VARS];
    int n = 0;
    for (int i = 0; i < r->n_vars; i++)
        if (r->var[i].used) names[n++] = r->var[i].name;
    for (int i = 0; i < r->n_vars; i++) {
        const variable *v = &r->var[i];
        if (!v->from_caller || v->used) continue;
        const char *near = oc_nearest(v->name, names, n);
        return oc_fail(r->err, OC_ERR_ARG, "%s uses no ${%s}, but --set gives it a value%s%s%s", r->name, v->name,
                       near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
    }
    return OC_OK;
}

/* --- Values --------------------------------------------------------------------------------------------------------- */

/* What a setting takes, for messages and for the reference. */
static void describe_type(const oc_setting *s, oc_strbuf *out) {
    static const char *names[] = {
        [SET_BOOL] = "true or false", [SET_INT] = "an integer", [SET_DOUBLE] = "a number",
        [SET_BYTES] = "a size such as 8 GiB", [SET_STRING] = "text", [SET_PATH] = "a path", [SET_ENUM] = "one of ",
        [SET_GROUP] = "a mapping", [SET_LIST] = "a list of mappings", [SET_PATHS] = "paths",
        [SET_PAIRS] = "a mapping of names to values", [SET_VARS] = "a mapping"};
    oc_strbuf_puts(out, names[kind_of(s)]);
    if (kind_of(s) == SET_ENUM) oc_strbuf_puts(out, s->spec);
    else if (s->spec) oc_strbuf_printf(out, " in %s", s->spec);
}

static oc_status fail_value(reader *r, const yaml_node_t *node, const oc_setting *s, const char *value) {
    oc_strbuf type = {0};
    describe_type(s, &type);
    oc_status st = type.failed ? fail_memory(r) : fail_at(r, node, "\"%.80s\", %s was expected", value, type.data);
    oc_strbuf_free(&type);
    return st;
}

/* Stores a scalar; false when the text isn't one of this kind. Strings are handled by set_string. */
static bool store(const oc_setting *s, void *at, const char *text) {
    switch (kind_of(s)) {
    case SET_BOOL: {
        int i = oc_word_index("false|true", text);
        if (i >= 0) *(bool *)at = i != 0;
        return i >= 0;
    }
    case SET_INT: return oc_parse_int(text, s->spec, at);
    case SET_DOUBLE: return oc_parse_double(text, s->spec, at);
    case SET_BYTES: return oc_parse_bytes(text, at);
    case SET_ENUM: {
        int i = oc_word_index(s->spec, text);
        if (i >= 0) *(int *)at = i;
        return i >= 0;
    }
    default: return false;
    }
}

static oc_status set_string(reader *r, char **at, const char *text, bool is_path, bool typed) {
    *at = is_path && !typed && *text ? oc_path_join(r->dir, text) : oc_strdup(text);
    return *at ? OC_OK : fail_memory(r);
}

static oc_status read_scalar(reader *r, const oc_setting *s, void *at, const yaml_node_t *node) {
    oc_strbuf text = {0};
    bool typed = false;
    oc_status st = expand(r, node, &text, &typed);
    if (st == OC_OK) {
        int kind = kind_of(s);
        if (kind == SET_STRING || kind == SET_PATH || kind == SET_PATHS)
            st = set_string(r, at, text.data, kind != SET_STRING, typed);
        else if (!store(s, at, text.data)) st = fail_value(r, node, s, text.data);
    }
    oc_strbuf_free(&text);
    return st;
}

/* --- Mappings and lists --------------------------------------------------------------------------------------------- */

static oc_status read_group(reader *r, const oc_setting *table, char *base, const yaml_node_t *node);

static oc_status set_defaults(reader *r, const oc_setting *table, char *base) {
    for (const oc_setting *s = table; !ends(s); s++) {
        char *at = base + s->offset;
        int kind = kind_of(s);
        if (kind == SET_GROUP || kind == SET_INLINE) OC_TRY(set_defaults(r, s->fields, at));
        else if (s->init && kind == SET_STRING) {
            char *text = oc_strdup(s->init);
            if (!text) return fail_memory(r);
            *(char **)at = text;
        } else if (s->init) OC_ASSERT(store(s, at, s->init));
    }
    return OC_OK;
}

/* The setting of that key, inline tables included; *at is where it is stored. */
static const oc_setting *find_setting(const oc_setting *table, char *base, const yaml_node_t *key, char **at) {
    for (const oc_setting *s = table; !ends(s); s++) {
        *at = base + s->offset;
        if (kind_of(s) == SET_INLINE) {
            const oc_setting *found = find_setting(s->fields, *at, key, at);
            if (found) return found;
        } else if (is_text(key, s->key)) return s;
    }
    return NULL;
}

static int list_keys(const oc_setting *table, const char **names, int n) {
    for (const oc_setting *s = table; !ends(s); s++) {
        if (kind_of(s) == SET_INLINE) n = list_keys(s->fields, names, n);
        else {
            OC_ASSERT(n < MAX_KEYS);
            names[n++] = s->key;
        }
    }
    return n;
}

static oc_status fail_key(reader *r, const oc_setting *table, const yaml_node_t *key) {
    if (key->type != YAML_SCALAR_NODE) return fail_at(r, key, "%s, a key was expected", node_kind(key));
    const char *names[MAX_KEYS], *text = (const char *)key->data.scalar.value;
    int n = list_keys(table, names, 0);
    const char *near = oc_nearest(text, names, n);
    if (near) return fail_at(r, key, "unknown key \"%.80s\" (did you mean %s?)", text, near);
    oc_strbuf all = {0};
    for (int i = 0; i < n; i++) oc_strbuf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    oc_status st = all.failed ? fail_memory(r) : fail_at(r, key, "unknown key \"%.80s\"; known are %s", text, all.data);
    oc_strbuf_free(&all);
    return st;
}

/* Memory for the n elements of a list, cleared. */
static oc_status open_list(reader *r, oc_list *list, const yaml_node_t *node, int n, size_t size) {
    r->total += (size_t)n * size;
    if (n > MAX_LIST || r->total > MAX_TOTAL)
        return fail_at(r, node, "%d elements, more than the limit of %d (or too much text in all)", n, MAX_LIST);
    list->item = oc_calloc((size_t)n, size);
    if (!list->item) return fail_memory(r);
    list->n = n;
    return OC_OK;
}

/* A list of mappings or of paths. */
static oc_status read_list(reader *r, const oc_setting *s, oc_list *list, const yaml_node_t *node) {
    bool paths = kind_of(s) == SET_PATHS;
    size_t size = paths ? sizeof(char *) : s->size;
    if (paths && node->type == YAML_SCALAR_NODE) {
        OC_TRY(open_list(r, list, node, 1, size));
        return read_scalar(r, s, list->item, node);
    }
    if (node->type != YAML_SEQUENCE_NODE)
        return fail_at(r, node, "%s, a list was expected (lines that begin with \"- \")", node_kind(node));
    yaml_node_item_t *item = node->data.sequence.items.start;
    long n = node->data.sequence.items.top - item;
    OC_TRY(open_list(r, list, node, (int)OC_MIN(n, MAX_LIST + 1L), size));
    for (int i = 0; i < list->n; i++) {
        size_t mark = r->path.len;
        yaml_node_t *child = yaml_document_get_node(&r->doc, item[i]);
        char *at = (char *)list->item + (size_t)i * size;
        push_index(r, i);
        if (!paths) OC_TRY(set_defaults(r, s->fields, at));
        OC_TRY(paths ? read_scalar(r, s, at, child) : read_group(r, s->fields, at, child));
        pop_to(r, mark);
    }
    return OC_OK;
}

/* One "name=value" of a mapping. */
static oc_status read_pair(reader *r, const yaml_node_t *key, const yaml_node_t *value, char **at) {
    if (key->type != YAML_SCALAR_NODE || !is_name((const char *)key->data.scalar.value, key->data.scalar.length))
        return fail_at(r, key, "a name was expected: letters, digits and _");
    const size_t mark = r->path.len;
    oc_strbuf text = {0}, pair = {.max = MAX_VALUE + 64};
    bool typed = false;
    push_key(r, (const char *)key->data.scalar.value);
    oc_status st = expand(r, value, &text, &typed);
    if (st == OC_OK) {
        oc_strbuf_printf(&pair, "%s=%s", (const char *)key->data.scalar.value, text.data);
        if (pair.failed || !(*at = oc_strdup(pair.data))) st = fail_memory(r);
    }
    if (st == OC_OK) pop_to(r, mark);
    oc_strbuf_free(&text);
    oc_strbuf_free(&pair);
    return st;
}

static oc_status read_pairs(reader *r, oc_list *list, const yaml_node_t *node) {
    if (node->type != YAML_MAPPING_NODE) return fail_at(r, node, "%s, a mapping was expected", node_kind(node));
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    const long n = node->data.mapping.pairs.top - pair;
    OC_TRY(open_list(r, list, node, (int)OC_MIN(n, MAX_LIST + 1L), sizeof(char *)));
    for (int i = 0; i < list->n; i++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, pair[i].key);
        for (int j = 0; j < i; j++)
            if (key->type == YAML_SCALAR_NODE &&
                is_text(yaml_document_get_node(&r->doc, pair[j].key), (const char *)key->data.scalar.value))
                return fail_at(r, key, "the name stands here twice");
        OC_TRY(read_pair(r, key, yaml_document_get_node(&r->doc, pair[i].value), (char **)list->item + i));
    }
    return OC_OK;
}

static oc_status read_value(reader *r, const oc_setting *s, char *at, const yaml_node_t *node) {
    switch (kind_of(s)) {
    case SET_GROUP: return read_group(r, s->fields, at, node);
    case SET_PAIRS: return read_pairs(r, (oc_list *)at, node);
    case SET_LIST:
    case SET_PATHS: return read_list(r, s, (oc_list *)at, node);
    case SET_VARS: return OC_OK; /* read before */
    case SET_STRING: oc_free(*(char **)at), *(char **)at = NULL; /* the default */ /* fall through */
    default: return read_scalar(r, s, at, node);
    }
}

static oc_status check_required(reader *r, const oc_setting *table, const yaml_node_t *node, const bool *seen,
                                int *index) {
    for (const oc_setting *s = table; !ends(s); s++) {
        if (kind_of(s) == SET_INLINE) OC_TRY(check_required(r, s->fields, node, seen, index));
        else if (!seen[(*index)++] && s->kind & SET_REQUIRED) return fail_at(r, node, "\"%s\" is missing", s->key);
    }
    return OC_OK;
}

/* The position of a setting in the order of list_keys. */
static int key_position(const oc_setting *table, const char *key) {
    const char *names[MAX_KEYS];
    int n = list_keys(table, names, 0);
    for (int i = 0; i < n; i++)
        if (names[i] == key) return i;
    return n;
}

static oc_status read_group(reader *r, const oc_setting *table, char *base, const yaml_node_t *node) {
    bool seen[MAX_KEYS + 1] = {false};
    if (node->type != YAML_MAPPING_NODE) return fail_at(r, node, "%s, a mapping was expected", node_kind(node));
    *(int *)base = (int)node->start_mark.line + 1;
    size_t mark = r->path.len;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(&r->doc, p->key), *value = yaml_document_get_node(&r->doc, p->value);
        char *at;
        const oc_setting *s = find_setting(table, base, key, &at);
        if (!s) return fail_key(r, table, key);
        int position = key_position(table, s->key);
        push_key(r, s->key);
        if (seen[position]) return fail_at(r, key, "the key stands here twice");
        if (!is_null(value)) {
            seen[position] = true;
            OC_TRY(read_value(r, s, at, value));
        }
        pop_to(r, mark);
    }
    int index = 0;
    return check_required(r, table, node, seen, &index);
}

/* --- Whole files ---------------------------------------------------------------------------------------------------- */

static oc_status fail_yaml(reader *r, const yaml_parser_t *p) {
    if (p->error == YAML_MEMORY_ERROR) return fail_memory(r);
    return oc_fail(r->err, OC_ERR_FORMAT, "%s:%zu:%zu: not valid YAML: %s%s%s", r->name, p->problem_mark.line + 1,
                   p->problem_mark.column + 1, p->problem ? p->problem : "unreadable", p->context ? ", " : "",
                   p->context ? p->context : "");
}

/* Reads the text once as a stream of events: libyaml needs quadratic time for deep nesting, so that must be found while
 * the text is being read, and not afterwards. Also finds everything that isn't YAML. */
static oc_status check_depth(reader *r, const char *text, size_t len) {
    yaml_parser_t parser;
    yaml_event_t event;
    oc_status st = OC_OK;
    bool more = true;
    if (!yaml_parser_initialize(&parser)) return fail_memory(r);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    for (int depth = 0; more && st == OC_OK;) {
        if (!yaml_parser_parse(&parser, &event)) {
            st = fail_yaml(r, &parser);
            break;
        }
        if (event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT) depth++;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) depth--;
        if (depth > MAX_DEPTH)
            st = oc_fail(r->err, OC_ERR_FORMAT, "%s:%zu:%zu: nested more than %d levels deep", r->name,
                         event.start_mark.line + 1, event.start_mark.column + 1, MAX_DEPTH);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return st;
}

/* What follows the first document must be nothing. */
static oc_status check_single(reader *r, yaml_parser_t *parser) {
    yaml_document_t more;
    if (!yaml_parser_load(parser, &more)) return fail_yaml(r, parser);
    yaml_node_t *root = yaml_document_get_root_node(&more);
    oc_status st = root ? fail_at(r, root, "a second document; one was expected") : OC_OK;
    yaml_document_delete(&more);
    return st;
}

static oc_status read_document(reader *r, const oc_setting *table, void *out, const char *const *vars, int n_vars) {
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root) return oc_fail(r->err, OC_ERR_FORMAT, "%s: empty; settings were expected", r->name);
    OC_TRY(take_caller_variables(r, vars, n_vars));
    OC_TRY(take_file_variables(r, root));
    OC_TRY(set_defaults(r, table, out));
    OC_TRY(read_group(r, table, out, root));
    return check_used(r);
}

static oc_status read_text(const oc_setting *table, void *out, const char *text, size_t len, const char *name,
                           const char *dir, const char *const *vars, int n_vars, oc_error *err) {
    reader r = {.name = name, .dir = dir, .err = err, .path = {.max = 1 << 12}};
    yaml_parser_t parser;
    OC_TRY(check_depth(&r, text, len));
    if (!yaml_parser_initialize(&parser)) return fail_memory(&r);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    oc_status st;
    if (!yaml_parser_load(&parser, &r.doc)) st = fail_yaml(&r, &parser);
    else {
        st = read_document(&r, table, out, vars, n_vars);
        if (st == OC_OK && yaml_document_get_root_node(&r.doc)) st = check_single(&r, &parser);
        yaml_document_delete(&r.doc);
    }
    yaml_parser_delete(&parser);
    for (int i = 0; i < r.n_vars; i++) {
        oc_free(r.var[i].name);
        oc_free(r.var[i].value);
    }
    oc_strbuf_free(&r.path);
    return st;
}

oc_status oc_settings_read(const oc_setting *table, void *out, size_t out_size, const char *text, size_t len,
                           const char *path, const char *const *vars, int n_vars, oc_error *err) {
    memset(out, 0, out_size);
    if (len > OC_SETTINGS_MAX_BYTES)
        return oc_fail(err, OC_ERR_FORMAT, "%s: larger than the limit of 1 MiB", path);
    char *dir = oc_path_dir(path);
    if (!dir) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_status st = read_text(table, out, text, len, path, dir, vars, n_vars, err);
    oc_free(dir);
    if (st != OC_OK) oc_settings_free(table, out);
    return st;
}

static void free_list(const oc_setting *s, oc_list *list) {
    for (int i = 0; i < list->n; i++) {
        if (kind_of(s) != SET_LIST) oc_free(((char **)list->item)[i]);
        else oc_settings_free(s->fields, (char *)list->item + (size_t)i * s->size);
    }
    oc_free(list->item);
    *list = (oc_list){0};
}

void oc_settings_free(const oc_setting *table, void *out) {
    for (const oc_setting *s = table; !ends(s); s++) {
        char *at = (char *)out + s->offset;
        switch (kind_of(s)) {
        case SET_STRING:
        case SET_PATH:
            oc_free(*(char **)at);
            *(char **)at = NULL;
            break;
        case SET_GROUP:
        case SET_INLINE: oc_settings_free(s->fields, at); break;
        case SET_LIST:
        case SET_PATHS:
        case SET_PAIRS: free_list(s, (oc_list *)at); break;
        default: break;
        }
    }
}

/* --- Reference ------------------------------------------------------------------------------------------------------ */

static void describe_rows(const oc_setting *table, oc_strbuf *out) {
    for (const oc_setting *s = table; !ends(s); s++) {
        if (kind_of(s) == SET_INLINE) {
            describe_rows(s->fields, out);
            continue;
        }
        oc_strbuf type = {0};
        describe_type(s, &type);
        oc_strbuf_printf(out, "| `%s` | ", s->key);
        for (const char *c = type.failed ? "" : type.data; *c; c++)
            oc_strbuf_puts(out, *c == '|' ? ", " : (char[]){*c, 0});
        oc_strbuf_printf(out, " | %s | %s |\n", s->kind & SET_REQUIRED ? "required" : s->init ? s->init : "", s->help);
        oc_strbuf_free(&type);
    }
}

/* Tables that were described already, with their titles: they are named, not repeated. */
typedef struct described {
    const oc_setting *table[MAX_KEYS];
    char title[MAX_KEYS][96];
    int n;
} described;

static void describe_table(const oc_setting *table, const char *title, described *done, oc_strbuf *out);

static void describe_nested(const oc_setting *table, const char *path, described *done, oc_strbuf *out) {
    for (const oc_setting *s = table; !ends(s); s++) {
        int kind = kind_of(s);
        char title[96];
        if (kind == SET_INLINE) describe_nested(s->fields, path, done, out);
        if (kind != SET_GROUP && kind != SET_LIST) continue;
        snprintf(title, sizeof title, "%s%s%s%s", path, *path ? "." : "", s->key, kind == SET_LIST ? "[]" : "");
        describe_table(s->fields, title, done, out);
    }
}

static void describe_table(const oc_setting *table, const char *title, described *done, oc_strbuf *out) {
    oc_strbuf_printf(out, "%s### %s%s%s\n\n", out->len ? "\n" : "", *title ? "`" : "", *title ? title : "Top level",
                     *title ? "`" : "");
    for (int i = 0; i < done->n; i++)
        if (done->table[i] == table) return oc_strbuf_printf(out, "The keys of `%s`.\n", done->title[i]);
    OC_ASSERT(done->n < MAX_KEYS);
    done->table[done->n] = table;
    snprintf(done->title[done->n++], sizeof done->title[0], "%s", title);
    oc_strbuf_puts(out, "| key | takes | default | meaning |\n|---|---|---|---|\n");
    describe_rows(table, out);
    describe_nested(table, title, done, out);
}

void oc_settings_describe(const oc_setting *table, oc_strbuf *out) {
    described done = {.n = 0};
    describe_table(table, "", &done, out);
}
