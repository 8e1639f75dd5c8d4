/* The janitor puts away what a killed program leaves, and nothing else. */
#include "console/check/janitor.h"

#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

extern char **environ;

/* A folder like a cluster's, with a process that looks like its agent. */
struct site {
	char folder[64];
	pid_t pid;
};

static pid_t spawn_named(const char *name)
{
	char shell[] = "sh", flag[] = "-c", loop[] = "while :; do sleep 1; done", copy[200];
	char *argv[] = {shell, flag, loop, copy, NULL};
	pid_t pid;

	snprintf(copy, sizeof copy, "%s", name);
	assert_int_equal(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ), 0);
	return pid;
}

static void put_file(const char *folder, const char *name, long number)
{
	char path[200];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%ld\n", number);
	fclose(f);
}

static void make_site(struct site *s, pid_t other)
{
	char path[200];

	strcpy(s->folder, "/tmp/test_janitor.XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(path, sizeof path, "%s/node1", s->folder);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/node2", s->folder);
	mkdir(path, 0700);
	s->pid = spawn_named(s->folder);
	put_file(s->folder, "node1/droverd.pid", s->pid);
	/* A pid file that names somebody else's process by now. */
	put_file(s->folder, "node2/droverd.pid", other);
	put_file(s->folder, "node2/data", 1);
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static bool ended(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WNOHANG) == pid && WIFSIGNALED(status);
}

/* A child that starts a janitor, gives it `watch`, takes `forget` back, and dies hard. */
static void die_with(const char *watch, const char *forget)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		if (janitor_start(NULL))
			_exit(1);
		janitor_watch(watch);
		janitor_watch(forget);
		janitor_forget(forget);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
}

static void a_killed_programs_agents_and_files_go(void **state)
{
	struct site left, kept;
	pid_t stranger = spawn_named("stranger");

	(void)state;
	make_site(&left, stranger);
	make_site(&kept, stranger);
	die_with(left.folder, kept.folder);
	while (exists(left.folder))
		nap();
	while (!ended(left.pid))
		nap();
	assert_true(exists(kept.folder));
	assert_int_equal(kill(kept.pid, 0), 0);
	assert_false(ended(kept.pid));
	assert_false(ended(stranger));

	janitor_kill_agents(kept.folder);
	while (!ended(kept.pid))
		nap();
	assert_true(exists(kept.folder));
	assert_false(ended(stranger));
	janitor_clean(kept.folder);
	assert_false(exists(kept.folder));
	kill(stranger, SIGKILL);
	waitpid(stranger, NULL, 0);
}

static void removing_does_not_follow_links(void **state)
{
	char folder[] = "/tmp/test_janitor.XXXXXX", other[] = "/tmp/test_janitor.XXXXXX", link[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_non_null(mkdtemp(other));
	put_file(other, "precious", 1);
	snprintf(link, sizeof link, "%s/link", folder);
	assert_int_equal(symlink(other, link), 0);
	janitor_remove(folder);
	assert_false(exists(folder));
	snprintf(link, sizeof link, "%s/precious", other);
	assert_true(exists(link));
	janitor_remove(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_programs_agents_and_files_go),
		cmocka_unit_test(removing_does_not_follow_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
