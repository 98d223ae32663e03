#include "export_ips.h"

#include "core/err.h"

/* Rules are taken from the last to the first: each has the last word so far
 * about its addresses. Neighbours of one kind are taken together. */
struct export
{
	struct cidr_set *out; /* settled while not adding */
	struct cidr_set cut; /* to be taken away from it */
	bool adding; /* else cutting */
};

/* From one kind to the other. */
static int
turn(struct export *x)
{
	int err;

	x->adding = !x->adding;
	if (!x->adding) {
		cidr_set_settle(x->out);
		return 0;
	}
	cidr_set_settle(&x->cut);
	err = cidr_set_subtract(x->out, &x->cut);
	x->cut.n = 0;
	return err;
}

static bool
takes_tunnel(const struct rule *rule)
{
	return rule->target == TARGET_TUNNEL ||
	       rule->target == TARGET_TUNNEL_ONLY;
}

static int
apply_prefix(
    struct export *x, const struct rule *rule, const struct ip_prefix *p)
{
	if (x->adding != takes_tunnel(rule) && turn(x) < 0)
		return UK_ENOMEM;
	return cidr_set_add(x->adding ? x->out : &x->cut, p);
}

static int
apply_default(struct export *x, const struct rule *rule)
{
	static const struct ip_prefix all[] = {
	    {.addr.family = FAMILY_V4}, {.addr.family = FAMILY_V6}};
	int err = apply_prefix(x, rule, &all[0]);

	return err < 0 ? err : apply_prefix(x, rule, &all[1]);
}

static int
apply(struct export *x, const struct rules *r, const struct rule *rule)
{
	int err = 0;

	if (rule->conditions != 0)
		return 0;
	if (rule->type == RULE_DEFAULT)
		return apply_default(x, rule);
	for (uint32_t i = 0; i < rule->entries && err == 0; i++) {
		const struct rule_entry *e = &r->entry[rule->first + i];

		if (e->type == RULE_IP_CIDR)
			err = apply_prefix(x, rule, &e->prefix);
	}
	return err;
}

/* Of what else than addresses it says. */
static uint32_t
other_entries(const struct rules *r, const struct rule *rule)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < rule->entries; i++)
		n += r->entry[rule->first + i].type != RULE_IP_CIDR;
	return n;
}

static void
tell(const struct rules *r, const struct rule *rule, struct diag *d)
{
	uint32_t other = other_entries(r, rule);
	const char *text = rule_text(r, rule);
	int len = (int)rule->text_len;

	if (rule->conditions != 0)
		diag_add(d, DIAG_WARNING, rule->line, 0,
		    "left out, for its conditions: %.*s", len, text);
	else if (rule->type == RULE_PORTS_LEFT ||
		 (other > 0 && other == rule->entries))
		diag_add(d, DIAG_WARNING, rule->line, 0,
		    "left out, as it is not about addresses: %.*s", len, text);
	else if (other > 0)
		diag_add(d, DIAG_WARNING, rule->line, 0,
		    "left out, as they are not about addresses: %lu of %lu "
		    "entries: %.*s",
		    (unsigned long)other, (unsigned long)rule->entries, len,
		    text);
	else if (rule->target == TARGET_BLOCK)
		diag_add(d, DIAG_WARNING, rule->line, 0,
		    "not blocked there, but on the line: %.*s", len, text);
}

int
export_ips(struct cidr_set *out, const struct rules *r, struct diag *d)
{
	struct export x = {.out = out, .adding = true};
	int err = 0;

	for (size_t i = 0; i < r->n; i++)
		tell(r, &r->rule[i], d);
	for (size_t i = r->n; i-- > 0 && err == 0;)
		err = apply(&x, r, &r->rule[i]);
	if (err == 0)
		err = turn(&x);
	cidr_set_fini(&x.cut);
	if (err < 0)
		cidr_set_fini(out);
	return err;
}

static bool
append(void *arg, const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct text *t = arg;

	text_add(t, "%s%s",
	    t->len > 0 ? ", " : "AllowedIPs = ", ip_prefix_format(p, text));
	return true;
}

void
export_ips_text(struct text *t, const struct cidr_set *s)
{
	cidr_set_prefixes(s, append, t);
	if (t->len > 0)
		text_add(t, "\n");
}
