#include "base/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int signal_seen; /* lock-free, hence allowed in a handler */

static void on_signal(int sig) {
    if (atomic_exchange(&signal_seen, sig) == 0) return;
    signal(sig, SIG_DFL); /* delivered as soon as the handler returns */
    raise(sig);
}

void oc_signals_install(void) {
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    sa.sa_flags = SA_RESTART;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool oc_interrupted(void) { return atomic_load_explicit(&signal_seen, memory_order_relaxed) != 0; }
void oc_signals_reset(void) { atomic_store(&signal_seen, 0); }
