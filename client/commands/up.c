#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "core/err.h"
#include "io/cmdline.h"
#include "io/log.h"
#include "io/service.h"

#define DEFAULT_CONFIG "/etc/ukai/ukai0.conf"

static const char usage[] =
    "Usage: ukai up [--foreground] [[--config] FILE]\n"
    "\n"
    "Start the tunnel that FILE describes (" DEFAULT_CONFIG "); its interface\n"
    "has the file's name without \".conf\". Goes to the background when the\n"
    "tunnel is up. `ukai down` ends it and restores the host.\n"
    "\n"
    "  -c, --config FILE   a wg-quick configuration\n"
    "  -f, --foreground    stay in the foreground\n"
    "\n"
    "See ukai(1) and ukai.conf(5).\n";

struct options {
	const char *config;
	bool foreground;
};

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('c', "config", struct options, config),
    CMDLINE_FLAG('f', "foreground", struct options, foreground),
};

static const struct cmdline cmdline = {
    .command = "ukai up",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .most = 1,
    .words = "one FILE",
};

static bool
parse(struct options *o, int argc, char **argv, int *code)
{
	struct cmdline_words w;

	*o = (struct options){.config = NULL};
	if (!cmdline_take(&cmdline, o, &w, argc, argv, code))
		return false;
	if (w.n > 0 && o->config != NULL) {
		*code = cmdline_refuse(&cmdline,
		    "takes one FILE, not both %s and %s", o->config, w.word[0]);
		return false;
	}
	if (w.n > 0)
		o->config = w.word[0];
	else if (o->config == NULL)
		o->config = DEFAULT_CONFIG;
	return true;
}

static int
run_client(const char *name, const struct client_paths *paths,
    struct client_conf *conf)
{
	struct client_setup s = {.name = name, .paths = paths, .conf = conf};
	struct client *c = NULL;
	uv_loop_t loop;
	struct diag d;
	bool lost = false;
	int err, restored;

	diag_init(&d, NULL);
	uv_loop_init(&loop);
	s.loop = &loop;
	service_hold_signals();
	err = client_open(&c, &s, &d);
	diag_print(&d, "ukai", stderr);
	/* It may be lost before it runs, when nobody heard the request to stop.
	 */
	if (err == 0 && !client_lost_interface(c))
		service_run(&loop, false);
	lost = err == 0 && client_lost_interface(c);
	diag_init(&d, NULL);
	restored = client_close(c, &d);
	log_diag(&d);
	service_drain(&loop);
	if (lost)
		return EXIT_FAILED;
	return service_exit_code(err < 0 ? err : restored);
}

/* Everything that can be wrong with the file is said before anything is
 * touched. */
static int
load(struct client_conf *conf, char name[static CLIENT_NAME_MAX],
    struct client_paths *paths, const char *file)
{
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_name_of_file(name, file, &d);
	if (err == 0)
		err = client_paths(paths, name, &d);
	if (err == 0)
		err = client_conf_load(conf, file, &d);
	diag_print(&d, "ukai", stderr);
	if (err == UK_ENOENT && strchr(file, '/') == NULL)
		fprintf(stderr,
		    "ukai: up takes the path of a file, such as "
		    "/etc/ukai/%s.conf\n",
		    name);
	return err;
}

int
command_up(int argc, char **argv)
{
	char name[CLIENT_NAME_MAX];
	struct client_paths paths;
	struct client_conf conf;
	struct options o;
	int err, code;

	if (!parse(&o, argc, argv, &code))
		return code;
	if (!command_is_root("up"))
		return EXIT_PERMISSION;
	log_init("ukai", LOG_INFO);
	service_harden();
	err = load(&conf, name, &paths, o.config);
	if (err < 0)
		return err == UK_ENOENT ? EXIT_USAGE : service_exit_code(err);
	if (!o.foreground && service_background() != 0) {
		fprintf(
		    stderr, "ukai: error: cannot fork: %s\n", strerror(errno));
		client_conf_fini(&conf);
		return EXIT_FAILED;
	}
	code = run_client(name, &paths, &conf);
	client_conf_fini(&conf);
	return code;
}
