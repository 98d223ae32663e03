/* undo_kind: what a kind of journal entry is made of. A new kind is one
 * struct undo_kind, listed in undo.c, and a function like undo_sysctl() that
 * adds the entry and then makes the change. For undo*.c only. */
#ifndef UKAI_UNDO_KIND_H
#define UKAI_UNDO_KIND_H

#include "undo.h"
#include "undo_text.h"

struct undo_where {
	struct netcfg *n;
	bool same_netns;   /* made in the network namespace we are in */
	const char *netns; /* else: that namespace, in words */
};

struct undo_kind {
	const char *name;
	unsigned fields;   /* of its line */
	bool ends_at_boot; /* a reboot has undone it */
	bool stacked; /* entries with one first field build on each other: an
	                 older one waits until the newer ones are undone */
	/* Does the entry belong to a network namespace as a whole? NULL: no.
	 * Then it is undone only in that one. */
	bool (*in_netns)(const struct undo_line *l);
	/* What was changed, in words. */
	void (*describe)(const struct undo_line *l, char *out, size_t cap);
	/* Returns 0: undone, or never made, or left because somebody else
	 * has changed it (then d has a warning); negative: stays, d says why.
	 * Fields are as many as the kind has, their bytes are not checked. */
	int (*undo)(const struct undo_line *l, const struct undo_where *w,
	    struct diag *d);
};

extern const struct undo_kind undo_kind_sysctl;
extern const struct undo_kind undo_kind_rule;
extern const struct undo_kind undo_kind_rule_iif;
extern const struct undo_kind undo_kind_neigh;
extern const struct undo_kind undo_kind_addr;
extern const struct undo_kind undo_kind_file;
extern const struct undo_kind undo_kind_reserved;
extern const struct undo_kind undo_kind_cgroup;
extern const struct undo_kind undo_kind_cgroup_program;
extern const struct undo_kind undo_kind_table;

#define UNDO_DESCRIBE_MAX 200

/* Write an entry and sync it; the change may be made when this returns 0.
 * Field bytes are copied. Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int undo_add(struct undo *u, const char *kind, const struct undo_field *f,
    unsigned n, struct diag *d);
/* The change of the entry added last was made only in part: undo that. */
void undo_last(struct undo *u, struct diag *d);
/* The change of the entry added last was not made: forget it. */
void undo_drop_last(struct undo *u);
/* Undo the pending entries of a kind whose first field is key, last first. n
 * may be NULL for kinds that need none. Returns as undo_all(). */
int undo_matching(struct undo *u, struct netcfg *n, const char *kind,
    const char *key, struct diag *d);

/* Visit the pending entries of a kind that were made in this boot and network
 * namespace, oldest first. */
void undo_pending(const struct undo *u, const char *kind,
    void (*visit)(void *arg, const struct undo_line *l), void *arg);

/* Where this process is. Returns 0; UK_ESYS. */
int undo_origin_now(struct undo_origin *o, struct diag *d);
/* "net:[4026532000], named NAME by ip-netns(8)". */
void undo_netns_text(uint64_t inode, char *out, size_t cap);

/* The text of a field, NULL when it holds a zero byte. */
const char *undo_field_text(const struct undo_field *f);
/* For fields of our own making; text is borrowed. */
struct undo_field undo_text_field(const char *text);

#endif
