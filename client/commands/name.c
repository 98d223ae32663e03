#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "client/paths.h"
#include "io/program.h"
#include "io/service.h"

static void
tell_bad_name(const char *verb, const char *text)
{
	char name[CLIENT_NAME_MAX];

	if (text[0] == '-') {
		fprintf(stderr, "ukai: error: %s: unknown option %s\n\n", verb,
		    text);
		return;
	}
	fprintf(
	    stderr, "ukai: error: %s: \"%s\" is no tunnel's name", verb, text);
	/* Of a configuration file's path, as `ukai up` takes it. */
	if (client_name_of_file(name, text, NULL) == 0)
		fprintf(stderr, "; did you mean %s?\n\n", name);
	else
		fputs(": 1 to 15 letters, digits and _=+.-\n\n", stderr);
}

bool
command_takes_name(int argc, char **argv, const char *usage_text, int *code)
{
	if (argc < 2 || (argc == 2 && client_name_ok(argv[1])))
		return true;
	if (argc > 2)
		fprintf(stderr,
		    "ukai: error: %s takes one name, not both %s and %s\n\n",
		    argv[0], argv[1], argv[2]);
	else if (strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "-h") != 0)
		tell_bad_name(argv[0], argv[1]);
	*code = program_usage(argc, argv, usage_text);
	return false;
}
