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
};

/* Parse with getopt_long(3): c config, i interface, b background, f
 * foreground, v verbose, j json, h help; no other arguments. Returns true
 * when the command ends here, with *code to return; what is to be said has
 * been said. */
bool options_parse(struct options *o, int argc, char **argv,
    const char *short_options, const struct option *long_options,
    const char *usage, int *code);

/* Load the configuration. Returns an exit code. */
int options_load(
    struct server_conf *c, const struct options *o, struct diag *d);

#endif
