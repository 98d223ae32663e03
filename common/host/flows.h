/* flows: single flows of the kernel's connection tracking. Linux: ctnetlink by
 * libnetfilter_conntrack. Needs CAP_NET_ADMIN. Threads: any, one at a time. */
#ifndef UKAI_FLOWS_H
#define UKAI_FLOWS_H

#include "core/diag.h"
#include "core/endpoint.h"

/* One direction of a flow; ports in host order, 0 for what has none. ICMP and
 * ICMPv6: sport is the identifier, dport 256 times the type and the code. */
struct flow_tuple {
	struct ip_addr src, dst;
	uint16_t sport, dport;
	uint8_t protocol; /* IPPROTO_* */
	uint16_t zone; /* of connection tracking; 0: the usual one */
};

struct flow_entry {
	struct flow_tuple original, reply;
	uint32_t mark;
	bool answered; /* packets were seen both ways */
};

struct flows;

/* Returns 0; UK_EPERM, UK_ESYS (no ctnetlink in this kernel), UK_ENOMEM. */
int flows_open(struct flows **f, struct diag *d);
void flows_close(struct flows *f); /* NULL: no-op */

/* Where the flow was going to before the kernel redirected it: reply is what
 * its answers look like (from our socket to the client). One question to the
 * kernel, tens of us. Not of ICMP. Returns 0; UK_ENOENT: no such flow, or one
 * that began with this very tuple; UK_EINVAL, UK_ENOMEM, UK_ESYS. */
int flows_original(
    struct flows *f, const struct flow_tuple *reply, struct flow_tuple *out);

/* Visit all flows of a family whose mark has these bits; blocks as long as the
 * kernel takes to walk its table. A flow that changes its place meanwhile may
 * be told twice or not. Stops telling when visit returns false. visit must not
 * use f. Returns 0; UK_EPERM, UK_ENOMEM, UK_ESYS. */
int flows_each(struct flows *f, uint8_t family, uint32_t mark, uint32_t mask,
    bool (*visit)(void *arg, const struct flow_entry *e), void *arg);

/* Forget one: its next packet begins a new flow. Returns 0; UK_ENOENT;
 * UK_EINVAL: not a tuple; UK_EPERM, UK_ENOMEM, UK_ESYS. */
int flows_delete(struct flows *f, const struct flow_tuple *original);

/* Tell of flows that end, and whose mark has these bits: a descriptor to poll
 * for reading, f's own; then flows_ended() until it returns UK_EAGAIN. Flows
 * that began before the first program of the network namespace listened are
 * not told (net.netfilter.nf_conntrack_events is 2, the default): ask for
 * those again, by flows_each(), until they are gone. Once for each f. Returns
 * 0; UK_EPERM, UK_ENOMEM, UK_ESYS. */
int flows_watch(
    struct flows *f, uint32_t mark, uint32_t mask, int *fd, struct diag *d);
/* Returns 0; UK_EAGAIN; UK_ELIMIT: some were lost, look at all of them
 * (flows_each()), then go on; UK_ENOMEM, UK_ESYS. */
int flows_ended(struct flows *f, struct flow_entry *out);

#endif
