#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/tunnel.h"
#include "mark.h"
#include "names_kept.h"
#include "policy_state.h"

const struct client_conf *
policy_conf(const struct policy *p)
{
	return p->s.conf;
}

bool
policy_takes(const struct policy *p, uint8_t family)
{
	const struct conf_wg_addresses *own =
	    &policy_conf(p)->interface.address;
	bool address = false, allowed = false;

	for (size_t i = 0; i < own->n; i++)
		address |= own->item[i].addr.family == family;
	for (size_t i = 0; i < p->alloweds; i++)
		allowed |= p->allowed[i].addr.family == family;
	return address && allowed;
}

static int
gather_allowed(struct policy *p)
{
	const struct client_peers *l = &policy_conf(p)->peers;
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->item[i].allowed.n;
	p->allowed = calloc(n + 1, sizeof(*p->allowed));
	if (p->allowed == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; k < l->item[i].allowed.n; k++)
			p->allowed[p->alloweds++] =
			    l->item[i].allowed.item[k].prefix;
	return 0;
}

static int
gather_networks(struct policy *p)
{
	const struct client_networks *own = &policy_conf(p)->networks;
	const struct mape_networks *ce = &policy_conf(p)->mape.networks;

	p->network = calloc(own->n + ce->n + 1, sizeof(*p->network));
	if (p->network == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < own->n; i++)
		p->network[p->networks++] = own->item[i];
	for (size_t i = 0; i < ce->n; i++)
		p->network[p->networks++] = ce->item[i];
	return 0;
}

/* A public address is no gateway's of an office, and whoever says so wants its
 * traffic (R5). */
static bool
on_gateway(void *arg, const struct ip_addr *a)
{
	static const struct ip_prefix near[] = {
	    {{FAMILY_V4, {10}}, 8},
	    {{FAMILY_V4, {172, 16}}, 12},
	    {{FAMILY_V4, {192, 168}}, 16},
	    {{FAMILY_V4, {100, 64}}, 10},
	    {{FAMILY_V6, {0xfc}}, 7},
	};
	struct policy *p = arg;

	for (size_t i = 0; i < ARRAY_LEN(near); i++) {
		if (!ip_prefix_contains(&near[i], a))
			continue;
		p->local[p->locals + p->gateways++] =
		    (struct ip_prefix){*a, a->family == FAMILY_V4 ? 32 : 128};
		break;
	}
	return p->gateways < POLICY_GATEWAYS_MAX;
}

int
policy_gather_gateways(struct policy *p)
{
	p->gateways = 0;
	return netcfg_gateway_each(p->s.n, on_gateway, p);
}

/* What the user named, what always takes the tunnel (Routes), and the
 * gateways: none of the policy's business. */
static int
gather_local(struct policy *p)
{
	const struct client_networks *named = &policy_conf(p)->local_networks;
	const struct routes *r = p->s.routes;

	p->local =
	    calloc(named->n + r->n + POLICY_GATEWAYS_MAX, sizeof(*p->local));
	if (p->local == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < named->n; i++)
		p->local[p->locals++] = named->item[i];
	for (size_t i = 0; i < r->n; i++)
		p->local[p->locals++] = r->prefix[i];
	return policy_gather_gateways(p);
}

static bool
is_link_local(const struct ip_addr *a)
{
	static const struct ip_prefix net = {
	    {FAMILY_V6, {0xfe, 0x80}}, .bits = 10};

	return ip_prefix_contains(&net, a);
}

static struct policy_nft_link *
link_find(struct policy *p, unsigned ifindex)
{
	for (size_t i = 0; i < p->links; i++)
		if (p->link[i].ifindex == ifindex)
			return &p->link[i];
	return NULL;
}

struct gathering {
	struct policy *p;
	int err;
};

/* The first one of a link. */
static bool
on_link_local(
    void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	struct gathering *g = arg;
	struct policy *p = g->p;
	struct policy_nft_link *l;

	(void)bits;
	if (!is_link_local(a) || ifindex == tunnel_ifindex(p->tunnel) ||
	    link_find(p, ifindex) != NULL)
		return true;
	l = realloc(p->link, (p->links + 1) * sizeof(*l));
	if (l == NULL) {
		g->err = UK_ENOMEM;
		return false;
	}
	p->link = l;
	l += p->links++;
	memset(l, 0, sizeof(*l)); /* they are compared with memcmp() */
	l->ifindex = ifindex;
	l->addr = *a;
	return true;
}

static bool
on_lan(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	struct gathering *g = arg;
	struct policy_nft_link *l = link_find(g->p, ifindex);

	(void)bits;
	for (size_t i = 0; l != NULL && i < g->p->networks; i++)
		l->lan |= ip_prefix_contains(&g->p->network[i], a);
	return true;
}

int
policy_gather_links(struct policy *p)
{
	struct gathering g = {.p = p};
	int err;

	p->links = 0;
	err = netcfg_addr_each(p->s.n, on_link_local, &g);
	if (err == 0)
		err = netcfg_addr_each(p->s.n, on_lan, &g);
	return g.err < 0 ? g.err : err;
}

static void
gather_dns(struct policy *p)
{
	const struct conf_wg_dns_list *l = &policy_conf(p)->interface.dns;

	for (size_t i = 0;
	     i < l->n && p->dns_servers < ARRAY_LEN(p->dns_server); i++)
		if (l->item[i].addr.family != FAMILY_NONE)
			p->dns_server[p->dns_servers++] = l->item[i].addr;
}

int
policy_gather(struct policy *p)
{
	int err = gather_allowed(p);

	gather_dns(p);
	if (err == 0)
		err = gather_networks(p);
	return err < 0 ? err : gather_local(p);
}

const char *
policy_name_end(const char *name, size_t size)
{
	size_t len = strlen(name);
	const char *dot;

	if (len < size)
		return name;
	dot = strchr(name + len - size, '.');
	return dot != NULL ? dot + 1 : name + len - size + 1;
}

int
policy_gather_known(struct policy *p)
{
	struct policy_nft_known *item;
	struct binding_change c;
	size_t cap = 0;

	free(p->known);
	p->known = NULL;
	p->knowns = 0;
	while (bindings_next(p->bindings, &c)) {
		if (!c.add)
			continue;
		if (p->knowns == cap) {
			cap = cap * 2 + 64;
			item = realloc(p->known, cap * sizeof(*item));
			if (item == NULL)
				return UK_ENOMEM;
			p->known = item;
		}
		item = &p->known[p->knowns++];
		*item =
		    (struct policy_nft_known){.slot = c.slot, .addr = c.addr};
		snprintf(item->name, sizeof(item->name), "%s",
		    policy_name_end(c.name, sizeof(item->name)));
	}
	return 0;
}

static unsigned
class_of(void *arg, const char *program)
{
	return arg != NULL ? programs_class(arg, program) : CLASS_NONE;
}

void
policy_describe(
    const struct policy *p, struct compiled *c, struct policy_nft *out)
{
	const struct conf_wg_interface *i = &policy_conf(p)->interface;

	*out = (struct policy_nft){
	    .rules = c->rules,
	    .slots = c->slots,
	    .ifname = p->s.name,
	    .own_mark = p->s.routes->mark,
	    .tunnel_mark = p->s.routes->answer_mark,
	    .tunnel_mask = ROUTES_ANSWER_MASK,
	    .address = i->address.item,
	    .addresses = i->address.n,
	    .allowed = p->allowed,
	    .allowed_n = p->alloweds,
	    .local = p->local,
	    .locals = p->locals + p->gateways,
	    .network = p->network,
	    .networks = p->networks,
	    .dns_port = p->dns != NULL ? dns_forward_port(p->dns) : 0,
	    .link = p->link,
	    .links = p->links,
	    .ports = p->ports,
	    .own_ce = p->mape != NULL,
	    .known = p->known,
	    .knowns = p->knowns,
	    .live_v4 = p->live && policy_takes(p, FAMILY_V4),
	    .live_v6 = p->live && policy_takes(p, FAMILY_V6),
	    .runs = p->runs,
	    .class_of = class_of,
	    .class_arg = p->programs,
	};
}

/* ---- what an earlier run knew ---- */

struct carried {
	struct policy *p;
	uint8_t family;
	int err;
};

static bool
on_carried(void *arg, const uint8_t *key, size_t len, const char *comment)
{
	struct carried *c = arg;
	struct ip_addr a = {.family = c->family};

	if (comment == NULL || len != (c->family == FAMILY_V4 ? 4u : 16u))
		return true;
	memcpy(a.b, key, len);
	c->err = bindings_add(
	    c->p->bindings, clock_now().mono_ns, &comment, 1, &a, 0);
	return c->err == 0;
}

static bool
on_carried_set(void *arg, const char *set)
{
	char name[POLICY_NFT_SET_MAX];
	struct carried *c = arg;
	unsigned slot;
	char family;

	if (sscanf(set, "n%u_%c", &slot, &family) != 2)
		return true;
	c->family = family == '4' ? FAMILY_V4 : FAMILY_V6;
	policy_nft_names_set(name, (uint16_t)slot, c->family);
	if (strcmp(name, set) != 0)
		return true;
	(void)hostfw_elements_each(c->p->s.firewall,
	    policy_kernel_guard(c->p->kernel), set, on_carried, c);
	return c->err == 0;
}

int
policy_carry_over(struct policy *p)
{
	struct carried c = {.p = p};
	struct diag d;
	int err;

	(void)hostfw_sets_each(
	    p->s.firewall, policy_kernel_guard(p->kernel), on_carried_set, &c);
	if (c.err < 0 && c.err != UK_ELIMIT)
		return c.err;
	diag_init(&d, NULL);
	err = names_kept_load(p->bindings, clock_now().mono_ns, p->s.names, &d);
	/* Without it names hold as soon as they are looked up. */
	if (err < 0 && err != UK_ENOMEM)
		log_diag(&d);
	return err == UK_ENOMEM ? err : 0;
}
