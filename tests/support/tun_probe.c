/* tun_probe: uses io/tun for real, inside a namespace that a test script
 * made. Commands come by lines on stdin, each is answered by one line; SLOT
 * is 0 or 1:
 *
 *   open SLOT NAME [nooffload] [nogso] [nouso] [mtu N]
 *   adopt SLOT NAME [vnet] [tap] [nooffload]   by a descriptor
 *   close SLOT
 *   refresh SLOT     state, name and so on
 *   event SLOT MS    is there an event, in that time
 *   write SLOT N     N small packets
 *   read SLOT        one call
 *   flows SLOT ADDR  UDP to ADDR that waits to be read, of twelve flows, each
 *                    answered once in its middle; what is read of it
 *   answers SLOT ADDR N   so many of ADDR in one call; how many arrive
 *   relay MS [mix]   packets from each slot to the other, that long or until
 *                    the next line comes; mix: the flows of a batch in turn
 *   total            what relay has carried since the last total
 *   inject WHAT      from now on the kernel behaves like that: none; nouso:
 *                    does not know that offload; nons: does not tell where
 *                    an interface is
 *   rss
 *
 * The calls that read and write are intercepted, to be measured. */
/* Fortified calls are inline functions that ours cannot take the place of. */
#undef _FORTIFY_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/err.h"
#include "core/ip.h"
#include "io/clock.h"
#include "io/tun.h"

#define HEADROOM 48
#define TAILROOM 32
#define USO (0x20ul | 0x40ul)
#define ANSWERS 2048

static const char *injected = "none";

/* What relay carried, both directions. */
static struct {
	unsigned packets;
	unsigned bad; /* not valid, or without the room that was asked for */
	unsigned reads, writes;
	unsigned most; /* packets that one tun_read gave */
	size_t longest_packet;
	size_t longest_read, longest_write; /* of one call */
} total;

static ssize_t
note(ssize_t r, unsigned *calls, size_t *longest)
{
	if (r <= 0)
		return r;
	(*calls)++;
	if ((size_t)r > *longest)
		*longest = (size_t)r;
	return r;
}

ssize_t
read(int fd, void *b, size_t len)
{
	return note(
	    syscall(SYS_read, fd, b, len), &total.reads, &total.longest_read);
}

ssize_t
write(int fd, const void *b, size_t len)
{
	return note(syscall(SYS_write, fd, b, len), &total.writes,
	    &total.longest_write);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	return note(syscall(SYS_writev, fd, iov, n), &total.writes,
	    &total.longest_write);
}

int
ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	unsigned long arg;

	va_start(ap, request);
	arg = va_arg(ap, unsigned long);
	va_end(ap);
	if (request == TUNSETOFFLOAD && (arg & USO) != 0 &&
	    strcmp(injected, "nouso") == 0) {
		errno = EINVAL;
		return -1;
	}
	if (request == TUNGETDEVNETNS && strcmp(injected, "nons") == 0) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

static struct tun *tun[2];
static struct pbuf packets[TUN_READ_MAX];

static struct tun *
slot(const char *text)
{
	return tun[text[0] == '1'];
}

static bool
has_word(char **argv, const char *word)
{
	for (; *argv != NULL; argv++)
		if (strcmp(*argv, word) == 0)
			return true;
	return false;
}

static const char *
state_text(enum tun_state s)
{
	return s == TUN_UP ? "up" : s == TUN_DOWN ? "down" : "gone";
}

static void
print_state(const struct tun *t, const char *state)
{
	printf("state=%s name=%s index=%s mtu=%u\n", state, tun_name(t),
	    tun_ifindex(t) != 0 ? "known" : "0", tun_mtu(t));
}

static void
open_conf(char **argv, struct tun_conf *c)
{
	struct tun **t = &tun[argv[1][0] == '1'];
	struct diag d;
	int r;

	diag_init(&d, NULL);
	c->headroom = HEADROOM;
	c->tailroom = TAILROOM;
	c->no_offload = (has_word(argv, "nooffload") ? TUN_NO_VNET_HDR : 0) |
			(has_word(argv, "nogso") ? TUN_NO_GSO : 0) |
			(has_word(argv, "nouso") ? TUN_NO_USO : 0);
	for (int i = 0; argv[i] != NULL && argv[i + 1] != NULL; i++)
		if (strcmp(argv[i], "mtu") == 0)
			c->mtu = (uint32_t)atoi(argv[i + 1]);
	r = tun_open(t, c, &d);
	if (r != 0)
		printf("error %d %s\n", r, d.n > 0 ? d.entry[0].text : "-");
	else
		print_state(*t, "new");
}

static void
cmd_open(char **argv)
{
	struct tun_conf c = {.name = argv[2], .fd = -1};

	open_conf(argv, &c);
}

static void
cmd_adopt(char **argv)
{
	struct ifreq ifr = {0};
	struct tun_conf c = {.fd = open("/dev/net/tun", O_RDWR)};
	int flags = IFF_NO_PI | (has_word(argv, "tap") ? IFF_TAP : IFF_TUN);

	flags |= has_word(argv, "vnet") ? IFF_VNET_HDR : 0;
	ifr.ifr_flags = (short)flags;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", argv[2]);
	if (ioctl(c.fd, TUNSETIFF, &ifr) != 0)
		puts("error TUNSETIFF");
	else
		open_conf(argv, &c);
}

static void
cmd_close(char **argv)
{
	struct tun **t = &tun[argv[1][0] == '1'];

	tun_close(*t);
	*t = NULL;
	puts("ok");
}

static void
cmd_refresh(char **argv)
{
	struct tun *t = slot(argv[1]);

	print_state(t, state_text(tun_refresh(t)));
}

static void
cmd_event(char **argv)
{
	struct pollfd p = {.fd = tun_event_fd(slot(argv[1])), .events = POLLIN};

	puts(poll(&p, 1, atoi(argv[2])) > 0 ? "yes" : "no");
}

/* Small UDP packets of unequal flows, so that nothing is joined. */
static void
cmd_write(char **argv)
{
	struct tun *t = slot(argv[1]);
	uint8_t b[64][28];
	struct pbuf p[64];
	unsigned n = (unsigned)atoi(argv[2]);

	for (unsigned i = 0; i < n && i < 64; i++) {
		memset(b[i], 0, sizeof(b[i]));
		b[i][0] = 0x45;
		b[i][3] = 28;
		b[i][8] = 64;
		b[i][9] = 17;
		b[i][15] = (uint8_t)i;
		store_be16(
		    b[i] + 10, (uint16_t)~csum_fold(csum_add(0, b[i], 20)));
		b[i][25] = 8;
		p[i] = pbuf_make(b[i], 28, 0, 28);
	}
	tun_write(t, p, n);
	printf(
	    "dropped=%llu\n", (unsigned long long)tun_stats(t)->write_dropped);
}

static void
cmd_read(char **argv)
{
	printf("%d\n", tun_read(slot(argv[1]), packets, TUN_READ_MAX));
}

/* What the tunnel would write when n answers come at once, n <= ANSWERS. */
static void
answer(struct tun *t, const struct sockaddr_in *to,
    const struct sockaddr_in *at, unsigned n)
{
	static uint8_t raw[ANSWERS][HEADROOM + 32];
	static struct pbuf p[ANSWERS];

	for (unsigned i = 0; i < n; i++) {
		uint8_t *b = raw[i] + HEADROOM;

		memset(b, 0, 32);
		b[0] = 0x45;
		b[3] = 32;
		b[6] = 0x40; /* do not fragment: IDs may be the same */
		b[8] = 64;
		b[9] = IPPROTO_UDP;
		memcpy(b + 12, &to->sin_addr, 4);
		memcpy(b + 16, &at->sin_addr, 4);
		store_be16(b + 10, (uint16_t)~csum_fold(csum_add(0, b, 20)));
		memcpy(b + 20, &to->sin_port, 2);
		memcpy(b + 22, &at->sin_port, 2);
		b[25] = 12;
		store_be16(b + 26,
		    (uint16_t)~csum_fold(csum_add(
			csum_pseudo(b + 12, b + 16, 4, b[9], 12), b + 20, 12)));
		p[i] = pbuf_make(raw[i], sizeof(raw[i]), HEADROOM, 32);
	}
	tun_write(t, p, n);
}

/* A socket to a port of ADDR; at is its own address. */
static int
socket_to(const char *addr, uint16_t port, struct sockaddr_in *to,
    struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int buffer = 8 << 20;
	socklen_t len = sizeof(*at);

	*to = (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons(port)};
	inet_pton(AF_INET, addr, &to->sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	if (connect(fd, (struct sockaddr *)to, sizeof(*to)) != 0 ||
	    getsockname(fd, (struct sockaddr *)at, &len) != 0)
		perror(addr);
	return fd;
}

static void
send_numbers(int fd, unsigned from, unsigned to)
{
	uint8_t b[300] = {0};

	for (; from < to; from++) {
		b[0] = (uint8_t)from;
		(void)!send(fd, b, sizeof(b), 0);
	}
}

static unsigned
read_numbers(struct tun *t, unsigned *disorder)
{
	unsigned got = 0;
	uint8_t next = 0;
	int n;

	while ((n = tun_read(t, packets, TUN_READ_MAX)) > 0) {
		for (int i = 0; i < n; i++) {
			const uint8_t *b = pbuf_data(&packets[i]);

			if (b[0] != 0x45 || packets[i].len != 328)
				continue;
			*disorder += b[28] < next;
			next = b[28];
			got++;
		}
	}
	return got;
}

static void
cmd_flows(char **argv)
{
	struct tun *t = slot(argv[1]);
	unsigned got = 0, disorder = 0;

	for (uint16_t flow = 0; flow < 12; flow++) {
		struct sockaddr_in to, at;
		int fd = socket_to(argv[2], 6000 + flow, &to, &at);

		send_numbers(fd, 0, 40);
		answer(t, &to, &at, 1);
		send_numbers(fd, 40, 80);
		got += read_numbers(t, &disorder);
		close(fd);
	}
	printf("got=%u disorder=%u\n", got, disorder);
}

static void
cmd_answers(char **argv)
{
	struct sockaddr_in to, at;
	int fd = socket_to(argv[2], 7000, &to, &at);
	unsigned n = (unsigned)atoi(argv[3]), got = 0;
	uint8_t b[64];

	answer(slot(argv[1]), &to, &at, n < ANSWERS ? n : ANSWERS);
	while (recv(fd, b, sizeof(b), MSG_DONTWAIT) == 4)
		got++;
	close(fd);
	printf("got=%u\n", got);
}

/* Valid to the last checksum, with the room that was asked for? */
static bool
packet_ok(const struct pbuf *p)
{
	const uint8_t *b = pbuf_data(p);
	struct ip_view v;
	uint64_t sum;

	if (pbuf_headroom(p) < HEADROOM || pbuf_tailroom(p) < TAILROOM ||
	    ip_parse(&v, b, p->len) != 0 || v.total != p->len)
		return false;
	if (v.family == FAMILY_V4 && csum_fold(csum_add(0, b, 20)) != 0xffff)
		return false;
	if (v.fragment ||
	    (v.proto != IPPROTO_NUM_TCP && v.proto != IPPROTO_NUM_UDP))
		return true;
	sum = csum_pseudo(v.src, v.dst, v.family == FAMILY_V4 ? 4 : 16, v.proto,
	    v.total - v.hlen);
	return csum_fold(csum_add(sum, b + v.hlen, v.total - v.hlen)) == 0xffff;
}

static unsigned
port_bits(const struct pbuf *p)
{
	const uint8_t *b = pbuf_data(p);
	struct ip_view v;

	if (ip_parse(&v, b, p->len) != 0 || v.total < v.hlen + 4)
		return 0;
	return (b[v.hlen + 1] ^ b[v.hlen + 3]) % 8u;
}

/* Let the flows, told apart by the low bits of their ports, take turns. */
static void
mix(struct pbuf *p, unsigned n)
{
	static struct pbuf mixed[TUN_READ_MAX];
	unsigned at[8] = {0};
	unsigned done = 0;

	while (done < n) {
		for (unsigned k = 0; k < ARRAY_LEN(at); k++) {
			while (at[k] < n && port_bits(&p[at[k]]) != k)
				at[k]++;
			if (at[k] < n)
				mixed[done++] = p[at[k]++];
		}
	}
	memcpy(p, mixed, n * sizeof(*p));
}

static int
relay_one(struct tun *in, struct tun *out, bool in_turn)
{
	int n = tun_read(in, packets, TUN_READ_MAX);

	for (int i = 0; i < n; i++) {
		total.bad += !packet_ok(&packets[i]);
		if (packets[i].len > total.longest_packet)
			total.longest_packet = packets[i].len;
	}
	if (n <= 0)
		return n;
	total.packets += (unsigned)n;
	if ((unsigned)n > total.most)
		total.most = (unsigned)n;
	if (in_turn)
		mix(packets, (unsigned)n);
	tun_write(out, packets, (unsigned)n);
	return n;
}

static void
cmd_relay(char **argv)
{
	uint64_t until =
	    clock_now().mono_ns + (uint64_t)atoi(argv[1]) * UK_NS_PER_MS;
	struct pollfd p[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
	    {.fd = tun_fd(tun[0]), .events = POLLIN},
	    {.fd = tun_fd(tun[1]), .events = POLLIN}};
	bool in_turn = has_word(argv, "mix");

	while (clock_now().mono_ns < until) {
		if (poll(p, 3, 100) > 0 && p[0].revents != 0)
			break;
		if (relay_one(tun[0], tun[1], in_turn) < 0 ||
		    relay_one(tun[1], tun[0], in_turn) < 0)
			break;
	}
	puts("ok");
}

static void
cmd_total(char **argv)
{
	const struct tun_stats *a = tun_stats(tun[0]), *b = tun_stats(tun[1]);

	(void)argv;
	printf("packets=%u bad=%u dropped=%llu malformed=%llu reads=%u "
	       "writes=%u most=%u longest_packet=%zu longest_read=%zu "
	       "longest_write=%zu\n",
	    total.packets, total.bad,
	    (unsigned long long)(a->write_dropped + b->write_dropped),
	    (unsigned long long)(a->read_malformed + b->read_malformed),
	    total.reads, total.writes, total.most, total.longest_packet,
	    total.longest_read, total.longest_write);
	memset(&total, 0, sizeof(total));
}

static void
cmd_inject(char **argv)
{
	injected = strdup(argv[1]);
	puts("ok");
}

static void
cmd_rss(char **argv)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages;

	(void)argv;
	if (f == NULL || fscanf(f, "%ld %ld", &size, &pages) != 2)
		pages = 0;
	if (f != NULL)
		fclose(f);
	printf("kib=%ld\n", pages * 4);
}

static const struct {
	const char *name;
	int args; /* at least */
	int opened; /* slots that must be: 1: the one named, 2: both */
	void (*fn)(char **argv);
} commands[] = {
    {"open", 2, 0, cmd_open},
    {"adopt", 2, 0, cmd_adopt},
    {"close", 1, 1, cmd_close},
    {"refresh", 1, 1, cmd_refresh},
    {"event", 2, 1, cmd_event},
    {"write", 2, 1, cmd_write},
    {"read", 1, 1, cmd_read},
    {"flows", 2, 1, cmd_flows},
    {"answers", 3, 1, cmd_answers},
    {"relay", 1, 2, cmd_relay},
    {"total", 0, 2, cmd_total},
    {"inject", 1, 0, cmd_inject},
    {"rss", 0, 0, cmd_rss},
};

static void
run(char *line)
{
	char *argv[16] = {NULL};
	int argc = 0;

	for (char *w = strtok(line, " \n"); w != NULL && argc < 15;
	     w = strtok(NULL, " \n"))
		argv[argc++] = w;
	for (size_t i = 0; argc > 0 && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		if (argc <= commands[i].args ||
		    (commands[i].opened == 1 && slot(argv[1]) == NULL) ||
		    (commands[i].opened == 2 &&
			(tun[0] == NULL || tun[1] == NULL)))
			break;
		commands[i].fn(argv);
		return;
	}
	puts("what?");
}

int
main(void)
{
	char line[1024];

	setvbuf(stdout, NULL, _IOLBF, 0);
	/* relay polls stdin, so none of it may wait in stdio's buffer. */
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin) != NULL)
		run(line);
	tun_close(tun[0]);
	tun_close(tun[1]);
	return 0;
}
