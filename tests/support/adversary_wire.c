#include "adversary.h"
#include "wg_now.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/x25519.h"
#include "wg/wg_stamp.h"

/* Calls before we believe that nobody answers: a flood may lose some. */
#define CALLS 20

#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMPV6_ECHO 128
#define ICMPV6_ECHO_REPLY 129
#define ICMP_HEADER 8

void
foe_result(struct foe *f, const char *name, bool ok)
{
	printf("%s %s\n", ok ? "ok" : "not ok", name);
	fflush(stdout);
	f->checks++;
	if (!ok)
		f->failed++;
}

uint64_t
foe_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

void
foe_sleep_ms(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

/* ---- sockets ---- */

struct foe_socket
foe_open(struct foe *f, const struct sockaddr_storage *address, socklen_t len)
{
	struct foe_socket s = {.foe = f};
	int room = 4 << 20;

	s.fd = socket(f->target.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s.fd < 0 ||
	    (address && bind(s.fd, (const void *)address, len) != 0)) {
		perror("ukai-test-adversary: socket");
		exit(1);
	}
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return s;
}

void
foe_close(struct foe_socket *s)
{
	close(s->fd);
}

void
foe_send(struct foe_socket *s, const void *msg, size_t len)
{
	if (len > s->longest)
		s->longest = len;
	(void)!sendto(s->fd, msg, len, 0, (const void *)&s->foe->target,
	    s->foe->target_len);
}

size_t
foe_receive(struct foe_socket *s, uint8_t msg[FOE_DATAGRAM_MAX], unsigned ms)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, (int)ms) <= 0)
		return 0;
	n = recv(s->fd, msg, FOE_DATAGRAM_MAX, MSG_DONTWAIT);
	if (n <= 0)
		return 0;
	/* The target's own calls are no answers. */
	if (msg[0] != WG_MSG_INITIATION && (size_t)n > s->longest)
		s->foe->amplified++;
	return (size_t)n;
}

bool
foe_silent(struct foe_socket *s)
{
	uint8_t msg[FOE_DATAGRAM_MAX];
	size_t n = foe_receive(s, msg, FOE_SILENCE_MS);

	if (n > 0)
		printf("  # %zu bytes of type %u came\n", n, msg[0]);
	return n == 0;
}

unsigned
foe_drain(struct foe_socket *s)
{
	uint8_t msg[FOE_DATAGRAM_MAX];
	unsigned n = 0;

	while (foe_receive(s, msg, 0) > 0)
		n++;
	return n;
}

/* ---- handshakes ---- */

void
foe_next_stamp(struct foe *f)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	wg_stamp_next(
	    f->stamp, (uint64_t)ts.tv_sec * UK_NS_PER_S + (uint64_t)ts.tv_nsec);
}

void
foe_move_stamp(struct foe *f, int seconds)
{
	store_be64(f->stamp, load_be64(f->stamp) + (uint64_t)(int64_t)seconds);
}

void
foe_sign_call(struct foe *f, struct foe_call *c)
{
	wg_cookie_sign(f->b2s, &c->cookie, &f->target_macs, foe_now_ns(),
	    (uint8_t *)&c->msg, sizeof(c->msg));
}

void
foe_make_call(struct foe *f, struct foe_call *c, const struct foe_self *self)
{
	struct wg_key ephemeral;
	uint8_t index[4];

	randombytes_buf(index, sizeof(index));
	randombytes_buf(ephemeral.b, sizeof(ephemeral.b));
	x25519_clamp(ephemeral.b);
	if (wg_noise_initiate(f->b2s, &c->hs, &c->msg, &self->id, &self->remote,
		&ephemeral, f->stamp, index) != 0) {
		fputs("ukai-test-adversary: no call can be made\n", stderr);
		exit(1);
	}
	foe_sign_call(f, c);
}

bool
foe_finish_call(struct foe *f, struct foe_session *s, const struct foe_call *c,
    const struct foe_self *self, const uint8_t *msg, size_t len)
{
	const struct wg_response *r = (const void *)msg;
	struct wg_session_keys keys;

	if (wg_msg_classify(msg, len) != WG_MSG_RESPONSE ||
	    memcmp(r->receiver, c->msg.sender, sizeof(r->receiver)) != 0 ||
	    wg_noise_finish(
		f->b2s, &keys, r, &c->hs, &self->id, &self->remote) != 0)
		return false;
	*s = (struct foe_session){
	    .keys = wg_session_new(&keys, r->sender, true, foe_now_ns())};
	memcpy(s->index, c->msg.sender, sizeof(s->index));
	return s->keys != NULL;
}

bool
foe_call(
    struct foe_socket *at, struct foe_session *s, const struct foe_self *self)
{
	struct foe *f = at->foe;
	struct foe_call c = {.cookie.awaits_reply = false};
	uint8_t msg[FOE_DATAGRAM_MAX];

	for (int i = 0; i < CALLS; i++) {
		size_t n;

		foe_sleep_ms(FOE_CALL_PAUSE_MS);
		foe_next_stamp(f);
		foe_make_call(f, &c, self);
		foe_send(at, &c.msg, sizeof(c.msg));
		do {
			n = foe_receive(at, msg, FOE_PATIENCE_MS);
			if (foe_finish_call(f, s, &c, self, msg, n))
				return true;
			if (wg_msg_classify(msg, n) == WG_MSG_COOKIE &&
			    wg_cookie_take(&c.cookie, &f->target_macs,
				foe_now_ns(), (const void *)msg) == 0)
				break;
		} while (n > 0);
	}
	return false;
}

bool
foe_connect(
    struct foe_socket *at, struct foe_session *s, const struct foe_self *self)
{
	if (!foe_call(at, s, self))
		return false;
	foe_send_data(at, s, s->counter++, NULL, 0);
	return true;
}

void
foe_end(struct foe_session *s)
{
	wg_session_end(s->keys);
	s->keys = NULL;
}

/* ---- packets ---- */

static size_t
ping4(const struct foe *f, uint8_t *p, const struct ip_addr *src, size_t len)
{
	memset(p, 0, 20);
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)(20 + len));
	p[8] = 64;
	p[9] = 1;
	memcpy(p + 12, src->b, 4);
	memcpy(p + 16, f->echo.b, 4);
	store_be16(p + 10, (uint16_t)~csum_fold(csum_add(0, p, 20)));
	p[20] = ICMP_ECHO;
	store_be16(p + 22, (uint16_t)~csum_fold(csum_add(0, p + 20, len)));
	return 20 + len;
}

static size_t
ping6(const struct foe *f, uint8_t *p, const struct ip_addr *src, size_t len)
{
	uint64_t sum;

	memset(p, 0, 40);
	p[0] = 0x60;
	store_be16(p + 4, (uint16_t)len);
	p[6] = 58;
	p[7] = 64;
	memcpy(p + 8, src->b, 16);
	memcpy(p + 24, f->echo.b, 16);
	p[40] = ICMPV6_ECHO;
	sum = csum_pseudo(src->b, f->echo.b, 16, 58, (uint32_t)len);
	store_be16(p + 42, (uint16_t)~csum_fold(csum_add(sum, p + 40, len)));
	return 40 + len;
}

size_t
foe_ping(const struct foe *f, uint8_t *packet, const struct ip_addr *src,
    uint16_t seq, size_t payload)
{
	bool v4 = f->echo.family == FAMILY_V4;
	uint8_t *icmp = packet + (v4 ? 20 : 40);

	memset(icmp, 0, ICMP_HEADER);
	store_be16(icmp + 4, 0x756b);
	store_be16(icmp + 6, seq);
	for (size_t i = 0; i < payload; i++)
		icmp[ICMP_HEADER + i] = (uint8_t)(seq + i);
	return v4 ? ping4(f, packet, src, ICMP_HEADER + payload)
		  : ping6(f, packet, src, ICMP_HEADER + payload);
}

/* Is it an answer to a ping of ours, unharmed? */
static bool
is_pong(const struct foe *f, const uint8_t *p, size_t len)
{
	bool v4 = f->echo.family == FAMILY_V4;
	size_t hlen = v4 ? 20 : 40;
	const uint8_t *icmp = p + hlen;
	size_t total;

	if (len < hlen + ICMP_HEADER || p[0] >> 4 != f->echo.family)
		return false;
	total = v4 ? load_be16(p + 2) : load_be16(p + 4) + hlen;
	if (total > len || total < hlen + ICMP_HEADER ||
	    icmp[0] != (v4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY))
		return false;
	for (size_t i = 0; i < total - hlen - ICMP_HEADER; i++)
		if (icmp[ICMP_HEADER + i] != (uint8_t)(load_be16(icmp + 6) + i))
			return false;
	return true;
}

size_t
foe_seal(struct foe_session *s, uint64_t counter, bool pad,
    const uint8_t *packet, size_t len, uint8_t msg[FOE_DATAGRAM_MAX])
{
	struct pbuf p = pbuf_make(msg, FOE_DATAGRAM_MAX, WG_SEAL_HEADROOM, len);

	if (len > 0)
		memcpy(pbuf_data(&p), packet, len);
	/* An MTU of its own length leaves no room for padding. */
	if (wg_seal_now(s->keys, counter, pad ? 0 : (uint32_t)len, &p) != 0)
		return 0;
	return p.len;
}

void
foe_send_data(struct foe_socket *at, struct foe_session *s, uint64_t counter,
    const uint8_t *packet, size_t len)
{
	uint8_t msg[FOE_DATAGRAM_MAX];

	foe_send(at, msg, foe_seal(s, counter, true, packet, len, msg));
}

uint16_t
foe_send_ping(struct foe_socket *at, struct foe_session *s,
    const struct foe_self *self, size_t payload)
{
	uint8_t packet[FOE_PACKET_MAX];
	size_t len = foe_ping(at->foe, packet, &self->inner, ++s->seq, payload);

	foe_send_data(at, s, s->counter++, packet, len);
	return s->seq;
}

/* Is the datagram an answer to a ping, on this session? */
static bool
opens_to_pong(
    const struct foe *f, struct foe_session *s, uint8_t *msg, size_t len)
{
	struct pbuf p = pbuf_make(msg, FOE_DATAGRAM_MAX, 0, len);
	const struct wg_data_header *h = (const void *)msg;
	uint64_t counter;

	return wg_msg_classify(msg, len) == WG_MSG_DATA &&
	       memcmp(h->receiver, s->index, sizeof(s->index)) == 0 &&
	       wg_open_now(s->keys, &p, &counter) == 0 &&
	       is_pong(f, pbuf_data(&p), p.len);
}

unsigned
foe_count_pongs(struct foe_socket *at, struct foe_session *s, unsigned first_ms,
    size_t *len)
{
	uint8_t msg[FOE_DATAGRAM_MAX];
	unsigned count = 0, wait = first_ms;
	size_t n;

	for (; (n = foe_receive(at, msg, wait)) > 0; wait = FOE_SILENCE_MS) {
		if (!opens_to_pong(at->foe, s, msg, n))
			continue;
		count++;
		if (len)
			*len = n;
	}
	return count;
}

bool
foe_echo(
    struct foe_socket *at, struct foe_session *s, const struct foe_self *self)
{
	uint8_t msg[FOE_DATAGRAM_MAX];
	size_t n;

	foe_send_ping(at, s, self, 56);
	while ((n = foe_receive(at, msg, FOE_PATIENCE_MS)) > 0)
		if (opens_to_pong(at->foe, s, msg, n))
			return true;
	return false;
}
