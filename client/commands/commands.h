/* commands: one function a verb, one file a function. argv[0] is the verb.
 * Each returns an exit code (io/service.h) and prints its own messages. */
#ifndef UKAI_COMMANDS_H
#define UKAI_COMMANDS_H

#include <jansson.h>

#include "client/paths.h"
#include "core/base.h"
#include "io/cmdline.h"

/* Are we root? If not, says that this command has to be. */
bool command_is_root(const char *verb);

/* Print an answer for programs; o is taken, NULL: out of memory. Returns an
 * exit code. */
int command_print_json(json_t *o);

/* Is it a tunnel's name? If not, says so, and *code is what to end with. */
bool command_is_name(const struct cmdline *c, const char *text, int *code);
/* As cmdline_take(), for a verb that takes a tunnel's name at most: *name, NULL
 * where none stands there. */
#define COMMAND_NAME .most = 1, .words = "one tunnel's NAME"
bool command_take_name(const struct cmdline *c, void *to, const char **name,
    int argc, char **argv, int *code);

/* For a verb that is about one tunnel where none is named: the only one that is
 * up. Returns EXIT_OK; else says why there is none, or that there are several
 * and which one can be named to do what verb says, and returns what to exit
 * with. */
int command_only_running(char name[static CLIENT_NAME_MAX], const char *verb);

/* For a verb that finds no tunnel up, NAME or any (NULL): where one was killed,
 * and what its policy guards is refused for that, say so, and what to do.
 * Returns whether there was anything to say. */
bool command_tell_guarded(const char *name);

int command_device(int argc, char **argv);
int command_genkey(int argc, char **argv);
int command_pubkey(int argc, char **argv);
int command_join(int argc, char **argv);
int command_map_e(int argc, char **argv);
int command_up(int argc, char **argv);
int command_down(int argc, char **argv);
int command_status(int argc, char **argv);
int command_policy(int argc, char **argv);
int command_ports(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_run(int argc, char **argv);

#endif
