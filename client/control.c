#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "status.h"

enum waits {
	FOR_NOTHING,
	FOR_STATUS,
	FOR_NEXT_RELOAD, /* one that begins after this was asked for */
	FOR_RELOAD, /* the one that runs */
};

/* One connection. */
struct session {
	struct control *control;
	struct session *next;
	enum waits waits;
};

struct control {
	struct control_conf conf;
	struct ctl *ctl;
	struct session *sessions;
	bool reloading;
	bool ending;
};

/* Whoever waits for it gets the same answer. */
static void
answer(struct control *c, enum waits waits, const struct text *out)
{
	struct session *next;

	for (struct session *s = c->sessions; s != NULL; s = next) {
		next = s->next;
		if (s->waits != waits)
			continue;
		s->waits = FOR_NOTHING;
		ctl_tell(c->ctl, s, out->failed ? NULL : out->s, out->len);
	}
}

static void
answer_status(const struct control_conf *c, struct text *out)
{
	struct status s = {.table = c->table,
	    .answer_table = c->answer_table,
	    .conf = c->conf};
	struct mape_stats mape;

	if (c->mape != NULL) {
		mape_stats(c->mape, &mape);
		s.mape = &mape;
	}
	if (c->policy != NULL)
		s.policy = policy_json(c->policy);
	tunnel_status_collect(&s.tunnel, c->tunnel, c->since_s);
	tunnel_status_answer(status_json(&s), out);
}

static void
on_looked(void *arg)
{
	struct control *c = arg;
	struct text out = {.s = NULL};

	answer_status(&c->conf, &out);
	answer(c, FOR_STATUS, &out);
	text_fini(&out);
}

static void
status(struct session *s, struct text *out)
{
	struct control *c = s->control;

	if (c->conf.policy != NULL && policy_look(c->conf.policy, on_looked, c))
		s->waits = FOR_STATUS;
	else
		answer_status(&c->conf, out);
}

static json_t *
error_json(int err, const struct diag *d)
{
	const char *text = uk_strerror(err);

	for (unsigned i = d->n; i-- > 0;)
		if (d->entry[i].level == DIAG_ERROR)
			text = d->entry[i].text;
	return json_pack(
	    "{s:o}", "error", err < 0 ? json_string(text) : json_null());
}

/* ---- reload ---- */

static json_t *
messages_json(const struct diag *d)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < d->n; i++) {
		const struct diag_entry *e = &d->entry[i];

		list = tunnel_status_push(
		    list, json_pack("{s:s,s:i,s:i,s:s}", "level",
			      e->level == DIAG_ERROR ? "error" : "warning",
			      "line", (int)e->line, "column", (int)e->column,
			      "text", e->text));
	}
	return list;
}

static void
reload_answer(
    const struct control *c, int err, const struct diag *d, struct text *out)
{
	json_t *o = json_object();

	o = tunnel_status_put(
	    o, "error", err < 0 ? json_string(uk_strerror(err)) : json_null());
	o = tunnel_status_put(o, "file",
	    c->conf.policy != NULL ? json_string(c->conf.conf->policy)
				   : json_null());
	o = tunnel_status_put(o, "messages", messages_json(d));
	tunnel_status_answer(o, out);
}

static void begin_reload(struct control *c);

static void
on_reloaded(void *arg, int err, const struct diag *d)
{
	struct control *c = arg;
	struct text out = {.s = NULL};

	c->reloading = false;
	reload_answer(c, err, d, &out);
	answer(c, FOR_RELOAD, &out);
	text_fini(&out);
	begin_reload(c);
}

static bool
wants_reload(struct control *c)
{
	bool any = false;

	for (struct session *s = c->sessions; s != NULL; s = s->next) {
		if (s->waits != FOR_NEXT_RELOAD)
			continue;
		s->waits = FOR_RELOAD;
		any = true;
	}
	return any;
}

/* The files may have changed since the one that runs has read them: who asks
 * meanwhile is told of another. */
static void
begin_reload(struct control *c)
{
	struct diag d;
	int err;

	if (c->reloading || !wants_reload(c))
		return;
	c->reloading = true;
	err = policy_reload(c->conf.policy, on_reloaded, c);
	diag_init(&d, NULL);
	if (err < 0)
		on_reloaded(c, err, &d);
}

static void
reload(struct session *s, struct text *out)
{
	struct control *c = s->control;
	struct diag d;

	if (c->conf.policy != NULL) {
		s->waits = FOR_NEXT_RELOAD;
		begin_reload(c);
		return;
	}
	diag_init(&d, NULL);
	diag_error(&d,
	    "%s has no policy: `Policy =` in its section [Ukai] names one",
	    tunnel_name(c->conf.tunnel));
	reload_answer(c, UK_ENOENT, &d, out);
}

/* ---- names, run ---- */

static void
names(const struct control_conf *c, const char *text, struct text *out)
{
	const char *name[64];
	json_t *list = json_array();
	struct ip_addr a;
	size_t n = 0;

	if (c->policy != NULL && ip_addr_parse(&a, text, strlen(text)) == 0)
		n = policy_names(c->policy, &a, name, ARRAY_LEN(name));
	for (size_t i = 0; i < n && i < ARRAY_LEN(name); i++)
		list = tunnel_status_push(list, json_string(name[i]));
	tunnel_status_answer(
	    json_pack("{s:s,s:o}", "file", c->conf->policy, "names", list),
	    out);
}

/* Not by a number that it says: in a process namespace of its own it has
 * another one, which is somebody else's here. */
static void
run(const struct session *s, bool fallback, struct text *out)
{
	const struct control_conf *c = &s->control->conf;
	int err, pid = ctl_pid(s->control->ctl, s);
	struct policy *p = NULL;
	struct diag d;

	diag_init(&d, NULL);
	err = c->policy_for_run(c->arg, &p, &d);
	if (err == 0)
		err = policy_run(p, pid, fallback, &d);
	tunnel_status_answer(tunnel_status_put(error_json(err, &d), "live",
				 json_boolean(p != NULL && policy_is_live(p))),
	    out);
}

/* ---- the socket ---- */

static void *
on_open(void *arg)
{
	struct session *s = calloc(1, sizeof(*s));
	struct control *c = arg;

	if (s == NULL)
		return NULL;
	s->control = c;
	s->next = c->sessions;
	c->sessions = s;
	return s;
}

/* What stands behind the verb; NULL: another verb. */
static const char *
words(const char *line, const char *verb)
{
	size_t len = strlen(verb);

	return strncmp(line, verb, len) == 0 && line[len] == ' '
		   ? line + len + 1
		   : NULL;
}

#define LINE_MAX_LEN 128

static bool
on_line(void *session, const char *text, size_t len, struct text *out)
{
	struct session *s = session;
	struct control_conf *c = &s->control->conf;
	char line[LINE_MAX_LEN] = "";
	const char *rest;

	if (len >= sizeof(line) || s->waits != FOR_NOTHING)
		return false;
	memcpy(line, text, len);
	if (strcmp(line, "stop") == 0)
		service_stop(c->loop);
	else if (s->control->ending)
		return false;
	else if (strcmp(line, "status") == 0)
		status(s, out);
	else if (strcmp(line, "reload") == 0)
		reload(s, out);
	else if (strcmp(line, "run") == 0)
		run(s, false, out);
	else if (strcmp(line, "run-fallback") == 0)
		run(s, true, out);
	else if ((rest = words(line, "names")) != NULL)
		names(c, rest, out);
	else
		return false;
	return true;
}

static void
on_close(void *session)
{
	struct session *s = session, **at = &s->control->sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s);
}

/* Nobody can reach us any more: as a request to stop, like the UAPI's. */
static void
on_deleted(void *arg)
{
	struct control *c = arg;

	service_stop(c->conf.loop);
}

int
control_open(
    struct control **out, const struct control_conf *conf, struct diag *d)
{
	struct control *c = calloc(1, sizeof(*c));
	const struct ctl_conf ctl = {
	    .path = conf->path,
	    .fd = -1,
	    .handler = {.arg = c,
		.open = on_open,
		.line = on_line,
		.close = on_close,
		.deleted = on_deleted},
	};
	int err;

	if (c == NULL)
		return UK_ENOMEM;
	c->conf = *conf;
	err = ctl_open(&c->ctl, conf->loop, &ctl, d);
	if (err < 0)
		free(c);
	else
		*out = c;
	return err;
}

void
control_end(struct control *c)
{
	if (c != NULL)
		c->ending = true;
}

void
control_close(struct control *c)
{
	if (c == NULL)
		return;
	ctl_close(c->ctl);
	free(c);
}
