#include "commands.h"

bool
command_is_name(const struct cmdline *c, const char *text, int *code)
{
	char name[CLIENT_NAME_MAX];

	if (client_name_ok(text))
		return true;
	/* Of a configuration file's path, as `ukai up` takes it. */
	if (client_name_of_file(name, text, NULL) == 0)
		*code = cmdline_refuse(c,
		    "\"%s\" is no tunnel's name; did you mean %s?", text, name);
	else
		*code = cmdline_refuse(c,
		    "\"%s\" is no tunnel's name: 1 to 15 letters, digits and "
		    "_=+.-",
		    text);
	return false;
}

bool
command_take_name(const struct cmdline *c, void *to, const char **name,
    int argc, char **argv, int *code)
{
	struct cmdline_words w;

	if (!cmdline_take(c, to, &w, argc, argv, code))
		return false;
	*name = w.n > 0 ? w.word[0] : NULL;
	return *name == NULL || command_is_name(c, *name, code);
}
