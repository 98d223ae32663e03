#include "windows.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"

#define WINNAT_PORTS 100

const char *
ports_protocol_name(int protocol)
{
	return protocol == PORTS_TCP ? "tcp" : "udp";
}

void
ports_windows_default(struct ports_windows *w)
{
	memset(w, 0, sizeof(*w));
	for (int i = 0; i < PORTS_PROTOCOLS; i++) {
		w->before[i].low = 49152;
		w->before[i].high = 65535;
	}
}

/* What a shell's redirection writes: UTF-16, little endian, with its mark. All
 * that matters is ASCII. Returns NULL: out of memory. */
static char *
to_bytes(const char *text, size_t *len)
{
	bool wide = *len >= 2 && memcmp(text, "\xff\xfe", 2) == 0;
	char *out = malloc(*len + 1);
	size_t n = 0;

	if (out == NULL)
		return NULL;
	if (!wide) {
		memcpy(out, text, *len);
		out[*len] = '\0';
		return out;
	}
	for (size_t i = 2; i + 1 < *len; i += 2)
		out[n++] = text[i + 1] == 0 ? text[i] : '?';
	out[n] = '\0';
	*len = n;
	return out;
}

/* Cut the next line off; its end is a zero. false: no more. */
static bool
next_line(char **at, char *end, char **line, size_t *len)
{
	char *stop;

	if (*at >= end)
		return false;
	*line = *at;
	stop = memchr(*at, '\n', (size_t)(end - *at));
	if (stop == NULL)
		stop = end;
	*at = stop + 1;
	while (stop > *line && isspace((unsigned char)stop[-1]))
		stop--;
	*stop = '\0';
	*len = (size_t)(stop - *line);
	return true;
}

/* A word by itself: not in the middle of another one. */
static bool
has_word(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= len; i++)
		if (strncasecmp(line + i, word, n) == 0 &&
		    (i == 0 || !isalnum((unsigned char)line[i - 1])) &&
		    (i + n == len || !isalnum((unsigned char)line[i + n])))
			return true;
	return false;
}

/* The next number among blanks; false: something else, or nothing. */
static bool
take_number(const char **s, uint64_t max, uint64_t *v)
{
	size_t n;

	*s += strspn(*s, " \t");
	n = strspn(*s, "0123456789");
	if (n == 0 || value_parse_u64(v, *s, n, max, false) < 0)
		return false;
	*s += n;
	*s += strspn(*s, " \t");
	return true;
}

struct state_reader {
	struct ports_windows *w;
	struct diag *d;
	unsigned line;
	int protocol; /* -1: no title yet */
	bool dynamic; /* this section has had its first number */
	bool excluding; /* this section has had an exclusion */
	uint16_t start;
};

static int
refuse(struct state_reader *r, const char *what)
{
	diag_add(r->d, DIAG_ERROR, r->line, 0, "%s", what);
	return UK_EPROTO;
}

static int
begin_section(struct state_reader *r, int protocol)
{
	if (r->dynamic)
		return refuse(r, "the number of ports is missing before this");
	r->protocol = protocol;
	r->excluding = false;
	return 0;
}

/* "Start Port : 49152", then "Number of Ports : 16384". */
static int
take_dynamic(struct state_reader *r, uint64_t v)
{
	struct ports_before *b;

	if (r->protocol < 0)
		return refuse(r, "no title with tcp or udp before this");
	if (!r->dynamic) {
		r->start = (uint16_t)v;
		r->dynamic = true;
		return 0;
	}
	if (v == 0 || r->start + v - 1 > 65535)
		return refuse(r, "not a range of ports");
	b = &r->w->before[r->protocol];
	b->low = r->start;
	b->high = (uint16_t)(r->start + v - 1);
	r->dynamic = false;
	return 0;
}

/* "5357  5357", administered when a '*' follows. */
static int
take_exclusion(
    struct state_reader *r, uint64_t low, uint64_t high, const char *rest)
{
	struct ports_before *b;

	if (r->protocol < 0)
		return refuse(r, "no title with tcp or udp before this");
	if (low > high)
		return refuse(r, "not a range of ports");
	b = &r->w->before[r->protocol];
	if (!r->excluding) {
		memset(&b->kept, 0, sizeof(b->kept));
		memset(&b->passing, 0, sizeof(b->passing));
	}
	r->excluding = true;
	port_set_add(high - low + 1 == WINNAT_PORTS && rest[0] != '*'
			 ? &b->passing
			 : &b->kept,
	    (uint16_t)low, (uint16_t)high);
	return 0;
}

static int
state_line(struct state_reader *r, const char *line, size_t len)
{
	bool tcp = has_word(line, len, "tcp"), udp = has_word(line, len, "udp");
	const char *colon = strrchr(line, ':'), *s = line;
	uint64_t low, high;

	if (colon != NULL) {
		s = colon + 1;
		if (take_number(&s, 65535, &low) && *s == '\0')
			return take_dynamic(r, low);
	}
	if (tcp != udp)
		return begin_section(r, tcp ? PORTS_TCP : PORTS_UDP);
	s = line;
	if (!take_number(&s, UINT32_MAX, &low))
		return 0; /* a heading, a rule, a remark */
	if (!take_number(&s, UINT32_MAX, &high) || low > 65535 ||
	    high > 65535 || (s[0] != '\0' && strcmp(s, "*") != 0))
		return refuse(r, "neither a heading nor a range of ports");
	return take_exclusion(r, low, high, s);
}

int
ports_windows_parse_state(
    struct ports_windows *w, const char *text, size_t len, struct diag *d)
{
	struct state_reader r = {.d = d, .protocol = -1};
	char *copy = to_bytes(text, &len), *at = copy, *line;
	struct ports_windows *out = malloc(sizeof(*out));
	int err = 0;
	size_t n;

	if (copy == NULL || out == NULL) {
		err = UK_ENOMEM;
		goto free_all;
	}
	*out = *w;
	r.w = out;
	while (err == 0 && next_line(&at, copy + len, &line, &n)) {
		r.line++;
		err = state_line(&r, line, n);
	}
	if (err == 0 && r.dynamic)
		err = refuse(&r, "the number of ports is missing");
	if (err == 0 && r.protocol < 0)
		err = refuse(&r, "not what netsh prints about ports");
	if (err == 0) {
		out->has_state = true;
		*w = *out;
	}

free_all:
	free(out);
	free(copy);
	return err;
}

/* "  TCP    192.168.0.2:49700    192.0.2.1:443    ESTABLISHED" */
static bool
netstat_line(struct ports_windows *w, const char *line)
{
	int protocol;
	const char *colon;
	uint64_t port;
	size_t len;

	line += strspn(line, " \t");
	if (strncasecmp(line, "TCP", 3) != 0 &&
	    strncasecmp(line, "UDP", 3) != 0)
		return false;
	protocol =
	    toupper((unsigned char)line[0]) == 'T' ? PORTS_TCP : PORTS_UDP;
	line += 3;
	if (line[0] != ' ' && line[0] != '\t')
		return false;
	line += strspn(line, " \t");
	len = strcspn(line, " \t");
	colon = memrchr(line, ':', len);
	if (colon == NULL ||
	    value_parse_u64(&port, colon + 1, len - (size_t)(colon + 1 - line),
		65535, false) < 0)
		return false;
	port_set_add(&w->before[protocol].used, (uint16_t)port, (uint16_t)port);
	w->has_netstat = true;
	return true;
}

int
ports_windows_parse_netstat(
    struct ports_windows *w, const char *text, size_t len, struct diag *d)
{
	char *copy = to_bytes(text, &len), *at = copy, *line;
	bool any = false;
	size_t n;

	if (copy == NULL)
		return UK_ENOMEM;
	while (next_line(&at, copy + len, &line, &n))
		any |= netstat_line(w, line);
	free(copy);
	if (!any)
		diag_error(d, "no line of what netstat -an prints");
	return any ? 0 : UK_EPROTO;
}

static void
exclusions(
    struct command_list *c, int protocol, const struct port_set *s, bool on)
{
	uint32_t from = 0;
	uint16_t low, high;

	while (port_set_next(s, &from, &low, &high))
		command_list_add(c,
		    "netsh int ipv4 %s excludedportrange protocol=%s "
		    "startport=%u numberofports=%u store=persistent",
		    on ? "add" : "delete", ports_protocol_name(protocol), low,
		    high - low + 1);
}

static void
dynamic_range(struct command_list *c, int protocol, uint16_t low, uint16_t high)
{
	command_list_add(c,
	    "netsh int ipv4 set dynamicport %s start=%u num=%u "
	    "store=persistent",
	    ports_protocol_name(protocol), low, high - low + 1);
}

static void
winnat(struct command_list *c, const struct ports_windows *w, const char *verb)
{
	for (int i = 0; i < PORTS_PROTOCOLS; i++) {
		if (port_set_count(&w->before[i].passing) == 0)
			continue;
		command_list_add(c, "net %s winnat", verb);
		return;
	}
}

void
ports_windows_commands(struct command_list *change, struct command_list *revert,
    const struct ports_windows *w,
    const struct ports_plan plan[static PORTS_PROTOCOLS])
{
	winnat(change, w, "stop");
	for (int i = 0; i < PORTS_PROTOCOLS; i++)
		exclusions(change, i, &plan[i].keep, true);
	for (int i = 0; i < PORTS_PROTOCOLS; i++) {
		const struct ports_before *b = &w->before[i];

		if (plan[i].low == b->low && plan[i].high == b->high)
			continue;
		dynamic_range(change, i, plan[i].low, plan[i].high);
		dynamic_range(revert, i, b->low, b->high);
	}
	winnat(change, w, "start");
	for (int i = 0; i < PORTS_PROTOCOLS; i++)
		exclusions(revert, i, &plan[i].keep, false);
}
