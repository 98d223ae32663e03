#include <stdlib.h>

#include "core/err.h"
#include "dns_caches.h"
#include "io/clock.h"
#include "policy_state.h"

/* What bindings follow is kept for them. */
static void
let_go(struct policy *p, struct compiled *c)
{
	if (c != p->bound)
		compiled_free(c);
}

/* Returns 0; UK_ENOMEM: all is as before. */
static int
follow(struct policy *p, struct compiled *c)
{
	struct compiled *before = p->bound;
	int err = bindings_follow(p->bindings, c->matcher, c->slots);

	if (err < 0)
		return err;
	p->bound = c;
	if (before != p->now && before != p->next)
		compiled_free(before);
	return 0;
}

static void
reloaded(struct policy *p, int err)
{
	void (*done)(void *arg, int e, const struct diag *d) = p->done;
	struct diag *d = p->d;

	p->done = NULL;
	p->d = NULL;
	let_go(p, p->next);
	p->next = NULL;
	done(p->done_arg, err, d);
	free(d);
}

/* next takes the place of now, which is then what is freed. */
static void
adopt(struct policy *p)
{
	struct ports_left *ports = p->ports_left;
	struct compiled *old = p->now;
	struct dns_policy policy;

	p->now = p->next;
	p->next = old;
	policy = (struct dns_policy){p->now->rules, p->now->matcher};
	if (p->dns != NULL) {
		dns_forward_follow(p->dns, &policy);
		dns_caches_flush();
	}
	p->ports_left = NULL;
	ports_left_close(ports);
	if (policy_open_ports(p, p->d) < 0)
		log_diag(p->d);
	p->loaded_s = clock_now().wall_ns / UK_NS_PER_S;
}

static void
go_back(struct policy *p)
{
	const struct dns_policy policy = {p->now->rules, p->now->matcher};

	/* Without memory names stay with next's rules until another file
	 * holds. */
	(void)follow(p, p->now);
	/* It may have been opened for next. */
	if (p->dns != NULL)
		dns_forward_follow(p->dns, &policy);
	(void)policy_open_programs(p, p->now, NULL);
}

static void
on_put(void *arg, int err, const struct diag *d)
{
	struct policy *p = arg;

	if (err == 0) {
		bindings_told(p->bindings);
		adopt(p);
	} else {
		diag_error(
		    p->d, "%s", d->n > 0 ? d->entry[0].text : uk_strerror(err));
		go_back(p);
	}
	policy_commit_waiting(p);
	reloaded(p, err);
}

static int
put_next(struct policy *p)
{
	struct policy_nft nft;
	int err = policy_open_programs(p, p->next, p->d);

	if (err == 0)
		err = policy_open_dns(p, p->next, p->d);
	if (err == 0 && p->ports == 0 && ports_left_has(p->next->rules))
		err = policy_find_ports(p, p->d);
	if (err == 0)
		err = follow(p, p->next);
	if (err == 0)
		err = policy_gather_known(p);
	if (err < 0)
		return err;
	policy_describe(p, p->next, &nft);
	return policy_kernel_put_later(p->kernel, &nft, on_put, p);
}

static void
load_next(uv_work_t *w)
{
	struct policy *p = w->data;

	p->err = compiled_load(&p->next, p->s.conf->policy, p->now, p->d);
}

static void
give_up(struct policy *p, int err)
{
	if (p->next != NULL)
		go_back(p);
	if (p->d->errors == 0)
		diag_error(p->d, "%s", uk_strerror(err));
	reloaded(p, err);
}

void
policy_reload_goes_on(struct policy *p)
{
	int err;

	if (p->loading || p->next == NULL || policy_kernel_is_busy(p->kernel))
		return;
	err = p->closing ? UK_EBUSY : put_next(p);
	if (err < 0)
		give_up(p, err);
}

static void
loaded_next(uv_work_t *w, int status)
{
	struct policy *p = w->data;

	(void)status; /* nobody cancels it */
	p->loading = false;
	if (p->err == 0)
		policy_reload_goes_on(p);
	else
		give_up(p, p->err);
}

int
policy_reload(struct policy *p,
    void (*done)(void *arg, int err, const struct diag *d), void *arg)
{
	if (p->done != NULL || p->closing)
		return UK_EBUSY;
	p->d = malloc(sizeof(*p->d));
	if (p->d == NULL)
		return UK_ENOMEM;
	diag_init(p->d, p->s.conf->policy);
	p->done = done;
	p->done_arg = arg;
	p->work.data = p;
	if (uv_queue_work(p->s.loop, &p->work, load_next, loaded_next) != 0) {
		free(p->d);
		p->done = NULL;
		return UK_ENOMEM;
	}
	p->loading = true;
	return 0;
}
