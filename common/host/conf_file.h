/* conf_file: a configuration file with keys, read whole into memory. */
#ifndef UKAI_CONF_FILE_H
#define UKAI_CONF_FILE_H

#include <stddef.h>

#include "core/diag.h"

#define CONF_FILE_MAX ((size_t)16 << 20)

struct conf_file {
	char *text; /* not terminated; never NULL after success */
	size_t len;
};

/* Only a regular file of at most CONF_FILE_MAX bytes. Warns when others than
 * its owner may read or write it. Returns 0; UK_ENOENT, UK_EPERM, UK_EINVAL
 * (not a regular file), UK_EMSGSIZE, UK_EAGAIN (it changed meanwhile),
 * UK_ENOMEM, UK_ESYS, each told to d. */
int conf_file_read(struct conf_file *f, const char *path, struct diag *d);

/* Wiped and freed; zero afterwards. */
void conf_file_fini(struct conf_file *f);

#endif
