#include "hostfw_nft.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "core/err.h"
#include "os_err.h"

/* Mistakes of one body that are worth reading. */
#define COMPLAINTS_MAX 8
/* Sockets of nftables, conntrack and their like in this process. */
#define SOCKETS_MAX 64
/* Another thread may open one in the same moment. */
#define OPEN_TRIES 16
/* Apart from the numbers that libnftables gives its own messages. */
#define FIRST_SEQ UINT32_C(0x40000000)

struct sockets {
	struct {
		int fd;
		ino_t inode; /* one socket's alone, as long as it is open */
	} item[SOCKETS_MAX];
	size_t n;
};

static bool
is_netfilter_socket(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_NETLINK &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == NETLINK_NETFILTER;
}

static int
find_sockets(struct sockets *s)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	struct stat st;

	s->n = 0;
	if (dir == NULL)
		return -errno;
	while ((e = readdir(dir)) != NULL && s->n < SOCKETS_MAX) {
		int fd = (int)strtol(e->d_name, NULL, 10);

		if (e->d_name[0] == '.' || !is_netfilter_socket(fd) ||
		    fstat(fd, &st) < 0)
			continue;
		s->item[s->n].fd = fd;
		s->item[s->n++].inode = st.st_ino;
	}
	closedir(dir);
	return s->n < SOCKETS_MAX ? 0 : -EMFILE;
}

/* The only one that was not there before; -1: there are others, too. */
static int
new_socket(const struct sockets *before, const struct sockets *now)
{
	int fd = -1;

	for (size_t i = 0; i < now->n; i++) {
		size_t k = 0;

		while (k < before->n &&
		       before->item[k].inode != now->item[i].inode)
			k++;
		if (k < before->n)
			continue;
		if (fd >= 0)
			return -1;
		fd = now->item[i].fd;
	}
	return fd;
}

/* libnftables does not tell which socket is its own. Returns 0, or an errno;
 * h->nft is NULL when it was another thread's. */
static int
open_nft(struct hostfw *h)
{
	struct sockets before, now;
	int r = find_sockets(&before);

	if (r < 0)
		return r;
	h->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (h->nft == NULL)
		return -ENOMEM;
	r = find_sockets(&now);
	if (r < 0)
		return r;
	h->owner = new_socket(&before, &now);
	if (h->owner >= 0)
		return 0;
	nft_ctx_free(h->nft);
	h->nft = NULL;
	return 0;
}

static int
open_sockets(struct hostfw *h)
{
	int r = nft_talk_open(&h->talk);

	for (int i = 0; i < OPEN_TRIES && r == 0 && h->nft == NULL; i++)
		r = open_nft(h);
	if (r == 0 && h->nft == NULL)
		r = -EBUSY;
	/* libnftables opens it without: a program that we start would inherit
	 * the right to change the table and would keep it alive after us. */
	if (r == 0 && fcntl(h->owner, F_SETFD, FD_CLOEXEC) < 0)
		r = -errno;
	return r;
}

int
hostfw_open(struct hostfw **out, struct diag *d)
{
	struct hostfw *h = calloc(1, sizeof(*h));
	int r;

	if (h == NULL)
		return UK_ENOMEM;
	h->talk.fd = -1;
	h->seq = FIRST_SEQ;
	r = open_sockets(h);
	if (r == 0 && (nft_ctx_buffer_error(h->nft) != 0 ||
			  nft_ctx_buffer_output(h->nft) != 0))
		r = -ENOMEM;
	if (r < 0) {
		diag_error(d, "cannot open nftables: %s", strerror(-r));
		hostfw_close(h);
		return r == -ENOMEM ? UK_ENOMEM : UK_ESYS;
	}
	nft_ctx_output_set_flags(h->nft, NFT_CTX_OUTPUT_TERSE);
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
	nft_talk_close(&h->talk);
	free(h);
}

bool
hostfw_name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t len = strlen(name);

	return len >= 1 && len <= HOSTFW_NAME_MAX && strspn(name, first) > 0 &&
	       strspn(name, rest) == len;
}

/* One transaction: a table that we own, one that stays, or both. */
struct change {
	const char *name, *body; /* NULL: not this one */
	const char *kept, *kept_body; /* kept NULL: not this one; kept_body
					 NULL: it goes */
};

static unsigned
lines(const char *text)
{
	unsigned n = 1;

	while ((text = strchr(text, '\n')) != NULL) {
		n++;
		text++;
	}
	return n;
}

/* What stands before the bodies: line 1. "create" refuses a table that is
 * there; "add" makes it, so that "delete" finds one. */
static void
put_beginning(FILE *f, const struct hostfw *h, const struct change *c)
{
	if (c->kept != NULL)
		fprintf(f, "add table inet %s; delete table inet %s; ", c->kept,
		    c->kept);
	if (c->body == NULL)
		return;
	if (h->name[0] != '\0')
		fprintf(f, "delete table inet %s; ", h->name);
	fprintf(f, "create table inet %s { flags owner; }; ", c->name);
}

/* The whole transaction. A body begins on line 2, a second one three lines
 * behind the first one's last: report() tells lines by that. nft 1.0 ignores
 * the block of a "create", so the body follows apart. */
static char *
transaction(const struct hostfw *h, const struct change *c)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool failed;

	if (f == NULL)
		return NULL;
	put_beginning(f, h, c);
	if (c->body != NULL)
		fprintf(f, "table inet %s { flags owner;\n%s\n}\n", c->name,
		    c->body);
	if (c->kept_body != NULL)
		fprintf(f, "%stable inet %s {\n%s\n}\n",
		    c->body != NULL ? "\n" : "", c->kept, c->kept_body);
	else if (c->body == NULL)
		fprintf(f, "\n");
	failed = ferror(f) != 0;
	if (fclose(f) == 0 && !failed)
		return text;
	free(text);
	return NULL;
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
	const struct change *change; /* NULL: commands */
	const char *name; /* of the table */
};

/* The table and the text that a line of the transaction is of, and where that
 * begins. */
struct part {
	const char *table, *what;
	unsigned before; /* lines that stand before it */
};

static struct part
part_of(const struct attempt *a, unsigned line)
{
	const struct change *c = a->change;
	unsigned kept;

	if (c == NULL)
		return (struct part){a->name, "a change", 0};
	if (c->kept_body == NULL)
		return (struct part){a->name, "its body", 1};
	kept = c->body != NULL ? lines(c->body) + 4 : 1;
	if (line > kept)
		return (struct part){c->kept, "its body", kept};
	return (struct part){a->name, "its body", 1};
}

/* One line of libnftables' report: "FILE:LINE:COL-COL: Error: WORDS". The
 * line after it is the source, and is quoted. Returns whether it was one. */
static bool
complaint(const char *line, size_t len, const char *next, size_t next_len,
    const struct attempt *a, struct diag *d)
{
	static const char mark[] = "Error: ";
	const char *words = memmem(line, len, mark, sizeof(mark) - 1);
	unsigned at = 0;
	struct part part;

	if (words == NULL)
		return false;
	words += sizeof(mark) - 1;
	if (sscanf(line, "/proc/self/fd/%*d:%u:", &at) != 1)
		at = 0;
	part = part_of(a, at);
	if (at <= part.before) {
		diag_error(d, "nftables refuses table inet %s: %.*s",
		    part.table, (int)(len - (size_t)(words - line)), words);
		return true;
	}
	while (next_len > 0 && (*next == ' ' || *next == '\t')) {
		next++;
		next_len--;
	}
	diag_error(d,
	    "nftables refuses table inet %s, line %u of %s: %.*s: %.*s",
	    part.table, at - part.before, part.what,
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

/* The table that stands in the way: one of our first's name that is not ours,
 * or one to be replaced that somebody owns. NULL: none. */
static const char *
in_the_way(struct hostfw *h, const struct change *c)
{
	bool owned;

	if (c->body != NULL && h->name[0] == '\0' &&
	    nft_talk_table(&h->talk, c->name, &owned) == 0)
		return c->name;
	if (c->kept != NULL && nft_talk_table(&h->talk, c->kept, &owned) == 0 &&
	    owned)
		return c->kept;
	return NULL;
}

/* Why did the transaction fail? */
static int
failure(struct hostfw *h, const struct attempt *a, struct diag *d)
{
	char *words = strdup(nft_ctx_get_error_buffer(h->nft));
	const char *other;
	int r = UK_EINVAL;

	if (words == NULL)
		return UK_ENOMEM;
	other = a->change != NULL ? in_the_way(h, a->change) : NULL;
	/* Without the right to read the tables, nothing else is known; that
	 * is said before any line is looked at. */
	if (strstr(words, "cache initialization failed") != NULL &&
	    strstr(words, strerror(EPERM)) != NULL) {
		diag_error(d,
		    "not permitted to use nftables; root or CAP_NET_ADMIN "
		    "is needed");
		r = UK_EPERM;
	} else if (other != NULL) {
		diag_error(d,
		    "there is an nftables table inet %s that is not ours; "
		    "if no other ukai runs, `nft delete table inet %s` "
		    "removes it",
		    other, other);
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

/* The name of a table of ours, the same as in calls before. */
static int
check_name(const char *name, const char *before, struct diag *d)
{
	if (hostfw_name_ok(name) &&
	    (before[0] == '\0' || strcmp(before, name) == 0))
		return 0;
	diag_error(d, "'%s' cannot be the table's name", name);
	return UK_EINVAL;
}

static int
apply(struct hostfw *h, const struct change *c, struct diag *d)
{
	const char *name = c->body != NULL ? c->name : c->kept;
	char *text;
	int r = 0;

	if (c->body != NULL)
		r = check_name(c->name, h->name, d);
	if (r == 0 && c->kept != NULL)
		r = check_name(c->kept, "", d);
	if (r < 0)
		return r;
	text = transaction(h, c);
	if (text == NULL)
		return UK_ENOMEM;
	r = attempt(h, text, &(struct attempt){c, name}, d);
	free(text);
	if (r == 0 && c->body != NULL)
		strcpy(h->name, c->name);
	return r;
}

int
hostfw_apply(
    struct hostfw *h, const char *name, const char *body, struct diag *d)
{
	return apply(h, &(struct change){.name = name, .body = body}, d);
}

int
hostfw_apply_kept(struct hostfw *h, const char *name, const char *body,
    const char *kept, const char *kept_body, struct diag *d)
{
	return apply(h, &(struct change){name, body, kept, kept_body}, d);
}

int
hostfw_run(struct hostfw *h, const char *commands, struct diag *d)
{
	UK_ASSERT(h->name[0] != '\0');
	return attempt(h, commands, &(struct attempt){NULL, h->name}, d);
}
