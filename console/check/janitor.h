/* Cleans up behind this program when it dies without doing so itself.
 *
 * A child process, made before anything else, waits for this one's end. Folders that are then still
 * in its care have their agents killed (those whose pid file and command line both name the folder)
 * and are removed. So not even SIGKILL leaves processes or files behind.
 *
 * Threads: the program's first one, before it has others (janitor_start forks).
 */
#ifndef DROVER_CONSOLE_CHECK_JANITOR_H
#define DROVER_CONSOLE_CHECK_JANITOR_H

#include "common/err.h"

/* Once a program; later calls do nothing. */
int janitor_start(struct err *e);

/* From here on the folder (a cluster made by make_cluster) is to be removed in the end. */
void janitor_watch(const char *folder);
/* It is gone, or meant to stay. */
void janitor_forget(const char *folder);

/* Kills the agents that run from the folder, waits for their end, and removes it; the janitor's
 * own work, for orderly ends too. */
void janitor_clean(const char *folder);
/* Only the first half. */
void janitor_kill_agents(const char *folder);
/* Removes a folder with all that is in it. */
void janitor_remove(const char *folder);

#endif
