/* SIGINT and SIGTERM ask for an orderly end: long work polls oc_interrupted() between steps, saves and returns
 * OC_ERR_INTERRUPTED. A second signal ends the process at once. */
#ifndef OC_BASE_SIGNALS_H
#define OC_BASE_SIGNALS_H

#include <stdbool.h>

void oc_signals_install(void);   /* called by the program, never by library code */
bool oc_interrupted(void);       /* any thread */
void oc_signals_reset(void);     /* forgets a signal that was dealt with */

#endif
