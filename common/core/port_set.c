#include "port_set.h"

#include <string.h>

#include "err.h"
#include "value.h"

#define PORTS 65536u

bool
port_set_has(const struct port_set *s, uint16_t port)
{
	return s->w[port / 64] >> (port % 64) & 1;
}

/* The bits of word i that stand for ports from low to high. */
static uint64_t
word_mask(size_t i, uint16_t low, uint16_t high)
{
	uint64_t m = UINT64_MAX;

	if (i == low / 64)
		m &= UINT64_MAX << (low % 64);
	if (i == high / 64)
		m &= UINT64_MAX >> (63 - high % 64);
	return m;
}

void
port_set_add(struct port_set *s, uint16_t low, uint16_t high)
{
	UK_ASSERT(low <= high);
	for (size_t i = low / 64; i <= high / 64; i++)
		s->w[i] |= word_mask(i, low, high);
}

void
port_set_or(struct port_set *s, const struct port_set *other)
{
	for (size_t i = 0; i < ARRAY_LEN(s->w); i++)
		s->w[i] |= other->w[i];
}

void
port_set_and(struct port_set *s, const struct port_set *other)
{
	for (size_t i = 0; i < ARRAY_LEN(s->w); i++)
		s->w[i] &= other->w[i];
}

void
port_set_minus(struct port_set *s, const struct port_set *other)
{
	for (size_t i = 0; i < ARRAY_LEN(s->w); i++)
		s->w[i] &= ~other->w[i];
}

uint32_t
port_set_count(const struct port_set *s)
{
	uint32_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(s->w); i++)
		n += (uint32_t)__builtin_popcountll(s->w[i]);
	return n;
}

uint32_t
port_set_count_in(const struct port_set *s, uint16_t low, uint16_t high)
{
	uint32_t n = 0;

	if (low > high)
		return 0;
	for (size_t i = low / 64; i <= high / 64; i++)
		n += (uint32_t)__builtin_popcountll(
		    s->w[i] & word_mask(i, low, high));
	return n;
}

/* The first port from p on that is in the set, or is not; PORTS: none. */
static uint32_t
find(const struct port_set *s, uint32_t p, bool in)
{
	while (p < PORTS) {
		uint64_t w = in ? s->w[p / 64] : ~s->w[p / 64];

		w &= UINT64_MAX << (p % 64);
		if (w != 0)
			return p / 64 * 64 + (uint32_t)__builtin_ctzll(w);
		p = (p / 64 + 1) * 64;
	}
	return PORTS;
}

bool
port_set_next(
    const struct port_set *s, uint32_t *from, uint16_t *low, uint16_t *high)
{
	uint32_t p = find(s, *from, true);

	if (p == PORTS)
		return false;
	*low = (uint16_t)p;
	*from = find(s, p, false);
	*high = (uint16_t)(*from - 1);
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* "N" or "N-M". */
static int
parse_range(struct port_set *s, const char *text, size_t len)
{
	const char *dash = memchr(text, '-', len);
	size_t first = dash != NULL ? (size_t)(dash - text) : len;
	uint64_t low, high;

	if (value_parse_u64(&low, text, first, PORTS - 1, false) < 0)
		return UK_EINVAL;
	high = low;
	if (dash != NULL && value_parse_u64(&high, dash + 1, len - first - 1,
				PORTS - 1, false) < 0)
		return UK_EINVAL;
	if (low > high)
		return UK_EINVAL;
	port_set_add(s, (uint16_t)low, (uint16_t)high);
	return 0;
}

int
port_set_parse(struct port_set *s, const char *text, size_t len)
{
	struct port_set out = {{0}};
	size_t n;

	while (len > 0 && is_blank(text[len - 1]))
		len--;
	while (len > 0) {
		const char *comma = memchr(text, ',', len);
		const char *word = text;

		n = comma != NULL ? (size_t)(comma - text) : len;
		text += n + (comma != NULL);
		len -= n + (comma != NULL);
		/* A comma promises one more. */
		if (comma != NULL && len == 0)
			return UK_EINVAL;
		for (; n > 0 && is_blank(word[0]); n--)
			word++;
		while (n > 0 && is_blank(word[n - 1]))
			n--;
		if (parse_range(&out, word, n) < 0)
			return UK_EINVAL;
	}
	*s = out;
	return 0;
}

void
port_set_format(const struct port_set *s, struct text *out)
{
	const char *comma = "";
	uint32_t from = 0;
	uint16_t low, high;

	while (port_set_next(s, &from, &low, &high)) {
		if (low == high)
			text_add(out, "%s%u", comma, low);
		else
			text_add(out, "%s%u-%u", comma, low, high);
		comma = ",";
	}
}
