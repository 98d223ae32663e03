#include "map_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "host/os_err.h"
#include "s46.h"

static bool
is_within(const struct ip_prefix *p, const struct map_rules *l, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (l->item[i].ipv6.bits <= p->bits &&
		    ip_prefix_contains(&l->item[i].ipv6, &p->addr))
			return true;
	return false;
}

int
map_source_add(struct map_rules *l, const struct map_rules *more)
{
	size_t before = l->n;
	int err = 0;

	for (size_t i = 0; err == 0 && i < more->n; i++)
		if (!is_within(&more->item[i].ipv6, l, before))
			err = map_rules_add(l, &more->item[i]);
	return err;
}

/* ---- DHCPv6 ---- */

static int
read_dhcp(uint8_t *b, size_t *len, const char *path, struct diag *d)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(path, "rb");
	int err = 0;

	if (f == NULL)
		return os_err_tell(errno, path, "open it", d);
	*len = fread(b, 1, MAP_SOURCE_DHCP_MAX + 1, f);
	if (ferror(f))
		err = os_err_tell(errno, path, "read it", d);
	if (!is_stdin)
		fclose(f);
	if (err == 0 && *len > MAP_SOURCE_DHCP_MAX) {
		diag_error(d, "%s: larger than %zu KiB", path,
		    MAP_SOURCE_DHCP_MAX >> 10);
		err = UK_EMSGSIZE;
	}
	return err;
}

static void
tell_dhcp(const struct s46 *o, const char *path, struct diag *d)
{
	if (o->ignored > 0)
		diag_warn(d, "%s: %u DHCPv6 option%s made no sense", path,
		    o->ignored, o->ignored > 1 ? "s" : "");
	if (o->rules.n == 0 && o->others == 0)
		diag_warn(d, "%s: no MAP-E rule in it", path);
	else if (o->rules.n == 0)
		diag_warn(d,
		    "%s: no MAP-E rule in it, but %u option%s of other "
		    "mechanisms (MAP-T, lw4o6)",
		    path, o->others, o->others != 1 ? "s" : "");
}

static int
add_dhcp(struct map_rules *l, const struct map_source *s, struct diag *d)
{
	uint8_t *b = malloc(MAP_SOURCE_DHCP_MAX + 1);
	struct s46 o;
	size_t len;
	int err;

	if (b == NULL)
		return UK_ENOMEM;
	err = read_dhcp(b, &len, s->dhcp, d);
	if (err < 0)
		goto free_b;
	err = s46_decode(b, &len);
	if (err < 0) {
		diag_error(
		    d, "%s: an odd number of hexadecimal digits", s->dhcp);
		goto free_b;
	}
	err = s46_parse(&o, b, len, s->iid, d);
	if (err < 0)
		goto free_b;
	tell_dhcp(&o, s->dhcp, d);
	err = map_source_add(l, &o.rules);
	s46_fini(&o);
free_b:
	free(b);
	return err;
}

/* ---- the line ---- */

static int
add_asked(struct map_rules *l, const struct map_source *s, struct diag *d)
{
	struct provision p;
	struct diag told;
	int err;

	diag_init(&told, NULL);
	err = provision_get(&p, s->ask, &told);
	for (unsigned i = 0; i < told.n; i++)
		diag_warn(d, "%s", told.entry[i].text);
	if (err < 0) {
		diag_warn(d,
		    "the line does not say what it is; other sources are used");
		return err == UK_ENOMEM ? err : 0;
	}
	if (p.answer.rules.n == 0)
		diag_warn(d, "%s offers no MAP-E on this line%s%s",
		    p.answer.enabler[0] != 0 ? p.answer.enabler
					     : "the operator",
		    p.answer.other[0] != 0 ? ", but " : "", p.answer.other);
	err = map_source_add(l, &p.answer.rules);
	provision_fini(&p);
	return err;
}

/* ---- all of them ---- */

static int
add_file(struct map_rules *l, const char *path, struct diag *d)
{
	struct map_rules file = {.item = NULL};
	int err = map_rules_load(&file, path, d);

	if (err == 0)
		err = map_source_add(l, &file);
	map_rules_fini(&file);
	return err;
}

static int
add_builtin(struct map_rules *l)
{
	struct map_rules builtin = {.item = NULL};
	int err = map_rules_builtin(&builtin);

	if (err == 0)
		err = map_source_add(l, &builtin);
	map_rules_fini(&builtin);
	return err;
}

int
map_source_load(struct map_rules *l, const struct map_source *s, struct diag *d)
{
	int err = 0;

	*l = (struct map_rules){.item = NULL};
	if (s->rules != NULL)
		err = add_file(l, s->rules, d);
	if (err == 0 && s->dhcp != NULL)
		err = add_dhcp(l, s, d);
	if (err == 0 && s->ask != NULL)
		err = add_asked(l, s, d);
	if (err == 0 && s->rules == NULL)
		err = add_builtin(l);
	if (err == UK_ENOMEM)
		diag_error(d, "out of memory");
	if (err == UK_ELIMIT)
		diag_error(d, "more than %d rules", MAP_RULES_MAX);
	if (err < 0)
		map_rules_fini(l);
	return err;
}
