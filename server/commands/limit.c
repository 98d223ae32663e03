#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "core/value.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "options.h"

/* 4,294 Gbit/s: what a count of kbit/s holds. */
#define RATE_MAX (UINT32_MAX / 1000)

static const char usage[] =
    "Usage: ukai-relay limit NAME [--rate MBIT] [--connections N]\n"
    "       ukai-relay limit NAME off\n"
    "\n"
    "What a client may use at most. Both limits are off at first. What is not\n"
    "given now is off, also when it was given before.\n"
    "\n"
    "      --rate MBIT        Mbit/s, in each direction\n"
    "      --connections N    connections at a time, to and from it\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

/* Add what was given. Returns false for what is no number. */
static bool
add(json_t **args, const char *key, const char *option, const char *text,
    uint64_t most, unsigned unit)
{
	uint64_t n;

	if (text == NULL)
		return true;
	if (value_parse_u64(&n, text, strlen(text), most, false) < 0 ||
	    n == 0) {
		fprintf(stderr,
		    "ukai-relay: error: %s \"%s\" is no number from 1 to "
		    "%llu\n",
		    option, text, (unsigned long long)most);
		return false;
	}
	*args =
	    tunnel_status_put(*args, key, json_integer((json_int_t)(n * unit)));
	return true;
}

static bool
is_use_right(const struct options *o)
{
	bool off = o->arguments == 2 && strcmp(o->argument[1], "off") == 0;
	bool given = o->rate != NULL || o->connections != NULL;

	return o->arguments == 1 ? given : off && !given;
}

static void
print(const json_t *answer, const struct options *o)
{
	(void)answer;
	printf("%s: %s%s, %s connections\n", o->argument[0],
	    o->rate != NULL ? o->rate : "any",
	    o->rate != NULL ? " Mbit/s" : " rate",
	    o->connections != NULL ? o->connections : "any number of");
}

static const struct cmdline_option options[] = {
    CMDLINE_TEXT(0, "rate", struct options, rate),
    CMDLINE_TEXT(0, "connections", struct options, connections),
    OPTIONS_JSON,
    OPTIONS_INTERFACE,
};

static const struct cmdline cmdline = {
    .command = "ukai-relay limit",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 2,
    .words = "a client's NAME, and a limit or off",
};

int
command_limit(int argc, char **argv)
{
	json_t *args;
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	if (!is_use_right(&o))
		return cmdline_refuse(
		    &cmdline, "a limit is missing, or off stands beside one");
	args = ask_strings("name", o.argument[0], NULL);
	if (!add(&args, "rate_kbit", "--rate", o.rate, RATE_MAX, 1000) ||
	    !add(&args, "connections", "--connections", o.connections,
		UINT32_MAX, 1)) {
		json_decref(args);
		return EXIT_USAGE;
	}
	return ask_and_print(&o, "limit", args, print);
}
