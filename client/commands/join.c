#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "client/conf.h"
#include "client/join.h"
#include "client/policy/rules.h"
#include "client/routes.h"
#include "client/status.h"
#include "core/err.h"
#include "io/clock.h"
#include "io/cmdline.h"
#include "io/service.h"

#define DEFAULT_NAME "ukai0"

/* A handshake takes a round trip; a lost datagram is sent again after 5 s. */
#define HANDSHAKE_MS 12000
#define LOOK_EVERY_MS 200

static const char usage[] =
    "Usage: ukai join [--name NAME] [--local NETWORKS] [--no-start] TOKEN\n"
    "\n"
    "Become a client of the relay that printed TOKEN (`ukai-relay invite`):\n"
    "make a key, register it there, write /etc/ukai/NAME.conf and start the\n"
    "tunnel, now and whenever this PC starts.\n"
    "\n"
    "TOKEN is one line; \"-\" reads it from standard input, where no other\n"
    "user of this PC can see it. It works once. When this command was cut\n"
    "off, repeat it with the same token.\n"
    "\n"
    "  -n, --name NAME        of the tunnel and its interface (" DEFAULT_NAME
    ")\n"
    "  -l, --local NETWORKS   the office's own networks, which stay on the\n"
    "                         line; 192.168.0.0/24, with commas between them\n"
    "      --no-start         only write the configuration\n"
    "\n"
    "See ukai(1) and ukai.conf(5).\n";

struct options {
	const char *name;
	bool no_start;
	struct join_setup s;
};

/* ---- command line ---- */

/* What a systemd unit can be called, and an interface. */
static int
check_name(const char *name)
{
	if (client_name_ok(name) && strpbrk(name, "=+") == NULL)
		return 0;
	fputs("ukai: error: a tunnel's name has 1 to 15 letters, digits and "
	      "_.-, and begins with neither . nor -\n",
	    stderr);
	return UK_EINVAL;
}

static int
add_local(struct join_setup *s, const char *text, size_t len)
{
	struct ip_prefix p;

	if (s->locals == JOIN_LOCALS_MAX) {
		fprintf(stderr,
		    "ukai: error: --local takes at most %d networks\n",
		    JOIN_LOCALS_MAX);
		return UK_EINVAL;
	}
	if (ip_prefix_parse(&p, text, len) < 0 || p.bits == 0) {
		fputs("ukai: error: --local takes networks like "
		      "192.168.0.0/24, with commas between them\n",
		    stderr);
		return UK_EINVAL;
	}
	s->local[s->locals++] = p;
	return 0;
}

static int
take_locals(void *to, const char *text)
{
	struct options *o = to;

	for (;;) {
		size_t len = strcspn(text, ",");

		if (memchr(text, '/', len) == NULL) {
			fprintf(stderr,
			    "ukai: error: --local \"%.*s\" lacks the "
			    "network's length, as in 192.168.24.0/24\n",
			    (int)len, text);
			return UK_EINVAL;
		}
		if (add_local(&o->s, text, len) < 0)
			return UK_EINVAL;
		if (text[len] == '\0')
			return 0;
		text += len + 1;
		text += strspn(text, " ");
	}
}

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('n', "name", struct options, name),
    CMDLINE_TAKE('l', "local", take_locals),
    CMDLINE_FLAG(0, "no-start", struct options, no_start),
};

static const struct cmdline cmdline = {
    .command = "ukai join",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = INT_MAX,
    .words = "one TOKEN",
};

/* ---- token ---- */

/* What fits; a token is shorter. */
static size_t
read_line(char *b, size_t cap)
{
	size_t len = 0;
	ssize_t n;

	if (isatty(STDIN_FILENO))
		fputs("Token: ", stderr);
	while (len < cap && memchr(b, '\n', len) == NULL) {
		n = read(STDIN_FILENO, b + len, cap - len);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	return len;
}

static int
parse_token(struct token *t, const char *text, size_t len)
{
	int err = token_parse(t, text, len);

	if (err == UK_EMSGSIZE)
		fputs("ukai: error: the token is too short or too long: copy "
		      "the whole line that ukai-relay invite prints, and "
		      "nothing else\n",
		    stderr);
	else if (err == UK_EPROTO)
		fputs("ukai: error: the token is damaged (or made for a later "
		      "ukai): copy the whole line that ukai-relay invite "
		      "prints, without blanks in it\n",
		    stderr);
	else if (err < 0)
		fputs("ukai: error: that is not a token: a token begins with "
		      "\"ukai1-\", and ukai-relay invite prints it\n",
		    stderr);
	return err;
}

/* A token in an argument is overwritten there: every user can see it. */
static int
take_token(struct token *t, char *argument)
{
	char line[2 * TOKEN_TEXT_MAX];
	int err;

	if (strcmp(argument, "-") == 0) {
		err = parse_token(t, line, read_line(line, sizeof(line)));
		sodium_memzero(line, sizeof(line));
		return err;
	}
	err = parse_token(t, argument, strlen(argument));
	if (err == 0)
		memset(argument, '*', strlen(argument));
	return err;
}

/* ---- starting ---- */

/* Its exit code; 127: it could not be run. No shell (C5). */
static int
run(const char *program, char *const argv[], char *const env[])
{
	int status = 0, e;
	pid_t pid, got;

	e = posix_spawn(&pid, program, NULL, NULL, argv, env);
	if (e != 0) {
		fprintf(stderr, "ukai: error: cannot run %s: %s\n", program,
		    strerror(e));
		return 127;
	}
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	return got == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

/* The unit knows the usual folders only. */
static bool
has_service_manager(void)
{
	struct stat st;

	return getenv("UKAI_CONF_DIR") == NULL &&
	       getenv("UKAI_RUN_DIR") == NULL &&
	       getenv("UKAI_STATE_DIR") == NULL &&
	       stat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode);
}

static int
start_service(const char *name)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char unit[CLIENT_NAME_MAX + 16];
	char *argv[] = {(char[]){"systemctl"}, (char[]){"--quiet"},
	    (char[]){"enable"}, (char[]){"--now"}, unit, NULL};
	char *env[] = {path, NULL};

	snprintf(unit, sizeof(unit), "ukai@%s.service", name);
	if (run("/usr/bin/systemctl", argv, env) == 0)
		return 0;
	fprintf(stderr,
	    "ukai: error: this PC has joined, but its service does not start: "
	    "journalctl -u %s says why, and then systemctl enable --now %s "
	    "starts it\n",
	    unit, unit);
	return UK_ESYS;
}

static int
start_process(const struct client_paths *p)
{
	char conf[CLIENT_PATH_MAX];
	char *argv[] = {
	    (char[]){"ukai"}, (char[]){"up"}, (char[]){"--config"}, conf, NULL};

	snprintf(conf, sizeof(conf), "%s", p->conf);
	if (run("/proc/self/exe", argv, environ) == 0)
		return 0;
	fprintf(stderr,
	    "ukai: error: this PC has joined, but the tunnel does not start; "
	    "then ukai up --config %s starts it\n",
	    conf);
	return UK_ESYS;
}

/* A running tunnel tells it once the relay has answered. */
static bool
has_handshake(const struct client_paths *p)
{
	json_t *o = NULL;
	bool yes;

	if (tunnel_status_ask(&o, p->control, NULL) < 0)
		return false;
	yes = json_is_integer(json_object_get(
	    json_array_get(json_object_get(o, "peers"), 0), "last_handshake"));
	json_decref(o);
	return yes;
}

static bool
wait_for_handshake(const struct client_paths *p)
{
	for (int ms = 0; ms < HANDSHAKE_MS; ms += LOOK_EVERY_MS) {
		if (has_handshake(p))
			return true;
		poll(NULL, 0, LOOK_EVERY_MS);
	}
	return false;
}

/* ---- what it has come to ---- */

/* Said by `ukai up` itself where it has the terminal; a service has not. */
static void
warn_of_networks(const char *name, const struct client_conf *c)
{
	struct routes r = {.n = 0};
	struct netcfg *n = NULL;
	struct diag d;

	diag_init(&d, NULL);
	if (netcfg_open(&n, &d) == 0 &&
	    routes_plan(&r, c, name, ROUTES_TABLE_FIRST) == 0 &&
	    routes_warn(&r, c, n, &d) == 0)
		diag_print(&d, "ukai", stderr);
	routes_fini(&r);
	netcfg_close(n);
}

static void
print_routes(const struct client_conf *c)
{
	const struct conf_wg_allowed_list *l = &c->routes.list;
	char text[IP_PREFIX_TEXT_MAX];

	if (l->n == 0)
		puts("nothing but answers takes the tunnel");
	else if (l->item[0].prefix.bits == 0)
		puts("all IPv4 takes the tunnel");
	else if (l->n == 1)
		printf("%s takes the tunnel\n",
		    ip_prefix_format(&l->item[0].prefix, text));
	else
		printf("%s and %zu more network%s take the tunnel\n",
		    ip_prefix_format(&l->item[0].prefix, text), l->n - 1,
		    l->n == 2 ? "" : "s");
}

static void
print_joined(const struct client_conf *c)
{
	char address[IP_ADDR_TEXT_MAX], relay[ENDPOINT_TEXT_MAX];

	printf("joined as %s, through the relay at %s; ",
	    ip_addr_format(&c->interface.address.item[0].addr, address),
	    endpoint_format(&c->peers.item[0].endpoint.addr, relay));
	print_routes(c);
	if (c->policy[0] != '\0')
		printf("what else does is for the relay's policy to say: %s\n",
		    c->policy);
}

static int
start(
    const char *name, const struct client_paths *p, const struct client_conf *c)
{
	bool service = has_service_manager();
	int err = service ? start_service(name) : start_process(p);

	if (err < 0)
		return err;
	if (service)
		warn_of_networks(name, c);
	if (!wait_for_handshake(p))
		fprintf(stderr,
		    "ukai: warning: the relay does not answer yet: the "
		    "firewall of its provider must let UDP port %u in, and "
		    "nothing here may hold it up; ukai status %s shows when "
		    "it answers\n",
		    c->peers.item[0].endpoint.addr.port, name);
	print_joined(c);
	if (service)
		printf("%s is up, and starts with this PC; next: ukai status, "
		       "or systemctl disable --now ukai@%s to end it for "
		       "good\n",
		    name, name);
	else
		printf("%s is up, but does not come back after a restart of "
		       "this PC, where systemd is not running: then ukai up "
		       "--config %s; next: ukai status\n",
		    name, p->conf);
	return 0;
}

/* It may be for another system, or name lists that only the relay's owner has:
 * then nothing is started. */
static int
check_policy(const struct options *o, const struct client_paths *p,
    const struct client_conf *c)
{
	struct rules *rules = NULL;
	struct diag d;
	int err;

	if (c->policy[0] == '\0')
		return 0;
	diag_init(&d, c->policy);
	err = rules_load(&rules, c->policy, RULES_LINUX, &d);
	rules_free(rules);
	if (err == 0)
		return 0;
	diag_print(&d, "ukai", stderr);
	fprintf(stderr,
	    "ukai: error: this PC has joined, but the relay's policy does not "
	    "hold, so nothing is started: tell who runs the relay, or mend %s "
	    "(ukai policy check %s); then systemctl enable --now ukai@%s, or "
	    "ukai up --config %s\n",
	    c->policy, c->policy, o->name, p->conf);
	return err;
}

/* The file that join() has written, perhaps in a run before this one. */
static int
report(const struct options *o, const struct client_paths *p)
{
	struct client_conf c;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_conf_load(&c, p->conf, &d);
	if (err == 0 && (c.peers.n == 0 || c.interface.address.n == 0)) {
		diag_error(&d, "%s was changed meanwhile", p->conf);
		err = UK_EPROTO;
	}
	diag_print(&d, "ukai", stderr);
	if (err == 0)
		err = check_policy(o, p, &c);
	if (err == 0 && o->no_start) {
		print_joined(&c);
		printf("not started: systemctl enable --now ukai@%s, or ukai "
		       "up --config %s\n",
		    o->name, p->conf);
	} else if (err == 0)
		err = start(o->name, p, &c);
	client_conf_fini(&c);
	return err;
}

static int
join_and_start(const struct options *o, struct join_setup *s)
{
	struct client_paths paths;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_paths(&paths, o->name, &d);
	s->paths = &paths;
	s->now_s = clock_now().wall_ns / UK_NS_PER_S;
	if (err == 0)
		err = join(s, &d);
	diag_print(&d, "ukai", stderr);
	if (err < 0)
		return service_exit_code(err == UK_EPROTO ? UK_ESYS : err);
	err = report(o, &paths);
	join_end(&paths);
	return service_exit_code(err);
}

int
command_join(int argc, char **argv)
{
	struct options o = {.name = DEFAULT_NAME};
	struct cmdline_words w;
	struct token t;
	int code;

	if (!cmdline_take(&cmdline, &o, &w, argc, argv, &code))
		return code;
	/* Not to be repeated on a screen. */
	if (w.n > 1)
		return cmdline_refuse(&cmdline,
		    "the token is in pieces: it is one line without blanks");
	if (check_name(o.name) < 0)
		return EXIT_USAGE;
	if (!command_is_root("join"))
		return EXIT_PERMISSION;
	if (sodium_init() < 0)
		return EXIT_FAILED;
	service_harden();
	if (take_token(&t, w.word[0]) < 0)
		return EXIT_USAGE;
	o.s.token = &t;
	code = join_and_start(&o, &o.s);
	sodium_memzero(&t, sizeof(t));
	return code;
}
