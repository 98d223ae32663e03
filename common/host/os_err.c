#include "os_err.h"

#include <errno.h>
#include <string.h>

int
os_err(int e)
{
	switch (e) {
	case EPERM:
	case EACCES:
	case EROFS:
		return UK_EPERM;
	case ENOENT:
	case ENODEV:
	case ENXIO:
	case ESRCH:
	case EADDRNOTAVAIL:
	case ENETUNREACH:
	case EHOSTUNREACH:
		return UK_ENOENT;
	case EEXIST:
		return UK_EEXIST;
	case EINVAL:
	case ERANGE:
	case EOPNOTSUPP:
		return UK_EINVAL;
	case ENOMEM:
	case ENOBUFS:
		return UK_ENOMEM;
	default:
		return UK_ESYS;
	}
}

int
os_err_tell(int e, const char *path, const char *what, struct diag *d)
{
	diag_error(d, "%s: cannot %s: %s", path, what, strerror(e));
	return os_err(e);
}
