/* Readers beside the writer. */
#include "tests/unit/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	struct rig g;
	struct reader *reader;
	struct store_request request;
	uint64_t applied;
	bool writes;
};

static void reader_open(struct bench *b, uint32_t statement_ms)
{
	struct reader_options o = {.cache_kib = 1024,
				   .statements_max = 16,
				   .connections_max = 2,
				   .rows_max = 50,
				   .answer_bytes_max = 100000,
				   .statement_ms_max = statement_ms};
	struct err e;

	assert_int_equal(reader_new(&b->reader, &o, &e), 0);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof *b);

	rig_open(&b->g, NULL);
	reader_open(b, 0);
	buf_init(&b->request.results, 1 << 20);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	reader_free(b->reader);
	rig_close(&b->g);
	buf_done(&b->request.results);
	free(b);
	return 0;
}

static int read_ns(struct bench *b, uint64_t ns, const char *text)
{
	struct err e;

	rig_prepare_one(&b->g, text, NULL, 0);
	b->request.sql = &b->g.sql;
	if (reader_execute(b->reader, b->g.leader_dir, ns, &b->request, &b->writes, &b->applied,
			   &e))
		fail_msg("reader: %s", e.text);
	return b->request.status;
}

static int read_text(struct bench *b, const char *text)
{
	return read_ns(b, RIG_NS, text);
}

static int64_t read_int(struct bench *b, const char *text)
{
	struct sql_answer a;
	struct sql_result_cursor cursor;
	struct sql_result result;

	if (read_text(b, text))
		fail_msg("%s: %s", text, b->request.err.text);
	assert_false(b->writes);
	a = (struct sql_answer){.results_n = b->request.results_n,
				.results = buf_slice(&b->request.results)};
	sql_result_cursor_init(&cursor, &a);
	assert_int_equal(sql_result_next(&cursor, &result), 1);
	assert_int_equal(result.kind, SQL_ROWS);
	return value_get(&result.values).i;
}

static void flush(struct bench *b)
{
	struct err e;

	assert_int_equal(store_flush(b->g.leader, 0, &e), 0);
}

static void reads_see_flushed_entries_and_say_which(void **state)
{
	struct bench *b = *state;

	rig_must(&b->g, "CREATE TABLE t(a)");
	rig_must(&b->g, "INSERT INTO t VALUES(1),(2)");
	flush(b);
	assert_int_equal(read_int(b, "SELECT count(*) FROM t"), 2);
	assert_int_equal(b->applied, 2);
	rig_must(&b->g, "INSERT INTO t VALUES(3)");
	assert_int_equal(read_int(b, "SELECT count(*) FROM t"), 2);
	assert_int_equal(b->applied, 2);
	flush(b);
	assert_int_equal(read_int(b, "SELECT count(*) FROM t"), 3);
	assert_int_equal(b->applied, 3);
	rig_must(&b->g, "ALTER TABLE t ADD COLUMN b DEFAULT 9");
	flush(b);
	assert_int_equal(read_int(b, "SELECT sum(b) FROM t"), 27);
	assert_int_equal(read_text(b, "SELECT x FROM t"), ERR_SQL);
	assert_int_equal(b->request.offset, 7);
}

static void writes_are_told_and_not_done(void **state)
{
	struct bench *b = *state;
	static const char *const texts[] = {
		"INSERT INTO t VALUES(1)",
		"SELECT 1; DELETE FROM t",
		"CREATE TABLE u(a)",
		"DROP TABLE t",
		"PRAGMA user_version=7",
		"BEGIN; UPDATE t SET a=1; COMMIT",
		"INSERT INTO t VALUES(1) RETURNING a",
		"ANALYZE",
		"WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
		"SAVEPOINT a; INSERT INTO f VALUES('x'); RELEASE a",
	};

	rig_must(&b->g, "CREATE TABLE t(a); CREATE VIRTUAL TABLE f USING fts5(a)");
	flush(b);
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		assert_int_equal(read_text(b, texts[i]), 0);
		assert_true(b->writes);
		assert_int_equal(b->request.results_n, 0);
	}
	b->g.sql.mode = SQL_READ;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		assert_int_equal(read_text(b, texts[i]), ERR_REFUSED);
		assert_false(b->writes);
	}
	assert_int_equal(read_text(b, "BEGIN; SELECT count(*) FROM t; COMMIT"), 0);
	assert_int_equal(b->request.results_n, 3);
}

static void reads_that_are_no_reads_are_refused(void **state)
{
	struct bench *b = *state;

	rig_must(&b->g, "CREATE TABLE t(a)");
	flush(b);
	assert_int_equal(read_text(b, "ATTACH 'x' AS y"), ERR_UNSUPPORTED);
	assert_int_equal(read_text(b, "VACUUM INTO '/tmp/should-not-be-there'"), ERR_UNSUPPORTED);
	assert_int_equal(read_text(b, "SELECT * FROM drover_meta"), ERR_REFUSED);
	assert_int_equal(read_text(b, "PRAGMA query_only=0"), ERR_UNSUPPORTED);
	assert_int_equal(read_text(b, "BEGIN; SELECT 1"), ERR_UNSUPPORTED);
	assert_int_equal(read_text(b, "SELECT 1; COMMIT"), ERR_SQL);
	assert_int_equal(read_int(b, "SELECT count(*) FROM t"), 0);
}

static void a_namespace_without_a_file_is_empty(void **state)
{
	struct bench *b = *state;

	assert_int_equal(read_int(b, "SELECT 42"), 42);
	assert_int_equal(b->applied, 0);
	assert_int_equal(read_text(b, "SELECT * FROM t"), ERR_SQL);
	assert_int_equal(read_text(b, "CREATE TABLE t(a)"), 0);
	assert_true(b->writes);
	rig_must(&b->g, "CREATE TABLE t(a)");
	flush(b);
	assert_int_equal(read_int(b, "SELECT count(*) FROM t"), 0);
}

static void answers_are_bounded(void **state)
{
	struct bench *b = *state;
	struct sql_answer a;
	struct sql_result_cursor cursor;
	struct sql_result result;

	rig_must(&b->g,
		 "CREATE TABLE t(a); INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL "
		 "SELECT x+1 FROM c WHERE x<1000) SELECT x FROM c");
	flush(b);
	assert_int_equal(read_text(b, "SELECT a FROM t"), 0);
	a = (struct sql_answer){.results_n = 1, .results = buf_slice(&b->request.results)};
	sql_result_cursor_init(&cursor, &a);
	assert_int_equal(sql_result_next(&cursor, &result), 1);
	assert_int_equal(result.rows_n, 50);
	assert_true(result.truncated);
	assert_int_equal(read_text(b, "SELECT zeroblob(60000), zeroblob(60000)"), ERR_LIMIT);
	assert_int_equal(read_text(b, "SELECT zeroblob(200000)"), ERR_LIMIT);
	reader_free(b->reader);
	reader_open(b, 30);
	assert_int_equal(read_text(b, "SELECT count(*) FROM t a, t b, t c, t d"), ERR_TIMEOUT);
	assert_int_equal(read_int(b, "SELECT count(*) FROM t"), 1000);
}

static void many_requests_share_one_moment(void **state)
{
	struct bench *b = *state;
	struct store_request requests[6] = {0}, *list[6];
	struct sql_request sql[6];
	struct buf messages[6];
	bool writes[6];
	struct err e;
	static const char *const texts[] = {"SELECT count(*) FROM t",  "bad",
					    "INSERT INTO t VALUES(1)", "SELECT sum(a) FROM t",
					    "SAVEPOINT a; SELECT 1",   "SELECT 7"};
	static const int status[] = {0, ERR_SQL, 0, 0, ERR_UNSUPPORTED, 0};

	rig_must(&b->g, "CREATE TABLE t(a); INSERT INTO t VALUES(5)");
	flush(b);
	for (int i = 0; i < 6; i++) {
		rig_prepare_one(&b->g, texts[i], NULL, 0);
		buf_init(&messages[i], 1000);
		buf_append(&messages[i], b->g.message.data, b->g.message.len);
		assert_true(sql_request_decode(buf_slice(&messages[i]), &sql[i]));
		buf_init(&requests[i].results, 1000);
		requests[i].sql = &sql[i];
		list[i] = &requests[i];
	}
	for (int round = 0; round < 3; round++) {
		assert_int_equal(reader_execute_many(b->reader, b->g.leader_dir, RIG_NS, list, 6,
						     writes, &b->applied, &e),
				 0);
		for (int i = 0; i < 6; i++) {
			assert_int_equal(requests[i].status, status[i]);
			assert_int_equal(writes[i], i == 2);
		}
	}
	for (int i = 0; i < 6; i++) {
		buf_done(&messages[i]);
		buf_done(&requests[i].results);
	}
}

static void connections_are_few_and_can_be_forgotten(void **state)
{
	struct bench *b = *state; /* connections_max 2 */
	struct store_request *r = &b->g.request;
	struct buf payload;
	struct err e;

	for (uint64_t ns = 20; ns < 25; ns++) {
		buf_init(&payload, 1 << 16);
		rig_prepare_one(&b->g, "CREATE TABLE t(a); INSERT INTO t VALUES(1)", NULL, 0);
		r->sql = &b->g.sql;
		assert_int_equal(store_execute(b->g.leader, ns, &r, 1, 1, &payload, &e), 0);
		store_proposed(b->g.leader, ns, 1);
		store_committed(b->g.leader, ns);
		buf_done(&payload);
	}
	flush(b);
	for (int round = 0; round < 3; round++)
		for (uint64_t ns = 20; ns < 25; ns++) {
			assert_int_equal(read_ns(b, ns, "SELECT count(*) FROM t"), 0);
			assert_int_equal(b->applied, ns);
		}
	assert_int_equal(store_drop(b->g.leader, 24, &e), 0);
	reader_forget(b->reader, b->g.leader_dir, 24);
	reader_forget(b->reader, b->g.leader_dir, 24);
	assert_int_equal(read_ns(b, 24, "SELECT count(*) FROM t"), ERR_SQL);
}

static void a_digest_is_of_the_moment_it_was_opened(void **state)
{
	struct bench *b = *state;
	struct reader_snapshot *s;
	struct err e;
	char before[33], later[33], after[33];
	uint64_t applied;
	int more, slices = 0;

	rig_must(&b->g,
		 "CREATE TABLE t(a); INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL "
		 "SELECT x+1 FROM c WHERE x<20000) SELECT x FROM c");
	flush(b);
	rig_digest(b->g.leader_dir, RIG_NS, before);
	assert_int_equal(reader_snapshot_open(b->reader, b->g.leader_dir, RIG_NS, &s, &applied, &e),
			 0);
	assert_int_equal(applied, 1);
	rig_must(&b->g, "UPDATE t SET a=0 WHERE a=20000");
	flush(b);
	while ((more = reader_snapshot_digest(s, 0, later, &e)) == 1)
		slices++;
	assert_int_equal(more, 0);
	assert_true(slices > 10);
	reader_snapshot_free(s);
	assert_string_equal(before, later);
	rig_digest(b->g.leader_dir, RIG_NS, after);
	assert_string_not_equal(before, after);
	assert_int_equal(reader_snapshot_open(b->reader, b->g.leader_dir, 99, &s, &applied, &e),
			 ERR_NOT_FOUND);
}

static void a_digest_tells_small_differences(void **state)
{
	struct bench *b = *state;
	static const char *const changes[] = {
		"UPDATE t SET a='1'",	       "UPDATE t SET a=NULL",
		"UPDATE t SET a=x'31'",	       "UPDATE t SET a=1.5",
		"CREATE INDEX i ON t(a)",      "PRAGMA user_version=1",
		"UPDATE t SET rowid=5",	       "INSERT INTO u DEFAULT VALUES",
		"DELETE FROM sqlite_sequence", "INSERT INTO w VALUES(1,2)",
	};
	char last[33], now[33];

	rig_must(&b->g, "CREATE TABLE t(a); INSERT INTO t VALUES(1); "
			"CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT); "
			"CREATE TABLE w(a PRIMARY KEY, \"b c\") WITHOUT ROWID");
	flush(b);
	rig_digest(b->g.leader_dir, RIG_NS, last);
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		rig_must(&b->g, changes[i]);
		flush(b);
		rig_digest(b->g.leader_dir, RIG_NS, now);
		assert_string_not_equal(last, now);
		memcpy(last, now, sizeof last);
	}
}

struct shared {
	struct bench *b;
	atomic_bool stop;
	atomic_int reads, failures;
};

/* What a batch writes is seen wholly or not at all. */
static void *keep_reading(void *ctx)
{
	struct shared *h = ctx;
	struct reader_options o = {.statements_max = 8, .connections_max = 1, .rows_max = 10};
	struct reader *reader;
	struct err e;
	uint64_t newest = 0;

	if (reader_new(&reader, &o, &e))
		return NULL;
	while (!h->stop) {
		struct sql_request sql = {0};
		struct store_request r = {.sql = &sql};
		struct sql_writer w;
		struct buf message;
		bool writes;
		uint64_t applied;
		buf_init(&message, 1000);
		buf_init(&r.results, 10000);
		sql_request_begin(&w, &message, &sql, 1);
		sql_request_add(&w, slice_str("SELECT count(*), sum(a) FROM t"), NULL, 0);
		sql_request_decode(buf_slice(&message), &sql);
		store_readable(h->b->g.leader, RIG_NS, newest);
		if (reader_execute(reader, h->b->g.leader_dir, RIG_NS, &r, &writes, &applied, &e) ||
		    r.status) {
			h->failures++;
		} else {
			struct sql_answer a = {.results_n = 1, .results = buf_slice(&r.results)};
			struct sql_result_cursor cursor;
			struct sql_result result;
			sql_result_cursor_init(&cursor, &a);
			sql_result_next(&cursor, &result);
			int64_t n = value_get(&result.values).i, sum = value_get(&result.values).i;
			/* Entry 1 makes the table, each later one adds ten rows that sum to 0. */
			if (n % 10 || sum != 0 || applied < newest ||
			    (uint64_t)n != (applied - 1) * 10)
				h->failures++;
			newest = applied;
		}
		h->reads++;
		buf_done(&message);
		buf_done(&r.results);
	}
	reader_free(reader);
	return NULL;
}

static void *keep_checkpointing(void *ctx)
{
	struct shared *h = ctx;
	struct store_checkpointer *c;
	struct store_stats stats;
	struct err e;

	if (store_checkpointer_new(&c, h->b->g.leader, &e))
		return NULL;
	while (!h->stop) {
		if (store_checkpoint(c, 50000, &e))
			h->failures++;
		store_stats(h->b->g.leader, &stats);
	}
	store_checkpointer_free(c);
	return NULL;
}

static void readers_and_checkpoints_run_beside_the_writer(void **state)
{
	struct bench *b = *state;
	struct shared h = {.b = b};
	pthread_t threads[3];

	rig_must(&b->g, "CREATE TABLE t(a)");
	flush(b);
	assert_int_equal(pthread_create(&threads[0], NULL, keep_reading, &h), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, keep_reading, &h), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, keep_checkpointing, &h), 0);
	for (int i = 0; i < 150 || h.reads < 20; i++) {
		rig_must(&b->g, "INSERT INTO t VALUES(1),(2),(3),(4),(5),(-5),(-4),(-3),(-2),(-1)");
		if (i % 3 == 0)
			flush(b);
	}
	h.stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(h.failures, 0);
	rig_same(&b->g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_see_flushed_entries_and_say_which),
		TEST(writes_are_told_and_not_done),
		TEST(reads_that_are_no_reads_are_refused),
		TEST(a_namespace_without_a_file_is_empty),
		TEST(answers_are_bounded),
		TEST(many_requests_share_one_moment),
		TEST(connections_are_few_and_can_be_forgotten),
		TEST(a_digest_is_of_the_moment_it_was_opened),
		TEST(a_digest_tells_small_differences),
		TEST(readers_and_checkpoints_run_beside_the_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
