#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/ctl.h"
#include "io/service.h"
#include "status.h"

struct control {
	struct control_conf conf;
	struct ctl *ctl;
};

static const char *
host_of(const struct client_conf *c, const struct wg_key *key)
{
	for (size_t i = 0; i < c->peers.n; i++)
		if (memcmp(c->peers.item[i].public_key.b, key->b,
			sizeof(key->b)) == 0)
			return c->peers.item[i].endpoint.host;
	return NULL;
}

static bool
fill_peer(struct status_peer *to, const struct wg_peer *p,
    const struct client_conf *conf)
{
	const struct lpm_node *cursor = NULL;
	struct ip_prefix *list;

	wg_peer_info(p, clock_now().mono_ns, &to->info);
	to->host = host_of(conf, &to->info.public_key);
	list = calloc((size_t)to->info.allowed_count + 1, sizeof(*list));
	to->allowed = list;
	if (list == NULL)
		return false;
	while (to->nallowed < to->info.allowed_count &&
	       wg_peer_next_allowed(p, &cursor, &list[to->nallowed]))
		to->nallowed++;
	return true;
}

/* Returns false when memory is out; free_peers() in any case. */
static bool
fill_peers(struct status *s, struct status_peer *list, unsigned max,
    const struct wg_device *dev, const struct client_conf *conf)
{
	const struct wg_peer *p = wg_device_next_peer(dev, NULL);

	s->peer = list;
	for (; p != NULL && s->npeers < max; p = wg_device_next_peer(dev, p))
		if (!fill_peer(&list[s->npeers++], p, conf))
			return false;
	return true;
}

static void
free_peers(struct status_peer *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)list[i].allowed);
	free(list);
}

static json_t *
gather(const struct control_conf *c)
{
	struct wg_device *dev = tunnel_device(c->tunnel);
	unsigned max = wg_device_peer_count(dev);
	struct status_peer *list = calloc((size_t)max + 1, sizeof(*list));
	struct status s = {
	    .name = c->name,
	    .since_s = c->since_s,
	    .mtu = tunnel_mtu(c->tunnel),
	    .mark = tunnel_mark(c->tunnel),
	    .table = c->table,
	    .port = tunnel_port(c->tunnel),
	    .public_key = wg_device_public_key(dev),
	    .address = &c->conf->interface.address,
	    .dns = &c->conf->interface.dns,
	    .device = wg_device_stats(dev),
	};
	json_t *o = NULL;

	if (list == NULL)
		return NULL;
	tunnel_stats(c->tunnel, &s.tunnel);
	if (fill_peers(&s, list, max, dev, c->conf))
		o = status_json(&s);
	free_peers(list, s.npeers);
	return o;
}

static bool
answer_status(const struct control_conf *c, struct text *out)
{
	json_t *o = gather(c);
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

	if (text != NULL)
		text_add(out, "%s\n\n", text);
	free(text);
	json_decref(o);
	return text != NULL;
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

	if (len == 6 && memcmp(line, "status", 6) == 0)
		return answer_status(&c->conf, out);
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
