#include "policy.h"

#include <stdio.h>

#include "client/policy/export_ips.h"
#include "core/err.h"
#include "io/cmdline.h"
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
	bool allowed_ips, ipv4_only;
};

static const struct cmdline_option options[] = {
    CMDLINE_FLAG('a', "allowed-ips", struct options, allowed_ips),
    CMDLINE_FLAG('4', "ipv4-only", struct options, ipv4_only),
};

static const struct cmdline cmdline = {
    .command = "ukai policy export",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 1,
    .words = "one FILE",
};

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

static int export(const struct options *o, const char *file, struct diag *d)
{
	struct cidr_set s = {.item = NULL};
	struct rules *r = NULL;
	int err = rules_load(&r, file, RULES_LINUX, d);

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
		    file);
		err = UK_ESYS;
	}
	cidr_set_fini(&s);
	rules_free(r);
	return err;
}

int
command_policy_export(int argc, char **argv)
{
	struct options o = {.allowed_ips = false};
	struct cmdline_words w;
	struct diag d;
	int err, code;

	if (!cmdline_take(&cmdline, &o, &w, argc, argv, &code))
		return code;
	if (!o.allowed_ips)
		return cmdline_refuse(
		    &cmdline, "--allowed-ips says in which form");
	diag_init(&d, w.word[0]);
	err = export(&o, w.word[0], &d);
	if (err == UK_ENOMEM)
		diag_error(&d, "out of memory");
	diag_print(&d, "ukai", stderr);
	return err == UK_ENOENT ? EXIT_USAGE : service_exit_code(err);
}
