#include "value.h"

#include <string.h>

#include <sodium.h>

#include "err.h"

static int
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

int
value_parse_u64(
    uint64_t *v, const char *text, size_t len, uint64_t max, bool hex)
{
	unsigned base = 10;
	uint64_t r = 0;

	if (hex && len >= 2 && text[0] == '0' &&
	    (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
		len -= 2;
	}
	if (len == 0)
		return UK_EINVAL;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)digit_value(text[i]);

		if (digit >= base || digit > max || r > (max - digit) / base)
			return UK_EINVAL;
		r = r * base + digit;
	}
	*v = r;
	return 0;
}

/* All ones when lo <= c <= hi, else 0; for bytes, without a branch. */
static uint32_t
mask_range(uint32_t c, uint32_t lo, uint32_t hi)
{
	return 0 - (((lo - 1 - c) & (c - hi - 1)) >> 31);
}

/* Six bits of RFC 4648 section 4; *bad gets bits when c is no such letter. */
static uint32_t
base64_value(uint8_t c, uint32_t *bad)
{
	uint32_t upper = mask_range(c, 'A', 'Z');
	uint32_t lower = mask_range(c, 'a', 'z');
	uint32_t digit = mask_range(c, '0', '9');
	uint32_t plus = mask_range(c, '+', '+');
	uint32_t slash = mask_range(c, '/', '/');

	*bad |= ~(upper | lower | digit | plus | slash);
	return (upper & (c - 'A')) | (lower & (c - ('a' - 26))) |
	       (digit & (c + (52 - '0'))) | (plus & 62) | (slash & 63);
}

/* Not sodium_base642bin(): 1.0.18 takes some bytes above 0x7f for letters. */
int
value_parse_key_base64(uint8_t key[KEY_LEN], const char *text, size_t len)
{
	uint32_t bad = 0, bits = 0;
	uint8_t r[KEY_LEN + 1];

	if (len != KEY_BASE64_LEN || text[len - 1] != '=')
		return UK_EINVAL;
	for (size_t i = 0; i < KEY_BASE64_LEN; i++) {
		/* 'A' for the '=': its bits are checked with the spare ones. */
		char c = i < KEY_BASE64_LEN - 1 ? text[i] : 'A';

		bits = bits << 6 | base64_value((uint8_t)c, &bad);
		if (i % 4 != 3)
			continue;
		r[i / 4 * 3] = (uint8_t)(bits >> 16);
		r[i / 4 * 3 + 1] = (uint8_t)(bits >> 8);
		r[i / 4 * 3 + 2] = (uint8_t)bits;
	}
	bad |= r[KEY_LEN];
	if (bad == 0)
		memcpy(key, r, KEY_LEN);
	sodium_memzero(r, sizeof(r));
	return bad == 0 ? 0 : UK_EINVAL;
}

void
value_format_key_base64(
    char text[KEY_BASE64_LEN + 1], const uint8_t key[KEY_LEN])
{
	sodium_bin2base64(text, KEY_BASE64_LEN + 1, key, KEY_LEN,
	    sodium_base64_VARIANT_ORIGINAL);
}

int
value_parse_key_hex(uint8_t key[KEY_LEN], const char *text, size_t len)
{
	uint8_t r[KEY_LEN];
	size_t n = 0;
	int err = UK_EINVAL;

	if (len == KEY_HEX_LEN &&
	    sodium_hex2bin(r, sizeof(r), text, len, NULL, &n, NULL) == 0 &&
	    n == KEY_LEN) {
		memcpy(key, r, KEY_LEN);
		err = 0;
	}
	sodium_memzero(r, sizeof(r));
	return err;
}

void
value_format_key_hex(char text[KEY_HEX_LEN + 1], const uint8_t key[KEY_LEN])
{
	sodium_bin2hex(text, KEY_HEX_LEN + 1, key, KEY_LEN);
}

static bool
is_link_local_v6(const struct ip_addr *a)
{
	return a->family == FAMILY_V6 && a->b[0] == 0xfe &&
	       (a->b[1] & 0xc0) == 0x80;
}

/* What follows the '%': an interface's index or its name. */
static int
parse_scope(struct endpoint *e, char scope[16], const char *text, size_t len)
{
	uint64_t index;

	if (!is_link_local_v6(&e->addr))
		return UK_EINVAL;
	if (value_parse_u64(&index, text, len, UINT32_MAX, false) == 0) {
		e->scope_id = (uint32_t)index;
		return index != 0 ? 0 : UK_EINVAL;
	}
	if (!value_is_ifname(text, len))
		return UK_EINVAL;
	memcpy(scope, text, len);
	return 0;
}

/* The text between the brackets. */
static int
parse_v6_host(struct endpoint *e, char scope[16], const char *text, size_t len)
{
	const char *percent = memchr(text, '%', len);
	size_t n = percent != NULL ? (size_t)(percent - text) : len;

	if (ip_addr_parse(&e->addr, text, n) < 0 || e->addr.family != FAMILY_V6)
		return UK_EINVAL;
	if (percent == NULL)
		return 0;
	return parse_scope(e, scope, percent + 1, len - n - 1);
}

static int
parse_host(struct endpoint *e, char scope[16], const char *text, size_t len)
{
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
		return parse_v6_host(e, scope, text + 1, len - 2);
	if (ip_addr_parse(&e->addr, text, len) < 0)
		return UK_EINVAL;
	return e->addr.family == FAMILY_V4 ? 0 : UK_EINVAL;
}

int
value_split_port(size_t *host_len, uint16_t *port, const char *text, size_t len)
{
	size_t n = len;
	uint64_t v;

	while (n > 0 && text[n - 1] != ':')
		n--;
	if (n == 0 ||
	    value_parse_u64(&v, text + n, len - n, UINT16_MAX, false) < 0 ||
	    v == 0)
		return UK_EINVAL;
	*host_len = n - 1;
	*port = (uint16_t)v;
	return 0;
}

int
value_parse_endpoint(
    struct endpoint *e, char scope[16], const char *text, size_t len)
{
	struct endpoint r = {0};
	char name[16] = "";
	size_t host_len;

	if (value_split_port(&host_len, &r.port, text, len) < 0 ||
	    parse_host(&r, name, text, host_len) < 0)
		return UK_EINVAL;
	*e = r;
	memcpy(scope, name, sizeof(name));
	return 0;
}

bool
value_is_ifname(const char *text, size_t len)
{
	if (len < 1 || len > 15)
		return false;
	if (text[0] == '.' && (len == 1 || (len == 2 && text[1] == '.')))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= ' ' || c == 0x7f || c == '/' || c == ':')
			return false;
	}
	return true;
}

static bool
is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* A label of a DNS name; *number: it has digits only. */
static bool
is_label(const char *text, size_t len, bool *number)
{
	*number = true;
	if (len < 1 || len > 63 || text[0] == '-' || text[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_label_char(text[i]))
			return false;
		if (text[i] < '0' || text[i] > '9')
			*number = false;
	}
	return true;
}

bool
value_is_hostname(const char *text, size_t len)
{
	bool number = true;

	if (len > 1 && text[len - 1] == '.')
		len--;
	if (len < 1 || len > VALUE_HOSTNAME_MAX)
		return false;
	for (size_t at = 0; at <= len;) {
		const char *dot = memchr(text + at, '.', len - at);
		size_t end = dot != NULL ? (size_t)(dot - text) : len;

		if (!is_label(text + at, end - at, &number))
			return false;
		at = end + 1;
	}
	return !number;
}
