#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "options.h"
#include "server/client.h"
#include "server/nat.h"

static const char usage[] =
    "Usage: ukai-relay address NAME shared\n"
    "       ukai-relay address NAME exclusive [ADDRESS]\n"
    "       ukai-relay address NAME routed ADDRESS\n"
    "\n"
    "The IPv4 address of a client on the internet:\n"
    "\n"
    "  shared     the relay's, as others have it; the default\n"
    "  exclusive  an address of this host 1:1, in and out. Without ADDRESS the\n"
    "             relay's own: all ports but those that this host needs\n"
    "  routed     the client holds the address on its own interface, without\n"
    "             translation; this host must not have it itself\n"
    "\n"
    "It holds at once; the client's connections begin anew.\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

static void
print(const json_t *answer, const struct options *o)
{
	const char *name = o->argument[0], *way = o->argument[1];
	const char *address = tunnel_status_text(answer, "global_address", "?");
	const char *kept = tunnel_status_text(answer, "kept", NULL);

	printf("%s is %s: %s\n", name, way, address);
	if (kept != NULL)
		printf("these ports stay this host's: %s; and while others "
		       "share the address, those from %u on that are not "
		       "published\n",
		    kept, NAT_SHARED_FIRST);
	if (strcmp(way, "routed") == 0)
		printf("on %s, write into [Interface] of its configuration: "
		       "Address = %s/32; and start its tunnel anew\n",
		    name, address);
	else
		printf("if %s was routed: write Address = %s/32 into "
		       "[Interface] there, and start its tunnel anew\n",
		    name, tunnel_status_text(answer, "tunnel_address", "?"));
}

/* What needs no relay to be seen. */
static bool
is_use_right(const struct options *o)
{
	enum client_way way;
	struct ip_addr a;

	if (client_way_parse(&way, o->argument[1]) < 0)
		return false;
	if (o->arguments == 2)
		return way != CLIENT_ROUTED;
	return way != CLIENT_SHARED &&
	       ip_addr_parse(&a, o->argument[2], strlen(o->argument[2])) == 0;
}

static const struct cmdline cmdline = {
    .command = "ukai-relay address",
    .usage = usage,
    .option = options_ask,
    .options = OPTIONS_ASK,
    .least = 2,
    .most = 3,
    .words = "a client's NAME, and a way of using addresses",
};

int
command_address(int argc, char **argv)
{
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	if (!is_use_right(&o))
		return cmdline_refuse(&cmdline,
		    "a way is shared, exclusive, exclusive ADDRESS or routed ADDRESS");
	return ask_and_print(&o, "address",
	    ask_strings("name", o.argument[0], "way", o.argument[1], "global",
		o.argument[2], NULL),
	    print);
}
