#include "import_wg.h"

#include <stdlib.h>
#include <string.h>

#include "cidr_set.h"
#include "clash_rule.h"
#include "core/conf_wg.h"
#include "core/err.h"

bool
import_wg_is(const char *text, size_t len)
{
	struct conf_span key, value;
	struct conf_lex lex;
	enum conf_token t;
	struct diag none;

	diag_init(&none, NULL);
	conf_lex_init(&lex, text, len);
	do {
		t = conf_lex_next(&lex, &key, &value, &none);
	} while (t == CONF_PAIR);
	return t == CONF_SECTION &&
	       (conf_span_is(&key, "Interface") || conf_span_is(&key, "Peer"));
}

/* All peers' prefixes. A line that is none of INI's is one that wg refuses. */
static int
read_prefixes(struct conf_wg_allowed_list *l, const char *text, size_t len,
    struct diag *d)
{
	unsigned before = d->errors;
	struct conf_span key, value;
	bool peer = false;
	enum conf_token t;
	struct conf_lex lex;

	conf_lex_init(&lex, text, len);
	while ((t = conf_lex_next(&lex, &key, &value, d)) != CONF_END) {
		if (t == CONF_SECTION)
			peer = conf_span_is(&key, "Peer");
		else if (peer && conf_span_is(&key, "AllowedIPs") &&
			 conf_wg_parse_allowed(l, &key, &value, d) == UK_ENOMEM)
			return UK_ENOMEM;
	}
	if (d->errors > before)
		return UK_EINVAL;
	if (l->n > 0)
		return 0;
	diag_error(d, "there are no AllowedIPs in a [Peer] section");
	return UK_EINVAL;
}

static int
compare(const void *a, const void *b)
{
	const struct conf_wg_allowed *x = a, *y = b;

	return memcmp(&x->prefix, &y->prefix, sizeof(x->prefix));
}

/* One line for each, but those that are in another; in order a prefix stands
 * before what is in it. */
static size_t
write_prefixes(
    struct text *out, struct conf_wg_allowed_list *l, uint8_t but_family)
{
	const struct ip_prefix *last = NULL;
	char text[IP_PREFIX_TEXT_MAX];
	size_t lines = 0;

	qsort(l->item, l->n, sizeof(*l->item), compare);
	for (size_t i = 0; i < l->n; i++) {
		const struct ip_prefix *p = &l->item[i].prefix;

		if (p->addr.family == but_family ||
		    (last != NULL && ip_prefix_overlap(last, p)))
			continue;
		text_add(out, "IP-CIDR,%s,tunnel\n", ip_prefix_format(p, text));
		last = p;
		lines++;
	}
	return lines;
}

static size_t
write_rules(struct text *out, struct conf_wg_allowed_list *l,
    const struct cidr_set *all)
{
	struct ip_prefix v4 = {.addr.family = FAMILY_V4};
	struct ip_prefix v6 = {.addr.family = FAMILY_V6};
	bool all_v4 = cidr_set_covers(all, &v4);
	size_t lines;

	if (all_v4 && cidr_set_covers(all, &v6)) {
		text_add(out, "DEFAULT,tunnel\n");
		return 1;
	}
	if (all_v4)
		text_add(out, "IP-CIDR,0.0.0.0/0,tunnel\n");
	lines =
	    all_v4 + write_prefixes(out, l, all_v4 ? FAMILY_V4 : FAMILY_NONE);
	text_add(out, "DEFAULT,native\n");
	return lines;
}

static int
import(struct text *out, size_t *taken, const char *name,
    struct conf_wg_allowed_list *l)
{
	struct cidr_set all = {.item = NULL};
	int err = 0;

	for (size_t i = 0; i < l->n && err == 0; i++)
		err = cidr_set_add(&all, &l->item[i].prefix);
	cidr_set_settle(&all);
	if (err == 0) {
		text_add(out, "# Imported from ");
		clash_rule_comment(out, name);
		text_add(out,
		    " (AllowedIPs).\n"
		    "# \"tunnel\" is the line while the relay cannot be "
		    "reached;\n"
		    "# write \"tunnel!\" where that must not be.\n");
		*taken = write_rules(out, l, &all);
		err = out->failed ? UK_ENOMEM : 0;
	}
	cidr_set_fini(&all);
	return err;
}

int
import_wg(struct text *out, size_t *taken, const char *name, const char *text,
    size_t len, struct diag *d)
{
	struct conf_wg_allowed_list l = {.item = NULL};
	int err = read_prefixes(&l, text, len, d);

	if (err == 0)
		err = import(out, taken, name, &l);
	free(l.item);
	return err;
}
