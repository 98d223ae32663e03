#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "core/err.h"
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
	const char *config; /* NULL: the default */
	bool foreground, help;
};

/* What is no option: the file, once. */
static int
parse_words(struct options *o, int argc, char **argv)
{
	const char *first = o->config;

	if (first == NULL && optind < argc)
		first = argv[optind++];
	if (optind == argc) {
		o->config = first != NULL ? first : DEFAULT_CONFIG;
		return 0;
	}
	fprintf(stderr,
	    "ukai: error: up takes one file, not both %s and %s\n\n%s", first,
	    argv[optind], usage);
	return UK_EINVAL;
}

static int
parse(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"foreground", no_argument, NULL, 'f'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.config = NULL};
	while ((c = getopt_long(argc, argv, "c:fh", known, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'f':
			o->foreground = true;
			break;
		case 'h':
			o->help = true;
			break;
		default:
			return UK_EINVAL;
		}
	}
	return o->help ? 0 : parse_words(o, argc, argv);
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

	if (parse(&o, argc, argv) < 0)
		return EXIT_USAGE;
	if (o.help) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
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
