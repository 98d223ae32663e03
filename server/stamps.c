#include "stamps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "core/err.h"
#include "core/value.h"
#include "host/durable.h"
#include "host/os_err.h"

#define FIRST_WORDS "ukai-stamps 1 "
#define STAMP_HEX ((size_t)2 * WG_STAMP_LEN)
/* Some 200,000 clients. More is not ours. */
#define FILE_MAX ((off_t)16 << 20)

void
stamps_fini(struct stamps *s)
{
	free(s->item);
	*s = (struct stamps){.relay = s->relay};
}

/* Where the key is, or belongs. */
static size_t
position(const struct stamps *s, const struct wg_key *key)
{
	size_t from = 0, to = s->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (memcmp(&s->item[mid].public_key, key, sizeof(*key)) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool
is_at(const struct stamps *s, size_t i, const struct wg_key *key)
{
	return i < s->n &&
	       memcmp(&s->item[i].public_key, key, sizeof(*key)) == 0;
}

const uint8_t *
stamps_find(const struct stamps *s, const struct wg_key *public_key)
{
	size_t i = position(s, public_key);

	return is_at(s, i, public_key) ? s->item[i].stamp : NULL;
}

static int
insert(struct stamps *s, size_t i, const struct wg_key *key)
{
	size_t cap = s->cap != 0 ? 2 * s->cap : 16;
	struct stamp *p;

	if (s->n == s->cap) {
		p = realloc(s->item, cap * sizeof(*p));
		if (p == NULL)
			return UK_ENOMEM;
		s->item = p;
		s->cap = cap;
	}
	memmove(&s->item[i + 1], &s->item[i], (s->n - i) * sizeof(*s->item));
	s->item[i] = (struct stamp){.public_key = *key};
	s->n++;
	return 0;
}

/* Stamps are big-endian: bytes compare as times do. */
static bool
raise(uint8_t stamp[WG_STAMP_LEN], const uint8_t new[WG_STAMP_LEN])
{
	if (memcmp(new, stamp, WG_STAMP_LEN) <= 0)
		return false;
	memcpy(stamp, new, WG_STAMP_LEN);
	return true;
}

int
stamps_note(struct stamps *s, const struct wg_key *public_key,
    const uint8_t stamp[WG_STAMP_LEN])
{
	static const uint8_t never[WG_STAMP_LEN];
	size_t i = position(s, public_key);

	if (memcmp(stamp, never, WG_STAMP_LEN) == 0)
		return 0;
	if (!is_at(s, i, public_key) && insert(s, i, public_key) < 0)
		return UK_ENOMEM;
	if (raise(s->item[i].stamp, stamp))
		s->changed = true;
	return 0;
}

static int
hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

static int
parse_stamp(uint8_t stamp[WG_STAMP_LEN], const char *text, size_t len)
{
	if (len != STAMP_HEX)
		return UK_EPROTO;
	for (size_t i = 0; i < WG_STAMP_LEN; i++) {
		int high = hex_digit(text[2 * i]);
		int low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return UK_EPROTO;
		stamp[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* "PUBLIC-KEY STAMP" */
static int
parse_line(struct wg_key *key, uint8_t stamp[WG_STAMP_LEN], const char *line,
    size_t len)
{
	if (len <= KEY_BASE64_LEN || line[KEY_BASE64_LEN] != ' ' ||
	    value_parse_key_base64(key->b, line, KEY_BASE64_LEN) < 0)
		return UK_EPROTO;
	return parse_stamp(
	    stamp, line + KEY_BASE64_LEN + 1, len - KEY_BASE64_LEN - 1);
}

/* Whose stamps are these? */
static int
parse_first(struct stamps *s, const char *line, size_t len)
{
	size_t words = strlen(FIRST_WORDS);
	struct wg_key key;

	if (len < words || memcmp(line, FIRST_WORDS, words) != 0 ||
	    parse_line(&key, s->own, line + words, len - words) < 0)
		return UK_EPROTO;
	return memcmp(&key, &s->relay, sizeof(key)) == 0 ? 0 : UK_ENOENT;
}

/* Cut one whole line off the text. False: there is none. */
static bool
next_line(const char **text, size_t *len, const char **line, size_t *line_len)
{
	const char *end = memchr(*text, '\n', *len);

	if (end == NULL)
		return false;
	*line = *text;
	*line_len = (size_t)(end - *text);
	*text = end + 1;
	*len -= *line_len + 1;
	return true;
}

static int
parse_lines(struct stamps *s, const char *text, size_t len)
{
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_key key;
	const char *line;
	size_t n;
	int err;

	if (len == 0 || !next_line(&text, &len, &line, &n))
		return UK_EPROTO;
	err = parse_first(s, line, n);
	while (len > 0 && err == 0) {
		if (!next_line(&text, &len, &line, &n))
			return UK_EPROTO;
		err = parse_line(&key, stamp, line, n);
		if (err == 0)
			err = stamps_note(s, &key, stamp);
	}
	return err;
}

int
stamps_parse(struct stamps *s, const char *text, size_t len)
{
	int err = parse_lines(s, text, len);

	if (err < 0)
		stamps_fini(s);
	s->changed = false;
	return err;
}

static void
format_line(struct text *out, const struct wg_key *key,
    const uint8_t stamp[WG_STAMP_LEN])
{
	char base64[KEY_BASE64_LEN + 1];

	value_format_key_base64(base64, key->b);
	text_add(out, "%s ", base64);
	for (size_t i = 0; i < WG_STAMP_LEN; i++)
		text_add(out, "%02x", stamp[i]);
	text_add(out, "\n");
}

int
stamps_format(const struct stamps *s, struct text *out)
{
	text_add(out, FIRST_WORDS);
	format_line(out, &s->relay, s->own);
	for (size_t i = 0; i < s->n; i++)
		format_line(out, &s->item[i].public_key, s->item[i].stamp);
	return out->failed ? UK_ENOMEM : 0;
}

/* Read it all, unless others could have written it: stamps from the future
 * would lock clients out. Returns the length, or an errno, negative. */
static ssize_t
read_file(const char *path, char **text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	ssize_t n = -1, done = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		goto close_fd;
	errno = EPERM;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		goto close_fd;
	errno = EFBIG;
	if (st.st_size > FILE_MAX)
		goto close_fd;
	errno = ENOMEM;
	*text = malloc((size_t)st.st_size + 1);
	if (*text == NULL)
		goto close_fd;
	do {
		n = read(fd, *text + done, (size_t)(st.st_size - done));
		done += n > 0 ? n : 0;
	} while (n > 0);
	if (n < 0)
		free(*text);
close_fd:
	n = n < 0 ? -errno : done;
	close(fd);
	return n;
}

int
stamps_load(struct stamps *s, const char *path, struct diag *d)
{
	char *text = NULL;
	ssize_t len = read_file(path, &text);
	int err;

	if (len == -ENOENT)
		return 0;
	if (len < 0) {
		diag_warn(d,
		    "cannot use %s: %s; handshakes recorded before this start "
		    "could be replayed",
		    path, strerror((int)-len));
		return os_err((int)-len);
	}
	err = stamps_parse(s, text, (size_t)len);
	free(text);
	if (err == UK_ENOENT)
		return 0;
	if (err < 0)
		diag_warn(d,
		    "%s cannot be read: %s; handshakes recorded before this "
		    "start could be replayed",
		    path, uk_strerror(err));
	return err;
}

int
stamps_save(struct stamps *s, const char *path, struct diag *d)
{
	struct text t = {.s = NULL};
	int err = stamps_format(s, &t);

	if (err == 0)
		err = durable_replace(path, t.s, t.len, d);
	text_fini(&t);
	if (err == 0)
		s->changed = false;
	return err;
}

void
stamps_give(const struct stamps *s, struct wg_device *device)
{
	wg_device_set_last_stamp(device, s->own);
	for (size_t i = 0; i < s->n; i++) {
		struct wg_peer *p =
		    wg_device_find(device, &s->item[i].public_key);

		if (p != NULL)
			wg_peer_set_stamp(p, s->item[i].stamp);
	}
}

int
stamps_take(struct stamps *s, const struct wg_device *device)
{
	const struct wg_peer *p = NULL;
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_peer_info info;
	int err = 0;

	wg_device_last_stamp(device, stamp);
	if (raise(s->own, stamp))
		s->changed = true;
	while (err == 0 && (p = wg_device_next_peer(device, p)) != NULL) {
		wg_peer_stamp(p, stamp);
		wg_peer_info(p, 0, &info);
		err = stamps_note(s, &info.public_key, stamp);
		/* It came with the peer's secret. */
		sodium_memzero(&info, sizeof(info));
	}
	return err;
}
