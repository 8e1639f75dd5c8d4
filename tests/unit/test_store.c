/* The store's life: flush, readable, rewind, restart, drop, checkpoints, failing disks. */
#include "tests/unit/store_rig.h"
#include "tests/unit/store_vfs.h"
#include "common/record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_up(void **state)
{
	struct rig *g = malloc(sizeof *g);

	rig_open(g, NULL);
	*state = g;
	return 0;
}

static void tune_vfs(struct store_options *o)
{
	o->vfs = STORE_VFS_NAME;
}

static int set_up_vfs(void **state)
{
	struct rig *g = malloc(sizeof *g);

	store_vfs_register();
	rig_open(g, tune_vfs);
	*state = g;
	return 0;
}

static int tear_down(void **state)
{
	store_vfs_fail_writes("", 0);
	rig_close(*state);
	free(*state);
	return 0;
}

/* Executes one text for a namespace without proposing; returns the payload's size. */
static size_t execute(struct rig *g, uint64_t ns, const char *text, struct buf *payload)
{
	struct store_request *r = &g->request;
	struct err e;

	rig_prepare_one(g, text, NULL, 0);
	r->sql = &g->sql;
	buf_init(payload, 1 << 20);
	if (store_execute(g->leader, ns, &r, 1, ++g->now_us, payload, &e))
		fail_msg("execute: %s", e.text);
	if (r->status)
		fail_msg("%s: %s", text, r->err.text);
	return payload->len;
}

/* … as committed entry `index`. */
static void commit(struct rig *g, uint64_t ns, uint64_t index, const char *text)
{
	struct buf payload;

	assert_true(execute(g, ns, text, &payload) > 0);
	store_proposed(g->leader, index, 1);
	store_committed(g->leader, index);
	buf_done(&payload);
}

static void checkpoint(struct store *s, uint64_t restart_bytes)
{
	struct store_checkpointer *c;
	struct err e;

	assert_int_equal(store_checkpointer_new(&c, s, &e), 0);
	if (store_checkpoint(c, restart_bytes, &e))
		fail_msg("checkpoint: %s", e.text);
	store_checkpointer_free(c);
}

static void readers_see_what_is_flushed(void **state)
{
	struct rig *g = *state;
	struct err e;
	struct store_pending pending;
	struct buf payload;

	commit(g, RIG_NS, 1, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)");
	assert_int_equal(store_applied(g->leader), 1);
	assert_false(store_readable(g->leader, RIG_NS, 1));
	assert_true(store_readable(g->leader, 99, 1)); /* no entry touched it */
	assert_true(store_readable(g->leader, RIG_NS, 0));
	store_pending(g->leader, &pending);
	assert_int_equal(pending.rows, 3);
	assert_int_equal(pending.since_us, g->now_us);
	assert_int_equal(store_flush(g->leader, RIG_NS, &e), 0);
	assert_true(store_readable(g->leader, RIG_NS, 1));
	assert_false(store_readable(g->leader, RIG_NS, 2));
	store_pending(g->leader, &pending);
	assert_int_equal(pending.rows, 0);
	assert_int_equal(pending.since_us, 0);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM t"), 2);
	/* A later entry that says nothing of the namespace leaves it readable. */
	assert_int_equal(store_apply(g->leader, 2, 1, slice_of(NULL, 0), &e), 0);
	assert_true(store_readable(g->leader, RIG_NS, 2));
	execute(g, RIG_NS, "INSERT INTO t VALUES(3)", &payload);
	assert_int_equal(store_flush(g->leader, 0, &e), ERR_BUSY);
	store_proposed(g->leader, 3, 1);
	assert_true(store_readable(g->leader, RIG_NS, 2));
	assert_int_equal(store_flush(g->leader, RIG_NS, &e), ERR_BUSY);
	store_committed(g->leader, 3);
	assert_false(store_readable(g->leader, RIG_NS, 3));
	assert_int_equal(store_flush(g->leader, 0, &e), 0);
	assert_true(store_readable(g->leader, RIG_NS, 3));
	buf_done(&payload);
}

static void a_rewind_takes_back_what_is_speculative(void **state)
{
	struct rig *g = *state;
	struct buf first, second, third;
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	assert_int_equal(store_flush(g->leader, 0, &e), 0);
	rig_must(g, "INSERT INTO t VALUES(1)"); /* entry 2: committed, not flushed */
	execute(g, RIG_NS, "INSERT INTO t VALUES(2); CREATE TABLE u(x)", &first);
	store_proposed(g->leader, 3, 1);
	execute(g, RIG_NS, "INSERT INTO t VALUES(3)", &second);
	store_proposed(g->leader, 4, 1);
	execute(g, RIG_NS, "INSERT INTO t VALUES(4)", &third); /* not even proposed */
	assert_int_equal(store_speculative(g->leader), 3);
	assert_int_equal(store_rewind(g->leader, &e), 0);
	assert_int_equal(store_speculative(g->leader), 0);
	assert_int_equal(store_applied(g->leader), 1);
	/* Entry 3 comes back through the log, 4 is another's. */
	rig_replay(g, g->leader, 1, 2);
	assert_int_equal(store_apply(g->leader, 3, 1, buf_slice(&first), &e), 0);
	assert_int_equal(store_applied(g->leader), 3);
	assert_int_equal(store_apply(g->follower, 3, 1, buf_slice(&first), &e), 0);
	assert_int_equal(store_apply(g->leader, 4, 2, slice_of(NULL, 0), &e), 0);
	assert_int_equal(store_apply(g->follower, 4, 2, slice_of(NULL, 0), &e), 0);
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT group_concat(a,'') FROM t"), 12);
	buf_done(&first);
	buf_done(&second);
	buf_done(&third);
}

static void entries_applied_twice_do_no_harm(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "INSERT INTO t VALUES(1)");
	rig_replay(g, g->follower, 1, 2);
	rig_replay(g, g->leader, 1, 2);
	rig_same(g);
	rig_reopen(g, &g->follower, g->follower_dir);
	rig_replay(g, g->follower, 1, 2);
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM t"), 1);
}

static void what_was_not_flushed_is_replayed(void **state)
{
	struct rig *g = *state;
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	for (int i = 0; i < 10; i++) {
		rig_must(g, "INSERT INTO t SELECT count(*) FROM t");
		if (i == 5)
			assert_int_equal(store_flush(g->leader, 0, &e), 0);
	}
	rig_reopen(g, &g->leader, g->leader_dir);
	assert_int_equal(store_applied(g->leader), 0); /* no checkpoint has vouched for any */
	assert_int_equal(store_replay_from(g->leader), 1);
	rig_replay(g, g->leader, 1, 11);
	assert_int_equal(store_applied(g->leader), 11);
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM t"), 10);
}

static void quiet_namespaces_do_not_pin_the_log(void **state)
{
	struct rig *g = *state;
	struct err e;
	uint64_t index = 0;

	commit(g, 3, ++index, "CREATE TABLE quiet(a)");
	commit(g, 4, ++index, "CREATE TABLE busy(a)");
	for (int i = 0; i < 200; i++)
		commit(g, 4, ++index, "INSERT INTO busy VALUES(1)");
	checkpoint(g->leader, 1 << 30);
	assert_int_equal(store_durable(g->leader), 0); /* nothing was flushed */
	assert_int_equal(store_flush(g->leader, 0, &e), 0);
	commit(g, 4, ++index, "INSERT INTO busy VALUES(2)");
	checkpoint(g->leader, 1 << 30);
	assert_int_equal(store_durable(g->leader), index - 1);
	assert_int_equal(store_replay_from(g->leader), index);
	rig_reopen(g, &g->leader, g->leader_dir);
	assert_int_equal(store_replay_from(g->leader), index);
	assert_int_equal(store_applied(g->leader), index - 1);
	/* Entries without content count as well. */
	for (int i = 0; i < 50; i++)
		assert_int_equal(store_apply(g->leader, ++index, 1, slice_of(NULL, 0), &e), 0);
	checkpoint(g->leader, 1 << 30);
	assert_int_equal(store_durable(g->leader), index);
}

static void nothing_counts_as_durable_before_it_is_synced(void **state)
{
	struct rig *g = *state;
	struct err e;
	sqlite3 *reader;
	char path[200];

	rig_must(g, "CREATE TABLE t(a)");
	assert_int_equal(store_flush(g->leader, 0, &e), 0);
	/* A reader that stays keeps the checkpoint from moving everything into the file. */
	snprintf(path, sizeof path, "%s/ns-%d.db", g->leader_dir, RIG_NS);
	assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT * FROM t", NULL, NULL, NULL),
			 SQLITE_OK);
	for (int i = 0; i < 20; i++) {
		rig_must(g, "INSERT INTO t VALUES(zeroblob(9000))");
		assert_int_equal(store_flush(g->leader, 0, &e), 0);
		assert_true(store_vfs_unsynced("leader/ns-7.db-wal") > 0);
		checkpoint(g->leader, i % 2 ? 1 : 1 << 30);
		assert_int_equal(store_durable(g->leader), g->log_n);
		assert_int_equal(store_vfs_unsynced("leader/ns-7.db-wal"), 0);
		if (i == 10)
			assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL),
					 SQLITE_OK);
	}
	assert_int_equal(store_vfs_unsynced("leader/ns-7.db"), 0);
	sqlite3_close(reader);
	struct store_stats stats;
	store_stats(g->leader, &stats);
	assert_true(stats.data_bytes > 20 * 9000);
}

static void a_long_wal_starts_over(void **state)
{
	struct rig *g = *state;
	struct err e;
	struct stat st;
	char path[200];

	rig_must(g, "CREATE TABLE t(a)");
	snprintf(path, sizeof path, "%s/ns-%d.db-wal", g->leader_dir, RIG_NS);
	for (int i = 0; i < 30; i++) {
		rig_must(g, "INSERT INTO t VALUES(zeroblob(100000))");
		assert_int_equal(store_flush(g->leader, 0, &e), 0);
		checkpoint(g->leader, 200000);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size < 1500000);
}

static void a_full_disk_is_told_and_overcome(void **state)
{
	struct rig *g = *state;
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	assert_int_equal(store_flush(g->leader, 0, &e), 0);
	rig_must(g, "INSERT INTO t VALUES(1)");
	store_vfs_fail_writes("leader/ns-7.db", SQLITE_FULL);
	assert_int_equal(store_flush(g->leader, 0, &e), ERR_DISK_FULL);
	assert_int_equal(store_flush(g->leader, 0, &e) == 0, 0);
	store_vfs_fail_writes("", 0);
	assert_int_equal(store_rewind(g->leader, &e), 0);
	assert_int_equal(store_applied(g->leader), 1);
	rig_replay(g, g->leader, 2, 2);
	rig_must(g, "INSERT INTO t VALUES(2)");
	rig_same(g);
	/* Pages that do not fit the cache are written in the midst of statements. */
	struct store_request *r = &g->request;
	struct buf payload;
	buf_init(&payload, 64 << 20);
	store_vfs_fail_writes("leader/ns-7.db", SQLITE_FULL);
	rig_prepare_one(
		g,
		"INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c "
		"WHERE x<2000) SELECT zeroblob(5000) FROM c",
		NULL, 0);
	r->sql = &g->sql;
	int code = store_execute(g->leader, RIG_NS, &r, 1, ++g->now_us, &payload, &e);
	assert_true(code == 0 ? r->status != 0 : code == ERR_DISK_FULL);
	assert_int_equal(payload.len, 0);
	store_vfs_fail_writes("", 0);
	assert_int_equal(store_rewind(g->leader, &e), 0);
	rig_replay(g, g->leader, store_applied(g->leader) + 1, g->log_n);
	rig_must(g, "INSERT INTO t VALUES(3)");
	rig_same(g);
	buf_done(&payload);
}

static void a_broken_disk_stops_an_apply_until_it_is_rewound(void **state)
{
	struct rig *g = *state;
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "INSERT INTO t VALUES(1)");
	store_vfs_fail_writes("follower/ns-7.db", SQLITE_IOERR_WRITE);
	assert_int_equal(store_flush(g->follower, 0, &e), ERR_IO);
	store_vfs_fail_writes("", 0);
	assert_int_equal(store_apply(g->follower, 3, 1, buf_slice(&g->log[1].payload), &e), ERR_IO);
	assert_int_equal(store_rewind(g->follower, &e), 0);
	rig_replay(g, g->follower, store_applied(g->follower) + 1, 2);
	rig_same(g);
}

static void entries_that_do_not_fit_the_data_are_corruption(void **state)
{
	struct rig *g = *state;
	struct err e;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	rig_must(g, "INSERT INTO t VALUES(1, 1)");
	rig_must(g, "UPDATE t SET a=2");
	rig_must(g, "DELETE FROM t");
	rig_must(g, "DROP TABLE t");
	struct store *s = NULL;
	char dir[120];
	static const int orders[][2] = {{1, 3}, {1, 4}, {1, 0}, {2, 0}, {5, 0}};
	for (size_t i = 0; i < 5; i++) {
		snprintf(dir, sizeof dir, "%s/x%zu", g->root, i);
		assert_int_equal(mkdir(dir, 0700), 0);
		rig_reopen(g, &s, dir);
		int code = 0;
		for (unsigned k = 0; k < 2 && !code; k++)
			if (orders[i][k])
				code = store_apply(s, k + 1, 1,
						   buf_slice(&g->log[orders[i][k] - 1].payload),
						   &e);
		assert_int_equal(code, i == 2 ? 0 : ERR_CORRUPT);
		if (code)
			assert_non_null(strstr(e.text, "namespace 7, entry"));
	}
	rig_reopen(g, &s, dir);
	assert_int_equal(store_apply(s, 1, 1, slice_str("\x09what"), &e), ERR_CORRUPT);
	struct slice cut = buf_slice(&g->log[1].payload);
	assert_int_equal(store_apply(s, 1, 1, buf_slice(&g->log[0].payload), &e), 0);
	cut.n -= 3;
	assert_int_equal(store_apply(s, 2, 1, cut, &e), ERR_CORRUPT);
	store_free(s);
}

static void a_dropped_namespace_stays_dropped(void **state)
{
	struct rig *g = *state;
	struct store_request *r = &g->request;
	struct buf payload;
	struct err e;
	uint64_t ids[4];
	char path[200];

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "INSERT INTO t VALUES(1)");
	commit(g, 8, 3, "CREATE TABLE t(a)");
	assert_int_equal(store_namespaces(g->leader, ids, 4), 2);
	assert_int_equal(store_drop(g->leader, RIG_NS, &e), 0);
	assert_int_equal(store_drop(g->leader, RIG_NS, &e), 0);
	assert_int_equal(store_namespaces(g->leader, ids, 4), 1);
	assert_int_equal(ids[0], 8);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/ns-%d.db", g->leader_dir, RIG_NS);
		assert_int_equal(access(path, F_OK), -1);
		rig_prepare_one(g, "SELECT 1", NULL, 0);
		r->sql = &g->sql;
		buf_init(&payload, 1000);
		assert_int_equal(store_execute(g->leader, RIG_NS, &r, 1, 1, &payload, &e),
				 ERR_NOT_FOUND);
		assert_int_equal(store_apply(g->leader, 9 + (uint64_t)i, 1,
					     buf_slice(&g->log[1].payload), &e),
				 0);
		assert_int_equal(access(path, F_OK), -1);
		checkpoint(g->leader, 1 << 20);
		assert_int_equal(store_flush(g->leader, 0, &e), 0);
		rig_reopen(g, &g->leader, g->leader_dir);
	}
	assert_true(store_readable(g->leader, RIG_NS, store_applied(g->leader)));
	assert_int_equal(store_select(g->leader, RIG_NS, "SELECT 1", NULL, NULL, &e),
			 ERR_NOT_FOUND);
	/* Dropped before it ever came. */
	assert_int_equal(store_drop(g->follower, 55, &e), 0);
}

static int sum_row(void *ctx, const struct value *values, unsigned n)
{
	assert_int_equal(n, 2);
	*(int64_t *)ctx += values[0].i + (int64_t)values[1].s.n;
	return 0;
}

static int stop_row(void *ctx, const struct value *values, unsigned n)
{
	(void)values;
	(void)n;
	++*(int *)ctx;
	return ERR_LIMIT;
}

static void tune_first(struct store_options *o)
{
	o->first_schema = "CREATE TABLE first(id INTEGER PRIMARY KEY, name TEXT); "
			  "INSERT INTO first VALUES(1, 'main')";
	o->first_schema_ns = RIG_NS;
}

static void the_first_namespace_has_its_schema_everywhere(void **state)
{
	struct rig g;
	struct buf payload;
	struct err e;
	int64_t sum = 0;
	int calls = 0;

	(void)state;
	rig_open(&g, tune_first);
	assert_int_equal(
		store_select(g.leader, RIG_NS, "SELECT id, name FROM first", sum_row, &sum, &e), 0);
	assert_int_equal(sum, 5);
	rig_same(&g);
	rig_must(&g, "INSERT INTO first VALUES(2, 'other')");
	execute(&g, RIG_NS, "INSERT INTO first VALUES(3, 'in the air')", &payload);
	store_proposed(g.leader, 2, 1);
	sum = 0;
	assert_int_equal(
		store_select(g.leader, RIG_NS, "SELECT id, name FROM first", sum_row, &sum, &e), 0);
	assert_int_equal(sum, 1 + 4 + 2 + 5 + 3 + 10);
	assert_int_equal(
		store_select(g.leader, RIG_NS, "SELECT id FROM first", stop_row, &calls, &e),
		ERR_LIMIT);
	assert_int_equal(calls, 1);
	assert_int_equal(store_select(g.leader, RIG_NS, "SELEC", sum_row, &sum, &e), ERR_SQL);
	assert_int_equal(store_select(g.leader, RIG_NS, "DELETE FROM first", sum_row, &sum, &e),
			 ERR_INVALID);
	assert_int_equal(store_rewind(g.leader, &e), 0);
	rig_replay(&g, g.leader, 1, 1);
	rig_same(&g);
	buf_done(&payload);
	rig_close(&g);
}

static void a_folder_of_another_group_is_refused(void **state)
{
	struct rig *g = *state;
	struct store_options o = g->o;
	struct store *s;
	struct err e;

	o.dir = g->leader_dir;
	o.group = 2;
	assert_int_equal(store_open(&s, &o, &e), ERR_CORRUPT);
	o.dir = "/nonexistent/folder";
	assert_int_equal(store_open(&s, &o, &e), ERR_IO);
}

static void marks_ask_nothing_of_the_data(void **state)
{
	struct rig *g = *state;
	struct buf mark;

	rig_must(g, "CREATE TABLE t(a)");
	buf_init(&mark, 100);
	record_put_mark(&mark, 77);
	rig_append(g, buf_slice(&mark));
	rig_must(g, "INSERT INTO t VALUES(1)");
	assert_int_equal(store_applied(g->follower), 3);
	rig_same(g);
	buf_done(&mark);
}

static void many_namespaces_come_and_go(void **state)
{
	struct rig *g = *state;
	struct err e;
	uint64_t ids[400];
	uint64_t index = 0;

	for (uint64_t ns = 100; ns < 400; ns++) {
		commit(g, ns, ++index, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
		assert_int_equal(store_flush(g->leader, ns, &e), 0);
	}
	for (uint64_t ns = 100; ns < 400; ns += 7)
		commit(g, ns, ++index, "INSERT INTO t VALUES(2)");
	assert_int_equal(store_namespaces(g->leader, ids, 400), 300);
	assert_int_equal(store_flush(g->leader, 0, &e), 0);
	checkpoint(g->leader, 1 << 20);
	assert_int_equal(store_durable(g->leader), index);
	assert_int_equal(rig_look(g->leader_dir, 100, "SELECT sum(a) FROM t"), 3);
	assert_int_equal(rig_look(g->leader_dir, 101, "SELECT sum(a) FROM t"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_VFS(name) cmocka_unit_test_setup_teardown(name, set_up_vfs, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(readers_see_what_is_flushed),
		TEST(a_rewind_takes_back_what_is_speculative),
		TEST(entries_applied_twice_do_no_harm),
		TEST(what_was_not_flushed_is_replayed),
		TEST(quiet_namespaces_do_not_pin_the_log),
		TEST_VFS(nothing_counts_as_durable_before_it_is_synced),
		TEST(a_long_wal_starts_over),
		TEST_VFS(a_full_disk_is_told_and_overcome),
		TEST_VFS(a_broken_disk_stops_an_apply_until_it_is_rewound),
		TEST(entries_that_do_not_fit_the_data_are_corruption),
		TEST(a_dropped_namespace_stays_dropped),
		cmocka_unit_test(the_first_namespace_has_its_schema_everywhere),
		TEST(a_folder_of_another_group_is_refused),
		TEST(marks_ask_nothing_of_the_data),
		TEST(many_namespaces_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
