/* Messages: format, prefix, control characters, length; assertions end the process. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/base.h"

static void message(void **state) {
    OC_UNUSED(state);
    oc_error e;
    assert_int_equal(oc_fail(&e, OC_ERR_IO, "%s: line %d", "f.json", 3), OC_ERR_IO);
    assert_int_equal(e.code, OC_ERR_IO);
    assert_string_equal(e.msg, "f.json: line 3");
    assert_int_equal(oc_fail(NULL, OC_ERR_ARG, "x"), OC_ERR_ARG);
}

static void hostile_text(void **state) {
    OC_UNUSED(state);
    oc_error e;
    oc_fail(&e, OC_ERR_FORMAT, "%s", "a\n\x1b[31mb\x7f\xc3\xa4");
    assert_string_equal(e.msg, "a??[31mb?\xc3\xa4");
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    oc_fail(&e, OC_ERR_FORMAT, "%s", longer);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    oc_fail_prefix(&e, "%s", longer); /* both are cut, nothing overflows */
    assert_true(strlen(e.msg) < sizeof e.msg);
}

static void prefix(void **state) {
    OC_UNUSED(state);
    oc_error e;
    oc_fail(&e, OC_ERR_NOMEM, "too big");
    assert_int_equal(oc_fail_prefix(&e, "sample %d", 7), OC_ERR_NOMEM);
    assert_string_equal(e.msg, "sample 7: too big");
    oc_fail(&e, OC_ERR_NOMEM, "about %s", e.msg); /* a message may be part of its successor */
    assert_string_equal(e.msg, "about sample 7: too big");
}

static oc_status inner(int *steps) {
    OC_TRY(OC_OK);
    (*steps)++;
    OC_TRY(OC_ERR_FORMAT);
    (*steps)++;
    return OC_OK;
}

static oc_status unwinding(int *steps) {
    oc_status st = OC_OK;
    OC_GO(inner(steps));
    (*steps)++;
done:
    *steps += 10;
    return st;
}

static void early_returns(void **state) {
    OC_UNUSED(state);
    int steps = 0;
    assert_int_equal(unwinding(&steps), OC_ERR_FORMAT);
    assert_int_equal(steps, 11);
}

static void assertion_aborts(void **state) {
    OC_UNUSED(state);
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);
        OC_ASSERT(1 + 1 == 2);
        OC_ASSERT(1 + 1 == 3);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(message), cmocka_unit_test(hostile_text), cmocka_unit_test(prefix),
                                       cmocka_unit_test(early_returns), cmocka_unit_test(assertion_aborts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
