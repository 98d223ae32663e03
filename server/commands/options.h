/* options: the command line that the verbs share. */
#ifndef UKAI_SERVER_OPTIONS_H
#define UKAI_SERVER_OPTIONS_H

#include <getopt.h>

#include "server/conf.h"

struct options {
	const char *config; /* default PATHS_CONFIG */
	const char *interface; /* NULL: not given */
	bool background;
	bool verbose;
	bool json;
	/* invite */
	const char *hours, *routes, *policy, *png, *dns;
	bool wireguard, qr, ipv4;
	/* limit */
	const char *rate, *connections;
	/* What is not an option. */
	char **argument;
	int arguments;
};

/* What a verb takes. */
struct options_form {
	const char *usage;
	const char *short_options;
	const struct option *long_options;
	int least, most; /* arguments */
};

/* -j, -i and -h, which every question to a relay takes. */
#define OPTIONS_ASK "ji:h"
extern const struct option options_ask[];

/* Parse with getopt_long(3): c config, i interface, b background, f
 * foreground, v verbose, j json, h help, H hours, r routes, p policy, w
 * wireguard, q QR code, P PNG, d DNS, 4 IPv4, R rate, C connections. Returns
 * true when the command ends here, with *code to return; what is to be said has
 * been said. */
bool options_take(struct options *o, int argc, char **argv,
    const struct options_form *form, int *code);

/* The same, without arguments. */
bool options_parse(struct options *o, int argc, char **argv,
    const char *short_options, const struct option *long_options,
    const char *usage, int *code);

/* Load the configuration. Returns an exit code. */
int options_load(
    struct server_conf *c, const struct options *o, struct diag *d);

#endif
