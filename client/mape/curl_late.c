#include "curl_late.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "core/err.h"

/* POSIX's own way around ISO C, which knows no pointer that is an object's and
 * a function's (dlsym(3)). */
static bool
find(void *library, const char *name, void *function, size_t len)
{
	void *symbol = dlsym(library, name);

	memcpy(function, &symbol, len);
	return symbol != NULL;
}

int
curl_late_load(struct curl_late *c, const char **why)
{
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	bool all = true;

	if (library == NULL) {
		*why = "libcurl is missing: install libcurl4";
		return UK_ENOENT;
	}
#define FIND(name)                                                             \
	all = find(library, "curl_" #name, &c->name, sizeof(c->name)) && all;
	CURL_LATE_FUNCTIONS(FIND)
#undef FIND
	if (all)
		return 0;
	*why = "libcurl is older than 7.85";
	return UK_ENOENT;
}
