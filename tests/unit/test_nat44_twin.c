#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nat44_lab.h"

#define S UK_NS_PER_S
#define STEPS 40000
#define LIST 1024

/* The twin: a list of sessions, looked at from end to end, in the RFCs' words.
 * It is told which port a new session got, and says whether it may have it; a
 * session that must not be there any more, or must still be there, shows in
 * what passes. Small sets and few hosts, so that things meet. */
struct twin_session {
	bool used, live;
	uint8_t proto;
	struct lab_end in, remote;
	bool any; /* of all ports of the remote address but well-known ones */
	bool eim; /* by the port of its endpoint's mapping */
	uint16_t ext;
	uint64_t last;
	uint64_t ended;
	bool out, back, open, fin_out, fin_in, rst;
};

struct twin {
	struct twin_session s[LIST];
	uint64_t now;
};

static const struct map_ports set = {.offset = 4, .psid_len = 11, .psid = 5};

static bool
known_port(uint16_t port)
{
	return port == 53 || port == 123 || port == 443;
}

/* Its time is over by the RFCs; at the least by the last stage, where it may
 * have given way already. */
static uint64_t
idle_limit(const struct twin_session *s, bool last_stage)
{
	if (s->proto == LAB_ICMP)
		return 60 * S;
	if (s->proto == LAB_UDP &&
	    (s->remote.port == 53 || s->remote.port == 123) && !s->any)
		return (!last_stage ? 60 : s->back ? 4 : 10) * S;
	if (s->proto == LAB_UDP)
		return (last_stage ? 120 : 300) * S;
	if (s->fin_in && s->fin_out)
		return (last_stage ? 4 : 240) * S;
	if (s->rst)
		return (last_stage ? 10 : 240) * S;
	if (s->open)
		return 7440 * S;
	return (last_stage ? 30 : 240) * S;
}

static bool
same(struct lab_end a, struct lab_end b)
{
	return a.a == b.a && a.port == b.port;
}

static bool
covers(const struct twin_session *s, struct lab_end remote)
{
	return s->remote.a == remote.a &&
	       (s->any || s->remote.port == remote.port);
}

static void
twin_end(struct twin *t, struct twin_session *s)
{
	s->live = false;
	s->ended = t->now;
}

static void
twin_expire(struct twin *t)
{
	for (size_t i = 0; i < LIST; i++) {
		struct twin_session *s = &t->s[i];

		if (s->live && t->now > s->last + idle_limit(s, false))
			twin_end(t, s);
	}
}

static struct twin_session *
twin_outward(
    struct twin *t, uint8_t proto, struct lab_end in, struct lab_end remote)
{
	for (size_t i = 0; i < LIST; i++) {
		struct twin_session *s = &t->s[i];
		bool any = proto == LAB_UDP && !known_port(remote.port);

		if (s->live && s->proto == proto && same(s->in, in) &&
		    s->any == any && covers(s, remote))
			return s;
	}
	return NULL;
}

static struct twin_session *
twin_inward(struct twin *t, uint8_t proto, uint16_t ext, struct lab_end remote)
{
	struct twin_session *best = NULL;

	for (size_t i = 0; i < LIST; i++) {
		struct twin_session *s = &t->s[i];

		if (s->live && s->proto == proto && s->ext == ext &&
		    covers(s, remote) && (!best || best->any))
			best = s;
	}
	return best;
}

/* The session's port was given away, which it may be only after so long. */
static void
twin_gave_way(struct twin *t, struct twin_session *s)
{
	assert_true(t->now > s->last + idle_limit(s, true));
	twin_end(t, s);
}

static void
twin_tcp(struct twin_session *s, bool out, uint8_t flags)
{
	if (flags & LAB_RST) {
		s->rst = true;
		return;
	}
	if ((flags & (LAB_SYN | LAB_ACK)) == LAB_SYN && out &&
	    (s->rst || (s->fin_in && s->fin_out)))
		s->out = s->back = s->open = s->fin_in = s->fin_out = false;
	s->rst = false;
	*(out ? &s->out : &s->back) = true;
	if (flags & LAB_FIN)
		*(out ? &s->fin_out : &s->fin_in) = true;
	if (s->out && s->back && (flags & (LAB_SYN | LAB_ACK)) == LAB_ACK)
		s->open = true;
}

static void
twin_seen(struct twin *t, struct twin_session *s, bool out, uint8_t flags)
{
	s->last = t->now;
	if (s->proto == LAB_TCP)
		twin_tcp(s, out, flags);
	else
		s->back = !out;
}

static struct twin_session *
twin_new(struct twin *t)
{
	size_t i = 0;

	/* What ended is remembered as long as twin_holds() may ask for it. */
	while (t->s[i].used &&
	       (t->s[i].live ||
		   t->s[i].ended + (t->s[i].eim ? 121 * S : S) > t->now))
		i++;
	assert_true(i < LIST);
	t->s[i] = (struct twin_session){.used = true, .live = true};
	return &t->s[i];
}

/* The port of an endpoint's mapping, as its sessions show it; 0: none. What the
 * twin may not know is whether a mapping of which only idle sessions are left
 * has been given away, so the packet decides. */
static uint16_t
twin_mapping(const struct twin *t, struct lab_end in)
{
	for (size_t i = 0; i < LIST; i++) {
		const struct twin_session *s = &t->s[i];

		if (s->live && s->proto == LAB_UDP && s->eim && same(s->in, in))
			return s->ext;
	}
	return 0;
}

/* A mapping of somebody else on this port. */
static struct twin_session *
twin_other_mapping(struct twin *t, uint16_t ext, struct lab_end in)
{
	for (size_t i = 0; i < LIST; i++) {
		struct twin_session *s = &t->s[i];

		if (s->live && s->proto == LAB_UDP && s->eim && s->ext == ext &&
		    !same(s->in, in))
			return s;
	}
	return NULL;
}

/* It got this port: nobody alive may hold it. */
static void
twin_open(struct twin *t, uint8_t proto, struct lab_end in,
    struct lab_end remote, uint16_t ext)
{
	bool any = proto == LAB_UDP && !known_port(remote.port);
	uint16_t mapping = proto == LAB_UDP ? twin_mapping(t, in) : 0;
	struct twin_session *s;

	assert_true(map_ports_has(&set, ext));
	if (any) {
		/* RFC 4787 REQ-1 and REQ-3. */
		if (mapping != 0)
			assert_int_equal(ext, mapping);
		while ((s = twin_other_mapping(t, ext, in)))
			twin_gave_way(t, s);
	} else {
		if (mapping != 0 && ext != mapping)
			assert_non_null(twin_inward(t, proto, mapping, remote));
		while ((s = twin_inward(t, proto, ext, remote)) &&
		       !(s->any && same(s->in, in)))
			twin_gave_way(t, s);
	}
	s = twin_new(t);
	s->proto = proto;
	s->in = in;
	s->remote = remote;
	s->any = any;
	s->eim = any || (mapping != 0 && ext == mapping);
	s->ext = ext;
}

/* Holds, or held one second ago, which is how long a search holds good. A
 * mapping is as young as the youngest session that it had. */
static bool
twin_holds(const struct twin *t, const struct twin_session *s, bool any)
{
	uint64_t limit = any ? 120 * S : idle_limit(s, true);

	if (any || s->live)
		return t->now <= s->last + limit + S;
	return t->now <= s->ended + S;
}

/* No port: then each is held by somebody. */
static void
twin_full(struct twin *t, uint8_t proto, struct lab_end remote)
{
	bool any = proto == LAB_UDP && !known_port(remote.port);

	for (uint32_t i = 0; i < map_ports_count(&set); i++) {
		bool held = false;

		for (size_t k = 0; k < LIST; k++) {
			const struct twin_session *s = &t->s[k];

			if (s->used && s->proto == proto &&
			    s->ext == map_ports_nth(&set, i) &&
			    (any ? s->eim : covers(s, remote)))
				held |= twin_holds(t, s, any);
		}
		assert_true(held);
	}
}

static uint16_t ports_seen[65536];
static unsigned passed, refused, filtered;

static void
step_out(struct nat44 *n, struct twin *t, uint8_t proto, struct lab_end in,
    struct lab_end remote, uint8_t flags)
{
	struct twin_session *s = twin_outward(t, proto, in, remote);
	enum map_drop got = lab_out(n, t->now, proto, in, remote, flags);
	uint8_t kind = flags & (LAB_SYN | LAB_ACK | LAB_FIN | LAB_RST);
	uint16_t ext = lab_src(lab_p).port;

	if (s && got == MAP_OK && s->ext != ext) {
		/* It was given away, and another one made. */
		twin_gave_way(t, s);
		s = NULL;
	}
	if (!s && proto == LAB_TCP && kind != LAB_SYN && kind != LAB_ACK) {
		assert_int_equal(got, MAP_DROP_NO_SESSION);
		return;
	}
	if (got != MAP_OK) {
		if (s)
			twin_gave_way(t, s);
		else if (got == MAP_DROP_NO_PORT)
			twin_full(t, proto, remote);
		assert_true(got == MAP_DROP_NO_PORT ||
			    (s && got == MAP_DROP_NO_SESSION));
		refused++;
		return;
	}
	assert_true(lab_valid(lab_p, lab_len));
	assert_true(same(lab_dst(lab_p), remote) || proto == LAB_ICMP);
	if (!s) {
		twin_open(t, proto, in, remote, ext);
		s = twin_outward(t, proto, in, remote);
	}
	ports_seen[ext] = 1;
	passed++;
	twin_seen(t, s, true, flags);
}

/* RFC 4787 REQ-8 b: the owner of the mapping has sent to this address. */
static struct twin_session *
twin_asked(struct twin *t, uint16_t ext, struct lab_end remote)
{
	for (size_t i = 0; i < LIST; i++) {
		struct twin_session *s = &t->s[i];

		if (s->live && s->proto == LAB_UDP && s->eim && s->ext == ext &&
		    s->remote.a == remote.a)
			return s;
	}
	return NULL;
}

static void
step_in(struct nat44 *n, struct twin *t, uint8_t proto, struct lab_end remote,
    uint16_t ext, uint8_t flags)
{
	struct twin_session *s = twin_inward(t, proto, ext, remote);
	struct twin_session *owner =
	    proto == LAB_UDP && !s ? twin_asked(t, ext, remote) : NULL;
	struct lab_end in = owner ? owner->in : (struct lab_end){0, 0};
	struct twin_session *busy =
	    owner ? twin_outward(t, proto, in, remote) : NULL;
	enum map_drop got = lab_in(n, t->now, proto, remote, ext, flags);

	if (got != MAP_OK) {
		assert_true(
		    got == MAP_DROP_NO_SESSION || got == MAP_DROP_FILTERED);
		if (s)
			twin_gave_way(t, s);
		else if (owner && !busy)
			twin_gave_way(t, owner);
		filtered++;
		return;
	}
	assert_true(s || owner);
	assert_true(lab_valid(lab_p, lab_len));
	assert_true(same(lab_dst(lab_p), s ? s->in : in));
	if (!s) {
		assert_null(busy);
		twin_open(t, proto, in, remote, ext);
		s = twin_inward(t, proto, ext, remote);
	}
	passed++;
	twin_seen(t, s, false, flags);
}

static uint8_t
any_flags(void)
{
	static const uint8_t flags[] = {LAB_SYN, LAB_SYN, LAB_ACK, LAB_ACK,
	    LAB_SYN | LAB_ACK, LAB_FIN | LAB_ACK, LAB_RST};

	return flags[lab_rnd() % ARRAY_LEN(flags)];
}

static void
step(struct nat44 *n, struct twin *t)
{
	static const uint16_t ports[] = {53, 123, 443, 3478, 80, 9};
	static const uint8_t protos[] = {LAB_TCP, LAB_UDP, LAB_UDP, LAB_ICMP};
	static const uint64_t wait[] = {
	    0, 0, 0, S / 10, S, 9 * S, 31 * S, 61 * S, 121 * S, 241 * S};
	uint8_t proto = protos[lab_rnd() % 4];
	struct lab_end remote = {LAB_REMOTE + (uint32_t)(lab_rnd() % 3),
	    proto == LAB_ICMP ? 0 : ports[lab_rnd() % 6]};
	struct lab_end in = {LAB_HOST + (uint32_t)(lab_rnd() % 4),
	    (uint16_t)(1 + lab_rnd() % 10)};
	uint32_t count = map_ports_count(&set);

	if (lab_rnd() % 3 == 0)
		t->now += lab_rnd() % 8 == 0 ? wait[lab_rnd() % 10] : S / 7;
	twin_expire(t);
	/* All of the table: a mapping ends with its last session, which without
	 * that is when somebody meets it. */
	for (unsigned i = 0; i < 8; i++)
		nat44_expire(n, t->now);
	if (lab_rnd() % 3 == 0)
		step_in(n, t, proto, remote,
		    map_ports_nth(&set, (uint32_t)(lab_rnd() % count)),
		    any_flags());
	else
		step_out(n, t, proto, in, remote, any_flags());
}

static void
test_twin(void **state)
{
	(void)state;
	static struct twin t;
	struct nat44_conf c = lab_conf();
	struct nat44 *n;

	c.ports = set;
	assert_int_equal(map_ports_count(&set), 30);
	assert_int_equal(nat44_new(&n, &c), 0);
	t.now = S;
	for (unsigned i = 0; i < STEPS; i++)
		step(n, &t);
	/* The scenario has seen all of it. */
	assert_true(passed > STEPS / 4);
	assert_true(refused > 100);
	assert_true(filtered > STEPS / 20);
	for (uint32_t i = 0; i < 30; i++)
		assert_int_equal(ports_seen[map_ports_nth(&set, i)], 1);
	/* What the twin still has is all there can be. */
	t.now += 7441 * S;
	twin_expire(&t);
	for (unsigned i = 0; i < 9; i++)
		nat44_expire(n, t.now);
	struct nat44_stats st;
	nat44_stats(n, &st);
	assert_int_equal(st.sessions, 0);
	assert_int_equal(st.space[NAT44_UDP].mappings, 0);
	nat44_free(n);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
