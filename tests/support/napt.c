/* ukai-test-napt: the home gateway's IPv4 address translation on the test
 * line. Not part of the product.
 *
 * It opens a TUN device in the network namespace it is started in. The
 * namespace routes to that device what comes from the LAN and what goes to
 * the shared address; every packet comes back translated by the same device.
 * The rules are those of napt_table.h and napt_packet.h.
 *
 * SIGUSR1 writes the statistics file, as lines of key=value, to a temporary
 * name and renames it. SIGTERM and SIGINT end the program.
 *
 * Exit: 0 after a signal, 1 when something fails, 2 for wrong use. */
#define _GNU_SOURCE 1

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "napt_packet.h"
#include "napt_table.h"

/* Packets between two looks at the clock and the signals. */
#define BATCH 64

#define PACKET_MAX 65536

struct options {
	const char *tun;
	const char *stats;
	uint32_t lan;
	uint32_t lan_mask;
	uint32_t shared;
	struct napt_table_config table;
};

struct gateway {
	struct napt napt;
	const char *stats;
	int tun_fd;
	int signal_fd;
	uint64_t write_errors;
	uint8_t packet[PACKET_MAX];
};

static const char usage[] =
    "usage: ukai-test-napt --tun NAME --lan ADDR/LENGTH --shared ADDR\n"
    "                      --stats FILE [options]\n"
    "\n"
    "  --psid OFFSET/LENGTH/PSID  MAP-E port set (4/8/52: 240 ports)\n"
    "  --tcp-closed-seconds N     TCP opening or closed (240)\n"
    "  --tcp-idle-seconds N       TCP established (7440)\n"
    "  --udp-seconds N            UDP (300)\n"
    "  --icmp-seconds N           ICMP echo (60)\n"
    "  --ports                    print the port ranges of --psid and exit\n";

static void
wrong_use(const char *what, const char *word)
{
	fprintf(stderr, "ukai-test-napt: %s: '%s'\n%s", what, word, usage);
	exit(2);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NAPT_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static unsigned
parse_number(const char *s, unsigned max, char **end)
{
	unsigned long n;

	errno = 0;
	n = strtoul(s, end, 10);
	if (*s < '0' || *s > '9' || errno || n > max)
		wrong_use("not a number that is allowed here", s);
	return (unsigned)n;
}

static uint64_t
parse_seconds(const char *s)
{
	char *end;
	unsigned n = parse_number(s, 86400, &end);

	if (*end)
		wrong_use("not a number of seconds", s);
	return n * NAPT_NS_PER_S;
}

static uint32_t
parse_address(const char *s)
{
	struct in_addr a;

	if (inet_pton(AF_INET, s, &a) != 1)
		wrong_use("not an IPv4 address", s);
	return ntohl(a.s_addr);
}

static void
parse_lan(struct options *o, const char *s)
{
	char addr[INET_ADDRSTRLEN];
	const char *slash = strchr(s, '/');
	char *end;
	unsigned length;

	if (!slash || (size_t)(slash - s) >= sizeof(addr))
		wrong_use("not ADDR/LENGTH", s);
	memcpy(addr, s, (size_t)(slash - s));
	addr[slash - s] = '\0';
	length = parse_number(slash + 1, 32, &end);
	if (*end || length == 0)
		wrong_use("not ADDR/LENGTH", s);
	o->lan_mask = UINT32_MAX << (32 - length);
	o->lan = parse_address(addr) & o->lan_mask;
}

static void
parse_psid(struct options *o, const char *s)
{
	char *end;

	o->table.psid_offset = parse_number(s, 15, &end);
	if (*end == '/')
		o->table.psid_length = parse_number(end + 1, 16, &end);
	if (*end == '/')
		o->table.psid = parse_number(end + 1, 65535, &end);
	else
		wrong_use("not OFFSET/LENGTH/PSID", s);
	if (*end)
		wrong_use("not OFFSET/LENGTH/PSID", s);
}

/* Prints the ranges of the set, "first-last" a line, lowest first. */
static void
print_ports(const struct options *o)
{
	struct napt_table *t = napt_table_new(&o->table);
	uint32_t first = 0;
	bool inside = false;

	if (!t)
		wrong_use("no port set", "--psid");
	for (uint32_t p = 0; p <= 65536; p++) {
		bool in = p < 65536 && napt_table_owns(t, (uint16_t)p);

		if (in && !inside)
			first = p;
		if (!in && inside)
			printf("%" PRIu32 "-%" PRIu32 "\n", first, p - 1);
		inside = in;
	}
	napt_table_free(t);
	exit(0);
}

static void
parse_option(struct options *o, int c, const char *word)
{
	if (c == 't')
		o->tun = optarg;
	else if (c == 'f')
		o->stats = optarg;
	else if (c == 'l')
		parse_lan(o, optarg);
	else if (c == 's')
		o->shared = parse_address(optarg);
	else if (c == 'p')
		parse_psid(o, optarg);
	else if (c == 'c')
		o->table.tcp_closed_ns = parse_seconds(optarg);
	else if (c == 'i')
		o->table.tcp_idle_ns = parse_seconds(optarg);
	else if (c == 'u')
		o->table.udp_idle_ns = parse_seconds(optarg);
	else if (c == 'e')
		o->table.icmp_idle_ns = parse_seconds(optarg);
	else
		wrong_use("unknown option, or its value is missing", word);
}

static void
parse_options(struct options *o, int argc, char **argv)
{
	static const struct option names[] = {
	    {"tun", required_argument, NULL, 't'},
	    {"lan", required_argument, NULL, 'l'},
	    {"shared", required_argument, NULL, 's'},
	    {"stats", required_argument, NULL, 'f'},
	    {"psid", required_argument, NULL, 'p'},
	    {"tcp-closed-seconds", required_argument, NULL, 'c'},
	    {"tcp-idle-seconds", required_argument, NULL, 'i'},
	    {"udp-seconds", required_argument, NULL, 'u'},
	    {"icmp-seconds", required_argument, NULL, 'e'},
	    {"ports", no_argument, NULL, 'P'},
	    {NULL, 0, NULL, 0},
	};
	bool ports = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == 'P')
			ports = true;
		else
			parse_option(o, c, argv[optind - 1]);
	}
	if (optind < argc)
		wrong_use("unexpected word", argv[optind]);
	if (ports)
		print_ports(o);
}

static void
check_options(const struct options *o)
{
	if (!o->tun || strlen(o->tun) >= IFNAMSIZ)
		wrong_use("missing or too long", "--tun");
	if (!o->lan_mask)
		wrong_use("missing", "--lan");
	if (!o->shared)
		wrong_use("missing", "--shared");
	if (!o->stats)
		wrong_use("missing", "--stats");
}

static int
tun_open(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		close(fd);
		return -1;
	}
	return fd;
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
print_stats(const struct gateway *g, FILE *f)
{
	static const char *const name[NAPT_SPACES] = {"tcp", "udp", "icmp"};
	const struct napt_table *t = g->napt.table;
	uint64_t refused = 0;

	fprintf(f, "ports=%u\n", napt_table_ports(t));
	for (int i = 0; i < NAPT_SPACES; i++) {
		const struct napt_space_stats *s =
		    napt_table_stats(t, (enum napt_space)i);

		fprintf(f, "%s_used=%u\n%s_peak=%u\n", name[i], s->used,
		    name[i], s->peak);
		fprintf(f, "%s_mappings=%" PRIu64 "\n", name[i], s->mappings);
		fprintf(
		    f, "%s_refused=%" PRIu64 "\n", name[i], s->refused_flows);
		fprintf(f, "%s_refused_packets=%" PRIu64 "\n", name[i],
		    s->refused_packets);
		refused += s->refused_flows;
	}
	fprintf(f, "refused=%" PRIu64 "\n", refused);
	fprintf(f, "sessions=%u\n", napt_table_sessions(t));
	for (int i = 0; i < NAPT_VERDICTS; i++)
		fprintf(f, "%s=%" PRIu64 "\n",
		    napt_verdict_name((enum napt_verdict)i),
		    g->napt.verdicts[i]);
	fprintf(f, "write_errors=%" PRIu64 "\n", g->write_errors);
}

static void
write_stats(const struct gateway *g)
{
	char temporary[4096];
	FILE *f;
	int n = snprintf(temporary, sizeof(temporary), "%s.new", g->stats);

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return;
	f = fopen(temporary, "we");
	if (!f) {
		perror(temporary);
		return;
	}
	print_stats(g, f);
	if (fclose(f) != 0 || rename(temporary, g->stats) != 0)
		perror(g->stats);
}

static void
forward_batch(struct gateway *g)
{
	uint64_t now = now_ns();

	napt_table_expire(g->napt.table, now);
	for (int i = 0; i < BATCH; i++) {
		ssize_t n = read(g->tun_fd, g->packet, sizeof(g->packet));

		if (n <= 0)
			return;
		if (napt_packet(&g->napt, now, g->packet, (size_t)n) !=
		    NAPT_FORWARD)
			continue;
		if (write(g->tun_fd, g->packet, (size_t)n) != n)
			g->write_errors++;
	}
}

/* Returns false when it is time to end. */
static bool
handle_signals(struct gateway *g)
{
	struct signalfd_siginfo si;

	while (read(g->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo != SIGUSR1)
			return false;
		napt_table_expire(g->napt.table, now_ns());
		write_stats(g);
	}
	return true;
}

static int
serve(struct gateway *g)
{
	struct pollfd fds[] = {
	    {.fd = g->tun_fd, .events = POLLIN},
	    {.fd = g->signal_fd, .events = POLLIN},
	};

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR) {
			perror("poll");
			return 1;
		}
		if (fds[0].revents & (POLLERR | POLLHUP | POLLNVAL)) {
			fprintf(stderr, "ukai-test-napt: TUN device gone\n");
			return 1;
		}
		if (fds[0].revents)
			forward_batch(g);
		if (fds[1].revents && !handle_signals(g))
			return 0;
	}
}

int
main(int argc, char **argv)
{
	static struct gateway g;
	struct options o = {
	    .table = {.psid_offset = 4,
		.psid_length = 8,
		.psid = 52,
		.tcp_closed_ns = 240 * NAPT_NS_PER_S,
		.tcp_idle_ns = 7440 * NAPT_NS_PER_S,
		.udp_idle_ns = 300 * NAPT_NS_PER_S,
		.icmp_idle_ns = 60 * NAPT_NS_PER_S},
	};
	int ret;

	parse_options(&o, argc, argv);
	check_options(&o);
	g.napt.lan = o.lan;
	g.napt.lan_mask = o.lan_mask;
	g.napt.shared = o.shared;
	g.stats = o.stats;
	g.napt.table = napt_table_new(&o.table);
	if (!g.napt.table)
		wrong_use("no port set, or no memory for it", "--psid");
	g.signal_fd = signals_open();
	g.tun_fd = tun_open(o.tun);
	if (g.signal_fd < 0 || g.tun_fd < 0) {
		fprintf(
		    stderr, "ukai-test-napt: %s: %s\n", o.tun, strerror(errno));
		return 1;
	}
	ret = serve(&g);
	close(g.tun_fd);
	close(g.signal_fd);
	napt_table_free(g.napt.table);
	return ret;
}
