#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/err.h"
#include "host/flows.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"
#include "line_ports.h"
#include "mark.h"
#include "ports_slots.h"

/* Ends wait so long for each other. */
#define PAUSE (50 * UK_NS_PER_MS)
/* The kernel's walk over its flows takes at most a tenth of a processor. */
#define WALK_SHARE 10
/* What waits; more is looked for among all flows. */
#define ENDED_MOST 4096
/* Events that are read before others have their turn. */
#define EVENTS_TURN 512
/* Far more than a line has ports, and a table of sets has room for. */
#define ENDS_MOST (1u << 20)
#define OWN_MOST 64

/* Flows by the line, or not decided on: their tunnel's number and the upper
 * bits of the decision are 0. */
#define LINE_MASK (UINT32_C(0xff000000) | (MARK_DECISION_MASK & ~MARK_NATIVE))

struct walk;

struct ports_used {
	const struct ports_left_conf *c;
	const struct ports_slots *slots;
	struct flows *flows; /* events */
	struct watch *events, *timer;
	struct ports_list ended; /* to be taken out */
	struct ports_list out; /* taken out; what lives is put back */
	struct walk *walk; /* NULL: none runs */
	bool armed;
	bool all; /* compare the sets with all flows */
	bool stale; /* all came after the walk had begun */
	bool was_full; /* flows use ports that a set had no room for */
	bool looking; /* somebody waits for the walk's end */
	uint32_t used_tcp, used_udp; /* as the last walk saw them */
	struct log_limit complaint;
};

/* Addresses of this host, at a moment. */
struct own {
	uint8_t addr[OWN_MOST][4];
	size_t n;
};

static void
find_own(struct own *o)
{
	struct ifaddrs *list = NULL;

	o->n = 0;
	if (getifaddrs(&list) < 0)
		return;
	for (struct ifaddrs *i = list; i != NULL && o->n < OWN_MOST;
	     i = i->ifa_next) {
		const struct sockaddr_in *a = (const void *)i->ifa_addr;

		if (a != NULL && a->sin_family == AF_INET)
			memcpy(o->addr[o->n++], &a->sin_addr, 4);
	}
	freeifaddrs(list);
}

static bool
is_in(const struct ip_prefix *list, size_t n, const struct ip_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (ip_prefix_contains(&list[i], a))
			return true;
	return false;
}

/* What the line does not carry, or not through its ports. */
static bool
is_near(const struct ports_left_conf *c, const struct ip_addr *a)
{
	return !line_ports_needs(a) || is_in(c->local, c->locals, a);
}

static bool
is_ours(const struct ports_left_conf *c, const struct own *o,
    const struct ip_addr *a)
{
	for (size_t i = 0; i < o->n; i++)
		if (memcmp(o->addr[i], a->b, 4) == 0)
			return true;
	return is_in(c->network, c->networks, a);
}

/* Does the flow use a port of the line? own: NULL where it does not matter from
 * where it comes, as with what is only to be taken out. Those that nobody has
 * decided on yet are from before the policy. */
static bool
uses_port(const struct ports_left_conf *c, const struct own *own,
    const struct flow_entry *e, uint64_t *end)
{
	const struct flow_tuple *t = &e->original;

	if ((e->mark & LINE_MASK) != 0 || t->src.family != FAMILY_V4 ||
	    (t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP) ||
	    is_near(c, &t->dst))
		return false;
	if (own != NULL && (e->mark & MARK_DECISION_MASK) == 0 &&
	    !is_ours(c, own, &t->src))
		return false;
	*end = ports_end(t->protocol, t->src.b, t->sport);
	return true;
}

/* ---- all flows ---- */

/* With hundreds of thousands of flows it takes half a second, in which no
 * packet of the tunnel would go on: a worker thread does it, with all it needs
 * of its own, and who began it may be gone when it ends. */
struct walk {
	uv_work_t work;
	struct ports_used *owner; /* NULL: gone */
	struct flows *flows;
	struct ports_left_conf c; /* what uses_port() looks at */
	struct own own;
	struct ports_list live; /* the ends that use ports, in order */
	uint64_t took_ns;
	int err;
	struct ip_prefix prefix[]; /* local, network */
};

static bool
on_flow(void *arg, const struct flow_entry *e)
{
	struct walk *w = arg;
	uint64_t end;

	if (uses_port(&w->c, &w->own, e, &end))
		ports_list_add(&w->live, end);
	return true;
}

static void
walk(uv_work_t *work)
{
	struct walk *w = work->data;
	uint64_t begin_ns = clock_now().mono_ns;

	find_own(&w->own);
	w->err = flows_each(w->flows, FAMILY_V4, 0, LINE_MASK, on_flow, w);
	ports_list_sort(&w->live);
	if (w->err == 0 && w->live.incomplete)
		w->err = UK_ENOMEM;
	w->took_ns = clock_now().mono_ns - begin_ns;
}

static void
walk_free(struct walk *w)
{
	if (w == NULL)
		return;
	flows_close(w->flows);
	ports_list_fini(&w->live);
	free(w);
}

static struct walk *
walk_new(const struct ports_left_conf *c)
{
	size_t n = c->locals + c->networks;
	struct walk *w = calloc(1, sizeof(*w) + n * sizeof(w->prefix[0]));

	if (w == NULL)
		return NULL;
	w->work.data = w;
	w->live.most = ENDS_MOST;
	for (size_t i = 0; i < n; i++)
		w->prefix[i] =
		    i < c->locals ? c->local[i] : c->network[i - c->locals];
	w->c = (struct ports_left_conf){.local = w->prefix,
	    .locals = c->locals,
	    .network = w->prefix + c->locals,
	    .networks = c->networks};
	if (flows_open(&w->flows, NULL) == 0)
		return w;
	walk_free(w);
	return NULL;
}

static void walked(uv_work_t *work, int status);

static int
begin_walk(struct ports_used *u)
{
	struct walk *w = walk_new(u->c);

	if (w == NULL)
		return UK_ENOMEM;
	w->owner = u;
	if (uv_queue_work(u->c->loop, &w->work, walk, walked) != 0) {
		walk_free(w);
		return UK_ENOMEM;
	}
	u->walk = w;
	u->stale = false;
	return 0;
}

/* ---- what has ended ---- */

static void
change_all(
    const struct ports_used *u, struct ports_changes *w, uint64_t end, bool add)
{
	for (size_t i = 0; i < u->slots->n; i++)
		ports_changes_add(
		    w, policy_nft_used_set, u->slots->item[i].number, end, add);
}

/* Another flow may have begun from the same end while its element went, and
 * found it there: so what still lives is looked for afterwards, and put back.
 * For that moment one port too many seems to be left. */
static int
take_out(struct ports_used *u)
{
	struct ports_changes w = {.c = u->c};
	struct ports_list empty = u->out;
	int err;

	ports_list_sort(&u->ended);
	for (size_t i = 0; i < u->ended.n; i++)
		change_all(u, &w, u->ended.item[i], false);
	err = ports_changes_end(&w);
	if (err < 0)
		return err;
	u->out = u->ended;
	u->ended = empty;
	return 0;
}

static int
put_back(struct ports_used *u, const struct ports_list *live)
{
	struct ports_changes w = {.c = u->c};
	int err;

	for (size_t i = 0; i < u->out.n; i++)
		if (ports_list_find(live, u->out.item[i]) != NULL)
			change_all(u, &w, u->out.item[i], true);
	err = ports_changes_end(&w);
	if (err < 0)
		return err;
	u->was_full |= w.full;
	u->all |= u->was_full;
	u->out.n = 0;
	return 0;
}

/* What was taken out, and may live: once more. */
static void
take_out_again(struct ports_used *u)
{
	for (size_t i = 0; i < u->out.n; i++)
		ports_list_add(&u->ended, u->out.item[i]);
	u->out.n = 0;
	u->all |= u->ended.incomplete;
	u->ended.incomplete = false;
}

/* ---- sets against flows ---- */

struct content {
	struct ports_list list;
	uint8_t proto;
};

static bool
on_element(void *arg, const uint8_t *key, size_t key_len, const char *comment)
{
	struct content *e = arg;

	(void)comment;
	if (key_len >= 6)
		ports_list_add(
		    &e->list, ports_end(e->proto, key,
				  (uint16_t)((unsigned)key[4] << 8 | key[5])));
	return true;
}

/* What is in the set and has no flow is taken out like what has ended; what has
 * one and is not there is put in. */
static int
compare_set(struct ports_used *u, const struct ports_list *live, uint16_t slot,
    uint8_t proto, struct ports_changes *w)
{
	struct content e = {.list.most = ENDS_MOST, .proto = proto};
	char set[POLICY_NFT_SET_MAX];
	int err;

	policy_nft_used_set(
	    set, slot, proto == IPPROTO_TCP ? RULE_TCP : RULE_UDP);
	err = u->c->each(u->c->arg, set, on_element, &e);
	ports_list_sort(&e.list);
	for (size_t i = 0; i < e.list.n && err == 0; i++)
		if (ports_list_find(live, e.list.item[i]) == NULL)
			ports_list_add(&u->ended, e.list.item[i]);
	for (size_t i = 0; i < live->n && err == 0; i++)
		if (ports_end_proto(live->item[i]) == proto &&
		    ports_list_find(&e.list, live->item[i]) == NULL)
			ports_changes_add(
			    w, policy_nft_used_set, slot, live->item[i], true);
	ports_list_fini(&e.list);
	return err;
}

static int
compare_all(struct ports_used *u, const struct ports_list *live)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};
	struct ports_changes w = {.c = u->c};
	int err = 0;

	for (size_t i = 0; i < 2 * u->slots->n && err == 0; i++)
		err = compare_set(
		    u, live, u->slots->item[i / 2].number, protos[i % 2], &w);
	if (err == 0)
		err = ports_changes_end(&w);
	if (err < 0)
		return err;
	u->was_full = w.full;
	/* More had ended than there was room for: once more. */
	u->all = u->ended.incomplete;
	u->ended.incomplete = false;
	return 0;
}

/* ---- when ---- */

static void
arm(struct ports_used *u, uint64_t after_ns)
{
	if (u->armed)
		return;
	u->armed = true;
	watch_after(u->timer, after_ns);
}

/* took_ns: the last walk. */
static void
again(struct ports_used *u, int err, uint64_t took_ns)
{
	if (err < 0 && err != UK_EAGAIN) {
		u->all = true;
		log_limited(&u->complaint, clock_now().mono_ns, LOG_WARN,
		    "PORTS-LEFT cannot follow the ports: %s", uk_strerror(err));
	}
	if (err < 0 || u->ended.n > 0 || u->all)
		arm(u, (err < 0 && err != UK_EAGAIN ? 20 : 1) * PAUSE +
			   WALK_SHARE * took_ns);
}

static void
work(void *arg)
{
	struct ports_used *u = arg;
	int err = 0;

	u->armed = false;
	if (u->walk != NULL)
		return;
	if (u->ended.n > 0)
		err = take_out(u);
	if (err == 0)
		err = begin_walk(u);
	if (err < 0) {
		take_out_again(u);
		again(u, err, 0);
	}
}

static void
count(struct ports_used *u, const struct ports_list *live)
{
	u->used_tcp = u->used_udp = 0;
	for (size_t i = 0; i < live->n; i++)
		*(ports_end_proto(live->item[i]) == IPPROTO_TCP
			? &u->used_tcp
			: &u->used_udp) += 1;
}

static void
tell_looked(struct ports_used *u)
{
	bool looking = u->looking;

	u->looking = false;
	if (looking)
		u->c->looked(u->c->arg);
}

static void
walked(uv_work_t *work, int status)
{
	struct walk *w = work->data;
	struct ports_used *u = w->owner;
	uint64_t took_ns = w->took_ns;
	int err = w->err;

	(void)status; /* nobody cancels it */
	if (u == NULL) {
		walk_free(w);
		return;
	}
	u->walk = NULL;
	if (err == 0)
		count(u, &w->live);
	if (err == 0)
		err = put_back(u, &w->live);
	if (err == 0 && u->all && !u->stale)
		err = compare_all(u, &w->live);
	walk_free(w);
	take_out_again(u);
	again(u, err, took_ns);
	tell_looked(u);
}

/* What a walk has read that runs already says nothing of it. */
static void
look_at_all(struct ports_used *u)
{
	u->all = true;
	u->stale = true;
}

static void
on_events(void *arg)
{
	struct ports_used *u = arg;
	struct flow_entry e;
	uint64_t end;
	int err = 0;

	for (unsigned i = 0; i < EVENTS_TURN && err == 0; i++) {
		err = flows_ended(u->flows, &e);
		if (err == 0 && uses_port(u->c, NULL, &e, &end))
			ports_list_add(&u->ended, end);
	}
	if (err != 0 && err != UK_EAGAIN)
		look_at_all(u); /* UK_ELIMIT: some were lost */
	if (u->ended.incomplete) {
		u->ended.incomplete = false;
		look_at_all(u);
	}
	if (u->walk == NULL && (u->ended.n > 0 || u->all))
		arm(u, PAUSE);
}

static int
watch_flows(struct ports_used *u, struct diag *d)
{
	int fd, err = flows_open(&u->flows, d);

	if (err == 0)
		err = flows_watch(u->flows, 0, LINE_MASK, &fd, d);
	if (err < 0)
		return err;
	u->events = watch_fd(u->c->loop, fd, on_events, NULL, u);
	u->timer = watch_timer(u->c->loop, work, u);
	if (u->events == NULL || u->timer == NULL)
		return UK_ENOMEM;
	watch_wait(u->events, true, false);
	return 0;
}

int
ports_used_open(struct ports_used **out, const struct ports_left_conf *c,
    const struct ports_slots *s, struct diag *d)
{
	struct ports_used *u = calloc(1, sizeof(*u));
	int err;

	if (u == NULL)
		return UK_ENOMEM;
	u->c = c;
	u->slots = s;
	u->ended.most = u->out.most = ENDED_MOST;
	err = watch_flows(u, d);
	if (err < 0) {
		ports_used_close(u);
		return err;
	}
	*out = u;
	ports_used_again(u);
	return 0;
}

void
ports_used_close(struct ports_used *u)
{
	if (u == NULL)
		return;
	if (u->walk != NULL)
		u->walk->owner = NULL;
	watch_close(u->timer);
	watch_close(u->events);
	flows_close(u->flows);
	ports_list_fini(&u->ended);
	ports_list_fini(&u->out);
	tell_looked(u);
	free(u);
}

void
ports_used_again(struct ports_used *u)
{
	look_at_all(u);
	work(u);
}

bool
ports_used_look(struct ports_used *u)
{
	if (u->walk == NULL && begin_walk(u) < 0)
		return false;
	u->looking = true;
	return true;
}

void
ports_used_count(const struct ports_used *u, uint32_t *tcp, uint32_t *udp)
{
	*tcp = u->used_tcp;
	*udp = u->used_udp;
}
