/* noise_end: one end of a WireGuard pair without a device, for benchmarks that
 * need many far ends. Nothing is refused here: what cannot go wrong between
 * two ends of the same program is asserted. */
#ifndef UKAI_BENCH_NOISE_END_H
#define UKAI_BENCH_NOISE_END_H

#include "wg/wg_cookie.h"
#include "wg/wg_device.h"
#include "wg/wg_noise.h"

/* What a benchmark of a device begins with; the rest of its state is its own.
 * Sodium is up. */
struct noise_bench {
	struct uk_time now;
	struct blake2s *b;
	struct wg_rx *rx;
	struct wg_identity hub; /* the device that is measured */
	struct endpoint at; /* of all far ends */
};

void noise_bench_init(struct noise_bench *t);
void noise_bench_fini(struct noise_bench *t);

struct noise_end {
	struct wg_identity us;
	struct wg_remote them;
	struct wg_cookie_checker checker; /* of messages to us */
	struct wg_cookie_keys theirs;
	struct wg_cookie_maker maker;
	struct wg_handshake hs;
	struct wg_session_keys keys;
	uint8_t stamp[WG_STAMP_LEN];
};

/* A message of a handshake, or the keepalive that confirms it. */
struct noise_message {
	uint8_t b[sizeof(struct wg_initiation)];
	size_t len; /* 0: none */
};

void noise_key_draw(struct wg_key *k);
void noise_identity_draw(struct wg_identity *us);
/* Each knows the other from now on, with a psk of their own. */
void noise_end_pair(struct blake2s *b, struct noise_end *x,
    const struct wg_identity *x_is, struct noise_end *y,
    const struct wg_identity *y_is);

/* Make an initiation; wall_ns: for its stamp. */
void noise_end_call(struct blake2s *b, struct noise_end *e, uint64_t wall_ns,
    struct noise_message *m);
/* Turn an initiation into its response. */
void noise_end_answer(
    struct blake2s *b, struct noise_end *e, struct noise_message *m);
/* Take the response: e->keys are the session's. */
void noise_end_finish(
    struct blake2s *b, struct noise_end *e, const struct noise_message *m);

#endif
