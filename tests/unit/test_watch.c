#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/watch.h"

struct seen {
	uv_loop_t loop;
	struct watch *w;
	int fd[2];
	unsigned readable, writable;
	atomic_uint done; /* threads */
	bool saw_all; /* of them */
};

static void
on_readable(void *arg)
{
	struct seen *s = arg;
	char c;

	s->readable++;
	assert_int_equal(read(s->fd[0], &c, 1), 1);
}

static void
on_writable(void *arg)
{
	struct seen *s = arg;

	s->writable++;
	watch_wait(s->w, false, false);
}

static void
close_watch(struct seen *s)
{
	watch_close(s->w);
	s->w = NULL;
}

/* Closing inside the callback is allowed, and no other call comes. */
static void
on_due_close(void *arg)
{
	struct seen *s = arg;

	s->readable++;
	close_watch(s);
}

static int
open_seen(void **state)
{
	static struct seen s;

	s = (struct seen){.w = NULL};
	*state = &s;
	return uv_loop_init(&s.loop) != 0 || pipe(s.fd) != 0;
}

static int
close_seen(void **state)
{
	struct seen *s = *state;

	watch_close(s->w);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	close(s->fd[0]);
	close(s->fd[1]);
	return uv_loop_close(&s->loop);
}

static void
test_readable(void **state)
{
	struct seen *s = *state;

	s->w = watch_fd(&s->loop, s->fd[0], on_readable, NULL, s);
	assert_non_null(s->w);
	assert_int_equal(write(s->fd[1], "ab", 2), 2);
	uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->readable, 0); /* nothing was waited for */
	watch_wait(s->w, true, false);
	uv_run(&s->loop, UV_RUN_ONCE);
	assert_int_equal(s->readable, 1);
	watch_wait(s->w, false, false);
	uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->readable, 1);
}

static void
test_writable(void **state)
{
	struct seen *s = *state;

	s->w = watch_fd(&s->loop, s->fd[1], on_readable, on_writable, s);
	watch_wait(s->w, false, true);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(s->writable, 1);
	assert_int_equal(s->readable, 0);
}

static void
test_not_a_descriptor(void **state)
{
	struct seen *s = *state;

	assert_null(watch_fd(&s->loop, -1, on_readable, NULL, s));
}

static void
test_timer(void **state)
{
	struct seen *s = *state;

	s->w = watch_timer(&s->loop, on_due_close, s);
	uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->readable, 0);
	watch_after(s->w, UK_NS_PER_S);
	watch_after(s->w, UK_NEVER);
	uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->readable, 0);
	watch_after(s->w, 1); /* rounded up to a millisecond */
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(s->readable, 1);
}

static void
test_timer_waits(void **state)
{
	struct seen *s = *state;
	uint64_t from = uv_now(&s->loop);

	s->w = watch_timer(&s->loop, on_due_close, s);
	watch_after(s->w, 20 * UK_NS_PER_MS);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(s->readable, 1);
	assert_true(uv_now(&s->loop) - from >= 20);
}

static void
on_call(void *arg)
{
	struct seen *s = arg;

	s->readable++;
}

/* Raises again until it was called five times, and then closes. */
static void
on_call_again(void *arg)
{
	struct seen *s = arg;

	if (++s->readable < 5)
		watch_raise(s->w);
	else
		close_watch(s);
}

/* Not before it is raised; once for several raises; again for a later one. */
static void
test_call(void **state)
{
	struct seen *s = *state;

	s->w = watch_call(&s->loop, on_call, s);
	assert_non_null(s->w);
	uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->readable, 0);
	for (unsigned i = 0; i < 100; i++)
		watch_raise(s->w);
	assert_int_equal(s->readable, 0); /* not from inside the raise */
	uv_run(&s->loop, UV_RUN_ONCE);
	uv_run(&s->loop, UV_RUN_NOWAIT);
	assert_int_equal(s->readable, 1);
	watch_raise(s->w);
	uv_run(&s->loop, UV_RUN_ONCE);
	assert_int_equal(s->readable, 2);
}

/* A raise from inside the call is another call, after other events had their
 * turn. */
static void
test_call_raises(void **state)
{
	struct seen *s = *state;

	s->w = watch_call(&s->loop, on_call_again, s);
	watch_raise(s->w);
	uv_run(&s->loop, UV_RUN_ONCE);
	assert_int_equal(s->readable, 1);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(s->readable, 5);
}

/* Closed with a raise on its way: nothing is called any more. */
static void
test_call_closed(void **state)
{
	struct seen *s = *state;

	s->w = watch_call(&s->loop, on_call, s);
	watch_raise(s->w);
	close_watch(s);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(s->readable, 0);
}

static void
raise_from_thread(void *arg)
{
	struct seen *s = arg;

	for (unsigned i = 0; i < 1000; i++)
		watch_raise(s->w);
	atomic_fetch_add(&s->done, 1);
	watch_raise(s->w);
}

static void
on_call_from_threads(void *arg)
{
	struct seen *s = arg;

	s->readable++;
	s->saw_all = atomic_load(&s->done) == 3;
}

/* From three threads at once; what a thread wrote before its raise is seen by
 * the call, and the last raise is not lost. */
static void
test_call_from_threads(void **state)
{
	struct seen *s = *state;
	uv_thread_t thread[3];

	s->w = watch_call(&s->loop, on_call_from_threads, s);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    uv_thread_create(&thread[i], raise_from_thread, s), 0);
	while (!s->saw_all)
		uv_run(&s->loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < 3; i++)
		uv_thread_join(&thread[i]);
	assert_true(s->readable <= 3003);
}

int
main(void)
{
#define WITH_LOOP(t) cmocka_unit_test_setup_teardown(t, open_seen, close_seen)
	const struct CMUnitTest tests[] = {
	    WITH_LOOP(test_readable),
	    WITH_LOOP(test_writable),
	    WITH_LOOP(test_not_a_descriptor),
	    WITH_LOOP(test_timer),
	    WITH_LOOP(test_timer_waits),
	    WITH_LOOP(test_call),
	    WITH_LOOP(test_call_raises),
	    WITH_LOOP(test_call_closed),
	    WITH_LOOP(test_call_from_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
