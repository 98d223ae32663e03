#include <fcntl.h>
#include <net/if.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "dns_forward_parts.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_MAX 16384

/* 500 names in 10 s. */
#define PACE (20 * UK_NS_PER_MS)
#define AGAIN (5 * UK_NS_PER_S)
#define AGAIN_MOST (BINDINGS_FLOOR_S * UK_NS_PER_S)
#define DISTANT UINT32_MAX /* nothing was answered yet */

/* ---- resolv.conf(5) ---- */

/* ADDRESS[%INTERFACE] */
static void
server_add(struct dns_resolv *r, const char *text, size_t len)
{
	const char *percent = memchr(text, '%', len);
	size_t host = percent ? (size_t)(percent - text) : len;
	char ifname[IF_NAMESIZE] = "";
	struct endpoint e = {.port = DNS_PORT};

	if (r->n == DNS_RESOLV_SERVERS ||
	    ip_addr_parse(&e.addr, text, host) < 0)
		return;
	if (percent && len - host - 1 < sizeof(ifname)) {
		memcpy(ifname, percent + 1, len - host - 1);
		e.scope_id = if_nametoindex(ifname);
	}
	r->server[r->n++] = e;
}

static size_t
span(const char *text, size_t len, bool blank)
{
	size_t n = 0;

	while (n < len && (text[n] == ' ' || text[n] == '\t') == blank)
		n++;
	return n;
}

static void
line_parse(struct dns_resolv *r, const char *line, size_t len)
{
	static const char key[] = "nameserver";
	size_t at = sizeof(key) - 1;

	if (len <= at || memcmp(line, key, at) != 0)
		return;
	if (span(line + at, len - at, true) == 0)
		return;
	at += span(line + at, len - at, true);
	server_add(r, line + at, span(line + at, len - at, false));
}

static void
resolv_parse(struct dns_resolv *r, const char *text, size_t len)
{
	size_t at = 0;

	r->n = 0;
	while (at < len) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t n = end ? (size_t)(end - text) - at : len - at;

		line_parse(r, text + at, n);
		at += n + 1;
	}
	if (r->n == 0)
		server_add(r, "127.0.0.1", strlen("127.0.0.1"));
}

static size_t
file_read(int fd, char *text, size_t cap)
{
	size_t len = 0;

	while (len < cap) {
		ssize_t n = read(fd, text + len, cap - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return len;
}

const struct dns_resolv *
dns_resolv_now(struct dns_forward *f)
{
	struct dns_resolv *r = &f->resolv;
	char text[RESOLV_MAX];
	struct stat st = {0};
	int fd = open(RESOLV_CONF, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		fstat(fd, &st);
	uint64_t stamp[] = {st.st_ino, (uint64_t)st.st_size,
	    (uint64_t)st.st_ctim.tv_sec, (uint64_t)st.st_ctim.tv_nsec};
	if (r->n == 0 || memcmp(stamp, r->stamp, sizeof(stamp)) != 0) {
		resolv_parse(
		    r, text, fd < 0 ? 0 : file_read(fd, text, sizeof(text)));
		memcpy(r->stamp, stamp, sizeof(stamp));
	}
	if (fd >= 0)
		close(fd);
	return r;
}

/* ---- names of the policy ---- */

static const char *
rule_name(const struct rules *r, const struct rule *rule)
{
	if (rule->type != RULE_DOMAIN || rule->entries != 1)
		return NULL;
	return r->names + r->entry[rule->first].name;
}

/* A policy may have a name twice, with different conditions. */
static bool
is_known(const struct dns_ahead *a, const char *name)
{
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->name[i].name, name) == 0)
			return true;
	return false;
}

static void
forget_asks(struct dns_forward *f)
{
	struct list *l = f->asks.next;

	while (l != &f->asks) {
		struct dns_ask *a = CONTAINER_OF(l, struct dns_ask, order);

		l = l->next;
		if (a->origin.from == DNS_FROM_AHEAD)
			dns_ask_free(a);
	}
}

void
dns_ahead_follow(struct dns_forward *f)
{
	const struct rules *r = f->policy.rules;
	struct dns_ahead *a = &f->ahead;

	forget_asks(f);
	a->n = 0;
	a->pace_ns = 0;
	for (size_t i = 0; i < r->n && a->n < DNS_AHEAD_MAX; i++) {
		const char *name = rule_name(r, &r->rule[i]);

		if (name && !is_known(a, name))
			a->name[a->n++] = (struct dns_ahead_name){
			    .name = name, .ttl_s = DISTANT};
	}
	if (a->n > 0)
		dns_wake(f, 0);
}

static uint64_t
again_after(struct dns_ahead_name *n)
{
	uint64_t after_ns;

	if (n->ttl_s == DISTANT) {
		n->server++;
		after_ns = AGAIN << (n->failures < 6 ? n->failures : 6);
		n->failures++;
		return uk_min_u64(after_ns, AGAIN_MOST);
	}
	/* While the old ones still hold, and not all at once. */
	n->failures = 0;
	after_ns = n->ttl_s * UK_NS_PER_S / 100;
	return after_ns * (80 + randombytes_uniform(10));
}

void
dns_ahead_done(struct dns_forward *f, unsigned number, uint32_t ttl_s)
{
	struct dns_ahead_name *n = &f->ahead.name[number];

	if (ttl_s > 0 && ttl_s < n->ttl_s)
		n->ttl_s = ttl_s;
	if (--n->asks > 0)
		return;
	n->next_ns = dns_now() + again_after(n);
	n->ttl_s = DISTANT;
	dns_wake(f, n->next_ns);
}

static int
ask(struct dns_forward *f, unsigned number, uint16_t type)
{
	struct dns_ahead_name *n = &f->ahead.name[number];
	const struct dns_resolv *r = dns_resolv_now(f);
	struct dns_origin o = {.from = DNS_FROM_AHEAD,
	    .ahead = number,
	    .server = r->server[n->server % r->n]};
	uint8_t msg[512];
	int len = dns_query(msg, sizeof(msg), 0, n->name, type);

	return len < 0 ? len : dns_ask_own(f, &o, msg, (size_t)len);
}

static void
name_ask(struct dns_forward *f, unsigned number)
{
	struct dns_ahead_name *n = &f->ahead.name[number];
	struct dns_verdict v = dns_judge(&f->policy, &n->name, 1);
	bool v6 = f->conf.tunnel_v6 || !dns_verdict_tunnels(&v);

	/* One more, so that it is not done before both have been asked. */
	n->asks = 2;
	if (ask(f, number, DNS_TYPE_A) < 0)
		n->asks--;
	if (v6) {
		n->asks++;
		if (ask(f, number, DNS_TYPE_AAAA) < 0)
			n->asks--;
	}
	dns_ahead_done(f, number, 0);
}

uint64_t
dns_ahead_step(struct dns_forward *f, uint64_t now_ns)
{
	struct dns_ahead *a = &f->ahead;
	uint64_t next_ns = UK_NEVER;
	bool asked = false;

	if (now_ns < a->pace_ns)
		return a->pace_ns;
	for (unsigned i = 0; i < a->n; i++) {
		if (!asked && a->name[i].asks == 0 &&
		    a->name[i].next_ns <= now_ns) {
			name_ask(f, i);
			a->pace_ns = now_ns + PACE;
			asked = true;
		}
		if (a->name[i].asks == 0 && a->name[i].next_ns < next_ns)
			next_ns = a->name[i].next_ns;
	}
	if (next_ns == UK_NEVER)
		return UK_NEVER;
	return next_ns > a->pace_ns ? next_ns : a->pace_ns;
}
