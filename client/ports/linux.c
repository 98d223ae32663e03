#include "linux.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"
#include "host/os_err.h"
#include "host/undo_reserved.h"
#include "client/paths.h"

#define RANGE_SYSCTL "net/ipv4/ip_local_port_range"
#define PROC_SYS "/proc/sys/"

/* The interface of ukai's own CE. */
static const char own_ce[] = "ukai-map0";

bool
ports_linux_socket(const char *line, uint8_t state, uint16_t *port)
{
	unsigned number, local, remote, found;

	if (sscanf(line, " %u: %*32[0-9A-Fa-f]:%4x %*32[0-9A-Fa-f]:%4x %2x",
		&number, &local, &remote, &found) != 4)
		return false;
	*port = (uint16_t)local;
	return found == state && local != 0;
}

int
ports_linux_parse_range(
    uint16_t *low, uint16_t *high, const char *text, size_t len)
{
	size_t first = 0, gap;
	uint64_t a, b;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	while (first < len && text[first] >= '0' && text[first] <= '9')
		first++;
	gap = first;
	while (gap < len && (text[gap] == '\t' || text[gap] == ' '))
		gap++;
	if (gap == first ||
	    value_parse_u64(&a, text, first, 65535, false) < 0 ||
	    value_parse_u64(&b, text + gap, len - gap, 65535, false) < 0 ||
	    a > b)
		return UK_EINVAL;
	*low = (uint16_t)a;
	*high = (uint16_t)b;
	return 0;
}

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

static int
read_range(struct ports_before *b, struct diag *d)
{
	static const char path[] = PROC_SYS RANGE_SYSCTL;
	char text[64];
	size_t len;
	int r = read_small(path, text, sizeof(text), &len);

	if (r < 0)
		return os_err_tell(-r, path, "read", d);
	if (ports_linux_parse_range(&b->low, &b->high, text, len) == 0)
		return 0;
	diag_error(d, "%s holds no range of ports", path);
	return UK_EPROTO;
}

/* Where ports for everybody begin: a dynamic range may not begin below. */
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
	return (uint16_t)v;
}

/* A family that the kernel does not have has no file. */
static int
read_sockets(struct port_set *used, const char *name, struct diag *d)
{
	uint8_t state =
	    name[0] == 't' ? PORTS_TCP_LISTEN : PORTS_UDP_UNCONNECTED;
	char path[40], *line = NULL;
	size_t cap = 0;
	uint16_t port;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/net/%s", name);
	f = fopen(path, "re");
	if (f == NULL && errno == ENOENT)
		return 0;
	if (f == NULL)
		return os_err_tell(errno, path, "read", d);
	while (getline(&line, &cap, f) > 0)
		if (ports_linux_socket(line, state, &port))
			port_set_add(used, port, port);
	free(line);
	fclose(f);
	return 0;
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
	static const char *const tables[] = {"tcp", "tcp6", "udp", "udp6"};
	struct ports_before *b = &s->before;
	int r;

	memset(s, 0, sizeof(*s));
	s->limits = (struct ports_limits){.low_min = read_unprivileged(),
	    .span_min = 1,
	    .used_can_be_kept = true};
	r = read_range(b, d);
	if (r == 0)
		r = undo_reserved_read(&b->kept, d);
	for (size_t i = 0; i < ARRAY_LEN(tables) && r == 0; i++)
		r = read_sockets(&b->used, tables[i], d);
	if (r < 0)
		return r;
	if (u != NULL)
		undo_reserved_ours(u, &b->ours);
	/* Killed before it was made, or taken out by somebody since. */
	port_set_and(&b->ours, &b->kept);
	port_set_minus(&b->kept, &b->ours);
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
ports_linux_values_now(
    struct ports_linux_values *v, const struct ports_before *b)
{
	format_values(v, b->low, b->high, &b->kept);
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
			p->by_own_ce = strcmp(name, own_ce) == 0;
			p->by_tunnel = !p->by_own_ce && is_tunnel(name);
		}
	}
	netcfg_close(n);
	return 0;
}
