/* dns_forward: the resolver that plain DNS of this host, and of the LAN behind
 * it, is redirected to while a policy has rules by name. UDP and TCP, on
 * 127.0.0.1, or for a LAN on all addresses; on all of IPv6 (policy_nft lets in
 * only what was redirected).
 *
 * A question goes on to the server that it was meant for: the kernel's
 * connection tracking knows it (host/flows.h). So whatever the host has set up
 * stays as it is: systemd-resolved with servers for each link, a local dnsmasq,
 * several servers. Questions about names whose rule says tunnel or tunnel! go
 * to `tunnel_server` instead, if there is one, through the tunnel; while the
 * tunnel cannot, those of tunnel! are refused (SERVFAIL), others go on
 * natively.
 *
 * An answer waits until the kernel has its addresses: `commit`. For a name
 * whose first rule without conditions says tunnel, tunnel! or block:
 *   - AAAA are taken out of answers where the tunnel takes no IPv6, so that
 *     programs do not go around it; for block, as they are
 *   - HTTPS and SVCB have none: they carry addresses of their own
 *   - private, loopback and link-local addresses are refused (rebinding),
 *     unless allowed; the answer is what is left
 *   - when an address cannot be kept, tunnel! and block get SERVFAIL
 * use-application-dns.net, mask.icloud.com and mask-h2.icloud.com do not exist
 * (NXDOMAIN): browsers then use plain DNS. _dns.NAME has no SVCB: nor is an
 * encrypted resolver offered to those who look for one (RFC 9462). ANY has no
 * answer either where HTTPS has none, nor have CNAMEs without end (SERVFAIL).
 * NOTIFY, UPDATE and zone transfers pass. Everything else passes as it came,
 * byte for byte.
 *
 * Bounds: DNS_FORWARD_QUESTIONS at a time, then the oldest goes; 64 TCP
 * clients; 4.5 s for an answer, then a TCP client's connection ends. Questions
 * ahead: exact DOMAIN rules of the policy itself are asked for at start and
 * before their time is over, 500 at most.
 * Everything on the loop's thread. */
#ifndef UKAI_POLICY_DNS_FORWARD_H
#define UKAI_POLICY_DNS_FORWARD_H

#include <uv.h>

#include "bindings.h"
#include "domain_name.h"

#define DNS_FORWARD_QUESTIONS 4096

struct dns_forward;

/* What changes with a policy, or with the tunnel. */
struct dns_policy {
	const struct rules *rules;
	const struct matcher *matcher;
};

struct dns_forward_conf {
	uv_loop_t *loop;
	bool lan; /* listen on all IPv4 addresses */
	uint32_t mark; /* of sockets toward the servers (CLASS_DNS) */
	uint32_t tunnel_mark; /* of those through the tunnel */
	const struct ip_addr *tunnel_server; /* [Interface] DNS */
	size_t tunnel_servers;
	const struct ip_prefix *allow_private; /* may be names' addresses */
	size_t allow_privates;
	bool tunnel_v4, tunnel_v6; /* what the tunnel takes at all */
	struct bindings *bindings;
	/* Bring bindings' changes into the kernel. true: all of them are
	 * there. false: not now; dns_forward_committed() will be called, from
	 * the loop, not from here. May be called again before that. What the
	 * kernel refused has to be told again (bindings_untold()), or the next
	 * answer would be believed to be there. */
	bool (*commit)(void *arg);
	/* Can the tunnel carry IPv4 now? */
	bool (*live)(void *arg);
	void *arg;
};

/* Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int dns_forward_open(struct dns_forward **out, const struct dns_forward_conf *c,
    const struct dns_policy *p, struct diag *d);
void dns_forward_close(struct dns_forward *f); /* NULL: no-op */
uint16_t dns_forward_port(const struct dns_forward *f);

/* Another policy from now on; bindings have followed before. */
void dns_forward_follow(struct dns_forward *f, const struct dns_policy *p);
/* What waited for the kernel may go out. ok false: the kernel did not take it;
 * then names of tunnel! and block get SERVFAIL. */
void dns_forward_committed(struct dns_forward *f, bool ok);

struct dns_forward_stats {
	uint64_t questions, answers, held; /* held: waited for the kernel */
	uint64_t lan; /* of the questions: by UDP, not to a loopback address */
	uint64_t tunnel; /* asked through the tunnel */
	uint64_t refused_private, refused_v6, refused_down, refused_full;
	uint64_t timeouts, malformed;
	/* About resolvers that are asked over HTTPS or TLS, and that no rule is
	 * about; the last of them, "" before. */
	uint64_t encrypted;
	char encrypted_name[DOMAIN_NAME_MAX];
};
void dns_forward_stats(
    const struct dns_forward *f, struct dns_forward_stats *out);

#endif
