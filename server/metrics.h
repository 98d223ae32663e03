/* metrics: an HTTP server for Prometheus, on one address of this host: GET and
 * HEAD of /metrics. libmicrohttpd on our loop's thread, no thread of its own;
 * only the text is made of the status by one of libuv's worker threads.
 *
 * At most METRICS_CONNECTIONS_MAX connections are served at a time, each for
 * one request and METRICS_TIME in all; others wait in the listening socket's
 * queue. The status is asked for at most once a second, however often it is
 * fetched: any user of this host may fetch it. */
#ifndef UKAI_SERVER_METRICS_H
#define UKAI_SERVER_METRICS_H

#include <jansson.h>
#include <uv.h>

#include "core/base.h"
#include "core/diag.h"
#include "core/endpoint.h"

#define METRICS_CONNECTIONS_MAX 16
#define METRICS_TIME (10 * UK_NS_PER_S)
#define METRICS_EVERY (1 * UK_NS_PER_S)

struct metrics;

struct metrics_conf {
	struct endpoint listen;
	struct ip_addr tunnel; /* the relay's address inside the tunnel */
	/* A status (status.h), all of it new: a thread reads it, and lets go
	 * of it. NULL: out of memory. */
	json_t *(*status)(void *arg);
	void *arg;
	uint64_t time_ns; /* of a connection; 0: METRICS_TIME */
};

/* It tells who is connected when and from where, to whoever asks: only on
 * loopback and on the relay's own tunnel address may it. Returns 0; UK_EINVAL
 * with a sentence in d that says where instead. Pure. */
int metrics_check(const struct endpoint *listen, const struct ip_addr *tunnel,
    struct diag *d);

/* The address must be there already. Returns 0; as metrics_check(); UK_EBUSY,
 * UK_EPERM, UK_ESYS (no such address), UK_ENOMEM, with a sentence in d. */
int metrics_open(struct metrics **m, uv_loop_t *loop,
    const struct metrics_conf *c, struct diag *d);
/* Connections are closed. NULL: no-op. */
void metrics_close(struct metrics *m);

#endif
