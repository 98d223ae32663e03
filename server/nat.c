#include "nat.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "nat_ports.h"
#include "nat_state.h"

/* The words of our addresses in rules. */
struct words {
	unsigned tunnel;
	char own[IP_ADDR_TEXT_MAX], global[IP_ADDR_TEXT_MAX];
	char pool[IP_PREFIX_TEXT_MAX];
};

/* Interval maps of a concatenation and maps without intervals cost the same
 * for one and for ten thousand elements, also when one is added; the others
 * are read back from the kernel by libnftables for each change, and hold what
 * there is little of. */
static void
add_sets(struct text *t, size_t groups)
{
	text_add(t,
	    "map forwards { type ipv4_addr . inet_proto . inet_service : "
	    "ipv4_addr . inet_service; }\n"
	    "map forward_ranges { type ipv4_addr . inet_proto . inet_service "
	    ": ipv4_addr; flags interval; }\n"
	    "set targets { type ipv4_addr . inet_proto . inet_service; }\n"
	    "set target_ranges { type ipv4_addr . inet_proto . inet_service; "
	    "flags interval; }\n"
	    "map exclusive { type ipv4_addr : ipv4_addr; }\n"
	    "map owner { type ipv4_addr : ipv4_addr; }\n"
	    "set pairs { type ipv4_addr . ipv4_addr; }\n"
	    "set routed { type ipv4_addr; }\n"
	    "map sources { type ipv4_addr : ipv4_addr; flags interval; }\n"
	    "set owner_sources { type ipv4_addr; flags interval; }\n"
	    "set reserved { type inet_service; flags interval; }\n"
	    "map limits_up { type ipv4_addr : limit; flags interval; }\n"
	    "map limits_down { type ipv4_addr : limit; flags interval; }\n"
	    "map counted { type ipv4_addr : verdict; flags interval; }\n");
	for (size_t i = 0; i < groups; i++)
		text_add(
		    t, "set group%zu { type ipv4_addr; flags interval; }\n", i);
}

/* R1: what claims to come from a client, or asks for the pool, comes through
 * the tunnel or from this host itself (interface 1, the loopback). */
static void
add_borders(struct text *t, const struct words *w)
{
	text_add(t,
	    "chain borders {\n"
	    "type filter hook prerouting priority raw; policy accept;\n"
	    "iif != { 1, %u } ip daddr %s drop\n"
	    "iif != { 1, %u } ip saddr %s drop\n"
	    "iif != { 1, %u } ip saddr @routed drop\n"
	    "iif %u meta nfproto != ipv4 drop\n"
	    "}\n",
	    w->tunnel, w->pool, w->tunnel, w->pool, w->tunnel, w->tunnel);
}

/* N1: no forward takes a port of the relay's own, whatever the registry says:
 * of one protocol, two of them and the reserved ones. "set" cannot hold ranges
 * that touch or overlap, hence nat_ports' merged ones. */
static int
add_own_ports(struct text *t, const struct words *w, const struct nat_conf *c,
    const char *protocol, const uint16_t port[2])
{
	struct nat_ports *p = calloc(1, sizeof(*p));
	struct server_port_ranges own;
	int err;

	if (p == NULL)
		return UK_ENOMEM;
	nat_ports_take_all(p, c->reserved, 1);
	p->taken[port[0]] = p->taken[port[1]] = 1;
	err = nat_ports_ranges(&own, p, 1, 1, true);
	free(p);
	if (err < 0)
		return err;
	if (own.n > 0)
		text_add(t, "ip daddr %s %s dport { ", w->global, protocol);
	for (size_t i = 0; i < own.n; i++) {
		if (i > 0)
			text_add(t, ", ");
		nat_ports_format(t, &own.item[i]);
	}
	if (own.n > 0)
		text_add(t, " } return\n");
	nat_ports_free(&own);
	return 0;
}

static int
add_published(struct text *t, const struct words *w, const struct nat_conf *c)
{
	const uint16_t tcp[2] = {22, c->tls_port}, udp[2] = {c->listen_port, 0};
	int err;

	text_add(t, "chain to_clients {\n");
	err = add_own_ports(t, w, c, "tcp", tcp);
	if (err == 0)
		err = add_own_ports(t, w, c, "udp", udp);
	if (err < 0)
		return err;
	text_add(t,
	    "meta l4proto { tcp, udp } dnat ip addr . port to "
	    "ip daddr . meta l4proto . th dport map @forwards\n"
	    "meta l4proto { tcp, udp } dnat ip to "
	    "ip daddr . meta l4proto . th dport map @forward_ranges\n"
	    "meta l4proto { icmp, tcp, udp } dnat ip to "
	    "ip daddr map @exclusive\n"
	    "}\n"
	    "chain to_owner {\n"
	    "meta l4proto { tcp, udp } th dport != @reserved dnat ip to "
	    "ip daddr map @owner\n"
	    "}\n");
	return 0;
}

/* Before the destination translation of other software, but the relay's own
 * address as an exclusive one after it: what containers publish stays theirs.
 * "output" is for the host's own programs. */
static void
add_arriving(struct text *t)
{
	static const struct {
		const char *chain, *hook, *priority, *to;
	} row[] = {
	    {"published", "prerouting", "dstnat - 1", "to_clients"},
	    {"published_rest", "prerouting", "dstnat + 1", "to_owner"},
	    {"published_host", "output", "-101", "to_clients"},
	    {"published_host_rest", "output", "-99", "to_owner"},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		text_add(t,
		    "chain %s {\n"
		    "type nat hook %s priority %s; policy accept;\n"
		    "meta nfproto ipv4 jump %s\n"
		    "}\n",
		    row[i].chain, row[i].hook, row[i].priority, row[i].to);
}

/* N3. After all destination translation: what is published has a client's
 * address now. What other software translates is dropped by "outward" when it
 * is forwarded, and at the input when it is redirected to the host. A packet
 * that goes back into the tunnel (hairpin) makes the kernel tell its sender
 * the address behind the translation, as a nearer gateway. */
static void
add_host(struct text *t, const struct words *w, uint16_t metrics_port)
{
	text_add(t,
	    "chain to_host {\n"
	    "ip saddr != %s ip saddr != @routed drop\n"
	    "ct state established,related accept\n"
	    "ip daddr %s icmp type echo-request accept\n",
	    w->pool, w->own);
	if (metrics_port != 0)
		text_add(t, "ip daddr %s tcp dport %u accept\n", w->own,
		    metrics_port);
	text_add(t,
	    "drop\n"
	    "}\n"
	    "chain arriving {\n"
	    "type filter hook prerouting priority dstnat + 2; policy accept;\n"
	    "iif %u fib daddr type != unicast goto to_host\n"
	    "}\n"
	    "chain input {\n"
	    "type filter hook input priority filter; policy accept;\n"
	    "iif %u goto to_host\n"
	    "}\n"
	    "chain output {\n"
	    "type filter hook output priority filter; policy accept;\n"
	    "oif %u icmp type redirect drop\n"
	    "}\n",
	    w->tunnel, w->tunnel, w->tunnel);
}

/* N4. "to_published" is N5: a destination that we translated, which is known
 * by its being a registered one now. */
static void
add_between(struct text *t, const struct words *w, const struct nat_conf *c)
{
	text_add(t, "chain to_published {\n"
		    "ip daddr . meta l4proto . th dport @targets accept\n"
		    "ip daddr . meta l4proto . th dport @target_ranges accept\n"
		    "ct original ip daddr . ip daddr @pairs accept\n"
		    "drop\n"
		    "}\n"
		    "chain between {\n"
		    "ct state established,related accept\n");
	if (c->client_to_client)
		text_add(t, "ip daddr %s accept\n", w->pool);
	text_add(t, "ct status dnat goto to_published\n"
		    "ip daddr @routed accept\n");
	for (size_t i = 0; i < c->groups->n; i++)
		text_add(
		    t, "ip saddr @group%zu ip daddr @group%zu accept\n", i, i);
	text_add(t, "drop\n}\n");
}

/* Packets that conntrack does not follow (invalid, untracked) are dropped:
 * they would leave untranslated. A reply belongs to a flow that came in by the
 * rules. 169.254.0.0/16 is where clouds keep the host's credentials. */
static void
add_outward(struct text *t, const struct words *w, const struct nat_conf *c)
{
	text_add(t,
	    "chain outward {\n"
	    "ip saddr != %s ip saddr != @routed drop\n"
	    "ct state invalid,untracked drop\n"
	    "meta l4proto != { icmp, tcp, udp } drop\n"
	    "ct direction reply accept\n"
	    "oif %u goto between\n"
	    "ct status dnat drop\n"
	    "ip daddr 169.254.0.0/16 drop\n",
	    w->pool, w->tunnel);
	if (c->uplink != 0)
		text_add(t,
		    "oif != %u ip daddr { 10.0.0.0/8, 100.64.0.0/10, "
		    "172.16.0.0/12, 192.168.0.0/16 } drop\n",
		    c->uplink);
	text_add(t,
	    "ip daddr %s drop\n"
	    "ip daddr @routed drop\n"
	    "accept\n"
	    "}\n",
	    w->pool);
}

/* N5: the host drops the rest before it is encrypted. */
static void
add_forwarding(struct text *t, const struct words *w)
{
	text_add(t,
	    "chain inward {\n"
	    "meta nfproto != ipv4 drop\n"
	    "ct state established,related accept\n"
	    "ct state != new drop\n"
	    "meta l4proto != { icmp, tcp, udp } drop\n"
	    "ct status dnat goto to_published\n"
	    "ip daddr @routed accept\n"
	    "drop\n"
	    "}\n"
	    "chain forward {\n"
	    "type filter hook forward priority filter; policy accept;\n"
	    "iif %u goto outward\n"
	    "oif %u goto inward\n"
	    "}\n",
	    w->tunnel, w->tunnel);
}

/* After what was dropped above: that is nobody's bandwidth. */
static void
add_policing(struct text *t, const struct words *w)
{
	text_add(t,
	    "chain limits {\n"
	    "type filter hook forward priority filter + 1; policy accept;\n"
	    "iif %u limit name ip saddr map @limits_up drop\n"
	    "oif %u limit name ip daddr map @limits_down drop\n"
	    "iif %u ct state new ip saddr vmap @counted\n"
	    "oif %u ct state new ip daddr vmap @counted\n"
	    "}\n",
	    w->tunnel, w->tunnel, w->tunnel, w->tunnel);
}

/* "rt mtu" is the less of both directions' MTUs, and a smaller MSS stays. */
static void
add_clamp(struct text *t, const struct words *w)
{
	static const char clamp[] =
	    "tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu";

	text_add(t,
	    "chain clamp {\n"
	    "type filter hook forward priority mangle; policy accept;\n"
	    "iif %u %s\n"
	    "oif %u %s\n"
	    "}\n",
	    w->tunnel, clamp, w->tunnel, clamp);
}

/* Just before the usual priority: where other software masquerades all that
 * leaves, ours has decided already. "snat to ip saddr" keeps the source, and
 * nobody else changes it. "shared" and "owner_flows" are nat_update()'s. */
static void
add_leaving(struct text *t, const struct words *w)
{
	text_add(t,
	    "chain shared {\n"
	    "drop\n"
	    "}\n"
	    "chain owner_flows {\n"
	    "drop\n"
	    "}\n"
	    "chain translate {\n"
	    "ip saddr @routed snat ip to ip saddr\n"
	    "snat ip to ip saddr map @sources\n"
	    "ip saddr @owner_sources goto owner_flows\n"
	    "goto shared\n"
	    "}\n"
	    "chain from_client {\n"
	    "oif != %u goto translate\n"
	    "ct status dnat goto translate\n"
	    "ip daddr @routed goto translate\n"
	    "snat ip to ip saddr\n"
	    "}\n"
	    "chain leaving {\n"
	    "type nat hook postrouting priority srcnat - 1; policy accept;\n"
	    "meta nfproto ipv4 iif %u goto from_client\n"
	    "oif %u ct status dnat snat ip to ip saddr\n"
	    "oif %u ip daddr @routed snat ip to ip saddr\n"
	    "}\n",
	    w->tunnel, w->tunnel, w->tunnel, w->tunnel);
}

int
nat_body(const struct nat *n, struct text *out)
{
	const struct nat_conf *c = &n->conf;
	struct words w = {.tunnel = c->tunnel};
	struct ip_prefix prefix;
	int err;

	ip_ifaddr_prefix(&c->address, &prefix);
	ip_prefix_format(&prefix, w.pool);
	ip_addr_format(&c->address.addr, w.own);
	ip_addr_format(&c->global, w.global);
	add_sets(out, c->groups->n);
	add_borders(out, &w);
	err = add_published(out, &w, c);
	if (err < 0)
		return err;
	add_arriving(out);
	add_host(out, &w, c->metrics_port);
	add_between(out, &w, c);
	add_outward(out, &w, c);
	add_forwarding(out, &w);
	add_policing(out, &w);
	add_clamp(out, &w);
	add_leaving(out, &w);
	return out->failed ? UK_ENOMEM : 0;
}

void
nat_arp(const struct nat *n, struct text *out)
{
	char pool[IP_PREFIX_TEXT_MAX];
	struct ip_prefix prefix;

	ip_ifaddr_prefix(&n->conf.address, &prefix);
	text_add(out,
	    "table arp %s {\n"
	    "flags owner\n"
	    "chain requests {\n"
	    "type filter hook input priority filter; policy accept;\n"
	    "iif != %u arp operation request arp daddr ip %s drop\n"
	    "}\n"
	    "}\n",
	    n->conf.table, n->conf.tunnel, ip_prefix_format(&prefix, pool));
}

static int
compare_members(const void *a, const void *b)
{
	const struct nat_member *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r != 0 ? r : (x->group > y->group) - (x->group < y->group);
}

/* Groups by client's name. */
static int
list_members(struct nat *n)
{
	const struct server_groups *g = n->conf.groups;
	size_t total = 0;

	for (size_t i = 0; i < g->n; i++)
		total += g->item[i].members.n;
	n->member = calloc(total + 1, sizeof(*n->member));
	if (n->member == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < g->n; i++)
		for (size_t k = 0; k < g->item[i].members.n; k++)
			n->member[n->members++] = (struct nat_member){
			    g->item[i].members.item[k].s, (uint32_t)i};
	qsort(n->member, n->members, sizeof(*n->member), compare_members);
	return 0;
}

int
nat_new(struct nat **out, const struct nat_conf *c)
{
	struct nat *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return UK_ENOMEM;
	n->conf = *c;
	if (list_members(n) < 0) {
		free(n);
		return UK_ENOMEM;
	}
	*out = n;
	return 0;
}

void
nat_free(struct nat *n)
{
	if (n == NULL)
		return;
	nat_held_fini(&n->now);
	nat_held_fini(&n->next);
	free(n->member);
	free(n);
}

int
nat_update(struct nat *n, const struct nat_view *v, struct text *out)
{
	int err;

	nat_held_fini(&n->next);
	err = nat_collect(n, v, &n->next);
	if (err < 0)
		return err;
	nat_difference(out, n->conf.table, &n->now, &n->next);
	return out->failed ? UK_ENOMEM : 0;
}

void
nat_settle(struct nat *n, bool held)
{
	if (held) {
		nat_held_fini(&n->now);
		n->now = n->next;
		n->next = (struct nat_held){.items = {NULL, 0, 0}};
	}
	nat_held_fini(&n->next);
}

void
nat_table_name(char name[static NAT_TABLE_NAME_MAX], const char *ifname)
{
	snprintf(name, NAT_TABLE_NAME_MAX, "ukai-relay-%s", ifname);
	for (char *p = name; *p != '\0'; p++)
		if (!islower((unsigned char)*p) &&
		    !isdigit((unsigned char)*p) && *p != '-')
			*p = '_';
}
