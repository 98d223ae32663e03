#include "wg_timers.h"

/* After this many rejected lives without a new session keys are wiped. */
#define ZERO_KEYS_LIVES 3

const struct wg_times wg_times_default = {
    .rekey_after_ns = 120 * UK_NS_PER_S,
    .reject_after_ns = 180 * UK_NS_PER_S,
    .rekey_timeout_ns = 5 * UK_NS_PER_S,
    .keepalive_ns = 10 * UK_NS_PER_S,
    .max_retries = 19,
};

static bool
pending(const struct wg_timers *t, enum wg_timer which)
{
	return t->at_ns[which] != UK_NEVER;
}

void
wg_timers_init(struct wg_timers *t, uint64_t jitter_ns)
{
	*t = (struct wg_timers){.jitter_ns = jitter_ns};
	wg_timers_stop(t);
}

void
wg_timers_stop(struct wg_timers *t)
{
	for (size_t i = 0; i < WG_TIMER_COUNT; i++)
		t->at_ns[i] = UK_NEVER;
	t->retries = 0;
	t->another_keepalive = false;
	t->ever_initiated = false;
	t->ever_asked = false;
}

void
wg_timers_data_sent(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns)
{
	if (!pending(t, WG_TIMER_NEW_SESSION))
		t->at_ns[WG_TIMER_NEW_SESSION] = now_ns + c->keepalive_ns +
						 c->rekey_timeout_ns +
						 t->jitter_ns;
}

void
wg_timers_data_received(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns)
{
	if (pending(t, WG_TIMER_KEEPALIVE))
		t->another_keepalive = true;
	else
		t->at_ns[WG_TIMER_KEEPALIVE] = now_ns + c->keepalive_ns;
}

static void
push_persistent(struct wg_timers *t, uint64_t now_ns)
{
	if (t->persistent_s)
		t->at_ns[WG_TIMER_PERSISTENT] =
		    now_ns + t->persistent_s * UK_NS_PER_S;
}

void
wg_timers_any_sent(struct wg_timers *t, uint64_t now_ns)
{
	t->at_ns[WG_TIMER_KEEPALIVE] = UK_NEVER;
	push_persistent(t, now_ns);
}

void
wg_timers_any_received(struct wg_timers *t, uint64_t now_ns)
{
	t->at_ns[WG_TIMER_NEW_SESSION] = UK_NEVER;
	push_persistent(t, now_ns);
}

void
wg_timers_initiated(struct wg_timers *t, const struct wg_times *c,
    uint64_t now_ns, uint64_t jitter_ns)
{
	t->initiated_ns = now_ns;
	t->ever_initiated = true;
	t->jitter_ns = jitter_ns;
	t->at_ns[WG_TIMER_RETRANSMIT] =
	    now_ns + c->rekey_timeout_ns + jitter_ns;
}

void
wg_timers_responded(struct wg_timers *t, uint64_t now_ns)
{
	t->initiated_ns = now_ns;
	t->ever_initiated = true;
}

void
wg_timers_session_derived(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns)
{
	t->at_ns[WG_TIMER_ZERO_KEYS] =
	    now_ns + ZERO_KEYS_LIVES * c->reject_after_ns;
}

void
wg_timers_handshake_complete(struct wg_timers *t)
{
	t->at_ns[WG_TIMER_RETRANSMIT] = UK_NEVER;
	t->retries = 0;
}

void
wg_timers_initiation_deferred(struct wg_timers *t, const struct wg_times *c)
{
	if (!pending(t, WG_TIMER_RETRANSMIT))
		t->at_ns[WG_TIMER_RETRANSMIT] =
		    t->initiated_ns + c->rekey_timeout_ns;
}

bool
wg_timers_may_initiate(
    const struct wg_timers *t, const struct wg_times *c, uint64_t now_ns)
{
	return !t->ever_initiated ||
	       now_ns >= t->initiated_ns + c->rekey_timeout_ns;
}

bool
wg_timers_may_ask(const struct wg_timers *t, uint64_t now_ns)
{
	return (!t->ever_initiated ||
		   now_ns >= t->initiated_ns + WG_ASK_INTERVAL) &&
	       (!t->ever_asked || now_ns >= t->asked_ns + WG_ASK_INTERVAL);
}

void
wg_timers_asked(struct wg_timers *t, uint64_t now_ns)
{
	t->asked_ns = now_ns;
	t->ever_asked = true;
}

uint64_t
wg_timers_deadline(const struct wg_timers *t)
{
	uint64_t first = UK_NEVER;

	for (size_t i = 0; i < WG_TIMER_COUNT; i++)
		first = uk_min_u64(first, t->at_ns[i]);
	return first;
}

static bool
expired(struct wg_timers *t, enum wg_timer which, uint64_t now_ns)
{
	if (t->at_ns[which] > now_ns)
		return false;
	t->at_ns[which] = UK_NEVER;
	return true;
}

static unsigned
expire_retransmit(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns)
{
	if (t->retries < c->max_retries) {
		t->retries++;
		return WG_DO_INITIATE | WG_DO_FORGET_SOURCE;
	}
	t->at_ns[WG_TIMER_KEEPALIVE] = UK_NEVER;
	if (!pending(t, WG_TIMER_ZERO_KEYS))
		wg_timers_session_derived(t, c, now_ns);
	return WG_DO_DROP_QUEUE;
}

unsigned
wg_timers_expire(struct wg_timers *t, const struct wg_times *c, uint64_t now_ns)
{
	unsigned todo = 0;

	if (expired(t, WG_TIMER_RETRANSMIT, now_ns))
		todo |= expire_retransmit(t, c, now_ns);
	if (expired(t, WG_TIMER_KEEPALIVE, now_ns)) {
		todo |= WG_DO_KEEPALIVE;
		if (t->another_keepalive)
			t->at_ns[WG_TIMER_KEEPALIVE] = now_ns + c->keepalive_ns;
		t->another_keepalive = false;
	}
	if (expired(t, WG_TIMER_NEW_SESSION, now_ns))
		todo |= WG_DO_NEW_SESSION | WG_DO_FORGET_SOURCE;
	if (expired(t, WG_TIMER_ZERO_KEYS, now_ns))
		todo |= WG_DO_ZERO_KEYS;
	if (expired(t, WG_TIMER_PERSISTENT, now_ns) && t->persistent_s)
		todo |= WG_DO_KEEPALIVE;
	return todo;
}
