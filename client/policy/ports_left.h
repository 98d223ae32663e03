/* ports_left: PORTS-LEFT rules while they run. Behind somebody else's CE: the
 * sets of flows that use the line's ports (policy_nft_used_set()) are filled by
 * packets, at once and exactly; here they are emptied again, when the kernel's
 * connection tracking ends a flow. With our own CE: which destinations few
 * ports are left toward goes from its table into sets (policy_nft_short_set()),
 * ten times a second. What the CE had no port for before that is decided on
 * anew with its next packet, such as a SYN sent again.
 *
 * In a short set 0.0.0.0 and port 0 stand for every destination; in that of UDP
 * for all but ports 53, 123 and 443, since those share the endpoint-independent
 * mappings (nat44.h), and 0.0.0.0 with one of these for that port anywhere.
 * ICMP has no set: a question takes a port for a minute, and no rule spills it.
 *
 * On the loop's thread. */
#ifndef UKAI_POLICY_PORTS_LEFT_H
#define UKAI_POLICY_PORTS_LEFT_H

#include <uv.h>

#include "host/hostfw.h"
#include "policy_nft.h"

struct mape;
struct ports_left;

struct ports_left_conf {
	uv_loop_t *loop;
	const struct rules *rules;
	const struct slots *slots;
	uint32_t ports; /* budget of a protocol */
	struct mape *mape; /* our own CE; NULL: none */
	/* As in struct policy_nft; they stay. */
	const struct ip_prefix *local, *network;
	size_t locals, networks;
	/* Make changes in the tunnel's table, which they need not name; as
	 * hostfw_elements(). UK_EAGAIN: not now, try at the next turn. */
	int (*apply)(void *arg, const struct hostfw_change *c, size_t n);
	/* Visit a set of that table; as hostfw_elements_each(). UK_EAGAIN
	 * likewise. */
	int (*each)(void *arg, const char *set,
	    bool (*visit)(void *visit_arg, const uint8_t *key, size_t key_len,
		const char *comment),
	    void *visit_arg);
	/* What ports_left_look() has asked for is there. */
	void (*looked)(void *arg);
	void *arg;
};

/* Does a policy need it? */
bool ports_left_has(const struct rules *r);
/* The kernel's table stands already, with empty sets. Flows that use ports
 * since before are looked for and put in, as far as there is room. rules, slots
 * and c are not needed after. Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int ports_left_open(
    struct ports_left **out, const struct ports_left_conf *c, struct diag *d);
void ports_left_close(struct ports_left *p); /* NULL: no-op */
/* The table was made anew: its sets are empty. NULL: no-op. */
void ports_left_again(struct ports_left *p);

struct ports_left_stats {
	uint32_t ports; /* budget */
	uint32_t used_tcp, used_udp;
	bool own_ce; /* then used_* are the CE's */
};
/* Behind somebody else's CE used_* are as of the last time that the kernel's
 * flows were looked through. Have that done by a worker thread: looked of the
 * conf is called then, or by ports_left_close(). False: nothing to wait for. */
bool ports_left_look(struct ports_left *p);
void ports_left_stats(const struct ports_left *p, struct ports_left_stats *out);

#endif
