/* rules_files: lists out of memory for rules_parse(). Header only. */
#ifndef UKAI_TEST_RULES_FILES_H
#define UKAI_TEST_RULES_FILES_H

#include <stdlib.h>
#include <string.h>

#include "client/policy/rules.h"
#include "core/err.h"

struct rules_file {
	const char *path; /* NULL ends them */
	const char *text; /* NULL: cannot be read */
	size_t len; /* 0: to the zero */
};

static int
rules_files_read(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *d)
{
	const struct rules_file *f = arg;

	while (f->path != NULL && strcmp(f->path, path) != 0)
		f++;
	if (f->path == NULL || f->text == NULL) {
		diag_error(d, "%s: cannot open it", path);
		return UK_ENOENT;
	}
	*len = f->len > 0 ? f->len : strlen(f->text);
	*bytes = malloc(*len + 1);
	if (*bytes == NULL)
		return UK_ENOMEM;
	memcpy(*bytes, f->text, *len);
	return 0;
}

#endif
