#include "adversary.h"
#include "wg_now.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/x25519.h"

/* The target calls again after 5.3 s. */
#define CALL_WAIT_MS 7000

/* A call of the target, and what is needed to answer it as peer b. */
struct called {
	struct foe *f;
	struct foe_socket at;
	struct wg_cookie_checker checker;
	struct wg_initiation msg;
	struct wg_draft draft;
	uint8_t stamp[WG_STAMP_LEN];
};

static struct called
listen_at(struct foe *f, const struct sockaddr_storage *at, socklen_t len)
{
	struct called c = {.f = f, .at = foe_open(f, at, len)};

	wg_cookie_keys(f->b2s, &c.checker.keys, &f->b.id.public_key);
	/* Its calls are longer than any answer of ours. */
	c.at.longest = FOE_DATAGRAM_MAX;
	puts("ready");
	fflush(stdout);
	return c;
}

/* The next call within ms; false: none, or not as it should be. */
static bool
wait_for_call(struct called *c, unsigned ms)
{
	uint64_t end = foe_now_ns() + ms * UK_NS_PER_MS;
	uint8_t msg[FOE_DATAGRAM_MAX];
	struct foe *f = c->f;

	while (foe_now_ns() < end) {
		size_t n = foe_receive(&c->at, msg, 100);

		if (wg_msg_classify(msg, n) != WG_MSG_INITIATION)
			continue;
		memcpy(&c->msg, msg, sizeof(c->msg));
		return wg_cookie_check_mac1(f->b2s, &c->checker, msg, n) &&
		       wg_noise_open_caller(
			   f->b2s, &c->draft, &c->msg, &f->b.id) == 0 &&
		       memcmp(&c->draft.caller, &f->target_key, WG_KEY_LEN) ==
			   0 &&
		       wg_noise_open_stamp(f->b2s, &c->draft, c->stamp, &c->msg,
			   &f->b.remote) == 0;
	}
	return false;
}

static void
sign(struct called *c, struct wg_response *r)
{
	struct wg_cookie_maker m = {.awaits_reply = false};

	wg_cookie_sign(c->f->b2s, &m, &c->f->target_macs, foe_now_ns(),
	    (uint8_t *)r, sizeof(*r));
}

/* A good answer, with keys of its own each time. */
static struct foe_session
make_answer(struct called *c, struct wg_response *r, const struct wg_key *psk)
{
	struct wg_remote remote = c->f->b.remote;
	struct wg_draft draft = c->draft;
	struct foe_session s = {.counter = 0};
	struct wg_session_keys keys;
	struct wg_key ephemeral;

	if (psk)
		remote.psk = *psk;
	randombytes_buf(s.index, sizeof(s.index));
	randombytes_buf(ephemeral.b, sizeof(ephemeral.b));
	x25519_clamp(ephemeral.b);
	if (wg_noise_respond(c->f->b2s, &keys, r, &draft, &remote, &ephemeral,
		s.index, c->msg.sender) != 0)
		exit(1);
	sign(c, r);
	s.keys = wg_session_new(&keys, c->msg.sender, false, foe_now_ns());
	return s;
}

/* Answers that are almost right, before the right one. */
static bool
silent_to_bad_answers(struct called *c)
{
	struct wg_key psk = {{1}};
	struct wg_response good, r;
	struct foe_session s = make_answer(c, &good, NULL);

	foe_end(&s);
	for (size_t i = 0; i < sizeof(good); i++) {
		foe_send(&c->at, &good, i);
		r = good;
		((uint8_t *)&r)[i] ^= 0x10;
		if (i >= 8 && i < 60)
			sign(c, &r);
		if (i < 4 || i >= 8)
			foe_send(&c->at, &r, i < 76 ? sizeof(r) : i);
		if (i % 16 == 15)
			foe_sleep_ms(5);
	}
	s = make_answer(c, &r, &psk);
	foe_end(&s);
	foe_send(&c->at, &r, sizeof(r));
	return foe_silent(&c->at);
}

/* The counter of the next data message within ms; UINT64_MAX: none, or one
 * that does not open. */
static uint64_t
next_counter(struct called *c, struct foe_session *s, unsigned ms)
{
	uint8_t msg[FOE_DATAGRAM_MAX];
	size_t n = foe_receive(&c->at, msg, ms);
	struct pbuf p = pbuf_make(msg, sizeof(msg), 0, n);
	uint64_t counter;

	if (wg_msg_classify(msg, n) != WG_MSG_DATA ||
	    memcmp(((struct wg_data_header *)(void *)msg)->receiver, s->index,
		sizeof(s->index)) != 0 ||
	    wg_open_now(s->keys, &p, &counter) != 0)
		return UINT64_MAX;
	return counter;
}

/* After its copies and another one to the same call the session goes on where
 * it was: no key is used twice (P3). */
static bool
consumed_once(
    struct called *c, struct foe_session *s, const struct wg_response *good)
{
	struct wg_response other;
	struct foe_session unused = make_answer(c, &other, NULL);
	uint64_t last = 0;

	foe_end(&unused);
	for (int i = 0; i < 5; i++)
		foe_send(&c->at, good, sizeof(*good));
	foe_send(&c->at, &other, sizeof(other));
	for (int i = 0; i < 2; i++) {
		/* Its persistent keepalive, every second. */
		uint64_t n = next_counter(c, s, 1500);

		if (n != last + 1)
			return false;
		last = n;
	}
	return true;
}

void
foe_check_answers(
    struct foe *f, const struct sockaddr_storage *at, socklen_t len)
{
	struct called c = listen_at(f, at, len);
	bool called = wait_for_call(&c, CALL_WAIT_MS);
	struct wg_response good;
	struct foe_session s;

	foe_result(f, "the target calls", called);
	if (!called)
		return;
	foe_result(f, "15 answers cut or changed anywhere, wrong key: silence",
	    silent_to_bad_answers(&c));
	s = make_answer(&c, &good, NULL);
	foe_send(&c.at, &good, sizeof(good));
	foe_result(f, "a right answer is confirmed, counting from 0",
	    next_counter(&c, &s, FOE_PATIENCE_MS) == 0);
	foe_result(
	    f, "an answer is consumed once (P3)", consumed_once(&c, &s, &good));
	foe_end(&s);
	foe_close(&c.at);
}

/* Cookies that are not for this call, or not by this peer. */
static void
send_bad_cookies(struct called *c, const struct endpoint *who)
{
	struct wg_cookie_checker stranger = {.secret_until_ns = 0};
	struct wg_initiation wrong = c->msg;
	uint8_t random[WG_COOKIE_RANDOM];
	struct wg_cookie_reply r;

	randombytes_buf(random, sizeof(random));
	wg_cookie_keys(c->f->b2s, &stranger.keys, &c->f->a.id.public_key);
	wg_cookie_reply(c->f->b2s, &stranger, foe_now_ns(), who,
	    (const uint8_t *)&wrong, sizeof(wrong), random, &r);
	foe_send(&c->at, &r, sizeof(r));
	wrong.mac1[0] ^= 1;
	wg_cookie_reply(c->f->b2s, &c->checker, foe_now_ns(), who,
	    (const uint8_t *)&wrong, sizeof(wrong), random, &r);
	foe_send(&c->at, &r, sizeof(r));
	wrong = c->msg;
	wrong.sender[0] ^= 1;
	wg_cookie_reply(c->f->b2s, &c->checker, foe_now_ns(), who,
	    (const uint8_t *)&wrong, sizeof(wrong), random, &r);
	foe_send(&c->at, &r, sizeof(r));
	c->checker.secret_until_ns = 0; /* the good one comes from another */
}

void
foe_check_cookie_use(
    struct foe *f, const struct sockaddr_storage *at, socklen_t len)
{
	struct called c = listen_at(f, at, len);
	/* Whose cookie it is matters to us alone. */
	const struct endpoint who = {.addr.family = FAMILY_V4, .port = 1};
	bool called = wait_for_call(&c, CALL_WAIT_MS);
	uint8_t random[WG_COOKIE_RANDOM], before[WG_STAMP_LEN];
	struct wg_cookie_reply r;

	foe_result(f, "the target calls, without a cookie",
	    called && sodium_is_zero(c.msg.mac2, sizeof(c.msg.mac2)));
	if (!called)
		return;
	send_bad_cookies(&c, &who);
	randombytes_buf(random, sizeof(random));
	wg_cookie_reply(f->b2s, &c.checker, foe_now_ns(), &who,
	    (const uint8_t *)&c.msg, sizeof(c.msg), random, &r);
	foe_send(&c.at, &r, sizeof(r));
	memcpy(before, c.stamp, sizeof(before));
	foe_result(f, "a cookie is not answered at once", foe_silent(&c.at));
	called = wait_for_call(&c, CALL_WAIT_MS);
	foe_result(f, "the next call has a greater stamp",
	    called && memcmp(c.stamp, before, sizeof(before)) > 0);
	foe_result(f, "and the cookie, not one of the false ones",
	    called && wg_cookie_check_mac2(f->b2s, &c.checker, foe_now_ns(),
			  &who, (const uint8_t *)&c.msg, sizeof(c.msg)));
	foe_close(&c.at);
}
