/* adversary: an initiator, and a responder, that knows the protocol well and
 * does not keep to it. What the files of ukai-test-adversary share:
 *
 *   adversary_wire.c    sockets, messages, handshakes, sessions
 *   adversary_call.c    lies in handshakes
 *   adversary_data.c    lies in data
 *   adversary_flood.c   too much of both
 *   adversary_answer.c  lies in answers to the target's own calls
 *   adversary.c         the command line
 *
 * Checks are numbered as in the list of the protocol's facts; ids such as A1
 * are those of the security requirements. */
#ifndef UKAI_TESTS_ADVERSARY_H
#define UKAI_TESTS_ADVERSARY_H

#include <sys/socket.h>
#include <sys/types.h>

#include "wg/wg_cookie.h"
#include "wg/wg_noise.h"
#include "wg/wg_session.h"

#define FOE_DATAGRAM_MAX 2048
#define FOE_PACKET_MAX 1500
/* What loopback and a busy machine may take to answer. */
#define FOE_PATIENCE_MS 500
/* So long nothing may come when silence is the right answer. */
#define FOE_SILENCE_MS 100
/* Initiations of one peer nearer than 20 ms are refused as a flood. */
#define FOE_CALL_PAUSE_MS 25

/* Somebody whom the target knows as a peer. */
struct foe_self {
	struct wg_identity id;
	struct wg_remote remote; /* the target, as this one sees it */
	struct ip_addr inner; /* address in the tunnel */
};

struct foe {
	struct blake2s *b2s;
	struct sockaddr_storage target;
	socklen_t target_len;
	struct wg_key target_key;
	struct wg_cookie_keys target_macs;
	struct foe_self a, b;
	struct ip_addr echo; /* who answers pings in there */
	uint8_t stamp[WG_STAMP_LEN];
	pid_t held; /* the target's process, where it may be held; or 0 */
	unsigned checks, failed;
	/* Of all sockets: answers longer than the longest question. */
	unsigned amplified;
};

/* One of our UDP sockets. */
struct foe_socket {
	struct foe *foe;
	int fd;
	size_t longest; /* datagram sent */
};

/* A call of ours that waits for its answer. */
struct foe_call {
	struct wg_initiation msg;
	struct wg_handshake hs;
	struct wg_cookie_maker cookie;
};

struct foe_session {
	struct wg_session *keys;
	uint8_t index[4]; /* ours */
	uint64_t counter; /* next */
	uint16_t seq; /* of pings */
};

/* Print one result and count it. */
void foe_result(struct foe *f, const char *name, bool ok);

uint64_t foe_now_ns(void);
void foe_sleep_ms(unsigned ms);

/* Ends the program when there is no socket. address NULL: any. */
struct foe_socket foe_open(
    struct foe *f, const struct sockaddr_storage *address, socklen_t len);
void foe_close(struct foe_socket *s);
void foe_send(struct foe_socket *s, const void *msg, size_t len);
/* One datagram of the target within ms. Returns its length; 0: none. */
size_t foe_receive(
    struct foe_socket *s, uint8_t msg[FOE_DATAGRAM_MAX], unsigned ms);
/* Nothing at all comes. */
bool foe_silent(struct foe_socket *s);
/* Throw away what has come. Returns how many. */
unsigned foe_drain(struct foe_socket *s);

/* Greater than all before. */
void foe_next_stamp(struct foe *f);
/* For a lie; to be taken back. */
void foe_move_stamp(struct foe *f, int seconds);

/* Make message 1 with f->stamp and a random index, both macs at its end. */
void foe_make_call(
    struct foe *f, struct foe_call *c, const struct foe_self *self);
/* Write both macs anew, after the message was changed. */
void foe_sign_call(struct foe *f, struct foe_call *c);
/* Read message 2. False: it is none for this call. */
bool foe_finish_call(struct foe *f, struct foe_session *s,
    const struct foe_call *c, const struct foe_self *self, const uint8_t *msg,
    size_t len);
/* Call until there is an answer, with a cookie where one is demanded; the
 * session is not confirmed yet. */
bool foe_call(
    struct foe_socket *at, struct foe_session *s, const struct foe_self *self);
/* The same, and confirm with a keepalive. */
bool foe_connect(
    struct foe_socket *at, struct foe_session *s, const struct foe_self *self);
void foe_end(struct foe_session *s);

/* A packet that asks foe->echo for an answer to src. Returns its length. */
size_t foe_ping(const struct foe *f, uint8_t *packet, const struct ip_addr *src,
    uint16_t seq, size_t payload);
/* Seal a packet with this counter. pad false: not to a multiple of 16.
 * Returns the datagram's length. */
size_t foe_seal(struct foe_session *s, uint64_t counter, bool pad,
    const uint8_t *packet, size_t len, uint8_t msg[FOE_DATAGRAM_MAX]);
void foe_send_data(struct foe_socket *at, struct foe_session *s,
    uint64_t counter, const uint8_t *packet, size_t len);
/* Send a ping with the session's next counter. Returns its number. */
uint16_t foe_send_ping(struct foe_socket *at, struct foe_session *s,
    const struct foe_self *self, size_t payload);
/* Answers to pings that come on this session: the first within first_ms, the
 * others until none does for a while. len, if not NULL, gets the last one's
 * datagram length. */
unsigned foe_count_pongs(struct foe_socket *at, struct foe_session *s,
    unsigned first_ms, size_t *len);
/* One ping, one answer. */
bool foe_echo(
    struct foe_socket *at, struct foe_session *s, const struct foe_self *self);

void foe_check_calls(struct foe *f);
void foe_check_data(struct foe *f);
void foe_check_flood(struct foe *f);
/* A session that exists works on while there is a flood. */
void foe_check_load(struct foe *f);
void foe_send_garbage(struct foe *f, unsigned long n);
/* As peer b, answer the call that the target makes to this address. */
void foe_check_answers(
    struct foe *f, const struct sockaddr_storage *at, socklen_t len);
/* As peer b, demand a cookie of the target's call and wait for the next. */
void foe_check_cookie_use(
    struct foe *f, const struct sockaddr_storage *at, socklen_t len);

#endif
