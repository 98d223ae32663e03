/* hb46: the answers of the Japanese provisioning protocol (HB46PP, "v6mig-1"
 * of the IPv6 Promotion Council, version 1.1) as rules. Pure (C4). */
#ifndef UKAI_MAPE_HB46_H
#define UKAI_MAPE_HB46_H

#include "map_rules.h"

#define HB46_URL_MAX 512

/* What the TXT record of 4over6.info says. */
struct hb46_where {
	char url[HB46_URL_MAX];
	bool verify; /* t=b: check the server's certificate */
};

/* Returns 0; UK_EPROTO: not such a record, or an URL that is not https (or
 * http, where t=a). */
int hb46_where_parse(struct hb46_where *w, const char *txt, size_t len);
/* Is it an URL that may be asked: https, or http where the certificate would
 * not be checked either; a host; no name and password, no fragment? */
bool hb46_url_ok(const char *url, size_t len, bool verify);

struct hb46 {
	struct map_rules rules; /* empty: no MAP-E for this line */
	char enabler[256], service[256]; /* who says so; harmless text or "" */
	char other[32]; /* the first method of the order where it is not
			   MAP-E: "dslite" */
	uint32_t ttl_s; /* at most HB46_TTL_MAX */
	char token[256]; /* to be given with the next question: URL-safe; "" */
};

#define HB46_ANSWER_MAX 65536
#define HB46_RULES_MAX 256
#define HB46_TTL_MAX 604800
#define HB46_TTL_DEFAULT 79200 /* where none is told: 20 to 24 hours (3.6) */

/* The JSON answer. Each mistake is told to d; none of the rules is taken when
 * one is wrong. Returns 0; UK_EPROTO (also where jansson takes want of memory
 * for a mistake of form); UK_ENOMEM; on an error h is empty. */
int hb46_parse(struct hb46 *h, const char *json, size_t len, struct diag *d);
void hb46_fini(struct hb46 *h);

#endif
