/* ask: the commands' side of server/admin.h: a running relay is asked for
 * something, and its answer comes back. */
#ifndef UKAI_SERVER_ASK_H
#define UKAI_SERVER_ASK_H

#include <jansson.h>

#include "options.h"

/* Ask the relay of an interface (NULL: the only one that runs) for a verb, with
 * args (an object, taken; NULL: none). What it refuses or warns of is said on
 * stderr. Returns an exit code; with EXIT_OK *answer is an object, to
 * json_decref(). */
int ask_relay(
    json_t **answer, const char *interface, const char *verb, json_t *args);

/* The same, and print the answer: for programs with --json, else by print. */
int ask_and_print(const struct options *o, const char *verb, json_t *args,
    void (*print)(const json_t *answer, const struct options *o));

/* Print an answer for programs: indented, with a newline. */
void ask_print(const json_t *answer);

/* An object of strings: key, value, ..., NULL. A value that is NULL is left
 * out. NULL: out of memory, or a value is no UTF-8. */
json_t *ask_strings(const char *key, ...) __attribute__((sentinel));

#endif
