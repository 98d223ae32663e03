#include <stdlib.h>

#include "core/err.h"
#include "dns_caches.h"
#include "io/clock.h"
#include "policy_state.h"

static void
reloaded(struct policy *p, int err)
{
	void (*done)(void *arg, int e, const struct diag *d) = p->done;
	struct diag *d = p->d;

	p->done = NULL;
	p->d = NULL;
	compiled_free(p->next);
	p->next = NULL;
	done(p->done_arg, err, d);
	free(d);
}

/* next takes the place of now, which is then what is freed. */
static void
adopt(struct policy *p)
{
	struct compiled *old = p->now;
	struct dns_policy policy;

	p->now = p->next;
	p->next = old;
	policy = (struct dns_policy){p->now->rules, p->now->matcher};
	if (p->dns != NULL) {
		dns_forward_follow(p->dns, &policy);
		dns_caches_flush();
	}
	ports_left_close(p->ports_left);
	p->ports_left = NULL;
	if (policy_open_ports(p, p->d) < 0)
		log_diag(p->d);
	p->loaded_s = clock_now().wall_ns / UK_NS_PER_S;
}

static void
go_back(struct policy *p)
{
	const struct dns_policy policy = {p->now->rules, p->now->matcher};

	/* Without memory names stay with next's rules, which then have to. */
	if (bindings_follow(p->bindings, p->now->matcher, p->now->slots) < 0)
		p->next = NULL;
	/* It may have been opened for next. */
	if (p->dns != NULL)
		dns_forward_follow(p->dns, &policy);
	(void)policy_open_programs(p, p->now, NULL);
}

static void
on_put(void *arg, int err, const struct diag *d)
{
	struct policy *p = arg;

	p->putting = false;
	if (err == 0) {
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
		err = bindings_follow(
		    p->bindings, p->next->matcher, p->next->slots);
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
loaded_next(uv_work_t *w, int status)
{
	struct policy *p = w->data;

	(void)status; /* nobody cancels it */
	p->loading = false;
	if (p->err == 0 && (p->putting || p->closing))
		p->err = UK_EBUSY;
	if (p->err == 0)
		p->err = put_next(p);
	p->putting |= p->err == 0;
	if (p->err == 0)
		return;
	if (p->next != NULL)
		go_back(p);
	if (p->d->errors == 0)
		diag_error(p->d, "%s", uk_strerror(p->err));
	reloaded(p, p->err);
}

int
policy_reload(struct policy *p,
    void (*done)(void *arg, int err, const struct diag *d), void *arg)
{
	if (p->done != NULL || p->putting || p->closing)
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
