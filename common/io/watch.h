/* watch: libuv's poll, timer and async handles with a life that is easy to end:
 * after watch_close() the callback is not called again and the owner may free
 * whatever it points to at once; the handle's own memory goes with the loop's
 * next turn. */
#ifndef UKAI_WATCH_H
#define UKAI_WATCH_H

#include <uv.h>

#include "core/base.h"

struct watch;
typedef void watch_fn(void *arg);

/* Watch a descriptor; nothing until watch_wait(). NULL: no memory, or not a
 * descriptor that can be polled. */
struct watch *watch_fd(uv_loop_t *loop, int fd, watch_fn *readable,
    watch_fn *writable, void *arg);
/* What to wait for; both false: nothing. */
void watch_wait(struct watch *w, bool readable, bool writable);

/* A timer, not running. NULL: no memory. */
struct watch *watch_timer(uv_loop_t *loop, watch_fn *due, void *arg);
/* Once, after_ns from now, rounded up to a millisecond and never less: other
 * events have their turn before, also when the callback sets it again (libuv
 * runs a timer of 0 ms over and over). UK_NEVER: stop. */
void watch_after(struct watch *w, uint64_t after_ns);

/* A call from any thread to the loop's. NULL: no memory. */
struct watch *watch_call(uv_loop_t *loop, watch_fn *called, void *arg);
/* Have it called soon, after other events had their turn; once for several
 * raises that come before. The only function here that other threads may
 * use. */
void watch_raise(struct watch *w);

void watch_close(struct watch *w); /* NULL: no-op */

#endif
