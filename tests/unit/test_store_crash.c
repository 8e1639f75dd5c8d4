/* A store whose process is killed comes back whole. */
#include "tests/unit/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int set_up(void **state)
{
	struct rig *g = malloc(sizeof *g);

	rig_open(g, NULL);
	*state = g;
	return 0;
}

static int tear_down(void **state)
{
	rig_close(*state);
	free(*state);
	return 0;
}

/* A child works on a store until it is killed in the midst; what it had told before it committed
 * must then bring the store to where a healthy one is. */
static void child_works(const char *dir, const struct store_options *options, int out,
			unsigned seed)
{
	struct store_options o = *options;
	struct store *s;
	struct store_checkpointer *c;
	struct err e;

	o.dir = dir;
	if (store_open(&s, &o, &e) || store_checkpointer_new(&c, s, &e))
		_exit(1);
	for (uint64_t index = 1;; index++) {
		struct sql_request sql = {.client = 1 + index % 7, .sequence = index};
		struct store_request r = {.sql = &sql}, *list[] = {&r};
		struct sql_writer w;
		struct buf message, payload;
		char text[300];
		buf_init(&message, 1 << 16);
		buf_init(&payload, 1 << 20);
		buf_init(&r.results, 1 << 16);
		snprintf(text, sizeof text,
			 index == 1 ? "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b)"
				    : "INSERT INTO t(a, b) VALUES(random(), randomblob(%u)); "
				      "UPDATE t SET b=%u WHERE id%%5=%u",
			 (unsigned)(index * 37 % 3000), (unsigned)index, (unsigned)index % 5);
		sql_request_begin(&w, &message, &sql, 1);
		sql_request_add(&w, slice_str(text), NULL, 0);
		if (!sql_request_decode(buf_slice(&message), &sql) ||
		    store_execute(s, RIG_NS, list, 1, index, &payload, &e) || r.status)
			_exit(2);
		uint32_t n = (uint32_t)payload.len;
		if (write(out, &n, sizeof n) != sizeof n ||
		    write(out, payload.data, n) != (ssize_t)n)
			_exit(3);
		store_proposed(s, index, 1);
		store_committed(s, index);
		if ((seed + index) % 9 == 0 && store_flush(s, 0, &e))
			_exit(4);
		if ((seed + index) % 31 == 0 && store_checkpoint(c, 100000, &e))
			_exit(5);
		buf_done(&message);
		buf_done(&payload);
		buf_done(&r.results);
	}
}

static bool read_all(int fd, void *to, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t k = read(fd, (char *)to + got, n - got);
		if (k <= 0)
			return false;
		got += (size_t)k;
	}
	return true;
}

static void a_killed_store_comes_back_by_the_log(void **state)
{
	struct rig *g = *state;

	store_free(g->leader);
	g->leader = NULL;
	for (unsigned round = 0; round < 12; round++) {
		int pipes[2];
		assert_int_equal(pipe(pipes), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			close(pipes[0]);
			child_works(g->leader_dir, &g->o, pipes[1], round * 5);
		}
		close(pipes[1]);
		uint32_t n, entries = 20 + round * 13;
		for (uint32_t i = 0; read_all(pipes[0], &n, sizeof n); i++) {
			struct buf payload;
			buf_init(&payload, 1 << 20);
			assert_non_null(buf_reserve(&payload, n));
			payload.len = n;
			if (i == entries)
				kill(pid, SIGKILL);
			if (!read_all(pipes[0], payload.data, n)) {
				buf_done(&payload);
				break;
			}
			g->log = realloc(g->log, (g->log_n + 1) * sizeof *g->log);
			g->log[g->log_n++] = (struct rig_entry){.payload = payload, .term = 1};
		}
		close(pipes[0]);
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		rig_reopen(g, &g->leader, g->leader_dir);
		assert_true(store_replay_from(g->leader) <= g->log_n + 1);
		rig_replay(g, g->leader, store_replay_from(g->leader), g->log_n);
		rig_replay(g, g->follower, 1, g->log_n);
		rig_same(g);
		/* A fresh pair for the next round. */
		while (g->log_n)
			buf_done(&g->log[--g->log_n].payload);
		store_free(g->leader);
		store_free(g->follower);
		g->leader = g->follower = NULL;
		rig_remove(g->leader_dir);
		rig_remove(g->follower_dir);
		mkdir(g->leader_dir, 0700);
		mkdir(g->follower_dir, 0700);
		rig_reopen(g, &g->follower, g->follower_dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_killed_store_comes_back_by_the_log, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
