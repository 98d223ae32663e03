#include <stdlib.h>
#include <string.h>

#include "nat_ports.h"
#include "nat_state.h"

/* What the parts of an item's text are made of. */
enum part {
	END,
	ADDRESS_A,
	ADDRESS_B,
	PREFIX_A,
	PROTOCOL,
	PORT,
	PORTS,
	TARGET,
	LIMIT_UP,
	LIMIT_DOWN,
	CHAIN,
};

#define PARTS_MAX 4

/* The key's parts, and the value's of a map; each joined by " . ". */
static const struct {
	const char *set; /* of NAT_MEMBER: with the group's number behind it */
	enum part key[PARTS_MAX], value[PARTS_MAX];
} kinds[NAT_ELEMENT_KINDS] = {
    [NAT_FORWARD] = {"forwards", {ADDRESS_A, PROTOCOL, PORT},
	{ADDRESS_B, TARGET}},
    [NAT_FORWARD_RANGE] = {"forward_ranges", {ADDRESS_A, PROTOCOL, PORTS},
	{ADDRESS_B}},
    [NAT_TARGET] = {"targets", {ADDRESS_A, PROTOCOL, PORT}, {END}},
    [NAT_TARGET_RANGE] = {"target_ranges", {ADDRESS_A, PROTOCOL, PORTS}, {END}},
    [NAT_EXCLUSIVE] = {"exclusive", {ADDRESS_A}, {ADDRESS_B}},
    [NAT_OWNER] = {"owner", {ADDRESS_A}, {ADDRESS_B}},
    [NAT_PAIR] = {"pairs", {ADDRESS_A, ADDRESS_B}, {END}},
    [NAT_ROUTED] = {"routed", {ADDRESS_A}, {END}},
    [NAT_SOURCE] = {"sources", {PREFIX_A}, {ADDRESS_B}},
    [NAT_OWNER_SOURCE] = {"owner_sources", {PREFIX_A}, {END}},
    [NAT_RESERVED] = {"reserved", {PORTS}, {END}},
    [NAT_LIMIT_UP] = {"limits_up", {PREFIX_A}, {LIMIT_UP}},
    [NAT_LIMIT_DOWN] = {"limits_down", {PREFIX_A}, {LIMIT_DOWN}},
    [NAT_COUNTED] = {"counted", {PREFIX_A}, {CHAIN}},
    [NAT_MEMBER] = {"group", {PREFIX_A}, {END}},
};

static void
add_address(struct text *t, uint32_t address)
{
	text_add(t, "%u.%u.%u.%u", address >> 24, (address >> 16) & 255,
	    (address >> 8) & 255, address & 255);
}

static void
add_limit_name(struct text *t, char direction, const struct nat_item *i)
{
	text_add(t, "%c%08x-%u", direction, i->b, i->value);
}

static void
add_part(struct text *t, enum part part, const struct nat_item *i)
{
	switch (part) {
	case END:
		break;
	case ADDRESS_A:
		add_address(t, i->a);
		break;
	case ADDRESS_B:
		add_address(t, i->b);
		break;
	case PREFIX_A:
		add_address(t, i->a);
		if (i->bits < 32)
			text_add(t, "/%u", i->bits);
		break;
	case PROTOCOL:
		text_add(t, "%u", i->protocol);
		break;
	case PORT:
		text_add(t, "%u", i->first);
		break;
	case PORTS:
		nat_ports_format(
		    t, &(struct server_port_range){i->first, i->last});
		break;
	case TARGET:
		text_add(t, "%u", i->value);
		break;
	case LIMIT_UP:
	case LIMIT_DOWN:
		text_add(t, "\"");
		add_limit_name(t, part == LIMIT_UP ? 'u' : 'd', i);
		text_add(t, "\"");
		break;
	case CHAIN:
		text_add(t, "jump ");
		add_limit_name(t, 'c', i);
		break;
	}
}

static void
add_parts(struct text *t, const enum part *part, const struct nat_item *i)
{
	for (size_t k = 0; k < PARTS_MAX && part[k] != END; k++) {
		if (k > 0)
			text_add(t, " . ");
		add_part(t, part[k], i);
	}
}

/* One command for all elements of a set that stand together. */
struct writer {
	struct text *out;
	const char *table, *verb;
	bool values;
	const struct nat_item *before; /* in the open command; NULL: none */
};

static void
write_element(struct writer *w, const struct nat_item *i)
{
	if (w->before != NULL && w->before->kind == i->kind &&
	    w->before->group == i->group) {
		text_add(w->out, ",\n");
	} else {
		text_add(w->out, "%s%s element inet %s %s",
		    w->before != NULL ? " }\n" : "", w->verb, w->table,
		    kinds[i->kind].set);
		if (i->kind == NAT_MEMBER)
			text_add(w->out, "%u", i->group);
		text_add(w->out, " { ");
	}
	add_parts(w->out, kinds[i->kind].key, i);
	if (w->values && kinds[i->kind].value[0] != END) {
		text_add(w->out, " : ");
		add_parts(w->out, kinds[i->kind].value, i);
	}
	w->before = i;
}

static void
write_object(struct writer *w, const struct nat_item *i, bool make)
{
	const char *what = i->kind == NAT_LIMIT ? "limit" : "chain";
	char letter = i->kind == NAT_COUNT ? 'c' : i->down ? 'd' : 'u';

	text_add(w->out, "%s %s inet %s ", w->verb, what, w->table);
	add_limit_name(w->out, letter, i);
	if (make && i->kind == NAT_LIMIT)
		text_add(w->out,
		    " { rate over %llu bytes/second burst %u bytes; }",
		    (unsigned long long)i->value * 125, NAT_BURST_BYTES);
	text_add(w->out, "\n");
	if (!make || i->kind == NAT_LIMIT)
		return;
	text_add(w->out, "add rule inet %s ", w->table);
	add_limit_name(w->out, letter, i);
	text_add(w->out, " ct count over %u drop\n", i->value);
}

/* Write what stands in one and not in the other: both are in order. */
static void
write_missing(struct writer *w, const struct nat_items *from,
    const struct nat_items *in, bool objects, bool make)
{
	size_t k = 0;

	w->before = NULL;
	for (size_t i = 0; i < from->n; i++) {
		const struct nat_item *item = &from->item[i];

		if ((item->kind >= NAT_ELEMENT_KINDS) != objects)
			continue;
		while (
		    k < in->n && memcmp(&in->item[k], item, sizeof(*item)) < 0)
			k++;
		if (k < in->n && memcmp(&in->item[k], item, sizeof(*item)) == 0)
			continue;
		if (objects)
			write_object(w, item, make);
		else
			write_element(w, item);
	}
	if (w->before != NULL)
		text_add(w->out, " }\n");
}

static bool
same_text(const struct text *a, const struct text *b)
{
	return a->len == b->len && (a->len == 0 || strcmp(a->s, b->s) == 0);
}

static void
write_chain(struct text *out, const char *table, const char *chain,
    const struct text *from, const struct text *to)
{
	const char *line = to->len > 0 ? to->s : "drop\n";

	if (same_text(from, to))
		return;
	text_add(out, "flush chain inet %s %s\n", table, chain);
	while (*line != '\0') {
		size_t len = strcspn(line, "\n") + 1;

		text_add(out, "add rule inet %s %s ", table, chain);
		text_append(out, line, len);
		line += len;
	}
}

/* What names an object goes before it, and comes after it. */
void
nat_difference(struct text *out, const char *table, const struct nat_held *from,
    const struct nat_held *to)
{
	struct writer w = {.out = out, .table = table, .verb = "delete"};

	write_missing(&w, &from->items, &to->items, false, false);
	write_missing(&w, &from->items, &to->items, true, false);
	w.verb = "add";
	w.values = true;
	write_missing(&w, &to->items, &from->items, true, true);
	write_missing(&w, &to->items, &from->items, false, true);
	write_chain(out, table, "shared", &from->shared, &to->shared);
	write_chain(out, table, "owner_flows", &from->owner, &to->owner);
}
