#include "capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

void
capture_begin(struct capture *c, int fd)
{
	fflush(NULL);
	c->file = tmpfile();
	assert_non_null(c->file);
	c->fd = fd;
	c->kept = dup(fd);
	assert_true(dup2(fileno(c->file), fd) >= 0);
}

const char *
capture_end(struct capture *c)
{
	size_t n;

	fflush(NULL);
	assert_true(dup2(c->kept, c->fd) >= 0);
	close(c->kept);
	rewind(c->file);
	n = fread(c->text, 1, sizeof(c->text) - 1, c->file);
	c->text[n] = '\0';
	fclose(c->file);
	return c->text;
}
