#include "policy_kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "host/memory.h"
#include "mark.h"

#define TABLE_MAX 33 /* with its zero: hostfw_apply() */
#define SLOT_NUMBERS (MARK_SLOT_MASK + 1)

struct policy_kernel {
	struct policy_kernel_conf c;
	char table[TABLE_MAX], guard[TABLE_MAX];
	bool stands; /* the policy is in the tunnel's table */
	bool has_guard;
	uint8_t guarded[SLOT_NUMBERS / 8]; /* slots with names in the guard */
	/* By slot: of tables that are gone, of the one that stands, and what
	 * that had counted at last when another takes its place: read by who
	 * does that, which may be the worker. */
	struct policy_count *before, *now, *last;

	uv_work_t work;
	bool busy;
	struct policy_nft put;
	int err;
	struct diag d;
	void (*done)(void *arg, int err, const struct diag *d);
	void *arg;
};

int
policy_kernel_open(
    struct policy_kernel **out, const struct policy_kernel_conf *c)
{
	struct policy_kernel *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return UK_ENOMEM;
	k->c = *c;
	k->work.data = k;
	snprintf(k->table, sizeof(k->table), "%s", c->table);
	snprintf(
	    k->guard, sizeof(k->guard), "%s" POLICY_GUARD_SUFFIX, c->table);
	k->before = calloc(SLOT_NUMBERS, sizeof(*k->before));
	k->now = calloc(SLOT_NUMBERS, sizeof(*k->now));
	k->last = calloc(SLOT_NUMBERS, sizeof(*k->last));
	if (k->before == NULL || k->now == NULL || k->last == NULL) {
		policy_kernel_close(k, NULL);
		return UK_ENOMEM;
	}
	*out = k;
	return 0;
}

static void
take_out(struct policy_kernel *k, struct diag *d)
{
	struct text body = {.s = NULL};

	k->c.body(k->c.arg, &body);
	if (!body.failed)
		(void)hostfw_apply(k->c.firewall, k->table, body.s, d);
	text_fini(&body);
}

void
policy_kernel_close(struct policy_kernel *k, struct diag *d)
{
	if (k == NULL)
		return;
	while (k->busy)
		uv_run(k->c.loop, UV_RUN_ONCE);
	if (k->stands)
		take_out(k, d);
	free(k->before);
	free(k->now);
	free(k->last);
	free(k);
}

const char *
policy_kernel_guard(const struct policy_kernel *k)
{
	return k->guard;
}

/* ---- counters ---- */

static bool
on_counter(void *arg, const char *counter, uint64_t packets, uint64_t bytes)
{
	struct policy_count *to = arg;
	unsigned slot;

	if (sscanf(counter, POLICY_NFT_HITS, &slot) == 1 &&
	    slot < SLOT_NUMBERS) {
		to[slot].flows = packets;
	} else if (sscanf(counter, POLICY_NFT_BYTES, &slot) == 1 &&
		   slot < SLOT_NUMBERS) {
		to[slot].packets = packets;
		to[slot].bytes = bytes;
	}
	return true;
}

static void
read_counters(struct policy_kernel *k, struct policy_count *to)
{
	if (k->stands)
		(void)hostfw_counters_each(
		    k->c.firewall, k->table, on_counter, to);
}

int
policy_kernel_lan_dns(struct policy_kernel *k, uint64_t *questions)
{
	uint64_t bytes;

	if (k->busy)
		return UK_EAGAIN;
	return hostfw_counter(
	    k->c.firewall, k->table, POLICY_NFT_LAN_DNS, questions, &bytes);
}

void
policy_kernel_look(struct policy_kernel *k)
{
	if (!k->busy)
		read_counters(k, k->now);
}

static void
sum(struct policy_count *to, const struct policy_count *c)
{
	to->flows += c->flows;
	to->packets += c->packets;
	to->bytes += c->bytes;
}

void
policy_kernel_count(
    struct policy_kernel *k, uint16_t slot, struct policy_count *out)
{
	*out = k->before[slot];
	sum(out, &k->now[slot]);
}

static bool
is_zero(const struct policy_count *c)
{
	return c->flows == 0 && c->packets == 0;
}

/* One of the two may not have been read; a table's counters never fall. */
static const struct policy_count *
later(const struct policy_count *a, const struct policy_count *b)
{
	return a->flows > b->flows || a->packets > b->packets ? a : b;
}

/* The table that was counted in is gone, and slots that are not in p with it:
 * their numbers may be others' one day. Pages of zeros stay untouched. */
static void
turn_page(struct policy_kernel *k, const struct policy_nft *p)
{
	for (size_t i = 0; i < SLOT_NUMBERS; i++) {
		if (is_zero(&k->before[i]) && is_zero(&k->now[i]) &&
		    is_zero(&k->last[i]))
			continue;
		sum(&k->before[i], later(&k->now[i], &k->last[i]));
		k->now[i] = k->last[i] = (struct policy_count){0};
		if (i < SLOT_RUN_SOFT &&
		    slots_numbered(p->slots, (uint16_t)i) == NULL)
			k->before[i] = (struct policy_count){0};
	}
}

/* ---- tables ---- */

static bool
slot_of_set(const char *set, unsigned *slot)
{
	return sscanf(set, "n%u_", slot) == 1 && *slot < SLOT_NUMBERS;
}

static bool
on_guard_set(void *arg, const char *set)
{
	struct policy_kernel *k = arg;
	unsigned slot;

	if (slot_of_set(set, &slot))
		k->guarded[slot / 8] |= (uint8_t)(1u << slot % 8);
	return true;
}

static int
look_at_guard(struct policy_kernel *k, bool has)
{
	memset(k->guarded, 0, sizeof(k->guarded));
	k->has_guard = has;
	if (!has)
		return 0;
	return hostfw_sets_each(k->c.firewall, k->guard, on_guard_set, k);
}

static bool
on_any_set(void *arg, const char *set)
{
	(void)arg;
	(void)set;
	return false;
}

bool
policy_kernel_lacks_guard(struct policy_kernel *k)
{
	if (k->busy || !k->has_guard)
		return false;
	return hostfw_sets_each(k->c.firewall, k->guard, on_any_set, NULL) ==
	       UK_ENOENT;
}

static int
guard_text(struct text *t, const struct policy_nft *p)
{
	if (policy_nft_has_guard(p))
		policy_nft_guard_body(t, p);
	return t->failed ? UK_ENOMEM : 0;
}

/* Written to the journal before it is made. */
static int
announce_guard(
    struct policy_kernel *k, const struct policy_nft *p, struct diag *d)
{
	if (!policy_nft_has_guard(p))
		return 0;
	return undo_table(k->c.keep, k->guard, d);
}

int
policy_kernel_put_guard(
    struct policy_kernel *k, const struct policy_nft *p, struct diag *d)
{
	struct text guard = {.s = NULL};
	int err = announce_guard(k, p, d);

	if (err == 0)
		err = guard_text(&guard, p);
	if (err == 0)
		err = hostfw_apply_kept(
		    k->c.firewall, k->table, NULL, k->guard, guard.s, d);
	if (err == 0)
		err = look_at_guard(k, guard.s != NULL);
	text_fini(&guard);
	return err;
}

/* In any thread. */
static int
put(struct policy_kernel *k, const struct policy_nft *p, struct diag *d)
{
	struct text body = {.s = NULL}, guard = {.s = NULL};
	int err = guard_text(&guard, p);

	k->c.body(k->c.arg, &body);
	policy_nft_body(&body, p);
	if (body.failed)
		err = UK_ENOMEM;
	read_counters(k, k->last);
	if (err == 0)
		err = hostfw_apply_kept(
		    k->c.firewall, k->table, body.s, k->guard, guard.s, d);
	if (err == 0)
		err = look_at_guard(k, guard.s != NULL);
	text_fini(&body);
	text_fini(&guard);
	return err;
}

static void
has_put(struct policy_kernel *k, const struct policy_nft *p)
{
	turn_page(k, p);
	k->stands = true;
}

int
policy_kernel_put(
    struct policy_kernel *k, const struct policy_nft *p, struct diag *d)
{
	int err = announce_guard(k, p, d);

	if (err == 0)
		err = put(k, p, d);
	if (err == 0)
		has_put(k, p);
	return err;
}

static void
work(uv_work_t *w)
{
	struct policy_kernel *k = w->data;

	k->err = put(k, &k->put, &k->d);
	/* libnftables needs 1.7 kB for an element, for that long. */
	memory_trim();
}

static void
worked(uv_work_t *w, int status)
{
	struct policy_kernel *k = w->data;

	(void)status; /* nobody cancels it */
	k->busy = false;
	if (k->err == 0)
		has_put(k, &k->put);
	k->done(k->arg, k->err, &k->d);
}

int
policy_kernel_put_later(struct policy_kernel *k, const struct policy_nft *p,
    void (*done)(void *arg, int err, const struct diag *d), void *arg)
{
	int err;

	if (k->busy)
		return UK_EAGAIN;
	diag_init(&k->d, NULL);
	err = announce_guard(k, p, &k->d);
	if (err < 0)
		return err;
	k->put = *p;
	k->done = done;
	k->arg = arg;
	if (uv_queue_work(k->c.loop, &k->work, work, worked) != 0)
		return UK_ENOMEM;
	k->busy = true;
	return 0;
}

bool
policy_kernel_is_busy(const struct policy_kernel *k)
{
	return k != NULL && k->busy;
}

int
policy_kernel_change(struct policy_kernel *k, const struct hostfw_change *c,
    size_t n, struct diag *d)
{
	struct hostfw_change both[2 * POLICY_KERNEL_CHANGES];
	size_t m = 0;

	UK_ASSERT(n <= POLICY_KERNEL_CHANGES);
	if (k->busy)
		return UK_EAGAIN;
	for (size_t i = 0; i < n; i++) {
		unsigned slot;

		both[m] = c[i];
		both[m++].table = k->table;
		if (!slot_of_set(c[i].set, &slot) ||
		    (k->guarded[slot / 8] >> slot % 8 & 1) == 0)
			continue;
		both[m] = c[i];
		both[m++].table = k->guard;
	}
	return hostfw_elements(k->c.firewall, both, m, d);
}

int
policy_kernel_each(struct policy_kernel *k, const char *set,
    bool (*visit)(
	void *arg, const uint8_t *key, size_t key_len, const char *comment),
    void *arg)
{
	if (k->busy)
		return UK_EAGAIN;
	return hostfw_elements_each(k->c.firewall, k->table, set, visit, arg);
}
