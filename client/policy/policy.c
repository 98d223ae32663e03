#include "policy_state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/mape/map_line.h"
#include "client/mape/map_source.h"
#include "client/mape/mape.h"
#include "core/err.h"
#include "dns_caches.h"
#include "domain_name.h"
#include "io/clock.h"
#include "io/tunnel.h"
#include "mark.h"
#include "names_kept.h"
#include "policy_others.h"

#define TURN FAILOVER_EVERY
#define TURNS_SECOND (UK_NS_PER_S / TURN)
#define TURNS_GATEWAYS (10 * TURNS_SECOND)
#define TURNS_LAN (5 * TURNS_SECOND)
/* So many between two looks, and none heard: no chance. */
#define LAN_QUESTIONS_LOST 2
/* Elements brought into the kernel at once. */
#define CHANGES_MAX 128
/* Where nobody knows: what most lines have. */
#define PORTS_USUAL 240

/* ---- open ---- */

static int
open_programs(struct policy *p, const struct compiled *c, struct diag *d)
{
	const struct programs_conf conf = {.loop = p->s.loop,
	    .name = p->s.name,
	    .undo = p->s.keep,
	    .program = c->program,
	    .n = c->programs};

	return programs_open(&p->programs, &conf, d);
}

int
policy_open_programs(struct policy *p, const struct compiled *c, struct diag *d)
{
	if (p->programs != NULL)
		return programs_follow(p->programs, c->program, c->programs, d);
	return c->programs > 0 ? open_programs(p, c, d) : 0;
}

static int
open_kernel(struct policy *p)
{
	const struct policy_kernel_conf c = {.loop = p->s.loop,
	    .firewall = p->s.firewall,
	    .keep = p->s.keep,
	    .table = p->s.table,
	    .body = p->s.body,
	    .arg = p->s.arg};

	return policy_kernel_open(&p->kernel, &c);
}

static int
put_guard(struct policy *p, struct diag *d)
{
	struct policy_nft nft;
	int err = policy_gather_known(p);

	if (err < 0)
		return err;
	policy_describe(p, p->now, &nft);
	return policy_kernel_put_guard(p->kernel, &nft, d);
}

static int
open_all(struct policy *p, struct diag *d)
{
	int err = policy_gather(p);

	if (err == 0)
		err = open_kernel(p);
	if (err == 0)
		err =
		    bindings_new(&p->bindings, p->now->matcher, p->now->slots);
	if (err == 0) {
		p->bound = p->now;
		err = policy_carry_over(p);
	}
	if (err == 0)
		err = policy_open_programs(p, p->now, d);
	p->runs = policy_others_guarded(p->s.name);
	return err < 0 ? err : put_guard(p, d);
}

/* The file's own entries, which name it, and then the rest. */
static int
load(struct policy *p, struct diag *d)
{
	struct diag *own = malloc(sizeof(*own));
	int err;

	if (own == NULL)
		return UK_ENOMEM;
	diag_init(own, p->s.conf->policy);
	if (p->s.conf->policy[0] == '\0')
		err = compiled_none(&p->now, own);
	else
		err = compiled_load(&p->now, p->s.conf->policy, NULL, own);
	diag_print(own, "ukai", stderr);
	if (err < 0)
		diag_error(d, "the policy %s does not hold: %s",
		    p->s.conf->policy,
		    own->errors > 0 ? "see above" : uk_strerror(err));
	free(own);
	/* A configuration that names no file does not heal by waiting. */
	return err == UK_ENOENT ? UK_EINVAL : err;
}

int
policy_open(struct policy **out, const struct policy_setup *s, struct diag *d)
{
	bool was_guarded = undo_count(s->keep) > 0;
	struct policy *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return UK_ENOMEM;
	p->s = *s;
	p->loaded_s = clock_now().wall_ns / UK_NS_PER_S;
	err = load(p, d);
	if (err == 0)
		err = open_all(p, d);
	if (err == 0)
		*out = p;
	else
		policy_close(p, was_guarded, d);
	return err;
}

/* ---- changes while it runs ---- */

static void
tell_refused(void *arg)
{
	struct policy *p = arg;

	if (p->dns != NULL)
		dns_forward_committed(p->dns, false);
}

static bool put_again(struct policy *p);

/* What a change of the tables is made of must not change under it. */
static bool
is_changing(const struct policy *p)
{
	return p->loading || p->next != NULL ||
	       policy_kernel_is_busy(p->kernel);
}

static bool
change_failed(struct policy *p, const struct diag *d)
{
	if (!is_changing(p) && policy_kernel_lacks_guard(p->kernel) &&
	    put_again(p))
		return false;
	log_limited(&p->complaint, clock_now().mono_ns, LOG_WARN,
	    "addresses of names do not get into nftables: %s",
	    d->n > 0 ? d->entry[0].text : "no reason is known");
	bindings_untold(p->bindings);
	watch_raise(p->refused);
	return false;
}

/* For dns_forward: bindings' changes into the kernel. */
static bool
commit(void *arg)
{
	struct hostfw_change change[CHANGES_MAX];
	char set[CHANGES_MAX][POLICY_NFT_SET_MAX];
	char name[CHANGES_MAX][POLICY_NFT_COMMENT_SIZE];
	struct policy *p = arg;
	struct binding_change c;
	struct diag d;
	size_t n;

	if (policy_kernel_is_busy(p->kernel))
		return false;
	do {
		for (n = 0; n < CHANGES_MAX && bindings_next(p->bindings, &c);
		     n++) {
			bool v4 = c.addr.family == FAMILY_V4;

			policy_nft_names_set(set[n], c.slot, c.addr.family);
			snprintf(name[n], sizeof(name[n]), "%s",
			    policy_name_end(c.name, POLICY_NFT_COMMENT_SIZE));
			change[n] = (struct hostfw_change){.set = set[n],
			    .add = c.add,
			    .key_len = v4 ? 4 : 16,
			    .comment = name[n]};
			memcpy(change[n].key, c.addr.b, change[n].key_len);
		}
		diag_init(&d, NULL);
		if (n > 0 && policy_kernel_change(p->kernel, change, n, &d) < 0)
			return change_failed(p, &d);
		bindings_told(p->bindings);
	} while (n == CHANGES_MAX);
	return true;
}

void
policy_commit_waiting(struct policy *p)
{
	if (commit(p) && p->dns != NULL)
		dns_forward_committed(p->dns, true);
}

static bool
is_live(void *arg)
{
	const struct policy *p = arg;

	return p->live;
}

static int
apply_ports(void *arg, const struct hostfw_change *c, size_t n)
{
	struct policy *p = arg;

	return policy_kernel_change(p->kernel, c, n, NULL);
}

static int
each_port(void *arg, const char *set,
    bool (*visit)(void *visit_arg, const uint8_t *key, size_t key_len,
	const char *comment),
    void *visit_arg)
{
	struct policy *p = arg;

	return policy_kernel_each(p->kernel, set, visit, visit_arg);
}

/* ---- again, with what has changed ---- */

static void
on_put_again(void *arg, int err, const struct diag *d)
{
	struct policy *p = arg;

	if (err == 0) {
		bindings_told(p->bindings);
		ports_left_again(p->ports_left);
		policy_commit_waiting(p);
	} else {
		log_diag(d);
		bindings_again(p->bindings);
		if (p->dns != NULL)
			dns_forward_committed(p->dns, false);
	}
	policy_reload_goes_on(p);
}

/* on_put_again() will be called, unless this returns false. */
static bool
put_again(struct policy *p)
{
	struct policy_nft nft;
	bool begun = false;

	bindings_again(p->bindings);
	if (policy_gather_known(p) == 0) {
		policy_describe(p, p->now, &nft);
		begun = policy_kernel_put_later(
			    p->kernel, &nft, on_put_again, p) == 0;
	}
	if (!begun)
		bindings_again(p->bindings);
	return begun;
}

static void
look_at_guard(struct policy *p)
{
	if (is_changing(p) || !policy_kernel_lacks_guard(p->kernel))
		return;
	log_msg(LOG_WARN,
	    "%s: somebody deleted the nftables table %s; it is put back",
	    p->s.name, policy_kernel_guard(p->kernel));
	(void)put_again(p);
}

static void
look_at_gateways(struct policy *p)
{
	struct ip_prefix before[POLICY_GATEWAYS_MAX];
	size_t n = p->gateways;

	if (is_changing(p))
		return;
	memcpy(before, p->local + p->locals, n * sizeof(*before));
	(void)policy_gather_gateways(p);
	if (p->gateways != n ||
	    memcmp(before, p->local + p->locals, n * sizeof(*before)) != 0)
		(void)put_again(p);
}

/* Until a new link is known, questions to its servers are not sent. */
static void
look_at_links(struct policy *p)
{
	struct policy_nft_link *before = p->link;
	size_t n = p->links;
	bool same;

	if (p->dns == NULL || is_changing(p))
		return;
	p->link = NULL;
	(void)policy_gather_links(p);
	same = p->links == n &&
	       (n == 0 || memcmp(before, p->link, n * sizeof(*before)) == 0);
	free(before);
	if (!same)
		(void)put_again(p);
}

/* A filter of somebody else's that drops what is redirected leaves the LAN
 * without DNS, and nobody there can see why. */
static void
look_at_lan_dns(struct policy *p)
{
	struct dns_forward_stats dns;
	bool deaf = p->lan_deaf;
	uint64_t sent;

	if (p->dns == NULL || p->networks == 0 ||
	    policy_kernel_lan_dns(p->kernel, &sent) < 0)
		return;
	dns_forward_stats(p->dns, &dns);
	if (dns.lan > p->lan_heard)
		p->lan_deaf = false;
	else if (sent >= p->lan_sent + LAN_QUESTIONS_LOST)
		p->lan_deaf = true;
	if (p->lan_deaf && !deaf)
		log_msg(LOG_WARN,
		    "%s: a firewall of this host drops the LAN's DNS questions "
		    "before ukai has them: let in what `ct original proto-dst "
		    "53` finds; see ukai.conf(5), A gateway's firewall",
		    p->s.name);
	p->lan_sent = sent;
	p->lan_heard = dns.lan;
}

/* Once: from then on rules by name may not hold, and nothing else tells. */
static void
look_at_encrypted(struct policy *p)
{
	struct dns_forward_stats dns;

	if (p->dns == NULL || p->told_encrypted)
		return;
	dns_forward_stats(p->dns, &dns);
	if (dns.encrypted == 0)
		return;
	p->told_encrypted = true;
	log_msg(LOG_WARN,
	    "%s: a program looks up %s: what it asks there over HTTPS or TLS "
	    "is not seen, and rules by name do not hold for it; see "
	    "ukai.rules(5), Encrypted DNS",
	    p->s.name, dns.encrypted_name);
}

static void
on_turn(void *arg)
{
	struct policy *p = arg;

	policy_follow_peers(p);
	if (p->turns % TURNS_SECOND == 0) {
		bindings_tick(p->bindings, clock_now().mono_ns, !p->live);
		policy_follow_use(p);
		look_at_guard(p);
		look_at_links(p);
		look_at_encrypted(p);
	}
	if (bindings_changed(p->bindings))
		(void)commit(p);
	if (++p->turns % TURNS_GATEWAYS == 0)
		look_at_gateways(p);
	if (p->turns % TURNS_LAN == 0)
		look_at_lan_dns(p);
	watch_after(p->timer, TURN);
}

/* ---- start ---- */

int
policy_open_dns(struct policy *p, const struct compiled *c, struct diag *d)
{
	const struct dns_policy policy = {c->rules, c->matcher};
	const struct dns_forward_conf conf = {.loop = p->s.loop,
	    .lan = p->networks > 0,
	    .mark = (uint32_t)CLASS_DNS << MARK_CLASS_SHIFT,
	    .tunnel_mark = ((uint32_t)CLASS_DNS << MARK_CLASS_SHIFT) |
			   p->s.routes->answer_mark,
	    .tunnel_server = p->dns_server,
	    .tunnel_servers = p->dns_servers,
	    .allow_private = policy_conf(p)->allow_private.item,
	    .allow_privates = policy_conf(p)->allow_private.n,
	    .tunnel_v4 = policy_takes(p, FAMILY_V4),
	    .tunnel_v6 = policy_takes(p, FAMILY_V6),
	    .bindings = p->bindings,
	    .commit = commit,
	    .live = is_live,
	    .arg = p};

	if (p->dns != NULL || !compiled_has_names(c))
		return 0;
	return dns_forward_open(&p->dns, &conf, &policy, d);
}

/* The budget of a protocol: as configured, our own CE's, that of the line
 * whose address this host has, or the usual one. */
int
policy_find_ports(struct policy *p, struct diag *d)
{
	const struct map_source builtin = {.rules = NULL};
	struct map_rules rules = {.n = 0};
	struct map_lines lines = {.n = 0};
	struct mape_stats ce;
	int err;

	p->ports = policy_conf(p)->ports;
	if (p->mape != NULL && p->ports == 0) {
		mape_stats(p->mape, &ce);
		p->ports = ce.ce.nat.ports;
	}
	if (p->ports != 0)
		return 0;
	err = map_source_load(&rules, &builtin, d);
	if (err == 0)
		err = map_lines_of_host(&lines, &rules, d);
	p->ports = lines.n > 0 ? map_ports_count(&lines.item[0].ce.ports)
			       : PORTS_USUAL;
	map_lines_fini(&lines);
	map_rules_fini(&rules);
	return err;
}

static void
on_looked(void *arg)
{
	struct policy *p = arg;
	void (*looked)(void *arg) = p->looked;

	p->looked = NULL;
	if (looked != NULL)
		looked(p->looked_arg);
}

int
policy_open_ports(struct policy *p, struct diag *d)
{
	const struct ports_left_conf conf = {.loop = p->s.loop,
	    .rules = p->now->rules,
	    .slots = p->now->slots,
	    .ports = p->ports,
	    .mape = p->mape,
	    .local = p->local,
	    .locals = p->locals + p->gateways,
	    .network = p->network,
	    .networks = p->networks,
	    .apply = apply_ports,
	    .each = each_port,
	    .looked = on_looked,
	    .arg = p};

	if (!ports_left_has(p->now->rules))
		return 0;
	return ports_left_open(&p->ports_left, &conf, d);
}

struct warning {
	const struct policy *p;
	struct diag *d;
};

static bool
is_local(const struct policy *p, const struct ip_addr *a)
{
	for (size_t i = 0; i < p->locals; i++)
		if (ip_prefix_contains(&p->local[i], a))
			return true;
	return false;
}

/* R5: the LAN stays local only where somebody says so. */
static bool
warn_of(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	const struct warning *w = arg;
	const struct policy *p = w->p;
	const struct ip_ifaddr own = {*a, bits};
	struct flow f = {.dst = *a, .proto = RULE_TCP, .dport = 445};
	char text[IP_PREFIX_TEXT_MAX];
	const struct rule *r;
	struct ip_prefix net;

	if (ifindex == tunnel_ifindex(p->tunnel) ||
	    !conf_wg_is_host_address(a) || bits >= 32 ||
	    a->family != FAMILY_V4 || is_local(p, a))
		return true;
	r = &p->now->rules->rule[matcher_find(p->now->matcher, &f).rule];
	if (r->target != TARGET_TUNNEL && r->target != TARGET_TUNNEL_ONLY)
		return true;
	ip_ifaddr_prefix(&own, &net);
	ip_prefix_format(&net, text);
	diag_warn(w->d,
	    "the network %s of this host goes into the tunnel by line %u of "
	    "%s; to keep it on the line, add to the section [Ukai]: "
	    "LocalNetworks = %s",
	    text, (unsigned)r->line, policy_conf(p)->policy, text);
	return true;
}

static int
start_turns(struct policy *p)
{
	p->peers = policy_conf(p)->peers.n;
	p->peer = calloc(p->peers + 1, sizeof(*p->peer));
	p->timer = watch_timer(p->s.loop, on_turn, p);
	p->refused = watch_call(p->s.loop, tell_refused, p);
	if (p->peer == NULL || p->timer == NULL || p->refused == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < p->peers; i++)
		failover_init(&p->peer[i]);
	watch_after(p->timer, TURN);
	return 0;
}

static int
put_first(struct policy *p, struct diag *d)
{
	struct policy_nft nft;
	int err;

	bindings_again(p->bindings);
	err = policy_gather_known(p);
	if (err == 0)
		err = policy_gather_links(p);
	if (err < 0)
		return err;
	policy_describe(p, p->now, &nft);
	err = policy_kernel_put(p->kernel, &nft, d);
	if (err < 0)
		return err;
	bindings_told(p->bindings);
	unlink(p->s.names); /* the guard has them now */
	if (p->dns != NULL)
		dns_caches_flush();
	return 0;
}

int
policy_start(struct policy *p, struct tunnel *t, struct mape *m, struct diag *d)
{
	struct warning w = {p, d};
	int err;

	p->tunnel = t;
	p->mape = m;
	err = flows_open(&p->flows, d);
	if (err == 0)
		err = start_turns(p);
	if (err == 0 && ports_left_has(p->now->rules))
		err = policy_find_ports(p, d);
	if (err == 0)
		err = policy_open_dns(p, p->now, d);
	if (err == 0)
		err = put_first(p, d);
	if (err == 0)
		err = policy_open_ports(p, d);
	p->started = err == 0;
	return err < 0 ? err : netcfg_addr_each(p->s.n, warn_of, &w);
}

void
policy_close(struct policy *p, bool stay, struct diag *d)
{
	if (p == NULL)
		return;
	p->closing = true;
	p->looked = NULL;
	watch_close(p->timer);
	while (p->loading || policy_kernel_is_busy(p->kernel) ||
	       p->forgetting || p->use.busy)
		uv_run(p->s.loop, UV_RUN_ONCE);
	if (!stay && p->started)
		policy_end_flows(p);
	if (p->tunnel != NULL)
		(void)names_kept_save(p->bindings, p->s.names, d);
	policy_kernel_close(p->kernel, d);
	dns_forward_close(p->dns);
	watch_close(p->refused); /* till here the loop may have turned */
	ports_left_close(p->ports_left);
	if (stay)
		programs_leave(p->programs);
	else
		programs_close(p->programs);
	flows_close(p->flows);
	bindings_free(p->bindings);
	if (p->bound != p->now)
		compiled_free(p->bound);
	compiled_free(p->now);
	free(p->peer);
	free(p->allowed);
	free(p->local);
	free(p->network);
	free(p->link);
	free(p->known);
	free(p);
}

/* ---- others' questions ---- */

bool
policy_look(struct policy *p, void (*looked)(void *arg), void *arg)
{
	if (p->ports_left == NULL || !ports_left_look(p->ports_left))
		return false;
	p->looked = looked;
	p->looked_arg = arg;
	return true;
}

/* What runs so is refused when we are killed, also where no rule says so of
 * anything (R8). */
static int
guard_runs(struct policy *p, struct diag *d)
{
	struct policy_nft nft;
	int err = 0;

	if (p->runs)
		return 0;
	if (is_changing(p)) {
		diag_error(d, "the policy is being loaded: try again");
		return UK_EBUSY;
	}
	policy_describe(p, p->now, &nft);
	if (!policy_nft_has_guard(&nft)) {
		nft.runs = true;
		err = policy_kernel_put_guard(p->kernel, &nft, d);
	}
	p->runs = err == 0;
	return err;
}

int
policy_run(struct policy *p, int pid, bool fallback, struct diag *d)
{
	int err = fallback ? 0 : guard_runs(p, d);

	if (err == 0 && p->programs == NULL)
		err = open_programs(p, p->now, d);
	return err < 0 ? err : programs_run(p->programs, pid, fallback, d);
}

bool
policy_is_live(const struct policy *p)
{
	return p->live;
}

size_t
policy_names(const struct policy *p, const struct ip_addr *a, const char **name,
    size_t cap)
{
	return bindings_names(p->bindings, a, name, cap);
}
