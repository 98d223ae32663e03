#include "policy_others.h"

#include <stdio.h>
#include <string.h>

#include "client/firewall.h"
#include "core/err.h"
#include "policy_kernel.h"
#include "policy_nft.h"

#define PREFIX "ukai-"
#define TABLE_MAX 64

/* What is first found. */
struct others {
	const char *own;
	char running[TABLE_MAX], guard[TABLE_MAX]; /* "": none */
	struct hostfw *h;
};

static bool
on_set(void *arg, const char *set)
{
	bool *live = arg;

	*live = strcmp(set, POLICY_NFT_LIVE) == 0;
	return !*live;
}

static bool
decides(struct hostfw *h, const char *table)
{
	bool live = false;

	(void)hostfw_sets_each(h, table, on_set, &live);
	return live;
}

/* NULL: of no guard. Else where the suffix begins. */
static const char *
suffix(const char *table)
{
	size_t len = strlen(table), cut = sizeof(POLICY_GUARD_SUFFIX) - 1;

	return len > cut && strcmp(table + len - cut, POLICY_GUARD_SUFFIX) == 0
		   ? table + len - cut
		   : NULL;
}

static bool
is_own_guard(const struct others *o, const char *table, const char *end)
{
	size_t len = (size_t)(end - table);

	return strlen(o->own) == len && memcmp(o->own, table, len) == 0;
}

static bool
on_table(void *arg, const char *table, bool owned)
{
	struct others *o = arg;
	const char *end = suffix(table);

	if (strncmp(table, PREFIX, sizeof(PREFIX) - 1) != 0 ||
	    strlen(table) >= TABLE_MAX || strcmp(table, o->own) == 0)
		return true;
	if (owned && decides(o->h, table))
		strcpy(o->running, table);
	else if (!owned && end != NULL && !is_own_guard(o, table, end))
		strcpy(o->guard, table);
	return o->running[0] == '\0';
}

static int
tell_running(const char *table, struct diag *d)
{
	const char *name = table + sizeof(PREFIX) - 1;

	diag_error(d,
	    "the tunnel %s has a policy, and two would decide on the same "
	    "flows: end it (ukai down %s), or take Policy out of one of the "
	    "two; Routes may stand in both",
	    name, name);
	return UK_EINVAL;
}

static int
tell_guard(const char *table, struct diag *d)
{
	const char *name = table + sizeof(PREFIX) - 1;
	int len = (int)(suffix(table) - name);

	diag_error(d,
	    "the tunnel %.*s was killed, and what its policy says must not "
	    "leave outside of it is refused until it is up again: start it, or "
	    "give that up by ukai restore %.*s",
	    len, name, len, name);
	return UK_EINVAL;
}

int
policy_others_check(
    struct hostfw *h, const char *table, bool guards, struct diag *d)
{
	struct others o = {.own = table, .h = h};
	int err = hostfw_tables_each(h, on_table, &o);

	if (err < 0)
		diag_error(d, "cannot see which tables nftables has: %s",
		    uk_strerror(err));
	else if (o.running[0] != '\0')
		err = tell_running(o.running, d);
	else if (guards && o.guard[0] != '\0')
		err = tell_guard(o.guard, d);
	return err;
}

struct search {
	char table[TABLE_MAX];
	bool found;
};

static bool
on_searched(void *arg, const char *table, bool owned)
{
	struct search *s = arg;

	s->found = !owned && strcmp(table, s->table) == 0;
	return !s->found;
}

bool
policy_others_guarded(const char *name)
{
	char table[FIREWALL_TABLE_MAX];
	struct search s = {.found = false};
	struct hostfw *h;

	firewall_table(table, name);
	snprintf(s.table, sizeof(s.table), "%s" POLICY_GUARD_SUFFIX, table);
	if (hostfw_open(&h, NULL) < 0)
		return false;
	(void)hostfw_tables_each(h, on_searched, &s);
	hostfw_close(h);
	return s.found;
}
