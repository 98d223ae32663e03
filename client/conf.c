#include "conf.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "host/conf_file.h"

static void *
begin_interface(void *conf, unsigned line)
{
	struct client_conf *c = conf;

	c->interface.line = line;
	return &c->interface;
}

static void *
begin_peer(void *conf, unsigned line)
{
	struct client_peers *l = &((struct client_conf *)conf)->peers;
	struct conf_wg_peer *to =
	    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

	if (to == NULL)
		return NULL;
	l->item = to;
	to += l->n++;
	*to = (struct conf_wg_peer){.line = line};
	return to;
}

static void *
begin_ukai(void *conf, unsigned line)
{
	(void)line;
	return conf;
}

static int
parse_local_networks(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct client_networks *l = field;
	struct conf_span rest = *value, item;

	while (conf_span_item(&rest, &item)) {
		struct ip_prefix *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		to += l->n;
		if (conf_wg_parse_prefix(to, key, &item, d) < 0)
			continue;
		if (to->bits == 0)
			conf_error(d, &item,
			    "LocalNetworks \"%.*s\" would keep everything out "
			    "of the tunnel; name the office's own networks",
			    CONF_WORD(&item));
		else
			l->n++;
	}
	return 0;
}

static const struct conf_key ukai_keys[] = {
    {"LocalNetworks", CONF_MANY, parse_local_networks,
	offsetof(struct client_conf, local_networks)},
    {NULL, 0, NULL, 0},
};

static const struct conf_section sections[] = {
    {"Interface", CONF_REQUIRED, {conf_wg_interface_keys, NULL},
	begin_interface},
    {"Peer", CONF_MANY, {conf_wg_peer_keys, NULL}, begin_peer},
    {"Ukai", 0, {ukai_keys, NULL}, begin_ukai},
    {NULL, 0, {NULL, NULL}, NULL},
};

/* WireGuard gives a prefix to the last peer that names it. wg-quick is silent
 * about that; it is hardly ever meant. */
static int
check_prefixes(const struct client_conf *c, struct diag *d)
{
	struct conf_mark *mark;
	size_t n = 0;

	for (size_t i = 0; i < c->peers.n; i++)
		n += c->peers.item[i].allowed.n;
	if (n == 0)
		return 0;
	mark = calloc(n, sizeof(*mark));
	if (mark == NULL)
		return UK_ENOMEM;
	n = 0;
	for (size_t i = 0; i < c->peers.n; i++) {
		const struct conf_wg_allowed_list *l =
		    &c->peers.item[i].allowed;

		for (size_t k = 0; k < l->n; k++)
			mark[n++] = (struct conf_mark){&l->item[k].prefix,
			    sizeof(l->item[k].prefix), l->item[k].line,
			    l->item[k].column};
	}
	conf_report_repeats(
	    mark, n, DIAG_WARNING, "prefix", "the last one gets it", d);
	free(mark);
	return 0;
}

static int
check(const struct client_conf *c, struct diag *d)
{
	int err = conf_wg_check_public_keys(&c->interface.private_key,
	    c->peers.item, c->peers.n, sizeof(*c->peers.item), d);

	if (err < 0)
		return err;
	if (c->peers.n == 0)
		diag_add(d, DIAG_WARNING, 1, 0,
		    "the file has no [Peer] section: nobody to talk to");
	return check_prefixes(c, d);
}

int
client_conf_parse(
    struct client_conf *c, const char *text, size_t len, struct diag *d)
{
	unsigned before = d->errors;
	int err;

	*c = (struct client_conf){.peers = {NULL, 0, 0}};
	err = conf_schema_parse(sections, c, text, len, d);
	if (err != UK_ENOMEM)
		err = check(c, d);
	if (err == 0 && d->errors > before)
		err = UK_EINVAL;
	diag_sort(d);
	if (err == UK_ENOMEM)
		diag_error(d, "out of memory");
	if (err < 0)
		client_conf_fini(c);
	return err;
}

int
client_conf_load(struct client_conf *c, const char *path, struct diag *d)
{
	struct conf_file f;
	int err;

	*c = (struct client_conf){.peers = {NULL, 0, 0}};
	d->file = path;
	err = conf_file_read(&f, path, d);
	if (err < 0)
		return err;
	err = client_conf_parse(c, f.text, f.len, d);
	conf_file_fini(&f);
	return err;
}

void
client_conf_fini(struct client_conf *c)
{
	for (size_t i = 0; i < c->peers.n; i++)
		conf_wg_peer_fini(&c->peers.item[i]);
	free(c->peers.item);
	free(c->local_networks.item);
	conf_wg_interface_fini(&c->interface);
	*c = (struct client_conf){.peers = {NULL, 0, 0}};
}
