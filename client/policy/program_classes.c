#include "program_classes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"

void
program_classes_init(struct program_classes *c)
{
	memset(c, 0, sizeof(*c));
}

void
program_classes_fini(struct program_classes *c)
{
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		free(c->of[i].name);
	program_classes_init(c);
}

/* Active or not. */
static unsigned
known(const struct program_classes *c, const char *name)
{
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		if (c->of[i].name != NULL && strcmp(c->of[i].name, name) == 0)
			return i;
	return CLASS_NONE;
}

int
program_classes_note(
    struct program_classes *c, unsigned class, const char *name)
{
	if (class == CLASS_NONE || class > CLASS_PROGRAM_MAX ||
	    c->of[class].name != NULL || known(c, name) != CLASS_NONE)
		return UK_EINVAL;
	c->of[class].name = strdup(name);
	if (c->of[class].name == NULL)
		return UK_ENOMEM;
	c->of[class].recorded = true;
	return 0;
}

unsigned
program_classes_find(const struct program_classes *c, const char *name)
{
	unsigned class = known(c, name);

	return c->of[class].active ? class : CLASS_NONE;
}

unsigned
program_classes_cut(const struct program_classes *c, const char *name)
{
	if (strlen(name) < PROGRAM_CUT)
		return CLASS_NONE;
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		if (c->of[i].active && c->of[i].closed &&
		    strncmp(c->of[i].name, name, PROGRAM_CUT) == 0)
			return i;
	return CLASS_NONE;
}

static int
copy(struct program_classes *to, const struct program_classes *from)
{
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++) {
		if (from->of[i].name == NULL)
			continue;
		to->of[i].name = strdup(from->of[i].name);
		to->of[i].recorded = from->of[i].recorded;
		if (to->of[i].name == NULL)
			return UK_ENOMEM;
	}
	return 0;
}

/* Tailscale gives its sockets and packets marks that read as these: they are
 * taken last. */
static bool
is_marked_by_others(unsigned class)
{
	return class == 4 || class == 8;
}

static unsigned
number_for_new(const struct program_classes *c)
{
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		if (c->of[i].name == NULL && !is_marked_by_others(i))
			return i;
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		if (c->of[i].name == NULL)
			return i;
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		if (!c->of[i].active)
			return i;
	return CLASS_NONE;
}

static int
give_number(struct program_classes *c, const struct program_name *name)
{
	unsigned class = number_for_new(c);
	char *own;

	if (class == CLASS_NONE)
		return UK_ELIMIT;
	own = strdup(name->name);
	if (own == NULL)
		return UK_ENOMEM;
	free(c->of[class].name);
	c->of[class] = (struct program_class){
	    .name = own, .active = true, .closed = name->closed};
	return 0;
}

int
program_classes_follow(struct program_classes *to,
    const struct program_classes *from, const struct program_name *name,
    size_t n)
{
	int r;

	program_classes_init(to);
	r = copy(to, from);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct program_class *c = &to->of[known(to, name[i].name)];

		c->closed = name[i].closed;
		c->active = true;
	}
	to->of[CLASS_NONE].active = false;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (known(to, name[i].name) == CLASS_NONE)
			r = give_number(to, &name[i]);
	if (r < 0)
		program_classes_fini(to);
	return r;
}

void
program_folder_prefix(
    char out[static PROGRAM_FOLDER_MAX], const char *tunnel, uint64_t netns)
{
	int n = snprintf(
	    out, PROGRAM_FOLDER_MAX, "ukai-%.16s-%" PRIx64 "-", tunnel, netns);

	UK_ASSERT(n > 0 && n < PROGRAM_FOLDER_MAX - 3);
}

void
program_folder(char out[static PROGRAM_FOLDER_MAX], const char *tunnel,
    uint64_t netns, unsigned class)
{
	size_t len;

	UK_ASSERT(class > CLASS_NONE && class <= CLASS_DNS);
	program_folder_prefix(out, tunnel, netns);
	len = strlen(out);
	snprintf(out + len, PROGRAM_FOLDER_MAX - len, "%u", class);
}

unsigned
program_folder_class(const char *folder, const char *prefix)
{
	size_t len = strlen(prefix);
	uint64_t class;

	if (strncmp(folder, prefix, len) != 0 ||
	    value_parse_u64(&class, folder + len, strlen(folder + len),
		CLASS_RUN, false) < 0)
		return CLASS_NONE;
	return (unsigned)class;
}
