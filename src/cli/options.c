#include "cli/options.h"

#include <string.h>

#include "base/text.h"

enum { MAX_OPTIONS = 128, HELP_COLUMN = 26, HELP_WIDTH = 100 };

static int kind_of(const oc_option *o) { return o->kind & ~OPT_REQUIRED; }

static oc_status fail_unknown(const oc_option *table, const char *name, oc_error *err) {
    const char *names[MAX_OPTIONS];
    int n = 0;
    for (const oc_option *o = table; o->name && n < MAX_OPTIONS - 1; o++) names[n++] = o->name;
    names[n++] = "--help";
    const char *near = oc_nearest(name, names, n);
    return oc_fail(err, OC_ERR_ARG, "unknown option %s%s%s%s; --help lists the options", name,
                   near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* --- Values --------------------------------------------------------------------------------------------------------- */

static oc_status fail_value(const oc_option *o, const char *value, const char *wanted, oc_error *err) {
    bool range = o->spec && kind_of(o) != OPT_ENUM;
    return oc_fail(err, OC_ERR_ARG, "%s %s: %s%s%s was expected", o->name, *value ? value : "\"\"", wanted,
                   o->spec ? (range ? " in " : " ") : "", o->spec ? o->spec : "");
}

static oc_status set_enum(const oc_option *o, const char *value, oc_error *err) {
    int index = oc_word_index(o->spec, value);
    if (index < 0) return fail_value(o, value, "one of", err);
    *(int *)o->field = index;
    return OC_OK;
}

static oc_status add_to_list(oc_string_list *list, const char *value, oc_error *err) {
    size_t old = (size_t)list->n * sizeof *list->item;
    const char **grown = oc_realloc(list->item, old, old + sizeof *grown);
    if (!grown) return oc_fail(err, OC_ERR_NOMEM, "out of memory while reading the command line");
    list->item = grown;
    list->item[list->n++] = value;
    return OC_OK;
}

static oc_status set_value(const oc_option *o, const char *value, oc_error *err) {
    switch (kind_of(o)) {
    case OPT_INT: return oc_parse_int(value, o->spec, o->field) ? OC_OK : fail_value(o, value, "an integer", err);
    case OPT_DOUBLE: return oc_parse_double(value, o->spec, o->field) ? OC_OK : fail_value(o, value, "a number", err);
    case OPT_ENUM: return set_enum(o, value, err);
    case OPT_LIST: return add_to_list(o->field, value, err);
    default: *(const char **)o->field = value; return OC_OK;
    }
}

/* --- Parsing -------------------------------------------------------------------------------------------------------- */

/* The option that arg names, up to its '='; *value is what follows the '=' or NULL. */
static const oc_option *find_option(const oc_option *table, const char *arg, const char **value) {
    const char *eq = strchr(arg, '=');
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    *value = eq ? eq + 1 : NULL;
    for (const oc_option *o = table; o->name; o++)
        if (strlen(o->name) == n && !memcmp(o->name, arg, n)) return o;
    return NULL;
}

/* Reads the option at argv[*at] and, where it takes one, its value; *at moves to the last word used. */
static oc_status parse_one(const oc_option *table, bool *seen, int argc, char **argv, int *at, oc_error *err) {
    const char *value, *arg = argv[*at];
    const oc_option *o = find_option(table, arg, &value);
    if (!o) return fail_unknown(table, arg, err);
    seen[o - table] = true;
    if (kind_of(o) == OPT_FLAG) {
        if (value) return oc_fail(err, OC_ERR_ARG, "%s takes no value, but got \"%s\"", o->name, value);
        *(bool *)o->field = true;
        return OC_OK;
    }
    if (!value) {
        bool missing = *at + 1 >= argc, dashes = !missing && !strncmp(argv[*at + 1], "--", 2);
        if (missing || dashes)
            return oc_fail(err, OC_ERR_ARG, "%s needs a value%s%s", o->name, dashes ? ", but is followed by " : "",
                           dashes ? argv[*at + 1] : "");
        value = argv[++*at];
    }
    return set_value(o, value, err);
}

static bool wants_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

oc_status oc_options_parse(const oc_option *table, int argc, char **argv, int *n_args, bool *help, oc_error *err) {
    bool seen[MAX_OPTIONS] = {false}, ended = false;
    int n = 0;
    *n_args = 0;
    *help = wants_help(argc, argv);
    if (*help) return OC_OK;
    for (int i = 0; i < argc; i++) {
        if (ended || argv[i][0] != '-' || !argv[i][1]) argv[n++] = argv[i];
        else if (!strcmp(argv[i], "--")) ended = true;
        else OC_TRY(parse_one(table, seen, argc, argv, &i, err));
    }
    for (const oc_option *o = table; o->name; o++)
        if (o->kind & OPT_REQUIRED && !seen[o - table]) return oc_fail(err, OC_ERR_ARG, "%s is missing", o->name);
    *n_args = n;
    return OC_OK;
}

void oc_options_free(const oc_option *table) {
    for (const oc_option *o = table; o->name; o++) {
        if (kind_of(o) != OPT_LIST) continue;
        oc_string_list *list = o->field;
        oc_free(list->item);
        *list = (oc_string_list){0};
    }
}

/* --- Help ----------------------------------------------------------------------------------------------------------- */

static const char *value_name(const oc_option *o) {
    switch (kind_of(o)) {
    case OPT_FLAG: return "";
    case OPT_INT: return "N";
    case OPT_DOUBLE: return "X";
    case OPT_ENUM: return "WORD";
    default: return o->spec ? o->spec : "TEXT";
    }
}

/* A space where no line ends, until wrap prints it. */
#define HARD_SPACE "\1"

/* Adds "(default ...)" and the like to the text. */
static void describe_value(const oc_option *o, oc_strbuf *text) {
    int kind = kind_of(o);
    if (kind == OPT_ENUM) oc_strbuf_printf(text, ": %s", o->spec);
    if ((kind == OPT_INT || kind == OPT_DOUBLE) && o->spec) oc_strbuf_printf(text, " [%s]", o->spec);
    if (o->kind & OPT_REQUIRED) return oc_strbuf_puts(text, " (required)");
    switch (kind) {
    case OPT_INT: oc_strbuf_printf(text, " (default" HARD_SPACE "%d)", *(int *)o->field); break;
    case OPT_DOUBLE: oc_strbuf_printf(text, " (default" HARD_SPACE "%g)", *(double *)o->field); break;
    case OPT_STRING:
        if (*(const char **)o->field) oc_strbuf_printf(text, " (default" HARD_SPACE "%s)", *(const char **)o->field);
        break;
    case OPT_ENUM: {
        int len;
        const char *word = oc_word_at(o->spec, *(int *)o->field, &len);
        oc_strbuf_printf(text, " (default" HARD_SPACE "%.*s)", len, word);
        break;
    }
    default: break;
    }
}

/* Adds the words of text, wrapped, each line after the first indented to HELP_COLUMN. */
static void wrap(const char *text, int column, oc_strbuf *out) {
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + word > HELP_WIDTH) {
            oc_strbuf_printf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) oc_strbuf_putc(out, ' '), column++;
        for (int i = 0; i < word; i++) oc_strbuf_putc(out, text[i] == HARD_SPACE[0] ? ' ' : text[i]);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    oc_strbuf_putc(out, '\n');
}

void oc_options_describe(const oc_option *table, oc_strbuf *out) {
    oc_strbuf head = {0}, text = {0};
    for (const oc_option *o = table; o->name; o++) {
        oc_strbuf_clear(&head);
        oc_strbuf_clear(&text);
        oc_strbuf_printf(&head, "  %s %s", o->name, value_name(o));
        oc_strbuf_puts(&text, o->help);
        describe_value(o, &text);
        if (head.failed || text.failed) break;
        if (head.len >= HELP_COLUMN - 1) oc_strbuf_printf(out, "%s\n%*s", head.data, HELP_COLUMN, "");
        else oc_strbuf_printf(out, "%-*s", HELP_COLUMN, head.data);
        wrap(text.data, HELP_COLUMN, out);
    }
    out->failed |= head.failed | text.failed;
    oc_strbuf_free(&head);
    oc_strbuf_free(&text);
}
