#include "listeners.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"
#include "os_err.h"

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
parse_line(struct listeners *l, const char *line, unsigned state)
{
	struct port_set *to = state == LISTENING ? &l->tcp : &l->udp;
	unsigned port, st;
	char addr[40];

	if (sscanf(line, " %*u: %36[0-9A-F]:%4x %*[0-9A-F]:%*x %2x", addr,
		&port, &st) != 3 ||
	    st != state || port == 0 || port > UINT16_MAX)
		return;
	port_set_add(is_loopback(addr) ? &l->loopback : to, (uint16_t)port,
	    (uint16_t)port);
}

static void
parse(struct listeners *l, const char *text, unsigned state)
{
	char line[256];

	while (*text != '\0') {
		size_t len = strcspn(text, "\n");
		size_t n = len < sizeof(line) ? len : sizeof(line) - 1;

		memcpy(line, text, n);
		line[n] = '\0';
		parse_line(l, line, state);
		text += len + (text[len] == '\n');
	}
}

void
listeners_parse_tcp(struct listeners *l, const char *text)
{
	parse(l, text, LISTENING);
}

void
listeners_parse_udp(struct listeners *l, const char *text)
{
	parse(l, text, UNCONNECTED);
}

/* A family that the kernel does not have has no file. */
static int
collect(struct listeners *l, const char *path, unsigned state, struct diag *d)
{
	char line[512];
	FILE *f = fopen(path, "re");

	if (f == NULL && errno == ENOENT)
		return 0;
	if (f == NULL)
		return os_err_tell(errno, path, "read", d);
	while (fgets(line, sizeof(line), f) != NULL)
		parse_line(l, line, state);
	fclose(f);
	return 0;
}

int
listeners_parse_range(
    uint16_t *low, uint16_t *high, const char *text, size_t len)
{
	size_t first = 0, gap;
	uint64_t a, b;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	while (first < len && text[first] >= '0' && text[first] <= '9')
		first++;
	gap = first;
	while (gap < len && (text[gap] == '\t' || text[gap] == ' '))
		gap++;
	if (gap == first ||
	    value_parse_u64(&a, text, first, UINT16_MAX, false) < 0 ||
	    value_parse_u64(&b, text + gap, len - gap, UINT16_MAX, false) < 0 ||
	    a > b)
		return UK_EINVAL;
	*low = (uint16_t)a;
	*high = (uint16_t)b;
	return 0;
}

static int
read_ephemeral(struct listeners *l, struct diag *d)
{
	static const char path[] = "/proc/sys/net/ipv4/ip_local_port_range";
	FILE *f = fopen(path, "re");
	char text[64];
	size_t len;

	l->ephemeral_first = 32768;
	l->ephemeral_last = 60999;
	if (f == NULL)
		return os_err_tell(errno, path, "read", d);
	len = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (listeners_parse_range(
		&l->ephemeral_first, &l->ephemeral_last, text, len) == 0)
		return 0;
	diag_error(d, "%s holds no range of ports", path);
	return UK_EPROTO;
}

int
listeners_read(struct listeners *l, struct diag *d)
{
	static const struct {
		const char *path;
		unsigned state;
	} table[] = {
	    {"/proc/net/tcp", LISTENING},
	    {"/proc/net/tcp6", LISTENING},
	    {"/proc/net/udp", UNCONNECTED},
	    {"/proc/net/udp6", UNCONNECTED},
	};
	int first, r;

	memset(l, 0, sizeof(*l));
	first = read_ephemeral(l, d);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		r = collect(l, table[i].path, table[i].state, d);
		first = first < 0 ? first : r;
	}
	return first;
}

void
listeners_services(const struct listeners *l, struct port_set *to)
{
	struct port_set ephemeral = {{0}};

	port_set_add(&ephemeral, l->ephemeral_first, l->ephemeral_last);
	*to = l->udp;
	port_set_minus(to, &ephemeral);
	port_set_or(to, &l->tcp);
}
