/* A subcommand is one file src/cli/<verb>.c that defines one oc_command named oc_command_<verb> (words joined by '_')
 * and has its line in commands.h. main.c finds it by name, parses its options and prints its help and its errors. */
#ifndef OC_CLI_CLI_H
#define OC_CLI_CLI_H

#include <stdio.h>

#include "cli/options.h"

/* What run returns besides oc_status when the arguments make no sense together; the program then exits with 2. */
enum { OC_CLI_USAGE = 100 };

typedef struct oc_command {
    const char *name;       /* "train", or two words: "pretrain vision" */
    const char *summary;    /* one line for the list of commands */
    const char *positional; /* as in the usage line: "MODEL IMAGE..."; NULL for none */
    int min_args, max_args; /* how many positional arguments; max_args < 0: no limit */
    const char *details;    /* further paragraphs of --help, with examples; NULL for none */
    const oc_option *options; /* ends with {0}; NULL for none. --quiet, --verbose and --help come by themselves */

    /* args[n_args]: the positional arguments. Results go to stdout, progress to stderr. Returns OC_OK, or what oc_fail
     * returned, or oc_usage(...). main prints "ocellus <name>: message" for the latter two. */
    int (*run)(int n_args, char **args, oc_error *err);
} oc_command;

/* Writes the message and returns OC_CLI_USAGE. */
int oc_usage(oc_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
