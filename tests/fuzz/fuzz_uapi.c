/* Text to the configuration socket: lines go to one of two connections;
 * a line that is "@" changes over. */
#include "wg/uapi.h"

#include <sodium.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint16_t
port(void *arg)
{
	(void)arg;
	return 1;
}

static int
set_port(void *arg, uint16_t n)
{
	(void)arg;
	return n % 2 ? 0 : -1;
}

static uint32_t
mark(void *arg)
{
	(void)arg;
	return 1;
}

static int
set_mark(void *arg, uint32_t n)
{
	(void)arg;
	(void)n;
	return 0;
}

static unsigned
scope(void *arg, const char *name)
{
	(void)arg;
	return (unsigned)strlen(name) % 3;
}

static const struct uapi_host host = {.port = port,
    .set_port = set_port,
    .mark = mark,
    .set_mark = set_mark,
    .scope = scope};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wg_device_conf conf;
	struct uapi_session s[2];
	struct wg_device *d;
	struct text out = {.s = NULL};
	unsigned who = 0;

	wg_device_conf_default(&conf);
	d = wg_device_new(&conf);
	wg_device_set_up(d, true);
	s[0] = s[1] = (struct uapi_session){.device = d, .host = &host};
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;

		if (len == 1 && *data == '@')
			who ^= 1;
		else if (!uapi_line(&s[who], (const char *)data, len, &out))
			s[who] = s[who ^ 1];
		data += len + (end != NULL);
		size -= len + (end != NULL);
	}
	s[0] = (struct uapi_session){.device = d, .host = &host};
	uapi_line(&s[0], "get=1", 5, &out);
	uapi_line(&s[0], "", 0, &out);
	text_fini(&out);
	wg_device_free(d);
	return 0;
}
