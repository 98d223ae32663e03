#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "io/log.h"
#include "io/service.h"
#include "options.h"
#include "server/conf.h"
#include "server/paths.h"
#include "server/relay.h"
#include "server/survey.h"

static const char usage[] =
    "Usage: ukai-relay serve [--config FILE] [--background]\n"
    "\n"
    "Run the relay until SIGTERM; then everything that it changed on this\n"
    "host is as it was before.\n"
    "\n"
    "  -c, --config FILE   configuration, default " PATHS_CONFIG "\n"
    "  -b, --background    return once it serves\n"
    "  -v, --verbose       tell more\n";

static int
run(const struct server_conf *c)
{
	struct relay *r = NULL;
	uv_loop_t loop;
	struct diag d;
	int err, code;

	diag_init(&d, NULL);
	survey_firewalls(c, NULL, &d);
	survey_listeners(c, &d);
	uv_loop_init(&loop);
	service_hold_signals();
	err = relay_open(&r, &loop, c, &d);
	code = service_exit_code(err);
	diag_print(&d, "ukai-relay", stderr);
	diag_init(&d, NULL);
	if (err == 0) {
		log_msg(LOG_INFO, "%s serves %zu clients on UDP port %u",
		    c->interface, relay_clients(r),
		    tunnel_port(relay_tunnel(r)));
		service_run(&loop, false);
		if (relay_lost_interface(r))
			code = EXIT_FAILED;
		relay_close(r, &d);
		log_diag(&d);
		if (d.errors > 0)
			code = EXIT_FAILED;
	}
	service_drain(&loop);
	return code;
}

static int
serve(const struct options *o)
{
	struct server_conf c;
	struct diag d;
	int code;

	service_harden();
	diag_init(&d, NULL);
	code = options_load(&c, o, &d);
	diag_print(&d, "ukai-relay", stderr);
	if (code != EXIT_OK)
		return code;
	if (!survey_may_administer()) {
		fputs("ukai-relay: error: serving needs root, or the "
		      "capability CAP_NET_ADMIN\n",
		    stderr);
		code = EXIT_PERMISSION;
	} else if (o->background && service_background() != 0) {
		fprintf(stderr, "ukai-relay: error: cannot fork: %s\n",
		    strerror(errno));
		code = EXIT_FAILED;
	} else {
		code = run(&c);
	}
	server_conf_fini(&c);
	return code;
}

static const struct cmdline_option options[] = {
    OPTIONS_CONFIG,
    CMDLINE_FLAG('b', "background", struct options, background),
    CMDLINE_FLAG('v', "verbose", struct options, verbose),
};

static const struct cmdline cmdline = {
    .command = "ukai-relay serve",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
};

int
command_serve(int argc, char **argv)
{
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	log_init("ukai-relay", o.verbose ? LOG_DEBUG : LOG_INFO);
	return serve(&o);
}
