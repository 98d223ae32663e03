#include "watch.h"

#include <stdlib.h>

struct watch {
	union {
		uv_handle_t any;
		uv_poll_t poll;
		uv_timer_t timer;
		uv_async_t async;
	} h;
	watch_fn *readable; /* or: the timer is due, or somebody called */
	watch_fn *writable;
	void *arg;
	int events;
	bool closed;
};

/* libuv stops a handle whose descriptor is in error. Whoever reads takes the
 * error off it, and wants to hear of what comes after. */
static void
resume(struct watch *w)
{
	int events = w->events;

	w->events = 0;
	watch_wait(w, events & UV_READABLE, events & UV_WRITABLE);
}

static void
on_poll(uv_poll_t *h, int status, int events)
{
	struct watch *w = h->data;

	if (status < 0) {
		resume(w);
		events = UV_READABLE;
	}
	if ((events & UV_WRITABLE) && w->writable)
		w->writable(w->arg);
	if ((events & UV_READABLE) && !w->closed)
		w->readable(w->arg);
}

static struct watch *
watch_new(watch_fn *readable, watch_fn *writable, void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->readable = readable;
	w->writable = writable;
	w->arg = arg;
	return w;
}

struct watch *
watch_fd(
    uv_loop_t *loop, int fd, watch_fn *readable, watch_fn *writable, void *arg)
{
	struct watch *w = watch_new(readable, writable, arg);

	if (w && uv_poll_init(loop, &w->h.poll, fd) != 0) {
		free(w);
		return NULL;
	}
	if (w)
		w->h.any.data = w;
	return w;
}

void
watch_wait(struct watch *w, bool readable, bool writable)
{
	int events =
	    (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);

	if (events == w->events)
		return;
	w->events = events;
	if (events)
		uv_poll_start(&w->h.poll, events, on_poll);
	else
		uv_poll_stop(&w->h.poll);
}

static void
on_timer(uv_timer_t *h)
{
	struct watch *w = h->data;

	w->readable(w->arg);
}

struct watch *
watch_timer(uv_loop_t *loop, watch_fn *due, void *arg)
{
	struct watch *w = watch_new(due, NULL, arg);

	if (!w)
		return NULL;
	uv_timer_init(loop, &w->h.timer);
	w->h.any.data = w;
	return w;
}

void
watch_after(struct watch *w, uint64_t after_ns)
{
	uint64_t ms;

	if (after_ns == UK_NEVER) {
		uv_timer_stop(&w->h.timer);
		return;
	}
	ms = after_ns / UK_NS_PER_MS + (after_ns % UK_NS_PER_MS != 0);
	if (ms == 0)
		ms = 1;
	uv_timer_start(&w->h.timer, on_timer, ms, 0);
}

static void
on_async(uv_async_t *h)
{
	struct watch *w = h->data;

	w->readable(w->arg);
}

struct watch *
watch_call(uv_loop_t *loop, watch_fn *called, void *arg)
{
	struct watch *w = watch_new(called, NULL, arg);

	if (w && uv_async_init(loop, &w->h.async, on_async) != 0) {
		free(w);
		return NULL;
	}
	if (w)
		w->h.any.data = w;
	return w;
}

void
watch_raise(struct watch *w)
{
	uv_async_send(&w->h.async);
}

static void
on_closed(uv_handle_t *h)
{
	free(h->data);
}

void
watch_close(struct watch *w)
{
	if (!w)
		return;
	w->closed = true;
	uv_close(&w->h.any, on_closed);
}
