/* Clients' sessions: what makes a request that is sent again happen once. */
#include "tests/unit/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state)
{
	struct rig *g = malloc(sizeof *g);

	rig_open(g, NULL);
	*state = g;
	return 0;
}

static void tune_few(struct store_options *o)
{
	o->sessions_max = 5;
}

static int set_up_few(void **state)
{
	struct rig *g = malloc(sizeof *g);

	rig_open(g, tune_few);
	*state = g;
	return 0;
}

static int tear_down(void **state)
{
	rig_close(*state);
	free(*state);
	return 0;
}

/* A client's request, as rig_run with client and sequence. */
static int ask(struct rig *g, uint64_t client, uint64_t sequence, const char *text)
{
	g->sql.client = client;
	g->sql.sequence = sequence;
	int status = rig_run(g, text);
	g->sql.client = g->sql.sequence = 0;
	return status;
}

static void turn_over(struct rig *g)
{
	struct store *swap = g->leader;
	char dir[80];

	g->leader = g->follower;
	g->follower = swap;
	memcpy(dir, g->leader_dir, sizeof dir);
	memcpy(g->leader_dir, g->follower_dir, sizeof dir);
	memcpy(g->follower_dir, dir, sizeof dir);
}

static void a_request_sent_again_is_executed_once(void **state)
{
	struct rig *g = *state;
	struct err e;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)");
	assert_int_equal(ask(g, 5, 1, "INSERT INTO t(a) VALUES(7) RETURNING id, a"), 0);
	assert_true(g->request.wrote);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(ask(g, 5, 1, "INSERT INTO t(a) VALUES(7) RETURNING id, a"), 0);
		assert_false(g->request.wrote);
		assert_int_equal(g->request.duplicate_of, 2);
		struct sql_result r = rig_result(g, 0);
		assert_int_equal(r.rows_n, 1);
		assert_int_equal(value_get(&r.values).i, 1);
		assert_int_equal(value_get(&r.values).i, 7);
		if (i == 0) {
			/* Also after a restart … */
			assert_int_equal(store_flush(g->leader, 0, &e), 0);
			rig_reopen(g, &g->leader, g->leader_dir);
			rig_replay(g, g->leader, 1, 2);
		} else if (i == 1) {
			/* … and at a new leader. */
			turn_over(g);
		}
	}
	/* What failed may be tried again under the same number. */
	assert_int_equal(ask(g, 5, 2, "INSERT INTO t(a) VALUES(7)"), ERR_SQL);
	assert_int_equal(ask(g, 5, 2, "INSERT INTO t(a) VALUES(8)"), 0);
	assert_true(g->request.wrote);
	assert_int_equal(ask(g, 5, 1, "INSERT INTO t(a) VALUES(9)"), ERR_REFUSED);
	assert_non_null(strstr(g->request.err.text, "overtaken"));
	assert_int_equal(ask(g, 6, 1, "INSERT INTO t(a) VALUES(9)"), 0);
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM t"), 3);
}

static void long_answers_are_remembered_as_sums(void **state)
{
	struct rig *g = *state;
	struct sql_result r;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
	const char *text = "INSERT INTO t(a) VALUES(zeroblob(3000)),(zeroblob(3000)) RETURNING a";
	assert_int_equal(ask(g, 5, 1, text), 0);
	assert_int_equal(rig_result(g, 0).kind, SQL_ROWS);
	assert_int_equal(ask(g, 5, 1, text), 0);
	assert_int_equal(g->request.results_n, 1);
	r = rig_result(g, 0);
	assert_int_equal(r.kind, SQL_DONE);
	assert_int_equal(r.changes, 2);
	assert_int_equal(r.last_rowid, 2);
	rig_same(g);
}

static void a_request_twice_in_one_batch_is_executed_once(void **state)
{
	struct rig *g = *state;
	struct store_request second = {0}, *list[] = {&g->request, &second};
	struct buf payload;
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	g->sql.client = 5;
	g->sql.sequence = 1;
	rig_prepare_one(g, "INSERT INTO t VALUES(1)", NULL, 0);
	buf_init(&second.results, 1000);
	buf_init(&payload, 1 << 20);
	g->request.sql = second.sql = &g->sql;
	assert_int_equal(store_execute(g->leader, RIG_NS, list, 2, 1, &payload, &e), 0);
	assert_int_equal(second.status, 0);
	assert_true(second.wrote); /* to be answered when this entry is committed */
	assert_int_equal(second.results_n, 1);
	store_proposed(g->leader, 2, 1);
	store_committed(g->leader, 2);
	assert_int_equal(store_apply(g->follower, 2, 1, buf_slice(&payload), &e), 0);
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM t"), 1);
	buf_done(&second.results);
	buf_done(&payload);
}

static void a_rewound_request_is_not_remembered(void **state)
{
	struct rig *g = *state;
	struct buf payload;
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	g->sql.client = 5;
	g->sql.sequence = 1;
	struct store_request *r = &g->request;
	rig_prepare_one(g, "INSERT INTO t VALUES(1)", NULL, 0);
	r->sql = &g->sql;
	buf_init(&payload, 1 << 20);
	assert_int_equal(store_execute(g->leader, RIG_NS, &r, 1, 1, &payload, &e), 0);
	assert_true(r->wrote);
	store_proposed(g->leader, 2, 1);
	assert_int_equal(store_rewind(g->leader, &e), 0);
	rig_replay(g, g->leader, 1, 1);
	assert_int_equal(ask(g, 5, 1, "INSERT INTO t VALUES(1)"), 0);
	assert_true(g->request.wrote);
	rig_same(g);
	buf_done(&payload);
}

static void all_nodes_forget_the_same_clients(void **state)
{
	struct rig *g = *state; /* sessions_max 5 */
	char text[80];
	struct err e;

	rig_must(g, "CREATE TABLE t(a)");
	for (uint64_t i = 1; i <= 40; i++) {
		snprintf(text, sizeof text, "INSERT INTO t VALUES(%d)", (int)i);
		/* Client 1 keeps coming back, and so stays. */
		assert_int_equal(ask(g, i % 3 ? 1 : 1 + i, i, text), 0);
		if (i == 13)
			assert_int_equal(store_flush(g->follower, 0, &e), 0);
		if (i == 20) {
			assert_int_equal(store_flush(g->leader, 0, &e), 0);
			rig_reopen(g, &g->leader, g->leader_dir);
			rig_replay(g, g->leader, 1, g->log_n);
		}
		if (i == 30)
			turn_over(g);
		if (i % 10 == 0)
			rig_same(g);
	}
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM drover_sessions"),
			 5);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS,
				  "SELECT sequence FROM drover_sessions WHERE client=1"),
			 40);
	assert_int_equal(ask(g, 4, 3, "INSERT INTO t VALUES(-1)"), 0);
	assert_true(g->request.wrote); /* forgotten: executed again */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_FEW(name) cmocka_unit_test_setup_teardown(name, set_up_few, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_sent_again_is_executed_once),
		TEST(long_answers_are_remembered_as_sums),
		TEST(a_request_twice_in_one_batch_is_executed_once),
		TEST(a_rewound_request_is_not_remembered),
		TEST_FEW(all_nodes_forget_the_same_clients),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
