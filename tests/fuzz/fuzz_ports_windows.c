#include <stdlib.h>

#include "client/ports/windows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What netsh and netstat print, and then commands for whatever was in it. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct map_ports line = {4, 8, 100};
	static struct ports_plan plan[PORTS_PROTOCOLS];
	static struct ports_windows w;
	struct command_list change = {.n = 0}, revert = {.n = 0};
	bool planned = true;

	ports_windows_default(&w);
	ports_windows_parse_state(&w, (const char *)data, size, NULL);
	ports_windows_parse_netstat(&w, (const char *)data, size, NULL);
	for (int i = 0; i < PORTS_PROTOCOLS; i++) {
		ports_plan(
		    &plan[i], &w.before[i], &line, &ports_limits_windows);
		planned &= plan[i].refusal == PORTS_PLANNED;
	}
	if (planned)
		ports_windows_commands(&change, &revert, &w, plan);
	command_list_fini(&change);
	command_list_fini(&revert);
	return 0;
}
