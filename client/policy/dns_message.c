#include "dns_message.h"

#include <ldns/ldns.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"

#define HEADER 12
/* What goes over any path in one piece, as DNS Flag Day 2020 has it. */
#define EDNS_SIZE 1232

static int
message_parse(ldns_pkt **out, const uint8_t *msg, size_t len)
{
	size_t records;

	if (len < HEADER || len > DNS_MESSAGE_MAX)
		return UK_EPROTO;
	records = (size_t)load_be16(msg + 6) + load_be16(msg + 8) +
		  load_be16(msg + 10);
	if (load_be16(msg + 4) > 1 || records > DNS_MESSAGE_RECORDS)
		return UK_EPROTO;
	return ldns_wire2pkt(out, msg, len) == LDNS_STATUS_OK ? 0 : UK_EPROTO;
}

/* Write out and free it. */
static int
message_put(uint8_t *out, size_t cap, ldns_pkt *p)
{
	uint8_t *wire = NULL;
	size_t len = 0;
	ldns_status status = ldns_pkt2wire(&wire, p, &len);
	int r = UK_EPROTO;

	ldns_pkt_free(p);
	if (status == LDNS_STATUS_MEM_ERR)
		r = UK_ENOMEM;
	if (status == LDNS_STATUS_OK && len <= cap) {
		memcpy(out, wire, len);
		r = (int)len;
	}
	free(wire);
	return r;
}

static bool
is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_';
}

/* Returns whether all of it is plain. A name has 255 bytes at most (RFC 1035
 * 3.1), and a length before each label and a zero behind them. */
static bool
name_text(char out[static DOMAIN_NAME_MAX], const ldns_rdf *name)
{
	const uint8_t *wire = ldns_rdf_data(name);
	size_t size = ldns_rdf_size(name), n = 0;
	bool plain = true;

	for (size_t i = 0; i < size && wire[i] > 0;) {
		size_t end = i + 1 + wire[i];

		UK_ASSERT(end < size && n + wire[i] + 2 <= DOMAIN_NAME_MAX);
		if (n > 0)
			out[n++] = '.';
		for (i++; i < end; i++) {
			uint8_t c = wire[i];

			if (c >= 'A' && c <= 'Z')
				c = (uint8_t)(c - 'A' + 'a');
			plain = plain && is_plain(c);
			if (c <= ' ' || c >= 0x7f || c == '.')
				c = '?';
			out[n++] = (char)c;
		}
	}
	out[n] = '\0';
	return plain;
}

static const ldns_rr *
question_of(const ldns_pkt *p)
{
	return ldns_rr_list_rr(ldns_pkt_question(p), 0);
}

static int
question_of_query(struct dns_question *q, const ldns_pkt *p)
{
	const ldns_rr *rr = question_of(p);

	if (ldns_pkt_qr(p) || ldns_pkt_get_opcode(p) != LDNS_PACKET_QUERY ||
	    !rr || ldns_pkt_ancount(p) > 0)
		return UK_EPROTO;
	q->id = ldns_pkt_id(p);
	q->type = (uint16_t)ldns_rr_get_type(rr);
	q->class = (uint16_t)ldns_rr_get_class(rr);
	q->plain = name_text(q->name, ldns_rr_owner(rr));
	q->udp_size = 512;
	if (ldns_pkt_edns(p) && ldns_pkt_edns_udp_size(p) > q->udp_size)
		q->udp_size = ldns_pkt_edns_udp_size(p);
	return 0;
}

int
dns_question_parse(struct dns_question *q, const uint8_t *msg, size_t len)
{
	ldns_pkt *p;
	int r = message_parse(&p, msg, len);

	if (r < 0)
		return r;
	r = question_of_query(q, p);
	ldns_pkt_free(p);
	return r;
}

/* Whoever asks for any class gets them all (RFC 1035 3.2.5). */
static bool
in_class(const ldns_rr *rr, uint16_t class)
{
	return class == LDNS_RR_CLASS_ANY ||
	       (uint16_t)ldns_rr_get_class(rr) == class;
}

/* Follow a name's CNAME. Returns 0 with *name where it leads to, and *ttl_s
 * lowered; UK_ENOENT: it has none; UK_EPROTO: several. */
static int
cname_follow(const ldns_rr_list *answer, const ldns_rdf **name, uint16_t class,
    uint32_t *ttl_s)
{
	const ldns_rdf *target = NULL;

	for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(answer, i);
		const ldns_rdf *to = ldns_rr_rdf(rr, 0);

		if (ldns_rr_get_type(rr) != LDNS_RR_TYPE_CNAME || !to ||
		    !in_class(rr, class) ||
		    ldns_dname_compare(ldns_rr_owner(rr), *name) != 0)
			continue;
		if (target && ldns_dname_compare(target, to) != 0)
			return UK_EPROTO;
		target = to;
		if (ldns_rr_ttl(rr) < *ttl_s)
			*ttl_s = ldns_rr_ttl(rr);
	}
	if (!target)
		return UK_ENOENT;
	*name = target;
	return 0;
}

static bool
rr_address(struct ip_addr *a, const ldns_rr *rr)
{
	const ldns_rdf *rd = ldns_rr_rdf(rr, 0);
	uint8_t family = FAMILY_NONE;
	size_t size = 0;

	if (ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN) {
		if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_A) {
			family = FAMILY_V4;
			size = 4;
		} else if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_AAAA) {
			family = FAMILY_V6;
			size = 16;
		}
	}
	if (size == 0 || !rd || ldns_rdf_size(rd) != size)
		return false;
	*a = (struct ip_addr){.family = family};
	memcpy(a->b, ldns_rdf_data(rd), size);
	return true;
}

static void
addresses_take(struct dns_answer *a, const ldns_rr_list *answer,
    const ldns_rdf *owner, uint32_t ttl_s)
{
	for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(answer, i);
		struct dns_address addr;

		if (!rr_address(&addr.addr, rr))
			continue;
		if (!owner || a->addresses == DNS_MESSAGE_ADDRESSES ||
		    ldns_dname_compare(ldns_rr_owner(rr), owner) != 0) {
			a->more = true;
			continue;
		}
		addr.ttl_s = ldns_rr_ttl(rr) < ttl_s ? ldns_rr_ttl(rr) : ttl_s;
		a->address[a->addresses++] = addr;
	}
}

static int
answer_read(struct dns_answer *a, const struct dns_question *q, ldns_pkt *p)
{
	const ldns_rr_list *answer = ldns_pkt_answer(p);
	const ldns_rdf *name = ldns_rr_owner(question_of(p));
	uint32_t ttl_s = UINT32_MAX;
	int r = 0;

	while (a->names < BINDINGS_CHAIN_MAX) {
		name_text(a->name[a->names++], name);
		r = cname_follow(answer, &name, q->class, &ttl_s);
		if (r < 0)
			break;
	}
	if (r == UK_EPROTO)
		return r;
	a->endless = r == 0;
	addresses_take(a, answer, a->endless ? NULL : name, ttl_s);
	/* Those of a service's or a mail server's name, beside it. */
	addresses_take(a, ldns_pkt_authority(p), NULL, 0);
	addresses_take(a, ldns_pkt_additional(p), NULL, 0);
	return 0;
}

static bool
same_question(const struct dns_question *q, const ldns_pkt *p)
{
	const ldns_rr *rr = question_of(p);
	char name[DOMAIN_NAME_MAX];

	if (!rr)
		return ldns_pkt_get_rcode(p) != LDNS_RCODE_NOERROR &&
		       ldns_pkt_get_rcode(p) != LDNS_RCODE_NXDOMAIN &&
		       ldns_pkt_ancount(p) == 0;
	name_text(name, ldns_rr_owner(rr));
	return (uint16_t)ldns_rr_get_type(rr) == q->type &&
	       (uint16_t)ldns_rr_get_class(rr) == q->class &&
	       strcmp(name, q->name) == 0;
}

int
dns_answer_parse(struct dns_answer *a, const struct dns_question *q,
    const uint8_t *msg, size_t len)
{
	ldns_pkt *p;
	int r = message_parse(&p, msg, len);

	if (r < 0)
		return r;
	a->rcode = (unsigned)ldns_pkt_get_rcode(p);
	a->truncated = ldns_pkt_tc(p);
	a->names = a->addresses = 0;
	a->more = a->endless = false;
	if (!ldns_pkt_qr(p) || ldns_pkt_get_opcode(p) != LDNS_PACKET_QUERY ||
	    ldns_pkt_id(p) != q->id || !same_question(q, p))
		r = UK_EPROTO;
	else if (question_of(p))
		r = answer_read(a, q, p);
	ldns_pkt_free(p);
	return r;
}

/* A response to p without any record. NULL: no memory. */
static ldns_pkt *
response_to(const ldns_pkt *p, unsigned rcode)
{
	ldns_pkt *a = ldns_pkt_new();
	ldns_rr *question = ldns_rr_clone(question_of(p));

	if (!a || !question ||
	    !ldns_pkt_push_rr(a, LDNS_SECTION_QUESTION, question)) {
		ldns_rr_free(question);
		ldns_pkt_free(a);
		return NULL;
	}
	ldns_pkt_set_id(a, ldns_pkt_id(p));
	ldns_pkt_set_qr(a, true);
	ldns_pkt_set_rd(a, ldns_pkt_rd(p));
	ldns_pkt_set_cd(a, ldns_pkt_cd(p));
	ldns_pkt_set_ra(a, true);
	ldns_pkt_set_rcode(a, (uint8_t)rcode);
	/* RFC 6891 6.1.1: who has EDNS is answered with it. */
	if (ldns_pkt_edns(p)) {
		ldns_pkt_set_edns_udp_size(a, EDNS_SIZE);
		ldns_pkt_set_edns_do(a, ldns_pkt_edns_do(p));
	}
	return a;
}

int
dns_refuse(
    uint8_t *out, size_t cap, const uint8_t *query, size_t len, unsigned rcode)
{
	struct dns_question q;
	ldns_pkt *p, *a;
	int r = message_parse(&p, query, len);

	if (r < 0)
		return r;
	r = question_of_query(&q, p);
	a = r == 0 ? response_to(p, rcode) : NULL;
	ldns_pkt_free(p);
	return a ? message_put(out, cap, a) : UK_EPROTO;
}

/* Which records of a section stay. */
struct sieve {
	bool (*keep)(void *arg, const struct ip_addr *a);
	void *arg;
	bool dropped_a, dropped_aaaa;
};

static bool
stays(struct sieve *s, const ldns_rr *rr)
{
	struct ip_addr a;

	if (!rr_address(&a, rr) || s->keep(s->arg, &a))
		return true;
	if (a.family == FAMILY_V4)
		s->dropped_a = true;
	else
		s->dropped_aaaa = true;
	return false;
}

/* A signature is of all records of a type (RFC 4034 3). */
static bool
signs_dropped(struct sieve *s, const ldns_rr *rr)
{
	const ldns_rdf *covered;

	if (ldns_rr_get_type(rr) != LDNS_RR_TYPE_RRSIG)
		return false;
	covered = ldns_rr_rrsig_typecovered(rr);
	if (!covered)
		return true;
	switch (ldns_rdf2rr_type(covered)) {
	case LDNS_RR_TYPE_A:
		return s->dropped_a;
	case LDNS_RR_TYPE_AAAA:
		return s->dropped_aaaa;
	default:
		return false;
	}
}

static bool
not_signs_dropped(struct sieve *s, const ldns_rr *rr)
{
	return !signs_dropped(s, rr);
}

static bool
none_stays(struct sieve *s, const ldns_rr *rr)
{
	(void)s;
	(void)rr;
	return false;
}

static void
section_sieve(ldns_pkt *p, ldns_pkt_section section, ldns_rr_list *list,
    struct sieve *s, bool (*rr_stays)(struct sieve *s, const ldns_rr *rr))
{
	size_t n = ldns_rr_list_rr_count(list), kept = 0;

	for (size_t i = 0; i < n; i++) {
		ldns_rr *rr = ldns_rr_list_rr(list, i);

		if (rr_stays(s, rr))
			ldns_rr_list_set_rr(list, rr, kept++);
		else
			ldns_rr_free(rr);
	}
	for (size_t i = kept; i < n; i++)
		ldns_rr_list_pop_rr(list);
	ldns_pkt_set_section_count(p, section, (uint16_t)kept);
}

static void
message_sieve(ldns_pkt *p, struct sieve *s,
    bool (*rr_stays)(struct sieve *s, const ldns_rr *rr))
{
	section_sieve(p, LDNS_SECTION_ANSWER, ldns_pkt_answer(p), s, rr_stays);
	section_sieve(
	    p, LDNS_SECTION_AUTHORITY, ldns_pkt_authority(p), s, rr_stays);
	section_sieve(
	    p, LDNS_SECTION_ADDITIONAL, ldns_pkt_additional(p), s, rr_stays);
}

int
dns_answer_filter(uint8_t *out, size_t cap, const uint8_t *msg, size_t len,
    bool (*keep)(void *arg, const struct ip_addr *a), void *arg)
{
	struct sieve s = {.keep = keep, .arg = arg};
	ldns_rr_list *answer;
	uint8_t *wire = NULL;
	size_t size = 0;
	ldns_pkt *p;
	int r = message_parse(&p, msg, len);

	if (r < 0)
		return r;
	message_sieve(p, &s, stays);
	message_sieve(p, &s, not_signs_dropped);
	ldns_pkt_set_ad(p, false);
	answer = ldns_pkt_answer(p);
	for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
		ldns_rr *rr = ldns_rr_list_rr(answer, i);

		if (ldns_rr_ttl(rr) > BINDINGS_CEILING_S)
			ldns_rr_set_ttl(rr, BINDINGS_CEILING_S);
	}
	if (ldns_pkt2wire(&wire, p, &size) == LDNS_STATUS_OK && size > cap) {
		message_sieve(p, &s, none_stays);
		ldns_pkt_set_tc(p, true);
	}
	free(wire);
	return message_put(out, cap, p);
}

int
dns_query(
    uint8_t *out, size_t cap, uint16_t id, const char *name, uint16_t type)
{
	ldns_rdf *owner = ldns_dname_new_frm_str(name);
	ldns_pkt *p;

	if (!owner)
		return UK_EPROTO;
	p = ldns_pkt_query_new(owner, (ldns_rr_type)type, LDNS_RR_CLASS_IN,
	    LDNS_RD); /* takes owner, but not when it fails */
	if (!p) {
		ldns_rdf_deep_free(owner);
		return UK_EPROTO;
	}
	ldns_pkt_set_id(p, id);
	ldns_pkt_set_edns_udp_size(p, EDNS_SIZE);
	return message_put(out, cap, p);
}
