#include "commands.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "options.h"
#include "server/paths.h"
#include "server/plan.h"
#include "server/survey.h"

static const char usage[] =
    "Usage: ukai-relay check [--config FILE]\n"
    "\n"
    "Report every mistake of the configuration (exit 2); else tell what\n"
    "`ukai-relay serve` would do on this host, and what stands in its way\n"
    "(exit 1). Nothing is changed.\n"
    "\n"
    "  -c, --config FILE   configuration, default " PATHS_CONFIG "\n";

/* Does a relay of this name answer? */
static bool
is_running(const char *ifname)
{
	char path[PATHS_MAX], *answer = NULL;

	if (paths_make(path, PATHS_SOCKET, ifname, NULL) < 0 ||
	    ctl_ask(path, "status\n\n", 2000, &answer, NULL) < 0)
		return false;
	free(answer);
	return true;
}

static void
check_in_use(const struct server_conf *c, struct diag *d)
{
	if (is_running(c->interface)) {
		diag_warn(
		    d, "the relay of %s is running already", c->interface);
		return;
	}
	if (survey_udp_port_used(c->listen_port))
		diag_error(d,
		    "UDP port %u is in use by another program; choose another "
		    "ListenPort, or see `ss -ulnp`",
		    c->listen_port);
	if (if_nametoindex(c->interface) != 0)
		diag_error(d,
		    "there is an interface %s already; choose another "
		    "Interface",
		    c->interface);
}

static void
print_plan(const struct server_conf *c, const struct plan *p)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix pool;

	ip_ifaddr_prefix(&c->address.ifaddr, &pool);
	printf("interface         %s, MTU %u\n", c->interface, c->mtu);
	printf("UDP port          %u\n", c->listen_port);
	printf("tunnel address    %s",
	    ip_addr_format(&c->address.ifaddr.addr, text));
	printf(", clients in %s\n", ip_prefix_format(&pool, text));
	printf("global address    %s, %s\n", ip_addr_format(&p->global, text),
	    p->global_found ? "found by this host's route to the internet"
			    : "as configured");
	printf("internet          by %s\n",
	    p->uplink != 0 ? p->uplink_name : "no route yet");
	printf(
	    "ports             %zu for the clients' connections\n", p->ports);
	printf("clients           %zu, %s reach each other\n", c->peers.n,
	    c->allow_client_to_client ? "may" : "may not");
}

static void
look_at_host(const struct server_conf *c, struct diag *d)
{
	struct netcfg *n;
	struct plan p;

	if (netcfg_open(&n, d) < 0)
		return;
	if (plan_make(&p, c, n, d) == 0)
		print_plan(c, &p);
	netcfg_close(n);
	check_in_use(c, d);
	survey_listeners(c, d);
	survey_firewalls(c, d);
}

int
command_check(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	struct server_conf c;
	struct options o;
	struct diag d;
	int code;

	if (options_parse(&o, argc, argv, "c:h", long_options, usage, &code))
		return code;
	service_harden();
	diag_init(&d, NULL);
	code = options_load(&c, &o, &d);
	diag_print(&d, "ukai-relay", stderr);
	if (code != EXIT_OK)
		return code;
	diag_init(&d, NULL);
	look_at_host(&c, &d);
	fflush(stdout);
	diag_print(&d, "ukai-relay", stderr);
	server_conf_fini(&c);
	return d.errors > 0 ? EXIT_FAILED : EXIT_OK;
}
