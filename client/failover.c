#include "failover.h"

/* Timers come when they can; so much too early is in time, or the next step
 * would do it. */
#define SLACK (FAILOVER_EVERY / 8)
#define MINUTE (60 * UK_NS_PER_S)

void
failover_init(struct failover *f)
{
	*f = (struct failover){
	    .state = FAILOVER_DOWN,
	    .step_ns = UK_NEVER,
	    .heard_ns = UK_NEVER,
	    .sent_ns = UK_NEVER,
	    .asked_ns = UK_NEVER,
	    .lost_ns = UK_NEVER,
	    .down_at_ns = UK_NEVER,
	    .down_ns = UK_NEVER,
	};
}

static bool
is_within(uint64_t since_ns, uint64_t span_ns, uint64_t now_ns)
{
	return since_ns != UK_NEVER && now_ns + SLACK < since_ns + span_ns;
}

static void
shift(uint64_t *at_ns, uint64_t by_ns)
{
	if (*at_ns != UK_NEVER)
		*at_ns += by_ns;
}

/* While nobody listened nothing could be heard. */
static void
skip_pause(struct failover *f, uint64_t now_ns)
{
	uint64_t passed = f->step_ns != UK_NEVER ? now_ns - f->step_ns : 0;

	f->step_ns = now_ns;
	if (passed <= 2 * FAILOVER_EVERY)
		return;
	shift(&f->heard_ns, passed - FAILOVER_EVERY);
	shift(&f->down_at_ns, passed - FAILOVER_EVERY);
}

/* While it is down only an answer counts: what still comes in does not show
 * that anything gets there. */
static void
hear(struct failover *f, uint64_t now_ns, bool answer)
{
	if (f->state == FAILOVER_DOWN && !answer)
		return;
	if (f->state == FAILOVER_DOWN)
		f->lost_ns = UK_NEVER;
	if (answer && f->asking) {
		f->answer_ns = now_ns - f->asked_ns;
		f->asking = false;
	}
	f->state = FAILOVER_LIVE;
	f->heard_ns = now_ns;
	f->down_at_ns = UK_NEVER;
}

static void
look(struct failover *f, uint64_t now_ns, const struct failover_peer *p)
{
	bool answer = p->handshakes != f->last.handshakes;

	if (p->tx_data != f->last.tx_data)
		f->sent_ns = now_ns;
	if (answer || p->rx_bytes != f->last.rx_bytes)
		hear(f, now_ns, answer);
	f->last = *p;
}

static void
judge(struct failover *f, uint64_t now_ns)
{
	uint64_t quiet = is_within(f->lost_ns, FAILOVER_LOSSY, now_ns)
			     ? FAILOVER_QUIET_LOSSY
			     : FAILOVER_QUIET;

	if (f->down_at_ns == UK_NEVER &&
	    is_within(f->sent_ns, FAILOVER_IN_USE, now_ns) &&
	    !is_within(f->heard_ns, quiet, now_ns))
		f->down_at_ns = now_ns + FAILOVER_SILENCE - quiet;
	if (f->down_at_ns == UK_NEVER || now_ns + SLACK < f->down_at_ns)
		return;
	f->state = FAILOVER_DOWN;
	f->down_at_ns = UK_NEVER;
	f->down_ns = now_ns;
}

/* How far apart asks are; UK_NEVER: there is nothing to ask. */
static uint64_t
interval(const struct failover *f, uint64_t now_ns)
{
	if (f->state == FAILOVER_DOWN)
		return is_within(f->down_ns, MINUTE, now_ns)
			   ? FAILOVER_AGAIN
			   : FAILOVER_AGAIN_MOST;
	if (f->down_at_ns == UK_NEVER)
		return UK_NEVER;
	if (f->answer_ns <= FAILOVER_ASK + SLACK)
		return FAILOVER_ASK;
	return uk_min_u64(f->answer_ns + FAILOVER_EVERY, FAILOVER_AGAIN);
}

static bool
ask(struct failover *f, uint64_t now_ns)
{
	uint64_t span = interval(f, now_ns);

	if (span == UK_NEVER || is_within(f->asked_ns, span, now_ns))
		return false;
	if (f->asking && f->state == FAILOVER_LIVE)
		f->lost_ns = now_ns;
	f->asking = true;
	f->asked_ns = now_ns;
	return true;
}

bool
failover_step(
    struct failover *f, uint64_t now_ns, const struct failover_peer *p)
{
	if (f->step_ns == UK_NEVER) {
		f->last = *p;
		f->down_ns = now_ns;
	}
	skip_pause(f, now_ns);
	look(f, now_ns, p);
	if (f->state == FAILOVER_LIVE)
		judge(f, now_ns);
	return ask(f, now_ns);
}
