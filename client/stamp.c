#include "stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"
#include "host/durable.h"

static const char magic[] = "ukai-stamp 1 ";

#define MAGIC_LEN (sizeof(magic) - 1)
#define STAMP_AT (MAGIC_LEN + KEY_BASE64_LEN + 1)
#define TEXT_LEN (STAMP_AT + 2 * WG_STAMP_LEN + 1)

static_assert(TEXT_LEN < STAMP_TEXT_MAX, "room for the text");

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
stamp_parse(uint8_t stamp[static WG_STAMP_LEN], const struct wg_key *key,
    const char *text, size_t len)
{
	uint8_t b[WG_STAMP_LEN];
	struct wg_key of;

	if (len != TEXT_LEN || memcmp(text, magic, MAGIC_LEN) != 0 ||
	    text[STAMP_AT - 1] != ' ' || text[len - 1] != '\n' ||
	    value_parse_key_base64(of.b, text + MAGIC_LEN, KEY_BASE64_LEN) < 0)
		return UK_EPROTO;
	for (size_t i = 0; i < WG_STAMP_LEN; i++) {
		int high = digit(text[STAMP_AT + 2 * i]);
		int low = digit(text[STAMP_AT + 2 * i + 1]);

		if (high < 0 || low < 0)
			return UK_EPROTO;
		b[i] = (uint8_t)(high << 4 | low);
	}
	if (memcmp(of.b, key->b, WG_KEY_LEN) != 0)
		return UK_ENOENT;
	memcpy(stamp, b, WG_STAMP_LEN);
	return 0;
}

size_t
stamp_format(char text[static STAMP_TEXT_MAX], const struct wg_key *key,
    const uint8_t stamp[static WG_STAMP_LEN])
{
	static const char hex[] = "0123456789abcdef";
	size_t at = STAMP_AT;

	memcpy(text, magic, MAGIC_LEN);
	value_format_key_base64(text + MAGIC_LEN, key->b);
	text[STAMP_AT - 1] = ' ';
	for (size_t i = 0; i < WG_STAMP_LEN; i++) {
		text[at++] = hex[stamp[i] >> 4];
		text[at++] = hex[stamp[i] & 15];
	}
	text[at++] = '\n';
	text[at] = '\0';
	return at;
}

void
stamp_load(uint8_t stamp[static WG_STAMP_LEN], const char *path,
    const struct wg_key *key, struct diag *d)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[STAMP_TEXT_MAX];
	ssize_t n;

	memset(stamp, 0, WG_STAMP_LEN);
	if (fd < 0 && errno == ENOENT)
		return;
	n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	if (n < 0)
		diag_warn(d, "cannot read %s: %s", path, strerror(errno));
	else if (stamp_parse(stamp, key, text, (size_t)n) == UK_EPROTO)
		diag_warn(d,
		    "%s holds no handshake stamp and is not used; the relay "
		    "may refuse us until its clock has passed our last one",
		    path);
	if (fd >= 0)
		close(fd);
}

int
stamp_save(const char *path, const struct wg_key *key,
    const uint8_t stamp[static WG_STAMP_LEN])
{
	char text[STAMP_TEXT_MAX];

	return durable_replace(
	    path, text, stamp_format(text, key, stamp), NULL);
}
