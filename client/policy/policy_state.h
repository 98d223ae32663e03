/* policy_state: what a running policy is made of. For policy*.c only. */
#ifndef UKAI_POLICY_POLICY_STATE_H
#define UKAI_POLICY_POLICY_STATE_H

#include "bindings.h"
#include "client/failover.h"
#include "compiled.h"
#include "dns_forward.h"
#include "host/flows.h"
#include "io/log.h"
#include "io/watch.h"
#include "policy.h"
#include "policy_kernel.h"
#include "ports_left.h"
#include "programs.h"

#define POLICY_GATEWAYS_MAX 8

/* Who uses addresses of tunnel!. */
struct policy_use {
	uv_work_t work;
	bool busy;
	uint64_t next_ns;
	struct ip_addr *addr; /* while busy the worker's */
	size_t n;
};

struct policy {
	struct policy_setup s;
	struct compiled *now;
	uint64_t loaded_s; /* Unix seconds */
	struct policy_kernel *kernel;
	struct programs *programs; /* NULL: nobody has asked for one */
	struct bindings *bindings;
	struct compiled *bound; /* what bindings follow: now, but for want of
				   memory */
	/* From here on: since policy_start(). */
	struct tunnel *tunnel;
	struct mape *mape;
	uint32_t ports; /* of the line, for a protocol */
	struct flows *flows;
	struct dns_forward *dns; /* NULL: no rule is about names */
	struct ports_left *ports_left; /* NULL: no rule is about ports */
	struct watch *timer;
	uint64_t turns; /* of the timer */
	struct failover *peer;
	size_t peers;
	bool started;
	bool live; /* as the kernel's table has it */
	uv_work_t forget; /* has flows to itself */
	bool to_forget, forgetting;
	bool runs; /* `ukai run` has been asked for, maybe of an earlier run */
	struct policy_use use;
	/* What the tables were made of last. */
	struct ip_addr dns_server[8]; /* [Interface] DNS */
	size_t dns_servers;
	struct ip_prefix *allowed, *local, *network;
	size_t alloweds, locals, networks;
	size_t gateways; /* behind p->local's others */
	struct policy_nft_link *link;
	size_t links;
	struct policy_nft_known *known;
	size_t knowns;
	/* Questions of the LAN, at the last look. */
	uint64_t lan_sent, lan_heard;
	bool lan_deaf; /* a filter drops them on their way to the forwarder */
	bool told_encrypted;
	struct log_limit complaint;
	struct watch *refused; /* tells dns of a change that failed */

	/* A reload. */
	uv_work_t work;
	struct compiled *next;
	bool loading; /* next is the worker's */
	bool closing; /* none begins any more */
	int err;
	struct diag *d;
	void (*done)(void *arg, int err, const struct diag *d);
	void *done_arg;
	void (*looked)(void *arg); /* NULL: nobody waits */
	void *looked_arg;
};

/* ---- policy_describe.c: what the tables are made of ---- */

const struct client_conf *policy_conf(const struct policy *p);
/* Can the tunnel carry this family at all: it has an address, and a peer that
 * takes some of it. */
bool policy_takes(const struct policy *p, uint8_t family);
int policy_gather(struct policy *p); /* once */
/* Next hops may change: p->local's last part. */
int policy_gather_gateways(struct policy *p);
/* And so may links with link-local addresses. */
int policy_gather_links(struct policy *p);
/* What rules for suffixes look at of a name that is too long to be kept with
 * an address: its last labels, less than size characters. */
const char *policy_name_end(const char *name, size_t size);
/* All changes of bindings that are told now become the sets' content in the
 * text. */
int policy_gather_known(struct policy *p);
void policy_describe(
    const struct policy *p, struct compiled *c, struct policy_nft *out);
/* The guard of a killed run knows addresses of names, and one that ended has
 * left a file (names_kept.h): they are not asked for again before somebody uses
 * them. Returns 0; UK_ENOMEM. */
int policy_carry_over(struct policy *p);

/* ---- policy_live.c: the relay is there, or is not ---- */

/* Once a turn: look whether some peer answers, ask where that is not known,
 * and let the kernel follow. */
void policy_follow_peers(struct policy *p);
/* No new flow takes the tunnel, and those that did end: by a reset at both ends
 * where this host is one and they are of TCP; else with their next packet they
 * are new ones. Nothing of them goes on by the line with the tunnel's address
 * as its source. While the tables stand. */
void policy_end_flows(struct policy *p);

/* ---- policy_use.c ---- */

/* Look, now and then, which addresses flows of tunnel! have: they are kept. */
void policy_follow_use(struct policy *p);

/* ---- policy_reload.c ---- */

/* The tables can be changed again: a reload may have waited for that. */
void policy_reload_goes_on(struct policy *p);

/* ---- policy.c ---- */

/* The tables can be changed again: what waited for that goes into the kernel,
 * and then answers to where they are waited for. */
void policy_commit_waiting(struct policy *p);

int policy_open_programs(
    struct policy *p, const struct compiled *c, struct diag *d);
int policy_open_dns(struct policy *p, const struct compiled *c, struct diag *d);
int policy_find_ports(struct policy *p, struct diag *d);
int policy_open_ports(struct policy *p, struct diag *d);

#endif
