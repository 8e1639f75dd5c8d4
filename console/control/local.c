#include "console/control/local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_ROOM (CONF_PATH_MAX + 32)

extern char **environ;

/* Up to size - 1 bytes of a small file, NUL behind; -1 when it cannot be read. */
static ssize_t read_small(const char *path, char *ret_text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = read(fd, ret_text, size - 1);
	close(fd);
	if (n >= 0)
		ret_text[n] = 0;
	return n;
}

static pid_t read_pid_file(const struct conf_node *node)
{
	char path[PATH_ROOM], text[32], *end;

	control_path(node, CONTROL_PID_FILE, path, sizeof path);
	if (read_small(path, text, sizeof text) <= 0)
		return 0;
	long pid = strtol(text, &end, 10);
	return end != text && pid > 1 && pid <= INT_MAX ? (pid_t)pid : 0;
}

#define STATE_ENDING 'e'

/* 'R', 'S', 'T' …; 0 when there is no such process any more. */
static char process_state(pid_t pid)
{
	char path[64], text[512];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (read_small(path, text, sizeof text) <= 0)
		return 0;
	/* The program's name stands in parentheses and may hold anything, these too. */
	char *at = strrchr(text, ')');
	if (!at || at[1] != ' ')
		return 0;
	char state = at[2];
	if (state != 'Z' && state != 'X')
		return state;
	/* The first thread is dead. Until the others are, the process still holds its files, locks
	 * and ports. Their number is the 18th field from the state on. */
	at += 2;
	for (int field = 1; at && field < 18; field++)
		at = strchr(at + 1, ' ');
	return at && strtol(at, NULL, 10) > 1 ? STATE_ENDING : 0;
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	if (strcmp(a, b) == 0)
		return true;
	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Does one of the process's arguments name the node's agent.ini? */
static bool is_agent_of(pid_t pid, const struct conf_node *node)
{
	char path[64], text[8192], ini[PATH_ROOM], cwd[PATH_MAX];
	char joined[sizeof cwd + sizeof text];

	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	ssize_t n = read_small(path, text, sizeof text);
	if (n <= 0)
		return false;
	snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
	ssize_t cwd_n = readlink(path, cwd, sizeof cwd - 1);
	cwd[cwd_n > 0 ? cwd_n : 0] = 0;
	control_path(node, CONTROL_INI_FILE, ini, sizeof ini);
	for (const char *arg = text; arg < text + n; arg += strlen(arg) + 1) {
		const char *file = arg;
		if (strncmp(arg, "--config=", 9) == 0)
			file = arg + 9;
		else if (strncmp(arg, "-c", 2) == 0 && arg[2])
			file = arg + 2;
		if (file[0] == '/')
			snprintf(joined, sizeof joined, "%s", file);
		else
			snprintf(joined, sizeof joined, "%s/%s", cwd, file);
		if (same_file(joined, ini))
			return true;
	}
	return false;
}

/* Reaps it when it was ours. What is ending has no command line any more to know it by; it is the
 * node's or will be gone in a moment, so it is waited for, but never signalled. */
static char agent_state(pid_t pid, const struct conf_node *node)
{
	waitpid(pid, NULL, WNOHANG);
	char state = process_state(pid);
	if (state == 0 || state == STATE_ENDING)
		return state;
	return is_agent_of(pid, node) ? state : 0;
}

static bool local_lives(const struct conf_node *node, pid_t pid)
{
	return agent_state(pid, node) != 0;
}

static void local_look(const struct conf_node *node, struct control_look *ret_look)
{
	pid_t pid = read_pid_file(node);
	char state = pid ? agent_state(pid, node) : 0;

	*ret_look = (struct control_look){.state = CONTROL_DOWN};
	if (state == 0)
		return;
	ret_look->state = state == 'T' || state == 't' ? CONTROL_PAUSED : CONTROL_RUNNING;
	ret_look->pid = state == STATE_ENDING ? 0 : pid;
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool find_in_path(const char *name, char *ret_path, size_t size)
{
	const char *at = getenv("PATH");

	while (at && *at) {
		int n = (int)strcspn(at, ":");
		snprintf(ret_path, size, "%.*s/%s", n, at, name);
		if (n > 0 && is_program(ret_path))
			return true;
		at += n + (at[n] == ':');
	}
	return false;
}

int control_agent_program(char *ret_path, size_t size, struct err *e)
{
	const char *given = getenv("DROVER_AGENT");
	char self[PATH_MAX], real[PATH_MAX];

	if (given && given[0]) {
		if (!realpath(given, real) || !is_program(real) || strlen(real) >= size)
			return err_set(e, ERR_NOT_FOUND, "DROVER_AGENT=%s is no program", given);
		memcpy(ret_path, real, strlen(real) + 1);
		return 0;
	}
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	snprintf(ret_path, size, "%s/droverd", self);
	if (is_program(ret_path))
		return 0;
	snprintf(ret_path, size, "%s/../sbin/droverd", self);
	if (is_program(ret_path))
		return 0;
	if (find_in_path("droverd", ret_path, size))
		return 0;
	return err_set(e, ERR_NOT_FOUND,
		       "the agent's program droverd is not in %s, %s/../sbin or PATH; "
		       "DROVER_AGENT can name it",
		       self, self);
}

/* Its own session, default signals, nothing open but the log: it must outlive our terminal. */
static int spawn_detached(const char *program, char *const *argv, const char *dir, int log_fd,
			  pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, log_fd, STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, log_fd, STDERR_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	if (rc == 0)
		rc = posix_spawn_file_actions_addchdir_np(&actions, dir);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(&attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(&attr, &all);
	if (rc == 0)
		rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							     POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawn(ret_pid, program, &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

static int local_start(const struct conf_node *node, struct control_started *ret_started,
		       struct err *e)
{
	char program[PATH_MAX], ini[PATH_ROOM], log[PATH_ROOM];
	char *argv[] = {program, (char[]){"-c"}, ini, NULL};
	struct stat st;

	int rc = control_agent_program(program, sizeof program, e);
	if (rc)
		return rc;
	control_path(node, CONTROL_INI_FILE, ini, sizeof ini);
	control_path(node, CONTROL_LOG_FILE, log, sizeof log);
	if (access(ini, R_OK))
		return err_sys(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s", ini);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0)
		return err_sys(e, ERR_IO, errno, "the log %s", log);
	if (fstat(fd, &st))
		st.st_size = 0;
	rc = spawn_detached(program, argv, node->dir, fd, &ret_started->pid);
	close(fd);
	if (rc)
		return err_sys(e, ERR_IO, rc, "%s cannot be started", program);
	ret_started->log_from = st.st_size;
	return 0;
}

static bool local_ended(const struct control_started *started, char *ret_how, size_t size)
{
	int status;
	pid_t pid = waitpid(started->pid, &status, WNOHANG);

	if (pid == 0)
		return false;
	if (pid < 0) /* reaped already, by a look */
		snprintf(ret_how, size, "it ended");
	else if (WIFSIGNALED(status))
		snprintf(ret_how, size, "signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(ret_how, size, "exit code %d", WEXITSTATUS(status));
	return true;
}

static int local_signal(const struct conf_node *node, int number, pid_t *ret_pid, struct err *e)
{
	struct control_look look;
	pid_t pid = read_pid_file(node);
	int rc = 0;

	/* The pidfd holds on to this very process; what look finds afterwards is that one or none.
	 */
	int fd = pid ? pidfd_open(pid, 0) : -1;
	bool without = pid && fd < 0 && errno == ENOSYS;
	local_look(node, &look);
	if ((fd < 0 && !without) || look.pid != pid)
		rc = err_set(e, ERR_NOT_FOUND, "%s is not running", node->name);
	else if (without ? kill(pid, number) : pidfd_send_signal(fd, number, NULL, 0))
		rc = errno == ESRCH ? err_set(e, ERR_NOT_FOUND, "%s is not running", node->name)
				    : err_sys(e, ERR_IO, errno, "signal %d to %s (pid %d)", number,
					      node->name, (int)pid);
	else
		*ret_pid = pid;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int local_open_log(const struct conf_node *node, int *ret_fd, struct err *e)
{
	char path[PATH_ROOM];

	control_path(node, CONTROL_LOG_FILE, path, sizeof path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s has no log yet (%s)", node->name, path);
	if (fd < 0)
		return err_sys(e, ERR_IO, errno, "%s", path);
	*ret_fd = fd;
	return 0;
}

static int spawn_here(const char *program, char *const *argv, const char *dir, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t quit;
	int rc;

	sigemptyset(&quit);
	sigaddset(&quit, SIGINT);
	sigaddset(&quit, SIGQUIT);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	rc = posix_spawn_file_actions_addchdir_np(&actions, dir);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(&attr, &quit);
	if (rc == 0)
		rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawnp(ret_pid, program, &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

static int local_shell(const struct conf_node *node, char *const *argv, int *ret_code,
		       struct err *e)
{
	const char *shell = getenv("SHELL");
	char *const only_shell[] = {(char *)(uintptr_t)(shell && shell[0] ? shell : "/bin/sh"),
				    NULL};
	char *const *run = argv[0] ? argv : only_shell;
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before_int, before_quit;
	int status = 0;
	pid_t pid;

	if (access(node->dir, X_OK))
		return err_sys(e, ERR_IO, errno, "%s", node->dir);
	/* ^C is for what runs in the shell, not for us. */
	sigaction(SIGINT, &ignore, &before_int);
	sigaction(SIGQUIT, &ignore, &before_quit);
	int rc = spawn_here(run[0], run, node->dir, &pid);
	while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	sigaction(SIGINT, &before_int, NULL);
	sigaction(SIGQUIT, &before_quit, NULL);
	if (rc)
		return err_sys(e, rc == ENOENT ? ERR_NOT_FOUND : ERR_IO, rc, "%s", run[0]);
	*ret_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return 0;
}

const struct control_ops control_local = {
	.name = "local",
	.look = local_look,
	.lives = local_lives,
	.start = local_start,
	.ended = local_ended,
	.signal = local_signal,
	.open_log = local_open_log,
	.shell = local_shell,
};
