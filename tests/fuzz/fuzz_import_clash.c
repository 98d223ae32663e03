#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/import_clash.h"
#include "client/policy/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every list that is named holds what arg is. */
static int
read_list(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *d)
{
	const struct text *list = arg;

	(void)path;
	(void)d;
	*len = list->len;
	*bytes = malloc(list->len + 1);
	if (*bytes != NULL)
		memcpy(*bytes, list->s, list->len);
	return *bytes != NULL ? 0 : -1;
}

/* What was imported has no mistake. */
static void
parse(const char *policy, size_t len, struct text *list)
{
	const struct rules_reader reader = {.read = read_list, .arg = list};
	struct rules *r = NULL;
	struct diag d;
	int err;

	diag_init(&d, "fuzz.rules");
	err = rules_parse(
	    &r, "/fuzz/fuzz.rules", policy, len, &reader, RULES_LINUX, &d);
	if (err < 0)
		diag_print(&d, "fuzz", stderr);
	UK_ASSERT(err == 0);
	rules_free(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char one[] = "RULE-SET,/fuzz/list,tunnel\nDEFAULT,native";
	struct text out = {.s = NULL}, list = {.s = NULL};
	size_t taken = 0;
	struct diag d;

	diag_init(&d, "clash.yaml");
	text_add(&list, "192.0.2.0/24\n");
	if (import_clash(&out, &taken, "x", (const char *)data, size, &d) ==
	    0) {
		if (strstr(out.s, "\nDEFAULT,") != NULL)
			parse(out.s, out.len, &list);
		else if (taken > 0)
			parse(one, sizeof(one) - 1, &out);
	}
	text_fini(&list);
	text_fini(&out);
	return 0;
}
