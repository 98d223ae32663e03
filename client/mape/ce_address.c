#include "ce_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/err.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"

/* Messages read before other events get their turn. */
#define READ_MOST 32
/* Longer ones are nobody's who only has this address to tell. */
#define READ_LEN 512
#define WHY_MAX DIAG_TEXT
#define MAC_TEXT_MAX 18

struct ce_address {
	struct ce_address_conf conf;
	struct ip_ifaddr own; /* the address as it is put on the link */
	struct ce_claim claim;
	enum ce_claim_state told;
	bool ours;
	bool complained; /* that the address cannot be put there again */
	bool warned; /* that there is no carrier */
	int fd; /* packet socket; -1: there are no neighbours */
	struct watch *readable;
	struct watch *timer;
	uint64_t announced;
	uint64_t rival_wall_ns;
};

const char *
ce_claim_state_name(enum ce_claim_state state)
{
	static const char *const name[] = {
	    [CE_CLAIM_WAITING] = "waiting",
	    [CE_CLAIM_HELD] = "held",
	    [CE_CLAIM_REFUSED] = "refused",
	};

	return name[state];
}

static const char *
mac_text(const uint8_t m[NDP_MAC_LEN], char text[static MAC_TEXT_MAX])
{
	snprintf(text, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", m[0],
	    m[1], m[2], m[3], m[4], m[5]);
	return text;
}

/* The link's name for a sentence. */
static const char *
link_text(const struct ce_address *c, char text[static IF_NAMESIZE])
{
	return if_indextoname(c->conf.ifindex, text) != NULL
		   ? text
		   : "the line's link";
}

/* Let through what is about the address. The socket shows a packet from its
 * IPv6 header on. */
static int
attach_filter(int fd, const uint8_t a[16])
{
	struct sock_filter f[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 12),
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NDP_SOLICIT, 1, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NDP_ADVERTISE, 0, 9),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 48),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(a), 0, 7),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 52),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(a + 4), 0, 5),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 56),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(a + 8), 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 60),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(a + 12), 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, READ_LEN),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog prog = {ARRAY_LEN(f), f};

	return setsockopt(
	    fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

static void
announce(struct ce_address *c)
{
	static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
	struct sockaddr_ll to = {
	    .sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_IPV6),
	    .sll_ifindex = (int)c->conf.ifindex,
	    .sll_halen = NDP_MAC_LEN,
	};
	uint8_t pkt[NDP_ANNOUNCE_LEN];

	ndp_group_mac(to.sll_addr, all_nodes);
	ndp_announce(pkt, c->claim.address, c->claim.link.mac);
	/* Three are sent because one may be lost, here as well. */
	if (sendto(c->fd, pkt, sizeof(pkt), MSG_DONTWAIT,
		(const struct sockaddr *)&to, sizeof(to)) >= 0)
		c->announced++;
}

/* At most once in CE_CLAIM_ANSWER_EVERY. */
static void
answer_rival(struct ce_address *c)
{
	char mac[MAC_TEXT_MAX], addr[IP_ADDR_TEXT_MAX], name[IF_NAMESIZE];

	announce(c);
	log_msg(LOG_WARN,
	    "%s: another device (MAC %s) uses the MAP-E address %s as well, "
	    "heard %llu times: IPv4 works badly for both until one of them "
	    "stops; turn the home gateway's MAP-E off or bridge it, or set "
	    "Mode = gateway here",
	    link_text(c, name), mac_text(c->claim.rival_mac, mac),
	    ip_addr_format(&c->conf.address, addr),
	    (unsigned long long)c->claim.rivals);
}

static void
on_message(struct ce_address *c, const uint8_t *pkt, size_t len,
    const struct sockaddr_ll *from)
{
	struct uk_time now = clock_now();
	enum ce_claim_heard heard;
	struct ndp m;

	if (from->sll_pkttype == PACKET_OUTGOING ||
	    from->sll_halen != NDP_MAC_LEN || ndp_parse(&m, pkt, len) < 0)
		return;
	heard = ce_claim_hear(&c->claim, now.mono_ns, &m, from->sll_addr);
	if (heard == CE_CLAIM_NO_RIVAL)
		return;
	c->rival_wall_ns = now.wall_ns;
	if (heard == CE_CLAIM_ANSWER)
		answer_rival(c);
}

static void
on_readable(void *arg)
{
	struct ce_address *c = arg;
	uint8_t pkt[READ_LEN];

	for (int i = 0; i < READ_MOST; i++) {
		struct sockaddr_ll from = {0};
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(c->fd, pkt, sizeof(pkt),
		    MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from, &len);

		/* Also that the link went down, which the timer sees. */
		if (n < 0)
			return;
		if ((size_t)n <= sizeof(pkt))
			on_message(c, pkt, (size_t)n, &from);
	}
}

/* A packet socket, because the MAC of who asks whether an address is free
 * stands in the frame alone. It hears nothing until it is bound, when the
 * filter is there. */
static int
open_socket(struct ce_address *c, uv_loop_t *loop, struct diag *d)
{
	struct sockaddr_ll here = {
	    .sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_IPV6),
	    .sll_ifindex = (int)c->conf.ifindex,
	};
	int err;

	c->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0 || attach_filter(c->fd, c->claim.address) < 0 ||
	    bind(c->fd, (const struct sockaddr *)&here, sizeof(here)) < 0) {
		err = errno;
		diag_error(d,
		    "cannot open a packet socket to announce the MAP-E "
		    "address: %s%s",
		    strerror(err),
		    err == EPERM ? "; root or CAP_NET_RAW is needed" : "");
		return err == EPERM ? UK_EPERM : UK_ESYS;
	}
	c->readable = watch_fd(loop, c->fd, on_readable, NULL, c);
	if (c->readable == NULL)
		return UK_ENOMEM;
	watch_wait(c->readable, true, false);
	return 0;
}

static void
refusal(const struct ce_address *c, char out[static WHY_MAX])
{
	char mac[MAC_TEXT_MAX], addr[IP_ADDR_TEXT_MAX], name[IF_NAMESIZE];
	const char *link = link_text(c, name);
	bool seen = c->claim.rivals > 0;

	ip_addr_format(&c->conf.address, addr);
	switch (c->claim.why) {
	case CE_CLAIM_DUPLICATE:
		snprintf(out, WHY_MAX,
		    "another device%s%s%s on %s has the MAP-E address %s: only "
		    "one may. If it is the home gateway, bridge it or turn "
		    "its MAP-E off; or leave MAP-E to it (Mode = gateway)",
		    seen ? " (MAC " : "",
		    seen ? mac_text(c->claim.rival_mac, mac) : "",
		    seen ? ")" : "", link, addr);
		break;
	case CE_CLAIM_TIMEOUT:
		snprintf(out, WHY_MAX,
		    "the MAP-E address %s does not become usable on %s: the "
		    "kernel does not end its check for a duplicate (see `ip "
		    "-6 addr show dev %s`)",
		    addr, link, link);
		break;
	case CE_CLAIM_LINK_GONE:
		snprintf(out, WHY_MAX,
		    "the link with the MAP-E address %s is gone", addr);
		break;
	case CE_CLAIM_NOT_REFUSED:
		out[0] = '\0';
		break;
	}
}

/* Once it was ours the journal names it, also when the kernel took it off a
 * link that went down. */
static int
put_address(struct ce_address *c, struct diag *d)
{
	struct netcfg *n = c->conf.n;
	int err;

	if (c->ours)
		return netcfg_addr_add_apart(n, c->conf.ifindex, &c->own, d);
	err = undo_addr(c->conf.u, n, c->conf.ifindex, &c->own, d);
	if (err == 0)
		c->ours = true;
	return err == UK_EEXIST ? 0 : err;
}

static void
put_again(struct ce_address *c)
{
	struct diag d;

	diag_init(&d, NULL);
	if (put_address(c, &d) == 0) {
		c->complained = false;
		return;
	}
	if (!c->complained)
		log_diag(&d);
	c->complained = true;
}

static void
take_away(struct ce_address *c)
{
	struct diag d;

	if (!c->ours)
		return;
	diag_init(&d, NULL);
	undo_addr_remove(c->conf.u, c->conf.n, &c->own, &d);
	log_diag(&d);
	c->ours = false;
}

/* Returns 0; negative: the kernel did not say. */
static int
look(const struct ce_address *c, struct ce_claim_seen *seen)
{
	struct netcfg *n = c->conf.n;
	struct netcfg_addr addr;
	int err;

	memset(seen, 0, sizeof(*seen));
	err = netcfg_link_get(n, c->conf.ifindex, &seen->link);
	if (err == UK_ENOENT)
		return 0;
	if (err == 0)
		err = netcfg_addr_get(
		    n, c->conf.ifindex, &c->conf.address, &addr);
	if (err < 0)
		return err;
	seen->link_there = true;
	seen->addr = addr.state;
	return 0;
}

/* The last thing that a callback does: the owner may close us. */
static void
tell(struct ce_address *c)
{
	char why[WHY_MAX] = "";

	if (c->claim.state == c->told)
		return;
	c->told = c->claim.state;
	if (c->told == CE_CLAIM_REFUSED) {
		refusal(c, why);
		take_away(c);
	}
	c->conf.changed(c->conf.arg, c->told, why);
}

static void
on_timer(void *arg)
{
	struct ce_address *c = arg;
	uint64_t now_ns = clock_now().mono_ns, next_ns;
	char name[IF_NAMESIZE];
	struct ce_claim_seen seen;

	if (look(c, &seen) == 0) {
		/* What made the kernel see a duplicate is in the queue by now,
		 * with a MAC to tell. */
		if (c->fd >= 0)
			on_readable(c);
		switch (ce_claim_look(&c->claim, now_ns, &seen)) {
		case CE_CLAIM_ADD:
			put_again(c);
			break;
		case CE_CLAIM_ANNOUNCE:
			announce(c);
			break;
		case CE_CLAIM_NOTHING:
			break;
		}
	}
	if (c->claim.state == CE_CLAIM_WAITING && !c->claim.link.running &&
	    !c->warned) {
		c->warned = true;
		log_msg(LOG_WARN, "%s has no carrier: MAP-E waits for it",
		    link_text(c, name));
	}
	next_ns = ce_claim_deadline(&c->claim, now_ns);
	watch_after(
	    c->timer, next_ns == UK_NEVER ? UK_NEVER : next_ns - now_ns);
	tell(c);
}

static int
begin(struct ce_address *c, uv_loop_t *loop, struct diag *d)
{
	struct netcfg_link link;
	int err = netcfg_link_get(c->conf.n, c->conf.ifindex, &link);

	if (err < 0) {
		diag_error(d,
		    "cannot look at link %u for the MAP-E address: "
		    "%s",
		    c->conf.ifindex, uk_strerror(err));
		return err;
	}
	ce_claim_init(&c->claim, c->conf.address.b, &link);
	c->timer = watch_timer(loop, on_timer, c);
	if (c->timer == NULL)
		return UK_ENOMEM;
	/* Before the kernel asks who has the address: for the answer. */
	err = link.neighbours ? open_socket(c, loop, d) : 0;
	if (err == 0)
		err = put_address(c, d);
	if (err == 0)
		watch_after(c->timer, 0);
	return err;
}

int
ce_address_open(struct ce_address **out, uv_loop_t *loop,
    const struct ce_address_conf *conf, struct diag *d)
{
	struct ce_address *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL)
		return UK_ENOMEM;
	c->conf = *conf;
	c->own = (struct ip_ifaddr){conf->address, 128};
	c->fd = -1;
	err = begin(c, loop, d);
	if (err < 0) {
		ce_address_close(c);
		return err;
	}
	*out = c;
	return 0;
}

void
ce_address_close(struct ce_address *c)
{
	if (c == NULL)
		return;
	take_away(c);
	watch_close(c->timer);
	watch_close(c->readable);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

void
ce_address_stats(const struct ce_address *c, struct ce_address_stats *s)
{
	memset(s, 0, sizeof(*s));
	s->state = c->claim.state;
	s->carrier = c->claim.link.running;
	s->mtu = c->claim.link.mtu;
	s->neighbours = c->claim.link.neighbours;
	s->ours = c->ours;
	s->announced = c->announced;
	s->rivals = c->claim.rivals;
	memcpy(s->rival_mac, c->claim.rival_mac, sizeof(s->rival_mac));
	s->rival_wall_ns = c->rival_wall_ns;
}
