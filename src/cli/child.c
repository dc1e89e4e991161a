#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/signals.h"

enum { NOT_STARTED = 127, TICK_MS = 100 };

/* Between fork and exec: calls that are safe there, and nothing else. */
_Noreturn static void become(const oc_child *c, int output, int errors, pid_t parent) {
    setpgid(0, 0); /* Ctrl-C reaches the parent alone, which passes it on once: twice would end the child at once */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent && dup2(output, STDOUT_FILENO) >= 0 && dup2(errors, STDERR_FILENO) >= 0)
        execv("/proc/self/exe", (char *const *)(uintptr_t)c->argv);
    _exit(NOT_STARTED);
}

/* Lines of standard error: they go to the log file, and the last whole one is kept. */
typedef struct lines {
    FILE *log;
    char last[400], part[400];
    size_t n;
} lines;

static void take(lines *l, const char *bytes, size_t n) {
    if (l->log) fwrite(bytes, 1, n, l->log);
    for (size_t i = 0; i < n; i++) {
        const bool end = bytes[i] == '\n' || bytes[i] == '\r';
        if (!end && l->n + 1 < sizeof l->part) l->part[l->n++] = (unsigned char)bytes[i] < 0x20 ? '?' : bytes[i];
        if (!end || !l->n) continue;
        l->part[l->n] = 0;
        memcpy(l->last, l->part, l->n + 1);
        l->n = 0;
    }
}

/* Until the child closes its end. */
static void follow(const oc_child *c, pid_t pid, int from, lines *l) {
    bool passed_on = false;
    char bytes[4096];
    for (;;) {
        struct pollfd p = {.fd = from, .events = POLLIN};
        const int ready = poll(&p, 1, TICK_MS);
        if (oc_interrupted() && !passed_on) {
            kill(pid, SIGTERM);
            passed_on = true;
        }
        if (ready > 0) {
            const ssize_t n = read(from, bytes, sizeof bytes);
            if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return;
            if (n > 0) take(l, bytes, (size_t)n);
        }
        if (c->tick) c->tick(c->ctx, l->last);
    }
}

static oc_status fail_errno(const char *what, oc_error *err) {
    return oc_fail(err, OC_ERR_IO, "%s: %s", what, strerror(errno));
}

static oc_status run(const oc_child *c, oc_child_result *r, int output, FILE *log, oc_error *err) {
    int pipe_fd[2], status = 0;
    if (pipe(pipe_fd) < 0) return fail_errno("cannot make a pipe", err);
    fcntl(pipe_fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(pipe_fd[1], F_SETFD, FD_CLOEXEC);
    fflush(NULL);
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) become(c, output, pipe_fd[1], parent);
    close(pipe_fd[1]);
    if (pid < 0) {
        close(pipe_fd[0]);
        return fail_errno("cannot start a process", err);
    }
    lines l = {.log = log};
    const double start = oc_now();
    follow(c, pid, pipe_fd[0], &l);
    close(pipe_fd[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    r->seconds = oc_now() - start;
    r->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    r->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (r->signal)
        snprintf(r->message, sizeof r->message, "ended by signal %d (%s)", r->signal, strsignal(r->signal));
    else if (r->code == NOT_STARTED && !*l.last)
        snprintf(r->message, sizeof r->message, "could not be started");
    else
        memcpy(r->message, l.last, sizeof r->message);
    if (oc_interrupted()) return oc_fail(err, OC_ERR_INTERRUPTED, "stopped by a signal");
    return OC_OK;
}

oc_status oc_child_run(const oc_child *c, oc_child_result *r, oc_error *err) {
    memset(r, 0, sizeof *r);
    const char *to = c->output ? c->output : "/dev/null";
    const int output = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (output < 0) return oc_fail(err, OC_ERR_IO, "%s: cannot create: %s", to, strerror(errno));
    FILE *log = c->log ? fopen(c->log, "ae") : NULL;
    oc_status st = OC_OK;
    if (c->log && !log) st = oc_fail(err, OC_ERR_IO, "%s: cannot open: %s", c->log, strerror(errno));
    if (st == OC_OK) st = run(c, r, output, log, err);
    if (log) fclose(log);
    close(output);
    return st;
}
