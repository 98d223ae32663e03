#include "explain.h"

#include <stdlib.h>
#include <string.h>

#include "always_local.h"
#include "explain_reason.h"
#include "io/tunnel_status.h"

/* As many rules that would lead elsewhere are said to people; all of them are
 * in the object. */
#define WOULD_SAID 5

json_t *
explain_text(const char *text, size_t len)
{
	json_t *o = json_stringn(text, len);
	char *ascii;

	if (o != NULL)
		return o;
	ascii = malloc(len + 1);
	if (ascii == NULL)
		return NULL;
	for (size_t i = 0; i < len; i++)
		ascii[i] = (text[i] & 0x80) != 0 ? '?' : text[i];
	o = json_stringn(ascii, len);
	free(ascii);
	return o;
}

/* What was said; taken. */
static json_t *
said(struct text *t)
{
	json_t *o = NULL;

	if (!t->failed)
		o = explain_text(t->len > 0 ? t->s : "", t->len);
	text_fini(t);
	return o;
}

/* The DEFAULT that nobody wrote is told as it would be written. */
static json_t *
rule_text_json(const struct rules *r, const struct rule *rule)
{
	if (rule->line > 0)
		return explain_text(rule_text(r, rule), rule->text_len);
	return json_sprintf("%s,%s", rule_type_name(rule->type),
	    rule_target_name(rule->target));
}

static json_t *
put_rule(json_t *o, const struct rules *r, const struct rule *rule)
{
	o = tunnel_status_put(
	    o, "line", rule->line > 0 ? json_integer(rule->line) : json_null());
	return tunnel_status_put(o, "text", rule_text_json(r, rule));
}

static json_t *
would_json(const struct rules *r, const struct matcher *m, uint32_t rule,
    const struct flow *f, uint8_t target)
{
	struct text with = {.s = NULL};
	json_t *o;

	if (r->rule[rule].target == target ||
	    !explain_would(&with, r, m, rule, f)) {
		text_fini(&with);
		return json_null();
	}
	o = tunnel_status_put(json_object(), "with", said(&with));
	return tunnel_status_put(
	    o, "target", json_string(rule_target_name(r->rule[rule].target)));
}

/* target: where the flow goes. */
static json_t *
considered_json(const struct rules *r, const struct matcher *m, uint32_t rule,
    const struct flow *f, uint8_t target)
{
	json_t *o = put_rule(json_object(), r, &r->rule[rule]);
	struct text reason = {.s = NULL};

	explain_reason(&reason, r, m, rule, f);
	o = tunnel_status_put(o, "reason", said(&reason));
	return tunnel_status_put(o, "would", would_json(r, m, rule, f, target));
}

static json_t *
entry_json(
    const struct rules *r, const struct rule *rule, const struct match *match)
{
	const char *file = r->file[rule->file];
	json_t *o;

	if (rule->type != RULE_SET)
		return json_null();
	o = tunnel_status_put(
	    json_object(), "file", explain_text(file, strlen(file)));
	return tunnel_status_put(
	    o, "line", json_integer(r->entry[match->entry].line));
}

/* No rule is asked. */
static json_t *
put_local(json_t *o)
{
	o = tunnel_status_put(
	    o, "target", json_string(rule_target_name(TARGET_NATIVE)));
	o = tunnel_status_put(o, "line", json_null());
	o = tunnel_status_put(o, "text", json_null());
	o = tunnel_status_put(o, "entry", json_null());
	o = tunnel_status_put(o, "considered", json_array());
	return tunnel_status_put(o, "considered_more", json_integer(0));
}

static json_t *
put_decision(json_t *o, const struct rules *r, const struct matcher *m,
    const struct flow *f)
{
	struct match match = matcher_find(m, f);
	const struct rule *rule = &r->rule[match.rule];
	uint32_t more = match.rule > EXPLAIN_CONSIDERED
			    ? match.rule - EXPLAIN_CONSIDERED
			    : 0;
	json_t *considered = json_array();

	for (uint32_t i = more; i < match.rule; i++)
		considered = tunnel_status_push(
		    considered, considered_json(r, m, i, f, rule->target));
	o = tunnel_status_put(
	    o, "target", json_string(rule_target_name(rule->target)));
	o = put_rule(o, r, rule);
	o = tunnel_status_put(o, "entry", entry_json(r, rule, &match));
	o = tunnel_status_put(o, "considered", considered);
	return tunnel_status_put(o, "considered_more", json_integer(more));
}

json_t *
explain_json(const struct rules *r, const struct matcher *m,
    const struct flow *f, const char *destination)
{
	bool local = always_local(&f->dst);
	json_t *o = json_object();

	o = tunnel_status_put(
	    o, "destination", explain_text(destination, strlen(destination)));
	o = tunnel_status_put(
	    o, "file", explain_text(r->file[0], strlen(r->file[0])));
	o = tunnel_status_put(o, "local", json_boolean(local));
	return local ? put_local(o) : put_decision(o, r, m, f);
}

/* ---- for people ---- */

/* Nothing that a file says may drive the terminal (C5). */
static void
put(FILE *to, const json_t *text)
{
	const char *s = json_string_value(text);

	for (; s != NULL && *s != '\0'; s++)
		putc((uint8_t)*s < 0x20 || *s == 0x7f ? '?' : *s, to);
}

static int
number(const json_t *o, const char *key)
{
	return (int)json_integer_value(json_object_get(o, key));
}

static void
print_decision(const json_t *o, FILE *to)
{
	const json_t *entry = json_object_get(o, "entry");

	fprintf(to, "%-7s  ", tunnel_status_text(o, "target", "?"));
	if (json_is_true(json_object_get(o, "local"))) {
		fputs("local, whatever the rules say\n", to);
	} else if (json_is_null(json_object_get(o, "line"))) {
		fputs("by default: no line is about it\n", to);
	} else {
		fprintf(to, "by line %d: ", number(o, "line"));
		put(to, json_object_get(o, "text"));
		putc('\n', to);
	}
	if (!json_is_object(entry))
		return;
	fprintf(to, "         line %d of ", number(entry, "line"));
	put(to, json_object_get(entry, "file"));
	putc('\n', to);
}

static void
print_considered(const json_t *c, FILE *to)
{
	fprintf(to, "  line %d: ", number(c, "line"));
	put(to, json_object_get(c, "text"));
	fputs("\n    no: ", to);
	put(to, json_object_get(c, "reason"));
	putc('\n', to);
}

static void
print_would(const json_t *c, FILE *to)
{
	const json_t *would = json_object_get(c, "would");

	fprintf(to, "line %d would decide with ", number(c, "line"));
	put(to, json_object_get(would, "with"));
	fprintf(to, " (%s)\n", tunnel_status_text(would, "target", "?"));
}

void
explain_print(const json_t *o, FILE *to)
{
	const json_t *considered = json_object_get(o, "considered"), *c;
	int more = number(o, "considered_more");
	unsigned would = 0;
	size_t i;

	print_decision(o, to);
	if (more > 0)
		fprintf(to, "  %d lines before: no\n", more);
	json_array_foreach(considered, i, c) print_considered(c, to);
	json_array_foreach(
	    considered, i, c) if (json_is_object(json_object_get(c, "would")) &&
				  would++ < WOULD_SAID) print_would(c, to);
	if (would > WOULD_SAID)
		fprintf(to,
		    "%u more line%s would decide with something else "
		    "given\n",
		    would - WOULD_SAID, would - WOULD_SAID == 1 ? "" : "s");
}
