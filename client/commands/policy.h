/* policy: the commands behind `ukai policy`, one file a function. argv[0] is
 * the command. Each returns an exit code (io/service.h) and prints its own
 * messages. */
#ifndef UKAI_COMMANDS_POLICY_H
#define UKAI_COMMANDS_POLICY_H

int command_policy_check(int argc, char **argv);
int command_policy_explain(int argc, char **argv);
int command_policy_reload(int argc, char **argv);
int command_policy_import(int argc, char **argv);
int command_policy_export(int argc, char **argv);

#endif
