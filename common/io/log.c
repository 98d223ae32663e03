#include "log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"

#define LINE_TEXT 1024
/* Every byte may become "\xNN". */
#define LINE_ESCAPED (4 * LINE_TEXT)

static struct {
	const char *prog;
	enum log_level level;
	bool journal;
} logger = {.prog = "ukai", .level = LOG_INFO};

static const struct {
	const char *priority; /* sd-daemon(3) */
	const char *label;
} level_names[] = {
    [LOG_ERROR] = {"<3>", "error: "},
    [LOG_WARN] = {"<4>", "warning: "},
    [LOG_INFO] = {"<6>", ""},
    [LOG_DEBUG] = {"<7>", "debug: "},
};

/* systemd sets JOURNAL_STREAM to "DEVICE:INODE" of the stream that it made;
 * only if stderr still is that stream does the journal read us
 * (systemd.exec(5)). */
static bool
stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (text == NULL || sscanf(text, "%llu:%llu", &dev, &ino) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

void
log_init(const char *prog, enum log_level level)
{
	logger.prog = prog;
	logger.level = level;
	logger.journal = stderr_is_journal();
}

/* Length of the printable UTF-8 sequence at s, or 0: a control character
 * (C0, DEL, C1), or not UTF-8 by RFC 3629 section 4. s ends with a zero. */
static size_t
printable_len(const unsigned char *s)
{
	size_t n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] >= 0x20 && s[0] < 0x7f)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (s[0] == 0xc2 && s[1] < 0xa0)
		return 0; /* C1: terminals obey these */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90))
		return 0; /* overlong */
	if ((s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0; /* surrogate; past U+10FFFF */
	return n;
}

/* out has room for LINE_ESCAPED bytes. Returns the length. */
static size_t
escape(char *out, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)text;
	size_t len = 0;

	while (*s != '\0') {
		size_t n = printable_len(s);

		if (n == 0) {
			out[len++] = '\\';
			out[len++] = 'x';
			out[len++] = hex[*s >> 4];
			out[len++] = hex[*s & 15];
			s++;
			continue;
		}
		memcpy(out + len, s, n);
		len += n;
		s += n;
	}
	return len;
}

/* One write for one line, so that lines of threads do not mix. */
static void
put_line(enum log_level level, const char *text)
{
	char line[LINE_ESCAPED + 128];
	int head = snprintf(line, 127, "%s%.64s: %s",
	    logger.journal ? level_names[level].priority : "", logger.prog,
	    logger.journal ? "" : level_names[level].label);
	size_t len = (size_t)head;

	len += escape(line + len, text);
	line[len++] = '\n';
	/* Nobody is left to tell when stderr cannot be written. */
	(void)!write(STDERR_FILENO, line, len);
}

static bool
enabled(enum log_level level)
{
	return level != LOG_SILENT && level <= logger.level;
}

void
log_msg(enum log_level level, const char *fmt, ...)
{
	char text[LINE_TEXT];
	va_list ap;

	if (!enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line(level, text);
}

static void
log_diag_entry(const char *file, const struct diag_entry *e)
{
	enum log_level level = e->level == DIAG_ERROR ? LOG_ERROR : LOG_WARN;

	if (e->line == 0 && file == NULL)
		log_msg(level, "%s", e->text);
	else if (e->line == 0)
		log_msg(level, "%s: %s", file, e->text);
	else
		log_msg(level, "%s:%u:%u: %s", file == NULL ? "-" : file,
		    e->line, e->column, e->text);
}

void
log_diag(const struct diag *d)
{
	unsigned all = d->errors + d->warnings;

	for (unsigned i = 0; i < d->n; i++)
		log_diag_entry(d->file, &d->entry[i]);
	if (all > d->n)
		log_msg(LOG_ERROR, "%u more not shown", all - d->n);
}

void
log_limited(struct log_limit *l, uint64_t now_ns, enum log_level level,
    const char *fmt, ...)
{
	char text[LINE_TEXT - 32];
	va_list ap;

	if (!enabled(level))
		return;
	if (l->last_ns != 0 && now_ns - l->last_ns < UK_NS_PER_S) {
		l->left_out++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (l->left_out == 0)
		log_msg(level, "%s", text);
	else
		log_msg(level, "%s (%u more left out)", text, l->left_out);
	l->last_ns = now_ns;
	l->left_out = 0;
}
