#include <stdlib.h>

#include "client/mape/mape.h"
#include "core/err.h"
#include "host/flows.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"
#include "mark.h"
#include "ports_slots.h"

#define EVERY (UK_NS_PER_S / 10)
/* Of one slot. A destination that is short has taken most of the set, so there
 * are few; but a rule may ask for more ports than there are. */
#define MOST 8192
/* Flows that are begun anew at once; the others' next packets are refused, too.
 */
#define WAITING_MOST 1024
/* The kernel's walk over its flows takes at most a tenth of our time. */
#define WALK_SHARE 10

struct few {
	uint16_t slot;
	uint32_t below;
	struct ports_list now, before; /* sorted */
};

struct ports_short {
	const struct ports_left_conf *c;
	struct flows *flows;
	uint64_t refused; /* as seen last */
	uint64_t walk_ns; /* no walk over all flows before */
	struct watch *timer;
	struct few *few;
	size_t n;
	bool unsure; /* what the sets hold is among before, or is not there */
	struct log_limit complaint;
};

/* ICMP has no set. */
static void
note(void *arg, const struct nat44_shortage *s)
{
	struct few *f = arg;

	if (s->proto == 6 || s->proto == 17)
		ports_list_add(&f->now, ports_end(s->proto, s->dst, s->port));
}

static void
change(
    const struct ports_short *p, const struct few *f, struct ports_changes *w)
{
	for (size_t i = 0; i < f->before.n; i++) {
		uint64_t end = f->before.item[i];

		if (ports_list_find(&f->now, end) == NULL)
			ports_changes_add(
			    w, policy_nft_short_set, f->slot, end, false);
	}
	for (size_t i = 0; i < f->now.n; i++) {
		uint64_t end = f->now.item[i];

		if (p->unsure || ports_list_find(&f->before, end) == NULL)
			ports_changes_add(
			    w, policy_nft_short_set, f->slot, end, true);
	}
}

/* It is not known how far the changes went: either list may be there. */
static void
keep_both(struct few *f)
{
	for (size_t i = 0; i < f->now.n; i++)
		ports_list_add(&f->before, f->now.item[i]);
	ports_list_sort(&f->before);
	f->now.n = 0;
}

static void
take_over(struct few *f)
{
	struct ports_list old = f->before;

	f->before = f->now;
	f->now = old;
	f->now.n = 0;
	f->now.incomplete = false;
}

static void
settle(struct ports_short *p, int err)
{
	for (size_t i = 0; i < p->n; i++) {
		if (err == 0)
			take_over(&p->few[i]);
		else
			keep_both(&p->few[i]);
	}
	p->unsure = err != 0;
	if (err != 0 && err != UK_EAGAIN)
		log_limited(&p->complaint, clock_now().mono_ns, LOG_WARN,
		    "PORTS-LEFT cannot follow the ports: %s", uk_strerror(err));
}

struct waiting {
	const struct ports_short *p;
	struct flow_tuple flow[WAITING_MOST];
	size_t n;
};

static bool
is_short(const struct ports_short *p, const struct flow_tuple *t)
{
	static const uint8_t any[4];
	const uint64_t end[] = {ports_end(t->protocol, t->dst.b, t->dport),
	    ports_end(t->protocol, any, t->dport),
	    ports_end(t->protocol, any, 0)};

	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < ARRAY_LEN(end); k++)
			if (ports_list_find(&p->few[i].before, end[k]) != NULL)
				return true;
	return false;
}

static bool
on_native(void *arg, const struct flow_entry *e)
{
	struct waiting *w = arg;

	if (!e->answered && is_short(w->p, &e->original))
		w->flow[w->n++] = e->original;
	return w->n < ARRAY_LEN(w->flow);
}

/* Flows that were decided on before the sets knew, and that the CE had no port
 * for any more, would wait in vain: they are forgotten, and with its next
 * packet each is decided on anew. Of what has a port but no answer yet, TCP
 * stays where it is, as its next packet opens nothing. */
static void
begin_anew(struct ports_short *p)
{
	uint64_t refused = mape_refused(p->c->mape);
	uint64_t begin_ns = clock_now().mono_ns, end_ns;
	struct waiting w = {.p = p};

	if (refused == p->refused || begin_ns < p->walk_ns)
		return;
	p->refused = refused;
	(void)flows_each(p->flows, FAMILY_V4, MARK_NATIVE, MARK_DECISION_MASK,
	    on_native, &w);
	for (size_t i = 0; i < w.n; i++)
		(void)flows_delete(p->flows, &w.flow[i]);
	end_ns = clock_now().mono_ns;
	p->walk_ns = end_ns + WALK_SHARE * (end_ns - begin_ns);
}

static void
look(void *arg)
{
	struct ports_short *p = arg;
	struct ports_changes w = {.c = p->c};

	for (size_t i = 0; i < p->n; i++) {
		struct few *f = &p->few[i];

		mape_short(p->c->mape, f->below, note, f);
		ports_list_sort(&f->now);
		change(p, f, &w);
	}
	settle(p, ports_changes_end(&w));
	if (!p->unsure)
		begin_anew(p);
	watch_after(p->timer, EVERY);
}

int
ports_short_open(struct ports_short **out, const struct ports_left_conf *c,
    const struct ports_slots *s, struct diag *d)
{
	struct ports_short *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return UK_ENOMEM;
	p->c = c;
	p->refused = mape_refused(c->mape);
	err = flows_open(&p->flows, d);
	if (err < 0) {
		ports_short_close(p);
		return err;
	}
	p->few = calloc(s->n + 1, sizeof(*p->few));
	p->timer = watch_timer(c->loop, look, p);
	if (p->few == NULL || p->timer == NULL) {
		ports_short_close(p);
		return UK_ENOMEM;
	}
	for (; p->n < s->n; p->n++)
		p->few[p->n] = (struct few){.slot = s->item[p->n].number,
		    .below = s->item[p->n].below,
		    .now.most = MOST,
		    .before.most = 2 * MOST};
	*out = p;
	look(p);
	return 0;
}

void
ports_short_close(struct ports_short *p)
{
	if (p == NULL)
		return;
	watch_close(p->timer);
	for (size_t i = 0; i < p->n; i++) {
		ports_list_fini(&p->few[i].now);
		ports_list_fini(&p->few[i].before);
	}
	flows_close(p->flows);
	free(p->few);
	free(p);
}

void
ports_short_again(struct ports_short *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->few[i].before.n = 0;
	look(p);
}
