/* commands: one function a verb, one file a function. argv[0] is the verb.
 * Each returns an exit code (io/service.h) and prints its own messages. */
#ifndef UKAI_SERVER_COMMANDS_H
#define UKAI_SERVER_COMMANDS_H

int command_init(int argc, char **argv);
int command_serve(int argc, char **argv);
int command_check(int argc, char **argv);
int command_status(int argc, char **argv);
int command_invite(int argc, char **argv);
int command_clients(int argc, char **argv);
int command_revoke(int argc, char **argv);
int command_address(int argc, char **argv);
int command_limit(int argc, char **argv);
int command_forward(int argc, char **argv);
int command_registry(int argc, char **argv);
int command_restore(int argc, char **argv);

#endif
