/* enrol: what a client and a relay say to each other, once, when the client
 * joins: one request, one answer, over TLS 1.3 with the ALPN name below. The
 * relay is known by the token's pin, the client by the token's secret. Pure.
 *
 * Request: version(1) reserved(3, zeros) secret(16) public key(32).
 * Answer: a JSON object until the end of the stream, ENROL_ANSWER_MAX at most:
 *
 *   {"name": "office-pc-1", "address": "10.66.0.2/32",
 *    "public_key": BASE64, "preshared_key": BASE64 or null,
 *    "endpoints": ["[2001:db8::1]:51820", "192.0.2.1:51820"],
 *    "mtu": 1420, "keepalive": 25,
 *    "networks": ["10.66.0.0/16"], "routes": ["0.0.0.0/0"],
 *    "policy": TEXT or null}
 *   or {"error": "used"}; "expired", "unknown", "busy", "failed"
 *
 * All prefixes are IPv4. "mtu", "keepalive", "preshared_key", "networks",
 * "routes" and "policy" may be missing. Unknown keys are ignored, so that a
 * later relay can say more, and an unknown error is "failed". */
#ifndef UKAI_ENROL_H
#define UKAI_ENROL_H

#include "endpoint.h"
#include "text.h"
#include "token.h"
#include "value.h"

#define ENROL_ALPN "ukai-enrol/1"
#define ENROL_REQUEST_LEN 52
#define ENROL_ANSWER_MAX 524288
#define ENROL_POLICY_MAX 262144
#define ENROL_ROUTES_MAX 256
#define ENROL_ENDPOINTS_MAX 4

struct enrol_request {
	uint8_t secret[TOKEN_SECRET_LEN];
	uint8_t public_key[KEY_LEN];
};

void enrol_request_format(
    const struct enrol_request *r, uint8_t out[static ENROL_REQUEST_LEN]);
/* Returns 0; UK_EMSGSIZE: not that long; UK_EPROTO: of another version;
 * UK_EINVAL: a key that nobody can shake hands with, zeros among them, or not
 * in the form that x25519_base() gives. Costs a Diffie-Hellman. */
int enrol_request_parse(
    struct enrol_request *r, const uint8_t *bytes, size_t len);

enum enrol_status {
	ENROL_OK,
	ENROL_USED,    /* by another key */
	ENROL_EXPIRED,
	ENROL_UNKNOWN, /* the relay never made it, or took it back */
	ENROL_BUSY,    /* too many ask; try again later */
	ENROL_FAILED,  /* the relay could not keep it; try again later */
};

/* "enrolled", and the words of the answer: "used", ... */
const char *enrol_status_name(enum enrol_status s);

struct enrol_answer {
	enum enrol_status status; /* the rest only with ENROL_OK */
	char name[33];
	struct ip_ifaddr address; /* of the client inside the tunnel */
	uint8_t public_key[KEY_LEN]; /* the relay's */
	uint8_t preshared_key[KEY_LEN]; /* zeros: none */
	struct endpoint endpoint[ENROL_ENDPOINTS_MAX]; /* the best first */
	size_t endpoints;
	uint16_t mtu; /* 0: from the path */
	uint16_t keepalive_s;
	/* Where the relay's clients live: the tunnel's own network. */
	struct ip_prefix network[ENROL_ROUTES_MAX];
	size_t networks;
	struct ip_prefix route[ENROL_ROUTES_MAX]; /* what takes the tunnel */
	size_t routes;
	char *policy; /* malloc'ed; enrol_policy_ok(); NULL: none */
};

/* Can this be a policy? UTF-8, no control characters but tabs and newlines, at
 * most ENROL_POLICY_MAX bytes. Out of memory: no. */
bool enrol_policy_ok(const char *text, size_t len);

/* Append it. Returns 0; UK_EMSGSIZE: longer than ENROL_ANSWER_MAX (a policy may
 * double in length); UK_ENOMEM (also: a policy that cannot be one). */
int enrol_answer_format(const struct enrol_answer *a, struct text *out);
/* Returns 0; UK_EPROTO with a sentence in d (what is wrong, not the bytes):
 * not such an object, or a value that is not allowed; UK_EMSGSIZE; UK_ENOMEM.
 * On error a is empty. */
struct diag;
int enrol_answer_parse(
    struct enrol_answer *a, const char *text, size_t len, struct diag *d);
void enrol_answer_fini(struct enrol_answer *a); /* frees, wipes; zero after */

#endif
