#include "policy.h"

#include <getopt.h>
#include <stdio.h>

#include "client/policy/export_ips.h"
#include "core/err.h"
#include "io/service.h"

static const char usage[] =
    "Usage: ukai policy export --allowed-ips [--ipv4-only] FILE\n"
    "\n"
    "Print the addresses that the policy FILE sends into the tunnel as a line\n"
    "for WireGuard apps. Rules that are not about addresses alone are left out,\n"
    "and named on standard error.\n"
    "\n"
    "  -a, --allowed-ips   as \"AllowedIPs = ...\"\n"
    "  -4, --ipv4-only     without IPv6\n";

struct options {
	const char *file;
	bool allowed_ips, ipv4_only, help;
};

static int
parse(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
	    {"allowed-ips", no_argument, NULL, 'a'},
	    {"ipv4-only", no_argument, NULL, '4'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.file = NULL};
	while ((c = getopt_long(argc, argv, "a4h", known, NULL)) != -1) {
		if (c == 'a')
			o->allowed_ips = true;
		else if (c == '4')
			o->ipv4_only = true;
		else if (c == 'h')
			o->help = true;
		else
			return UK_EINVAL;
	}
	if (o->help)
		return 0;
	if (optind + 1 != argc || !o->allowed_ips) {
		fputs(usage, stderr);
		return UK_EINVAL;
	}
	o->file = argv[optind];
	return 0;
}

static int
without_ipv6(struct cidr_set *s)
{
	const struct ip_prefix all = {.addr.family = FAMILY_V6};
	struct cidr_set v6 = {.item = NULL};
	int err = cidr_set_add(&v6, &all);

	if (err == 0)
		err = cidr_set_subtract(s, &v6);
	cidr_set_fini(&v6);
	return err;
}

static int
print(const struct cidr_set *s)
{
	struct text t = {.s = NULL};
	int err = 0;

	export_ips_text(&t, s);
	if (t.failed)
		err = UK_ENOMEM;
	else if (t.len > 0 &&
		 (fputs(t.s, stdout) == EOF || fflush(stdout) == EOF))
		err = UK_ESYS;
	text_fini(&t);
	return err;
}

static int export(const struct options *o, struct diag *d)
{
	struct cidr_set s = {.item = NULL};
	struct rules *r = NULL;
	int err = rules_load(&r, o->file, RULES_LINUX, d);

	if (err < 0)
		return err;
	err = export_ips(&s, r, d);
	if (err == 0 && o->ipv4_only)
		err = without_ipv6(&s);
	if (err == 0)
		err = print(&s);
	if (err == 0 && s.n == 0) {
		diag_error(d,
		    "%s sends no address into the tunnel whatever the port, "
		    "program or name: there is nothing to export",
		    o->file);
		err = UK_ESYS;
	}
	cidr_set_fini(&s);
	rules_free(r);
	return err;
}

int
command_policy_export(int argc, char **argv)
{
	struct options o;
	struct diag d;
	int err;

	if (parse(&o, argc, argv) < 0)
		return EXIT_USAGE;
	if (o.help) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	diag_init(&d, o.file);
	err = export(&o, &d);
	if (err == UK_ENOMEM)
		diag_error(&d, "out of memory");
	diag_print(&d, "ukai", stderr);
	return err == UK_ENOENT ? EXIT_USAGE : service_exit_code(err);
}
