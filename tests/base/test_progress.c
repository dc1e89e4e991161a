/* The bar's text at several widths, plain lines in a file, the bar on a pseudo terminal with a log line in between,
 * and signals. */
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/base.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"

static oc_progress sample(void) {
    return (oc_progress){.label = "stage 1", .extra = "loss 2.31", .done = 370, .total = 1000, .first_done = 0, .start = 100};
}

static void text(void **state) {
    OC_UNUSED(state);
    oc_progress p = sample();
    char line[512];
    oc_progress_format(&p, line, sizeof line, 90, 174);
    assert_string_equal(line, "stage 1 [=============>                      ]  37% 370/1000  loss 2.31  01:14, 02:06 left");
    for (int width = 0; width < 120; width++) assert_true(oc_progress_format(&p, line, sizeof line, width, 174) <= (size_t)width);
    p.done = 1000;
    oc_progress_format(&p, line, sizeof line, 70, 3700 + 100);
    assert_non_null(strstr(line, "100% 1000/1000"));
    assert_non_null(strstr(line, "1:01:40"));
    assert_null(strstr(line, "left"));
    p.total = 0;
    oc_progress_format(&p, line, sizeof line, 70, 101);
    assert_string_equal(line, "stage 1 1000  loss 2.31  00:01");
    assert_int_equal(oc_progress_format(&p, line, 5, 70, 101), 4);
}

/* A stage resumed at 900 of 1000 that has done 50 more in 10 s has 10 s left, not 0.5 s. */
static void resumed(void **state) {
    OC_UNUSED(state);
    oc_progress p = sample();
    char line[512];
    p.first_done = 900, p.done = 950;
    oc_progress_format(&p, line, sizeof line, 100, 110);
    assert_non_null(strstr(line, "00:10 left"));
}

/* Runs `work` with stderr sent to fd. */
static void with_stderr(int fd, void (*work)(void)) {
    int saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    work();
    dup2(saved, STDERR_FILENO);
    close(saved);
}

static void three_updates(void) {
    oc_progress p;
    oc_progress_open(&p, "demo", 10, false);
    p.plain_every_s = 1e-9;
    oc_progress_update(&p, 1, 10, "loss %.1f", 3.5);
    oc_log(OC_LOG_WARN, "a\nnote%c", 7);
    oc_log(OC_LOG_DEBUG, "hidden");
    oc_progress_update(&p, 2, 10, NULL);
    oc_progress_close(&p);
}

static void plain_lines(void **state) {
    OC_UNUSED(state);
    FILE *f = tmpfile();
    with_stderr(fileno(f), three_updates);
    char got[2000] = "";
    rewind(f);
    assert_true(fread(got, 1, sizeof got - 1, f) > 0);
    fclose(f);
    assert_null(strchr(got, '\r'));
    assert_non_null(strstr(got, "demo  10% 1/10  loss 3.5  00:00"));
    assert_non_null(strstr(got, "\nocellus: warning: a?note?\n"));
    assert_null(strstr(got, "hidden"));
    assert_non_null(strstr(got, "demo  20% 2/10  loss 3.5"));
    assert_int_equal(got[strlen(got) - 1], '\n');
}

static void terminal_bar(void **state) {
    OC_UNUSED(state);
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) skip();
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0) skip();
    setenv("TERM", "xterm", 1);
    with_stderr(slave, three_updates);
    char got[4000] = "";
    size_t n = 0;
    fcntl(master, F_SETFL, O_NONBLOCK);
    for (ssize_t k; n < sizeof got - 1 && (k = read(master, got + n, sizeof got - 1 - n)) > 0;) n += (size_t)k;
    close(slave);
    close(master);
    assert_non_null(strstr(got, "\r\033[Kdemo ["));
    const char *note = strstr(got, "\r\033[Kocellus: warning: a?note?"); /* the bar is erased first */
    assert_non_null(note);
    assert_non_null(strstr(note, "demo [")); /* and drawn again */
}

static void quiet(void **state) {
    OC_UNUSED(state);
    FILE *f = tmpfile();
    oc_log_set_level(OC_LOG_ERROR);
    with_stderr(fileno(f), three_updates);
    oc_log_set_level(OC_LOG_INFO);
    fseek(f, 0, SEEK_END);
    assert_int_equal(ftell(f), 0);
    fclose(f);
}

static void first_signal_asks(void **state) {
    OC_UNUSED(state);
    oc_signals_install();
    assert_false(oc_interrupted());
    raise(SIGTERM);
    assert_true(oc_interrupted());
    oc_signals_reset();
    assert_false(oc_interrupted());
}

static void second_signal_kills(void **state) {
    OC_UNUSED(state);
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGINT);
        raise(SIGTERM);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text),  cmocka_unit_test(resumed),           cmocka_unit_test(plain_lines), cmocka_unit_test(terminal_bar),
        cmocka_unit_test(quiet), cmocka_unit_test(first_signal_asks), cmocka_unit_test(second_signal_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
