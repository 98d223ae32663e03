/* dns_message: what we need to know of DNS messages (RFC 1035), read and made
 * by ldns. Pure. Anything may be in the bytes: a message that ldns does not
 * take, and one with pointer loops or counts that lie, is refused; at most
 * DNS_MESSAGE_RECORDS records are looked at. */
#ifndef UKAI_POLICY_DNS_MESSAGE_H
#define UKAI_POLICY_DNS_MESSAGE_H

#include "bindings.h"
#include "domain_name.h"

#define DNS_MESSAGE_MAX 65535
#define DNS_MESSAGE_RECORDS 4096
/* Addresses of one answer that we keep; one with more is cut to these (so that
 * the client sees none that no rule has). */
#define DNS_MESSAGE_ADDRESSES 256

struct dns_question {
	uint16_t id;
	uint16_t type, class; /* host order: 1 A, 28 AAAA, 65 HTTPS, ... */
	char name[DOMAIN_NAME_MAX]; /* small letters, no dot at the end; "" is
				       the root; '?' is for what cannot be
				       written, and for a dot in a label */
	bool plain; /* the name has only what domain names may have */
	uint16_t udp_size; /* what the client takes; 512 without EDNS */
};

/* A query with one question. Returns 0; UK_EPROTO. */
int dns_question_parse(struct dns_question *q, const uint8_t *msg, size_t len);

struct dns_address {
	struct ip_addr addr;
	uint32_t ttl_s; /* the least on the way to it */
};

struct dns_answer {
	unsigned rcode;
	bool truncated;
	/* The name asked for, then where CNAMEs lead, in that order. */
	char name[BINDINGS_CHAIN_MAX][DOMAIN_NAME_MAX];
	size_t names;
	struct dns_address address[DNS_MESSAGE_ADDRESSES];
	size_t addresses; /* A and AAAA of the last name */
	bool more; /* the answer has other addresses */
	bool endless; /* CNAMEs go on, or in a circle: there are no
			 addresses */
};

/* A response to q. Records of other names do not count. Returns 0; UK_EPROTO:
 * out of form, or of another question. An error may come without one (RFC 1035
 * 4.1.1: what could not be read cannot be repeated). */
int dns_answer_parse(struct dns_answer *a, const struct dns_question *q,
    const uint8_t *msg, size_t len);

/* Make a response with this rcode and no records (NOERROR: there is the name,
 * but nothing of that type) to a query. Returns its length; UK_EPROTO. */
int dns_refuse(
    uint8_t *out, size_t cap, const uint8_t *query, size_t len, unsigned rcode);
/* The same response, without those address records for which keep is false, and
 * their signatures, not authentic any more (AD, RFC 4035 3.2.3), with TTLs of
 * BINDINGS_CEILING_S at most, and with no more than cap bytes (else truncated,
 * TC set). Returns its length; UK_EPROTO, UK_ENOMEM. */
int dns_answer_filter(uint8_t *out, size_t cap, const uint8_t *msg, size_t len,
    bool (*keep)(void *arg, const struct ip_addr *a), void *arg);
/* A query for a name. Returns its length; UK_EPROTO: it is none, or does not
 * fit. */
int dns_query(
    uint8_t *out, size_t cap, uint16_t id, const char *name, uint16_t type);

#endif
