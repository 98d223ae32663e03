#include "rules_words.h"

#include "core/suggest.h"

struct word {
	const char *name;
	uint8_t value;
};

/* clang-format off */
static const char *const type_name[RULE_TYPES] = {
	[RULE_IP_CIDR] = "IP-CIDR",
	[RULE_SRC_IP_CIDR] = "SRC-IP-CIDR",
	[RULE_DOMAIN] = "DOMAIN",
	[RULE_DOMAIN_SUFFIX] = "DOMAIN-SUFFIX",
	[RULE_DOMAIN_KEYWORD] = "DOMAIN-KEYWORD",
	[RULE_DST_PORT] = "DST-PORT",
	[RULE_SRC_PORT] = "SRC-PORT",
	[RULE_NETWORK] = "NETWORK",
	[RULE_PROCESS_NAME] = "PROCESS-NAME",
	[RULE_UID] = "UID",
	[RULE_SET] = "RULE-SET",
	[RULE_PORTS_LEFT] = "PORTS-LEFT",
	[RULE_DEFAULT] = "DEFAULT",
};

static const char *const target_name[TARGETS] = {
	[TARGET_TUNNEL] = "tunnel",
	[TARGET_TUNNEL_ONLY] = "tunnel!",
	[TARGET_NATIVE] = "native",
	[TARGET_BLOCK] = "block",
};

/* The most frequent ones of public lists first. */
static const struct word types[] = {
	{"DOMAIN-SUFFIX", RULE_DOMAIN_SUFFIX},
	{"DOMAIN", RULE_DOMAIN},
	{"IP-CIDR", RULE_IP_CIDR},
	{"IP-CIDR6", RULE_IP_CIDR},
	{"DOMAIN-KEYWORD", RULE_DOMAIN_KEYWORD},
	{"PROCESS-NAME", RULE_PROCESS_NAME},
	{"DST-PORT", RULE_DST_PORT},
	{"SRC-IP-CIDR", RULE_SRC_IP_CIDR},
	{"SRC-PORT", RULE_SRC_PORT},
	{"NETWORK", RULE_NETWORK},
	{"UID", RULE_UID},
	{"RULE-SET", RULE_SET},
	{"PORTS-LEFT", RULE_PORTS_LEFT},
	{"DEFAULT", RULE_DEFAULT},
	{"MATCH", RULE_DEFAULT},
	{"FINAL", RULE_DEFAULT},
	{"HOST", RULE_DOMAIN},
	{"HOST-SUFFIX", RULE_DOMAIN_SUFFIX},
	{"HOST-KEYWORD", RULE_DOMAIN_KEYWORD},
	{"IP6-CIDR", RULE_IP_CIDR},
	{"SRC-IP", RULE_SRC_IP_CIDR},
	{"DEST-PORT", RULE_DST_PORT},
	{"DOMAIN-SET", RULE_SET},
};

static const struct word targets[] = {
	{"tunnel", TARGET_TUNNEL},
	{"tunnel!", TARGET_TUNNEL_ONLY},
	{"native", TARGET_NATIVE},
	{"block", TARGET_BLOCK},
	{"PROXY", TARGET_TUNNEL},
	{"DIRECT", TARGET_NATIVE},
	{"REJECT", TARGET_BLOCK},
	{"REJECT-DROP", TARGET_BLOCK},
	{"REJECT-NO-DROP", TARGET_BLOCK},
	{"REJECT-TINYGIF", TARGET_BLOCK},
	{"REJECT-IMG", TARGET_BLOCK},
	{"REJECT-DICT", TARGET_BLOCK},
	{"REJECT-ARRAY", TARGET_BLOCK},
	{"REJECT-VIDEO", TARGET_BLOCK},
	{"REJECT-200", TARGET_BLOCK},
};

static const char *const options[] = {
	"no-resolve", "extended-matching", "pre-matching", "dns-failed",
};

/* Words that are far from the right one, letter by letter. */
static const struct word type_hints[] = {
	{"IP", RULE_IP_CIDR},
	{"CIDR", RULE_IP_CIDR},
	{"DST-IP-CIDR", RULE_IP_CIDR},
	{"SUFFIX", RULE_DOMAIN_SUFFIX},
	{"KEYWORD", RULE_DOMAIN_KEYWORD},
	{"NAME", RULE_DOMAIN},
	{"HOSTNAME", RULE_DOMAIN},
	{"PORT", RULE_DST_PORT},
	{"PROTO", RULE_NETWORK},
	{"PROCESS", RULE_PROCESS_NAME},
	{"PROGRAM", RULE_PROCESS_NAME},
	{"USER", RULE_UID},
	{"LIST", RULE_SET},
	{"ALL", RULE_DEFAULT},
};

static const struct word target_hints[] = {
	{"vpn", TARGET_TUNNEL},
	{"relay", TARGET_TUNNEL},
	{"tunnel-only", TARGET_TUNNEL_ONLY},
	{"line", TARGET_NATIVE},
	{"bypass", TARGET_NATIVE},
	{"allow", TARGET_NATIVE},
	{"accept", TARGET_NATIVE},
	{"drop", TARGET_BLOCK},
	{"deny", TARGET_BLOCK},
};

#define ADDRESSES "list the addresses with IP-CIDR, or in a RULE-SET"
#define NAMES "use DOMAIN, DOMAIN-SUFFIX or DOMAIN-KEYWORD"
#define PROGRAMS "use PROCESS-NAME with the program's name"
#define CONDITIONS                                                             \
	"write conditions behind the target, as in proto=tcp,dport=443; a "    \
	"line each for OR, an earlier line for NOT"
#define INBOUND "there is no proxy to come in by: leave it out"

static const struct rules_foreign foreign[] = {
	{"GEOIP", ADDRESSES},
	{"SRC-GEOIP", "use SRC-IP-CIDR"},
	{"GEOSITE", "put the names into a list, for RULE-SET"},
	{"IP-ASN", ADDRESSES},
	{"SRC-IP-ASN", "use SRC-IP-CIDR"},
	{"IP-SUFFIX", ADDRESSES},
	{"SRC-IP-SUFFIX", "use SRC-IP-CIDR"},
	{"DOMAIN-REGEX", NAMES},
	{"DOMAIN-WILDCARD", NAMES},
	{"HOST-WILDCARD", NAMES},
	{"HOST-REGEX", NAMES},
	{"URL-REGEX", "the path of a URL is not seen: " NAMES},
	{"USER-AGENT", "what browsers say is not seen: " PROGRAMS},
	{"PROCESS-PATH", PROGRAMS},
	{"PROCESS-PATH-REGEX", PROGRAMS},
	{"PROCESS-PATH-WILDCARD", PROGRAMS},
	{"PROCESS-NAME-REGEX", PROGRAMS},
	{"PROCESS-NAME-WILDCARD", PROGRAMS},
	{"AND", CONDITIONS},
	{"OR", CONDITIONS},
	{"NOT", CONDITIONS},
	{"SUB-RULE", "put the rules into this file"},
	{"SCRIPT", "there are no scripts: leave it out"},
	{"PROTOCOL", "use NETWORK, or DST-PORT"},
	{"DSCP", "it is not looked at: leave it out"},
	{"IN-PORT", INBOUND},
	{"IN-TYPE", INBOUND},
	{"IN-USER", INBOUND},
	{"IN-NAME", INBOUND},
	{"SUBNET", "the network that one is on is not looked at: leave it out"},
	{"CELLULAR-RADIO", "leave it out"},
	{"DEVICE-NAME", "use SRC-IP-CIDR"},
	{"HOSTNAME-TYPE", NAMES},
};
/* clang-format on */

_Static_assert(ARRAY_LEN(foreign) <= RULES_FOREIGN_MAX, "all have a number");

const char *
rule_type_name(enum rule_type t)
{
	return type_name[t];
}

const char *
rule_target_name(enum rule_target t)
{
	return target_name[t];
}

static const struct word *
find(const struct conf_span *w, const struct word *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (conf_span_is(w, list[i].name))
			return &list[i];
	}
	return NULL;
}

bool
rules_word_type(enum rule_type *t, const struct conf_span *w)
{
	const struct word *found = find(w, types, ARRAY_LEN(types));

	if (found != NULL)
		*t = (enum rule_type)found->value;
	return found != NULL;
}

bool
rules_word_target(enum rule_target *t, const struct conf_span *w)
{
	const struct word *found = find(w, targets, ARRAY_LEN(targets));

	if (found != NULL)
		*t = (enum rule_target)found->value;
	return found != NULL;
}

bool
rules_word_option(const struct conf_span *w)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		if (conf_span_is(w, options[i]))
			return true;
	}
	return false;
}

int
rules_word_foreign(const struct conf_span *w)
{
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
		if (conf_span_is(w, foreign[i].name))
			return (int)i;
	}
	return -1;
}

const struct rules_foreign *
rules_foreign(int number)
{
	return &foreign[number];
}

/* The ASCII character that three bytes of UTF-8 are the wide form of; 0:
 * none. */
static char
narrow(const unsigned char *s)
{
	unsigned c = (s[0] & 15u) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);

	if (s[0] < 0xe0 || s[0] > 0xef)
		return 0;
	if (c == 0x3000)
		return ' ';
	return c >= 0xff01 && c <= 0xff5e ? (char)(c - 0xff01 + '!') : 0;
}

size_t
rules_word_narrow(char *out, size_t cap, const struct conf_span *w)
{
	const unsigned char *s = (const unsigned char *)w->s;
	size_t n = 0, i = 0;

	while (i < w->len && n < cap) {
		char c = w->len - i >= 3 ? narrow(s + i) : 0;

		out[n++] = c != 0 ? c : (char)s[i];
		i += c != 0 ? 3 : 1;
	}
	return n;
}

static const char *
near_word(const struct conf_span *w, const char *const *names, size_t n,
    const struct word *hints, size_t hints_n)
{
	char text[SUGGEST_MAX + 1];
	struct conf_span plain = {.s = text};
	const struct word *hint;

	plain.len = rules_word_narrow(text, sizeof(text), w);
	hint = find(&plain, hints, hints_n);
	if (hint != NULL)
		return names[hint->value];
	return suggest_word(plain.s, plain.len, names, n);
}

const char *
rules_word_near_type(const struct conf_span *w)
{
	return near_word(
	    w, type_name, RULE_TYPES, type_hints, ARRAY_LEN(type_hints));
}

const char *
rules_word_near_target(const struct conf_span *w)
{
	return near_word(
	    w, target_name, TARGETS, target_hints, ARRAY_LEN(target_hints));
}
