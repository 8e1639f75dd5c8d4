#include "console/command.h"

extern const struct command command_init, command_up, command_start, command_stop, command_restart,
	command_kill, command_pause, command_resume, command_status, command_logs, command_shell,
	command_clean, command_help, command_completion;
extern const struct command command_sql, command_wal, command_verify, command_stress, command_check;

/* In the order in which --help lists them: as a cluster's life goes. */
const struct command *const commands[] = {
	&command_init,	&command_up,	&command_start,	 &command_stop,	      &command_restart,
	&command_kill,	&command_pause, &command_resume, &command_status,     &command_logs,
	&command_shell, &command_sql,	&command_wal,	 &command_verify,     &command_stress,
	&command_check, &command_clean, &command_help,	 &command_completion, NULL,
};
