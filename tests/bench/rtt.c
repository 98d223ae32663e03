/* ukai-bench-rtt: round trips of ICMP echoes (RFC 792), answered by the other
 * kernel.
 *
 *	ukai-bench-rtt ADDRESS SECONDS [PER-SECOND]
 *
 * With PER-SECOND it sends that many a second, whether or not answers come,
 * and sleeps in between. Then everything on the way is asleep too, and the
 * time to wake up is measured. Without PER-SECOND it sends the next echo as
 * soon as the answer has come, as ping -A does, and never sleeps.
 *
 * Prints how many were sent and answered, and the median and the 95th
 * percentile in microseconds, from the call that sends to the return of the
 * one that receives. */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

/* Sequence numbers are 16 bits and tell answers apart for LATE_S. */
#define SEQUENCES 65536
#define PROBES_MAX 1000000
#define LATE_S 1.0

struct state {
	int fd;
	uint16_t id;
	double sent_at[SEQUENCES]; /* 0: answered, or never sent */
	uint32_t sent;
	uint32_t answered;
	double rtt_us[PROBES_MAX];
};

static uint16_t
checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] | p[i + 1] << 8);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

static void
probe(struct state *s)
{
	struct icmphdr echo[8] = {{.type = ICMP_ECHO}}; /* 64 bytes, as ping */
	uint16_t sequence = (uint16_t)s->sent++;

	echo->un.echo.id = s->id;
	echo->un.echo.sequence = sequence;
	echo->checksum = checksum(echo, sizeof(echo));
	s->sent_at[sequence] = measure_wall_s();
	/* A full queue is an answer that never comes. */
	(void)send(s->fd, echo, sizeof(echo), 0);
}

/* Takes one packet; true when it answers one of ours. */
static bool
hear(struct state *s)
{
	uint8_t packet[2048];
	struct icmphdr echo;
	ssize_t n = recv(s->fd, packet, sizeof(packet), MSG_DONTWAIT);
	size_t header = n > 0 ? (packet[0] & 15u) * 4 : 0;
	double now = measure_wall_s(), *sent_at;

	if (n < (ssize_t)(header + sizeof(echo)))
		return false;
	memcpy(&echo, packet + header, sizeof(echo));
	sent_at = &s->sent_at[echo.un.echo.sequence];
	if (echo.type != ICMP_ECHOREPLY || echo.un.echo.id != s->id ||
	    *sent_at == 0)
		return false;
	if (s->answered < PROBES_MAX)
		s->rtt_us[s->answered++] = (now - *sent_at) * 1e6;
	*sent_at = 0;
	return true;
}

/* The same as wait_until(), awake. */
static bool
watch_until(int fd, double then)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	do {
		if (poll(&p, 1, 0) > 0)
			return true;
	} while (measure_wall_s() < then);
	return false;
}

/* Waits until then at most; true when there is something to hear. */
static bool
wait_until(int fd, double then)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	double left = then - measure_wall_s();
	struct timespec t;

	if (left < 0)
		left = 0;
	t.tv_sec = (time_t)left;
	t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
	return ppoll(&p, 1, &t, NULL) > 0;
}

static void
run(struct state *s, double seconds, double per_second)
{
	bool (*wait)(int, double) = per_second > 0 ? wait_until : watch_until;
	double start = measure_wall_s(), end = start + seconds, due = start;

	while (due < end) {
		probe(s);
		due = per_second > 0 ? start + s->sent / per_second
				     : measure_wall_s() + LATE_S;
		while (wait(s->fd, due)) {
			if (!hear(s) || per_second > 0)
				continue;
			due = measure_wall_s();
			break;
		}
	}
	while (s->answered < s->sent && wait_until(s->fd, end + LATE_S))
		hear(s);
}

int
main(int argc, char **argv)
{
	static struct state s;
	struct sockaddr_in to = {.sin_family = AF_INET};
	double median;

	if (argc < 3 || argc > 4)
		errx(2, "usage: ukai-bench-rtt ADDRESS SECONDS [PER-SECOND]");
	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		errx(2, "'%s' is not an IPv4 address", argv[1]);
	s.id = (uint16_t)getpid();
	s.fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (s.fd < 0 || connect(s.fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		err(1, "%s", argv[1]);
	run(&s, atof(argv[2]), argc == 4 ? atof(argv[3]) : 0);
	if (s.answered == 0)
		errx(1, "%s does not answer", argv[1]);
	median = measure_median(s.rtt_us, s.answered); /* and sorts */
	printf("%u %u %.1f %.1f\n", s.sent, s.answered, median,
	    s.rtt_us[(size_t)s.answered * 95 / 100]);
	return 0;
}
