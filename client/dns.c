#include "dns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLVECTL "/usr/bin/resolvectl" /* never by PATH (C8) */
#define RESOLV_CONF_MAX 4096
#define DOMAIN_MAX 253
#define SERVERS_MAX 16
#define SEARCH_MAX 32
/* libc looks at no more (MAXNS of resolv.h). */
#define SERVERS_USED 3
/* D-Bus itself gives up after 25 s; nobody waits that long for a tunnel. */
#define RESOLVECTL_TIMEOUT_MS 10000

struct dns {
	struct undo *u; /* NULL: systemd-resolved knows */
	char ifname[16];
};

bool
dns_is_domain(const char *text)
{
	size_t len = strlen(text), label = 0;

	if (len == 0 || len > DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
		if (++label > 63)
			return false;
	}
	return true;
}

struct text {
	char *s;
	size_t len, cap;
	bool full;
};

static void __attribute__((format(printf, 2, 3)))
text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= t->cap - t->len)
		t->full = true;
	else
		t->len += (size_t)n;
}

int
dns_resolv_conf(char *out, size_t cap, const char *ifname,
    const struct ip_addr *servers, size_t n, const char *const *search,
    size_t nsearch)
{
	struct text t = {.s = out, .cap = cap};
	char addr[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < nsearch; i++)
		if (!dns_is_domain(search[i]))
			return UK_EINVAL;
	if (cap == 0)
		return UK_EMSGSIZE;
	text_add(&t,
	    "# Written by ukai while the tunnel %s is up. `ukai down` brings "
	    "back what was\n# here before; if ukai was killed, "
	    "`ukai restore` does.\n",
	    ifname);
	for (size_t i = 0; i < n; i++)
		text_add(
		    &t, "nameserver %s\n", ip_addr_format(&servers[i], addr));
	for (size_t i = 0; i < nsearch; i++)
		text_add(&t, "%s%s", i == 0 ? "search " : " ", search[i]);
	if (nsearch > 0)
		text_add(&t, "\n");
	return t.full ? UK_EMSGSIZE : (int)t.len;
}

/* Is /etc/resolv.conf the stub that sends everything to systemd-resolved? */
static bool
is_resolved_stub(void)
{
	char real[PATH_MAX];

	return realpath(RESOLV_CONF, real) != NULL &&
	       (strcmp(real, "/run/systemd/resolve/stub-resolv.conf") == 0 ||
		   strcmp(real, "/usr/lib/systemd/resolv.conf") == 0);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Read what the child says until it closes the pipe. Returns false when it
 * takes too long. */
static bool
read_words(int fd, char *out, size_t cap)
{
	int64_t end = now_ms() + RESOLVECTL_TIMEOUT_MS, left;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char surplus[256];
	size_t len = 0;

	out[0] = '\0';
	while ((left = end - now_ms()) > 0) {
		bool room = len + 1 < cap;
		ssize_t n;

		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = room ? read(fd, out + len, cap - 1 - len)
			 : read(fd, surplus, sizeof(surplus));
		if (n == 0)
			return true;
		if (n > 0 && room) {
			len += (size_t)n;
			out[len] = '\0';
		}
	}
	return false;
}

static int
spawn(pid_t *pid, char *const argv[], int words_fd)
{
	static char lang[] = "LC_ALL=C";
	static char *const env[] = {lang, NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int e;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&fa, 0, 1);
	posix_spawn_file_actions_adddup2(&fa, words_fd, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(
	    &attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	e = posix_spawn(pid, argv[0], &fa, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return e;
}

/* Run resolvectl with these arguments; no shell (C5). Its complaint goes
 * into words. */
static int
resolvectl(char *const argv[], char *words, size_t cap)
{
	int fd[2], status, e;
	pid_t pid, got;

	words[0] = '\0';
	if (pipe2(fd, O_CLOEXEC) < 0)
		return UK_ESYS;
	e = spawn(&pid, argv, fd[1]);
	close(fd[1]);
	if (e != 0) {
		close(fd[0]);
		snprintf(words, cap, "%s", strerror(e));
		return UK_ESYS;
	}
	if (!read_words(fd[0], words, cap)) {
		kill(pid, SIGKILL);
		snprintf(words, cap, "no answer");
	}
	close(fd[0]);
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	words[strcspn(words, "\n")] = '\0';
	return got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0
		   ? 0
		   : UK_ESYS;
}

/* resolvectl VERB IFNAME WORD...; words are not changed. */
static int
resolvectl_verb(const char *verb, const char *ifname, const char *const *word,
    size_t n, char *said, size_t cap)
{
	char *argv[SERVERS_MAX + SEARCH_MAX + 5];
	size_t k = 0;
	int r = UK_ENOMEM;

	argv[k++] = strdup(RESOLVECTL);
	argv[k++] = strdup(verb);
	argv[k++] = strdup(ifname);
	for (size_t i = 0; i < n; i++)
		argv[k++] = strdup(word[i]);
	argv[k] = NULL;
	for (size_t i = 0; i < k; i++)
		if (argv[i] == NULL)
			goto free_argv;
	r = resolvectl(argv, said, cap);

free_argv:
	for (size_t i = 0; i < k; i++)
		free(argv[i]);
	return r;
}

static int
set_by_resolved(const char *ifname, const struct ip_addr *servers, size_t n,
    const char *const *search, size_t nsearch, char *said, size_t cap)
{
	char addr[SERVERS_MAX][IP_ADDR_TEXT_MAX];
	const char *word[SERVERS_MAX + SEARCH_MAX + 1];
	int r;

	for (size_t i = 0; i < n; i++)
		word[i] = ip_addr_format(&servers[i], addr[i]);
	r = resolvectl_verb("dns", ifname, word, n, said, cap);
	if (r < 0)
		return r;
	/* "~.": this link answers for every name. */
	word[0] = "~.";
	for (size_t i = 0; i < nsearch; i++)
		word[1 + i] = search[i];
	r = resolvectl_verb("domain", ifname, word, 1 + nsearch, said, cap);
	if (r < 0)
		return r;
	word[0] = "yes";
	return resolvectl_verb("default-route", ifname, word, 1, said, cap);
}

static int
set_by_file(struct undo *u, const char *ifname, const struct ip_addr *servers,
    size_t n, const char *const *search, size_t nsearch, struct diag *d)
{
	char text[RESOLV_CONF_MAX];
	int len = dns_resolv_conf(
	    text, sizeof(text), ifname, servers, n, search, nsearch);

	if (len < 0) {
		diag_error(d,
		    "the DNS servers and search domains of %s do "
		    "not fit into " RESOLV_CONF,
		    ifname);
		return len;
	}
	if (n > SERVERS_USED)
		diag_warn(d,
		    "most programs use only the first %d DNS servers of %s",
		    SERVERS_USED, ifname);
	return undo_file(u, RESOLV_CONF, text, (size_t)len, d);
}

static int
check(const char *ifname, size_t n, const char *const *search, size_t nsearch,
    struct diag *d)
{
	if (!value_is_ifname(ifname, strlen(ifname)) || ifname[0] == '-')
		return UK_EINVAL;
	if (n > SERVERS_MAX || nsearch > SEARCH_MAX) {
		diag_error(
		    d, "too many DNS servers or search domains for %s", ifname);
		return UK_EMSGSIZE;
	}
	for (size_t i = 0; i < nsearch; i++)
		if (!dns_is_domain(search[i]) || search[i][0] == '-') {
			diag_error(d, "'%s' is not a domain name", search[i]);
			return UK_EINVAL;
		}
	return 0;
}

int
dns_set(struct dns **out, struct undo *u, const char *ifname,
    const struct ip_addr *servers, size_t n, const char *const *search,
    size_t nsearch, struct diag *d)
{
	struct dns *dns;
	char said[160];
	int r = check(ifname, n, search, nsearch, d);

	*out = NULL;
	if (r < 0 || n == 0)
		return r;
	dns = calloc(1, sizeof(*dns));
	if (dns == NULL)
		return UK_ENOMEM;
	snprintf(dns->ifname, sizeof(dns->ifname), "%s", ifname);
	if (is_resolved_stub() && access(RESOLVECTL, X_OK) == 0) {
		r = set_by_resolved(
		    ifname, servers, n, search, nsearch, said, sizeof(said));
		if (r == 0)
			goto done;
		diag_warn(d,
		    "systemd-resolved does not take the DNS servers (%s); " RESOLV_CONF
		    " is replaced instead",
		    said);
		resolvectl_verb("revert", ifname, NULL, 0, said, sizeof(said));
	}
	dns->u = u;
	r = set_by_file(u, ifname, servers, n, search, nsearch, d);
	if (r < 0) {
		free(dns);
		return r;
	}
done:
	*out = dns;
	return 0;
}

int
dns_clear(struct dns *dns, struct diag *d)
{
	char said[160];
	int r = 0;

	if (dns == NULL)
		return 0;
	/* A refusal is no loss: the settings go with the link. */
	if (dns->u == NULL)
		resolvectl_verb(
		    "revert", dns->ifname, NULL, 0, said, sizeof(said));
	else
		r = undo_file_restore(dns->u, RESOLV_CONF, d);
	free(dns);
	return r;
}
