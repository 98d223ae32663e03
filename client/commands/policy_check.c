#include "policy.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/rules.h"
#include "commands.h"
#include "core/err.h"
#include "io/cmdline.h"
#include "io/service.h"

static const char usage[] =
    "Usage: ukai policy check [--json] [--os linux|windows] FILE...\n"
    "\n"
    "Find every mistake in policies and in the lists that they name, and warn\n"
    "of rules that can never decide.\n"
    "\n"
    "  -o, --os linux|windows   the system that is to follow it; default:\n"
    "                           this one\n"
    "  -j, --json               see ukai(1)\n";

#ifdef _WIN32
#define OWN_OS RULES_WINDOWS
#else
#define OWN_OS RULES_LINUX
#endif

struct options {
	enum rules_os os;
	bool json;
};

static int
take_os(void *to, const char *name)
{
	struct options *o = to;

	o->os = strcmp(name, "windows") == 0 ? RULES_WINDOWS : RULES_LINUX;
	if (o->os == RULES_WINDOWS || strcmp(name, "linux") == 0)
		return 0;
	fprintf(stderr,
	    "ukai: policy check: --os is linux or windows, not \"%s\"\n", name);
	return UK_EINVAL;
}

static const struct cmdline_option options[] = {
    CMDLINE_TAKE('o', "os", take_os),
    CMDLINE_FLAG('j', "json", struct options, json),
};

static const struct cmdline cmdline = {
    .command = "ukai policy check",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = INT_MAX,
    .words = "a FILE, or several",
};

/* What a policy has in it. */
struct counts {
	size_t rules, lists, entries; /* entries: of the lists */
};

static struct counts
count(const struct rules *r)
{
	struct counts n = {.rules = r->n};

	for (size_t i = 0; i < r->n; i++) {
		const struct rule *rule = &r->rule[i];

		/* The DEFAULT that nobody wrote. */
		n.rules -= rule->line == 0;
		n.lists += rule->type == RULE_SET;
		if (rule->type == RULE_SET)
			n.entries += rule->entries;
	}
	return n;
}

/* "12 rules", "1,000 entries" */
static void
print_count(size_t n, const char *one, const char *more)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%zu", n);

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			putchar(',');
		putchar(digits[i]);
	}
	printf(" %s", n == 1 ? one : more);
}

static void
print_summary(const struct diag *d, const struct rules *r)
{
	struct counts n;

	printf("%s: ", d->file);
	if (r != NULL) {
		n = count(r);
		print_count(n.rules, "rule", "rules");
		fputs(", ", stdout);
		if (n.lists > 0) {
			print_count(n.entries, "entry of ", "entries of ");
			print_count(n.lists, "list", "lists");
			fputs(", ", stdout);
		}
	}
	print_count(d->errors, "error", "errors");
	fputs(", ", stdout);
	print_count(d->warnings, "warning", "warnings");
	putchar('\n');
}

static json_t *
place(unsigned n)
{
	return n > 0 ? json_integer((json_int_t)n) : json_null();
}

static json_t *
messages(const struct diag *d)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < d->n; i++) {
		const struct diag_entry *e = &d->entry[i];

		json_array_append_new(
		    list, json_pack("{s:s, s:o, s:o, s:s}", "level",
			      e->level == DIAG_ERROR ? "error" : "warning",
			      "line", place(e->line), "column",
			      place(e->column), "text", e->text));
	}
	return list;
}

/* Numbers are null where there are errors. */
static json_t *
file_json(const struct diag *d, const struct rules *r)
{
	struct counts n = {.rules = 0};
	json_t *o;

	if (r != NULL)
		n = count(r);
	o = json_pack("{s:s, s:o, s:o, s:i, s:i, s:o}", "file", d->file,
	    "rules", r ? json_integer((json_int_t)n.rules) : json_null(),
	    "entries", r ? json_integer((json_int_t)n.entries) : json_null(),
	    "errors", (int)d->errors, "warnings", (int)d->warnings, "messages",
	    messages(d));
	return o;
}

/* Returns an exit code. */
static int
check(const struct options *o, const char *path, struct diag *d, json_t *files)
{
	struct rules *r;
	int err;

	diag_init(d, path);
	err = rules_load(&r, path, o->os, d);
	if (err == UK_ENOMEM)
		diag_error(d, "%s: out of memory", path);
	if (err == 0)
		rules_warn(r, d);
	diag_sort(d);
	if (o->json) {
		json_array_append_new(files, file_json(d, r));
	} else {
		diag_print(d, "ukai", stderr);
		print_summary(d, r);
	}
	rules_free(r);
	if (err == UK_ENOMEM)
		return EXIT_FAILED;
	return d->errors > 0 ? EXIT_USAGE : EXIT_OK;
}

int
command_policy_check(int argc, char **argv)
{
	struct options o = {.os = OWN_OS};
	struct cmdline_words w;
	json_t *files;
	struct diag d;
	int code;

	if (!cmdline_take(&cmdline, &o, &w, argc, argv, &code))
		return code;
	code = EXIT_OK;
	files = o.json ? json_array() : NULL;
	for (int i = 0; i < w.n; i++) {
		int one = check(&o, w.word[i], &d, files);

		code = one > code ? one : code;
	}
	if (o.json &&
	    command_print_json(json_pack("{s:o}", "files", files)) != EXIT_OK)
		return EXIT_FAILED;
	return code;
}
