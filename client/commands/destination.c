#include "destination.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/paths.h"
#include "client/resolve.h"
#include "core/err.h"
#include "core/value.h"
#include "io/ctl.h"
#include "io/service.h"
#include "io/watch.h"

#define RESOLVE_NS (3 * UK_NS_PER_S)
#define ASK_TIMEOUT_MS 2000

static int
wrong(const char *what, const char *text, const char *why)
{
	fprintf(
	    stderr, "ukai: policy explain: %s \"%s\" %s\n", what, text, why);
	return UK_EINVAL;
}

/* No name ends with a number: that is a mistyped address. */
static bool
ends_with_number(const char *name)
{
	const char *dot = strrchr(name, '.');
	const char *last = dot != NULL ? dot + 1 : name;

	return strspn(last, "0123456789") == strlen(last);
}

static int
add_name(struct destination *d, const char *text, size_t len)
{
	char *label = d->label[d->names];

	if (d->names == DESTINATION_NAMES)
		return UK_ELIMIT;
	if (domain_name(label, text, len) < 0 || ends_with_number(label))
		return UK_EINVAL;
	for (size_t i = 0; i < d->names; i++) {
		if (strcmp(d->name[i], label) == 0)
			return 0;
	}
	d->name[d->names++] = label;
	return 0;
}

int
destination_add_name(struct destination *d, const char *text)
{
	int err = add_name(d, text, strlen(text));

	if (err == UK_ELIMIT)
		return wrong("--name", text, "is one name too many");
	return err < 0 ? wrong("--name", text, "is no domain name") : 0;
}

int
destination_add_address(struct destination *d, const char *text)
{
	if (!d->is_name)
		return wrong("--address", text,
		    "is one too many: the destination is an address");
	if (d->addrs == DESTINATION_ADDRS)
		return wrong("--address", text, "is one address too many");
	if (ip_addr_parse(&d->addr[d->addrs], text, strlen(text)) < 0)
		return wrong("--address", text, "is no address");
	d->addrs++;
	return 0;
}

static int
parse_host(struct destination *d, const char *text, size_t len)
{
	if (ip_addr_parse(&d->addr[0], text, len) == 0) {
		d->addrs = 1;
		return 0;
	}
	d->is_name = true;
	return add_name(d, text, len);
}

static int
parse_in_brackets(struct destination *d, const char *text)
{
	const char *end = strchr(text, ']');
	size_t host_len, len = strlen(text);

	if (end == NULL ||
	    ip_addr_parse(&d->addr[0], text + 1, (size_t)(end - text) - 1) < 0)
		return UK_EINVAL;
	d->addrs = 1;
	if (end[1] == '\0')
		return 0;
	if (value_split_port(&host_len, &d->port, text, len) < 0 ||
	    text + host_len != end + 1)
		return UK_EINVAL;
	return 0;
}

int
destination_parse(struct destination *d, const char *text)
{
	size_t len = strlen(text), host_len = len;
	int err;

	*d = (struct destination){.text = text};
	if (text[0] == '[') {
		err = parse_in_brackets(d, text);
	} else if (ip_addr_parse(&d->addr[0], text, len) == 0) {
		d->addrs = 1;
		err = 0;
	} else if (strchr(text, ':') != NULL &&
		   value_split_port(&host_len, &d->port, text, len) < 0) {
		err = UK_EINVAL;
	} else {
		err = parse_host(d, text, host_len);
	}
	if (err < 0)
		return wrong("the destination", text,
		    "is neither an address nor a name, with :PORT or without");
	return 0;
}

/* ---- addresses of a name ---- */

struct look_up {
	uv_loop_t loop;
	struct destination *d;
	char why[80]; /* nothing was found */
	bool done;
};

static void
on_found(void *arg, const struct ip_addr *a, size_t n, const char *why)
{
	struct look_up *l = arg;

	l->done = true;
	snprintf(l->why, sizeof(l->why), "%s", why);
	for (size_t i = 0; i < n && l->d->addrs < DESTINATION_ADDRS; i++)
		l->d->addr[l->d->addrs++] = a[i];
	uv_stop(&l->loop);
}

static void
on_timeout(void *arg)
{
	struct look_up *l = arg;

	snprintf(l->why, sizeof(l->why), "no answer");
	uv_stop(&l->loop);
}

/* The answer, or why there is none. */
static void
look_up(struct look_up *l)
{
	struct watch *timer = watch_timer(&l->loop, on_timeout, l);
	struct resolve *r = NULL;
	struct diag diag;

	diag_init(&diag, NULL);
	if (timer != NULL && resolve_open(&r, &l->loop, 0, &diag) == 0) {
		watch_after(timer, RESOLVE_NS);
		resolve_ask(r, l->d->name[0], on_found, l);
		if (!l->done)
			uv_run(&l->loop, UV_RUN_DEFAULT);
	}
	diag_print(&diag, "ukai", stderr);
	resolve_close(r);
	watch_close(timer);
}

void
destination_resolve(struct destination *d)
{
	struct look_up l = {.d = d, .why = "the resolver cannot be used"};

	if (uv_loop_init(&l.loop) < 0)
		return;
	look_up(&l);
	service_drain(&l.loop);
	if (d->addrs == 0)
		fprintf(stderr,
		    "ukai: policy explain: no address of %s is known (%s); "
		    "rules by address are left out. --address gives one\n",
		    d->name[0], l.why);
}

/* ---- names of an address ---- */

static bool
same_file(const char *a, const char *b)
{
	char x[PATH_MAX], y[PATH_MAX];

	return a != NULL && realpath(a, x) != NULL && realpath(b, y) != NULL &&
	       strcmp(x, y) == 0;
}

/* {"file", "names"}. Returns whether that is the policy. */
static bool
take_names(struct destination *d, const json_t *answer, const char *file)
{
	const json_t *names = json_object_get(answer, "names"), *name;
	size_t i;

	if (!same_file(
		json_string_value(json_object_get(answer, "file")), file))
		return false;
	json_array_foreach(names, i, name) if (json_is_string(name))
	    add_name(d, json_string_value(name), json_string_length(name));
	return true;
}

static bool
ask_tunnel(struct destination *d, const char *tunnel, const char *file)
{
	char question[IP_ADDR_TEXT_MAX + 16], addr[IP_ADDR_TEXT_MAX];
	struct client_paths paths;
	char *text = NULL;
	json_t *answer;
	bool has;

	snprintf(question, sizeof(question), "names %s\n",
	    ip_addr_format(&d->addr[0], addr));
	if (client_paths(&paths, tunnel, NULL) < 0 ||
	    ctl_ask(paths.control, question, ASK_TIMEOUT_MS, &text, NULL) < 0)
		return false;
	answer = json_loads(text, 0, NULL);
	has = take_names(d, answer, file);
	json_decref(answer);
	free(text);
	return has;
}

bool
destination_ask_names(struct destination *d, const char *file)
{
	struct client_names l;
	bool any = false;

	if (client_names_of_sockets(&l, NULL) < 0)
		return false;
	for (size_t i = 0; i < l.n; i++)
		any = ask_tunnel(d, l.name[i], file) || any;
	client_names_fini(&l);
	return any;
}

bool
destination_runs(const char *file)
{
	struct destination any = {.addr = {{.family = FAMILY_V4}}, .addrs = 1};

	return destination_ask_names(&any, file);
}
