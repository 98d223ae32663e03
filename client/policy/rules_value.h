/* rules_value: what stands behind a rule's type or a condition's "=". Errors
 * are half-sentences about the value, for whoever knows the place. Pure. */
#ifndef UKAI_POLICY_RULES_VALUE_H
#define UKAI_POLICY_RULES_VALUE_H

#include "core/conf_lex.h"

#include "rules_build.h"

#define RULES_WHY_MAX 200

struct rules_note {
	char why[RULES_WHY_MAX]; /* after an error */
	bool masked; /* a prefix had bits behind its length, which were taken
			away */
	bool elsewhere; /* the error is that it belongs to another system, or
			   to other software: a list for all may have it */
};

/* Each takes a value without blanks around it and returns 0; UK_EINVAL with
 * n->why. n begins as zeros. */
int rules_value_prefix(
    struct ip_prefix *p, const struct conf_span *v, struct rules_note *n);
/* "443", "8000-8080", ">=1024" */
int rules_value_ports(
    struct rule_ports *p, const struct conf_span *v, struct rules_note *n);
/* "tcp/udp" */
int rules_value_protos(
    uint8_t *protos, const struct conf_span *v, struct rules_note *n);
int rules_value_uid(uint32_t *uid, enum rules_os os, const struct conf_span *v,
    struct rules_note *n);
#define RULES_PROCESS_MAX 64 /* with its zero */
int rules_value_process(char name[static RULES_PROCESS_MAX], enum rules_os os,
    const struct conf_span *v, struct rules_note *n);
/* "<40" */
int rules_value_ports_left(
    uint32_t *left, const struct conf_span *v, struct rules_note *n);

/* The value of a type that has entries: fills in all of e but its line. Also
 * UK_ENOMEM. */
int rules_value(struct rules_build *b, struct rule_entry *e, enum rules_os os,
    const struct conf_span *v, struct rules_note *n);

#endif
