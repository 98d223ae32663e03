#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "ask.h"
#include "core/enrol.h"
#include "core/x25519.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "options.h"
#include "server/client.h"
#include "server/qr.h"
#include "server/registry.h"

#define DEFAULT_HOURS 24

static const char usage[] =
    "Usage: ukai-relay invite NAME [--hours N] [--routes LIST] "
    "[--policy FILE]\n"
    "       ukai-relay invite NAME --wireguard [--routes LIST] "
    "[--dns ADDRESS]\n"
    "                         [--ipv4] [--qr] [--png FILE]\n"
    "\n"
    "Let a PC or a phone join; NAME: 1 to 32 of a-z, 0-9 and '-'.\n"
    "\n"
    "Prints a token, good once. On the PC: ukai join TOKEN. A client that has\n"
    "not joined yet can be invited again: its old token is then void.\n"
    "\n"
    "      --hours N          how long the token is good, default 24\n"
    "      --routes LIST      what takes the tunnel, IPv4 prefixes with "
    "commas;\n"
    "                         default 0.0.0.0/0, everything\n"
    "      --policy FILE      split-tunnel rules for the PC\n"
    "\n"
    "      --wireguard        for a stock WireGuard app: print a whole\n"
    "                         configuration with its private key, which is\n"
    "                         kept nowhere else, and on a terminal its QR "
    "code\n"
    "      --dns ADDRESS      a resolver for it; default: the app's own\n"
    "      --ipv4             it reaches the relay over IPv4, from a network\n"
    "                         without IPv6\n"
    "      --qr               print the QR code also to a file or pipe\n"
    "      --png FILE         write the QR code to a new file, mode 0600\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

/* ---- a token ---- */

/* Lines from Windows end like all others. */
static void
take_out_returns(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++)
		if (from[0] != '\r' || from[1] != '\n')
			*to++ = *from;
	*to = '\0';
}

/* The file's text, malloc'ed; NULL after saying why. */
static char *
read_policy(const char *path)
{
	char *text = calloc(1, CLIENT_POLICY_MAX + 2);
	FILE *f = text != NULL ? fopen(path, "re") : NULL;
	size_t len = 0;

	if (f != NULL)
		len = fread(text, 1, CLIENT_POLICY_MAX + 1, f);
	if (f == NULL || ferror(f) || len > CLIENT_POLICY_MAX ||
	    memchr(text, 0, len) != NULL) {
		fprintf(stderr, "ukai-relay: error: %s: %s\n", path,
		    f == NULL || ferror(f)    ? strerror(errno)
		    : len > CLIENT_POLICY_MAX ? "more than 49152 bytes"
					      : "not a text");
		free(text);
		text = NULL;
	}
	if (f != NULL)
		fclose(f);
	if (text != NULL)
		take_out_returns(text);
	return text;
}

static void
print_token(const json_t *o)
{
	time_t expires = (time_t)tunnel_status_number(o, "expires");
	char until[64];
	struct tm tm;

	localtime_r(&expires, &tm);
	strftime(until, sizeof(until), "%Y-%m-%d %H:%M", &tm);
	printf("%s\n", tunnel_status_text(o, "token", ""));
	fflush(stdout);
	if (isatty(STDERR_FILENO))
		fprintf(stderr,
		    "\nGood once, until %s. On the PC, as root:  ukai join "
		    "TOKEN\n(or `ukai join -`, which reads it, if others use "
		    "that PC).\n"
		    "Whoever has this line first is %s: send it as you would a "
		    "password.\n",
		    until, tunnel_status_text(o, "name", "?"));
}

static bool
is_written(void)
{
	return fflush(stdout) == 0 && ferror(stdout) == 0;
}

static int
invite(const struct options *o, unsigned long hours)
{
	char *policy = NULL;
	json_t *args, *answer;
	int code;

	if (o->policy != NULL && (policy = read_policy(o->policy)) == NULL)
		return EXIT_USAGE;
	args = ask_strings("name", o->argument[0], "routes", o->routes,
	    "policy", policy, NULL);
	free(policy);
	args =
	    tunnel_status_put(args, "hours", json_integer((json_int_t)hours));
	if (args == NULL) {
		fputs(
		    "ukai-relay: error: what is given is not UTF-8\n", stderr);
		return EXIT_USAGE;
	}
	code = ask_relay(&answer, o->interface, "invite", args);
	if (code != EXIT_OK)
		return code;
	if (o->json)
		ask_print(answer);
	else
		print_token(answer);
	json_decref(answer);
	if (is_written())
		return EXIT_OK;
	fputs("ukai-relay: error: the token could not be written: invite again "
	      "for another\n",
	    stderr);
	return EXIT_FAILED;
}

/* ---- a configuration for stock WireGuard ---- */

static void
add_prefixes(struct text *t, const struct ip_prefix *p, size_t n)
{
	char text[IP_PREFIX_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		text_add(t, ", %s", ip_prefix_format(&p[i], text));
}

/* The best way to the relay, or the one that was wished for; NULL: none. */
static const struct endpoint *
choose_endpoint(const struct enrol_answer *a, bool ipv4)
{
	for (size_t i = 0; i < a->endpoints; i++)
		if (!ipv4 || a->endpoint[i].addr.family == FAMILY_V4)
			return &a->endpoint[i];
	return NULL;
}

static void
write_config(struct text *t, const struct enrol_answer *a,
    const uint8_t private_key[KEY_LEN], const struct options *o)
{
	const struct endpoint *at = choose_endpoint(a, o->ipv4);
	char key[KEY_BASE64_LEN + 1], text[ENDPOINT_TEXT_MAX];
	bool all = a->routes == 1 && a->route[0].bits == 0;

	value_format_key_base64(key, private_key);
	text_add(t, "[Interface]\nPrivateKey = %s\nAddress = %s/32\n", key,
	    ip_addr_format(&a->address.addr, text));
	sodium_memzero(key, sizeof(key));
	if (o->dns != NULL)
		text_add(t, "DNS = %s\n", o->dns);
	if (a->mtu != 0)
		text_add(t, "MTU = %u\n", a->mtu);
	value_format_key_base64(key, a->public_key);
	text_add(t, "\n[Peer]\nPublicKey = %s\n", key);
	value_format_key_base64(key, a->preshared_key);
	if (!sodium_is_zero(a->preshared_key, sizeof(a->preshared_key)))
		text_add(t, "PresharedKey = %s\n", key);
	sodium_memzero(key, sizeof(key));
	if (at != NULL)
		text_add(t, "Endpoint = %s\n", endpoint_format(at, text));
	/* The relay's own address answers pings, whatever else is routed. */
	text_add(t, "AllowedIPs = %s",
	    all ? "0.0.0.0/0" : ip_prefix_format(&a->network[0], text));
	if (!all)
		add_prefixes(t, a->route, a->routes);
	text_add(t, "\nPersistentKeepalive = %u\n", a->keepalive_s);
}

static int
show_config(const struct options *o, const char *name, const char *config)
{
	struct diag d;
	int err = 0;

	diag_init(&d, NULL);
	if (o->json) {
		json_t *j = ask_strings("name", name, "config", config, NULL);

		ask_print(j);
		json_decref(j);
	} else {
		fputs(config, stdout);
		if (o->qr || isatty(STDOUT_FILENO))
			err = qr_print(config, stdout, &d);
	}
	if (err == 0 && o->png != NULL)
		err = qr_png(config, o->png, &d);
	diag_print(&d, "ukai-relay", stderr);
	if (err == 0 && is_written())
		return EXIT_OK;
	fprintf(stderr,
	    "ukai-relay: error: %s is registered; if its key was not written "
	    "anywhere, `ukai-relay revoke %s` and invite it again\n",
	    name, name);
	return EXIT_FAILED;
}

static int
print_config(const struct options *o, const json_t *answer,
    const uint8_t private_key[KEY_LEN])
{
	char *line = json_dumps(answer, JSON_COMPACT);
	struct text config = {.s = NULL};
	struct enrol_answer a;
	struct diag d;
	int code = EXIT_FAILED;

	diag_init(&d, NULL);
	if (line != NULL &&
	    enrol_answer_parse(&a, line, strlen(line), &d) == 0) {
		write_config(&config, &a, private_key, o);
		if (!config.failed)
			code = show_config(o, a.name, config.s);
		enrol_answer_fini(&a);
	}
	diag_print(&d, "ukai-relay", stderr);
	text_fini(&config);
	free(line);
	return code;
}

/* The key is made here and not in the relay: it is in no memory but that of
 * this process, and on the screen. */
static int
invite_wireguard(const struct options *o)
{
	uint8_t private_key[KEY_LEN], public_key[KEY_LEN];
	char text[KEY_BASE64_LEN + 1];
	json_t *answer;
	int code;

	if (sodium_init() < 0)
		return EXIT_FAILED;
	service_harden();
	randombytes_buf(private_key, sizeof(private_key));
	x25519_clamp(private_key);
	x25519_base(public_key, private_key);
	value_format_key_base64(text, public_key);
	code = ask_relay(&answer, o->interface, "add",
	    ask_strings("name", o->argument[0], "public_key", text, "routes",
		o->routes, NULL));
	if (code == EXIT_OK) {
		code = print_config(o, answer, private_key);
		json_decref(answer);
	}
	sodium_memzero(private_key, sizeof(private_key));
	return code;
}

/* ---- the command line ---- */

/* Before a client is made whose code could then not be written. */
static bool
can_be_made(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0) {
		fprintf(stderr, "ukai-relay: error: cannot make %s: %s\n", path,
		    strerror(errno));
		return false;
	}
	close(fd);
	(void)unlink(path);
	return true;
}

static bool
is_use_right(const struct options *o)
{
	struct ip_addr a;

	if (!server_is_name(o->argument[0], strlen(o->argument[0])))
		fprintf(stderr,
		    "ukai-relay: error: \"%s\" cannot be a client's name: 1 to "
		    "32 of a-z, 0-9 and '-'\n",
		    o->argument[0]);
	else if (o->wireguard && (o->policy != NULL || o->hours != NULL))
		fputs("ukai-relay: error: --policy and --hours go with a "
		      "token, not with --wireguard\n",
		    stderr);
	else if (!o->wireguard &&
		 (o->png != NULL || o->qr || o->ipv4 || o->dns != NULL))
		fputs("ukai-relay: error: --qr, --png, --ipv4 and --dns go "
		      "with --wireguard\n",
		    stderr);
	else if (o->dns != NULL &&
		 ip_addr_parse(&a, o->dns, strlen(o->dns)) < 0)
		fprintf(stderr, "ukai-relay: error: \"%s\" is no address\n",
		    o->dns);
	else
		return o->png == NULL || can_be_made(o->png);
	return false;
}

static const struct cmdline_option options[] = {
    CMDLINE_TEXT(0, "hours", struct options, hours),
    CMDLINE_TEXT(0, "routes", struct options, routes),
    CMDLINE_TEXT(0, "policy", struct options, policy),
    CMDLINE_FLAG(0, "wireguard", struct options, wireguard),
    CMDLINE_TEXT(0, "dns", struct options, dns),
    CMDLINE_FLAG(0, "ipv4", struct options, ipv4),
    CMDLINE_FLAG(0, "qr", struct options, qr),
    CMDLINE_TEXT(0, "png", struct options, png),
    OPTIONS_JSON,
    OPTIONS_INTERFACE,
};

static const struct cmdline cmdline = {
    .command = "ukai-relay invite",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 1,
    .words = "a client's NAME",
};

int
command_invite(int argc, char **argv)
{
	uint64_t hours = DEFAULT_HOURS;
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	if (!is_use_right(&o))
		return EXIT_USAGE;
	if (o.hours != NULL &&
	    (value_parse_u64(&hours, o.hours, strlen(o.hours),
		 REGISTRY_HOURS_MAX, false) < 0 ||
		hours == 0)) {
		fprintf(stderr,
		    "ukai-relay: error: --hours \"%s\" is no number from 1 to "
		    "%d\n",
		    o.hours, REGISTRY_HOURS_MAX);
		return EXIT_USAGE;
	}
	return o.wireguard ? invite_wireguard(&o) : invite(&o, hours);
}
