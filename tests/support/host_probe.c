/* host_probe: the host modules from the command line, for tests/net.
 *
 *   host_probe VERB ARG... -- VERB ARG... -- ...
 *
 * Each verb prints "VERB ok", or "VERB ERROR", and the sentences it got; what
 * it learned stands on lines of its own. "wait" prints "ready" and stays
 * until standard input ends, so that a script can look at the host and kill
 * the probe. A journal that does not open ends it. Exit: 0 when all verbs were
 * ok, 1 otherwise, 2 wrong use. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../client/dns.h"
#include "core/err.h"
#include "core/value.h"
#include "host/hostfw.h"
#include "host/netcfg.h"
#include "host/undo.h"
#include "kill_each.h"

struct probe {
	struct netcfg *n;
	struct hostfw *fw;
	struct undo *u;
	struct dns *dns;
	struct diag d;
	bool stop; /* no journal: nothing more can be tried */
};

static uint32_t
number(const char *s)
{
	return (uint32_t)strtoul(s, NULL, 0);
}

static unsigned
link_index(struct probe *p, const char *name)
{
	unsigned index = 0;

	netcfg_link_index(p->n, name, &index);
	return index;
}

static int
do_index(struct probe *p, char **a)
{
	unsigned index;
	int r = netcfg_link_index(p->n, a[0], &index);

	if (r == 0)
		printf("%u\n", index);
	return r;
}

static int
do_link(struct probe *p, char **a)
{
	return netcfg_link_set(p->n, link_index(p, a[0]),
	    strcmp(a[1], "up") == 0, number(a[2]), &p->d);
}

static int
do_mtu(struct probe *p, char **a)
{
	uint32_t mtu;
	int r = netcfg_link_mtu(p->n, link_index(p, a[0]), &mtu);

	if (r == 0)
		printf("%u\n", mtu);
	return r;
}

static int
do_addr(struct probe *p, char **a)
{
	size_t len = strcspn(a[1], "/");
	struct ip_addr addr;
	int r = ip_addr_parse(&addr, a[1], len);

	if (r < 0 || a[1][len] == '\0')
		return UK_EINVAL;
	return netcfg_addr_add(p->n, link_index(p, a[0]), &addr,
	    (uint8_t)number(a[1] + len + 1), strcmp(a[2], "noroute") == 0,
	    &p->d);
}

static bool
addr_print(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	char text[IP_ADDR_TEXT_MAX];
	uint32_t *left = arg;

	printf("%u %s/%u\n", ifindex, ip_addr_format(a, text), bits);
	return --*left > 0;
}

static int
do_addrs(struct probe *p, char **a)
{
	uint32_t left = number(a[0]);

	return netcfg_addr_each(p->n, addr_print, &left);
}

static int
do_route(struct probe *p, char **a)
{
	struct netcfg_route r = {.table = number(a[2]), .mtu = number(a[3])};

	if (ip_prefix_parse(&r.dst, a[0], strlen(a[0])) < 0)
		return UK_EINVAL;
	r.ifindex = link_index(p, a[1]);
	return netcfg_route_add(p->n, &r, &p->d);
}

/* FAMILY PRIORITY TABLE MARK MASK not|- FROM|- TO|- SUPPRESS */
static int
rule_args(struct netcfg_rule *r, char **a)
{
	memset(r, 0, sizeof(*r));
	r->family = (uint8_t)number(a[0]);
	r->priority = number(a[1]);
	r->table = number(a[2]);
	r->mark = number(a[3]);
	r->mask = number(a[4]);
	r->invert = strcmp(a[5], "not") == 0;
	if (strcmp(a[6], "-") != 0 &&
	    ip_prefix_parse(&r->from, a[6], strlen(a[6])) < 0)
		return UK_EINVAL;
	if (strcmp(a[7], "-") != 0 &&
	    ip_prefix_parse(&r->to, a[7], strlen(a[7])) < 0)
		return UK_EINVAL;
	r->suppress_prefixlength = (int)strtol(a[8], NULL, 10);
	return 0;
}

static int
do_rule(struct probe *p, char **a)
{
	struct netcfg_rule r;
	int err = rule_args(&r, a);

	return err < 0 ? err : netcfg_rule_add(p->n, &r, &p->d);
}

static int
do_unrule(struct probe *p, char **a)
{
	struct netcfg_rule r;
	int err = rule_args(&r, a);

	return err < 0 ? err : netcfg_rule_remove(p->n, &r, &p->d);
}

static int
do_used(struct probe *p, char **a)
{
	bool used = false;
	int r = netcfg_table_used(p->n, number(a[0]), &used);

	printf("%s\n", used ? "yes" : "no");
	return r;
}

static int
do_path(struct probe *p, char **a)
{
	char text[IP_ADDR_TEXT_MAX] = "none";
	struct netcfg_path path;
	struct ip_addr dst;
	int r = ip_addr_parse(&dst, a[0], strlen(a[0]));

	if (r == 0)
		r = netcfg_path(p->n, &dst, number(a[1]), &path);
	if (r < 0)
		return r;
	if (path.src.family != FAMILY_NONE)
		ip_addr_format(&path.src, text);
	printf("%u %s %u\n", path.ifindex, text, path.mtu);
	return 0;
}

static bool
gateway_print(void *arg, const struct ip_addr *a)
{
	char text[IP_ADDR_TEXT_MAX];
	uint32_t *left = arg;

	printf("%s\n", ip_addr_format(a, text));
	return --*left > 0;
}

static int
do_gateways(struct probe *p, char **a)
{
	uint32_t left = number(a[0]);

	return netcfg_gateway_each(p->n, gateway_print, &left);
}

static int
fw_open(struct probe *p)
{
	return p->fw != NULL ? 0 : hostfw_open(&p->fw, &p->d);
}

/* A file's text. NULL: cannot be read. */
static char *
text_of(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t cap = 0;

	if (f == NULL)
		return NULL;
	if (getdelim(&text, &cap, '\0', f) < 0) {
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

/* BODY may be "@FILE". */
static int
do_fw(struct probe *p, char **a)
{
	char *body = a[1][0] == '@' ? text_of(a[1] + 1) : strdup(a[1]);
	int r = body == NULL ? UK_ENOENT : fw_open(p);

	if (r == 0)
		r = hostfw_apply(p->fw, a[0], body, &p->d);
	free(body);
	return r;
}

static const char *
or_null(const char *s)
{
	return strcmp(s, "-") != 0 ? s : NULL;
}

static int
do_kept(struct probe *p, char **a)
{
	int r = fw_open(p);

	return r < 0 ? r
		     : hostfw_apply_kept(p->fw, a[0], or_null(a[1]), a[2],
			   or_null(a[3]), &p->d);
}

/* "+SET=HEX", "+SET=HEX=COMMENT" or "-SET=HEX", in place. */
static int
change_parse(struct hostfw_change *c, const char *table, char *text)
{
	char *key = strchr(text, '=');

	memset(c, 0, sizeof(*c));
	if (key == NULL)
		return UK_EINVAL;
	*key++ = '\0';
	c->table = table;
	c->set = text + 1;
	c->add = text[0] == '+';
	for (; c->key_len < sizeof(c->key) && key[0] != '\0' && key[0] != '=';
	     key += 2) {
		char digits[3] = {key[0], key[1], '\0'};

		c->key[c->key_len++] = (uint8_t)strtoul(digits, NULL, 16);
	}
	c->comment = key[0] == '=' ? key + 1 : NULL;
	return 0;
}

/* Changes, separated by spaces. */
static int
do_elems(struct probe *p, char **a)
{
	struct hostfw_change c[64];
	char *text, *save = NULL;
	size_t n = 0;
	int r = fw_open(p);

	for (text = strtok_r(a[1], " ", &save);
	     r == 0 && text != NULL && n < ARRAY_LEN(c);
	     text = strtok_r(NULL, " ", &save))
		r = change_parse(&c[n++], a[0], text);
	return r < 0 ? r : hostfw_elements(p->fw, c, n, &p->d);
}

/* COUNT elements of IPv4 from 10.0.0.0 on, in one call. */
static int
do_fill(struct probe *p, char **a)
{
	size_t n = number(a[2]);
	struct hostfw_change *c = calloc(n, sizeof(*c));
	int r = fw_open(p);

	for (size_t i = 0; c != NULL && i < n; i++)
		c[i] = (struct hostfw_change){
		    .table = a[0],
		    .set = a[1],
		    .add = a[3][0] == '+',
		    .key = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8),
			(uint8_t)i},
		    .key_len = 4,
		    .comment = "www.example.co.jp",
		};
	if (r == 0)
		r = c == NULL ? UK_ENOMEM : hostfw_elements(p->fw, c, n, &p->d);
	free(c);
	return r;
}

static int
compare_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Prints the median of what a change of one element takes, in us. */
static int
do_times(struct probe *p, char **a)
{
	struct hostfw_change c = {
	    .table = a[0], .set = a[1], .key = {192, 0, 2, 1}, .key_len = 4};
	uint64_t took_ns[200];
	int r = fw_open(p);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(took_ns); i++) {
		struct timespec from, to;

		c.add = !c.add;
		clock_gettime(CLOCK_MONOTONIC, &from);
		r = hostfw_elements(p->fw, &c, 1, &p->d);
		clock_gettime(CLOCK_MONOTONIC, &to);
		took_ns[i] = (uint64_t)(to.tv_sec - from.tv_sec) * UK_NS_PER_S +
			     (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
	}
	qsort(took_ns, ARRAY_LEN(took_ns), sizeof(took_ns[0]), compare_ns);
	if (r == 0)
		printf(
		    "%u\n", (unsigned)(took_ns[ARRAY_LEN(took_ns) / 2] / 1000));
	return r;
}

static bool
element_print(void *arg, const uint8_t *key, size_t len, const char *comment)
{
	uint32_t *left = arg;

	for (size_t i = 0; i < len; i++)
		printf("%02x", key[i]);
	printf(" %s\n", comment != NULL ? comment : "-");
	return --*left > 0;
}

static int
do_elements(struct probe *p, char **a)
{
	uint32_t left = number(a[2]);
	int r = fw_open(p);

	return r < 0 ? r
		     : hostfw_elements_each(
			   p->fw, a[0], a[1], element_print, &left);
}

static bool
set_print(void *arg, const char *set)
{
	uint32_t *left = arg;

	printf("set %s\n", set);
	return --*left > 0;
}

static int
do_sets(struct probe *p, char **a)
{
	uint32_t left = number(a[1]);
	int r = fw_open(p);

	return r < 0 ? r : hostfw_sets_each(p->fw, a[0], set_print, &left);
}

static bool
counter_print(void *arg, const char *counter, uint64_t packets, uint64_t bytes)
{
	uint32_t *left = arg;

	printf("counter %s %llu %llu\n", counter, (unsigned long long)packets,
	    (unsigned long long)bytes);
	return --*left > 0;
}

static int
do_counters(struct probe *p, char **a)
{
	uint32_t left = number(a[1]);
	int r = fw_open(p);

	return r < 0 ? r
		     : hostfw_counters_each(p->fw, a[0], counter_print, &left);
}

static int
do_unfw(struct probe *p, char **a)
{
	(void)a;
	hostfw_close(p->fw);
	p->fw = NULL;
	return 0;
}

static int
do_open(struct probe *p, char **a)
{
	int r = undo_open(&p->u, a[0], &p->d);

	p->stop = r < 0;
	return r;
}

static int
do_close(struct probe *p, char **a)
{
	(void)a;
	undo_close(p->u);
	p->u = NULL;
	return 0;
}

static int
do_sysctl(struct probe *p, char **a)
{
	return undo_sysctl(p->u, a[0], a[1], &p->d);
}

static int
do_jrule(struct probe *p, char **a)
{
	struct netcfg_rule r;
	int err = rule_args(&r, a);

	return err < 0 ? err : undo_rule(p->u, p->n, &r, &p->d);
}

static int
do_jtable(struct probe *p, char **a)
{
	return undo_table(p->u, a[0], &p->d);
}

static int
do_count(struct probe *p, char **a)
{
	(void)a;
	printf("%u\n", undo_count(p->u));
	return 0;
}

static int
do_file(struct probe *p, char **a)
{
	return undo_file(p->u, a[0], a[1], strlen(a[1]), &p->d);
}

static int
do_undo(struct probe *p, char **a)
{
	(void)a;
	return undo_all(p->u, p->n, &p->d);
}

/* IFNAME SERVER SEARCH|- */
static int
do_dns(struct probe *p, char **a)
{
	const char *search = a[2];
	struct ip_addr server;
	int r = ip_addr_parse(&server, a[1], strlen(a[1]));

	if (r < 0)
		return r;
	return dns_set(&p->dns, p->u, a[0], &server, 1, &search,
	    strcmp(search, "-") != 0, &p->d);
}

static int
do_undns(struct probe *p, char **a)
{
	int r = dns_clear(p->dns, &p->d);

	(void)a;
	p->dns = NULL;
	return r;
}

/* Start a program that outlives us, as `ukai run` may; prints its pid. */
static int
do_spawn(struct probe *p, char **a)
{
	char *argv[] = {a[0], a[1], NULL};
	pid_t pid;

	(void)p;
	if (posix_spawn(&pid, a[0], NULL, NULL, argv, environ) != 0)
		return UK_ESYS;
	printf("%d\n", (int)pid);
	return 0;
}

static int
do_wait(struct probe *p, char **a)
{
	char c;

	(void)p;
	(void)a;
	printf("ready\n");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		continue;
	return 0;
}

static int do_killeach(struct probe *p, char **a);

static const struct {
	const char *name;
	int args;
	int (*run)(struct probe *p, char **a);
} verbs[] = {
    {"index", 1, do_index}, /* NAME */
    {"link", 3, do_link}, /* NAME up|down MTU */
    {"mtu", 1, do_mtu}, /* NAME */
    {"addr", 3, do_addr}, /* NAME ADDRESS/BITS noroute|- */
    {"addrs", 1, do_addrs}, /* MOST */
    {"route", 4, do_route}, /* PREFIX NAME TABLE MTU */
    {"rule", 9, do_rule}, {"unrule", 9, do_unrule},
    {"used", 1, do_used}, /* TABLE */
    {"path", 2, do_path}, /* ADDRESS MARK */
    {"gateways", 1, do_gateways}, /* MOST */
    {"fw", 2, do_fw}, /* TABLE BODY|@FILE */
    {"kept", 4, do_kept}, /* TABLE BODY|- KEPT BODY|- */
    {"elems", 2, do_elems}, /* TABLE CHANGES */
    {"fill", 4, do_fill}, /* TABLE SET COUNT +|- */
    {"times", 2, do_times}, /* TABLE SET */
    {"elements", 3, do_elements}, /* TABLE SET MOST */
    {"sets", 2, do_sets}, {"counters", 2, do_counters}, /* TABLE MOST */
    {"unfw", 0, do_unfw}, {"open", 1, do_open}, /* JOURNAL */
    {"close", 0, do_close}, {"sysctl", 2, do_sysctl}, /* NAME VALUE */
    {"jrule", 9, do_jrule}, {"file", 2, do_file}, /* PATH TEXT */
    {"jtable", 1, do_jtable}, {"count", 0, do_count}, {"undo", 0, do_undo},
    {"dns", 3, do_dns}, {"undns", 0, do_undns},
    {"spawn", 2, do_spawn}, /* PROGRAM ARG */
    {"wait", 0, do_wait}, {"killeach", 2, do_killeach}, /* JOURNAL FILE */
};

/* One verb and its sentences. Returns 0; 1: it failed; 2: no such verb. */
static int
run(struct probe *p, char **a, int n)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		int r;

		if (strcmp(verbs[i].name, a[0]) != 0 || n - 1 != verbs[i].args)
			continue;
		diag_init(&p->d, NULL);
		r = verbs[i].run(p, a + 1);
		printf("%s %s\n", a[0], r < 0 ? uk_strerror(r) : "ok");
		diag_print(&p->d, "host_probe", stdout);
		fflush(stdout);
		return r < 0;
	}
	return 2;
}

/* A life that changes a sysctl, rules of both families and a file, and undoes
 * them. */
static void
life(void *arg)
{
	static char sysctl[] = "sysctl", jrule[] = "jrule", file[] = "file";
	static char undo[] = "undo", open_verb[] = "open";
	static char name[] = "net/ipv4/ip_forward", one[] = "1";
	static char text[] = "nameserver 10.9.8.7\n# longer than before\n";
	static char v4[] = "4", v6[] = "6", prio[] = "77", table[] = "777";
	static char zero[] = "0", none[] = "-", minus[] = "-1";
	char **a = arg;
	char *verb[][10] = {
	    {open_verb, a[0]},
	    {sysctl, name, one},
	    {jrule, v4, prio, table, zero, zero, none, none, none, minus},
	    {jrule, v6, prio, table, zero, zero, none, none, none, minus},
	    {file, a[1], text},
	    {undo},
	};
	static const int n[] = {2, 3, 10, 10, 3, 1};
	struct probe p = {0};

	if (freopen("/dev/null", "w", stdout) == NULL ||
	    netcfg_open(&p.n, &p.d) < 0)
		_exit(1);
	for (size_t i = 0; i < ARRAY_LEN(n); i++)
		if (run(&p, verb[i], n[i]) != 0)
			_exit(1);
	undo_close(p.u);
}

static bool
rule_is_there(struct netcfg *n)
{
	bool used = true;

	return netcfg_table_used(n, 777, &used) < 0 || used;
}

static bool
file_read(const char *path, char *out, size_t cap)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (f == NULL)
		return false;
	n = fread(out, 1, cap - 1, f);
	out[n] = '\0';
	fclose(f);
	return true;
}

/* Undo what the killed one left, and look. */
static bool
undone(struct probe *p, char **a, const char *before)
{
	char now[512], forward[8];
	bool ok;

	diag_init(&p->d, NULL);
	ok = undo_open(&p->u, a[0], &p->d) == 0 &&
	     undo_all(p->u, p->n, &p->d) == 0 &&
	     p->d.errors + p->d.warnings == 0;
	undo_close(p->u);
	p->u = NULL;
	return ok && access(a[0], F_OK) != 0 && !rule_is_there(p->n) &&
	       file_read(a[1], now, sizeof(now)) && strcmp(now, before) == 0 &&
	       file_read(
		   "/proc/sys/net/ipv4/ip_forward", forward, sizeof(forward)) &&
	       forward[0] == '0';
}

/* S2 and design decision 5: kill -9 at every system call of that life. */
static int
do_killeach(struct probe *p, char **a)
{
	enum kill_each how = KILL_EACH_KILLED;
	char before[512];
	unsigned n;

	if (!file_read(a[1], before, sizeof(before)))
		return UK_ENOENT;
	for (n = 1; how == KILL_EACH_KILLED && n < 3000; n++) {
		how = kill_each(life, a, n);
		if (how == KILL_EACH_NO_PTRACE)
			return UK_EPERM;
		if (how == KILL_EACH_FAILED || !undone(p, a, before)) {
			printf("killed at stop %u\n", n);
			return UK_ESYS;
		}
	}
	printf("%u stops\n", n - 1);
	return how == KILL_EACH_ENDED ? 0 : UK_ELIMIT;
}

int
main(int argc, char **argv)
{
	struct probe p = {0};
	int exit_code = 0, end;

	diag_init(&p.d, NULL);
	if (netcfg_open(&p.n, &p.d) < 0)
		return 2;
	for (int i = 1; i < argc && exit_code < 2 && !p.stop; i = end + 1) {
		int r;

		for (end = i; end < argc && strcmp(argv[end], "--") != 0;)
			end++;
		r = run(&p, argv + i, end - i);
		if (r > exit_code)
			exit_code = r;
		if (r == 2)
			fprintf(stderr, "host_probe: %s?\n", argv[i]);
	}
	dns_clear(p.dns, &p.d);
	hostfw_close(p.fw);
	undo_close(p.u);
	netcfg_close(p.n);
	return exit_code;
}
