#include "commands.h"

#include <stdio.h>

#include "io/service.h"

int
command_print_json(json_t *o)
{
	if (o == NULL) {
		fputs("ukai: error: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
	return EXIT_OK;
}
