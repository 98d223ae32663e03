#include "commands.h"

#include "core/err.h"
#include "core/value.h"
#include "io/cmdline.h"
#include "io/log.h"
#include "io/service.h"
#include "io/tunnel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: ukai device [-f|--foreground] [-w|--workers N] IFNAME\n"
    "\n"
    "Make a bare WireGuard interface, to be driven by wg(8), wg-quick(8) and\n"
    "ip(8). It goes to the background once the interface is there, and ends\n"
    "when the interface or /var/run/wireguard/IFNAME.sock is deleted.\n"
    "\n"
    "  -f, --foreground   stay in the foreground\n"
    "  -w, --workers N    threads for the data path, 1 to 16 (1): more help a\n"
    "                     device with several busy peers\n"
    "\n"
    "Environment: LOG_LEVEL (silent, error, verbose), WG_PROCESS_FOREGROUND,\n"
    "WG_TUN_FD, WG_UAPI_FD. See ukai(1).\n";

static bool
env_is(const char *name, const char *value)
{
	const char *v = getenv(name);

	return v && strcmp(v, value) == 0;
}

/* A descriptor handed down in the environment; -1: none. */
static int
env_fd(const char *name)
{
	const char *v = getenv(name);
	uint64_t n;

	if (!v || value_parse_u64(&n, v, strlen(v), INT32_MAX, false) != 0)
		return -1;
	return (int)n;
}

static enum log_level
env_log_level(void)
{
	if (env_is("LOG_LEVEL", "verbose"))
		return LOG_INFO;
	if (env_is("LOG_LEVEL", "debug"))
		return LOG_DEBUG;
	if (env_is("LOG_LEVEL", "silent"))
		return LOG_SILENT;
	return LOG_ERROR;
}

static void
on_ended(void *arg, enum tunnel_end why)
{
	log_msg(LOG_INFO, "ending: %s was deleted",
	    why == TUNNEL_GONE ? "the interface" : "the socket");
	service_stop(arg);
}

/* For tests of renewal against other implementations: nobody wants to wait
 * two minutes for each. */
static void
injected_times(struct wg_times *t)
{
	const char *v = getenv("UKAI_TEST_REKEY_AFTER");
	uint64_t s;

	if (v && value_parse_u64(&s, v, strlen(v), 120, false) == 0 && s > 0)
		t->rekey_after_ns = s * UK_NS_PER_S;
}

/* Another implementation of the cipher, to compare it. */
static enum aead_kind
env_cipher(void)
{
	const char *v = getenv("UKAI_AEAD");
	enum aead_kind kind = AEAD_BEST;

	if (v && !aead_kind_parse(v, &kind))
		log_msg(LOG_WARN, "UKAI_AEAD: no cipher \"%s\"", v);
	return kind;
}

static int
run_device(const char *name, unsigned workers)
{
	struct tunnel_conf c;
	struct tunnel *t = NULL;
	uv_loop_t loop;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	uv_loop_init(&loop);
	tunnel_conf_default(&c);
	c.name = name;
	c.tun_fd = env_fd("WG_TUN_FD");
	c.uapi_fd = env_fd("WG_UAPI_FD");
	c.workers = workers;
	c.aead = env_cipher();
	c.no_offload = env_is("UKAI_TEST_NO_OFFLOAD", "1");
	c.ended = on_ended;
	c.arg = &loop;
	injected_times(&c.wg.times);
	service_hold_signals();
	err = tunnel_open(&t, &loop, &c, &d);
	if (err) {
		diag_print(&d, "ukai", stderr);
	} else {
		service_run(&loop, getenv("LOG_LEVEL") != NULL);
	}
	tunnel_close(t);
	service_drain(&loop);
	return service_exit_code(err);
}

struct options {
	bool foreground;
	unsigned workers;
};

static int
take_workers(void *to, const char *text)
{
	struct options *o = to;
	uint64_t n;

	if (value_parse_u64(&n, text, strlen(text), WG_LANES_MAX, false) != 0 ||
	    n == 0) {
		fprintf(stderr,
		    "ukai: error: --workers is a number from 1 to %d, not "
		    "\"%s\"\n",
		    WG_LANES_MAX, text);
		return UK_EINVAL;
	}
	o->workers = (unsigned)n;
	return 0;
}

static const struct cmdline_option options[] = {
    CMDLINE_FLAG('f', "foreground", struct options, foreground),
    CMDLINE_TAKE('w', "workers", take_workers),
};

static const struct cmdline cmdline = {
    .command = "ukai device",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 1,
    .words = "one interface's NAME",
};

int
command_device(int argc, char **argv)
{
	struct options o = {env_is("WG_PROCESS_FOREGROUND", "1"), 1};
	struct cmdline_words w;
	const char *name;
	int code;

	if (!cmdline_take(&cmdline, &o, &w, argc, argv, &code))
		return code;
	name = w.word[0];
	if (!value_is_ifname(name, strlen(name)))
		return cmdline_refuse(&cmdline,
		    "\"%s\" cannot be an interface's name: 1 to 15 "
		    "characters, without '/', ':' and blanks",
		    name);
	log_init("ukai", env_log_level());
	service_harden();
	if (!o.foreground && service_background() != 0) {
		fprintf(
		    stderr, "ukai: error: cannot fork: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return run_device(name, o.workers);
}
