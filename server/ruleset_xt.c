#include "ruleset.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"
#include "ruleset_parts.h"

/* Words of a rule; iptables' own limit is 255. */
#define WORDS_MAX 256

/* A rule: its words behind "-A CHAIN", each terminated, an empty one last. */
struct source {
	uint8_t family;
	char text[]; /* a copy, cut into words */
};

/* Cut the next word off a line; "..." keeps its blanks. NULL: none. */
static char *
next_word(char **at)
{
	char *s = *at, *end;
	bool quoted;

	s += strspn(s, " \t");
	if (*s == '\0')
		return NULL;
	quoted = *s == '"';
	s += quoted;
	end = s;
	while (*end != '\0' && (quoted ? *end != '"' : *end != ' '))
		end += quoted && *end == '\\' && end[1] != '\0' ? 2 : 1;
	*at = *end == '\0' ? end : end + 1;
	*end = '\0';
	return s;
}

static enum answer
answer_protocol(const char *word, uint8_t protocol)
{
	static const struct {
		const char *name;
		uint8_t number;
	} known[] = {{"udp", IPPROTO_UDP}, {"tcp", IPPROTO_TCP}};
	uint64_t n;

	if (strcmp(word, "all") == 0 || strcmp(word, "0") == 0)
		return ANSWER_YES;
	if (value_parse_u64(&n, word, strlen(word), 255, false) == 0)
		return answer_of(n == protocol);
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(word, known[i].name) == 0)
			return answer_of(known[i].number == protocol);
	return ANSWER_NO;
}

/* "80", "1024:2047", "22,80,1024:2047" */
static enum answer
answer_ports(const char *word, uint16_t port)
{
	if (port == 0)
		return ANSWER_MAYBE;
	while (*word != '\0') {
		char *end;
		unsigned long first = strtoul(word, &end, 10), last = first;

		if (end == word && *end != ':')
			return ANSWER_MAYBE; /* a service's name */
		if (*end == ':') {
			word = end + 1;
			last = strtoul(word, &end, 10);
			if (end == word)
				last = UINT16_MAX;
		}
		if (port >= first && port <= last)
			return ANSWER_YES;
		word = *end == ',' ? end + 1 : "";
	}
	return ANSWER_NO;
}

/* Is a word one of "RELATED,ESTABLISHED"? */
static bool
has_item(const char *list, const char *wanted)
{
	size_t len = strlen(wanted);

	while (*list != '\0') {
		size_t n = strcspn(list, ",");

		if (n == len && strncmp(list, wanted, n) == 0)
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

static enum answer
answer_state(const char *word, const struct ruleset_packet *p)
{
	return answer_of(
	    has_item(word, p->established ? "ESTABLISHED" : "NEW") ||
	    (p->translated && has_item(word, "DNAT")));
}

/* A packet to this host goes to one of its addresses. */
static enum answer
answer_type(const char *word, const struct ruleset_packet *p)
{
	if (p->forwarded)
		return ANSWER_MAYBE;
	return answer_of(strcmp(word, "LOCAL") == 0);
}

static bool
is_any(const char *word)
{
	return strcmp(word, "0.0.0.0/0") == 0 || strcmp(word, "::/0") == 0;
}

/* An option and its first argument. */
static enum answer
answer_option(
    const char *option, const char *word, const struct ruleset_packet *p)
{
	if (strcmp(option, "-p") == 0)
		return answer_protocol(word, p->protocol);
	if (strcmp(option, "-i") == 0)
		return answer_interface(p->in, word, '+');
	if (strcmp(option, "-o") == 0)
		return p->forwarded ? answer_interface(p->out, word, '+')
				    : ANSWER_NO;
	if (strcmp(option, "--dport") == 0 || strcmp(option, "--dports") == 0)
		return answer_ports(word, p->port);
	if (strcmp(option, "--ctstate") == 0 || strcmp(option, "--state") == 0)
		return answer_state(word, p);
	if (strcmp(option, "--dst-type") == 0)
		return answer_type(word, p);
	if (strcmp(option, "--icmp-type") == 0 ||
	    strcmp(option, "--icmpv6-type") == 0)
		return ANSWER_NO;
	/* -m NAME loads what the next option is from. */
	if (strcmp(option, "-m") == 0 || strcmp(option, "--comment") == 0)
		return ANSWER_YES;
	if ((strcmp(option, "-s") == 0 || strcmp(option, "-d") == 0) &&
	    is_any(word))
		return ANSWER_YES;
	return ANSWER_MAYBE;
}

static void
set_target(struct step *s, const struct ruleset *r, const struct chain *c,
    const char *target, bool goes)
{
	static const struct {
		const char *name;
		enum action action;
	} known[] = {{"ACCEPT", ACTION_ACCEPT}, {"DROP", ACTION_DROP},
	    {"REJECT", ACTION_DROP}, {"RETURN", ACTION_RETURN}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(target, known[i].name) == 0)
			s->action = known[i].action;
	if (s->action != ACTION_NEXT ||
	    ruleset_find(r, c->id.family, c->id.table, target) == NULL)
		return;
	s->action = goes ? ACTION_GOTO : ACTION_JUMP;
	s->target = target;
}

static const char *
word_after(const char *word)
{
	return word + strlen(word) + 1;
}

static struct step
step(const struct ruleset *r, const struct chain *c, const void *rule,
    const struct ruleset_packet *p)
{
	struct step s = {.match = ANSWER_YES};
	bool inverted = false;

	for (const char *w = rule; *w != '\0'; w = word_after(w)) {
		const char *argument = word_after(w);
		enum answer a;

		if (strcmp(w, "!") == 0) {
			inverted = true;
			continue;
		}
		if (strcmp(w, "-j") == 0 || strcmp(w, "-g") == 0) {
			set_target(&s, r, c, argument, w[1] == 'g');
			break;
		}
		if (w[0] != '-')
			continue; /* a further argument */
		a = answer_option(w, argument, p);
		s.match = answer_least(s.match, inverted ? answer_not(a) : a);
		inverted = false;
		/* What anybody wrote there may look like an option. */
		if (strcmp(w, "--comment") == 0 && *argument != '\0')
			w = argument;
	}
	return s;
}

static const char *
hook_of(const char *chain)
{
	if (strcmp(chain, "INPUT") == 0)
		return "input";
	if (strcmp(chain, "FORWARD") == 0)
		return "forward";
	return strcmp(chain, "PREROUTING") == 0 ? "prerouting" : "";
}

/* ":INPUT DROP [0:0]"; a policy of "-" is a chain of the user's own. */
static int
add_chain(struct ruleset *r, const char *table, char *line)
{
	const struct source *source = r->source;
	char *name = next_word(&line), *policy = next_word(&line);
	struct chain *c;

	if (name == NULL || policy == NULL)
		return 0;
	c = ruleset_add_chain(r);
	if (c == NULL)
		return UK_ENOMEM;
	c->id = (struct ruleset_chain){
	    .family = source->family == FAMILY_V4 ? "ip" : "ip6",
	    .table = table,
	    .name = name,
	    .hook = hook_of(name),
	};
	/* nat sees only what the filters let pass, and does not drop. */
	c->base = strcmp(policy, "-") != 0 && strcmp(table, "nat") != 0;
	c->drops = strcmp(policy, "DROP") == 0;
	return 0;
}

/* "CHAIN WORD...". The words are moved together to where the chain's name was,
 * each terminated, with an empty one behind them: that takes fewer bytes than
 * the line had. */
static int
add_rule(struct ruleset *r, const char *table, char *line)
{
	char *name = next_word(&line), *to = name, *word;
	struct chain *c;
	unsigned n = 0;

	if (name == NULL)
		return 0;
	c = ruleset_find(r, NULL, table, name);
	if (c == NULL)
		return 0;
	while (n++ < WORDS_MAX && (word = next_word(&line)) != NULL) {
		size_t len = strlen(word);

		if (len == 0) /* it was "" */
			word = memcpy(word - 1, " ", len = 1);
		memmove(to, word, len);
		to += len;
		*to++ = '\0';
	}
	*to = '\0';
	return ruleset_add_rule(c, name);
}

static int
add_line(struct ruleset *r, const char **table, char *line)
{
	if (line[0] == '*')
		*table = line + 1;
	else if (line[0] == ':')
		return add_chain(r, *table, line + 1);
	else if (strncmp(line, "-A ", 3) == 0)
		return add_rule(r, *table, line + 3);
	return 0;
}

int
ruleset_parse_xt(
    struct ruleset **r, const char *text, size_t len, uint8_t family)
{
	/* One more, for the empty word behind a last line without an end. */
	struct source *source = malloc(sizeof(*source) + len + 2);
	const char *table = "";
	int err = 0;

	*r = calloc(1, sizeof(**r));
	if (*r == NULL || source == NULL) {
		free(source);
		free(*r);
		*r = NULL;
		return UK_ENOMEM;
	}
	source->family = family;
	memcpy(source->text, text, len);
	memset(source->text + len, 0, 2);
	**r = (struct ruleset){
	    .source = source, .source_free = free, .step = step};
	for (char *line = source->text, *end; err == 0 && *line != '\0';
	     line = end) {
		end = line + strcspn(line, "\n");
		if (*end != '\0')
			*end++ = '\0';
		err = add_line(*r, &table, line);
	}
	if (err < 0) {
		ruleset_free(*r);
		*r = NULL;
	}
	return err;
}
