/* A YAML file read into C structures by a table. One table per mapping gives key, type, place, default, range and help;
 * parsing, checks, defaults and the written reference (docs/recipes.md) all come from it.
 *
 *     typedef struct stage { int line; const char *name; int batch; double lr; } stage;
 *     static const oc_setting stage_settings[] = {
 *         {"name", SET_STRING | SET_REQUIRED, offsetof(stage, name), .help = "..."},
 *         {"batch", SET_INT, offsetof(stage, batch), .spec = "1..65536", .init = "32", .help = "..."},
 *         {"lr", SET_DOUBLE, offsetof(stage, lr), .spec = "0..1", .init = "1e-3", .help = "..."},
 *         {0}};
 *
 * The structure of a group (a nested mapping, or an element of a list) begins with `int line`: where it begins in the
 * file, 0 when the file has no such group. What the file leaves out has its default, in groups that are absent too.
 *
 * ${name} in a value stands for a variable: given by the caller ("name=value") or, failing that, by the file's own
 * top-level mapping `vars`. $$ is a dollar sign. Relative paths are relative to the file's folder; a path that begins
 * with a variable that the caller gave, to the current folder, where it was typed.
 *
 * Input is hostile: the depth of the tables bounds the walk, and lists, the length of values and their sum have limits,
 * so that aliases cannot blow up. An error reads "FILE:LINE:COLUMN: stages[2].train.lm: what was found and wanted". */
#ifndef OC_TRAIN_SETTINGS_H
#define OC_TRAIN_SETTINGS_H

#include "base/base.h"

typedef enum {
    SET_BOOL,   /* bool: true or false */
    SET_INT,    /* int; spec is the range "LO..HI" */
    SET_DOUBLE, /* double; spec as for SET_INT */
    SET_BYTES,  /* size_t: "8 GiB" */
    SET_STRING, /* const char *, NULL when absent; a string of its own */
    SET_PATH,   /* the same; relative to the file's folder */
    SET_ENUM,   /* an enum or int: the position in spec, "first|second" */
    SET_GROUP,  /* a nested mapping, in place; fields is its table */
    SET_INLINE, /* the fields of another table, whose structure lies at offset, as keys of this mapping */
    SET_LIST,   /* an oc_list of mappings; fields is their table, size that of one */
    SET_PATHS,  /* an oc_list of const char *, each as for SET_PATH; one value without a list is a list of one */
    SET_PAIRS,  /* an oc_list of const char *: a mapping of names to values, each as "name=value" */
    SET_VARS,   /* the mapping of variables; stored nowhere */
    SET_REQUIRED = 32 /* added to a kind */
} oc_setting_kind;

typedef struct oc_list {
    void *item;
    int n;
} oc_list;

typedef struct oc_setting oc_setting;
struct oc_setting {
    const char *key; /* NULL only for SET_INLINE and at the end of a table, which has no fields either */
    int kind;        /* oc_setting_kind, perhaps | SET_REQUIRED */
    size_t offset;
    const char *spec, *init; /* init: the default as text; NULL for none (0, NULL, the first word) */
    const oc_setting *fields;
    size_t size;
    const char *help;
};

enum { OC_SETTINGS_MAX_BYTES = 1 << 20 };

/* Reads YAML text of at most OC_SETTINGS_MAX_BYTES. path stands for the file in messages, and relative paths in the text
 * begin at its folder. vars[n_vars] are "name=value". The structure at out, zeroed first, owns what it points to until
 * oc_settings_free; on failure it is left empty. */
oc_status oc_settings_read(const oc_setting *table, void *out, size_t out_size, const char *text, size_t len,
                           const char *path, const char *const *vars, int n_vars, oc_error *err);
void oc_settings_free(const oc_setting *table, void *out);

/* Adds the reference of a table in Markdown: a section per mapping with its keys, types, defaults and help. */
void oc_settings_describe(const oc_setting *table, oc_strbuf *out);

#endif
