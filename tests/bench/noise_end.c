#include "noise_end.h"

#include <sodium.h>

#include "core/x25519.h"
#include "wg/wg_stamp.h"

static const uint8_t caller_index[4] = {1}, answerer_index[4] = {2};

void
noise_key_draw(struct wg_key *k)
{
	randombytes_buf(k->b, sizeof(k->b));
	x25519_clamp(k->b);
}

void
noise_identity_draw(struct wg_identity *us)
{
	noise_key_draw(&us->private_key);
	x25519_base(us->public_key.b, us->private_key.b);
}

void
noise_bench_init(struct noise_bench *t)
{
	*t = (struct noise_bench){
	    .now = {.mono_ns = 1000 * UK_NS_PER_S,
		.wall_ns = 1790000000 * UK_NS_PER_S},
	    .b = blake2s_new(),
	    .rx = wg_rx_new(),
	    .at = {.addr = {.family = FAMILY_V4, .b = {192, 0, 2, 1}},
		.port = 51820},
	};
	UK_ASSERT(t->b && t->rx);
	noise_identity_draw(&t->hub);
}

void
noise_bench_fini(struct noise_bench *t)
{
	wg_rx_free(t->rx);
	blake2s_free(t->b);
}

static void
introduce(struct blake2s *b, struct noise_end *e, const struct wg_identity *us,
    const struct wg_key *them, const struct wg_key *psk)
{
	*e = (struct noise_end){
	    .us = *us, .them = {.public_key = *them, .psk = *psk}};
	UK_ASSERT(
	    x25519(e->them.static_static.b, us->private_key.b, them->b) == 0);
	wg_cookie_keys(b, &e->theirs, them);
	wg_cookie_keys(b, &e->checker.keys, &us->public_key);
}

void
noise_end_pair(struct blake2s *b, struct noise_end *x,
    const struct wg_identity *x_is, struct noise_end *y,
    const struct wg_identity *y_is)
{
	struct wg_key psk;

	randombytes_buf(psk.b, sizeof(psk.b));
	introduce(b, x, x_is, &y_is->public_key, &psk);
	introduce(b, y, y_is, &x_is->public_key, &psk);
}

void
noise_end_call(struct blake2s *b, struct noise_end *e, uint64_t wall_ns,
    struct noise_message *m)
{
	struct wg_key ephemeral;

	noise_key_draw(&ephemeral);
	wg_stamp_next(e->stamp, wall_ns);
	UK_ASSERT(wg_noise_initiate(b, &e->hs, (void *)m->b, &e->us, &e->them,
		      &ephemeral, e->stamp, caller_index) == 0);
	m->len = sizeof(struct wg_initiation);
	wg_cookie_sign(b, &e->maker, &e->theirs, 0, m->b, m->len);
}

void
noise_end_answer(
    struct blake2s *b, struct noise_end *e, struct noise_message *m)
{
	struct wg_initiation msg;
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_key ephemeral;
	struct wg_draft draft;

	UK_ASSERT(m->len == sizeof(msg));
	memcpy(&msg, m->b, sizeof(msg));
	UK_ASSERT(wg_cookie_check_mac1(b, &e->checker, m->b, m->len));
	UK_ASSERT(wg_noise_open_caller(b, &draft, &msg, &e->us) == 0);
	UK_ASSERT(wg_noise_open_stamp(b, &draft, stamp, &msg, &e->them) == 0);
	noise_key_draw(&ephemeral);
	UK_ASSERT(wg_noise_respond(b, &e->keys, (void *)m->b, &draft, &e->them,
		      &ephemeral, answerer_index, msg.sender) == 0);
	m->len = sizeof(struct wg_response);
	wg_cookie_sign(b, &e->maker, &e->theirs, 0, m->b, m->len);
}

void
noise_end_finish(
    struct blake2s *b, struct noise_end *e, const struct noise_message *m)
{
	UK_ASSERT(m->len == sizeof(struct wg_response));
	UK_ASSERT(wg_cookie_check_mac1(b, &e->checker, m->b, m->len));
	UK_ASSERT(wg_noise_finish(b, &e->keys, (const void *)m->b, &e->hs,
		      &e->us, &e->them) == 0);
}
