#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"
#include "os_err.h"
#include "undo_kind.h"

#define SYSCTL_NAME_MAX 200

static ssize_t
read_text(const char *path, char *out, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int e;

	if (fd < 0)
		return -1;
	n = read(fd, out, cap - 1);
	e = errno;
	close(fd);
	errno = e;
	if (n < 0)
		return -1;
	while (n > 0 && isspace((unsigned char)out[n - 1]))
		n--;
	out[n] = '\0';
	return n;
}

int
undo_origin_now(struct undo_origin *o, struct diag *d)
{
	struct stat st;

	memset(o, 0, sizeof(*o));
	if (read_text("/proc/sys/kernel/random/boot_id", o->boot,
		sizeof(o->boot)) <= 0 ||
	    stat("/proc/self/ns/net", &st) < 0) {
		diag_error(d, "cannot learn boot and network namespace: %s",
		    strerror(errno));
		return UK_ESYS;
	}
	o->netns = st.st_ino;
	return 0;
}

void
undo_netns_text(uint64_t inode, char *out, size_t cap)
{
	static const char dir_path[] = "/run/netns";
	DIR *dir = opendir(dir_path);
	struct dirent *e;
	struct stat st;

	snprintf(out, cap, "net:[%" PRIu64 "]", inode);
	if (dir == NULL)
		return;
	while ((e = readdir(dir)) != NULL) {
		if (fstatat(dirfd(dir), e->d_name, &st, 0) < 0 ||
		    st.st_ino != inode || e->d_name[0] == '.')
			continue;
		snprintf(out, cap, "net:[%" PRIu64 "], `ip netns exec %s`",
		    inode, e->d_name);
		break;
	}
	closedir(dir);
}

/* sysctl: NAME, old value, new value */

/* No empty, "." or ".." part, so that it stays below /proc/sys. */
static bool
sysctl_name_ok(const char *name)
{
	size_t part;

	if (strlen(name) >= SYSCTL_NAME_MAX)
		return false;
	for (;; name += part + 1) {
		part = strcspn(name, "/");
		if (part == 0 || (part == 1 && name[0] == '.') ||
		    (part == 2 && name[0] == '.' && name[1] == '.'))
			return false;
		if (name[part] == '\0')
			return true;
	}
}

static const char *
sysctl_path(const char *name, char path[static SYSCTL_NAME_MAX + 16])
{
	snprintf(path, SYSCTL_NAME_MAX + 16, "/proc/sys/%s", name);
	return path;
}

static int
sysctl_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* The kernel writes "32768\t60999" where we write "32768 60999". */
static bool
same_value(const char *a, const char *b)
{
	while (*a != '\0' && *b != '\0') {
		if (isspace((unsigned char)*a) && isspace((unsigned char)*b)) {
			a += strspn(a, " \t\n");
			b += strspn(b, " \t\n");
		} else if (*a++ != *b++) {
			return false;
		}
	}
	return *a == *b;
}

int
undo_sysctl(struct undo *u, const char *name, const char *value, struct diag *d)
{
	char path[SYSCTL_NAME_MAX + 16], old[UNDO_SYSCTL_MAX];
	struct undo_field f[3];
	int r;

	if (!sysctl_name_ok(name) || strlen(value) >= UNDO_SYSCTL_MAX)
		return UK_EINVAL;
	if (read_text(sysctl_path(name, path), old, sizeof(old)) < 0) {
		r = -errno;
		diag_error(d, "cannot read sysctl %s: %s", name, strerror(-r));
		return os_err(-r);
	}
	if (same_value(old, value))
		return 0;
	f[0] = undo_text_field(name);
	f[1] = undo_text_field(old);
	f[2] = undo_text_field(value);
	r = undo_add(u, undo_kind_sysctl.name, f, 3, d);
	if (r < 0)
		return r;
	r = sysctl_write(path, value);
	if (r < 0) {
		diag_error(d, "cannot set sysctl %s to %s: %s", name, value,
		    strerror(-r));
		undo_drop_last(u);
		return os_err(-r);
	}
	return 0;
}

struct old_value {
	const char *name, *now;
	char *old;
	size_t cap;
	bool ours;
};

static void
take_old(void *arg, const struct undo_line *l)
{
	const char *name = undo_field_text(&l->field[0]);
	const char *old = undo_field_text(&l->field[1]);
	const char *new = undo_field_text(&l->field[2]);
	struct old_value *v = arg;

	if (name == NULL || old == NULL || new == NULL ||
	    strcmp(name, v->name) != 0)
		return;
	v->ours = same_value(v->now, new) && strlen(old) < v->cap;
	if (v->ours)
		strcpy(v->old, old);
}

bool
undo_sysctl_old(const struct undo *u, const char *name, char *old, size_t cap)
{
	char path[SYSCTL_NAME_MAX + 16], now[UNDO_SYSCTL_MAX];
	struct old_value v = {name, now, old, cap, false};

	if (!sysctl_name_ok(name) ||
	    read_text(sysctl_path(name, path), now, sizeof(now)) < 0)
		return false;
	undo_pending(u, undo_kind_sysctl.name, take_old, &v);
	return v.ours;
}

static bool
sysctl_in_netns(const struct undo_line *l)
{
	return strncmp(l->field[0].b, "net/", 4) == 0;
}

static void
sysctl_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "sysctl %s", l->field[0].b);
}

/* Somebody else has switched forwarding on for the whole host since, which
 * sets it for every link: theirs, too. */
static bool
is_needed_by_others(const char *name)
{
	static const char first[] = "net/ipv4/conf/", last[] = "/forwarding";
	size_t len = strlen(name);
	char now[UNDO_SYSCTL_MAX];

	return strncmp(name, first, strlen(first)) == 0 && len > strlen(last) &&
	       strcmp(name + len - strlen(last), last) == 0 &&
	       read_text("/proc/sys/net/ipv4/ip_forward", now, sizeof(now)) >=
		   0 &&
	       same_value(now, "1");
}

static int
sysctl_undo(
    const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	const char *name = undo_field_text(&l->field[0]);
	const char *old = undo_field_text(&l->field[1]);
	const char *new = undo_field_text(&l->field[2]);
	char path[SYSCTL_NAME_MAX + 16], now[UNDO_SYSCTL_MAX];
	int r;

	(void)w;
	if (name == NULL || old == NULL || new == NULL ||
	    !sysctl_name_ok(name)) {
		diag_error(d, "the journal names an impossible sysctl");
		return UK_EPROTO;
	}
	if (read_text(sysctl_path(name, path), now, sizeof(now)) < 0) {
		/* The interface it was about is gone, and it with it. */
		if (errno == ENOENT)
			return 0;
		diag_error(
		    d, "cannot read sysctl %s: %s", name, strerror(errno));
		return UK_ESYS;
	}
	if (same_value(now, old) || is_needed_by_others(name))
		return 0;
	if (!same_value(now, new)) {
		diag_warn(d,
		    "sysctl %s is left at %s: somebody changed it after us "
		    "(it was %s)",
		    name, now, old);
		return 0;
	}
	r = sysctl_write(path, old);
	if (r < 0)
		diag_error(d, "cannot set sysctl %s back to %s: %s", name, old,
		    strerror(-r));
	return r < 0 ? os_err(-r) : 0;
}

const struct undo_kind undo_kind_sysctl = {
    .name = "sysctl",
    .stacked = true,
    .fields = 3,
    .ends_at_boot = true,
    .in_netns = sysctl_in_netns,
    .describe = sysctl_describe,
    .undo = sysctl_undo,
};

/* rule: family, priority, table, mark, mask, "not" or empty, from, to (empty:
 * any), suppress_prefixlength (empty: none), and where there is one the link
 * that packets come in by: two kinds of one name, told apart by their number
 * of fields. */

enum {
	RULE_FAMILY,
	RULE_PRIORITY,
	RULE_TABLE,
	RULE_MARK,
	RULE_MASK,
	RULE_NOT,
	RULE_FROM,
	RULE_TO,
	RULE_SUPPRESS,
	RULE_FIELDS,
	RULE_IIF = RULE_FIELDS,
	RULE_IIF_FIELDS,
};

static const char *
prefix_text(const struct ip_prefix *p, char text[static IP_PREFIX_TEXT_MAX])
{
	text[0] = '\0';
	if (p->addr.family != FAMILY_NONE)
		ip_prefix_format(p, text);
	return text;
}

static const char *
number_text(int64_t v, char text[static 24])
{
	snprintf(text, 24, "%" PRId64, v);
	return text;
}

int
undo_rule(struct undo *u, struct netcfg *n, const struct netcfg_rule *r,
    struct diag *d)
{
	const int64_t number[] = {
	    r->family, r->priority, r->table, r->mark, r->mask};
	char digits[ARRAY_LEN(number)][24], suppress[24] = "";
	char from[IP_PREFIX_TEXT_MAX], to[IP_PREFIX_TEXT_MAX];
	struct undo_field f[RULE_IIF_FIELDS];
	int err;

	for (size_t i = 0; i < ARRAY_LEN(number); i++)
		f[i] = undo_text_field(number_text(number[i], digits[i]));
	if (r->suppress_prefixlength >= 0)
		number_text(r->suppress_prefixlength, suppress);
	f[RULE_NOT] = undo_text_field(r->invert ? "not" : "");
	f[RULE_FROM] = undo_text_field(prefix_text(&r->from, from));
	f[RULE_TO] = undo_text_field(prefix_text(&r->to, to));
	f[RULE_SUPPRESS] = undo_text_field(suppress);
	f[RULE_IIF] = undo_text_field(r->iif);
	err = undo_add(u, undo_kind_rule.name, f,
	    r->iif[0] != '\0' ? RULE_IIF_FIELDS : RULE_FIELDS, d);
	if (err < 0)
		return err;
	err = netcfg_rule_add(n, r, d);
	/* What is there already is not ours to remove: if it is of our making
	 * then the journal of who made it says so. */
	if (err < 0)
		undo_drop_last(u);
	return err;
}

static bool
rule_number(const struct undo_field *f, uint64_t max, uint64_t *v)
{
	return value_parse_u64(v, f->b, f->len, max, false) == 0;
}

static bool
rule_prefix(const struct undo_field *f, uint8_t family, struct ip_prefix *p)
{
	if (f->len == 0)
		return true;
	return ip_prefix_parse(p, f->b, f->len) == 0 &&
	       p->addr.family == family;
}

/* The kind's last field. None at all would make the removal fit other rules. */
static bool
rule_iif(struct netcfg_rule *r, const struct undo_line *l)
{
	const char *iif;

	if (l->n <= RULE_IIF)
		return true;
	iif = undo_field_text(&l->field[RULE_IIF]);
	if (iif == NULL || iif[0] == '\0' || strlen(iif) >= sizeof(r->iif))
		return false;
	strcpy(r->iif, iif);
	return true;
}

static int
rule_parse(struct netcfg_rule *r, const struct undo_line *l)
{
	const struct undo_field *f = l->field;
	uint64_t v[RULE_MASK + 1], suppress;

	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i <= RULE_MASK; i++)
		if (!rule_number(&f[i], UINT32_MAX, &v[i]))
			return UK_EPROTO;
	if (v[RULE_FAMILY] != FAMILY_V4 && v[RULE_FAMILY] != FAMILY_V6)
		return UK_EPROTO;
	r->family = (uint8_t)v[RULE_FAMILY];
	r->priority = (uint32_t)v[RULE_PRIORITY];
	r->table = (uint32_t)v[RULE_TABLE];
	r->mark = (uint32_t)v[RULE_MARK];
	r->mask = (uint32_t)v[RULE_MASK];
	r->invert = f[RULE_NOT].len > 0;
	r->suppress_prefixlength = -1;
	if (f[RULE_SUPPRESS].len > 0) {
		if (!rule_number(&f[RULE_SUPPRESS], 128, &suppress))
			return UK_EPROTO;
		r->suppress_prefixlength = (int)suppress;
	}
	if (!rule_prefix(&f[RULE_FROM], r->family, &r->from) ||
	    !rule_prefix(&f[RULE_TO], r->family, &r->to) || !rule_iif(r, l))
		return UK_EPROTO;
	return 0;
}

static bool
rule_in_netns(const struct undo_line *l)
{
	(void)l;
	return true;
}

static void
rule_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "IPv%s policy rule %s (table %s)", l->field[0].b,
	    l->field[RULE_PRIORITY].b, l->field[RULE_TABLE].b);
}

static int
rule_undo(const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	struct netcfg_rule rule;
	struct diag said;
	int r;

	if (rule_parse(&rule, l) < 0) {
		diag_error(d, "the journal names an impossible policy rule");
		return UK_EPROTO;
	}
	if (w->n == NULL) {
		diag_error(d, "policy rule %u is left", rule.priority);
		return UK_EINVAL;
	}
	diag_init(&said, NULL);
	r = netcfg_rule_remove(w->n, &rule, &said);
	if (r < 0 && r != UK_ENOENT)
		diag_error(d, "%s", said.n > 0 ? said.entry[0].text : "");
	return r == UK_ENOENT ? 0 : r;
}

const struct undo_kind undo_kind_rule = {
    .name = "rule",
    .fields = RULE_FIELDS,
    .ends_at_boot = true,
    .in_netns = rule_in_netns,
    .describe = rule_describe,
    .undo = rule_undo,
};

const struct undo_kind undo_kind_rule_iif = {
    .name = "rule",
    .fields = RULE_IIF_FIELDS,
    .ends_at_boot = true,
    .in_netns = rule_in_netns,
    .describe = rule_describe,
    .undo = rule_undo,
};

/* neigh: address, index of the link */

int
undo_neigh_proxy(struct undo *u, struct netcfg *n, unsigned index,
    const struct ip_addr *a, struct diag *d)
{
	char address[IP_ADDR_TEXT_MAX], link[24];
	const struct undo_field f[] = {
	    undo_text_field(ip_addr_format(a, address)),
	    undo_text_field(number_text(index, link))};
	bool has = false;
	int err = netcfg_neigh_proxy_has(n, index, a, &has);

	if (err < 0 || has) {
		diag_error(d, "cannot answer for %s on link %u: %s", address,
		    index, has ? "somebody does already" : uk_strerror(err));
		return has ? UK_EEXIST : err;
	}
	err = undo_add(u, undo_kind_neigh.name, f, ARRAY_LEN(f), d);
	if (err < 0)
		return err;
	err = netcfg_neigh_proxy_add(n, index, a, d);
	if (err < 0)
		undo_drop_last(u);
	return err;
}

int
undo_neigh_proxy_remove(
    struct undo *u, struct netcfg *n, const struct ip_addr *a, struct diag *d)
{
	char address[IP_ADDR_TEXT_MAX];

	return undo_matching(
	    u, n, undo_kind_neigh.name, ip_addr_format(a, address), d);
}

static void
neigh_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "proxy neighbour %s on link %s", l->field[0].b,
	    l->field[1].b);
}

/* A link that is gone took its entries along, and its number is not given to
 * another one before the next boot. */
static int
neigh_undo(
    const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	const struct undo_field *f = l->field;
	struct ip_addr a;
	uint64_t index;
	bool has = false;

	if (ip_addr_parse(&a, f[0].b, f[0].len) < 0 ||
	    !rule_number(&f[1], INT32_MAX, &index)) {
		diag_error(
		    d, "the journal names an impossible proxy neighbour");
		return UK_EPROTO;
	}
	if (w->n == NULL ||
	    netcfg_neigh_proxy_has(w->n, (unsigned)index, &a, &has) < 0) {
		diag_error(d, "proxy neighbour %s is left", f[0].b);
		return UK_EINVAL;
	}
	if (!has)
		return 0;
	return netcfg_neigh_proxy_remove(w->n, (unsigned)index, &a, d);
}

const struct undo_kind undo_kind_neigh = {
    .name = "neigh",
    .fields = 2,
    .ends_at_boot = true,
    .in_netns = rule_in_netns,
    .describe = neigh_describe,
    .undo = neigh_undo,
};

/* addr: address with its prefix length, index of the link */

#define IFADDR_TEXT_MAX (IP_ADDR_TEXT_MAX + 4)

static const char *
ifaddr_text(const struct ip_ifaddr *a, char text[static IFADDR_TEXT_MAX])
{
	char addr[IP_ADDR_TEXT_MAX];

	snprintf(text, IFADDR_TEXT_MAX, "%s/%u", ip_addr_format(&a->addr, addr),
	    a->bits);
	return text;
}

int
undo_addr(struct undo *u, struct netcfg *n, unsigned index,
    const struct ip_ifaddr *a, struct diag *d)
{
	char address[IFADDR_TEXT_MAX], link[24];
	const struct undo_field f[] = {undo_text_field(ifaddr_text(a, address)),
	    undo_text_field(number_text(index, link))};
	struct netcfg_addr now;
	int err = netcfg_addr_get(n, index, &a->addr, &now);

	if (err < 0) {
		diag_error(d, "cannot look for the address %s: %s", address,
		    uk_strerror(err));
		return err;
	}
	if (now.state != NETCFG_ADDR_NONE)
		return UK_EEXIST;
	err = undo_add(u, undo_kind_addr.name, f, ARRAY_LEN(f), d);
	if (err < 0)
		return err;
	err = netcfg_addr_add_apart(n, index, a, d);
	if (err < 0)
		undo_drop_last(u);
	return err;
}

int
undo_addr_remove(
    struct undo *u, struct netcfg *n, const struct ip_ifaddr *a, struct diag *d)
{
	char address[IFADDR_TEXT_MAX];

	return undo_matching(
	    u, n, undo_kind_addr.name, ifaddr_text(a, address), d);
}

static void
addr_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(
	    out, cap, "address %s on link %s", l->field[0].b, l->field[1].b);
}

/* The prefix length must stand there: alone, an address is another thing. */
static bool
addr_fields(const struct undo_line *l, struct ip_ifaddr *a, uint64_t *index)
{
	const struct undo_field *f = l->field;

	return memchr(f[0].b, '/', f[0].len) != NULL &&
	       ip_ifaddr_parse(a, f[0].b, f[0].len) == 0 &&
	       rule_number(&f[1], INT32_MAX, index);
}

/* A link that is gone took its addresses along. */
static int
addr_undo(const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	const char *text = l->field[0].b;
	struct netcfg_addr now;
	struct ip_ifaddr a;
	uint64_t index;

	if (!addr_fields(l, &a, &index)) {
		diag_error(d, "the journal names an impossible address");
		return UK_EPROTO;
	}
	if (w->n == NULL ||
	    netcfg_addr_get(w->n, (unsigned)index, &a.addr, &now) < 0) {
		diag_error(d, "address %s is left", text);
		return UK_EINVAL;
	}
	if (now.state == NETCFG_ADDR_NONE)
		return 0;
	if (!now.apart || now.bits != a.bits) {
		diag_warn(d, "address %s is left: somebody changed it after us",
		    text);
		return 0;
	}
	return netcfg_addr_remove(w->n, (unsigned)index, &a, d);
}

const struct undo_kind undo_kind_addr = {
    .name = "addr",
    .fields = 2,
    .ends_at_boot = true,
    .in_netns = rule_in_netns,
    .describe = addr_describe,
    .undo = addr_undo,
};
