#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "status.h"

struct control {
	struct control_conf conf;
	struct ctl *ctl;
};

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
	tunnel_status_collect(&s.tunnel, c->tunnel, c->since_s);
	tunnel_status_answer(status_json(&s), out);
}

static void *
on_open(void *arg)
{
	return arg;
}

static bool
on_line(void *session, const char *line, size_t len, struct text *out)
{
	struct control *c = session;

	if (len == 6 && memcmp(line, "status", 6) == 0) {
		answer_status(&c->conf, out);
		return true;
	}
	if (len != 4 || memcmp(line, "stop", 4) != 0)
		return false;
	service_stop(c->conf.loop);
	return true;
}

static void
on_close(void *session)
{
	(void)session;
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
control_close(struct control *c)
{
	if (c == NULL)
		return;
	ctl_close(c->ctl);
	free(c);
}
