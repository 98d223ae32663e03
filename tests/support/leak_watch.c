/* leak_watch: does anything go to where nothing must go?
 *
 *   leak_watch LINK FORBIDDEN...
 *
 * FORBIDDEN is ADDRESS[/BITS][:PORT], of IPv6 with a port
 * [ADDRESS[/BITS]]:PORT. Says "ready" when it listens on the link, and on
 * SIGTERM or SIGINT how many packets had such a destination, outgoing and
 * incoming, and the first few of them. Looks into IPv4 and IPv6 in either one,
 * too, as MAP-E and 6in4 have them. A port is TCP's, UDP's, SCTP's or DCCP's;
 * fragments other than the first have none, and count where the rule has none.
 * Exit: 0 none, 1 some, 2 wrong use or it cannot say (packets were lost). */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define RULES_MAX 64
#define SHOWN 8
/* Headers, and those of what is inside. */
#define SNAPSHOT 512
#define NESTED_MAX 4
#define EXTENSIONS_MAX 8
/* A burst of a few ten thousand packets that nobody has read yet. */
#define BUFFER_BYTES (64 << 20)

struct rule {
	int family; /* AF_* */
	uint8_t addr[16];
	unsigned bits;
	unsigned port; /* 0: any */
};

/* What a packet is about: 4 or 16 bytes each. */
struct packet {
	int family;
	const uint8_t *src, *dst;
	unsigned protocol, sport, dport; /* ports 0: none, or not here */
	unsigned nested;
};

struct watch {
	struct rule rule[RULES_MAX];
	size_t rules;
	unsigned out, in; /* packets that matched */
};

static size_t
address_bytes(int family)
{
	return family == AF_INET6 ? 16 : 4;
}

/* Decimal digits and nothing else. */
static bool
parse_number(unsigned *n, const char *text, unsigned max)
{
	char *end;
	unsigned long v;

	if (text[0] < '0' || text[0] > '9')
		return false;
	v = strtoul(text, &end, 10);
	*n = (unsigned)v;
	return *end == '\0' && v <= max;
}

/* Take ":PORT" and brackets off, in place. */
static bool
split_port(struct rule *r, char **text)
{
	char *port = NULL, *end;

	if ((*text)[0] == '[') {
		end = strchr(*text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		port = end[1] == ':' ? end + 2 : NULL;
		*end = '\0';
		(*text)++;
	} else if (strchr(*text, ':') == strrchr(*text, ':')) {
		port = strchr(*text, ':');
		if (port != NULL)
			*port++ = '\0';
	}
	return port == NULL ||
	       (parse_number(&r->port, port, 65535) && r->port != 0);
}

static bool
parse_rule(struct rule *r, const char *arg)
{
	char copy[128], *text = copy, *bits;
	unsigned all;

	memset(r, 0, sizeof(*r));
	if (strlen(arg) >= sizeof(copy))
		return false;
	strcpy(copy, arg);
	if (!split_port(r, &text))
		return false;
	bits = strchr(text, '/');
	if (bits != NULL)
		*bits++ = '\0';
	r->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	all = (unsigned)address_bytes(r->family) * 8;
	r->bits = all;
	return inet_pton(r->family, text, r->addr) == 1 &&
	       (bits == NULL || parse_number(&r->bits, bits, all));
}

static bool
matches(const struct rule *r, const struct packet *p)
{
	unsigned whole = r->bits / 8, rest = r->bits % 8;

	if (r->family != p->family || (r->port != 0 && r->port != p->dport) ||
	    memcmp(r->addr, p->dst, whole) != 0)
		return false;
	return rest == 0 || (r->addr[whole] ^ p->dst[whole]) >> (8 - rest) == 0;
}

static void
show(const struct packet *p, bool out)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	inet_ntop(p->family, p->src, src, sizeof(src));
	inet_ntop(p->family, p->dst, dst, sizeof(dst));
	printf("%s%s %s %u > %s %u protocol %u\n", out ? "out" : "in",
	    p->nested > 0 ? " inside" : "", src, p->sport, dst, p->dport,
	    p->protocol);
}

/* The header that is behind this one of IPv6, RFC 8200 section 4. b moves on.
 * Returns its protocol; -1: there is none to look at. */
static int
next_header(int protocol, const uint8_t **b, size_t *len)
{
	size_t size;
	int next;

	if (*len < 8)
		return -1;
	size = ((size_t)(*b)[1] + 1) * 8;
	if (protocol == IPPROTO_FRAGMENT) {
		/* Only the first one has what follows. */
		if (((*b)[2] << 8 | (*b)[3]) >> 3 != 0)
			return -1;
		size = 8;
	} else if (protocol == IPPROTO_AH) {
		size = ((size_t)(*b)[1] + 2) * 4;
	}
	if (size > *len)
		return -1;
	next = (*b)[0];
	*b += size;
	*len -= size;
	return next;
}

static bool
is_extension(int protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_AH;
}

/* Read addresses; b moves to what is inside. Returns its protocol; -1: nothing
 * to look at, -2: not even addresses. */
static int
read_v4(struct packet *p, const uint8_t **b, size_t *len)
{
	size_t header;
	int protocol;

	if (*len < 20)
		return -2;
	header = (size_t)((*b)[0] & 15) * 4;
	p->family = AF_INET;
	p->src = *b + 12;
	p->dst = *b + 16;
	protocol = (*b)[9];
	p->protocol = (unsigned)protocol;
	if (header < 20 || header > *len ||
	    (((*b)[6] << 8 | (*b)[7]) & 0x1fff) != 0)
		return -1;
	*b += header;
	*len -= header;
	return protocol;
}

static int
read_v6(struct packet *p, const uint8_t **b, size_t *len)
{
	int protocol;

	if (*len < 40)
		return -2;
	p->family = AF_INET6;
	p->src = *b + 8;
	p->dst = *b + 24;
	protocol = (*b)[6];
	p->protocol = (unsigned)protocol;
	*b += 40;
	*len -= 40;
	for (int i = 0; i < EXTENSIONS_MAX && is_extension(protocol); i++) {
		protocol = next_header(protocol, b, len);
		if (protocol >= 0)
			p->protocol = (unsigned)protocol;
	}
	return protocol;
}

static bool
has_ports(int protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP;
}

static bool
look_at(struct watch *w, const struct packet *p, bool out)
{
	bool hit = false;

	for (size_t i = 0; i < w->rules && !hit; i++)
		hit = matches(&w->rule[i], p);
	if (hit && w->out + w->in < SHOWN)
		show(p, out);
	return hit;
}

/* Does it, or what is in it, go there? It counts once. */
static bool
look(struct watch *w, const uint8_t *b, size_t len, bool out)
{
	for (unsigned nested = 0; nested < NESTED_MAX && len > 0; nested++) {
		struct packet p = {.nested = nested};
		int protocol = -2;

		if (b[0] >> 4 == 4)
			protocol = read_v4(&p, &b, &len);
		else if (b[0] >> 4 == 6)
			protocol = read_v6(&p, &b, &len);
		if (protocol == -2)
			return false;
		if (has_ports(protocol) && len >= 4) {
			p.sport = (unsigned)(b[0] << 8 | b[1]);
			p.dport = (unsigned)(b[2] << 8 | b[3]);
		}
		if (look_at(w, &p, out))
			return true;
		if (protocol != IPPROTO_IPIP && protocol != IPPROTO_IPV6)
			return false;
	}
	return false;
}

/* Everything that has come. */
static void
take_all(struct watch *w, int fd)
{
	uint8_t b[SNAPSHOT];

	for (;;) {
		struct sockaddr_ll from;
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, b, sizeof(b), MSG_DONTWAIT,
		    (struct sockaddr *)&from, &size);
		bool out;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		out = from.sll_pkttype == PACKET_OUTGOING;
		if (!look(w, b, (size_t)n, out))
			continue;
		if (out)
			w->out++;
		else
			w->in++;
	}
}

/* Without the link's header. */
static int
open_link(const char *name)
{
	struct sockaddr_ll a = {
	    .sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_ALL),
	    .sll_ifindex = (int)if_nametoindex(name),
	};
	int bytes = BUFFER_BYTES;
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		setsockopt(
		    fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	if (a.sll_ifindex == 0 || fd < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		perror(name);
		exit(2);
	}
	return fd;
}

static int
open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int
report(const struct watch *w, int fd)
{
	struct tpacket_stats lost = {0};
	socklen_t size = sizeof(lost);

	printf("%u leaks: %u out, %u in\n", w->out + w->in, w->out, w->in);
	if (w->out + w->in > 0)
		return 1;
	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &lost, &size) == 0 &&
	    lost.tp_drops == 0)
		return 0;
	printf("%u packets were not seen\n", lost.tp_drops);
	return 2;
}

int
main(int argc, char **argv)
{
	static struct watch w;
	struct pollfd p[2] = {{.events = POLLIN}, {.events = POLLIN}};

	for (int i = 2; i < argc && w.rules < RULES_MAX; i++)
		if (!parse_rule(&w.rule[w.rules++], argv[i])) {
			fprintf(stderr, "leak_watch: %s?\n", argv[i]);
			return 2;
		}
	if (argc < 3 || argc - 2 > RULES_MAX) {
		fprintf(stderr,
		    "usage: leak_watch LINK ADDRESS[/BITS][:PORT]...\n");
		return 2;
	}
	p[0].fd = open_link(argv[1]);
	p[1].fd = open_signals();
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	while (p[1].revents == 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 2;
		take_all(&w, p[0].fd);
	}
	take_all(&w, p[0].fd);
	return report(&w, p[0].fd);
}
