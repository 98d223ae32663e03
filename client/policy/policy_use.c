#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/clock.h"
#include "mark.h"
#include "policy_state.h"

/* A flow that has ended is known to the kernel for two minutes: whoever calls
 * every hour is seen within the day that bindings keep his address. */
#define LOOK_EVERY (600 * UK_NS_PER_S)
#define IN_USE_MAX 32768

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

/* Each once. */
static void
settle(struct policy_use *u)
{
	size_t n = 0;

	qsort(u->addr, u->n, sizeof(*u->addr), compare);
	for (size_t i = 0; i < u->n; i++)
		if (n == 0 || compare(&u->addr[n - 1], &u->addr[i]) != 0)
			u->addr[n++] = u->addr[i];
	u->n = n;
}

static bool
on_flow(void *arg, const struct flow_entry *e)
{
	struct policy_use *u = arg;
	struct ip_addr *a = &u->addr[u->n++];

	memset(a, 0, sizeof(*a)); /* they are compared with memcmp() */
	a->family = e->original.dst.family;
	memcpy(a->b, e->original.dst.b, sizeof(a->b));
	if (u->n == IN_USE_MAX)
		settle(u);
	return u->n < IN_USE_MAX;
}

/* In a worker thread: the kernel walks over all of its flows. */
static void
look(uv_work_t *w)
{
	static const uint8_t family[] = {FAMILY_V4, FAMILY_V6};
	struct policy *p = w->data;
	struct policy_use *u = &p->use;
	struct flows *f;

	if (flows_open(&f, NULL) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(family); i++)
		if (u->n < IN_USE_MAX)
			(void)flows_each(f, family[i], MARK_TUNNEL_ONLY,
			    MARK_DECISION_MASK, on_flow, u);
	flows_close(f);
	settle(u);
}

static void
looked(uv_work_t *w, int status)
{
	struct policy *p = w->data;
	struct policy_use *u = &p->use;
	uint64_t now_ns = clock_now().mono_ns;

	(void)status; /* nobody cancels it */
	for (size_t i = 0; i < u->n; i++)
		bindings_use(p->bindings, now_ns, &u->addr[i]);
	free(u->addr);
	u->busy = false;
}

void
policy_follow_use(struct policy *p)
{
	struct policy_use *u = &p->use;
	uint64_t now_ns = clock_now().mono_ns;

	if (u->busy || p->dns == NULL || now_ns < u->next_ns)
		return;
	u->next_ns = now_ns + LOOK_EVERY;
	u->addr = calloc(IN_USE_MAX, sizeof(*u->addr));
	if (u->addr == NULL)
		return;
	u->n = 0;
	u->work.data = p;
	u->busy = uv_queue_work(p->s.loop, &u->work, look, looked) == 0;
	if (!u->busy)
		free(u->addr);
}
