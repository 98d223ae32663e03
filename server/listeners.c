#include "listeners.h"

#include <stdio.h>
#include <string.h>

/* States in /proc/net (the kernel's tcp_states.h). */
#define LISTENING 0x0a
#define UNCONNECTED 0x07

size_t
listeners_format(const struct port_set *p, uint16_t first, size_t entries_max,
    struct text *out)
{
	uint32_t from = first;
	uint16_t low, high;
	size_t n = 0;

	while (port_set_next(p, &from, &low, &high)) {
		if (n++ >= entries_max)
			continue;
		text_add(out, "%s%u", n > 1 ? ", " : "", low);
		if (high > low)
			text_add(out, "-%u", high);
	}
	return n;
}

/* 127/8, ::1 and 127/8 inside IPv6; words of the host's byte order. */
static bool
is_loopback(const char *addr)
{
	size_t len = strlen(addr);

	if (len == 8)
		return strcmp(addr + 6, "7F") == 0;
	return strcmp(addr, "00000000000000000000000001000000") == 0 ||
	       (len == 32 &&
		   strncmp(addr, "0000000000000000FFFF0000", 24) == 0 &&
		   strcmp(addr + 30, "7F") == 0);
}

static void
parse_line(struct port_set *to, const char *line, unsigned state)
{
	char addr[40];
	unsigned port, st;

	if (sscanf(line, " %*u: %36[0-9A-F]:%4x %*[0-9A-F]:%*x %2x", addr,
		&port, &st) == 3 &&
	    st == state && port <= UINT16_MAX && !is_loopback(addr))
		port_set_add(to, (uint16_t)port, (uint16_t)port);
}

static void
parse(struct port_set *to, const char *text, unsigned state)
{
	char line[256];

	while (*text != '\0') {
		size_t len = strcspn(text, "\n");
		size_t n = len < sizeof(line) ? len : sizeof(line) - 1;

		memcpy(line, text, n);
		line[n] = '\0';
		parse_line(to, line, state);
		text += len + (text[len] == '\n');
	}
}

void
listeners_parse_tcp(struct port_set *to, const char *text)
{
	parse(to, text, LISTENING);
}

void
listeners_parse_udp(struct port_set *to, const char *text)
{
	parse(to, text, UNCONNECTED);
}

static void
collect(struct port_set *to, const char *path, unsigned state)
{
	char line[512];
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL)
		parse_line(to, line, state);
	fclose(f);
}

static void
read_ephemeral(struct listeners *l)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned first, last;

	l->ephemeral_first = 32768;
	l->ephemeral_last = 60999;
	if (f == NULL)
		return;
	if (fscanf(f, "%u %u", &first, &last) == 2 && first <= last &&
	    last <= UINT16_MAX) {
		l->ephemeral_first = (uint16_t)first;
		l->ephemeral_last = (uint16_t)last;
	}
	fclose(f);
}

void
listeners_read(struct listeners *l)
{
	memset(l, 0, sizeof(*l));
	collect(&l->tcp, "/proc/net/tcp", LISTENING);
	collect(&l->tcp, "/proc/net/tcp6", LISTENING);
	collect(&l->udp, "/proc/net/udp", UNCONNECTED);
	collect(&l->udp, "/proc/net/udp6", UNCONNECTED);
	read_ephemeral(l);
}

void
listeners_services(const struct listeners *l, struct port_set *to)
{
	*to = l->tcp;
	for (unsigned port = 0; port <= UINT16_MAX; port++)
		if (port_set_has(&l->udp, (uint16_t)port) &&
		    (port < l->ephemeral_first || port > l->ephemeral_last))
			port_set_add(to, (uint16_t)port, (uint16_t)port);
}
