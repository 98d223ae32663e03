#include "clash_logic.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char blanks[] = " \t\r\n";

/* Past this character and the blanks around it; false: another stands there. */
static bool
skip(char **at, char c)
{
	*at += strspn(*at, blanks);
	if (**at != c)
		return false;
	*at += 1 + strspn(*at + 1, blanks);
	return true;
}

static void
cut_blanks(char *s, char *end)
{
	while (end > s && strchr(blanks, end[-1]) != NULL)
		end--;
	*end = 0;
}

/* "(TYPE,VALUE)"; none in it. */
static bool
read_part(struct clash_logic *g, char **at)
{
	char *end;

	if (!skip(at, '(') || g->parts == CLASH_LOGIC_PARTS)
		return false;
	end = *at + strcspn(*at, "()");
	if (*end != ')')
		return false;
	g->part[g->parts++] = *at;
	*at = end + 1;
	cut_blanks(g->part[g->parts - 1], end);
	return true;
}

static bool
read_type(struct clash_logic *g, char **at)
{
	char *comma = strchr(*at, ',');

	if (comma == NULL)
		return false;
	*at += strspn(*at, blanks);
	g->type = *at;
	cut_blanks(*at, comma);
	*at = comma + 1;
	g->any = strcasecmp(g->type, "OR") == 0;
	return g->any || strcasecmp(g->type, "AND") == 0;
}

bool
clash_logic_read(struct clash_logic *g, const char *text)
{
	char *at = g->text;
	int len = snprintf(g->text, sizeof(g->text), "%s", text);

	g->parts = 0;
	if (len < 0 || (size_t)len >= sizeof(g->text) || !read_type(g, &at) ||
	    !skip(&at, '('))
		return false;
	do {
		if (!read_part(g, &at))
			return false;
	} while (skip(&at, ','));
	if (!skip(&at, ')') || !skip(&at, ','))
		return false;
	g->target = at;
	cut_blanks(at, at + strcspn(at, ","));
	return true;
}
