/* nat_probe: the relay's nftables table without a relay, for tests/net. Its
 * tunnel is any device.
 *
 *   nat_probe RELAY.CONF TUNNEL UPLINK
 *
 * makes the table, then takes lines from standard input:
 *
 *   client NAME WAY NETWORKS GLOBAL|- KBIT CONNECTIONS [FORWARD[=TARGET]]...
 *   many N FORWARDS RANGES         clients out of 10.0.0.0/8, besides
 *   forget NAME
 *   in-use [PORT]...
 *   apply                          "ok BYTES MILLISECONDS" or "failed WHY"
 *   proxy add|remove LINK ADDRESS  the journal is RELAY.CONF.undo
 *   print                          the last change's commands
 *
 * and says "ready" or "failed" at the start. The table lives as long as this.
 */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../server/nat.h"
#include "core/err.h"
#include "host/hostfw.h"
#include "host/undo.h"

#define CLIENTS_MAX 20000
#define WORDS_MAX 300

struct probe {
	struct server_conf conf;
	struct nat *nat;
	struct hostfw *fw;
	struct netcfg *netcfg;
	struct undo *undo;
	struct client *client[CLIENTS_MAX];
	size_t n;
	struct server_port_range in_use[WORDS_MAX];
	size_t in_use_n;
	struct text change;
	struct diag d;
};

static void
forget(struct probe *p, const char *name)
{
	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->client[i]->name, name) != 0)
			continue;
		client_fini(p->client[i]);
		free(p->client[i]);
		p->client[i] = p->client[--p->n];
		return;
	}
}

static struct client *
new_client(struct probe *p, const char *name)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL || p->n == CLIENTS_MAX)
		abort();
	c->forward = calloc(CLIENT_FORWARDS_MAX, sizeof(*c->forward));
	snprintf(c->name, sizeof(c->name), "%s", name);
	p->client[p->n++] = c;
	return c;
}

static int
add_forward(struct probe *p, struct client *c, char *word)
{
	char *target = strchr(word, '=');

	if (target != NULL)
		*target++ = '\0';
	return client_forward_parse(
	    &c->forward[c->forwards++], word, target, &p->d);
}

static int
do_client(struct probe *p, char **w, size_t n)
{
	struct client *c;
	char *save = NULL;

	if (n < 6)
		return UK_EINVAL;
	forget(p, w[0]);
	c = new_client(p, w[0]);
	for (char *s = strtok_r(w[2], ",", &save); s != NULL;
	     s = strtok_r(NULL, ",", &save))
		if (ip_prefix_parse(&c->network[c->networks++], s, strlen(s)) <
		    0)
			return UK_EINVAL;
	if (client_way_parse(&c->way, w[1]) < 0 ||
	    (strcmp(w[3], "-") != 0 &&
		ip_addr_parse(&c->global, w[3], strlen(w[3])) < 0))
		return UK_EINVAL;
	c->rate_kbit = (uint32_t)strtoul(w[4], NULL, 10);
	c->connections = (uint32_t)strtoul(w[5], NULL, 10);
	for (size_t i = 6; i < n; i++)
		if (add_forward(p, c, w[i]) < 0)
			return UK_EINVAL;
	return 0;
}

/* Ports: singles from 1024 up, ranges of four from 65535 down; in turns TCP
 * and UDP. */
static int
do_many(struct probe *p, char **w, size_t n)
{
	unsigned long clients = n > 0 ? strtoul(w[0], NULL, 10) : 0;
	unsigned long forwards = n > 1 ? strtoul(w[1], NULL, 10) : 0;
	unsigned long ranges = n > 2 ? strtoul(w[2], NULL, 10) : 0;
	unsigned single = 2048, range = 2 * 65532;

	for (unsigned long i = 0; i < clients; i++) {
		char name[33];
		struct client *c;

		snprintf(name, sizeof(name), "many-%lu", i);
		c = new_client(p, name);
		c->networks = 1;
		c->network[0] = (struct ip_prefix){
		    {FAMILY_V4, {10, 200, (uint8_t)(i >> 8), (uint8_t)i}}, 32};
		c->network[0].addr.b[1] = (uint8_t)(200 + (i >> 16));
		for (unsigned long k = 0; k < forwards; k++, single++)
			c->forward[c->forwards++] = (struct client_forward){
			    single % 2 ? 6 : 17, (uint16_t)(single / 2),
			    (uint16_t)(single / 2), 80};
		for (unsigned long k = 0; k < ranges; k++, range -= 8)
			c->forward[c->forwards++] = (struct client_forward){6,
			    (uint16_t)(range / 2), (uint16_t)(range / 2 + 3),
			    (uint16_t)(range / 2)};
	}
	return 0;
}

static int
do_forget(struct probe *p, char **w, size_t n)
{
	if (n != 1)
		return UK_EINVAL;
	forget(p, w[0]);
	return 0;
}

static int
do_in_use(struct probe *p, char **w, size_t n)
{
	p->in_use_n = n;
	for (size_t i = 0; i < n; i++)
		p->in_use[i].first = p->in_use[i].last =
		    (uint16_t)strtoul(w[i], NULL, 10);
	return 0;
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int
do_apply(struct probe *p, char **w, size_t n)
{
	const struct server_port_ranges in_use = {p->in_use, p->in_use_n, 0};
	const struct nat_view v = {
	    (const struct client *const *)p->client, p->n, &in_use};
	uint64_t begin = now_us(), made;
	int err;

	(void)w;
	(void)n;
	text_clear(&p->change);
	err = nat_update(p->nat, &v, &p->change);
	made = now_us();
	if (err == 0 && p->change.len > 0)
		err = hostfw_run(p->fw, p->change.s, &p->d);
	nat_settle(p->nat, err == 0);
	if (err == 0)
		printf("changed %zu bytes, %llu + %llu us\n", p->change.len,
		    (unsigned long long)(made - begin),
		    (unsigned long long)(now_us() - made));
	return err;
}

static int
do_print(struct probe *p, char **w, size_t n)
{
	(void)w;
	(void)n;
	fputs(p->change.len > 0 ? p->change.s : "", stdout);
	return 0;
}

static int
do_proxy(struct probe *p, char **w, size_t n)
{
	struct ip_addr a;

	if (n != 3 || ip_addr_parse(&a, w[2], strlen(w[2])) < 0)
		return UK_EINVAL;
	if (strcmp(w[0], "add") == 0)
		return undo_neigh_proxy(
		    p->undo, p->netcfg, if_nametoindex(w[1]), &a, &p->d);
	return undo_neigh_proxy_remove(p->undo, p->netcfg, &a, &p->d);
}

static const struct {
	const char *name;
	int (*run)(struct probe *p, char **w, size_t n);
} verbs[] = {
    {"client", do_client},
    {"many", do_many},
    {"forget", do_forget},
    {"in-use", do_in_use},
    {"apply", do_apply},
    {"print", do_print},
    {"proxy", do_proxy},
};

/* A line; its answer ends with "ok" or "failed". */
static void
run(struct probe *p, char *line)
{
	char *w[WORDS_MAX], *save = NULL;
	size_t n = 0;
	int err = UK_ENOENT;

	for (char *s = strtok_r(line, " \n", &save); s != NULL && n < WORDS_MAX;
	     s = strtok_r(NULL, " \n", &save))
		w[n++] = s;
	if (n == 0)
		return;
	diag_init(&p->d, NULL);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, w[0]) == 0)
			err = verbs[i].run(p, w + 1, n - 1);
	diag_print(&p->d, "nat_probe", stdout);
	printf("%s %s\n", err < 0 ? "failed" : "ok", uk_strerror(err));
	fflush(stdout);
}

static int
open_all(struct probe *p, char **argv, const char *table)
{
	struct text body = {.s = NULL};
	char journal[300];
	struct nat_conf c = {.table = table};
	int err = server_conf_load(&p->conf, argv[1], &p->d);

	if (err < 0)
		return err;
	c.tunnel = if_nametoindex(argv[2]);
	c.uplink = if_nametoindex(argv[3]);
	c.address = p->conf.address.ifaddr;
	c.global = p->conf.global_address;
	c.listen_port = p->conf.listen_port;
	c.tls_port = p->conf.tls_port;
	c.reserved = &p->conf.reserved_ports;
	c.groups = &p->conf.groups;
	c.client_to_client = p->conf.allow_client_to_client;
	snprintf(journal, sizeof(journal), "%s.undo", argv[1]);
	err = nat_new(&p->nat, &c);
	if (err == 0)
		err = nat_body(p->nat, &body);
	if (err == 0)
		err = netcfg_open(&p->netcfg, &p->d);
	if (err == 0)
		err = undo_open(&p->undo, journal, &p->d);
	if (err == 0)
		err = undo_all(p->undo, p->netcfg, &p->d);
	if (err == 0)
		err = hostfw_open(&p->fw, &p->d);
	if (err == 0)
		err = hostfw_apply(p->fw, table, body.s, &p->d);
	text_fini(&body);
	return err;
}

int
main(int argc, char **argv)
{
	static struct probe p;
	static char line[65536];
	char table[NAT_TABLE_NAME_MAX];
	int err;

	if (argc != 4)
		return 2;
	diag_init(&p.d, argv[1]);
	nat_table_name(table, argv[2]);
	err = open_all(&p, argv, table);
	diag_print(&p.d, "nat_probe", stdout);
	printf("%s\n", err < 0 ? "failed" : "ready");
	fflush(stdout);
	while (err == 0 && fgets(line, sizeof(line), stdin) != NULL)
		run(&p, line);
	hostfw_close(p.fw);
	if (p.undo != NULL)
		undo_all(p.undo, p.netcfg, &p.d);
	undo_close(p.undo);
	netcfg_close(p.netcfg);
	nat_free(p.nat);
	while (p.n > 0)
		forget(&p, p.client[0]->name);
	text_fini(&p.change);
	server_conf_fini(&p.conf);
	return err < 0;
}
