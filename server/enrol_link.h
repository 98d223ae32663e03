/* enrol_link: enrolment on a TLS connection: ENROL_REQUEST_LEN bytes come, an
 * answer goes back, and that was all (core/enrol.h). What follows a request is
 * not looked at. Who joins is decided by the registry, which is asked by a
 * call.
 *
 * A secret has 128 bits and cannot be guessed. Whoever tries all the same gets
 * ENROL_LINK_GUESSES answers a minute for each address (/32, /64; A3); from
 * then on it is ENROL_BUSY without a question to the registry, until the minute
 * is over. */
#ifndef UKAI_SERVER_ENROL_LINK_H
#define UKAI_SERVER_ENROL_LINK_H

#include "accept.h"
#include "core/enrol.h"

#define ENROL_LINK_GUESSES 10
#define ENROL_LINK_GUESSES_NS (60 * UK_NS_PER_S)

struct enrol_link;

/* Decide, and fill answer, which says ENROL_FAILED and is zeros else; its
 * policy is freed afterwards. */
typedef void enrol_link_ask(void *arg, const struct enrol_request *request,
    const struct endpoint *from, struct enrol_answer *answer);

/* Returns 0; UK_ENOMEM. */
int enrol_link_new(struct enrol_link **l, enrol_link_ask *ask, void *arg);
void enrol_link_free(struct enrol_link *l); /* after accept; NULL: no-op */

/* For the table of struct accept_conf. */
struct accept_protocol enrol_link_protocol(struct enrol_link *l);

struct enrol_link_stats {
	uint64_t incomplete; /* gone before the request was there */
	uint64_t malformed;
	uint64_t guessing; /* of those answered ENROL_BUSY: not asked */
	uint64_t answered[ENROL_FAILED + 1]; /* by enum enrol_status */
};

const struct enrol_link_stats *enrol_link_stats(const struct enrol_link *l);

#endif
