#include "options.h"

#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"
#include "io/service.h"
#include "server/paths.h"

const struct cmdline_option options_ask[OPTIONS_ASK] = {
    OPTIONS_JSON,
    OPTIONS_INTERFACE,
};

bool
options_take(struct options *o, const struct cmdline *c, int argc, char **argv,
    int *code)
{
	struct cmdline_words w;

	*o = (struct options){.config = PATHS_CONFIG};
	if (!cmdline_take(c, o, &w, argc, argv, code))
		return false;
	o->argument = w.word;
	o->arguments = w.n;
	if (o->interface == NULL ||
	    value_is_ifname(o->interface, strlen(o->interface)))
		return true;
	*code = cmdline_refuse(
	    c, "\"%s\" is not an interface's name", o->interface);
	return false;
}

int
options_load(struct server_conf *c, const struct options *o, struct diag *d)
{
	switch (server_conf_load(c, o->config, d)) {
	case 0:
		return EXIT_OK;
	case UK_EPERM:
		return EXIT_PERMISSION;
	case UK_ENOMEM:
	case UK_ESYS:
	case UK_EAGAIN:
		return EXIT_FAILED;
	default:
		return EXIT_USAGE;
	}
}
