/* rules: a split-tunnel policy file as data, first match wins. design.md
 * section 4; the language is described in ukai.rules(5).
 *
 * A rule holds for a flow when one of its entries does and all of its
 * conditions do. A rule of one line has one entry; RULE-SET has those of its
 * list; DEFAULT and PORTS-LEFT have none and need none.
 *
 * PORTS-LEFT is about flows that would take a port of the line: IPv4 by TCP or
 * UDP to what is not private (line_ports.h), for which the rules behind it say
 * native. One that a rule behind it sends elsewhere goes there, however few
 * ports are left. Of several such rules the first that holds decides.
 *
 * Errors and warnings carry line and column of the policy; what is wrong in a
 * list stands at its RULE-SET line, and begins with the list's own
 * FILE:LINE:COLUMN. All of them are found at once. Pure but for
 * rules_load(). Memory: heap. Threads: built once, then only read. */
#ifndef UKAI_POLICY_RULES_H
#define UKAI_POLICY_RULES_H

#include "core/diag.h"
#include "core/endpoint.h"

enum rule_type {
	RULE_IP_CIDR,
	RULE_SRC_IP_CIDR,
	RULE_DOMAIN,
	RULE_DOMAIN_SUFFIX, /* the name itself, and all below it */
	RULE_DOMAIN_KEYWORD, /* anywhere in the name */
	RULE_DST_PORT,
	RULE_SRC_PORT,
	RULE_NETWORK,
	RULE_PROCESS_NAME,
	RULE_UID,
	RULE_SET, /* of rules only, not of entries */
	RULE_PORTS_LEFT, /* likewise; without entries */
	RULE_DEFAULT, /* likewise */
	RULE_TYPES
};

enum rule_target {
	TARGET_TUNNEL, /* native while the tunnel cannot */
	TARGET_TUNNEL_ONLY, /* "tunnel!": refused while the tunnel cannot */
	TARGET_NATIVE,
	TARGET_BLOCK,
	TARGETS
};

/* Bits. ICMP is ICMPv6 as well. */
enum { RULE_TCP = 1, RULE_UDP = 2, RULE_ICMP = 4 };

struct rule_ports {
	uint16_t first, last; /* host order; first <= last */
};

/* One of several things that a rule is about. 28 bytes: lists have a million
 * of them. */
struct rule_entry {
	uint8_t type; /* enum rule_type */
	uint8_t protos; /* NETWORK: RULE_* bits */
	uint32_t line; /* in its file */
	union {
		struct ip_prefix prefix; /* IP-CIDR, SRC-IP-CIDR */
		uint32_t name; /* DOMAIN*, PROCESS-NAME: where it begins in
				  rules.names */
		struct rule_ports ports; /* DST-PORT, SRC-PORT */
		uint32_t uid;
	};
};

#define RULE_PORT_RANGES 16

/* Written behind the target, as in "proto=tcp,dport=80/443/8000-8080"; what is
 * not written holds for everything. */
struct rule_conditions {
	uint8_t protos; /* RULE_* bits; 0: any */
	uint8_t dports, sports; /* 0: any */
	bool has_uid;
	uint32_t uid;
	struct ip_prefix src, dst; /* FAMILY_NONE: any */
	struct rule_ports dport[RULE_PORT_RANGES], sport[RULE_PORT_RANGES];
	uint32_t process; /* in rules.names; 0: any */
};

struct rule {
	uint8_t type; /* enum rule_type */
	uint8_t target; /* enum rule_target */
	uint32_t line; /* in the policy; 0: the DEFAULT that nobody wrote */
	uint32_t text, text_len; /* the line in rules.text, without comment and
				    surrounding blanks */
	uint32_t first, entries; /* in rules.entry */
	uint32_t conditions; /* in rules.condition; 0 is the one without any */
	uint32_t file; /* of its entries, in rules.file; 0: the policy */
	uint32_t ports_left; /* PORTS-LEFT: holds when fewer are left */
};

struct rules {
	struct rule *rule; /* in order; the last one is DEFAULT, always */
	size_t n;
	struct rule_entry *entry;
	size_t entries;
	struct rule_conditions *condition; /* [0]: none */
	size_t conditions;
	/* Zero-terminated, one behind another; [0] is an empty one. Domain
	 * names are A-labels in small letters without a dot at their end. */
	char *names;
	size_t names_len;
	char **file; /* as named to open it; [0]: the policy */
	size_t files;
	char *text; /* of the policy */
	size_t text_len;
};

/* Which system is to follow the rules: not every type works on each. */
enum rules_os { RULES_LINUX, RULES_WINDOWS };

/* How a list is had: *bytes is malloc'ed. Returns 0, or an error, told to d
 * without a place. */
struct rules_reader {
	int (*read)(void *arg, const char *path, char **bytes, size_t *len,
	    struct diag *d);
	void *arg;
};

#define RULES_FILE_MAX (256u << 20) /* bytes of one file */

/* name: the policy's path: its lists are found from its folder. Returns 0 (d
 * may have warnings); UK_EINVAL with every mistake in d; UK_ENOMEM. *out is
 * NULL on failure. d must not be NULL. */
int rules_parse(struct rules **out, const char *name, const char *text,
    size_t len, const struct rules_reader *reader, enum rules_os os,
    struct diag *d);

/* Read it and its lists, then as above. d's entries are about path, which d
 * borrows. Also UK_ENOENT, UK_EPERM, UK_ESYS: the policy itself cannot be
 * read. */
int rules_load(
    struct rules **out, const char *path, enum rules_os os, struct diag *d);
void rules_free(struct rules *r); /* NULL: no-op */

/* Warn of what can hardly be meant: rules that can never decide, because an
 * earlier one takes all they could, and which one; the same line twice;
 * conditions that exclude each other; an empty list. */
void rules_warn(const struct rules *r, struct diag *d);

const char *rule_type_name(enum rule_type t); /* "IP-CIDR" */
const char *rule_target_name(enum rule_target t); /* "tunnel!" */

/* A rule's line as it stands in the file; not zero-terminated: text_len. */
static inline const char *
rule_text(const struct rules *r, const struct rule *rule)
{
	return r->text + rule->text;
}

#endif
