#include <setjmp.h>
#include <stdarg.h>
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

/* Closing inside the callback is allowed, and no other call comes. */
static void
on_due_close(void *arg)
{
	struct seen *s = arg;

	s->readable++;
	watch_close(s->w);
	s->w = NULL;
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

int
main(void)
{
#define WITH_LOOP(t) cmocka_unit_test_setup_teardown(t, open_seen, close_seen)
	const struct CMUnitTest tests[] = {
	    WITH_LOOP(test_readable),
	    WITH_LOOP(test_writable),
	    WITH_LOOP(test_not_a_descriptor),
	    WITH_LOOP(test_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
