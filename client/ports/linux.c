#include "linux.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"
#include "host/listeners.h"
#include "host/undo_reserved.h"
#include "client/mape/mape.h"
#include "client/paths.h"

#define RANGE_SYSCTL "net/ipv4/ip_local_port_range"
#define PROC_SYS "/proc/sys/"

/* "net.ipv4.ip_local_reserved_ports = LIST", the dots may be slashes, and '-'
 * in front means that a failure does not matter. */
static bool
claim_line(struct port_set *s, const char *line, size_t len)
{
	static const char key[] = "net.ipv4.ip_local_reserved_ports";
	size_t at = strspn(line, " \t-");

	for (size_t i = 0; i < sizeof(key) - 1; i++, at++)
		if (at >= len ||
		    (line[at] != key[i] && !(line[at] == '/' && key[i] == '.')))
			return false;
	at += strspn(line + at, " \t");
	return at < len && line[at] == '=' &&
	       port_set_parse(s, line + at + 1, len - at - 1) == 0;
}

bool
ports_linux_claim(struct port_set *s, const char *text, size_t len)
{
	char line[4608]; /* the kernel takes a page; longer ones are cut */
	bool any = false;
	size_t n, keep;

	while (len > 0) {
		const char *end = memchr(text, '\n', len);

		n = end != NULL ? (size_t)(end - text) : len;
		keep = n < sizeof(line) ? n : sizeof(line) - 1;
		memcpy(line, text, keep);
		line[keep] = '\0';
		any |= claim_line(s, line, keep);
		text += n + (end != NULL);
		len -= n + (end != NULL);
	}
	return any;
}

static int
read_small(const char *path, char *text, size_t cap, size_t *len)
{
	FILE *f = fopen(path, "re");
	int r = 0;

	if (f == NULL)
		return -errno;
	*len = fread(text, 1, cap, f);
	if (ferror(f))
		r = -EIO;
	fclose(f);
	return r;
}

/* Where ports for everybody begin: a dynamic range may not begin below, and
 * not at 0, which in containers is what the sysctl says. */
static uint16_t
read_unprivileged(void)
{
	char text[16];
	size_t len;
	uint64_t v;

	if (read_small(PROC_SYS "net/ipv4/ip_unprivileged_port_start", text,
		sizeof(text), &len) < 0)
		return 1024;
	while (len > 0 && text[len - 1] == '\n')
		len--;
	if (value_parse_u64(&v, text, len, 65535, false) < 0)
		return 1024;
	return v > 0 ? (uint16_t)v : 1;
}

/* The range and the ports in use: a program on the loopback, too, would find
 * its port taken by an outgoing connection. */
static int
read_range_and_used(struct ports_before *b, struct diag *d)
{
	struct listeners *l = malloc(sizeof(*l));
	int r = l != NULL ? listeners_read(l, d) : UK_ENOMEM;

	if (r == 0) {
		b->low = l->ephemeral_first;
		b->high = l->ephemeral_last;
		b->used = l->tcp;
		port_set_or(&b->used, &l->udp);
		port_set_or(&b->used, &l->loopback);
	}
	free(l);
	return r;
}

/* The dynamic range without our change of it. */
static void
read_old_range(struct ports_linux *s, const struct undo *u)
{
	char old[UNDO_SYSCTL_MAX];

	s->old_low = s->before.low;
	s->old_high = s->before.high;
	if (u != NULL && undo_sysctl_old(u, RANGE_SYSCTL, old, sizeof(old)) &&
	    listeners_parse_range(
		&s->old_low, &s->old_high, old, strlen(old)) == 0)
		s->applied = true;
}

static void
add_claim(struct ports_linux *s, const char *path)
{
	static const size_t max = 256 * 1024;
	struct ports_claim *c = &s->claim[s->claims];
	char *text = malloc(max);
	size_t len;

	if (text != NULL && s->claims < PORTS_CLAIMS_MAX &&
	    read_small(path, text, max, &len) == 0 &&
	    ports_linux_claim(&c->ports, text, len)) {
		snprintf(c->who, sizeof(c->who), "%s", path);
		s->claims++;
	}
	free(text);
}

static int
is_conf(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0;
}

static void
read_claims(struct ports_linux *s)
{
	static const char *const dirs[] = {"/etc/sysctl.d", "/run/sysctl.d",
	    "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"};
	char path[320];
	struct dirent **e;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		int n = scandir(dirs[i], &e, is_conf, alphasort);

		for (int k = 0; k < n; k++) {
			snprintf(
			    path, sizeof(path), "%s/%s", dirs[i], e[k]->d_name);
			add_claim(s, path);
			free(e[k]);
		}
		if (n >= 0)
			free(e);
	}
	add_claim(s, "/etc/sysctl.conf");
}

int
ports_linux_read(struct ports_linux *s, const struct undo *u, struct diag *d)
{
	struct ports_before *b = &s->before;
	int r;

	memset(s, 0, sizeof(*s));
	s->limits = (struct ports_limits){.low_min = read_unprivileged(),
	    .span_min = 1,
	    .used_can_be_kept = true};
	r = read_range_and_used(b, d);
	if (r == 0)
		r = undo_reserved_read(&b->kept, d);
	if (r < 0)
		return r;
	if (u != NULL)
		undo_reserved_ours(u, &b->kept, &b->ours);
	port_set_minus(&b->kept, &b->ours);
	s->applied = port_set_count(&b->ours) > 0;
	read_old_range(s, u);
	read_claims(s);
	s->docker = access("/run/docker.sock", F_OK) == 0;
	s->kubernetes = access("/var/lib/kubelet", F_OK) == 0;
	return 0;
}

static void
format_values(struct ports_linux_values *v, uint16_t low, uint16_t high,
    const struct port_set *reserved)
{
	*v = (struct ports_linux_values){.range = ""};
	snprintf(v->range, sizeof(v->range), "%u %u", low, high);
	port_set_format(reserved, &v->reserved);
}

void
ports_linux_values(struct ports_linux_values *v, const struct ports_plan *p,
    const struct ports_before *b)
{
	struct port_set all = b->kept;

	port_set_or(&all, &p->keep);
	format_values(v, p->low, p->high, &all);
}

void
ports_linux_values_before(
    struct ports_linux_values *v, const struct ports_linux *s)
{
	format_values(v, s->old_low, s->old_high, &s->before.kept);
}

int
ports_linux_apply(struct undo *u, const struct ports_plan *p, struct diag *d)
{
	char range[24];
	int r = undo_reserved_ports(u, &p->keep, d);

	snprintf(range, sizeof(range), "%u %u", p->low, p->high);
	if (r == 0)
		r = undo_sysctl(u, RANGE_SYSCTL, range, d);
	if (r < 0)
		undo_all(u, NULL, d);
	return r;
}

/* An interface that a running ukai has. */
static bool
is_tunnel(const char *name)
{
	struct client_paths paths;

	return client_name_ok(name) && client_paths(&paths, name, NULL) == 0 &&
	       access(paths.control, F_OK) == 0;
}

int
ports_linux_path(struct ports_path *p, struct diag *d)
{
	/* A root name server: somewhere on the internet. Nothing is sent. */
	static const struct ip_addr far = {FAMILY_V4, {198, 41, 0, 4}};
	struct netcfg_path path;
	char name[IF_NAMESIZE];
	struct netcfg *n;
	int r = netcfg_open(&n, d);

	if (r < 0)
		return r;
	*p = (struct ports_path){.known = true, .keeps_ports = p->keeps_ports};
	if (netcfg_path(n, &far, 0, &path) == 0) {
		p->source = path.src;
		if (if_indextoname(path.ifindex, name) != NULL) {
			p->by_own_ce = strcmp(name, MAPE_IFNAME) == 0;
			p->by_tunnel = !p->by_own_ce && is_tunnel(name);
		}
	}
	netcfg_close(n);
	return 0;
}
