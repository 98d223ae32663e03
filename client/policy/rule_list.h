/* rule_list: the file that a RULE-SET names. Public lists have many forms;
 * here each line is taken for itself, whichever it has:
 *
 *   192.0.2.0/24, 2001:db8::1          addresses and prefixes
 *   example.com                        this name alone
 *   .example.com, +.example.com, *.example.com   the name and all below it
 *   DOMAIN-SUFFIX,example.com[,...]    as in a policy; what is behind the
 *                                      value is not looked at
 *   payload:, - 'x'                    YAML of one list; x is any of these
 *   0.0.0.0 example.com                hosts files: these names
 *   domain:x, full:x, keyword:x        v2fly; attributes (@x) are ignored
 *   ||example.com^                     adblock
 *   192.0.2.0/24,JP,...                geofeeds (RFC 8805): the prefix
 *   server=/example.com/...            dnsmasq, also address=, local=, ipset=,
 *                                      nftset=; smartdns's address /.../,
 *                                      AdGuard Home's [/.../]
 *   local-zone: "example.com" ...      unbound; local-data: this name alone
 *   example.com CNAME .                response policy zones
 *   add x 192.0.2.0/24                 ipset; RouterOS's add address=
 *
 * Three things depend on the whole file: where there is a line of v2fly's, a
 * bare name is meant with all below it; where there is one with "||", lines
 * that we cannot follow are what such filters are full of, and are left out;
 * where there is one with "$TTL", "$ORIGIN" or "@ ", all of them are a zone's
 * records.
 *
 * Pure. */
#ifndef UKAI_POLICY_RULE_LIST_H
#define UKAI_POLICY_RULE_LIST_H

#include "core/conf_lex.h"

#include "rules_build.h"

/* This many wrong lines of a list are told one by one. */
#define RULE_LIST_WRONG_MAX 20

struct rule_list {
	struct rules_build *b; /* gets the entries */
	enum rules_os os;
	const char *path; /* for messages */
	const struct conf_span *at; /* where the policy names it */
	struct diag *d;
};

/* What is for other systems or other software is left out, with one warning a
 * kind. Returns 0; UK_EINVAL: wrong lines, or nothing at all in it, told to d;
 * UK_ENOMEM. */
int rule_list_parse(const struct rule_list *l, const char *text, size_t len);

#endif
