#include "import_clash.h"

#include <stdlib.h>
#include <string.h>

#include "clash_rule.h"
#include "core/err.h"

#define NOTES_MAX 24

/* What was left out or guessed for one reason. */
struct note {
	const char *why;
	char what[64]; /* a type, or a target's name */
	size_t n;
	unsigned line; /* of the first */
};

struct import {
	struct clash_rule rule;
	struct text *out;
	size_t taken;
	bool ended; /* behind MATCH */
	struct note note[NOTES_MAX];
	size_t notes;
};

static const char not_reached[] = "it stands behind MATCH";
static const char no_text[] = "an alias, or too long";
static const char guessed[] =
    "the file does not say what that is; taken as tunnel";
static const char to_fetch[] =
    "the list has to be fetched from where the comment says";
static const char others[] = "see the comments";

static void
note(struct import *im, const char *what, const char *why, unsigned line)
{
	struct note *n = im->note;

	while (n < im->note + im->notes &&
	       (n->why != why || strcmp(n->what, what) != 0))
		n++;
	/* The last one is for all that there is no room for. */
	if (n >= im->note + NOTES_MAX - 1) {
		n = im->note + NOTES_MAX - 1;
		why = others;
		what = "";
	}
	if (n == im->note + im->notes) {
		im->notes++;
		*n = (struct note){.why = why, .line = line};
		snprintf(n->what, sizeof(n->what), "%s", what);
	}
	n->n++;
}

static void
leave_out(struct import *im, const struct clash_line *l, const char *why)
{
	const struct diag *detail = &im->rule.d;

	note(im, l->text != NULL ? im->rule.type : "", why, l->line);
	text_add(im->out, "# line %u left out: ", l->line);
	if (l->text != NULL)
		clash_rule_comment(im->out, l->text);
	text_add(im->out, " (%s", why);
	if (l->text != NULL && detail->n > 0) {
		text_add(im->out, ": ");
		clash_rule_comment(im->out, detail->entry[0].text);
	}
	text_add(im->out, ")\n");
}

typedef const char *rule_fn(
    struct clash_rule *r, const char *text, struct text *out);

static void
write_line(struct import *im, const struct clash_line *l, rule_fn *rule)
{
	struct clash_rule *r = &im->rule;
	const char *why = no_text;

	diag_init(&r->d, NULL);
	r->type[0] = 0;
	if (im->ended)
		why = not_reached;
	else if (l->text != NULL)
		why = rule(r, l->text, im->out);
	if (why != NULL) {
		leave_out(im, l, why);
		return;
	}
	im->taken += r->lines;
	im->ended = im->ended || r->last;
	if (r->unknown)
		note(im, r->target, guessed, l->line);
	if (r->fetch)
		note(im, r->type, to_fetch, l->line);
}

static void
write_lines(struct import *im, const struct clash_lines *l, rule_fn *rule)
{
	for (size_t i = 0; i < l->n && !im->out->failed; i++)
		write_line(im, &l->item[i], rule);
}

/* What the groups' names have become, for whoever wants it otherwise. */
static void
write_groups(struct import *im, const struct clash *c)
{
	for (size_t i = 0; i < c->target.n; i++) {
		const struct clash_target *t = &c->target.item[i];
		uint8_t may = clash_target_may(c, t->name.s);

		if (!t->group)
			continue;
		text_add(im->out, "# group ");
		clash_rule_comment(im->out, t->name.s);
		text_add(im->out, ": %s\n",
		    may & CLASH_TUNNEL   ? "tunnel"
		    : may & CLASH_NATIVE ? "native"
					 : "block");
	}
}

static void
write_policy(struct import *im, const struct clash *c)
{
	text_add(im->out,
	    "# \"tunnel\" is the line while the relay cannot be reached;\n"
	    "# write \"tunnel!\" where that must not be.\n"
	    "# A group to choose from is taken as its first member.\n");
	write_groups(im, c);
	write_lines(im, &c->rule, clash_rule_policy);
	if (!im->ended)
		text_add(im->out, "DEFAULT,native\n");
}

static void
tell(const struct import *im, struct diag *d)
{
	for (size_t i = 0; i < im->notes; i++) {
		const struct note *n = &im->note[i];
		bool left = n->why != guessed && n->why != to_fetch;

		diag_add(d, DIAG_WARNING, n->line, 0, "%s%s%zu line%s%s: %s",
		    n->what, n->what[0] != 0 ? ": " : "", n->n,
		    n->n == 1 ? "" : "s", left ? " left out" : "", n->why);
	}
}

static int
write_all(struct text *out, size_t *taken, const char *name,
    const struct clash *c, struct diag *d)
{
	struct import *im = calloc(1, sizeof(*im));

	if (im == NULL || clash_rule_init(&im->rule, c) < 0) {
		free(im);
		return UK_ENOMEM;
	}
	im->out = out;
	text_add(out, "# Imported from ");
	clash_rule_comment(out, name);
	text_add(out, " (Clash). Line numbers are that file's.\n");
	if (c->has_rules)
		write_policy(im, c);
	else
		write_lines(im, &c->payload, clash_rule_list);
	tell(im, d);
	*taken = im->taken;
	clash_rule_fini(&im->rule);
	free(im);
	return out->failed ? UK_ENOMEM : 0;
}

int
import_clash(struct text *out, size_t *taken, const char *name,
    const char *text, size_t len, struct diag *d)
{
	struct clash c;
	int err = clash_yaml_read(&c, text, len, d);

	if (err < 0)
		return err;
	err = write_all(out, taken, name, &c, d);
	clash_fini(&c);
	return err;
}
