#include "endpoint.h"

#include <stdio.h>
#include <string.h>

/* Only for inet_pton(), a pure function. */
#ifdef _WIN32
#include <ws2tcpip.h>
#else
#include <arpa/inet.h>
#endif

#include "bytes.h"
#include "err.h"

static unsigned
family_bytes(uint8_t family)
{
	if (family == FAMILY_V4)
		return 4;
	return family == FAMILY_V6 ? 16 : 0;
}

bool
ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family &&
	       memcmp(a->b, b->b, family_bytes(a->family)) == 0;
}

bool
endpoint_same_remote(const struct endpoint *a, const struct endpoint *b)
{
	return ip_addr_equal(&a->addr, &b->addr) && a->port == b->port &&
	       a->scope_id == b->scope_id;
}

int
ip_addr_parse(struct ip_addr *a, const char *text, size_t len)
{
	char copy[IP_ADDR_TEXT_MAX];
	struct ip_addr r = {0};

	if (len >= sizeof(copy) || memchr(text, 0, len) != NULL)
		return UK_EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	r.family = memchr(text, ':', len) != NULL ? FAMILY_V6 : FAMILY_V4;
	if (inet_pton(r.family == FAMILY_V6 ? AF_INET6 : AF_INET, copy, r.b) !=
	    1)
		return UK_EINVAL;
	*a = r;
	return 0;
}

/* The longest run of at least two zero groups, the first of equals (RFC 5952
 * section 4.2); start 8 when there is none. */
static void
longest_zeros(const uint16_t g[8], unsigned *start, unsigned *run)
{
	*start = 8;
	*run = 1;
	for (unsigned i = 0; i < 8; i++) {
		unsigned n = 0;

		while (i + n < 8 && g[i + n] == 0)
			n++;
		if (n > *run) {
			*start = i;
			*run = n;
		}
	}
}

/* Not inet_ntop(): systems differ in which addresses get a dotted tail. Here
 * only v4-mapped ones do (RFC 5952 section 5). */
static void
format_v6(const uint8_t b[16], char text[static IP_ADDR_TEXT_MAX])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t at = 0, room = IP_ADDR_TEXT_MAX;
	unsigned start, run, i = 0;
	uint16_t g[8];

	if (memcmp(b, mapped, sizeof(mapped)) == 0) {
		snprintf(text, room, "::ffff:%u.%u.%u.%u", b[12], b[13], b[14],
		    b[15]);
		return;
	}
	for (unsigned k = 0; k < 8; k++)
		g[k] = load_be16(b + 2 * k);
	longest_zeros(g, &start, &run);
	while (i < 8) {
		bool colon = i > 0 && i != start + run;

		if (i == start) {
			at += (size_t)snprintf(text + at, room - at, "::");
			i += run;
			continue;
		}
		at += (size_t)snprintf(text + at, room - at, "%s%x",
		    colon ? ":" : "", (unsigned)g[i++]);
	}
}

const char *
ip_addr_format(const struct ip_addr *a, char text[static IP_ADDR_TEXT_MAX])
{
	if (a->family == FAMILY_V4)
		snprintf(text, IP_ADDR_TEXT_MAX, "%u.%u.%u.%u", a->b[0],
		    a->b[1], a->b[2], a->b[3]);
	else if (a->family == FAMILY_V6)
		format_v6(a->b, text);
	else
		snprintf(text, IP_ADDR_TEXT_MAX, "(none)");
	return text;
}

const char *
endpoint_format(const struct endpoint *e, char text[static ENDPOINT_TEXT_MAX])
{
	char addr[IP_ADDR_TEXT_MAX], scope[12] = "";

	ip_addr_format(&e->addr, addr);
	if (e->scope_id != 0)
		snprintf(scope, sizeof(scope), "%%%u", (unsigned)e->scope_id);
	if (e->addr.family == FAMILY_V6)
		snprintf(
		    text, ENDPOINT_TEXT_MAX, "[%s%s]:%u", addr, scope, e->port);
	else if (e->addr.family == FAMILY_V4)
		snprintf(text, ENDPOINT_TEXT_MAX, "%s:%u", addr, e->port);
	else
		snprintf(text, ENDPOINT_TEXT_MAX, "(none)");
	return text;
}

/* One to three digits. */
static int
parse_bits(uint8_t *bits, const char *text, size_t len, unsigned max)
{
	unsigned v = 0;

	if (len < 1 || len > 3)
		return UK_EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return UK_EINVAL;
		v = v * 10 + (unsigned)(text[i] - '0');
	}
	if (v > max)
		return UK_EINVAL;
	*bits = (uint8_t)v;
	return 0;
}

int
ip_ifaddr_parse(struct ip_ifaddr *a, const char *text, size_t len)
{
	const char *slash = memchr(text, '/', len);
	size_t addr_len = slash != NULL ? (size_t)(slash - text) : len;
	struct ip_ifaddr r = {0};
	unsigned max;

	if (ip_addr_parse(&r.addr, text, addr_len) < 0)
		return UK_EINVAL;
	max = family_bytes(r.addr.family) * 8;
	r.bits = (uint8_t)max;
	if (slash != NULL &&
	    parse_bits(&r.bits, slash + 1, len - addr_len - 1, max) < 0)
		return UK_EINVAL;
	*a = r;
	return 0;
}

/* The bits of byte i that a prefix of so many bits covers. */
static uint8_t
mask_byte(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	if (bits <= 8 * i)
		return 0;
	return (uint8_t)(0xff00u >> (bits - 8 * i));
}

void
ip_ifaddr_prefix(const struct ip_ifaddr *a, struct ip_prefix *p)
{
	*p = (struct ip_prefix){.addr = a->addr, .bits = a->bits};
	for (unsigned i = 0; i < sizeof(p->addr.b); i++)
		p->addr.b[i] &= mask_byte(a->bits, i);
}

int
ip_prefix_parse(struct ip_prefix *p, const char *text, size_t len)
{
	struct ip_ifaddr a;

	if (ip_ifaddr_parse(&a, text, len) < 0)
		return UK_EINVAL;
	ip_ifaddr_prefix(&a, p);
	return 0;
}

const char *
ip_prefix_format(
    const struct ip_prefix *p, char text[static IP_PREFIX_TEXT_MAX])
{
	size_t at;

	ip_addr_format(&p->addr, text);
	at = strlen(text);
	if (p->addr.family != FAMILY_NONE)
		snprintf(text + at, IP_PREFIX_TEXT_MAX - at, "/%u", p->bits);
	return text;
}

bool
ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
	unsigned n = family_bytes(p->addr.family);

	if (n == 0 || p->addr.family != a->family)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if ((p->addr.b[i] ^ a->b[i]) & mask_byte(p->bits, i))
			return false;
	}
	return true;
}

bool
ip_prefix_overlap(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits <= b->bits ? ip_prefix_contains(a, &b->addr)
				  : ip_prefix_contains(b, &a->addr);
}
