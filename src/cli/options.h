/* Command line options. One table per command drives parsing, type checks and the help text:
 *
 *     static struct { int steps; double lr; int mask; const char *out; bool json; oc_string_list image; } opt = {
 *         .steps = 100, .lr = 1e-3};
 *     static const oc_option options[] = {
 *         {"--steps", OPT_INT, &opt.steps, "1..1000000", "optimizer steps"},
 *         {"--lr", OPT_DOUBLE, &opt.lr, "0..1", "learning rate"},
 *         {"--mask", OPT_ENUM, &opt.mask, "causal|prefix|isolated", "which keys a visual token sees"},
 *         {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "DIR", "where the result goes"},
 *         {"--json", OPT_FLAG, &opt.json, NULL, "print JSON"},
 *         {"--image", OPT_LIST, &opt.image, "FILE", "an image; may be given several times"},
 *         {0}};
 *
 * The value a field holds before parsing is the default that the help text prints. `--opt value` and `--opt=value` are
 * the same; a value that begins with "--" needs the second form. "--" ends the options. */
#ifndef OC_CLI_OPTIONS_H
#define OC_CLI_OPTIONS_H

#include "base/base.h"

typedef enum {
    OPT_FLAG,   /* bool: present or not */
    OPT_INT,    /* int; spec is the range "LO..HI" (either end may be left out), NULL for any */
    OPT_DOUBLE, /* double, finite; spec as for OPT_INT */
    OPT_STRING, /* const char * into argv; spec is what the help text calls the value ("FILE") */
    OPT_ENUM,   /* int: the position in spec, "first|second|third" */
    OPT_LIST,   /* oc_string_list: every occurrence adds one string; spec as for OPT_STRING */
    OPT_REQUIRED = 16 /* added to a kind: leaving the option out is wrong usage */
} oc_option_kind;

typedef struct oc_string_list {
    const char **item; /* the strings belong to argv, the array to the list */
    int n;
} oc_string_list;

typedef struct oc_option {
    const char *name; /* with its dashes: "--steps"; NULL ends the table */
    int kind;         /* oc_option_kind, perhaps | OPT_REQUIRED */
    void *field;
    const char *spec, *help;
} oc_option;

/* Reads argv[0..argc), moves what is not an option to the front of argv and sets *n_args to its count. *help becomes
 * true, and nothing else is checked, when --help (or -h) is there. The message of an error names the option, what it
 * got and what it takes, and for an unknown option the nearest known one. */
oc_status oc_options_parse(const oc_option *table, int argc, char **argv, int *n_args, bool *help, oc_error *err);

/* Frees the arrays of OPT_LIST fields. */
void oc_options_free(const oc_option *table);

/* Adds one paragraph per option: name, value, help, allowed values, default. */
void oc_options_describe(const oc_option *table, oc_strbuf *out);

#endif
