#include "plain_text.h"

#include <string.h>

/* What a lead byte announces (RFC 3629 section 4). */
static size_t
announced(uint8_t lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	if (lead < 0xe0)
		return 2;
	return lead < 0xf0 ? 3 : 4;
}

/* Returns its bytes, and the character in code; 0: that is not UTF-8. */
static size_t
decode(uint32_t *code, const char *s, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = len > 0 ? announced((uint8_t)s[0]) : 0;

	if (n == 0 || n > len)
		return 0;
	*code = (uint8_t)s[0] & (n == 1 ? 0x7fu : 0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (((uint8_t)s[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | ((uint8_t)s[i] & 0x3f);
	}
	if (*code < least[n] || *code > 0x10ffff ||
	    (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return n;
}

static bool
is_harmful(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c ||
	       (c >= 0x2000 && c < 0x2080) || c == 0xfeff;
}

size_t
plain_text_char(const char *s, size_t len)
{
	uint32_t code;
	size_t n = decode(&code, s, len);

	return n > 0 && !is_harmful(code) ? n : 0;
}

void
plain_text_copy(char *to, size_t room, const char *from)
{
	size_t len = strlen(from), at = 0;

	while (len > 0) {
		size_t n = plain_text_char(from, len);
		const char *put = n > 0 ? from : "?";
		size_t width = n > 0 ? n : 1;
		uint32_t code;

		if (at + width >= room)
			break;
		memcpy(to + at, put, width);
		at += width;
		if (n == 0)
			n = decode(&code, from, len);
		n = n > 0 ? n : 1;
		from += n;
		len -= n;
	}
	to[at] = 0;
}
