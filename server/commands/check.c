#include "check.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "io/tls_identity.h"
#include "options.h"
#include "server/metrics.h"
#include "server/paths.h"
#include "server/survey.h"

static const char usage[] =
    "Usage: ukai-relay check [--config FILE]\n"
    "\n"
    "Report every mistake of the configuration (exit 2); else tell what\n"
    "`ukai-relay serve` would do on this host, and what stands in its way\n"
    "(exit 1), with the command that mends it. Nothing is changed.\n"
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
	if (survey_udp_port_used(c->listen_port))
		diag_error(d,
		    "UDP port %u is in use by another program; choose another "
		    "ListenPort, or see `ss -ulnp`",
		    c->listen_port);
	if (c->tls_port != 0 && survey_tcp_port_used(c->tls_port))
		diag_error(d,
		    "TCP port %u is in use by another program; choose another "
		    "TlsPort (such as 8443), or see `ss -tlnp`",
		    c->tls_port);
	if (c->metrics.port != 0 && survey_tcp_port_used(c->metrics.port))
		diag_error(d,
		    "TCP port %u is in use by another program; choose another "
		    "port for Metrics, or see `ss -tlnp`",
		    c->metrics.port);
	if (if_nametoindex(c->interface) != 0)
		diag_error(d,
		    "there is an interface %s already; choose another "
		    "Interface",
		    c->interface);
}

/* Without one serve makes it, where it may write to the folder; the systemd
 * unit may not. */
static void
check_identity(const struct server_conf *c, struct diag *d)
{
	struct tls_identity *id = NULL;

	if (c->tls_port == 0)
		return;
	if (access(c->tls_key, F_OK) != 0 && errno == ENOENT)
		diag_warn(d,
		    "%s: the relay's key for TLS is not there yet; run: "
		    "ukai-relay init",
		    c->tls_key);
	else
		(void)tls_identity_load(&id, c->tls_key, d);
	tls_identity_free(id);
}

void
check_host(struct check *to, const struct server_conf *c, struct diag *d)
{
	struct netcfg *n;

	*to = (struct check){.running = is_running(c->interface)};
	if (c->metrics.port != 0)
		(void)metrics_check(&c->metrics, &c->address.ifaddr.addr, d);
	if (netcfg_open(&n, d) < 0)
		return;
	to->planned = plan_make(&to->plan, c, n, d) == 0;
	netcfg_close(n);
	if (to->running)
		diag_warn(
		    d, "the relay of %s is running already", c->interface);
	else
		check_in_use(c, d);
	check_identity(c, d);
	survey_kernel(&to->plan, d);
	to->startable = d->errors == 0;
	survey_listeners(c, d);
	survey_firewalls(c, &to->plan, d);
}

static void
print_ports(const struct server_conf *c)
{
	struct text t = {.s = NULL};

	for (size_t i = 0; i < c->reserved_ports.n; i++) {
		const struct server_port_range *r = &c->reserved_ports.item[i];

		text_add(&t, ", %u", r->first);
		if (r->last > r->first)
			text_add(&t, "-%u", r->last);
	}
	printf("reserved ports    the relay's own, 22%s\n",
	    t.s != NULL ? t.s : "");
	text_fini(&t);
}

static void
print_plan(const struct server_conf *c, const struct plan *p)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix pool;

	ip_ifaddr_prefix(&c->address.ifaddr, &pool);
	printf("interface         %s, MTU %u\n", c->interface, c->mtu);
	printf("UDP port          %u\n", c->listen_port);
	if (c->tls_port != 0)
		printf("TCP port          %u, to join\n", c->tls_port);
	printf("tunnel address    %s",
	    ip_addr_format(&c->address.ifaddr.addr, text));
	printf(", clients in %s\n", ip_prefix_format(&pool, text));
	printf("global address    %s, %s\n", ip_addr_format(&p->global, text),
	    p->global_found ? "found by this host's route to the internet"
			    : "as configured");
	if (p->v6.family != FAMILY_NONE)
		printf("over IPv6         %s\n", ip_addr_format(&p->v6, text));
	printf("internet          by %s\n",
	    p->uplink != 0 ? p->uplink_name : "no route yet");
	printf(
	    "ports             %zu for the clients' connections\n", p->ports);
	print_ports(c);
}

static const struct cmdline_option options[] = {
    OPTIONS_CONFIG,
};

static const struct cmdline cmdline = {
    .command = "ukai-relay check",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
};

int
command_check(int argc, char **argv)
{
	struct server_conf c;
	struct options o;
	struct check k;
	struct diag d;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	service_harden();
	diag_init(&d, NULL);
	code = options_load(&c, &o, &d);
	diag_print(&d, "ukai-relay", stderr);
	if (code != EXIT_OK)
		return code;
	diag_init(&d, NULL);
	check_host(&k, &c, &d);
	if (strcmp(o.config, PATHS_CONFIG) == 0)
		survey_unit(k.running, &d);
	if (k.planned)
		print_plan(&c, &k.plan);
	fflush(stdout);
	diag_print(&d, "ukai-relay", stderr);
	server_conf_fini(&c);
	return d.errors > 0 ? EXIT_FAILED : EXIT_OK;
}
