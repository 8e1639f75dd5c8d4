#include "console/check/janitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WATCHED_MAX 16
#define REMOVE_TRIES 100
#define DEATH_MS 10000 /* a killed process may hang in the disk for so long */

static int orders = -1; /* the pipe to the janitor */

static bool command_line_names(pid_t pid, const char *folder)
{
	char path[64], text[4096];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text);
	close(fd);
	return n > 0 && memmem(text, (size_t)n, folder, strlen(folder)) != NULL;
}

static pid_t read_pid(const char *folder, const char *node)
{
	char path[PATH_MAX];
	int pid = 0;

	if (snprintf(path, sizeof path, "%s/%s/droverd.pid", folder, node) >= (int)sizeof path)
		return 0;
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%d", &pid) != 1 || pid <= 1)
		pid = 0;
	fclose(f);
	return pid;
}

static void kill_and_wait(pid_t pid, const char *folder)
{
	if (!command_line_names(pid, folder))
		return;
	kill(pid, SIGKILL);
	/* A dead process's command line is empty, whoever has to reap it. */
	for (int ms = 0; ms < DEATH_MS && command_line_names(pid, folder); ms += 10)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

void janitor_kill_agents(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		pid_t pid = entry->d_name[0] == '.' ? 0 : read_pid(folder, entry->d_name);
		if (pid)
			kill_and_wait(pid, folder);
	}
	if (dir)
		closedir(dir);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

/* A killed process's last threads may still make or remove files after it is counted as dead, and a
 * walk ends at the first folder that changes under it: so more than one walk. */
void janitor_remove(const char *folder)
{
	for (int tries = 0; tries < REMOVE_TRIES && access(folder, F_OK) == 0; tries++) {
		if (tries)
			nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		nftw(folder, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	}
}

void janitor_clean(const char *folder)
{
	janitor_kill_agents(folder);
	janitor_remove(folder);
}

static void obey(char watched[][PATH_MAX], const char *order)
{
	const char *folder = order + 1;

	for (int i = 0; i < WATCHED_MAX; i++) {
		if (order[0] == '+' && !watched[i][0]) {
			memccpy(watched[i], folder, 0, PATH_MAX);
			watched[i][PATH_MAX - 1] = 0;
			return;
		}
		if (order[0] == '-' && strcmp(watched[i], folder) == 0)
			watched[i][0] = 0;
	}
}

static void serve(int fd)
{
	static char watched[WATCHED_MAX][PATH_MAX];
	static char line[PATH_MAX + 2];
	FILE *f = fdopen(fd, "r");

	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		obey(watched, line);
	}
	for (int i = 0; i < WATCHED_MAX; i++) {
		if (watched[i][0])
			janitor_clean(watched[i]);
	}
}

int janitor_start(struct err *e)
{
	int ends[2];

	if (orders >= 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC))
		return err_sys(e, ERR_IO, errno, "no pipe to be had");
	pid_t pid = fork();
	if (pid < 0) {
		close(ends[0]);
		close(ends[1]);
		return err_sys(e, ERR_IO, errno, "no process to be had");
	}
	if (pid == 0) {
		/* A ^C at the terminal is meant for its parent. */
		setsid();
		for (int number = 1; number < 32; number++)
			signal(number, number == SIGCHLD ? SIG_DFL : SIG_IGN);
		close(ends[1]);
		/* Nobody who reads the command's output should wait for its janitor. */
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3 && null >= 0; fd++)
			dup2(null, fd);
		serve(ends[0]);
		_exit(0);
	}
	close(ends[0]);
	orders = ends[1];
	return 0;
}

static void order(char what, const char *folder)
{
	char line[PATH_MAX + 2];
	int n = snprintf(line, sizeof line, "%c%s\n", what, folder);

	if (orders >= 0 && n > 0 && n < (int)sizeof line && write(orders, line, (size_t)n) != n) {
		close(orders); /* it is gone: nothing more to be told */
		orders = -1;
	}
}

void janitor_watch(const char *folder)
{
	order('+', folder);
}

void janitor_forget(const char *folder)
{
	order('-', folder);
}
