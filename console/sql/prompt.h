/* The interactive SQL prompt: libedit, with a history kept between sessions in
 * $XDG_STATE_HOME/drover/history (or ~/.local/state/drover/history), readable by its owner only.
 *
 * ^C forgets the line and the incomplete statement before it; while a request is under way it stops
 * waiting for its answer. ^D on an empty line leaves.
 */
#ifndef DROVER_CONSOLE_SQL_PROMPT_H
#define DROVER_CONSOLE_SQL_PROMPT_H

#include "console/sql/session.h"

/* Until \q or ^D. */
int prompt_run(struct session *s, struct err *e);

/* For the session's executor: has ^C come since the last line was read? */
bool prompt_interrupted(void);

/* Where the history is kept; false when there is no home for it. Makes the folders. */
bool prompt_history_path(char *ret_path, size_t size);

#endif
