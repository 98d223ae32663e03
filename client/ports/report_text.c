#include "report.h"

#include <inttypes.h>
#include <string.h>

#include "io/tunnel_status.h"

static json_t *
ports_json(const struct port_set *s)
{
	struct text t = {.s = NULL};
	json_t *o;

	port_set_format(s, &t);
	o = t.failed ? NULL : json_string(t.len > 0 ? t.s : "");
	text_fini(&t);
	return o;
}

/* What is drawn from: low to high, but for what is kept out. */
static json_t *
pool_json(const struct ports_report *r, const struct ports_pool *pool,
    uint16_t low, uint16_t high, const struct port_set *kept)
{
	struct port_set own, drawn = {{0}};
	json_t *o = json_pack("{s:s, s:i, s:i}", "protocol", pool->protocol,
	    "low", low, "high", high);

	ports_of_line(&own, &r->line->ce.ports);
	o = tunnel_status_put(o, "kept_out", ports_json(kept));
	o = tunnel_status_put(o, "line_ports_in_range",
	    json_integer(port_set_count_in(&own, low, high)));
	port_set_add(&drawn, low, high);
	port_set_minus(&drawn, kept);
	port_set_and(&own, &drawn);
	port_set_minus(&drawn, &own);
	o = tunnel_status_put(
	    o, "line_ports", json_integer(port_set_count(&own)));
	return tunnel_status_put(
	    o, "other_ports", json_integer(port_set_count(&drawn)));
}

static json_t *
pools_json(const struct ports_report *r, bool after)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->pools; i++) {
		const struct ports_pool *p = &r->pool[i];
		struct port_set kept = p->before.kept;

		port_set_or(&kept, after ? &p->plan.keep : &p->before.ours);
		if (!after)
			port_set_or(&kept, &p->before.passing);
		list = tunnel_status_push(
		    list, pool_json(r, p, after ? p->plan.low : p->before.low,
			      after ? p->plan.high : p->before.high, &kept));
	}
	return list;
}

static json_t *
commands_json(const struct command_list *c)
{
	json_t *list = c->failed ? NULL : json_array();

	for (size_t i = 0; i < c->n; i++) {
		json_t *argv = json_array();

		for (unsigned k = 0; k < c->item[i].n; k++)
			argv = tunnel_status_push(
			    argv, json_string(c->item[i].arg[k]));
		list = tunnel_status_push(list, argv);
	}
	return list;
}

/* An address, or the prefix that the line has. */
static const char *
format_ipv4(const struct map_line *l, char text[static IP_PREFIX_TEXT_MAX])
{
	return l->ce.ipv4.bits == 32 ? ip_addr_format(&l->ce.ipv4.addr, text)
				     : ip_prefix_format(&l->ce.ipv4, text);
}

static json_t *
line_json(const struct map_line *l)
{
	const struct map_ports *p = &l->ce.ports;
	char ipv4[IP_PREFIX_TEXT_MAX];
	json_t *o = json_pack("{s:s, s:i, s:i, s:i}", "ipv4",
	    format_ipv4(l, ipv4), "psid_offset", p->offset, "psid_len",
	    p->psid_len, "port_count", (int)map_ports_count(p));

	return tunnel_status_put(
	    o, "psid", p->psid_len > 0 ? json_integer(p->psid) : json_null());
}

static json_t *
warnings_json(const struct diag *d)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < d->n; i++)
		list = tunnel_status_push(list, json_string(d->entry[i].text));
	return list;
}

json_t *
ports_report_json(const struct ports_report *r)
{
	bool refused = r->refused.len > 0;
	json_t *o = json_pack("{s:s, s:b, s:s}", "os", r->os, "helps",
	    r->help.helps, "why", r->help.why);

	o = tunnel_status_put(o, "line", line_json(r->line));
	o = tunnel_status_put(
	    o, "refused", refused ? json_string(r->refused.s) : json_null());
	o = tunnel_status_put(o, "before", pools_json(r, false));
	o = tunnel_status_put(
	    o, "after", refused ? json_null() : pools_json(r, true));
	o = tunnel_status_put(o, "commands", commands_json(&r->change));
	o = tunnel_status_put(o, "revert", commands_json(&r->revert));
	return tunnel_status_put(o, "warnings", warnings_json(&r->warnings));
}

static void
print_line(const struct map_line *l, FILE *to)
{
	char ipv4[IP_PREFIX_TEXT_MAX];

	fprintf(to, "line       %s", format_ipv4(l, ipv4));
	if (l->ce.ports.psid_len > 0)
		fprintf(to, ", PSID %u", l->ce.ports.psid);
	fprintf(to, ": %u ports\n", map_ports_count(&l->ce.ports));
}

static void
print_pool(const struct ports_pool *p, bool named, bool refused, FILE *to)
{
	const struct ports_plan *plan = &p->plan;
	uint32_t others = port_set_count(&plan->others);
	struct port_set kept = p->before.kept;

	port_set_or(&kept, &p->before.passing);
	port_set_or(&kept, &p->before.ours);

	if (named)
		fprintf(to, "%s\n", p->protocol);
	fprintf(to, "now        %u-%u but for %u, %u of the line's %u ports\n",
	    p->before.low, p->before.high,
	    port_set_count_in(&kept, p->before.low, p->before.high),
	    plan->own_before, plan->own);
	if (refused)
		return;
	fprintf(to, "planned    %u-%u, of which %u of the line's ports ",
	    plan->low, plan->high, plan->own_after);
	if (others > 0)
		fprintf(to, "and %u others in use ", others);
	fputs("are drawn\n", to);
}

static void
print_commands(const struct command_list *c, const char *title, FILE *to)
{
	if (c->n > 0)
		fprintf(to, "%s\n", title);
	for (size_t i = 0; i < c->n; i++) {
		const struct command *cmd = &c->item[i];

		for (unsigned k = 0; k < cmd->n; k++) {
			const char *tab = strchr(cmd->arg[k], '\t');

			fputs(k == 0 ? "  " : " ", to);
			if (tab != NULL)
				fprintf(to, "\"%.*s %s\"",
				    (int)(tab - cmd->arg[k]), cmd->arg[k],
				    tab + 1);
			else
				fputs(cmd->arg[k], to);
		}
		fputc('\n', to);
	}
}

void
ports_report_print(const struct ports_report *r, FILE *to)
{
	bool refused = r->refused.len > 0;

	print_line(r->line, to);
	for (unsigned i = 0; i < r->pools; i++)
		print_pool(&r->pool[i], r->pools > 1, refused, to);
	if (refused)
		fprintf(to, "refused    %s\n", r->refused.s);
	else if (ports_report_is_done(r))
		fputs("           it is so already\n", to);
	fprintf(to, "helps      %s\n           %s\n",
	    r->help.helps ? "yes" : "no", r->help.why);
	for (unsigned i = 0; i < r->warnings.n; i++)
		fprintf(to, "warning    %s\n", r->warnings.entry[i].text);
	print_commands(&r->change, "to change it:", to);
	print_commands(&r->revert, "to go back:", to);
}

static void
take_share(struct ports_share *share, unsigned *n, struct port_set *rest,
    const struct port_set *claimed, const char *who)
{
	struct port_set own = *rest;

	port_set_and(&own, claimed);
	if (port_set_count(&own) == 0)
		return;
	port_set_minus(rest, &own);
	share[(*n)++] = (struct ports_share){own, who};
}

unsigned
ports_shares(struct ports_share share[static PORTS_SHARES_MAX],
    const struct ports_linux *s)
{
	struct port_set rest = s->before.kept;
	unsigned n = 0;

	port_set_or(&rest, &s->before.ours);
	take_share(share, &n, &rest, &s->before.ours, "ukai ports apply");
	for (unsigned i = 0; i < s->claims; i++)
		take_share(
		    share, &n, &rest, &s->claim[i].ports, s->claim[i].who);
	take_share(share, &n, &rest, &s->before.kept, "not known");
	return n;
}

static json_t *
shares_json(const struct ports_linux *s)
{
	struct ports_share share[PORTS_SHARES_MAX];
	unsigned n = ports_shares(share, s);
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++) {
		json_t *o = json_object();

		o = tunnel_status_put(o, "ports", ports_json(&share[i].ports));
		o = tunnel_status_put(
		    o, "count", json_integer(port_set_count(&share[i].ports)));
		list = tunnel_status_push(list,
		    tunnel_status_put(o, "by", json_string(share[i].who)));
	}
	return list;
}

static json_t *
show_line_json(const struct ports_linux *s, const struct map_line *line)
{
	struct port_set own, used = s->before.used;
	json_t *o = line_json(line);

	ports_of_line(&own, &line->ce.ports);
	port_set_and(&used, &own);
	o = tunnel_status_put(o, "in_range",
	    json_integer(
		port_set_count_in(&own, s->before.low, s->before.high)));
	o = tunnel_status_put(o, "drawable",
	    json_integer(ports_drawable(&s->before, &line->ce.ports)));
	return tunnel_status_put(o, "listening", ports_json(&used));
}

json_t *
ports_show_json(const struct ports_linux *s, const struct map_line *line,
    const struct ports_timer *t)
{
	json_t *o = json_pack("{s:s, s:{s:i, s:i, s:i}}", "os", "linux",
	    "dynamic", "low", s->before.low, "high", s->before.high, "count",
	    s->before.high - s->before.low + 1);

	o = tunnel_status_put(o, "reserved", shares_json(s));
	o = tunnel_status_put(
	    o, "line", line != NULL ? show_line_json(s, line) : json_null());
	o = tunnel_status_put(o, "applied", json_boolean(s->applied));
	o = tunnel_status_put(o, "until",
	    t->until_s != 0 ? json_integer((json_int_t)t->until_s)
			    : json_null());
	return tunnel_status_put(o, "reverts_itself", json_boolean(t->alive));
}

static void
print_shares(const struct ports_linux *s, FILE *to)
{
	struct ports_share share[PORTS_SHARES_MAX];
	unsigned n = ports_shares(share, s);
	struct text t = {.s = NULL};

	if (n == 0)
		fputs("reserved   nothing\n", to);
	for (unsigned i = 0; i < n; i++) {
		text_clear(&t);
		port_set_format(&share[i].ports, &t);
		fprintf(to, "reserved   %u ports by %s: %s\n",
		    port_set_count(&share[i].ports), share[i].who,
		    t.failed ? "" : t.s);
	}
	text_fini(&t);
}

static void
print_line_ports(
    const struct ports_linux *s, const struct map_line *line, FILE *to)
{
	struct port_set own, used = s->before.used;
	struct text t = {.s = NULL};

	print_line(line, to);
	ports_of_line(&own, &line->ce.ports);
	fprintf(to, "           %u in the dynamic range, %u may be drawn\n",
	    port_set_count_in(&own, s->before.low, s->before.high),
	    ports_drawable(&s->before, &line->ce.ports));
	port_set_and(&used, &own);
	port_set_format(&used, &t);
	if (t.len > 0)
		fprintf(to, "           programs listen on %s\n", t.s);
	text_fini(&t);
}

void
ports_show_print(const struct ports_linux *s, const struct map_line *line,
    const struct ports_timer *t, uint64_t now_s, FILE *to)
{
	fprintf(to, "dynamic    %u-%u: %u ports\n", s->before.low,
	    s->before.high, s->before.high - s->before.low + 1);
	print_shares(s, to);
	if (line != NULL)
		print_line_ports(s, line, to);
	else
		fputs("line       not known; --ipv6 names it\n", to);
	if (t->until_s == 0)
		return;
	if (t->alive)
		fprintf(to,
		    "until      it is reverted in %" PRIu64 " seconds, or by "
		    "ukai ports revert\n",
		    t->until_s > now_s ? t->until_s - now_s : 0);
	else
		fputs("until      what was to revert it was killed: ukai "
		      "ports revert\n",
		    to);
}
