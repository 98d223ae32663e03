/* os_err: errno as one of ours, and in words. */
#ifndef UKAI_OS_ERR_H
#define UKAI_OS_ERR_H

#include "core/diag.h"
#include "core/err.h"

/* e is an errno (positive). Returns the UK_E* that callers can act on;
 * UK_ESYS for everything else. */
int os_err(int e);

/* The same, after "PATH: cannot WHAT: WORDS" is told to d. */
int os_err_tell(int e, const char *path, const char *what, struct diag *d);

#endif
