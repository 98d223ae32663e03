#include "survey.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>
#include <nftables/libnftables.h>

#include "core/err.h"
#include "core/text.h"
#include "host/listeners.h"
#include "nat.h"

/* Ports named in one warning. */
#define NAMED_MAX 20
/* What iptables-save may print: a host with more rules is not looked at. */
#define OUTPUT_MAX ((size_t)16 << 20)
/* A message that would repeat one of the last so many remedies is left out. */
#define REMEDIES_MAX 32
#define REMEDY_MAX 160

bool
survey_udp_port_used(uint16_t port)
{
	struct listeners l;

	listeners_read(&l, NULL);
	return port_set_has(&l.udp, port);
}

bool
survey_tcp_port_used(uint16_t port)
{
	struct listeners l;

	listeners_read(&l, NULL);
	return port_set_has(&l.tcp, port);
}

void
survey_listeners(const struct server_conf *c, struct diag *d)
{
	struct port_set named = {{0}}, services;
	struct server_port_ranges free_ports;
	struct text list = {.s = NULL};
	struct listeners l;
	size_t n;

	if (nat_free_ports(&free_ports, &c->reserved_ports, c->listen_port,
		c->tls_port) < 0)
		return;
	listeners_read(&l, NULL);
	listeners_services(&l, &services);
	for (size_t i = 0; i < free_ports.n; i++)
		for (unsigned port = free_ports.item[i].first;
		     port <= free_ports.item[i].last; port++)
			if (port_set_has(&services, (uint16_t)port))
				port_set_add(
				    &named, (uint16_t)port, (uint16_t)port);
	free(free_ports.item);
	n = listeners_format(&named, 0, NAMED_MAX, &list);
	if (n > 0 && !list.failed)
		diag_warn(d,
		    "this host listens on ports that clients may get; reserve "
		    "them: ReservedPorts = %s%s",
		    list.s, n > NAMED_MAX ? ", ..." : "");
	text_fini(&list);
}

/* ---- what the relay needs, and who can grant it ---- */

enum need {
	NEED_UDP,
	NEED_TCP,
	NEED_OUTWARD,
	NEED_BACK,
	NEED_PUBLISHED,
	NEEDS,
};

struct judge {
	const struct survey_rules *rules;
	const struct survey_wants *wants;
	bool lenient;
	struct diag *d;
	/* of the packet that is followed now */
	const struct ruleset *r;
	enum need need;
	uint8_t family;
	char remedy[REMEDIES_MAX][REMEDY_MAX];
	size_t remedies;
};

static bool
is_legacy(const struct judge *j)
{
	return j->r == j->rules->legacy[0] || j->r == j->rules->legacy[1];
}

static bool
is_xt(const struct judge *j)
{
	return j->r != j->rules->nft;
}

enum keeper {
	KEEPER_NFT,
	KEEPER_XT,
	KEEPER_UFW,
	KEEPER_DOCKER,
	KEEPER_FIREWALLD
};

/* Who made a chain, so that the remedy is in that one's own words: what is
 * inserted behind its back is gone when it next writes its rules. */
static enum keeper
keeper_of(const struct judge *j, const struct ruleset_chain *c)
{
	bool forward = strcmp(c->hook, "forward") == 0;

	if (!is_xt(j))
		return strcmp(c->table, "firewalld") == 0 ? KEEPER_FIREWALLD
							  : KEEPER_NFT;
	if (strcmp(c->table, "filter") != 0)
		return KEEPER_XT;
	if (ruleset_has_chain(j->r, c->family, "filter",
		j->family == FAMILY_V4 ? "ufw-user-input" : "ufw6-user-input"))
		return KEEPER_UFW;
	return forward && ruleset_has_chain(
			      j->r, c->family, "filter", "DOCKER-USER")
		   ? KEEPER_DOCKER
		   : KEEPER_XT;
}

static bool
to_port(const struct judge *j)
{
	return j->need == NEED_UDP || j->need == NEED_TCP;
}

static unsigned
port(const struct judge *j)
{
	return j->need == NEED_UDP ? j->wants->udp_port : j->wants->tcp_port;
}

static const char *
protocol(const struct judge *j)
{
	return j->need == NEED_UDP ? "udp" : "tcp";
}

static void
remedy_of_nft(
    char to[REMEDY_MAX], const struct judge *j, const struct ruleset_chain *c)
{
	if (to_port(j))
		snprintf(to, REMEDY_MAX,
		    "nft insert rule %s %s %s %s dport %u accept", c->family,
		    c->table, c->name, protocol(j), port(j));
	else
		snprintf(to, REMEDY_MAX,
		    "nft insert rule %s %s %s %cifname \"%s\" accept",
		    c->family, c->table, c->name,
		    j->need == NEED_OUTWARD ? 'i' : 'o', j->wants->tunnel);
}

static void
remedy_of_xt(char to[REMEDY_MAX], const struct judge *j,
    const struct ruleset_chain *c, const char *chain)
{
	const char *program = j->family == FAMILY_V4 ? "iptables" : "ip6tables";
	bool filter = strcmp(c->table, "filter") == 0;
	int n;

	n = snprintf(to, REMEDY_MAX, "%s%s%s%s -I %s ", program,
	    is_legacy(j) ? "-legacy" : "", filter ? "" : " -t ",
	    filter ? "" : c->table, chain);
	if (n < 0 || n >= REMEDY_MAX)
		return;
	if (to_port(j))
		snprintf(to + n, (size_t)(REMEDY_MAX - n),
		    "-p %s --dport %u -j ACCEPT", protocol(j), port(j));
	else
		snprintf(to + n, (size_t)(REMEDY_MAX - n), "-%c %s -j ACCEPT",
		    j->need == NEED_OUTWARD ? 'i' : 'o', j->wants->tunnel);
}

static void
remedy_of_ufw(char to[REMEDY_MAX], const struct judge *j)
{
	if (to_port(j))
		snprintf(
		    to, REMEDY_MAX, "ufw allow %u/%s", port(j), protocol(j));
	else
		snprintf(to, REMEDY_MAX, "ufw route allow %s on %s",
		    j->need == NEED_OUTWARD ? "in" : "out", j->wants->tunnel);
}

/* The uplink's zone is the default one unless somebody chose another. The zone
 * "trusted" may forward to all others; answers, and published ports, whose
 * destination is translated, firewalld forwards in any case. */
static void
remedy_of_firewalld(char to[REMEDY_MAX], const struct judge *j)
{
	if (to_port(j))
		snprintf(to, REMEDY_MAX,
		    "firewall-cmd --permanent --add-port=%u/%s && "
		    "firewall-cmd --reload",
		    port(j), protocol(j));
	else
		snprintf(to, REMEDY_MAX,
		    "firewall-cmd --permanent --zone=trusted "
		    "--add-interface=%s && firewall-cmd --reload",
		    j->wants->tunnel);
}

/* Returns who keeps the chain. */
static const char *
find_remedy(
    char to[REMEDY_MAX], const struct judge *j, const struct ruleset_chain *c)
{
	switch (keeper_of(j, c)) {
	case KEEPER_UFW:
		remedy_of_ufw(to, j);
		return "ufw";
	case KEEPER_FIREWALLD:
		remedy_of_firewalld(to, j);
		return "firewalld";
	case KEEPER_DOCKER:
		remedy_of_xt(to, j, c, "DOCKER-USER");
		return "Docker's chain FORWARD";
	case KEEPER_XT:
		remedy_of_xt(to, j, c, c->name);
		return NULL;
	default:
		remedy_of_nft(to, j, c);
		return NULL;
	}
}

static bool
was_said(struct judge *j, const char *remedy)
{
	for (size_t i = 0; i < j->remedies; i++)
		if (strcmp(j->remedy[i], remedy) == 0)
			return true;
	if (j->remedies < REMEDIES_MAX)
		snprintf(j->remedy[j->remedies++], REMEDY_MAX, "%s", remedy);
	return false;
}

static void
name_need(char to[64], const struct judge *j)
{
	static const char *const name[NEEDS] = {
	    [NEED_OUTWARD] = "what clients send",
	    [NEED_BACK] = "answers to clients",
	    [NEED_PUBLISHED] = "visitors of published ports",
	};

	if (to_port(j))
		snprintf(to, 64, "%s port %u",
		    j->need == NEED_UDP ? "UDP" : "TCP", port(j));
	else
		snprintf(to, 64, "%s", name[j->need]);
}

/* iptables' own chains stand in nft's list too, less readable. */
static bool
is_told_by_xt(const struct judge *j, const struct ruleset_chain *c)
{
	for (size_t i = 0; i < ARRAY_LEN(j->rules->xt); i++)
		if (!is_xt(j) && j->rules->xt[i] != NULL &&
		    ruleset_has_chain(
			j->rules->xt[i], c->family, c->table, c->name))
			return true;
	return false;
}

static bool
judge_chain(void *arg, const struct ruleset_chain *c, enum ruleset_outcome o)
{
	struct judge *j = arg;
	bool surely = o == RULESET_DROPS;
	char remedy[REMEDY_MAX], need[64], chain[96];
	const char *keeper;

	if (strcmp(c->table, j->wants->own_table) == 0 || is_told_by_xt(j, c) ||
	    (!surely && j->lenient))
		return true;
	keeper = find_remedy(remedy, j, c);
	if (was_said(j, remedy))
		return true;
	name_need(need, j);
	snprintf(chain, sizeof(chain), "chain %s of table %s %s", c->name,
	    c->family, c->table);
	diag_add(j->d,
	    surely && !j->lenient && j->need != NEED_PUBLISHED ? DIAG_ERROR
							       : DIAG_WARNING,
	    0, 0, "%s %s %s; %srun: %s", keeper != NULL ? keeper : chain,
	    surely ? "drops" : "may drop", need, surely ? "" : "if it does, ",
	    remedy);
	return true;
}

static void
judge_packet(struct judge *j, enum need need, uint8_t family)
{
	const struct survey_wants *w = j->wants;
	const struct survey_rules *rules = j->rules;
	const struct ruleset *all[] = {rules->nft, rules->xt[0], rules->xt[1],
	    rules->legacy[0], rules->legacy[1]};
	const struct ruleset_packet packet = {
	    .family = family,
	    .forwarded = need != NEED_UDP && need != NEED_TCP,
	    .protocol = need == NEED_UDP ? IPPROTO_UDP : IPPROTO_TCP,
	    .port = need == NEED_UDP   ? w->udp_port
		    : need == NEED_TCP ? w->tcp_port
				       : 0,
	    .in = need == NEED_OUTWARD ? w->tunnel : w->uplink,
	    .out = need == NEED_OUTWARD ? w->uplink : w->tunnel,
	    .established = need == NEED_BACK,
	    .translated = need == NEED_PUBLISHED,
	};

	j->need = need;
	j->family = family;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		j->r = all[i];
		if (j->r != NULL)
			ruleset_follow(j->r, &packet, judge_chain, j);
	}
}

void
survey_judge(const struct survey_rules *r, const struct survey_wants *w,
    bool lenient, struct diag *d)
{
	struct judge j = {.rules = r, .wants = w, .lenient = lenient, .d = d};

	for (enum need need = NEED_UDP; need <= NEED_TCP; need++) {
		if (need == NEED_TCP && w->tcp_port == 0)
			continue;
		judge_packet(&j, need, FAMILY_V4);
		if (w->ipv6)
			judge_packet(&j, need, FAMILY_V6);
	}
	for (enum need need = NEED_OUTWARD; need < NEEDS; need++)
		judge_packet(&j, need, FAMILY_V4);
}

/* ---- asking ---- */

/* All that comes, up to OUTPUT_MAX. */
static void
drain(int fd, struct text *out)
{
	char buf[16384];
	ssize_t n;

	do {
		n = read(fd, buf, sizeof(buf));
		if (n > 0 && out->len + (size_t)n <= OUTPUT_MAX)
			text_append(out, buf, (size_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
}

/* What a program prints. By its full path, without a shell (C5, C8). Returns
 * 0; UK_ENOENT: there is no such program; UK_ESYS. */
static int
ask(const char *path, struct text *out)
{
	static char *const environment[] = {"LC_ALL=C", NULL};
	char *argv[] = {(char *)(uintptr_t)path, NULL};
	posix_spawn_file_actions_t actions;
	int pipe_fd[2], status = 0, err;
	pid_t pid;

	if (access(path, X_OK) != 0)
		return UK_ENOENT;
	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		return UK_ESYS;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(
	    &actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	err = posix_spawn(&pid, path, &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fd[1]);
	if (err == 0) {
		drain(pipe_fd[0], out);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(pipe_fd[0]);
	return err != 0 || status != 0 || out->failed ? UK_ESYS : 0;
}

static void
ask_xt(struct ruleset **r, const char *path, uint8_t family)
{
	struct text out = {.s = NULL};

	if (ask(path, &out) == 0 && out.len > 0)
		(void)ruleset_parse_xt(r, out.s, out.len, family);
	text_fini(&out);
}

/* iptables-legacy keeps its rules where nftables does not see them. Asking it
 * would make its tables, so only where they are there already. */
static bool
has_legacy(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[64];
	bool found = false;

	if (f == NULL)
		return false;
	while (fgets(line, sizeof(line), f) != NULL)
		found |= strcmp(line, "filter\n") == 0;
	fclose(f);
	return found;
}

static void
ask_all_xt(struct survey_rules *r, struct diag *d)
{
	ask_xt(&r->xt[0], "/usr/sbin/iptables-nft-save", FAMILY_V4);
	ask_xt(&r->xt[1], "/usr/sbin/ip6tables-nft-save", FAMILY_V6);
	if (has_legacy("/proc/net/ip_tables_names")) {
		ask_xt(
		    &r->legacy[0], "/usr/sbin/iptables-legacy-save", FAMILY_V4);
		if (r->legacy[0] == NULL)
			diag_warn(d,
			    "iptables-legacy has filter rules, which cannot be "
			    "read; see iptables-legacy -S");
	}
	if (has_legacy("/proc/net/ip6_tables_names"))
		ask_xt(&r->legacy[1], "/usr/sbin/ip6tables-legacy-save",
		    FAMILY_V6);
}

static void
complain(int err, struct diag *d)
{
	if (err == EOPNOTSUPP || err == EPROTONOSUPPORT || err == ENOENT)
		diag_error(d,
		    "this kernel has no nftables, which the relay's rules are "
		    "made of; run: modprobe nf_tables");
	else
		diag_warn(d,
		    "cannot look at this host's firewall rules; as root it is "
		    "possible");
}

/* Add a table's objects to list. */
static int
ask_nft_table(struct nft_ctx *nft, const char *table, json_t *list)
{
	char command[256];
	json_t *root;
	int err = UK_EPROTO;

	snprintf(command, sizeof(command), "list table %s", table);
	if (nft_run_cmd_from_buffer(nft, command) != 0)
		return UK_ESYS;
	root = json_loads(nft_ctx_get_output_buffer(nft), 0, NULL);
	if (root != NULL &&
	    json_array_extend(list, json_object_get(root, "nftables")) == 0)
		err = 0;
	json_decref(root);
	return err;
}

/* Table by table and without our own: nft 1.0.6 of Debian 12 writes, as JSON,
 * nonsense for tables that have an owner. */
static void
ask_nft_tables(struct nft_ctx *nft, char *tables, json_t *list, struct diag *d)
{
	char *rest = NULL;

	for (char *line = strtok_r(tables, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		char family[16], name[128];

		if (sscanf(line, "table %15s %127s", family, name) != 2 ||
		    strncmp(name, "ukai-", 5) == 0)
			continue;
		if (ask_nft_table(nft, line + strlen("table "), list) < 0)
			diag_warn(d,
			    "cannot read the rules of table %s %s; see `nft "
			    "list table %s %s`",
			    family, name, family, name);
	}
}

static void
ask_nft(struct survey_rules *r, struct diag *d)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	json_t *root = json_pack("{s:[]}", "nftables");
	char *tables = NULL, *text;

	errno = 0;
	if (nft == NULL || nft_ctx_buffer_output(nft) != 0 ||
	    nft_ctx_buffer_error(nft) != 0 ||
	    nft_run_cmd_from_buffer(nft, "list tables") != 0)
		complain(errno, d);
	else
		tables = strdup(nft_ctx_get_output_buffer(nft));
	if (tables != NULL) {
		nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_JSON);
		ask_nft_tables(
		    nft, tables, json_object_get(root, "nftables"), d);
		text = json_dumps(root, JSON_COMPACT);
		if (text != NULL)
			(void)ruleset_parse_nft(&r->nft, text, strlen(text));
		free(text);
	}
	free(tables);
	json_decref(root);
	if (nft != NULL)
		nft_ctx_free(nft);
}

void
survey_firewalls(
    const struct server_conf *c, const struct plan *p, struct diag *d)
{
	struct survey_rules r = {.nft = NULL};
	char own[NAT_TABLE_NAME_MAX];
	const struct survey_wants w = {
	    .udp_port = c->listen_port,
	    .tcp_port = c->tls_port,
	    .tunnel = c->interface,
	    .uplink = p != NULL ? p->uplink_name : "",
	    .ipv6 = p == NULL || p->v6.family != FAMILY_NONE,
	    .own_table = own,
	};

	nat_table_name(own, c->interface);
	ask_nft(&r, d);
	if (p != NULL)
		ask_all_xt(&r, d);
	survey_judge(&r, &w, p == NULL, d);
	ruleset_free(r.nft);
	for (size_t i = 0; i < ARRAY_LEN(r.xt); i++) {
		ruleset_free(r.xt[i]);
		ruleset_free(r.legacy[i]);
	}
}
