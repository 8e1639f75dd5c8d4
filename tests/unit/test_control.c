#include "console/control/control.h"

#include "console/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A stand-in for the agent: writes its pid file, says something, and lives until it is told to end.
 * Its command line names agent.ini as the real one's does. */
static const char dummy_agent[] = "#!/bin/sh\n"
				  "dir=${2%/agent.ini}\n"
				  "echo \"started in $(pwd)\"\n"
				  "[ -e \"$dir/die\" ] && { echo last words >&2; exit 3; }\n"
				  "[ -e \"$dir/stubborn\" ] && trap '' TERM\n"
				  "[ -t 0 ] && echo terminal\n"
				  "echo $$ >\"$dir/droverd.pid\"\n"
				  "while :; do sleep 0.05; done\n";

struct scene {
	char dir[64];
	struct conf_node node;
	const struct control_ops *ops;
};

static void put_file(const char *dir, const char *name, const char *text, mode_t mode)
{
	char path[CONF_PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
}

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof *s);
	char path[128];

	strcpy(s->dir, "/tmp/control.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	put_file(s->dir, "agent.sh", dummy_agent, 0755);
	snprintf(path, sizeof path, "%s/agent.sh", s->dir);
	setenv("DROVER_AGENT", path, 1);
	s->node = (struct conf_node){.id = 1, .name = "n1", .role = CONF_VOTER};
	snprintf(s->node.dir, sizeof s->node.dir, "%s", s->dir);
	put_file(s->dir, "agent.ini", "", 0644);
	s->ops = control_of(&s->node);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;
	char line[128];
	pid_t pid;

	s->ops->signal(&s->node, SIGKILL, &pid, NULL);
	control_wait(&s->node, 1u << CONTROL_DOWN, 10000);
	snprintf(line, sizeof line, "rm -r %s", s->dir);
	int rc = system(line);
	unsetenv("DROVER_AGENT");
	free(s);
	return rc;
}

static pid_t start(struct scene *s)
{
	struct control_started started;
	struct err e = {0};

	if (s->ops->start(&s->node, &started, &e))
		fail_msg("%s", e.text);
	assert_true(control_wait(&s->node, 1u << CONTROL_RUNNING, 20000));
	return started.pid;
}

static void read_log(struct scene *s, char *ret_text, size_t size)
{
	int fd;

	assert_int_equal(s->ops->open_log(&s->node, &fd, NULL), 0);
	ssize_t n = read(fd, ret_text, size - 1);
	ret_text[n > 0 ? n : 0] = 0;
	close(fd);
}

static void a_started_process_is_detached_and_found_again(void **state)
{
	struct scene *s = *state;
	struct control_look look;
	char log[256], path[64];
	int kept = open("/dev/null", O_RDONLY); /* would be inherited if nothing were done */
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, NULL);
	pid_t pid = start(s);
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	s->ops->look(&s->node, &look);
	assert_int_equal(look.state, CONTROL_RUNNING);
	assert_int_equal(look.pid, pid);
	assert_int_equal(getsid(pid), pid);
	assert_int_not_equal(getsid(0), pid);
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, kept);
	char target[64];
	ssize_t n = readlink(path, target, sizeof target - 1);
	target[n > 0 ? n : 0] = 0;
	assert_string_not_equal(target, "/dev/null");
	read_log(s, log, sizeof log);
	assert_non_null(strstr(log, "started in /tmp/control."));
	assert_null(strstr(log, "terminal"));
	close(kept);

	/* SIGTERM was blocked here when it started, but must reach it. */
	assert_int_equal(s->ops->signal(&s->node, SIGTERM, &pid, NULL), 0);
	assert_true(control_wait(&s->node, 1u << CONTROL_DOWN, 20000));
}

static void the_log_is_kept_over_starts(void **state)
{
	struct scene *s = *state;
	struct node_set set = {1, {&s->node}};
	struct outcomes *o = malloc(sizeof *o);
	char log[512];

	start(s);
	life_signal(&set, SIGKILL, o);
	assert_int_equal(outcomes_code(o), 0);
	start(s);
	read_log(s, log, sizeof log);
	char *first = strstr(log, "started in");
	assert_non_null(first);
	assert_non_null(strstr(first + 1, "started in"));
	free(o);
}

static void pausing_killing_and_resuming_show(void **state)
{
	struct scene *s = *state;
	struct node_set set = {1, {&s->node}};
	struct outcomes *o = malloc(sizeof *o);
	struct control_look look;
	pid_t pid = start(s);

	life_signal(&set, SIGSTOP, o);
	assert_int_equal(outcomes_code(o), 0);
	assert_string_equal(o->items[0].did, "paused");
	s->ops->look(&s->node, &look);
	assert_int_equal(look.state, CONTROL_PAUSED);
	assert_int_equal(look.pid, pid);
	life_signal(&set, SIGCONT, o);
	assert_string_equal(o->items[0].did, "resumed");
	s->ops->look(&s->node, &look);
	assert_int_equal(look.state, CONTROL_RUNNING);
	life_signal(&set, SIGKILL, o);
	assert_string_equal(o->items[0].did, "killed");
	s->ops->look(&s->node, &look);
	assert_int_equal(look.state, CONTROL_DOWN);
	assert_int_equal(look.pid, 0);
	/* Killing the dead is fine, pausing them is not. */
	life_signal(&set, SIGKILL, o);
	assert_int_equal(outcomes_code(o), EXIT_DONE);
	assert_string_equal(o->items[0].did, "not_running");
	life_signal(&set, SIGSTOP, o);
	assert_int_equal(outcomes_code(o), EXIT_FAILED);
	free(o);
}

static void a_paused_process_can_be_stopped_in_order(void **state)
{
	struct scene *s = *state;
	struct node_set set = {1, {&s->node}};
	struct outcomes *o = malloc(sizeof *o);

	start(s);
	life_signal(&set, SIGSTOP, o);
	life_stop(&set, 20000, o);
	assert_int_equal(outcomes_code(o), 0);
	assert_string_equal(o->items[0].did, "stopped");
	life_stop(&set, 20000, o);
	assert_string_equal(o->items[0].did, "not_running");
	free(o);
}

static void a_process_that_does_not_stop_is_told_after_the_timeout(void **state)
{
	struct scene *s = *state;
	struct node_set set = {1, {&s->node}};
	struct outcomes *o = malloc(sizeof *o);

	put_file(s->dir, "stubborn", "", 0644);
	start(s);
	life_stop(&set, 100, o);
	assert_int_equal(outcomes_code(o), EXIT_TIMED_OUT);
	assert_non_null(strstr(o->items[0].text, "drover kill n1"));
	free(o);
}

static void the_pid_of_another_process_is_never_signalled(void **state)
{
	struct scene *s = *state;
	struct control_look look;
	struct err e = {0};
	char text[32];
	pid_t other = fork(), pid = 0;

	if (other == 0) {
		for (;;)
			pause();
	}
	snprintf(text, sizeof text, "%d\n", (int)other);
	put_file(s->dir, CONTROL_PID_FILE, text, 0644);
	s->ops->look(&s->node, &look);
	assert_int_equal(look.state, CONTROL_DOWN);
	assert_int_equal(s->ops->signal(&s->node, SIGKILL, &pid, &e), ERR_NOT_FOUND);
	assert_string_equal(e.text, "n1 is not running");
	assert_int_equal(waitpid(other, NULL, WNOHANG), 0);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);

	/* Nor what a broken pid file may say. */
	static const char *const broken[] = {"", "x", "-1", "0", "1", "99999999999999"};
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
		put_file(s->dir, CONTROL_PID_FILE, broken[i], 0644);
		s->ops->look(&s->node, &look);
		assert_int_equal(look.state, CONTROL_DOWN);
		assert_int_equal(s->ops->signal(&s->node, SIGKILL, &pid, &e), ERR_NOT_FOUND);
	}
}

/* The same program on another folder's agent.ini is another node. */
static void another_nodes_agent_is_not_taken_for_this_one(void **state)
{
	struct scene *s = *state;
	struct conf_node other = s->node;
	struct control_look look;
	char text[32];
	pid_t pid = start(s);

	snprintf(other.dir, sizeof other.dir, "%s/other", s->dir);
	mkdir(other.dir, 0755);
	put_file(other.dir, "agent.ini", "", 0644);
	snprintf(text, sizeof text, "%d\n", (int)pid);
	put_file(other.dir, CONTROL_PID_FILE, text, 0644);
	s->ops->look(&other, &look);
	assert_int_equal(look.state, CONTROL_DOWN);
	/* But the same file by another name is the same node. */
	snprintf(other.dir, sizeof other.dir, "%s/other/..", s->dir);
	s->ops->look(&other, &look);
	assert_int_equal(look.state, CONTROL_RUNNING);
}

static void a_process_that_ends_at_once_is_noticed(void **state)
{
	struct scene *s = *state;
	struct control_started started;
	char how[64] = "", log[256];
	bool ended = false;

	put_file(s->dir, "die", "", 0644);
	assert_int_equal(s->ops->start(&s->node, &started, NULL), 0);
	for (int i = 0; i < 2000 && !ended; i++) {
		ended = s->ops->ended(&started, how, sizeof how);
		usleep(10000);
	}
	assert_true(ended);
	assert_string_equal(how, "exit code 3");
	read_log(s, log, sizeof log);
	assert_non_null(strstr(log, "last words"));
}

static void what_hinders_a_start_is_told(void **state)
{
	struct scene *s = *state;
	struct control_started started;
	struct err e = {0};
	char path[128];

	snprintf(path, sizeof path, "%s/agent.ini", s->dir);
	unlink(path);
	assert_int_equal(s->ops->start(&s->node, &started, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "agent.ini: No such file"));
	put_file(s->dir, "agent.ini", "", 0644);
	setenv("DROVER_AGENT", "/nowhere/droverd", 1);
	assert_int_equal(s->ops->start(&s->node, &started, &e), ERR_NOT_FOUND);
	assert_string_equal(e.text, "DROVER_AGENT=/nowhere/droverd is no program");
	snprintf(path, sizeof path, "%s/agent.sh", s->dir);
	setenv("DROVER_AGENT", path, 1);
	snprintf(s->node.dir, sizeof s->node.dir, "%s/missing", s->dir);
	assert_int_equal(s->ops->start(&s->node, &started, &e), ERR_NOT_FOUND);
	snprintf(s->node.dir, sizeof s->node.dir, "%s", s->dir);
	int fd;
	assert_int_equal(s->ops->open_log(&s->node, &fd, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "n1 has no log yet"));
}

static void a_shell_runs_in_the_nodes_folder(void **state)
{
	struct scene *s = *state;
	char *touch[] = {(char[]){"touch"}, (char[]){"made"}, NULL};
	char *fails[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"exit 42"}, NULL};
	char *dies[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"kill -TERM $$"}, NULL};
	char *none[] = {(char[]){"no-such-program"}, NULL};
	struct err e = {0};
	char path[128];
	int code = -1;

	assert_int_equal(s->ops->shell(&s->node, touch, &code, &e), 0);
	assert_int_equal(code, 0);
	snprintf(path, sizeof path, "%s/made", s->dir);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(s->ops->shell(&s->node, fails, &code, &e), 0);
	assert_int_equal(code, 42);
	assert_int_equal(s->ops->shell(&s->node, dies, &code, &e), 0);
	assert_int_equal(code, 128 + SIGTERM);
	assert_int_equal(s->ops->shell(&s->node, none, &code, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "no-such-program"));
}

static void a_node_without_control_is_refused_but_not_down(void **state)
{
	struct scene *s = *state;
	struct conf_node node = s->node;
	struct control_look look;
	struct control_started started;
	struct err e = {0};
	pid_t pid;

	node.control = CONF_CONTROL_NONE;
	const struct control_ops *ops = control_of(&node);
	ops->look(&node, &look);
	assert_int_equal(look.state, CONTROL_UNKNOWN);
	assert_int_equal(ops->start(&node, &started, &e), ERR_UNSUPPORTED);
	assert_int_equal(ops->signal(&node, SIGKILL, &pid, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "n1 is not controlled from here"));
}

static void losing_quorum_is_foreseen(void **state)
{
	struct scene *s = *state;
	struct cluster_conf *conf = calloc(1, sizeof *conf);
	struct node_set set;

	conf->nodes_n = 3;
	for (uint32_t i = 0; i < 3; i++) {
		conf->nodes[i] = s->node;
		/* Not seen from here counts as running. */
		conf->nodes[i].control = CONF_CONTROL_NONE;
	}
	set = (struct node_set){1, {&conf->nodes[0]}};
	assert_false(life_loses_quorum(conf, &set));
	set = (struct node_set){2, {&conf->nodes[0], &conf->nodes[2]}};
	assert_true(life_loses_quorum(conf, &set));
	/* One is down already: another one is one too many. */
	conf->nodes[1].control = CONF_CONTROL_LOCAL;
	set = (struct node_set){1, {&conf->nodes[0]}};
	assert_true(life_loses_quorum(conf, &set));
	/* Where there is no quorum none is lost; a learner's end loses none. */
	conf->nodes[2].control = CONF_CONTROL_LOCAL;
	assert_false(life_loses_quorum(conf, &set));
	conf->nodes[1].control = conf->nodes[2].control = CONF_CONTROL_NONE;
	conf->nodes[0].role = CONF_LEARNER;
	assert_false(life_loses_quorum(conf, &set));
	free(conf);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_started_process_is_detached_and_found_again),
		TEST(the_log_is_kept_over_starts),
		TEST(pausing_killing_and_resuming_show),
		TEST(a_paused_process_can_be_stopped_in_order),
		TEST(a_process_that_does_not_stop_is_told_after_the_timeout),
		TEST(the_pid_of_another_process_is_never_signalled),
		TEST(another_nodes_agent_is_not_taken_for_this_one),
		TEST(a_process_that_ends_at_once_is_noticed),
		TEST(what_hinders_a_start_is_told),
		TEST(a_shell_runs_in_the_nodes_folder),
		TEST(a_node_without_control_is_refused_but_not_down),
		TEST(losing_quorum_is_foreseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
