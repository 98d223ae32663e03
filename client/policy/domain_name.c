#include "domain_name.h"

#include <stdlib.h>
#include <string.h>

#include <idn2.h>

#include "core/err.h"

#define LABEL_MAX 63 /* RFC 1035 section 2.3.4 */
/* Of UTF-8: a name of 253 letters needs less. */
#define UNICODE_MAX 1024

/* What a letter becomes; 0: it may not be there. Dashes may be anywhere: DNS
 * has such names, and a rule about all below a name must hold for them. */
static const char letter[256] = {
    ['-'] = '-',
    ['_'] = '_',
    /* clang-format off */
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',
    ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',
    ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o',
    ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't',
    ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',
    ['z'] = 'z',
    ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e',
    ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j',
    ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o',
    ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't',
    ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',
    ['Z'] = 'z',
    /* clang-format on */
};

static bool
is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] >= 0x80)
			return false;
	}
	return true;
}

/* A name without the dot at its end. */
static int
ascii_name(char out[static DOMAIN_NAME_MAX], const char *text, size_t len)
{
	size_t label = 0;

	if (len == 0 || len >= DOMAIN_NAME_MAX)
		return UK_EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = letter[(unsigned char)text[i]];

		if (text[i] == '.' && label > 0) {
			out[i] = '.';
			label = 0;
			continue;
		}
		if (c == 0 || ++label > LABEL_MAX)
			return UK_EINVAL;
		out[i] = c;
	}
	if (label == 0)
		return UK_EINVAL;
	out[len] = 0;
	return (int)len;
}

static int
ascii_keyword(char out[static DOMAIN_NAME_MAX], const char *text, size_t len)
{
	if (len == 0 || len >= DOMAIN_NAME_MAX)
		return UK_EINVAL;
	for (size_t i = 0; i < len; i++) {
		out[i] = text[i] == '.' ? '.' : letter[(unsigned char)text[i]];
		if (out[i] == 0)
			return UK_EINVAL;
	}
	out[len] = 0;
	return (int)len;
}

/* To A-labels (RFC 5891 section 5), after the mapping of UTS 46, which also
 * makes dots of the ideographic full stop. *out is free()d by the caller. */
static int
to_ascii(char **out, const char *text, size_t len)
{
	uint8_t copy[UNICODE_MAX + 1], *found = NULL;
	int err;

	if (len > UNICODE_MAX || memchr(text, 0, len) != NULL)
		return UK_EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	err =
	    idn2_lookup_u8(copy, &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (err == IDN2_MALLOC)
		return UK_ENOMEM;
	if (err != IDN2_OK)
		return UK_EINVAL;
	*out = (char *)found;
	return 0;
}

static size_t
without_last_dot(const char *text, size_t len)
{
	return len > 1 && text[len - 1] == '.' ? len - 1 : len;
}

int
domain_name(char out[static DOMAIN_NAME_MAX], const char *text, size_t len)
{
	char *ascii = NULL;
	int err;

	if (is_ascii(text, len))
		return ascii_name(out, text, without_last_dot(text, len));
	err = to_ascii(&ascii, text, len);
	if (err == 0)
		err = ascii_name(
		    out, ascii, without_last_dot(ascii, strlen(ascii)));
	idn2_free(ascii);
	return err;
}

int
domain_keyword(char out[static DOMAIN_NAME_MAX], const char *text, size_t len)
{
	char *ascii = NULL;
	int err;

	if (is_ascii(text, len))
		return ascii_keyword(out, text, len);
	err = to_ascii(&ascii, text, len);
	if (err == 0)
		err = ascii_keyword(out, ascii, strlen(ascii));
	idn2_free(ascii);
	return err;
}
