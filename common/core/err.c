#include "err.h"

#include <stdio.h>
#include <stdlib.h>

#include "base.h"

const char *
uk_strerror(int err)
{
	if (err == 0)
		return "no error";
	switch ((enum uk_err)err) {
	case UK_ENOMEM:
		return "out of memory";
	case UK_EINVAL:
		return "value not allowed";
	case UK_ELIMIT:
		return "limit reached";
	case UK_EREPLAY:
		return "counter seen before or too old";
	case UK_EAUTH:
		return "authentication failed";
	case UK_ENOENT:
		return "not found";
	case UK_EEXIST:
		return "exists already";
	case UK_EPERM:
		return "not permitted";
	case UK_EAGAIN:
		return "not possible now";
	case UK_EMSGSIZE:
		return "does not fit";
	case UK_ESYS:
		return "system error";
	case UK_EBUSY:
		return "in use by somebody else";
	case UK_ECRYPTO:
		return "crypto library failed";
	case UK_EPROTO:
		return "malformed text or message";
	}
	return "unknown error";
}

/* The one place in the core that writes anywhere: the process ends here. */
void
uk_assert_fail(const char *cond, const char *file, int line)
{
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, cond);
	abort();
}
