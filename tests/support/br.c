/* ukai-test-br: the border relay of the test line. RFC 7597. Not part of the
 * product, and shares no code with its CE.
 *
 * What it checks and counts is in br_packet.h; the devices it opens in the
 * namespace it is started in are in br_wire.h. The namespace routes the rules'
 * IPv4 prefixes to the TUN device; what one CE sends to another one of the
 * domain comes back there (hub and spoke).
 *
 * With --peer it is no relay but a bare tunnel: what comes from the TUN device
 * goes to the peer, what comes from the peer goes to the TUN device, and
 * nothing is checked. That is a CE without NAPT, for the tests of the relay.
 *
 * SIGUSR1 writes the statistics file, as lines of key=value, to a temporary
 * name and renames it. SIGTERM and SIGINT end the program.
 *
 * Exit: 0 after a signal, 1 when something fails, 2 for wrong use. */
#define _GNU_SOURCE 1

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "br_packet.h"
#include "br_wire.h"

/* Packets of one direction between two looks at the other one. */
#define BATCH 32

struct options {
	struct br_wire_options wire;
	const char *stats;
	bool bare;
	uint8_t peer[16];
};

struct relay {
	struct br br;
	struct br_wire wire;
	const char *stats;
	bool bare;
	uint8_t peer[16];
	int signal_fd;
	uint64_t overruns;
	uint8_t packet[BR_WIRE_PACKET_MAX];
};

static const char usage[] =
    "usage: ukai-test-br --rule RULE... --br ADDR --tun NAME --link NAME\n"
    "                    --stats FILE [--no-offload]\n"
    "       ukai-test-br --peer ADDR --br ADDR --tun NAME --link NAME\n"
    "                    --stats FILE [--no-offload]\n"
    "\n"
    "  --rule V6/N,V4/R,EALEN,OFFSET,IID[,PSIDLEN/PSID]\n"
    "                one mapping rule; IID is rfc7597 or draft03\n"
    "  --br ADDR     our own end of the tunnel\n"
    "  --peer ADDR   a bare tunnel to ADDR\n"
    "  --no-offload  send super-packets toward the line cut up\n";

static void
wrong_use(const char *what, const char *word)
{
	fprintf(stderr, "ukai-test-br: %s: '%s'\n%s", what, word, usage);
	exit(2);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void
parse_address(uint8_t out[16], const char *s)
{
	if (inet_pton(AF_INET6, s, out) != 1)
		wrong_use("not an IPv6 address", s);
}

static void
parse_option(struct options *o, struct br *br, int c, const char *word)
{
	const char *wrong;

	if (c == 't')
		o->wire.tun = optarg;
	else if (c == 'l')
		o->wire.link = optarg;
	else if (c == 's')
		o->stats = optarg;
	else if (c == 'b')
		parse_address(o->wire.address, optarg);
	else if (c == 'n')
		o->wire.offload = false;
	else if (c == 'p') {
		o->bare = true;
		parse_address(o->peer, optarg);
	} else if (c == 'r') {
		wrong = br_rules_add(&br->rules, optarg);
		if (wrong)
			wrong_use(wrong, optarg);
	} else
		wrong_use("unknown option, or its value is missing", word);
}

static void
parse_options(struct options *o, struct br *br, int argc, char **argv)
{
	static const struct option names[] = {
	    {"rule", required_argument, NULL, 'r'},
	    {"br", required_argument, NULL, 'b'},
	    {"peer", required_argument, NULL, 'p'},
	    {"tun", required_argument, NULL, 't'},
	    {"link", required_argument, NULL, 'l'},
	    {"stats", required_argument, NULL, 's'},
	    {"no-offload", no_argument, NULL, 'n'},
	    {NULL, 0, NULL, 0},
	};
	static const uint8_t none[16];
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
		parse_option(o, br, c, argv[optind - 1]);
	if (optind < argc)
		wrong_use("unexpected word", argv[optind]);
	if (!o->wire.tun || strlen(o->wire.tun) >= IFNAMSIZ)
		wrong_use("missing or too long", "--tun");
	if (!o->wire.link)
		wrong_use("missing", "--link");
	if (!o->stats)
		wrong_use("missing", "--stats");
	if (memcmp(o->wire.address, none, 16) == 0)
		wrong_use("missing", "--br");
	if (o->bare == (br->rules.n > 0))
		wrong_use("either is needed", "--rule, --peer");
}

static int
signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -1;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void
print_stats(const struct relay *r, FILE *f)
{
	uint64_t dropped = 0;

	for (int v = 0; v < BR_VERDICTS; v++) {
		const char *name = br_verdict_name((enum br_verdict)v);

		fprintf(f, "up_%s=%" PRIu64 "\n", name, r->br.up[v]);
		fprintf(f, "down_%s=%" PRIu64 "\n", name, r->br.down[v]);
		if (v != BR_FORWARD && v != BR_HELD)
			dropped += r->br.up[v];
	}
	fprintf(f, "up_drops=%" PRIu64 "\n", dropped);
	fprintf(f, "fragments_timed_out=%" PRIu64 "\n",
	    r->br.outer.timed_out + r->br.inner_up.timed_out +
		r->br.inner_down.timed_out);
	fprintf(f, "fragments_evicted=%" PRIu64 "\n",
	    r->br.outer.evicted + r->br.inner_up.evicted +
		r->br.inner_down.evicted);
	fprintf(f, "offload=%d\n", r->wire.out_fd >= 0);
	fprintf(f, "line_super_in=%" PRIu64 "\n", r->wire.line_super_in);
	fprintf(f, "line_super_out=%" PRIu64 "\n", r->wire.line_super_out);
	fprintf(f, "line_cut=%" PRIu64 "\n", r->wire.line_cut);
	fprintf(f, "send_errors=%" PRIu64 "\n", r->wire.send_errors);
	fprintf(f, "overruns=%" PRIu64 "\n", r->overruns);
}

static void
write_stats(struct relay *r)
{
	char temporary[4096];
	uint64_t now = now_ns();
	FILE *f;
	int n = snprintf(temporary, sizeof(temporary), "%s.new", r->stats);

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return;
	br_reasm_expire(&r->br.outer, now);
	br_reasm_expire(&r->br.inner_up, now);
	br_reasm_expire(&r->br.inner_down, now);
	r->overruns += br_wire_overruns(&r->wire);
	f = fopen(temporary, "we");
	if (!f) {
		perror(temporary);
		return;
	}
	print_stats(r, f);
	if (fclose(f) != 0 || rename(temporary, r->stats) != 0)
		perror(r->stats);
}

/* What the link said about the packet, for the packet inside of it. */
static struct vnet_hdr
inner_vnet(const struct vnet_hdr *h, const struct br_out *out)
{
	struct vnet_hdr inner = *h;

	if (out->reassembled)
		return (struct vnet_hdr){0};
	if (inner.hdr_len >= BR_OUTER_LEN)
		inner.hdr_len = (uint16_t)(inner.hdr_len - BR_OUTER_LEN);
	if (inner.flags & VNET_F_NEEDS_CSUM)
		inner.csum_start = (uint16_t)(inner.csum_start - BR_OUTER_LEN);
	return inner;
}

static bool
bare_up(struct relay *r, size_t len, struct br_out *out)
{
	uint8_t *p = r->packet;

	if (len <= BR_OUTER_LEN || p[6] != 4 ||
	    memcmp(p + 8, r->peer, sizeof(r->peer)) != 0)
		return false;
	*out = (struct br_out){
	    .inner = p + BR_OUTER_LEN,
	    .len = (uint32_t)len - BR_OUTER_LEN,
	};
	return true;
}

/* Both return false when the device is gone. */
static bool
forward_up(struct relay *r)
{
	struct vnet_hdr h;
	struct br_out out;

	for (int i = 0; i < BATCH; i++) {
		ssize_t n = br_wire_from_line(&r->wire, &h, r->packet);

		if (n <= 0)
			return n == 0;
		if (r->bare) {
			if (!bare_up(r, (size_t)n, &out))
				continue;
		} else if (br_from_line(&r->br, now_ns(), r->packet, (size_t)n,
			       &out) != BR_FORWARD)
			continue;
		h = inner_vnet(&h, &out);
		br_wire_to_internet(&r->wire, &h, out.inner, out.len);
	}
	return true;
}

static void
bare_down(struct relay *r, size_t len, struct br_out *out)
{
	*out = (struct br_out){.inner = r->packet, .len = (uint32_t)len};
	br_outer_header(
	    out->outer, r->br.address, r->peer, 4, r->packet[1], (uint32_t)len);
}

static bool
forward_down(struct relay *r)
{
	struct vnet_hdr h;
	struct br_out out;

	for (int i = 0; i < BATCH; i++) {
		ssize_t n = br_wire_from_internet(&r->wire, &h, r->packet);

		if (n <= 0)
			return n == 0;
		/* The namespace's own IPv6 has nothing to do here. */
		if (r->packet[0] >> 4 != 4)
			continue;
		if (r->bare)
			bare_down(r, (size_t)n, &out);
		else if (br_to_line(&r->br, now_ns(), r->packet, (size_t)n,
			     &out) != BR_FORWARD)
			continue;
		if (out.reassembled)
			h = (struct vnet_hdr){0};
		br_wire_to_line(&r->wire, &h, out.outer, out.inner, out.len);
	}
	return true;
}

/* Returns false when it is time to end. */
static bool
handle_signals(struct relay *r)
{
	struct signalfd_siginfo si;

	while (read(r->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo != SIGUSR1)
			return false;
		write_stats(r);
	}
	return true;
}

static int
serve(struct relay *r)
{
	struct pollfd fds[] = {
	    {.fd = r->wire.line_fd, .events = POLLIN},
	    {.fd = r->wire.tun_fd, .events = POLLIN},
	    {.fd = r->signal_fd, .events = POLLIN},
	};

	for (;;) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR) {
			perror("poll");
			return 1;
		}
		if ((fds[0].revents && !forward_up(r)) ||
		    (fds[1].revents && !forward_down(r))) {
			fprintf(stderr, "ukai-test-br: a device is gone\n");
			return 1;
		}
		if (fds[2].revents && !handle_signals(r))
			return 0;
	}
}

int
main(int argc, char **argv)
{
	static struct relay r;
	struct options o = {.wire = {.offload = true, .mtu = 1500}};
	const char *what;
	int ret;

	parse_options(&o, &r.br, argc, argv);
	memcpy(r.br.address, o.wire.address, sizeof(r.br.address));
	memcpy(r.peer, o.peer, sizeof(r.peer));
	r.bare = o.bare;
	r.stats = o.stats;
	r.signal_fd = signals_open();
	if (r.signal_fd < 0 || br_wire_open(&r.wire, &o.wire, &what) < 0) {
		fprintf(stderr, "ukai-test-br: %s: %s\n",
		    r.signal_fd < 0 ? "signals" : what, strerror(errno));
		return 1;
	}
	ret = serve(&r);
	br_wire_close(&r.wire);
	close(r.signal_fd);
	return ret;
}
