#include "adversary.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* More at once than any implementation takes for normal. */
#define BURST 300
/* What waits for a target that is held: as many as any socket has room for. */
#define HELD_BURST 200
#define BURSTS 100
#define COOKIE_TRIES 20
#define COOKIE_WAIT_MS 1000
/* After this without a flood nobody is under load any more. */
#define RELIEF_MS 1300
/* Calls from one address with cookies, one every 21 ms, from as many ports. A
 * limit by address lets 5 and 20 a second pass: 18; one by port, all. */
#define CALLERS 30
#define CALLER_PAUSE_MS 21
#define LIMIT_BURST 5
#define LIMIT_PER_S 20

/* Calls that only mac1 is right of. */
static void
burst(struct foe_socket *s, unsigned n)
{
	struct foe_call c = {.cookie.awaits_reply = false};

	for (unsigned i = 0; i < n; i++) {
		randombytes_buf(&c.msg, sizeof(c.msg));
		wg_msg_set_type(c.msg.type, WG_MSG_INITIATION);
		foe_sign_call(s->foe, &c);
		foe_send(s, &c.msg, sizeof(c.msg));
	}
}

/* What a flood brings back. */
struct tally {
	unsigned sent, cookies, others;
};

static void
count_replies(struct foe_socket *s, struct tally *t)
{
	uint8_t msg[FOE_DATAGRAM_MAX];
	size_t n;

	while ((n = foe_receive(s, msg, 0)) > 0)
		if (wg_msg_classify(msg, n) == WG_MSG_COOKIE)
			t->cookies++;
		else
			t->others++;
}

static void
check_flood(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct tally t = {0};

	for (int i = 0; i < BURSTS; i++) {
		burst(&s, BURST);
		t.sent += BURST;
		foe_sleep_ms(1);
		count_replies(&s, &t);
	}
	foe_sleep_ms(FOE_PATIENCE_MS);
	count_replies(&s, &t);
	printf("  # %u calls, %u cookies\n", t.sent, t.cookies);
	foe_result(f, "30 a flood is answered by cookies, if at all (A1)",
	    t.cookies > 0 && t.cookies <= t.sent && t.others == 0);
	foe_close(&s);
}

void
foe_check_load(struct foe *f)
{
	struct foe_socket at = foe_open(f, NULL, 0), s = foe_open(f, NULL, 0);
	struct foe_session session;
	unsigned pongs = 0;

	if (!foe_connect(&at, &session, &f->a))
		exit(1);
	for (int i = 0; i < BURSTS; i++) {
		burst(&s, BURST);
		pongs += foe_echo(&at, &session, &f->a);
		foe_drain(&s);
	}
	printf("  # %u of %u pings\n", pongs, BURSTS);
	foe_result(
	    f, "30 a session works during the flood", pongs * 10 >= BURSTS * 9);
	foe_end(&session);
	foe_close(&s);
	foe_close(&at);
}

enum reply { NOTHING, COOKIE, RESPONSE, IMPOSSIBLE };

/* Has the kernel stopped it? */
static bool
stopped(pid_t pid)
{
	char path[40], state = 'T';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	f = fopen(path, "r");
	if (f == NULL)
		return true;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 'T';
	fclose(f);
	return state == 'T';
}

/* A flood, and a call behind it. The target gets both at once if it can be held
 * meanwhile: else a busy machine lets it answer one by one. */
static void
send_in_flood(
    struct foe_socket *flood, struct foe_socket *at, struct foe_call *c)
{
	pid_t held = at->foe->held;

	if (held > 0 && kill(held, SIGSTOP) == 0)
		while (!stopped(held))
			foe_sleep_ms(1);
	burst(flood, held > 0 ? HELD_BURST : BURST);
	foe_next_stamp(at->foe);
	foe_make_call(at->foe, c, &at->foe->a);
	foe_send(at, &c->msg, sizeof(c->msg));
	if (held > 0)
		kill(held, SIGCONT);
}

/* One call under load, with the cookie that c has, if any. */
static enum reply
call_under_load(
    struct foe_socket *flood, struct foe_socket *at, struct foe_call *c)
{
	struct foe *f = at->foe;
	uint8_t msg[FOE_DATAGRAM_MAX];
	struct foe_session session;
	size_t n;

	send_in_flood(flood, at, c);
	while ((n = foe_receive(at, msg, COOKIE_WAIT_MS)) > 0) {
		if (foe_finish_call(f, &session, c, &f->a, msg, n)) {
			foe_end(&session);
			return RESPONSE;
		}
		if (wg_msg_classify(msg, n) != WG_MSG_COOKIE)
			continue;
		(void)wg_cookie_take(&c->cookie, &f->target_macs, foe_now_ns(),
		    (const void *)msg);
		return COOKIE;
	}
	return NOTHING;
}

/* Is this what the target answers, sooner or later? It may lose some. */
static bool
reply_is(struct foe_socket *flood, struct foe_socket *at, struct foe_call *c,
    enum reply wanted, enum reply never)
{
	for (int i = 0; i < COOKIE_TRIES; i++) {
		enum reply r = call_under_load(flood, at, c);

		foe_drain(flood);
		if (r == wanted || r == never)
			return r == wanted;
		foe_sleep_ms(FOE_CALL_PAUSE_MS);
	}
	return false;
}

static void
check_cookie(struct foe *f, struct foe_socket *flood)
{
	struct foe_socket at = foe_open(f, NULL, 0),
			  other = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	struct foe_call moved;

	foe_result(f, "30 under load a call is asked for a cookie",
	    reply_is(flood, &at, &c, COOKIE, RESPONSE));
	moved = c;
	foe_result(f, "30 with the cookie it is answered",
	    reply_is(flood, &at, &c, RESPONSE, IMPOSSIBLE));
	moved.cookie.cookie[0] ^= 1;
	foe_result(f, "30 with a wrong cookie it is not",
	    reply_is(flood, &at, &moved, COOKIE, RESPONSE));
	moved = c;
	foe_result(f, "30 with the cookie of another port it is not",
	    reply_is(flood, &other, &moved, COOKIE, RESPONSE));
	foe_close(&at);
	foe_close(&other);
}

struct crowd {
	unsigned asked; /* for a cookie */
	unsigned answered;
	unsigned allowed; /* by the limit, in the time that it took */
};

static void
call_as_crowd(struct foe *f, struct foe_socket *flood, struct crowd *w)
{
	struct foe_socket at[CALLERS];
	struct foe_call c[CALLERS];
	uint64_t began;

	*w = (struct crowd){.asked = 0};
	for (unsigned i = 0; i < CALLERS; i++) {
		at[i] = foe_open(f, NULL, 0);
		c[i] = (struct foe_call){.cookie.awaits_reply = false};
		w->asked += reply_is(flood, &at[i], &c[i], COOKIE, RESPONSE);
	}
	began = foe_now_ns();
	for (unsigned i = 0; i < CALLERS; i++) {
		if (i % 10 == 0)
			burst(flood, BURST);
		foe_next_stamp(f);
		foe_make_call(f, &c[i], &f->a);
		foe_send(&at[i], &c[i].msg, sizeof(c[i].msg));
		foe_sleep_ms(CALLER_PAUSE_MS);
	}
	w->allowed =
	    LIMIT_BURST + 1 +
	    (unsigned)((foe_now_ns() - began) * LIMIT_PER_S / UK_NS_PER_S);
	foe_sleep_ms(FOE_SILENCE_MS);
	for (unsigned i = 0; i < CALLERS; i++) {
		w->answered += foe_drain(&at[i]) > 0;
		foe_close(&at[i]);
	}
}

/* Many ports of one address are one source (A3). On a machine so busy that the
 * limit lets all of them pass, nothing is shown: then again. */
static void
check_limit(struct foe *f, struct foe_socket *flood)
{
	struct crowd w;

	for (unsigned i = 0; i < 5; i++) {
		call_as_crowd(f, flood, &w);
		if (w.asked == CALLERS && w.allowed < CALLERS)
			break;
	}
	printf("  # %u of %u callers answered, %u are allowed\n", w.answered,
	    CALLERS, w.allowed);
	foe_result(f, "30 calls are limited by address, not by port (A3)",
	    w.asked == CALLERS && w.answered > 0 && w.allowed < CALLERS &&
		w.answered <= w.allowed);
}

void
foe_check_flood(struct foe *f)
{
	struct foe_socket flood = foe_open(f, NULL, 0);
	struct foe_socket at = foe_open(f, NULL, 0);
	struct foe_session session;
	bool ok;

	check_flood(f);
	check_cookie(f, &flood);
	check_limit(f, &flood);
	foe_sleep_ms(RELIEF_MS);
	ok =
	    foe_connect(&at, &session, &f->a) && foe_echo(&at, &session, &f->a);
	foe_result(f, "30 service afterwards", ok);
	foe_end(&session);
	foe_close(&at);
	foe_close(&flood);
}

void
foe_send_garbage(struct foe *f, unsigned long n)
{
	static const uint16_t lengths[] = {32, 64, 92, 148};
	struct foe_socket s = foe_open(f, NULL, 0);
	uint8_t msg[FOE_PACKET_MAX];

	for (unsigned long i = 0; i < n; i++) {
		uint32_t how = randombytes_random();
		size_t len = how >> 8 & 3 ? lengths[how >> 10 & 3]
					  : (how >> 10) % sizeof(msg);

		randombytes_buf(msg, sizeof(msg));
		if (how & 7) /* most look like something */
			wg_msg_set_type(msg, 1 + (how >> 3 & 3));
		foe_send(&s, msg, len);
		if (i % 64 == 63)
			foe_sleep_ms(1);
	}
	foe_result(f, "garbage is met with silence (A2)", foe_silent(&s));
	foe_close(&s);
}
