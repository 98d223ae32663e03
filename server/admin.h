/* admin: the commands that reach a running relay by its control socket.
 *
 *   VERB [JSON OBJECT]     one line; the answer is one JSON object and an
 *                          empty line: what was asked for, or {"error": TEXT}
 *
 *   invite   {"name", "hours", "routes"?, "policy"?}
 *            -> {"name", "address", "token", "expires"}
 *   add      {"name", "public_key", "preshared_key"?, "routes"?}
 *            -> what enrolment answers (core/enrol.h): a stock client's needs
 *   revoke   {"name"}
 *   address  {"name", "way", "global"?}
 *            -> {"name", "tunnel_address", "global_address", "kept"}: kept,
 *            where the address is the relay's own, are the ports that stay this
 *            host's; else null
 *   limit    {"name", "rate_kbit"?, "connections"?}: none given, no limit
 *   forward-add, forward-remove   {"name", "ports", "target"?}
 *            -> {"name"}, where nothing else is said
 *   backup   {}
 *            -> {"path"}: of a new file beside the registry, to be moved away
 *
 * A "warning" beside is for the user to read. The answer comes when the change
 * holds on this host and is on the disk. */
#ifndef UKAI_SERVER_ADMIN_H
#define UKAI_SERVER_ADMIN_H

#include "core/text.h"
#include "registry.h"
#include "welcome.h"

struct admin {
	struct registry *registry;
	const char *registry_path;
	const struct welcome *welcome;
	/* Why nobody can join with a token; NULL: one can. */
	const char *no_tokens;
	void *arg;
	/* Make the host agree with the registry's open change and keep it; or
	 * undo both, with a sentence in d. */
	int (*settle)(void *arg, struct diag *d);
	/* Append the ports that this host does not give away: "22, 80". */
	void (*kept)(void *arg, struct text *out);
};

/* One request; answers are appended to out. Returns false: it knows no such
 * verb, and nothing was appended. */
bool admin_line(
    const struct admin *a, const char *line, size_t len, struct text *out);

#endif
