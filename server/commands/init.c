#include "server/init.h"

#include <errno.h>
#include <net/if.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "check.h"
#include "commands.h"
#include "core/err.h"
#include "core/x25519.h"
#include "host/durable.h"
#include "io/cmdline.h"
#include "io/service.h"
#include "server/paths.h"

#define SYSTEMCTL "/usr/bin/systemctl"
/* Of ReservedPorts, in one line. */
#define RESERVED_MAX 200

static const char usage[] =
    "Usage: ukai-relay init [OPTION...]\n"
    "\n"
    "Set up a relay on this host: find its addresses, make its keys and\n"
    "configuration, look what stands in the way, and start the service. What\n"
    "is there already stays as it is; what is missing is added.\n"
    "\n"
    "  -c, --config FILE           default " PATHS_CONFIG "\n"
    "  -a, --address ADDRESS/BITS  the relay's in the tunnel; its network is\n"
    "                              the clients'; default: one that is free\n"
    "  -l, --listen-port PORT      UDP, default 51820 or the next free one\n"
    "  -t, --tls-port PORT         TCP, default 443 or, if used, 8443\n"
    "  -g, --global-address IPV4   where clients appear, default: found\n"
    "  -i, --interface NAME        default " SERVER_DEFAULT_INTERFACE "\n"
    "  -n, --no-start              do not start the service\n";

struct wishes {
	const char *config;
	const char *address, *listen_port, *tls_port, *global, *interface;
	bool no_start;
};

/* Wishes become lines of the file. */
static bool
is_one_word(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= ' ' || *text == '#' ||
		    *text == 0x7f)
			return false;
	return true;
}

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('c', "config", struct wishes, config),
    CMDLINE_TEXT('a', "address", struct wishes, address),
    CMDLINE_TEXT('l', "listen-port", struct wishes, listen_port),
    CMDLINE_TEXT('t', "tls-port", struct wishes, tls_port),
    CMDLINE_TEXT('g', "global-address", struct wishes, global),
    CMDLINE_TEXT('i', "interface", struct wishes, interface),
    CMDLINE_FLAG('n', "no-start", struct wishes, no_start),
};

static const struct cmdline cmdline = {
    .command = "ukai-relay init",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
};

static bool
parse(struct wishes *w, int argc, char **argv, int *code)
{
	const char *const *wish[] = {&w->address, &w->listen_port, &w->tls_port,
	    &w->global, &w->interface};
	struct cmdline_words words;

	*w = (struct wishes){.config = PATHS_CONFIG};
	if (!cmdline_take(&cmdline, w, &words, argc, argv, code))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(wish); i++) {
		if (*wish[i] == NULL || is_one_word(*wish[i]))
			continue;
		*code = cmdline_refuse(
		    &cmdline, "\"%s\" has blanks in it", *wish[i]);
		return false;
	}
	return true;
}

/* ---- a new configuration ---- */

/* What is chosen for this host, where nothing was wished. */
struct choice {
	char address[IP_PREFIX_TEXT_MAX], interface[16];
	char listen_port[8], tls_port[8], mtu[8];
	struct text reserved;
};

static int
choose_pool(struct choice *to, struct diag *d)
{
	struct init_pools pools = {.taken = {false}};
	char text[IP_ADDR_TEXT_MAX];
	struct ip_ifaddr address;
	struct netcfg *n;
	int err = netcfg_open(&n, d);

	if (err < 0)
		return err;
	err = init_look(n, &pools, d);
	netcfg_close(n);
	if (err < 0)
		return err;
	if (!init_pools_choose(&pools, &address)) {
		diag_error(d,
		    "this host's addresses and routes take every private "
		    "network; choose one with --address");
		return UK_EBUSY;
	}
	snprintf(to->address, sizeof(to->address), "%s/%u",
	    ip_addr_format(&address.addr, text), address.bits);
	return 0;
}

/* A cloud's network may carry less than 1500 bytes. */
static int
choose_mtu(struct choice *to, struct diag *d)
{
	struct netcfg_path path = {.mtu = 0};
	struct netcfg *n;
	int err = netcfg_open(&n, d);
	uint16_t mtu;

	if (err < 0)
		return err;
	if (netcfg_path(n, &plan_somewhere, 0, &path) < 0)
		path.mtu = 0;
	netcfg_close(n);
	mtu = init_mtu(path.mtu);
	if (mtu != 0)
		snprintf(to->mtu, sizeof(to->mtu), "%u", mtu);
	return 0;
}

/* The client's default is the same name. */
static void
choose_interface(struct choice *to)
{
	snprintf(to->interface, sizeof(to->interface), "%s",
	    SERVER_DEFAULT_INTERFACE);
	for (unsigned i = 1; i < 100 && if_nametoindex(to->interface) != 0; i++)
		snprintf(to->interface, sizeof(to->interface), "ukai%u", i);
}

static void
choose_ports(struct choice *to, const struct wishes *w)
{
	struct port_set services;
	struct listeners l;
	unsigned udp, tcp;

	listeners_read(&l, NULL);
	udp = init_udp_port(&l.udp);
	tcp = init_tcp_port(&l.tcp);
	snprintf(to->listen_port, sizeof(to->listen_port), "%u", udp);
	snprintf(to->tls_port, sizeof(to->tls_port), "%u", tcp);
	if (w->listen_port == NULL && udp != SERVER_DEFAULT_PORT)
		printf("UDP port %u is in use here: ListenPort = %u\n",
		    SERVER_DEFAULT_PORT, udp);
	if (w->tls_port == NULL && tcp != SERVER_DEFAULT_TLS_PORT)
		printf("TCP port %u is in use here, probably by a web server: "
		       "TlsPort = %u\n",
		    SERVER_DEFAULT_TLS_PORT, tcp);
	listeners_services(&l, &services);
	(void)listeners_format(&services, 1, RESERVED_MAX, &to->reserved);
}

static const char *
either(const char *wished, const char *chosen)
{
	return wished != NULL ? wished : chosen;
}

/* Mistakes are the wishes': of the command line, not of a file's lines. */
static int
prove(const char *text, size_t len, struct diag *d)
{
	struct server_conf c;
	struct diag found;
	int err;

	diag_init(&found, NULL);
	err = server_conf_parse(&c, text, len, &found);
	server_conf_fini(&c);
	for (unsigned i = 0; i < found.n; i++)
		diag_add(
		    d, found.entry[i].level, 0, 0, "%s", found.entry[i].text);
	return err;
}

static int
compose(struct text *text, const struct wishes *w, const struct choice *choice,
    struct diag *d)
{
	struct init_conf c = {
	    .address = either(w->address, choice->address),
	    .interface = either(w->interface, choice->interface),
	    .global_address = w->global,
	    .listen_port = either(w->listen_port, choice->listen_port),
	    .tls_port = either(w->tls_port, choice->tls_port),
	    .reserved_ports = choice->reserved.s,
	    .mtu = choice->mtu[0] != '\0' ? choice->mtu : NULL,
	};
	int err;

	randombytes_buf(c.private_key, sizeof(c.private_key));
	x25519_clamp(c.private_key);
	err = init_format(&c, text);
	sodium_memzero(&c, sizeof(c));
	if (err == 0)
		err = prove(text->s, text->len, d);
	return err;
}

/* Where server_conf_load() will look for it. */
static int
make_identity(const struct init_folder *f, struct diag *d)
{
	char path[300];
	bool made;

	snprintf(path, sizeof(path), "%s/%s", f->path, SERVER_TLS_KEY);
	return init_identity(path, &made, d);
}

/* The key for TLS first: a relay.conf that is there is complete. */
static int
make_configuration(
    const struct init_folder *f, const struct wishes *w, struct diag *d)
{
	struct choice choice = {.reserved = {.s = NULL}};
	struct text text = {.s = NULL};
	int err = 0;

	choose_interface(&choice);
	if (w->address == NULL)
		err = choose_pool(&choice, d);
	if (err == 0)
		err = choose_mtu(&choice, d);
	if (err == 0) {
		choose_ports(&choice, w);
		err = compose(&text, w, &choice, d);
	}
	if (err == 0)
		err = make_identity(f, d);
	if (err == 0)
		err = durable_create(w->config, text.s, text.len, d);
	if (err == 0)
		printf("made %s, with new keys\n", w->config);
	text_fini(&choice.reserved);
	text_fini(&text);
	return err;
}

/* ---- one that is there ---- */

static int
keep_configuration(const struct wishes *w, struct diag *d)
{
	if (w->address != NULL || w->listen_port != NULL ||
	    w->tls_port != NULL || w->global != NULL || w->interface != NULL) {
		diag_error(d,
		    "%s is there already and stays as it is: change it there, "
		    "or move it away and run init again",
		    w->config);
		return UK_EINVAL;
	}
	printf("%s is there already and stays as it is\n", w->config);
	durable_sweep(w->config);
	return 0;
}

static int
complete_identity(const struct server_conf *c, struct diag *d)
{
	bool made;
	int err;

	if (c->tls_port == 0)
		return 0;
	err = init_identity(c->tls_key, &made, d);
	if (err == 0 && made)
		printf("made %s\n", c->tls_key);
	return err;
}

/* ---- the service ---- */

/* By its full path, without a shell (C5, C8). Returns 0; UK_ESYS. */
static int
run_systemctl(const char *verb, const char *option)
{
	extern char **environ;
	char *argv[] = {(char *)(uintptr_t)SYSTEMCTL, (char *)(uintptr_t)verb,
	    (char *)(uintptr_t)option, (char *)(uintptr_t) "ukai-relay", NULL};
	int status = 0;
	pid_t pid;

	fflush(stdout);
	if (posix_spawn(&pid, SYSTEMCTL, NULL, NULL, argv, environ) != 0)
		return UK_ESYS;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 ? 0 : UK_ESYS;
}

static bool
has_service(const struct wishes *w)
{
	return strcmp(w->config, PATHS_CONFIG) == 0 &&
	       access("/run/systemd/system", F_OK) == 0 &&
	       access(SYSTEMCTL, X_OK) == 0;
}

static void
say_how_to_start(const struct wishes *w)
{
	if (has_service(w))
		puts("start it: systemctl enable --now ukai-relay");
	else
		printf("start it: ukai-relay serve --background --config %s\n",
		    w->config);
}

static int
start(const struct wishes *w, const struct check *k, struct diag *d)
{
	if (w->no_start || !k->startable || !has_service(w)) {
		if (!k->running)
			say_how_to_start(w);
		return 0;
	}
	if (run_systemctl("enable", "--now") == 0) {
		puts("the service is enabled and runs");
		return 0;
	}
	diag_error(d,
	    "the service does not start: see journalctl -u ukai-relay; then "
	    "run: systemctl enable --now ukai-relay");
	return UK_ESYS;
}

/* ---- at the end ---- */

static void
say_what_is_next(const struct server_conf *c, const struct check *k)
{
	bool v6 = k->planned && k->plan.v6.family != FAMILY_NONE;
	char text[IP_ADDR_TEXT_MAX];

	printf("\nThe provider's firewall must let in, over %s:\n",
	    v6 ? "IPv6 and IPv4" : "IPv4");
	printf("  UDP %-5u  the tunnel\n", c->listen_port);
	if (c->tls_port != 0)
		printf("  TCP %-5u  joining\n", c->tls_port);
	if (v6)
		printf("to %s", ip_addr_format(&k->plan.v6, text));
	if (k->planned)
		printf("%s %s\n", v6 ? " and" : "to",
		    ip_addr_format(&k->plan.global, text));
	puts("\nThen, for each client: ukai-relay invite NAME");
}

static int
finish(const struct wishes *w, const struct server_conf *c, struct diag *d)
{
	struct check k;
	int err;

	check_host(&k, c, d);
	err = start(w, &k, d);
	say_what_is_next(c, &k);
	fflush(stdout);
	if (err == 0 && !k.startable)
		diag_error(d, "not started: mend what is said above first");
	return d->errors > 0 ? EXIT_FAILED : EXIT_OK;
}

/* Returns 0 when there is a configuration, new or old. */
static int
prepare(const struct wishes *w, struct server_conf *c, struct diag *d)
{
	struct init_folder folder;
	struct stat st;
	int err = init_folder_open(&folder, w->config, d);

	if (err < 0)
		return err;
	if (lstat(w->config, &st) == 0)
		err = keep_configuration(w, d);
	else
		err = make_configuration(&folder, w, d);
	if (err == 0)
		err = server_conf_load(c, w->config, d);
	if (err == 0)
		err = complete_identity(c, d);
	init_folder_close(&folder);
	return err;
}

int
command_init(int argc, char **argv)
{
	struct server_conf c = {.line = 0};
	struct wishes w;
	struct diag d;
	int code, err;

	if (!parse(&w, argc, argv, &code))
		return code;
	service_harden();
	if (sodium_init() < 0) {
		fputs("ukai-relay: error: no randomness\n", stderr);
		return EXIT_FAILED;
	}
	diag_init(&d, NULL);
	err = prepare(&w, &c, &d);
	code = err < 0 ? service_exit_code(err) : finish(&w, &c, &d);
	fflush(stdout);
	diag_print(&d, "ukai-relay", stderr);
	server_conf_fini(&c);
	return code;
}
