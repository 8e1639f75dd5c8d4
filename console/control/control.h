/* How the command line gets hold of a node's process: start it, look whether it lives, signal it,
 * read its log, open a shell beside it. One table of functions for each way of control; this
 * machine is the only way so far, ssh will be another row of control_of.
 *
 * A process is a node's agent when the pid file in the node's folder names it and its command line
 * names the node's agent.ini: a number that the system has given to somebody else meanwhile is
 * never signalled (the pid is pinned with a pidfd between the check and the signal).
 *
 * Threads: one. Nothing here keeps state between calls, except that the caller is the parent of
 * what it has started and reaps it by looking.
 */
#ifndef DROVER_CONSOLE_CONTROL_CONTROL_H
#define DROVER_CONSOLE_CONTROL_CONTROL_H

#include "common/conf.h"

#include <sys/types.h>

enum control_state {
	CONTROL_DOWN,
	CONTROL_RUNNING,
	CONTROL_PAUSED,	 /* stopped by SIGSTOP or a debugger */
	CONTROL_UNKNOWN, /* not under control from here */
};

struct control_look {
	enum control_state state;
	pid_t pid; /* 0: none or not known */
};

/* What has been started: to find out whether it died at once, and what it said. */
struct control_started {
	pid_t pid;
	off_t log_from; /* where the log ended before */
};

struct control_ops {
	const char *name;
	void (*look)(const struct conf_node *node, struct control_look *ret_look);
	/* Does this process, once found by look or signal, still hold anything? The pid file may be
	 * gone before the process is. */
	bool (*lives)(const struct conf_node *node, pid_t pid);
	/* Detached, in its own session; returns as soon as the process exists. ERR_NOT_FOUND: no
	 * agent program, or no agent.ini. */
	int (*start)(const struct conf_node *node, struct control_started *ret_started,
		     struct err *e);
	/* Whether the started process has ended, and how: "exit code 1", "signal 9 (Killed)". */
	bool (*ended)(const struct control_started *started, char *ret_how, size_t size);
	/* ERR_NOT_FOUND: it does not run. */
	int (*signal)(const struct conf_node *node, int number, pid_t *ret_pid, struct err *e);
	/* The log for reading; seekable. ERR_NOT_FOUND: none yet. */
	int (*open_log)(const struct conf_node *node, int *ret_fd, struct err *e);
	/* Runs argv in the node's folder on the caller's terminal; argv[0] NULL: the user's shell.
	 * *ret_code is its exit code, 128 + signal when it was killed. */
	int (*shell)(const struct conf_node *node, char *const *argv, int *ret_code, struct err *e);
};

const struct control_ops *control_of(const struct conf_node *node);

/* Waits until look shows one of the states (a bit set of 1 << control_state) or the time is over
 * or SIGINT has come; false then. */
bool control_wait(const struct conf_node *node, unsigned states, uint64_t timeout_ms);

/* The same until the process is gone altogether, with its locks and ports. */
bool control_wait_gone(const struct conf_node *node, pid_t pid, uint64_t timeout_ms);

/* Paths in a node's folder. */
void control_path(const struct conf_node *node, const char *file, char *ret_path, size_t size);

#define CONTROL_LOG_FILE "droverd.log"
#define CONTROL_PID_FILE "droverd.pid"
#define CONTROL_INI_FILE "agent.ini"

/* The agent's program: DROVER_AGENT, else droverd beside this program, in ../sbin, or in PATH. */
int control_agent_program(char *ret_path, size_t size, struct err *e);

#endif
