#include "commands.h"

#include <stdio.h>
#include <unistd.h>

bool
command_is_root(const char *verb)
{
	if (geteuid() == 0)
		return true;
	fprintf(stderr,
	    "ukai: error: ukai %s needs root: run it with sudo, or as a "
	    "service\n",
	    verb);
	return false;
}
