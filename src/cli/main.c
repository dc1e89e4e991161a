/* ocellus <command> [arguments] [options]: finds the command, parses its options, runs it, reports its error.
 * Exit status: 0 done, 1 failed, 2 wrong usage. */
#if defined(__linux__)
#include <malloc.h>
#endif
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "base/signals.h"
#include "base/text.h"
#include "cli/cli.h"

/* --- The list of commands ------------------------------------------------------------------------------------------- */

#define OC_GROUP(title)
#define OC_COMMAND(x) extern const oc_command oc_command_##x;
#include "cli/commands.h"
#undef OC_GROUP
#undef OC_COMMAND

typedef struct entry {
    const char *group; /* a heading, or */
    const oc_command *command;
} entry;

static const entry entries[] = {
#define OC_GROUP(title) {.group = title},
#define OC_COMMAND(x) {.command = &oc_command_##x},
#include "cli/commands.h"
#undef OC_GROUP
#undef OC_COMMAND
};

enum { MAX_COMMANDS = OC_COUNT(entries) + 2, MAX_OPTIONS = 96 };

/* What every command takes besides its own options. */
static struct { bool quiet, verbose; } common;
static const oc_option common_options[] = {
    {"--quiet", OPT_FLAG, &common.quiet, NULL, "no progress on stderr, only errors"},
    {"--verbose", OPT_FLAG, &common.verbose, NULL, "more of what happens on stderr"},
    {"--help", OPT_FLAG, &(bool){false}, NULL, "this text"},
    {0}};

/* all[MAX_OPTIONS] = the command's options and the common ones. */
static void join_options(oc_option *all, const oc_command *c) {
    size_t n = 0;
    for (const oc_option *o = c->options; o && o->name; o++) all[n++] = *o;
    OC_ASSERT(n + OC_COUNT(common_options) <= MAX_OPTIONS);
    memcpy(all + n, common_options, sizeof common_options);
}

int oc_usage(oc_error *err, const char *fmt, ...) {
    char text[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    oc_fail(err, OC_ERR_ARG, "%s", text);
    return OC_CLI_USAGE;
}

/* The command whose one or two words open argv; *words is their number. */
static const oc_command *find_command(int argc, char **argv, int *words) {
    for (size_t i = 0; i < OC_COUNT(entries); i++) {
        const oc_command *c = entries[i].command;
        if (!c) continue;
        const char *space = strchr(c->name, ' ');
        size_t first = space ? (size_t)(space - c->name) : strlen(c->name);
        if (argc < 1 || strlen(argv[0]) != first || memcmp(argv[0], c->name, first)) continue;
        if (space && (argc < 2 || strcmp(argv[1], space + 1))) continue;
        *words = space ? 2 : 1;
        return c;
    }
    return NULL;
}

/* --- Help ----------------------------------------------------------------------------------------------------------- */

static int print(oc_strbuf *text, FILE *to) {
    bool ok = !text->failed;
    if (ok) fputs(text->data, to);
    oc_strbuf_free(text);
    return ok ? 0 : 1;
}

static int print_overview(FILE *to) {
    oc_strbuf b = {0};
    oc_strbuf_puts(&b, "Ocellus trains, measures and runs small vision-language models.\n\n"
                       "usage: ocellus COMMAND [arguments] [--option value]...\n"
                       "       ocellus help COMMAND | ocellus COMMAND --help\n"
                       "       ocellus --version\n");
    const char *group = NULL;
    for (size_t i = 0; i < OC_COUNT(entries); i++) {
        const oc_command *c = entries[i].command;
        if (!c) {
            group = entries[i].group;
            continue;
        }
        if (group) oc_strbuf_printf(&b, "\n%s\n", group);
        group = NULL;
        oc_strbuf_printf(&b, "  %-18s %s\n", c->name, c->summary);
    }
    return print(&b, to);
}

static int print_help(const oc_command *c) {
    oc_strbuf b = {0};
    oc_option options[MAX_OPTIONS];
    join_options(options, c);
    oc_strbuf_printf(&b, "usage: ocellus %s%s%s [options]\n\n%s.\n", c->name, c->positional ? " " : "",
                     c->positional ? c->positional : "", c->summary);
    if (c->details) oc_strbuf_printf(&b, "\n%s\n", c->details);
    oc_strbuf_puts(&b, "\nOptions\n");
    oc_options_describe(options, &b);
    return print(&b, stdout);
}

/* --- Running -------------------------------------------------------------------------------------------------------- */

static int fail_usage(const oc_command *c, const char *message) {
    fprintf(stderr, "ocellus %s: %s\n", c->name, message);
    return 2;
}

static int unknown_command(int argc, char **argv) {
    const char *names[MAX_COMMANDS];
    int n = 0;
    oc_strbuf typed = {0}, family = {0};
    for (size_t i = 0; i < OC_COUNT(entries); i++) {
        const oc_command *c = entries[i].command;
        if (!c) continue;
        names[n++] = c->name;
        size_t len = strlen(argv[0]);
        if (!strncmp(c->name, argv[0], len) && c->name[len] == ' ') /* the first of two words */
            oc_strbuf_printf(&family, "%s%s", family.len ? ", " : "", c->name);
    }
    names[n++] = "help";
    oc_strbuf_puts(&typed, argv[0]);
    const char *near = oc_nearest(argv[0], names, n);
    if (!near && argc > 1 && argv[1][0] != '-') {
        oc_strbuf_printf(&typed, " %s", argv[1]);
        if (!typed.failed) near = oc_nearest(typed.data, names, n);
    }
    if (family.len) fprintf(stderr, "ocellus: \"%s\" needs a second word: %s\n", argv[0], family.data);
    else
        fprintf(stderr, "ocellus: unknown command \"%s\"%s%s%s; ocellus --help lists the commands\n", argv[0],
                near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
    oc_strbuf_free(&typed);
    oc_strbuf_free(&family);
    return 2;
}

/* Calls the command with its arguments read; prints its error. */
static int call(const oc_command *c, int n_args, char **args) {
    oc_error err = {0};
    oc_log_set_level(common.quiet ? OC_LOG_ERROR : common.verbose ? OC_LOG_DEBUG : OC_LOG_INFO);
    oc_signals_install();
    int st = c->run(n_args, args, &err);
    if (st == OC_CLI_USAGE) return fail_usage(c, err.msg);
    if (st == OC_OK) return 0;
    fflush(stdout);
    fprintf(stderr, "ocellus %s: %s\n", c->name, err.msg);
    return 1;
}

/* Runs c with argv, which begins after the command's name. */
static int run_command(const oc_command *c, int argc, char **argv) {
    oc_option options[MAX_OPTIONS];
    oc_error err = {0};
    int n_args, code;
    bool help;
    join_options(options, c);
    if (oc_options_parse(options, argc, argv, &n_args, &help, &err) != OC_OK) code = fail_usage(c, err.msg);
    else if (help) code = print_help(c);
    else if (n_args < c->min_args || (c->max_args >= 0 && n_args > c->max_args)) {
        oc_usage(&err, "got %d argument%s, but the usage is: ocellus %s %s", n_args, n_args == 1 ? "" : "s", c->name,
                 c->positional ? c->positional : "[options]");
        code = fail_usage(c, err.msg);
    } else code = call(c, n_args, argv);
    oc_options_free(options);
    return code;
}

/* A result that did not reach its file or pipe is a failure. */
static int close_stdout(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "ocellus: cannot write to standard output\n");
    return code ? code : 1;
}

/* Large blocks are maps of their own and go back to the system when they are freed. glibc would come to keep freed blocks
 * of up to 32 MiB, where what a stage takes does not always find room in what the one before left: more would then be
 * resident than `train --dry-run` says. */
static void return_freed_memory(void) {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

int main(int argc, char **argv) {
    return_freed_memory();
    argc--, argv++;
    if (argc == 0) return print_overview(stderr), 2;
    const char *word = argv[0];
    if (!strcmp(word, "--version")) return printf("ocellus %s\n", OC_VERSION), close_stdout(0);
    bool help = !strcmp(word, "help") || !strcmp(word, "--help") || !strcmp(word, "-h");
    if (help && argc == 1) return close_stdout(print_overview(stdout));
    if (help) argc--, argv++;
    int words;
    const oc_command *c = find_command(argc, argv, &words);
    if (!c) return unknown_command(argc, argv);
    return close_stdout(help ? print_help(c) : run_command(c, argc - words, argv + words));
}
