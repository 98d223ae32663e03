/* dns_lab: a DNS server that answers as the first label of a name says, over
 * UDP and TCP, with a number of its own in all addresses.
 *
 *   dns_lab NUMBER ADDRESS... [NAME=IPV4...]     on port 53 of the addresses
 *
 * A NAME has that IPv4 address and no more.
 *
 *   *          A 192.0.2.NUMBER, AAAA 2001:db8::NUMBER, TXT, HTTPS
 *   cname      CNAME to end.tail.test, and its addresses
 *   chain      20 CNAMEs before that
 *   private    A 10.0.0.1 besides, or AAAA fd00::1
 *   allowed    only A 10.9.0.1
 *   big        truncated over UDP; 200 addresses over TCP
 *   silent     nothing; by TCP neither the connection's end
 *   garbage    bytes that are no message
 *   wrongid    a lie with another id, then another one about another name, then
 *              the answer
 *
 * AXFR: two messages. NOTIFY: an answer. Each question is a line on standard
 * output: "udp|tcp NAME TYPE". */
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base.h"
#include "core/bytes.h"

#define SOCKETS 16
enum { A = 1, CNAME = 5, TXT = 16, AAAA = 28, HTTPS = 65, AXFR = 252 };

static uint8_t number;
static char **names; /* NAME=IPV4, NULL at the end */

struct message {
	uint8_t b[65535];
	size_t len;
};

static void
put(struct message *m, const void *bytes, size_t len)
{
	memcpy(m->b + m->len, bytes, len);
	m->len += len;
}

static void
put16(struct message *m, unsigned v)
{
	uint8_t b[2];

	store_be16(b, (uint16_t)v);
	put(m, b, 2);
}

/* owner: an offset of a name in the message. Returns where its data is. */
static size_t
record(struct message *m, size_t owner, unsigned type, const void *data,
    size_t len)
{
	put16(m, 0xc000 | (unsigned)owner);
	put16(m, type);
	put16(m, 1);
	put16(m, 0);
	put16(m, 60);
	put16(m, (unsigned)len);
	put(m, data, len);
	store_be16(m->b + 6, (uint16_t)(load_be16(m->b + 6) + 1));
	return m->len - len;
}

static void
address(struct message *m, size_t owner, unsigned type, const char *text)
{
	uint8_t b[16];

	inet_pton(type == A ? AF_INET : AF_INET6, text, b);
	record(m, owner, type, b, type == A ? 4 : 16);
}

static void
addresses(struct message *m, size_t owner, unsigned type)
{
	static const uint8_t https[] = {0, 1, 0, 0, 4, 0, 4, 192, 0, 2, 99};
	char text[64];

	if (type == A) {
		snprintf(text, sizeof(text), "192.0.2.%u", number);
		address(m, owner, A, text);
	} else if (type == AAAA) {
		snprintf(text, sizeof(text), "2001:db8::%u", number);
		address(m, owner, AAAA, text);
	} else if (type == TXT) {
		record(m, owner, TXT, "\4text", 5);
	} else if (type == HTTPS) {
		record(m, owner, HTTPS, https, sizeof(https));
	}
}

static size_t
cnames(struct message *m, size_t owner, unsigned n)
{
	static const uint8_t end[] = "\3end\4tail\4test";
	uint8_t name[] = "\3c00\4tail\4test";

	for (; n > 0; n--) {
		name[2] = (uint8_t)('0' + n / 10);
		name[3] = (uint8_t)('0' + n % 10);
		owner = record(m, owner, CNAME, name, sizeof(name));
	}
	return record(m, owner, CNAME, end, sizeof(end));
}

static bool
label_is(const struct message *m, const char *label)
{
	return m->b[12] == strlen(label) &&
	       memcmp(m->b + 13, label, strlen(label)) == 0;
}

/* Where the address of a name begins; NULL: its first label says all. */
static const char *
named(const char *name)
{
	size_t len = strlen(name);

	for (char **n = names; *n != NULL; n++)
		if (strncasecmp(*n, name, len) == 0 && (*n)[len] == '=')
			return *n + len + 1;
	return NULL;
}

/* m is the question; make it the answer. Returns false: none. */
static bool
answer(struct message *m, const char *name, unsigned type, bool tcp)
{
	const char *known = named(name);
	char text[32];

	m->b[2] |= 0x80;
	m->b[3] = 0x80;
	if (known != NULL) {
		if (type == A)
			address(m, 12, A, known);
		return true;
	}
	if (label_is(m, "silent"))
		return false;
	if (label_is(m, "garbage")) {
		memset(m->b + 4, 0xff, m->len - 4);
	} else if (label_is(m, "cname")) {
		addresses(m, cnames(m, 12, 0), type);
	} else if (label_is(m, "chain")) {
		addresses(m, cnames(m, 12, 20), type);
	} else if (label_is(m, "private")) {
		if (type == A || type == AAAA)
			address(
			    m, 12, type, type == A ? "10.0.0.1" : "fd00::1");
		addresses(m, 12, type);
	} else if (label_is(m, "allowed")) {
		address(m, 12, A, "10.9.0.1");
	} else if (label_is(m, "big") && !tcp) {
		m->b[2] |= 2;
	} else if (label_is(m, "big")) {
		for (unsigned i = 0; i < 200; i++) {
			snprintf(text, sizeof(text), "198.18.0.%u", i);
			address(m, 12, A, text);
		}
	} else {
		addresses(m, 12, type);
	}
	return true;
}

#define NAME_MAX_LEN 256

/* Cut m to header and question; print it. Returns its type; 0: none. */
static unsigned
question(struct message *m, char name[static NAME_MAX_LEN], bool tcp)
{
	unsigned type;
	size_t at = 12, n = 0;

	if (m->len < 17)
		return 0;
	while (at < m->len && m->b[at] > 0 && at < 200) {
		if (n > 0)
			name[n++] = '.';
		memcpy(name + n, m->b + at + 1, m->b[at]);
		n += m->b[at];
		at += 1u + m->b[at];
	}
	name[n] = '\0';
	type = load_be16(m->b + at + 1);
	printf("%s %s %u\n", tcp ? "tcp" : "udp", name, type);
	m->len = at + 5;
	memset(m->b + 6, 0, 6);
	return type;
}

static void
serve_udp(int fd)
{
	static struct message m, lie;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	ssize_t n =
	    recvfrom(fd, m.b, sizeof(m.b), 0, (struct sockaddr *)&from, &len);
	char name[NAME_MAX_LEN];
	unsigned type;

	if (n <= 0)
		return;
	m.len = (size_t)n;
	type = question(&m, name, false);
	if (type == 0 || !answer(&m, name, type, false))
		return;
	if (label_is(&m, "wrongid")) {
		lie = m;
		lie.b[lie.len - 1] = 66;
		lie.b[0] ^= 1;
		sendto(fd, lie.b, lie.len, 0, (struct sockaddr *)&from, len);
		lie.b[0] ^= 1;
		lie.b[13] = 'x';
		sendto(fd, lie.b, lie.len, 0, (struct sockaddr *)&from, len);
	}
	sendto(fd, m.b, m.len, 0, (struct sockaddr *)&from, len);
}

static bool
read_all(int fd, uint8_t *b, size_t len)
{
	return recv(fd, b, len, MSG_WAITALL) == (ssize_t)len;
}

static void
send_message(int fd, const struct message *m)
{
	uint8_t len[2];

	store_be16(len, (uint16_t)m->len);
	send(fd, len, 2, MSG_NOSIGNAL | MSG_MORE);
	send(fd, m->b, m->len, MSG_NOSIGNAL);
}

static void
serve_tcp(int listener)
{
	static struct message m;
	struct timeval patience = {.tv_sec = 2};
	int fd = accept(listener, NULL, NULL);
	char name[NAME_MAX_LEN];
	uint8_t len[2];
	unsigned type;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (read_all(fd, len, 2) && read_all(fd, m.b, load_be16(len))) {
		m.len = load_be16(len);
		type = question(&m, name, true);
		if (type != 0 && label_is(&m, "silent"))
			return;
		if (type != 0 && answer(&m, name, type, true)) {
			send_message(fd, &m);
			if (type == AXFR)
				send_message(fd, &m);
		}
	}
	close(fd);
}

static int
open_socket(const char *text, int type)
{
	struct sockaddr_in6 v6 = {
	    .sin6_family = AF_INET6, .sin6_port = htons(53)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(53)};
	bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;
	char host[64];
	const int on = 1;
	int fd = socket(is_v4 ? AF_INET : AF_INET6, type, 0), r;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	snprintf(host, sizeof(host), "%.*s", (int)strcspn(text, "%"), text);
	inet_pton(AF_INET6, host, &v6.sin6_addr);
	if (strchr(text, '%'))
		v6.sin6_scope_id = if_nametoindex(strchr(text, '%') + 1);
	r = is_v4 ? bind(fd, (struct sockaddr *)&v4, sizeof(v4))
		  : bind(fd, (struct sockaddr *)&v6, sizeof(v6));
	if (r < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0)) {
		perror(text);
		exit(1);
	}
	return fd;
}

int
main(int argc, char **argv)
{
	struct pollfd p[SOCKETS];
	nfds_t n = 0;
	int end = 2;

	while (end < argc && strchr(argv[end], '=') == NULL)
		end++;
	if (end < 3 || end > 2 + SOCKETS / 2)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	number = (uint8_t)strtoul(argv[1], NULL, 10);
	names = argv + end;
	for (int i = 2; i < end; i++) {
		p[n++] = (struct pollfd){
		    .fd = open_socket(argv[i], SOCK_DGRAM), .events = POLLIN};
		p[n++] = (struct pollfd){
		    .fd = open_socket(argv[i], SOCK_STREAM), .events = POLLIN};
	}
	printf("ready\n");
	while (poll(p, n, -1) >= 0) {
		for (nfds_t i = 0; i < n; i++) {
			if (!(p[i].revents & POLLIN))
				continue;
			if (i % 2 == 0)
				serve_udp(p[i].fd);
			else
				serve_tcp(p[i].fd);
		}
	}
	return 1;
}
