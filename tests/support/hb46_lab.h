/* hb46_lab: a resolver and a provisioning server on the loopback, in a thread
 * of the test's. Both families reach the server; TLS or not, as the client
 * begins. */
#ifndef TEST_HB46_LAB_H
#define TEST_HB46_LAB_H

#include "core/base.h"

#define HB46_LAB_NAME "vne.example.jp" /* what the certificate is for */

struct hb46_page {
	unsigned status;
	const char *location; /* NULL: none */
	const char *body;
	size_t more; /* blanks behind the body */
	bool stall; /* no answer */
};

struct hb46_lab {
	uint16_t port; /* the server's */
	char resolvers[32]; /* for struct hb46_question */
	char ca_file[64];

	/* What the resolver does; any host is ::1, but those that begin with
	 * "v4" have no IPv6. */
	const char *txt; /* NULL: none */
	unsigned rcode;
	bool silent;
	/* The nth request gets the nth page, or the last. */
	const struct hb46_page *page;
	unsigned pages;

	/* What has come. */
	unsigned questions, connections, requests;
	char request[8][1024]; /* the first lines */
};

/* NULL: this host has no IPv6. */
struct hb46_lab *hb46_lab_start(void);
void hb46_lab_stop(struct hb46_lab *lab);
/* As if nothing had come. */
void hb46_lab_reset(struct hb46_lab *lab);

#endif
