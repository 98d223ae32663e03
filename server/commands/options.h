/* options: the command line that the verbs share. */
#ifndef UKAI_SERVER_OPTIONS_H
#define UKAI_SERVER_OPTIONS_H

#include "io/cmdline.h"
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
	/* What is no option. */
	char **argument;
	int arguments;
};

#define OPTIONS_CONFIG CMDLINE_TEXT('c', "config", struct options, config)
#define OPTIONS_INTERFACE                                                      \
	CMDLINE_TEXT('i', "interface", struct options, interface)
#define OPTIONS_JSON CMDLINE_FLAG('j', "json", struct options, json)

/* What every question to a relay takes. */
#define OPTIONS_ASK 2
extern const struct cmdline_option options_ask[OPTIONS_ASK];

/* As cmdline_take(). */
bool options_take(struct options *o, const struct cmdline *c, int argc,
    char **argv, int *code);

/* Load the configuration. Returns an exit code. */
int options_load(
    struct server_conf *c, const struct options *o, struct diag *d);

#endif
