#include "names_kept.h"

#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/text.h"
#include "domain_name.h"
#include "host/conf_file.h"
#include "host/durable.h"

static int
line_parse(struct bindings *b, uint64_t now_ns, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	char text[DOMAIN_NAME_MAX];
	const char *name = text;
	size_t n = space != NULL ? (size_t)(space - line) : 0;
	struct ip_addr a;

	if (n == 0 || n >= sizeof(text) || memchr(line, '\0', n) != NULL ||
	    ip_addr_parse(&a, space + 1, len - n - 1) < 0)
		return 0;
	memcpy(text, line, n);
	text[n] = '\0';
	/* Its answer is over, or soon: bindings keep it beyond that. */
	return bindings_add(b, now_ns, &name, 1, &a, 0);
}

int
names_kept_parse(
    struct bindings *b, uint64_t now_ns, const char *text, size_t len)
{
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end != NULL ? (size_t)(end - text) : len;

		if (line_parse(b, now_ns, text, n) == UK_ENOMEM)
			return UK_ENOMEM;
		n += end != NULL;
		text += n;
		len -= n;
	}
	return 0;
}

int
names_kept_load(
    struct bindings *b, uint64_t now_ns, const char *path, struct diag *d)
{
	struct conf_file f;
	int err;

	if (access(path, F_OK) < 0)
		return 0;
	err = conf_file_read(&f, path, d);
	if (err < 0)
		return err;
	err = names_kept_parse(b, now_ns, f.text, f.len);
	conf_file_fini(&f);
	return err;
}

static bool
on_kept(void *arg, const char *name, const struct ip_addr *a)
{
	char text[IP_ADDR_TEXT_MAX];
	struct text *t = arg;

	text_add(t, "%s %s\n", name, ip_addr_format(a, text));
	return t->len + DOMAIN_NAME_MAX + IP_ADDR_TEXT_MAX < CONF_FILE_MAX;
}

int
names_kept_save(const struct bindings *b, const char *path, struct diag *d)
{
	struct text t = {.s = NULL};
	int err = 0;

	(void)bindings_kept_each(b, on_kept, &t);
	if (t.failed)
		err = UK_ENOMEM;
	else if (t.len == 0)
		unlink(path);
	else
		err = durable_replace(path, t.s, t.len, d);
	text_fini(&t);
	return err;
}
