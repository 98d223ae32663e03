#include "report.h"

#include <stdlib.h>
#include <string.h>

#include "host/listeners.h"
#include "host/undo_reserved.h"

#define NODE_PORTS_LOW 30000
#define NODE_PORTS_HIGH 32767
/* Ranges of a set that are named in a sentence. */
#define NAMED_MAX 8

struct ports_report *
ports_report_new(void)
{
	struct ports_report *r = calloc(1, sizeof(*r));

	if (r != NULL)
		diag_init(&r->warnings, NULL);
	return r;
}

void
ports_report_free(struct ports_report *r)
{
	if (r == NULL)
		return;
	command_list_fini(&r->change);
	command_list_fini(&r->revert);
	text_fini(&r->refused);
	free(r);
}

/* "5357, 7680, 8000-8010 and others" */
static void
name_ports(struct text *t, const struct port_set *s)
{
	if (listeners_format(s, 0, NAMED_MAX, t) > NAMED_MAX)
		text_add(t, " and others");
}

static void
refuse_stranding(struct text *t, const struct ports_plan *p, bool windows)
{
	if (windows)
		text_add(t,
		    "programs listen on ports that the dynamic range would "
		    "take in, and that cannot be excluded while they do, so "
		    "that an outgoing connection could take them: ");
	else
		text_add(t,
		    "programs listen on ports of the line, which are theirs "
		    "to keep: ");
	name_ports(t, &p->listeners);
	text_add(t,
	    "; without them %u of the line's ports would be left, and fewer "
	    "than %d are not enough",
	    p->own_after, PORTS_LEFT_MIN);
}

static void
refuse(struct ports_report *r, const struct ports_pool *pool, bool windows)
{
	const struct ports_plan *p = &pool->plan;
	struct text *t = &r->refused;

	if (p->refusal == PORTS_PLANNED)
		return;
	if (t->len > 0)
		text_add(t, "; ");
	if (windows)
		text_add(t, "%s: ", pool->protocol);
	switch (p->refusal) {
	case PORTS_PLANNED:
		break;
	case PORTS_WHOLE:
		text_add(t, "the line has all ports of its address: there is "
			    "nothing to align");
		break;
	case PORTS_NONE_FREE:
		text_add(t, "no range that the system allows holds enough of "
			    "the line's ports");
		break;
	case PORTS_STRANDS:
		refuse_stranding(t, p, windows);
		break;
	case PORTS_TOO_FEW:
		text_add(t,
		    "%u of the line's ports would be left (others keep %u), "
		    "and fewer than %d are not enough",
		    p->own_after, p->own_kept, PORTS_LEFT_MIN);
		break;
	}
}

static void
warn_ports(struct ports_report *r, const struct ports_pool *pool,
    const char *what, const struct port_set *s)
{
	struct text t = {.s = NULL};

	name_ports(&t, s);
	if (t.len > 0)
		diag_warn(
		    &r->warnings, "%s: %s: %s", pool->protocol, what, t.s);
	text_fini(&t);
}

static void
warn(struct ports_report *r, const struct ports_pool *pool, bool windows)
{
	const struct ports_plan *p = &pool->plan;

	if (p->refusal != PORTS_PLANNED)
		return;
	if (p->own_kept > 0)
		diag_warn(&r->warnings,
		    "%s: others keep %u of the line's ports, which stay unused",
		    pool->protocol, p->own_kept);
	warn_ports(r, pool,
	    windows ? "the range is shorter because of listeners"
		    : "kept for programs that listen there",
	    &p->listeners);
	warn_ports(r, pool,
	    "in use, so that they cannot be excluded now, and drawn when they "
	    "are free",
	    &p->others);
}

static void
plan_pool(struct ports_report *r, const struct ports_limits *l, bool windows)
{
	struct ports_pool *pool = &r->pool[r->pools - 1];

	ports_plan(&pool->plan, &pool->before, &r->line->ce.ports, l);
	refuse(r, pool, windows);
	warn(r, pool, windows);
}

static void
line_address(struct ip_addr *a, const struct map_line *line)
{
	*a = (struct ip_addr){.family = FAMILY_NONE};
	if (line->ce.ipv4.bits == 32)
		*a = line->ce.ipv4.addr;
}

static void
linux_range(struct command_list *c, struct ports_linux_values *v)
{
	char range[24];

	/* One argument. */
	snprintf(range, sizeof(range), "%s", v->range);
	*strchr(range, ' ') = '\t';
	command_list_add(c, "sysctl -w net.ipv4.ip_local_port_range=%s", range);
}

static void
linux_reserved(struct command_list *c, struct ports_linux_values *v)
{
	command_list_add(c, "sysctl -w net.ipv4.ip_local_reserved_ports=%s",
	    v->reserved.len > 0 ? v->reserved.s : "");
}

static void
warn_others(struct ports_report *r, const struct ports_linux *s)
{
	const struct ports_pool *pool = &r->pool[0];

	if (s->docker)
		diag_warn(&r->warnings,
		    "Docker is here: for ports that it publishes by itself "
		    "(-P) it takes the dynamic range from its first port "
		    "upward, reserved or not");
	if (s->kubernetes && port_set_count_in(&pool->before.kept,
				 NODE_PORTS_LOW, NODE_PORTS_HIGH) == 0)
		diag_warn(&r->warnings,
		    "Kubernetes is here, and its node ports (%d-%d) are not "
		    "reserved: outgoing connections may take some of them",
		    NODE_PORTS_LOW, NODE_PORTS_HIGH);
}

void
ports_report_linux(struct ports_report *r, const struct ports_linux *s,
    const struct map_line *line, const struct ports_path *path)
{
	struct ports_linux_values old, new;
	struct ip_addr address;

	r->os = "linux";
	r->line = line;
	r->pools = 1;
	r->pool[0].protocol = "all";
	r->pool[0].before = s->before;
	line_address(&address, line);
	ports_help(&r->help, path, &address);
	plan_pool(r, &s->limits, false);
	warn_others(r, s);
	if (r->refused.len > 0 || ports_report_is_done(r))
		return;
	ports_linux_values(&new, &r->pool[0].plan, &s->before);
	ports_linux_values_before(&old, s);
	if (new.reserved.len > UNDO_RESERVED_LIST_MAX) {
		text_add(&r->refused,
		    "the list of reserved ports would be %zu bytes long, and "
		    "the kernel takes %d",
		    new.reserved.len, UNDO_RESERVED_LIST_MAX);
		goto free_values;
	}
	linux_reserved(&r->change, &new);
	linux_range(&r->change, &new);
	linux_range(&r->revert, &old);
	linux_reserved(&r->revert, &old);
	r->change.failed |= new.reserved.failed || old.reserved.failed;
free_values:
	text_fini(&new.reserved);
	text_fini(&old.reserved);
}

void
ports_report_windows(struct ports_report *r, const struct ports_windows *w,
    const struct map_line *line, const struct ports_path *path)
{
	struct ports_plan plan[PORTS_PROTOCOLS];
	struct ip_addr address;
	bool winnat = false;

	r->os = "windows";
	r->line = line;
	line_address(&address, line);
	ports_help(&r->help, path, &address);
	for (int i = 0; i < PORTS_PROTOCOLS; i++) {
		r->pool[i].protocol = ports_protocol_name(i);
		r->pool[i].before = w->before[i];
		r->pools++;
		plan_pool(r, &ports_limits_windows, true);
		plan[i] = r->pool[i].plan;
		winnat |= port_set_count(&w->before[i].passing) > 0;
	}
	if (!w->has_state)
		diag_warn(&r->warnings,
		    "what Windows has by itself is taken for granted: 49152 to "
		    "65535, and nothing excluded (--state)");
	if (!w->has_netstat)
		diag_warn(&r->warnings,
		    "which ports are in use there is not known (--listening): "
		    "an exclusion over one fails, and a listener on one that "
		    "is drawn then may lose it");
	diag_warn(&r->warnings,
	    "Set-NetTCPSetting -AutoReusePortRangeStartPort, where somebody "
	    "has set it, takes the place of the dynamic range: see "
	    "Get-NetTCPSetting");
	if (winnat)
		diag_warn(&r->warnings,
		    "winnat (Hyper-V, WSL) is stopped meanwhile, which cuts "
		    "off virtual machines and containers; and it takes blocks "
		    "of 100 ports from the dynamic range, which has none "
		    "afterwards");
	if (r->refused.len == 0 && !ports_report_is_done(r))
		ports_windows_commands(&r->change, &r->revert, w, plan);
}

bool
ports_report_is_done(const struct ports_report *r)
{
	for (unsigned i = 0; i < r->pools; i++)
		if (!ports_plan_is_done(&r->pool[i].plan, &r->pool[i].before))
			return false;
	return true;
}
