/* hb46_ask: ask the line for its MAP-E rules: the TXT record of 4over6.info
 * from the line's own resolvers, then one GET over IPv6 (HB46PP sections 3.1
 * to 3.3). Blocks. No state of its own; any thread. */
#ifndef UKAI_MAPE_HB46_ASK_H
#define UKAI_MAPE_HB46_ASK_H

#include "core/endpoint.h"
#include "core/text.h"
#include "hb46.h"

#define HB46_ASK_TIMEOUT (10 * UK_NS_PER_S)
#define HB46_REDIRECTS_MAX 3
#define HB46_WHY_MAX 400

/* Zero or NULL: as usual. */
struct hb46_question {
	const char *version; /* of this program, "0.1.0"; needed */
	const char *token; /* of an earlier answer */
	const char *token_url; /* whose: nobody else gets to know it */
	uint32_t mark; /* of the sockets, so that they take the line */
	uint64_t timeout_ns; /* for all of it; HB46_ASK_TIMEOUT */
	const char *resolvers; /* "[::1]:53,..."; the host's */
	const char *ca_file; /* certificates (PEM); the system's */
};

struct hb46_reply {
	struct text body; /* at most HB46_ANSWER_MAX */
	char url[HB46_URL_MAX]; /* that the TXT record gave */
	struct ip_addr from, to; /* our address, and whose answer it is */
};

/* Returns 0; on an error why says more and nothing is in r: UK_ENOENT: this
 * line's resolvers know no server; UK_EPERM: the server does not know this
 * line; UK_EAUTH: its certificate is not good; UK_EPROTO: that is not the
 * protocol; UK_EAGAIN: nobody answers; UK_ENOMEM; UK_ESYS. */
int hb46_ask(struct hb46_reply *r, const struct hb46_question *q,
    char why[static HB46_WHY_MAX]);
void hb46_reply_fini(struct hb46_reply *r);

#endif
