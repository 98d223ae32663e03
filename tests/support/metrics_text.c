/* metrics_text: the relay's metrics, made of a status that is read from
 * standard input; at the time 1700000000. For looking at them, and for
 * `promtool check metrics`. */
#include <stdio.h>

#include "../../server/metrics_text.h"

int
main(void)
{
	json_t *status = json_loadf(stdin, 0, NULL);
	struct text t = {.s = NULL};

	if (status == NULL)
		return 1;
	metrics_text(&t, status, 1700000000);
	json_decref(status);
	if (t.failed || t.len == 0)
		return 1;
	fputs(t.s, stdout);
	text_fini(&t);
	return 0;
}
