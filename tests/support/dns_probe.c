/* dns_probe: the DNS forwarder by itself, with a table of its own that sends it
 * all plain DNS, for tests/net.
 *
 *   dns_probe RULES TUNNEL-SERVER|- [lan]
 *
 * Commands, one a line, each answered by one line:
 *   now | later        the kernel takes addresses at once; or with "done"
 *   done | fail        it has taken them; it refused
 *   live 0|1           can the tunnel carry?
 *   told               what it was told since the last time
 *   follow RULES       another policy
 *   stats */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/policy/dns_forward.h"
#include "client/policy/mark.h"
#include "core/err.h"
#include "core/text.h"
#include "host/hostfw.h"
#include "io/watch.h"

#define MARK (CLASS_DNS << MARK_CLASS_SHIFT)

struct probe {
	struct dns_forward *f;
	struct bindings *b;
	struct rules *rules;
	struct matcher *matcher;
	struct slots *slots;
	struct text told;
	bool later, live;
	char line[256];
	size_t len;
};

static void
drain(struct probe *p)
{
	struct binding_change c;
	char text[IP_ADDR_TEXT_MAX];

	while (bindings_next(p->b, &c))
		text_add(&p->told, " %c%u:%s", c.add ? '+' : '-', c.slot,
		    ip_addr_format(&c.addr, text));
	bindings_told(p->b);
}

static bool
commit(void *arg)
{
	struct probe *p = arg;

	if (p->later)
		return false;
	drain(p);
	return true;
}

static bool
live(void *arg)
{
	return ((struct probe *)arg)->live;
}

static void
stats(struct probe *p)
{
	struct dns_forward_stats s;

	dns_forward_stats(p->f, &s);
	printf("questions=%llu answers=%llu held=%llu tunnel=%llu private=%llu "
	       "v6=%llu down=%llu full=%llu timeouts=%llu malformed=%llu\n",
	    (unsigned long long)s.questions, (unsigned long long)s.answers,
	    (unsigned long long)s.held, (unsigned long long)s.tunnel,
	    (unsigned long long)s.refused_private,
	    (unsigned long long)s.refused_v6,
	    (unsigned long long)s.refused_down,
	    (unsigned long long)s.refused_full, (unsigned long long)s.timeouts,
	    (unsigned long long)s.malformed);
}

static int
load(struct probe *p, const char *file, struct diag *d)
{
	int r = rules_load(&p->rules, file, RULES_LINUX, d);

	if (r == 0)
		r = matcher_new(&p->matcher, p->rules);
	if (r == 0)
		r = slots_new(&p->slots, p->rules, NULL);
	return r;
}

/* The old one stays until here. */
static bool
follow(struct probe *p, const char *file)
{
	struct probe old = *p;
	struct dns_policy policy;
	struct diag d;

	diag_init(&d, file);
	if (load(p, file, &d) < 0 ||
	    bindings_follow(p->b, p->matcher, p->slots) < 0)
		return false;
	policy = (struct dns_policy){p->rules, p->matcher};
	dns_forward_follow(p->f, &policy);
	slots_free(old.slots);
	matcher_free(old.matcher);
	rules_free(old.rules);
	return true;
}

static void
command(struct probe *p, const char *s)
{
	if (strncmp(s, "follow ", 7) == 0) {
		printf("%s\n", follow(p, s + 7) ? "ok" : "failed");
		return;
	}
	if (strcmp(s, "stats") == 0) {
		stats(p);
		return;
	}
	if (strcmp(s, "told") == 0) {
		printf("told%s\n", p->told.len ? p->told.s : "");
		text_clear(&p->told);
		return;
	}
	if (strcmp(s, "now") == 0 || strcmp(s, "later") == 0) {
		p->later = strcmp(s, "later") == 0;
	} else if (strncmp(s, "live ", 5) == 0) {
		p->live = s[5] == '1';
	} else if (strcmp(s, "done") == 0) {
		drain(p);
		dns_forward_committed(p->f, true);
	} else if (strcmp(s, "fail") == 0) {
		drain(p);
		text_clear(&p->told);
		bindings_again(p->b);
		dns_forward_committed(p->f, false);
	}
	printf("ok\n");
}

static void
on_input(void *arg)
{
	struct probe *p = arg;
	ssize_t n = read(0, p->line + p->len, sizeof(p->line) - p->len - 1);
	char *end;

	if (n <= 0)
		exit(0);
	p->len += (size_t)n;
	p->line[p->len] = '\0';
	while ((end = strchr(p->line, '\n'))) {
		*end++ = '\0';
		command(p, p->line);
		p->len -= (size_t)(end - p->line);
		memmove(p->line, end, p->len + 1);
	}
}

static int
redirect(struct hostfw *h, uint16_t port, struct diag *d)
{
	struct text t = {0};
	int r;

	text_add(&t,
	    "chain zone { type filter hook output priority raw;\n"
	    "meta mark and 0x%08x == 0x%08x return\n"
	    "udp dport 53 ct zone set %u\n"
	    "udp sport %u ct zone set %u\n}\n"
	    "chain lan_zone { type filter hook prerouting priority raw;\n"
	    "iifname \"e1\" udp dport 53 ct zone set %u\n}\n"
	    "chain out { type nat hook output priority -100;\n"
	    "meta mark and 0x%08x == 0x%08x return\n"
	    "meta l4proto { tcp, udp } th dport 53 redirect to :%u\n}\n"
	    "chain pre { type nat hook prerouting priority -100;\n"
	    "meta l4proto { tcp, udp } th dport 53 redirect to :%u\n}\n",
	    MARK_CLASS_MASK, MARK, port, port, port, port, MARK_CLASS_MASK,
	    MARK, port, port);
	r = hostfw_apply(h, "ukai-dns-probe", t.s, d);
	text_fini(&t);
	return r;
}

static int
run(struct probe *p, char **argv, struct diag *d)
{
	struct ip_addr server;
	struct ip_prefix private;
	struct dns_policy policy = {0};
	struct dns_forward_conf c = {.loop = uv_default_loop(),
	    .lan = argv[3] != NULL,
	    .mark = MARK,
	    .tunnel_mark = MARK | 0x01000000,
	    .allow_private = &private,
	    .allow_privates = 1,
	    .tunnel_server = &server,
	    .tunnel_servers = strcmp(argv[2], "-") != 0,
	    .tunnel_v4 = true,
	    .commit = commit,
	    .live = live,
	    .arg = p};
	struct hostfw *h;
	struct watch *in;
	int r = load(p, argv[1], d);

	if (r < 0 || (r = bindings_new(&p->b, p->matcher, p->slots)) < 0 ||
	    (r = hostfw_open(&h, d)) < 0)
		return r;
	ip_prefix_parse(&private, "10.9.0.0/16", 11);
	if (c.tunnel_servers)
		ip_addr_parse(&server, argv[2], strlen(argv[2]));
	policy.rules = p->rules;
	policy.matcher = p->matcher;
	c.bindings = p->b;
	if ((r = dns_forward_open(&p->f, &c, &policy, d)) < 0 ||
	    (r = redirect(h, dns_forward_port(p->f), d)) < 0)
		return r;
	in = watch_fd(c.loop, 0, on_input, NULL, p);
	if (!in)
		return UK_ENOMEM;
	watch_wait(in, true, false);
	printf("ready port=%u\n", dns_forward_port(p->f));
	return uv_run(c.loop, UV_RUN_DEFAULT);
}

int
main(int argc, char **argv)
{
	static struct probe p = {.live = true};
	static struct diag d;

	if (argc < 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	diag_init(&d, argv[1]);
	int r = run(&p, argv, &d);

	diag_print(&d, "dns_probe", stderr);
	fprintf(stderr, "dns_probe: %s\n", uk_strerror(r));
	return 1;
}
