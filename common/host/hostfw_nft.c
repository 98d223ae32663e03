#include "hostfw.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base.h"
#include "core/err.h"

#define NAME_MAX_LEN 32
/* Mistakes of one body that are worth reading. */
#define COMPLAINTS_MAX 8

struct hostfw {
	struct nft_ctx *nft; /* its socket is what owns the table */
	char name[NAME_MAX_LEN + 1]; /* of our table; "": none yet */
};

static bool
is_nftables_socket(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_NETLINK &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == NETLINK_NETFILTER;
}

/* libnftables opens its socket without close-on-exec and does not tell which
 * it is. A program that we start would inherit the right to change the table
 * and would keep it alive after us. */
static int
close_on_exec(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;

	if (dir == NULL)
		return UK_ESYS;
	while ((e = readdir(dir)) != NULL) {
		int fd = (int)strtol(e->d_name, NULL, 10);

		if (e->d_name[0] != '.' && is_nftables_socket(fd))
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	closedir(dir);
	return 0;
}

int
hostfw_open(struct hostfw **out, struct diag *d)
{
	struct hostfw *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return UK_ENOMEM;
	h->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (h->nft == NULL || nft_ctx_buffer_error(h->nft) != 0 ||
	    nft_ctx_buffer_output(h->nft) != 0) {
		hostfw_close(h);
		return UK_ENOMEM;
	}
	nft_ctx_output_set_flags(h->nft, NFT_CTX_OUTPUT_TERSE);
	if (close_on_exec() < 0) {
		diag_error(d, "cannot read /proc/self/fd: %s", strerror(errno));
		hostfw_close(h);
		return UK_ESYS;
	}
	*out = h;
	return 0;
}

void
hostfw_close(struct hostfw *h)
{
	if (h == NULL)
		return;
	if (h->nft != NULL)
		nft_ctx_free(h->nft);
	free(h);
}

/* A letter, then letters, digits, '_' and '-': nothing that nft's syntax
 * could take for more than a name. */
static bool
name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t len = strlen(name);

	return len >= 1 && len <= NAME_MAX_LEN && strspn(name, first) > 0 &&
	       strspn(name, rest) == len;
}

/* The whole transaction. The body begins on line 2, so that nft's line
 * numbers less one are the body's. "create" refuses a table that is there;
 * nft 1.0 ignores the block of a "create", so the body follows apart. */
static char *
transaction(const struct hostfw *h, const char *name, const char *body)
{
	char *text = NULL;
	int n;

	n = asprintf(&text,
	    "%s%s%screate table inet %s { flags owner; }; "
	    "table inet %s { flags owner;\n%s\n}\n",
	    h->name[0] ? "delete table inet " : "", h->name,
	    h->name[0] ? "; " : "", name, name, body);
	return n < 0 ? NULL : text;
}

/* Run it from a file in memory: for text from a buffer libnftables 1.0 gives
 * no line numbers. Returns libnftables' answer, or UK_ESYS. */
static int
run(struct nft_ctx *nft, const char *text)
{
	size_t len = strlen(text), done = 0;
	char path[40];
	int fd = memfd_create("ukai-nft", MFD_CLOEXEC);
	int r = UK_ESYS;

	if (fd < 0)
		return UK_ESYS;
	while (done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n <= 0)
			goto close_fd;
		done += (size_t)n;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = nft_run_cmd_from_filename(nft, path) == 0 ? 0 : UK_EINVAL;

close_fd:
	close(fd);
	return r;
}

/* What was refused. */
struct attempt {
	const char *name; /* of the table */
	const char *what; /* was given, for "line N of WHAT" */
	unsigned before; /* lines that stand before that */
};

/* One line of libnftables' report: "FILE:LINE:COL-COL: Error: WORDS". The
 * line after it is the source, and is quoted. Returns whether it was one. */
static bool
complaint(const char *line, size_t len, const char *next, size_t next_len,
    const struct attempt *a, struct diag *d)
{
	static const char mark[] = "Error: ";
	const char *words = memmem(line, len, mark, sizeof(mark) - 1);
	unsigned at = 0;

	if (words == NULL)
		return false;
	words += sizeof(mark) - 1;
	if (sscanf(line, "/proc/self/fd/%*d:%u:", &at) != 1 ||
	    at <= a->before) {
		diag_error(d, "nftables refuses table inet %s: %.*s", a->name,
		    (int)(len - (size_t)(words - line)), words);
		return true;
	}
	while (next_len > 0 && (*next == ' ' || *next == '\t')) {
		next++;
		next_len--;
	}
	diag_error(d,
	    "nftables refuses table inet %s, line %u of %s: %.*s: %.*s",
	    a->name, at - a->before, a->what,
	    (int)(len - (size_t)(words - line)), words,
	    next_len > 80 ? 80 : (int)next_len, next);
	return true;
}

static void
report(const char *text, const struct attempt *a, struct diag *d)
{
	unsigned n = 0;

	while (*text != '\0' && n < COMPLAINTS_MAX) {
		size_t len = strcspn(text, "\n");
		const char *next = text + len + (text[len] == '\n');

		n += complaint(text, len, next, strcspn(next, "\n"), a, d);
		text = next;
	}
	if (n == 0)
		diag_error(d, "nftables refuses table inet %s", a->name);
}

static bool
table_exists(struct nft_ctx *nft, const char *name)
{
	char text[NAME_MAX_LEN + 24];

	snprintf(text, sizeof(text), "list table inet %s", name);
	return nft_run_cmd_from_buffer(nft, text) == 0;
}

/* Why did the transaction fail? */
static int
failure(struct hostfw *h, const struct attempt *a, struct diag *d)
{
	char *words = strdup(nft_ctx_get_error_buffer(h->nft));
	int r = UK_EINVAL;

	if (words == NULL)
		return UK_ENOMEM;
	/* Without the right to read the tables, nothing else is known; that
	 * is said before any line is looked at. */
	if (strstr(words, "cache initialization failed") != NULL &&
	    strstr(words, strerror(EPERM)) != NULL) {
		diag_error(d,
		    "not permitted to use nftables; root or CAP_NET_ADMIN "
		    "is needed");
		r = UK_EPERM;
	} else if (h->name[0] == '\0' && table_exists(h->nft, a->name)) {
		diag_error(d,
		    "there is an nftables table inet %s that is not ours; "
		    "if no other ukai runs, `nft delete table inet %s` "
		    "removes it",
		    a->name, a->name);
		r = UK_EBUSY;
	} else {
		report(words, a, d);
	}
	free(words);
	return r;
}

/* Run it, and say why it failed. */
static int
attempt(
    struct hostfw *h, const char *text, const struct attempt *a, struct diag *d)
{
	int r = run(h->nft, text);

	if (r == UK_ESYS)
		diag_error(
		    d, "no memory file for nftables: %s", strerror(errno));
	else if (r < 0)
		r = failure(h, a, d);
	return r;
}

int
hostfw_apply(
    struct hostfw *h, const char *name, const char *body, struct diag *d)
{
	char *text;
	int r;

	if (!name_ok(name) || (h->name[0] && strcmp(h->name, name) != 0)) {
		diag_error(d, "'%s' cannot be the table's name", name);
		return UK_EINVAL;
	}
	text = transaction(h, name, body);
	if (text == NULL)
		return UK_ENOMEM;
	r = attempt(h, text, &(struct attempt){name, "its body", 1}, d);
	free(text);
	if (r == 0)
		strcpy(h->name, name);
	return r;
}

int
hostfw_run(struct hostfw *h, const char *commands, struct diag *d)
{
	UK_ASSERT(h->name[0] != '\0');
	return attempt(
	    h, commands, &(struct attempt){h->name, "a change", 0}, d);
}
