/* program_classes: which name has which class (mark.h). A name keeps its class
 * as long as we know of it, also while no rule names it: sockets keep their
 * marks as long as they live, and must not become another program's. Pure.
 * Memory: heap. */
#ifndef UKAI_POLICY_PROGRAM_CLASSES_H
#define UKAI_POLICY_PROGRAM_CLASSES_H

#include "mark.h"

/* A program that rules name. */
struct program_name {
	const char *name;
	bool closed; /* nothing of it may leave outside the tunnel, by any of
			these rules: what may be it is better taken for it */
};

struct program_class {
	char *name; /* NULL: this number was never given away */
	bool active; /* rules name it */
	bool closed;
	bool recorded; /* the caller has written the pair down */
};

struct program_classes {
	struct program_class of[CLASS_PROGRAM_MAX + 1]; /* [0] is nobody's */
};

void program_classes_init(struct program_classes *c);
void program_classes_fini(struct program_classes *c);

/* What was written down before. Returns 0; UK_EINVAL: no class, or one that
 * has a name, or a name that has one; UK_ENOMEM. */
int program_classes_note(
    struct program_classes *c, unsigned class, const char *name);

/* to (not initialised) becomes what from is when rules name these: those that
 * have numbers keep them, new ones get numbers that nobody had, or, when there
 * are none, those of names that no rule names any more; these are then not
 * recorded. Names may be there twice. from does not change. Returns 0;
 * UK_ELIMIT: too many names; UK_ENOMEM; then to is empty. */
int program_classes_follow(struct program_classes *to,
    const struct program_classes *from, const struct program_name *name,
    size_t n);

/* CLASS_NONE: no rule names it. */
unsigned program_classes_find(
    const struct program_classes *c, const char *name);

/* Of a name, or of what the kernel has of it, which is its first
 * PROGRAM_CUT bytes: the class of a closed one that begins so and is at least
 * so long. */
#define PROGRAM_CUT 15
unsigned program_classes_cut(const struct program_classes *c, const char *name);

/* Folders of a class are called "ukai-TUNNEL-NETNS-CLASS": there may be tunnels
 * of one name in several network namespaces, and all share the cgroups. netns:
 * the namespace's inode. */
#define PROGRAM_FOLDER_MAX 64
void program_folder(char out[static PROGRAM_FOLDER_MAX], const char *tunnel,
    uint64_t netns, unsigned class);
/* What the names of all of them begin with. */
void program_folder_prefix(
    char out[static PROGRAM_FOLDER_MAX], const char *tunnel, uint64_t netns);
/* The class of a folder; CLASS_NONE: not one of these. */
unsigned program_folder_class(const char *folder, const char *prefix);

#endif
