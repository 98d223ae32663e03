#include "adversary.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/bytes.h"

/* Counters down to this far behind the newest are accepted. */
#define WINDOW 8128
#define SHUFFLED 200

/* A socket with a confirmed session, both ours to play with. */
struct link {
	struct foe *f;
	struct foe_self *self;
	struct foe_socket at;
	struct foe_session s;
};

static struct link
connect_as(struct foe *f, struct foe_self *self)
{
	struct link l = {.f = f, .self = self, .at = foe_open(f, NULL, 0)};

	if (!foe_connect(&l.at, &l.s, self)) {
		printf("not ok no session could be made\n");
		exit(1);
	}
	return l;
}

static void
hang_up(struct link *l)
{
	foe_end(&l->s);
	foe_close(&l->at);
}

static void
ping_with(struct link *l, uint64_t counter)
{
	uint8_t packet[FOE_PACKET_MAX];

	foe_send_data(&l->at, &l->s, counter, packet,
	    foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56));
}

static unsigned
pongs(struct link *l)
{
	return foe_count_pongs(&l->at, &l->s, FOE_PATIENCE_MS, NULL);
}

/* Lengths of answers, which are padded to 16 (P7). */
static bool
inner_sizes(struct link *l)
{
	static const size_t payloads[] = {
	    0, 1, 3, 4, 5, 15, 16, 17, 36, 100, 255, 1000, 1199};
	size_t headers = l->f->echo.family == FAMILY_V4 ? 28 : 48;

	for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
		size_t padded = (headers + payloads[i] + 15) & ~(size_t)15;
		size_t len = 0;

		foe_send_ping(&l->at, &l->s, l->self, payloads[i]);
		if (foe_count_pongs(&l->at, &l->s, FOE_PATIENCE_MS, &len) !=
			1 ||
		    len != padded + WG_DATA_OVERHEAD) {
			printf(
			    "  # %zu bytes: answer of %zu\n", payloads[i], len);
			return false;
		}
	}
	return true;
}

static bool
unpadded(struct link *l)
{
	uint8_t packet[FOE_PACKET_MAX], msg[FOE_DATAGRAM_MAX];
	size_t len = foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 5);

	foe_send(&l->at, msg,
	    foe_seal(&l->s, l->s.counter++, false, packet, len, msg));
	/* The answer is padded, ours was not. */
	l->at.longest = FOE_DATAGRAM_MAX;
	return len % 16 != 0 && pongs(l) == 1;
}

/* A good message, but with these header bytes. */
static bool
silent_to_header(struct link *l, size_t at, uint8_t flip)
{
	uint8_t packet[FOE_PACKET_MAX], msg[FOE_DATAGRAM_MAX];
	size_t len = foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56);

	len = foe_seal(&l->s, l->s.counter, true, packet, len, msg);
	msg[at] ^= flip;
	foe_send(&l->at, msg, len);
	return foe_silent(&l->at);
}

/* At every length it could have, and with every byte changed. The whole one is
 * good in the end: its counter was not used up. */
static bool
mutilated(struct link *l)
{
	uint8_t packet[FOE_PACKET_MAX], msg[FOE_DATAGRAM_MAX];
	size_t len = foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56);

	len = foe_seal(&l->s, l->s.counter++, true, packet, len, msg);
	for (size_t i = 0; i < len; i++) {
		foe_send(&l->at, msg, i);
		msg[i] ^= 0x10;
		foe_send(&l->at, msg, len);
		msg[i] ^= 0x10;
	}
	if (!foe_silent(&l->at))
		return false;
	foe_send(&l->at, msg, len);
	return pongs(l) == 1;
}

static bool
silent_to_unknown_index(struct link *l)
{
	struct foe_socket other = foe_open(l->f, NULL, 0);
	bool ok = true;

	for (int i = 0; i < 100; i++) {
		uint8_t msg[FOE_DATAGRAM_MAX];

		randombytes_buf(msg, 128);
		wg_msg_set_type(msg, WG_MSG_DATA);
		foe_send(&other, msg, 128);
	}
	ok = foe_silent(&other);
	foe_close(&other);
	return ok;
}

/* The right index, keys of our own. */
static bool
silent_to_forgery(struct link *l)
{
	struct wg_session_keys keys;
	struct foe_session forged = {.counter = 0};
	bool ok;

	randombytes_buf(&keys, sizeof(keys));
	forged.keys = wg_session_new(&keys, l->s.keys->remote_index, true, 0);
	foe_send_ping(&l->at, &forged, l->self, 56);
	foe_send_data(&l->at, &forged, 1, NULL, 0);
	ok = foe_silent(&l->at);
	foe_end(&forged);
	return ok;
}

static bool
silent_to_keepalives(struct link *l)
{
	for (int i = 0; i < 5; i++)
		foe_send_data(&l->at, &l->s, l->s.counter++, NULL, 0);
	return foe_silent(&l->at);
}

static bool
answers_once(struct link *l)
{
	uint64_t n = l->s.counter++;

	for (int i = 0; i < 5; i++)
		ping_with(l, n);
	return pongs(l) == 1;
}

/* In an order of no system, each one once. */
static bool
reordered(struct link *l)
{
	uint64_t base = l->s.counter;

	for (unsigned i = 0; i < SHUFFLED; i++)
		ping_with(l, base + i * 77 % SHUFFLED);
	l->s.counter = base + SHUFFLED;
	return pongs(l) == SHUFFLED;
}

static bool
takes(struct link *l, uint64_t counter, bool wanted)
{
	unsigned first_ms = wanted ? FOE_PATIENCE_MS : FOE_SILENCE_MS;

	ping_with(l, counter);
	if ((foe_count_pongs(&l->at, &l->s, first_ms, NULL) == 1) == wanted)
		return true;
	printf("  # counter %llu is %s\n", (unsigned long long)counter,
	    wanted ? "refused" : "taken");
	return false;
}

/* How far back, from a newest that is not at a word's edge. */
static bool
window(struct link *l)
{
	uint64_t newest = 30011;

	return takes(l, newest, true) && takes(l, newest, false) &&
	       takes(l, newest - WINDOW, true) &&
	       takes(l, newest - WINDOW, false) &&
	       takes(l, newest - WINDOW + 1, true) &&
	       takes(l, newest - WINDOW - 1, false) &&
	       takes(l, newest - WINDOW - 64, false) && takes(l, 0, false) &&
	       takes(l, newest + 1, true);
}

static bool
counter_limit(struct link *l)
{
	return takes(l, UINT64_MAX, false) && takes(l, UINT64_MAX - 1, false) &&
	       takes(l, UINT64_MAX - 8194, true) &&
	       takes(l, UINT64_MAX - 8194, false) &&
	       takes(l, UINT64_MAX - 1, false);
}

/* From the address of peer b, whom an answer would go to. */
static bool
foreign_source(struct link *l, struct link *b)
{
	struct foe_self self = *l->self;

	self.inner = b->self->inner;
	foe_send_ping(&l->at, &l->s, &self, 56);
	self.inner.b[self.inner.family == FAMILY_V4 ? 3 : 15] ^= 0x40;
	foe_send_ping(&l->at, &l->s, &self, 56);
	return foe_silent(&l->at) && foe_silent(&b->at);
}

/* The header's own length, larger than what came or smaller than itself. */
static bool
lying_length(struct link *l)
{
	bool v4 = l->f->echo.family == FAMILY_V4;
	size_t field = v4 ? 2 : 4;
	static const uint16_t lies4[] = {0, 1, 19, 1000, 65535};
	static const uint16_t lies6[] = {1000, 65535};
	size_t n = v4 ? ARRAY_LEN(lies4) : ARRAY_LEN(lies6);
	uint8_t packet[FOE_PACKET_MAX];

	for (size_t i = 0; i < n; i++) {
		size_t len =
		    foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56);

		store_be16(packet + field, v4 ? lies4[i] : lies6[i]);
		foe_send_data(&l->at, &l->s, l->s.counter++, packet, len);
	}
	return foe_silent(&l->at);
}

static bool
surplus_padding(struct link *l)
{
	uint8_t packet[FOE_PACKET_MAX] = {0};

	(void)foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56);
	foe_send_data(&l->at, &l->s, l->s.counter++, packet, 1000);
	return pongs(l) == 1;
}

static bool
not_ip(struct link *l)
{
	uint8_t packet[FOE_PACKET_MAX];

	for (unsigned version = 0; version < 16; version++) {
		size_t len =
		    foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56);

		if (version == l->f->echo.family)
			continue;
		packet[0] = (uint8_t)(version << 4 | 5);
		foe_send_data(&l->at, &l->s, l->s.counter++, packet, len);
	}
	for (size_t len = 1; len < 20; len++) {
		randombytes_buf(packet, len);
		foe_send_data(&l->at, &l->s, l->s.counter++, packet, len);
	}
	return foe_silent(&l->at);
}

/* An authentic packet moves the endpoint. */
static bool
roams(struct link *l)
{
	struct foe_socket old = l->at, new = foe_open(l->f, NULL, 0);
	bool ok;

	l->at = new;
	ok = foe_echo(&l->at, &l->s, l->self) && foe_silent(&old);
	foe_close(&old);
	return ok;
}

/* Old datagrams and old calls from elsewhere do not, nor do forged ones: sent
 * behind a ping before its answer is on its way. */
static bool
replay_does_not_roam(struct link *l)
{
	struct foe_socket thief = foe_open(l->f, NULL, 0);
	uint8_t packet[FOE_PACKET_MAX], old[FOE_DATAGRAM_MAX];
	size_t len = foe_ping(l->f, packet, &l->self->inner, ++l->s.seq, 56);
	struct foe_call c = {.cookie.awaits_reply = false};
	bool ok;

	len = foe_seal(&l->s, l->s.counter++, true, packet, len, old);
	foe_send(&l->at, old, len);
	foe_move_stamp(l->f, -1);
	foe_make_call(l->f, &c, l->self);
	foe_move_stamp(l->f, 1);
	ok = pongs(l) == 1;
	for (int i = 0; i < 20; i++) {
		foe_send_ping(&l->at, &l->s, l->self, 56);
		foe_send(&thief, old, len);
		foe_send(&thief, &c.msg, sizeof(c.msg));
		old[len - 1] ^= 1;
		foe_send(&thief, old, len);
		old[len - 1] ^= 1;
	}
	ok = ok && pongs(l) == 20 && foe_silent(&thief);
	foe_close(&thief);
	return ok;
}

/* A new session is not used before we prove it; the old one goes on being
 * heard after that; one that two others have followed does not. */
static void
check_succession(struct foe *f)
{
	struct link l = connect_as(f, &f->a);
	struct link second = {.f = f, .self = &f->a, .at = l.at};
	struct link third = second;
	bool ok = foe_echo(&l.at, &l.s, l.self);

	ok = foe_call(&second.at, &second.s, second.self) && ok;
	foe_result(f, "29 an unproved session is not used",
	    foe_echo(&l.at, &l.s, l.self) && ok);
	foe_result(f, "29 a proved one is",
	    foe_echo(&second.at, &second.s, second.self));
	foe_send_ping(&l.at, &l.s, l.self, 56);
	foe_result(f, "29 the previous one is heard, answered on the new",
	    foe_count_pongs(&second.at, &second.s, FOE_PATIENCE_MS, NULL) == 1);
	ok = foe_call(&third.at, &third.s, third.self);
	foe_send_ping(&l.at, &l.s, l.self, 56);
	foe_result(f, "29 the one before is not", foe_silent(&l.at) && ok);
	foe_result(f, "29 current still is",
	    foe_echo(&second.at, &second.s, second.self));
	foe_end(&second.s);
	foe_end(&third.s);
	hang_up(&l);
}

void
foe_check_data(struct foe *f)
{
	struct link l = connect_as(f, &f->a), b = connect_as(f, &f->b);

	foe_result(f, "2 echo", foe_echo(&l.at, &l.s, l.self));
	foe_result(
	    f, "3 inner sizes, answers padded to 16 (P7)", inner_sizes(&l));
	foe_result(f, "4 an unpadded packet is accepted", unpadded(&l));
	foe_result(f, "7 reserved bytes of data: silence",
	    silent_to_header(&l, 1, 1) && silent_to_header(&l, 3, 0x80));
	foe_result(
	    f, "8, 15 data cut or changed anywhere: silence", mutilated(&l));
	foe_result(
	    f, "16 unknown index: silence (A2)", silent_to_unknown_index(&l));
	foe_result(f, "17 forged data: silence", silent_to_forgery(&l));
	foe_result(
	    f, "18 keepalives are not answered", silent_to_keepalives(&l));
	foe_result(f, "19 a packet counts once", answers_once(&l));
	foe_result(f, "20 any order", reordered(&l));
	foe_result(
	    f, "23 foreign inner source: silence", foreign_source(&l, &b));
	foe_result(f, "24 lying inner length: silence", lying_length(&l));
	foe_result(f, "25 surplus padding is cut off", surplus_padding(&l));
	foe_result(f, "26 not IP: silence", not_ip(&l));
	foe_result(f, "27 roaming", roams(&l));
	foe_result(f, "28 replays do not roam", replay_does_not_roam(&l));
	foe_result(f, "21 window of 8128", window(&l));
	foe_result(f, "22 counter limit (P4)", counter_limit(&l));
	hang_up(&l);
	hang_up(&b);
	check_succession(f);
}
