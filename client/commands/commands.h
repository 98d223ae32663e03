/* commands: one function a verb, one file a function. argv[0] is the verb.
 * Each returns an exit code (io/service.h) and prints its own messages. */
#ifndef UKAI_COMMANDS_H
#define UKAI_COMMANDS_H

#include "core/base.h"

/* Are we root? If not, says that this command has to be. */
bool command_is_root(const char *verb);

int command_device(int argc, char **argv);
int command_genkey(int argc, char **argv);
int command_pubkey(int argc, char **argv);
int command_join(int argc, char **argv);
int command_map_e(int argc, char **argv);
int command_up(int argc, char **argv);
int command_down(int argc, char **argv);
int command_status(int argc, char **argv);
int command_ports(int argc, char **argv);
int command_restore(int argc, char **argv);

#endif
