/* undo_file: what is known of a file's content. For undo_file.c and its
 * test. */
#ifndef UKAI_UNDO_FILE_H
#define UKAI_UNDO_FILE_H

#include <sys/types.h>

#include "core/base.h"

/* The new file is made beside the old one under this name, and renamed. */
#define TEMP_SUFFIX ".ukai-new"

enum undo_was { WAS_ABSENT, WAS_LINK, WAS_FILE };

struct undo_content {
	enum undo_was was;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	const char *b; /* content, or the link's target */
	size_t len;
	char *own; /* b, where it was allocated */
};

/* Is what is there now our doing: the new content, or, where it was written
 * in place, what a kill leaves halfway between old and new in either
 * direction (every byte is the one or the other)? Pure. */
bool undo_file_is_ours(const struct undo_content *now,
    const struct undo_content *old, const struct undo_content *new,
    bool inplace);

#endif
