/* os_err: errno as one of ours. */
#ifndef UKAI_OS_ERR_H
#define UKAI_OS_ERR_H

#include "core/err.h"

/* e is an errno (positive). Returns the UK_E* that callers can act on;
 * UK_ESYS for everything else. */
int os_err(int e);

#endif
