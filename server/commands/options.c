#include "options.h"

#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"
#include "io/service.h"
#include "server/paths.h"

const struct option options_ask[] = {
    {"json", no_argument, NULL, 'j'},
    {"interface", required_argument, NULL, 'i'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* Returns false for what is not an option of the verb. */
static bool
take_invitation(struct options *o, int option)
{
	switch (option) {
	case 'H':
		o->hours = optarg;
		return true;
	case 'r':
		o->routes = optarg;
		return true;
	case 'p':
		o->policy = optarg;
		return true;
	case 'w':
		o->wireguard = true;
		return true;
	case 'q':
		o->qr = true;
		return true;
	case '4':
		o->ipv4 = true;
		return true;
	case 'P':
		o->png = optarg;
		return true;
	case 'd':
		o->dns = optarg;
		return true;
	case 'R':
		o->rate = optarg;
		return true;
	case 'C':
		o->connections = optarg;
		return true;
	default:
		return false;
	}
}

static bool
take(struct options *o, int option)
{
	switch (option) {
	case 'c':
		o->config = optarg;
		return true;
	case 'i':
		o->interface = optarg;
		return true;
	case 'b':
		o->background = true;
		return true;
	case 'f':
		o->background = false;
		return true;
	case 'v':
		o->verbose = true;
		return true;
	case 'j':
		o->json = true;
		return true;
	default:
		return take_invitation(o, option);
	}
}

bool
options_take(struct options *o, int argc, char **argv,
    const struct options_form *form, int *code)
{
	int option;

	*o = (struct options){.config = PATHS_CONFIG};
	*code = EXIT_USAGE;
	while ((option = getopt_long(argc, argv, form->short_options,
		    form->long_options, NULL)) != -1) {
		if (option == 'h') {
			fputs(form->usage, stdout);
			*code = EXIT_OK;
			return true;
		}
		if (!take(o, option))
			return true;
	}
	o->argument = argv + optind;
	o->arguments = argc - optind;
	if (o->arguments < form->least || o->arguments > form->most) {
		fputs(form->usage, stderr);
		return true;
	}
	if (o->interface != NULL &&
	    !value_is_ifname(o->interface, strlen(o->interface))) {
		fprintf(stderr,
		    "ukai-relay: error: \"%s\" is not an interface's name\n",
		    o->interface);
		return true;
	}
	return false;
}

bool
options_parse(struct options *o, int argc, char **argv,
    const char *short_options, const struct option *long_options,
    const char *usage, int *code)
{
	const struct options_form form = {.usage = usage,
	    .short_options = short_options,
	    .long_options = long_options};

	return options_take(o, argc, argv, &form, code);
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
