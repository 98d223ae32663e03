#include "survey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <nftables/libnftables.h>

#include "nat.h"

/* States in /proc/net (the kernel's tcp_states.h). */
#define LISTENING 0x0a
#define UNCONNECTED 0x07
/* Ports named in one warning. */
#define NAMED_MAX 20

/* A set of ports. */
struct ports {
	uint8_t bit[65536 / 8];
};

static void
ports_add(struct ports *p, unsigned port)
{
	p->bit[port / 8] |= (uint8_t)(1u << port % 8);
}

static bool
ports_has(const struct ports *p, unsigned port)
{
	return p->bit[port / 8] >> port % 8 & 1;
}

/* Sockets of /proc/net/{tcp,udp,...} in a state, unless bound to 127/8 or
 * ::1 ("0100007F", "...01000000"), where no visitor comes. */
static void
collect(struct ports *to, const char *path, unsigned state)
{
	char line[512], addr[40];
	unsigned port, st;
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		size_t len;

		if (sscanf(line, " %*u: %36[0-9A-F]:%4x %*[0-9A-F]:%*x %2x",
			addr, &port, &st) != 3 ||
		    st != state || port > UINT16_MAX)
			continue;
		len = strlen(addr);
		if ((len == 8 && strcmp(addr + 6, "7F") == 0) ||
		    (len == 32 &&
			strcmp(addr, "00000000000000000000000001000000") == 0))
			continue;
		ports_add(to, port);
	}
	fclose(f);
}

bool
survey_udp_port_used(uint16_t port)
{
	struct ports used = {{0}};

	collect(&used, "/proc/net/udp", UNCONNECTED);
	collect(&used, "/proc/net/udp6", UNCONNECTED);
	return ports_has(&used, port);
}

/* UDP sockets that only wait for an answer have ports from this range. */
static void
ephemeral_range(unsigned *first, unsigned *last)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (f == NULL || fscanf(f, "%u %u", first, last) != 2) {
		*first = 32768;
		*last = 60999;
	}
	if (f != NULL)
		fclose(f);
}

static void
collect_listeners(struct ports *to)
{
	struct ports udp = {{0}};
	unsigned first, last;

	collect(to, "/proc/net/tcp", LISTENING);
	collect(to, "/proc/net/tcp6", LISTENING);
	collect(&udp, "/proc/net/udp", UNCONNECTED);
	collect(&udp, "/proc/net/udp6", UNCONNECTED);
	ephemeral_range(&first, &last);
	for (unsigned port = 0; port <= UINT16_MAX; port++)
		if (ports_has(&udp, port) && (port < first || port > last))
			ports_add(to, port);
}

void
survey_listeners(const struct server_conf *c, struct diag *d)
{
	struct server_port_ranges free_ports;
	struct ports listeners = {{0}};
	char list[NAMED_MAX * 7 + 8] = "";
	unsigned named = 0;
	size_t len = 0;

	if (nat_free_ports(&free_ports, &c->reserved_ports, c->listen_port) < 0)
		return;
	collect_listeners(&listeners);
	for (size_t i = 0; i < free_ports.n; i++)
		for (unsigned port = free_ports.item[i].first;
		     port <= free_ports.item[i].last; port++)
			if (ports_has(&listeners, port) && named++ < NAMED_MAX)
				len += (size_t)snprintf(list + len,
				    sizeof(list) - len, "%s%u",
				    len > 0 ? ", " : "", port);
	free(free_ports.item);
	if (named > 0)
		diag_warn(d,
		    "this host listens on ports that clients may get; reserve "
		    "them: ReservedPorts = %s%s",
		    list, named > NAMED_MAX ? ", ..." : "");
}

static void
warn_forward(const char *family, const char *table, const char *chain,
    const struct server_conf *c, struct diag *d)
{
	diag_warn(d,
	    "table %s %s drops what its chain %s does not accept; unless "
	    "it does: nft insert rule %s %s %s iifname \"%s\" accept; the "
	    "same with oifname",
	    family, table, chain, family, table, chain, c->interface);
}

static void
warn_input(const char *family, const char *table, const char *chain,
    const struct server_conf *c, struct diag *d)
{
	diag_warn(d,
	    "table %s %s drops what its chain %s does not accept; unless it "
	    "does: nft insert rule %s %s %s udp dport %u accept",
	    family, table, chain, family, table, chain, c->listen_port);
}

static void
look_at_chain(const json_t *o, const struct server_conf *c, struct diag *d)
{
	const char *family, *table, *name, *hook, *policy;

	/* Keys of libnftables-json(5). */
	if (json_unpack((json_t *)(uintptr_t)o, "{s:s,s:s,s:s,s:s,s:s}",
		"family", &family, "table", &table, "name", &name, "hook",
		&hook, "policy", &policy) != 0 ||
	    strcmp(policy, "drop") != 0)
		return;
	if (strcmp(family, "ip") != 0 && strcmp(family, "ip6") != 0 &&
	    strcmp(family, "inet") != 0)
		return;
	if (strcmp(hook, "forward") == 0 && strcmp(family, "ip6") != 0)
		warn_forward(family, table, name, c, d);
	if (strcmp(hook, "input") == 0)
		warn_input(family, table, name, c, d);
}

static void
look_at_chains(const char *text, const struct server_conf *c, struct diag *d)
{
	json_t *root = json_loads(text, 0, NULL);
	json_t *list = json_object_get(root, "nftables");

	for (size_t i = 0; i < json_array_size(list); i++)
		look_at_chain(
		    json_object_get(json_array_get(list, i), "chain"), c, d);
	json_decref(root);
}

/* iptables-legacy keeps its rules where nftables does not see them. */
static void
look_at_legacy(struct diag *d)
{
	FILE *f = fopen("/proc/net/ip_tables_names", "re");
	char line[64];

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL)
		if (strcmp(line, "filter\n") == 0)
			diag_warn(d,
			    "iptables-legacy has filter rules, which are not "
			    "looked at here; see iptables-legacy -S");
	fclose(f);
}

void
survey_firewalls(const struct server_conf *c, struct diag *d)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	if (nft == NULL)
		return;
	nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_JSON);
	if (nft_ctx_buffer_output(nft) != 0 || nft_ctx_buffer_error(nft) != 0 ||
	    nft_run_cmd_from_buffer(nft, "list chains") != 0)
		diag_warn(d,
		    "cannot look at this host's firewall rules; as root it is "
		    "possible");
	else
		look_at_chains(nft_ctx_get_output_buffer(nft), c, d);
	nft_ctx_free(nft);
	look_at_legacy(d);
}
