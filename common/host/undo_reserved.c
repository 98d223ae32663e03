#include "undo_reserved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "os_err.h"
#include "undo_kind.h"

#define SYSCTL_PATH "/proc/sys/net/ipv4/ip_local_reserved_ports"
/* Every other port, each with a comma. A second read() gives nothing. */
#define LIST_MAX ((size_t)32768 * 6 + 2)

int
undo_reserved_read(struct port_set *s, struct diag *d)
{
	int fd = open(SYSCTL_PATH, O_RDONLY | O_CLOEXEC), r = 0;
	char *text = malloc(LIST_MAX);
	ssize_t n = -1;

	if (text == NULL)
		errno = ENOMEM;
	else if (fd >= 0)
		n = read(fd, text, LIST_MAX);
	if (n < 0)
		r = os_err_tell(errno, SYSCTL_PATH, "read", d);
	else if (port_set_parse(s, text, (size_t)n) < 0)
		r = UK_EPROTO;
	if (r == UK_EPROTO)
		diag_error(d, SYSCTL_PATH " holds no list of ports");
	free(text);
	if (fd >= 0)
		close(fd);
	return r;
}

/* Less than a page, or it would not be one change: what comes in a second write
 * is added to what the first has put in place of everything. */
static int
write_list(const struct port_set *s, struct diag *d)
{
	int fd = open(SYSCTL_PATH, O_WRONLY | O_CLOEXEC), r = 0;
	struct text t = {.s = NULL};

	port_set_format(s, &t);
	text_add(&t, "\n");
	if (fd < 0)
		r = os_err_tell(errno, SYSCTL_PATH, "write", d);
	else if (t.failed)
		r = UK_ENOMEM;
	else if (t.len > UNDO_RESERVED_LIST_MAX + 1)
		r = UK_ELIMIT;
	else if (write(fd, t.s, t.len) != (ssize_t)t.len)
		r = os_err_tell(errno, SYSCTL_PATH, "write", d);
	if (r == UK_ELIMIT)
		diag_error(d,
		    SYSCTL_PATH " would be a list of %zu bytes, and the kernel "
				"takes %d at a time",
		    t.len - 1, UNDO_RESERVED_LIST_MAX);
	text_fini(&t);
	if (fd >= 0)
		close(fd);
	return r;
}

int
undo_reserved_ports(
    struct undo *u, const struct port_set *ports, struct diag *d)
{
	struct port_set now, added = *ports;
	struct text t = {.s = NULL};
	struct undo_field f;
	int r = undo_reserved_read(&now, d);

	if (r < 0)
		return r;
	port_set_minus(&added, &now);
	if (port_set_count(&added) == 0)
		return 0;
	port_set_format(&added, &t);
	if (t.failed)
		return UK_ENOMEM;
	f = undo_text_field(t.s);
	r = undo_add(u, undo_kind_reserved.name, &f, 1, d);
	text_fini(&t);
	if (r < 0)
		return r;
	port_set_or(&now, &added);
	r = write_list(&now, d);
	if (r < 0)
		undo_drop_last(u);
	return r;
}

/* What is left of ours in a list. Nothing: never made, or undone before. Less
 * than half: it is somebody else's list, in place of all that was, and what it
 * happens to share with ours is theirs. Else ours is still in it, with what
 * others have added, and without what they took out. Returns false when it is
 * theirs. */
static bool
find_ours(struct port_set *left, const struct port_set *added,
    const struct port_set *now)
{
	uint32_t n;

	*left = *added;
	port_set_and(left, now);
	n = port_set_count(left);
	return n == 0 || n >= port_set_count(added) / 2;
}

struct collector {
	const struct port_set *now;
	struct port_set *ours;
};

static void
collect(void *arg, const struct undo_line *l)
{
	const struct collector *c = arg;
	struct port_set added, left;

	if (port_set_parse(&added, l->field[0].b, l->field[0].len) == 0 &&
	    find_ours(&left, &added, c->now))
		port_set_or(c->ours, &left);
}

void
undo_reserved_ours(
    const struct undo *u, const struct port_set *now, struct port_set *ours)
{
	struct collector c = {now, ours};

	memset(ours, 0, sizeof(*ours));
	undo_pending(u, undo_kind_reserved.name, collect, &c);
}

static bool
reserved_in_netns(const struct undo_line *l)
{
	(void)l;
	return true;
}

static void
reserved_describe(const struct undo_line *l, char *out, size_t cap)
{
	(void)l;
	snprintf(out, cap, "sysctl net/ipv4/ip_local_reserved_ports");
}

static int
reserved_undo(
    const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	struct port_set added, now, left;
	int r;

	(void)w;
	if (port_set_parse(&added, l->field[0].b, l->field[0].len) < 0 ||
	    port_set_count(&added) == 0) {
		diag_error(d, "the journal names impossible reserved ports");
		return UK_EPROTO;
	}
	r = undo_reserved_read(&now, d);
	if (r < 0)
		return r;
	if (!find_ours(&left, &added, &now)) {
		diag_warn(d,
		    "the reserved ports of net/ipv4/ip_local_reserved_ports "
		    "are left: somebody has replaced the list after us");
		return 0;
	}
	if (port_set_count(&left) == 0)
		return 0;
	port_set_minus(&now, &left);
	return write_list(&now, d);
}

const struct undo_kind undo_kind_reserved = {
    .name = "reserved",
    .fields = 1,
    .ends_at_boot = true,
    .in_netns = reserved_in_netns,
    .describe = reserved_describe,
    .undo = reserved_undo,
};
