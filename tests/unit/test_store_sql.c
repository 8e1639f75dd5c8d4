/* What SQL the store lets through, what it refuses and how it says so; what a request's answer
 * looks like; how requests fail alone. */
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

static void tune_slow(struct store_options *o)
{
	o->statement_ms_max = 50;
}

static int set_up_slow(void **state)
{
	struct rig *g = malloc(sizeof *g);

	rig_open(g, tune_slow);
	*state = g;
	return 0;
}

static void tune_small(struct store_options *o)
{
	o->entry_bytes_max = 10000;
	o->rows_max = 100;
	o->statements_max = 8;
}

static int set_up_small(void **state)
{
	struct rig *g = malloc(sizeof *g);

	rig_open(g, tune_small);
	*state = g;
	return 0;
}

static int tear_down(void **state)
{
	rig_close(*state);
	free(*state);
	return 0;
}

static void other_files_are_refused(void **state)
{
	struct rig *g = *state;

	rig_refused(g, "ATTACH 'x.db' AS x", ERR_UNSUPPORTED, "ATTACH");
	rig_refused(g, "/* hi */ attach ':memory:' as y", ERR_UNSUPPORTED, "ATTACH");
	rig_refused(g, "DETACH main", ERR_UNSUPPORTED, "DETACH");
	rig_refused(g, "VACUUM", ERR_UNSUPPORTED, "VACUUM");
	rig_refused(g, " -- now\n vacuum INTO '/tmp/x'", ERR_UNSUPPORTED, "VACUUM");
	rig_refused(g, "SELECT 1; VACUUM", ERR_UNSUPPORTED, "VACUUM");
	rig_refused(g, "SELECT load_extension('x')", ERR_UNSUPPORTED, "load_extension");
	rig_refused(g, "SELECT fts3_tokenizer('simple')", ERR_UNSUPPORTED, "fts3_tokenizer");
	rig_refused(g, "CREATE VIRTUAL TABLE d USING dbstat", ERR_UNSUPPORTED, "dbstat");
	rig_refused(g, "SELECT * FROM sqlite_stmt", ERR_REFUSED, "sqlite_stmt");
}

static void what_lives_in_a_connection_is_refused(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_refused(g, "CREATE TEMP TABLE x(a)", ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE TABLE temp.x(a)", ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE TEMP VIEW x AS SELECT 1", ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE VIEW temp.x AS SELECT 1", ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE TABLE temp.x AS SELECT 1", ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE VIRTUAL TABLE temp.x USING fts5(a)", ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE TRIGGER temp.x AFTER INSERT ON main.t BEGIN SELECT 1; END",
		    ERR_UNSUPPORTED, "TEMP");
	rig_refused(g, "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
		    ERR_UNSUPPORTED, "TEMP");
}

static void pragmas_that_act_are_refused_and_do_not_act(void **state)
{
	struct rig *g = *state;
	static const char *const refused[] = {
		"PRAGMA foreign_keys=OFF",
		"PRAGMA foreign_keys(0)",
		"EXPLAIN PRAGMA foreign_keys=OFF",
		"PRAGMA synchronous=OFF",
		"PRAGMA journal_mode=DELETE",
		"PRAGMA locking_mode=EXCLUSIVE",
		"PRAGMA query_only=1",
		"PRAGMA writable_schema=1",
		"PRAGMA recursive_triggers=1",
		"PRAGMA ignore_check_constraints=1",
		"PRAGMA wal_checkpoint",
		"PRAGMA optimize",
		"PRAGMA schema_version=7",
		"PRAGMA encoding='UTF-16'",
		"PRAGMA main.wal_autocheckpoint=5",
		"PRAGMA case_sensitive_like=1",
		"PRAGMA incremental_vacuum",
		"PRAGMA trusted_schema=0",
		"PRAGMA legacy_alter_table=1",
		"PRAGMA hard_heap_limit=1",
	};

	rig_must(g, "CREATE TABLE p(id INTEGER PRIMARY KEY)");
	rig_must(g, "CREATE TABLE c(p REFERENCES p(id), x CHECK(x>0))");
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		rig_refused(g, refused[i], ERR_UNSUPPORTED, "PRAGMA");
	rig_refused(g, "INSERT INTO c VALUES(1, 1)", ERR_SQL, "FOREIGN KEY");
	rig_refused(g, "INSERT INTO c VALUES(NULL, 0)", ERR_SQL, "CHECK");
	rig_must(g, "PRAGMA journal_mode");
	assert_true(slice_eq(rig_value(g).s, slice_str("wal")));
	rig_must(g, "PRAGMA table_info(c); PRAGMA index_list('c'); PRAGMA foreign_keys");
	rig_must(g, "SELECT name FROM pragma_table_info('c'); SELECT * FROM "
		    "pragma_foreign_key_list('c')");
	rig_must(g, "PRAGMA integrity_check");
	assert_int_equal(g->log_n, 2);
}

static void drovers_own_tables_are_out_of_reach(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_refused(g, "SELECT * FROM drover_meta", ERR_REFUSED, "drover_");
	rig_refused(g, "SELECT * FROM \"DROVER_meta\"", ERR_REFUSED, "drover_");
	rig_refused(g, "UPDATE drover_meta SET applied=0", ERR_REFUSED, "drover_");
	rig_refused(g, "DELETE FROM drover_sessions", ERR_REFUSED, "drover_");
	rig_refused(g, "INSERT INTO drover_sessions VALUES(1,1,1,1,1)", ERR_REFUSED, "drover_");
	rig_refused(g, "DROP TABLE drover_meta", ERR_REFUSED, "drover_");
	rig_refused(g, "ALTER TABLE drover_meta ADD COLUMN x", ERR_REFUSED, "drover_");
	rig_refused(g, "CREATE TABLE drover_x(a)", ERR_REFUSED, "drover_");
	rig_refused(g, "CREATE INDEX drover_i ON t(a)", ERR_REFUSED, "drover_");
	rig_refused(g, "CREATE INDEX i ON drover_meta(applied)", ERR_REFUSED, "drover_");
	rig_refused(g, "CREATE TRIGGER x AFTER INSERT ON drover_meta BEGIN SELECT 1; END",
		    ERR_REFUSED, "drover_");
	rig_refused(g, "CREATE VIEW drover_v AS SELECT 1", ERR_REFUSED, "drover_");
	rig_refused(g, "CREATE VIRTUAL TABLE drover USING fts5(a)", ERR_REFUSED, "drover_");
	rig_refused(g, "ALTER TABLE t RENAME TO drover_t", ERR_REFUSED, "drover_");
	rig_refused(g, "SAVEPOINT drover_request", ERR_REFUSED, "drover_");
	rig_refused(g, "INSERT INTO t VALUES(1); RELEASE drover_request", ERR_REFUSED, "drover_");
	rig_refused(g, "INSERT INTO t VALUES(1); ROLLBACK TO drover_request", ERR_REFUSED,
		    "drover_");
	rig_must(g, "CREATE VIEW v AS SELECT * FROM drover_sessions");
	rig_refused(g, "SELECT * FROM v", ERR_REFUSED, "drover_");
	rig_must(g, "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM drover_meta; END");
	rig_refused(g, "INSERT INTO t VALUES(1)", ERR_REFUSED, "drover_");
	rig_same(g);
}

static void sqlites_own_tables_are_protected(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a); CREATE VIRTUAL TABLE f USING fts5(a)");
	rig_refused(g, "UPDATE sqlite_schema SET sql=''", ERR_SQL, "may not be modified");
	rig_refused(g, "DELETE FROM f_data", ERR_SQL, "may not be modified");
	rig_refused(g, "DROP TABLE f_content", ERR_SQL, "may not be dropped");
}

static void conflict_rollback_is_refused_wherever_it_stands(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a UNIQUE)");
	rig_refused(g, "INSERT OR ROLLBACK INTO t VALUES(1)", ERR_UNSUPPORTED, "ROLLBACK");
	rig_refused(g, "update or /**/ rollback t set a=1", ERR_UNSUPPORTED, "ROLLBACK");
	rig_refused(g, "CREATE TABLE u(a UNIQUE ON CONFLICT ROLLBACK)", ERR_UNSUPPORTED,
		    "ROLLBACK");
	rig_refused(g, "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'x'); END",
		    ERR_UNSUPPORTED, "ROLLBACK");
	rig_must(g,
		 "INSERT INTO t VALUES('rollback'),(\"rollback it\") -- rollback\n /* ROLLBACK */");
	rig_must(g, "CREATE TABLE u(\"rollback\", [rollback x], `rollback y`, rollbacks)");
	rig_same(g);
}

static void a_transaction_inside_a_request_is_bracketed(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "BEGIN; INSERT INTO t VALUES(1); COMMIT");
	rig_must(g, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2); END TRANSACTION; INSERT INTO t "
		    "VALUES(3)");
	rig_must(g,
		 "INSERT INTO t VALUES(4); BEGIN; INSERT INTO t VALUES(5); CREATE TABLE u(x); "
		 "ROLLBACK; INSERT INTO t VALUES(6); CREATE TABLE u(y); INSERT INTO u VALUES(1)");
	rig_must(g, "SELECT group_concat(a) FROM (SELECT a FROM t ORDER BY a)");
	assert_true(slice_eq(rig_value(g).s, slice_str("1,2,3,4,6")));
	rig_refused(g, "BEGIN; INSERT INTO t VALUES(7)", ERR_UNSUPPORTED, "span requests");
	rig_refused(g, "SAVEPOINT x; INSERT INTO t VALUES(7)", ERR_UNSUPPORTED, "span requests");
	rig_refused(g, "BEGIN; BEGIN; COMMIT", ERR_SQL, "within a transaction");
	rig_refused(g, "INSERT INTO t VALUES(7); COMMIT", ERR_SQL, "no transaction");
	rig_refused(g, "ROLLBACK", ERR_SQL, "no transaction");
	rig_refused(g, "RELEASE nowhere", ERR_SQL, "no such savepoint");
	size_t before = g->log_n;
	rig_must(g, "BEGIN; INSERT INTO t VALUES(8); ROLLBACK");
	rig_must(g, "BEGIN; SELECT 1; COMMIT");
	assert_int_equal(g->log_n, before);
	rig_same(g);
}

static void savepoints_take_back_what_they_should(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "SAVEPOINT a; INSERT INTO t VALUES(1); SAVEPOINT b; INSERT INTO t VALUES(2); "
		    "ROLLBACK TO b; INSERT INTO t VALUES(3); SAVEPOINT a; INSERT INTO t VALUES(4); "
		    "RELEASE a; RELEASE b; RELEASE A");
	rig_must(g, "BEGIN; SAVEPOINT a; INSERT INTO t VALUES(5); ROLLBACK TO a; ROLLBACK TO a; "
		    "INSERT INTO t VALUES(6); COMMIT; INSERT INTO t VALUES(7)");
	rig_must(g, "SAVEPOINT a; INSERT INTO t VALUES(8); COMMIT");
	rig_must(g, "SAVEPOINT a; INSERT INTO t VALUES(9); ROLLBACK");
	rig_must(g, "SELECT group_concat(a) FROM (SELECT a FROM t ORDER BY a)");
	assert_true(slice_eq(rig_value(g).s, slice_str("1,3,4,6,7,8")));
	struct buf sql;
	buf_init(&sql, 1 << 16);
	for (int i = 0; i < 100; i++)
		buf_printf(&sql, "SAVEPOINT s%d;", i);
	rig_refused(g, buf_str(&sql), ERR_LIMIT, "savepoints");
	buf_done(&sql);
	rig_same(g);
}

static void an_error_tells_its_statement_and_place(void **state)
{
	struct rig *g = *state;
	const char *texts[] = {"SELECT 1", "SELECT 2; SELECT bad FROM t", NULL};

	rig_must(g, "CREATE TABLE t(a)");
	rig_prepare(g, texts);
	assert_int_equal(rig_execute(g), ERR_SQL);
	assert_int_equal(g->request.statement, 1);
	assert_int_equal(g->request.offset, 17);
	assert_string_equal(g->request.err.text, "no such column: bad");
	assert_int_equal(g->request.results_n, 0);
	rig_refused(g, "SELEC 1", ERR_SQL, "syntax error");
	assert_int_equal(g->request.offset, 0);
	rig_refused(g, "INSERT INTO t VALUES(1", ERR_SQL, "incomplete input");
}

static void answers_are_encoded_as_promised(void **state)
{
	struct rig *g = *state;
	struct sql_result r;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, v VARCHAR(9))");
	r = rig_result(g, 0);
	assert_int_equal(r.kind, SQL_DONE);
	assert_int_equal(r.changes, 0);
	rig_must(g, "INSERT INTO t(v) VALUES('a'),('b')");
	r = rig_result(g, 0);
	assert_int_equal(r.changes, 2);
	assert_int_equal(r.last_rowid, 2);
	rig_must(g, "INSERT INTO t(v) VALUES('c') RETURNING id, v AS x; SELECT v, id*2 FROM t; "
		    "UPDATE t SET v=1");
	assert_int_equal(g->request.results_n, 3);
	r = rig_result(g, 0);
	assert_int_equal(r.kind, SQL_ROWS);
	assert_int_equal(r.columns_n, 2);
	assert_true(slice_eq(rd_bytes(&r.names), slice_str("id")));
	rd_bytes(&r.names);
	assert_true(slice_eq(rd_bytes(&r.names), slice_str("x")));
	assert_int_equal(value_get(&r.values).i, 3);
	r = rig_result(g, 1);
	assert_int_equal(r.rows_n, 3);
	rd_bytes(&r.names);
	assert_true(slice_eq(rd_bytes(&r.names), slice_str("VARCHAR(9)")));
	r = rig_result(g, 2);
	assert_int_equal(r.changes, 3);
	rig_must(g, "");
	assert_int_equal(g->request.results_n, 0);
	rig_must(g, " ; -- nothing\n;");
	assert_int_equal(g->request.results_n, 0);
	g->sql.flags = SQL_BRIEF;
	rig_must(g, "INSERT INTO t(v) VALUES('d'); SELECT * FROM t; DELETE FROM t WHERE id<3; "
		    "INSERT INTO t VALUES(77, 'e')");
	assert_int_equal(g->request.results_n, 1);
	r = rig_result(g, 0);
	assert_int_equal(r.kind, SQL_DONE);
	assert_int_equal(r.changes, 4);
	assert_int_equal(r.last_rowid, 77);
}

static void last_insert_rowid_is_the_requests_own(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
	rig_must(g, "INSERT INTO t VALUES(41)");
	rig_must(g, "SELECT last_insert_rowid()");
	assert_int_equal(rig_value(g).i, 0);
	rig_must(g, "INSERT INTO t VALUES(42); SELECT last_insert_rowid()");
	assert_int_equal(rig_value(g).i, 42);
}

static void parameters_must_fit(void **state)
{
	struct rig *g = *state;
	struct value v[] = {value_int(1), value_int(2)};

	rig_must(g, "CREATE TABLE t(a)");
	rig_prepare_one(g, "INSERT INTO t VALUES(?)", v, 2);
	assert_int_equal(rig_execute(g), ERR_SQL);
	rig_prepare_one(g, "INSERT INTO t VALUES(?)", NULL, 0);
	assert_int_equal(rig_execute(g), ERR_SQL);
	rig_prepare_one(g, "INSERT INTO t VALUES(?); INSERT INTO t VALUES(?)", v, 1);
	assert_int_equal(rig_execute(g), ERR_INVALID);
	rig_prepare_one(g, "INSERT INTO t VALUES(?1+?2)", v, 2);
	assert_int_equal(rig_execute(g), 0);
	rig_must(g, "SELECT count(*) FROM t");
	assert_int_equal(rig_value(g).i, 1);
	/* A request cut short. */
	rig_prepare_one(g, "INSERT INTO t VALUES(?1+?2)", v, 2);
	g->sql.statements.n--;
	assert_int_equal(rig_execute(g), ERR_INVALID);
	rig_prepare_one(g, "INSERT INTO t VALUES('x')\0", NULL, 0);
	g->sql.statements_n = 2;
	assert_int_equal(rig_execute(g), ERR_INVALID);
	rig_same(g);
}

static void a_read_only_request_may_not_write(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	g->sql.mode = SQL_READ;
	rig_refused(g, "INSERT INTO t VALUES(1)", ERR_REFUSED, "only read");
	rig_refused(g, "SELECT 1; CREATE TABLE u(a)", ERR_REFUSED, "only read");
	rig_must(g, "BEGIN; SAVEPOINT a; SELECT * FROM t; ROLLBACK TO a; RELEASE a; COMMIT");
	g->sql.mode = SQL_AUTO;
	rig_must(g, "INSERT INTO t VALUES(1)");
	rig_same(g);
}

static void too_many_rows_are_cut_and_said(void **state)
{
	struct rig *g = *state;
	struct sql_result r;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<150) "
		    "INSERT INTO t SELECT x FROM c RETURNING a");
	r = rig_result(g, 0);
	assert_int_equal(r.rows_n, 100);
	assert_true(r.truncated);
	rig_must(g, "SELECT * FROM t; SELECT count(*) FROM t");
	assert_int_equal(rig_result(g, 0).rows_n, 100);
	r = rig_result(g, 1);
	assert_int_equal(value_get(&r.values).i, 150);
	g->sql.max_rows = 3;
	rig_must(g, "SELECT * FROM t");
	assert_int_equal(rig_result(g, 0).rows_n, 3);
	g->sql.max_rows = 0;
	rig_same(g);
}

static void an_answer_too_large_fails_and_undoes_its_request(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	g->request.results.max = 1000;
	rig_refused(g, "INSERT INTO t VALUES(zeroblob(2000)) RETURNING a", ERR_LIMIT, "answer");
	rig_refused(g, "SELECT zeroblob(2000)", ERR_LIMIT, "answer");
	rig_must(g, "SELECT count(*) FROM t");
	assert_int_equal(rig_value(g).i, 0);
	rig_same(g);
}

/* Runs n texts as requests of one batch. */
static void run_batch(struct rig *g, const char *const *texts, size_t n, int *ret_status)
{
	struct store_request r[8] = {0}, *list[8];
	struct sql_request sql[8] = {0};
	struct buf messages[8], payload;
	struct err e;

	buf_init(&payload, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		struct sql_writer w;
		buf_init(&messages[i], 1 << 20);
		buf_init(&r[i].results, 1 << 20);
		sql_request_begin(&w, &messages[i], &sql[i], 1);
		sql_request_add(&w, slice_str(texts[i]), NULL, 0);
		assert_true(sql_request_decode(buf_slice(&messages[i]), &sql[i]));
		r[i].sql = &sql[i];
		list[i] = &r[i];
	}
	assert_int_equal(store_execute(g->leader, RIG_NS, list, n, ++g->now_us, &payload, &e), 0);
	for (size_t i = 0; i < n; i++) {
		ret_status[i] = r[i].status;
		buf_done(&messages[i]);
		buf_done(&r[i].results);
	}
	g->log = realloc(g->log, (g->log_n + 1) * sizeof *g->log);
	g->log[g->log_n++] = (struct rig_entry){.payload = payload, .term = 1};
	store_proposed(g->leader, g->log_n, 1);
	store_committed(g->leader, g->log_n);
	rig_replay(g, g->follower, g->log_n, g->log_n);
}

static void requests_of_a_batch_fail_alone(void **state)
{
	struct rig *g = *state;
	const char *const texts[] = {"INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2),(1)",
				     "INSERT INTO t VALUES(2)", "bad", "INSERT INTO t VALUES(3)"};
	int status[5];

	rig_must(g, "CREATE TABLE t(a UNIQUE)");
	run_batch(g, texts, 5, status);
	assert_int_equal(status[0], 0);
	assert_int_equal(status[1], ERR_SQL);
	assert_int_equal(status[2], 0);
	assert_int_equal(status[3], ERR_SQL);
	assert_int_equal(status[4], 0);
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT sum(a) FROM t"), 6);
}

static void what_does_not_fit_an_entry_is_told_apart(void **state)
{
	struct rig *g = *state;
	const char *const texts[] = {"INSERT INTO t VALUES(zeroblob(6000))",
				     "INSERT INTO t VALUES(zeroblob(6001))",
				     "INSERT INTO t VALUES(zeroblob(100))"};
	int status[3];

	rig_must(g, "CREATE TABLE t(a)");
	rig_refused(g, "INSERT INTO t VALUES(zeroblob(20000))", ERR_LIMIT, "log entry");
	rig_refused(g, "INSERT INTO t VALUES(zeroblob(6000)); INSERT INTO t VALUES(zeroblob(6000))",
		    ERR_LIMIT, "log entry");
	run_batch(g, texts, 3, status);
	assert_int_equal(status[0], 0);
	assert_int_equal(status[1], ERR_BUSY); /* fits, but not behind the first */
	assert_int_equal(status[2], 0);
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT sum(length(a)) FROM t"), 6100);
}

#define SLOW                                                                              \
	"INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1000 UNION ALL SELECT x+1 FROM c) " \
	"SELECT x FROM c"

/* SQLite can stop a write only by rolling back all that is unflushed; nobody else may notice. */
static void a_write_that_takes_too_long_fails_alone(void **state)
{
	struct rig *g = *state;
	const char *const texts[] = {"INSERT INTO t VALUES(1); INSERT INTO f VALUES('one')", SLOW,
				     "INSERT INTO t VALUES(2); INSERT INTO f VALUES('two')"};
	int status[3];

	rig_must(g,
		 "CREATE TABLE t(a UNIQUE); CREATE TABLE i(id INTEGER PRIMARY KEY AUTOINCREMENT)");
	rig_must(g, "CREATE VIRTUAL TABLE f USING fts5(a)");
	rig_must(g,
		 "INSERT INTO t VALUES(0); INSERT INTO i VALUES(5); INSERT INTO f VALUES('zero')");
	g->sql.client = 9;
	g->sql.sequence = 1;
	rig_must(g, "INSERT INTO t VALUES(10)");
	g->sql.client = 0;
	run_batch(g, texts, 3, status);
	assert_int_equal(status[0], 0);
	assert_int_equal(status[1], ERR_TIMEOUT);
	assert_int_equal(status[2], 0);
	rig_refused(g, SLOW, ERR_TIMEOUT, "longer than 50 ms");
	rig_must(g, "INSERT INTO i DEFAULT VALUES; INSERT INTO t VALUES(3)");
	rig_refused(
		g,
		"SELECT count(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l",
		ERR_TIMEOUT, "longer than");
	rig_must(g, "SELECT count(*) FROM f WHERE f MATCH 'one OR two OR zero'");
	assert_int_equal(rig_value(g).i, 3);
	rig_must(g, "INSERT INTO f(f) VALUES('integrity-check')");
	g->sql.client = 9;
	rig_must(g, "INSERT INTO t VALUES(10)"); /* known: not executed again */
	g->sql.client = 0;
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT group_concat(a, '') FROM t"),
			 10123); /* "0", 10, 1, 2, 3 */
}

static void speculative_batches_survive_a_stopped_write(void **state)
{
	struct rig *g = *state;
	struct store_request *r = &g->request;
	struct buf payloads[2];
	struct err e;
	const char *const texts[] = {"INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)"};

	rig_must(g, "CREATE TABLE t(a)");
	r->sql = &g->sql;
	for (int i = 0; i < 2; i++) {
		buf_init(&payloads[i], 1 << 20);
		rig_prepare_one(g, texts[i], NULL, 0);
		assert_int_equal(
			store_execute(g->leader, RIG_NS, &r, 1, ++g->now_us, &payloads[i], &e), 0);
		store_proposed(g->leader, 2 + (uint64_t)i, 1);
	}
	rig_prepare_one(g, SLOW, NULL, 0);
	struct buf none;
	buf_init(&none, 1 << 24);
	assert_int_equal(store_execute(g->leader, RIG_NS, &r, 1, ++g->now_us, &none, &e), 0);
	assert_int_equal(r->status, ERR_TIMEOUT);
	assert_int_equal(none.len, 0);
	assert_int_equal(store_speculative(g->leader), 2);
	store_committed(g->leader, 3);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			store_apply(g->follower, 2 + (uint64_t)i, 1, buf_slice(&payloads[i]), &e),
			0);
		buf_done(&payloads[i]);
	}
	buf_done(&none);
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT sum(a) FROM t"), 3);
}

static void a_table_without_rowids_left_fails_alone(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a)");
	rig_must(g, "INSERT INTO t VALUES(9223372036854775807, 1)");
	rig_refused(g, "INSERT INTO t(a) VALUES(2)", ERR_SQL, "full");
	rig_must(g, "INSERT INTO t VALUES(7, 3)");
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM t"), 2);
}

static void statements_are_kept_and_forgotten(void **state)
{
	struct rig *g = *state;
	char sql[100];

	rig_must(g, "CREATE TABLE t(a)");
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 40; i++) {
			snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i);
			rig_must(g, sql);
			rig_must(g, "SELECT count(*) FROM t");
		}
		rig_must(g, "DROP TABLE t; CREATE TABLE t(a, b DEFAULT 5)");
		rig_refused(g, "INSERT INTO t VALUES(1)", ERR_SQL, "columns");
		rig_must(g, "DROP TABLE t; CREATE TABLE t(a)");
	}
	const char *texts[] = {"INSERT INTO t VALUES(1)", "DROP TABLE t", "CREATE TABLE t(a, b)",
			       "INSERT INTO t VALUES(1)", NULL};
	rig_prepare(g, texts);
	assert_int_equal(rig_execute(g), ERR_SQL);
	assert_int_equal(g->request.statement, 3);
	rig_same(g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_SLOW(name) cmocka_unit_test_setup_teardown(name, set_up_slow, tear_down)
#define TEST_SMALL(name) cmocka_unit_test_setup_teardown(name, set_up_small, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(other_files_are_refused),
		TEST(what_lives_in_a_connection_is_refused),
		TEST(pragmas_that_act_are_refused_and_do_not_act),
		TEST(drovers_own_tables_are_out_of_reach),
		TEST(sqlites_own_tables_are_protected),
		TEST(conflict_rollback_is_refused_wherever_it_stands),
		TEST(a_transaction_inside_a_request_is_bracketed),
		TEST(savepoints_take_back_what_they_should),
		TEST(an_error_tells_its_statement_and_place),
		TEST(answers_are_encoded_as_promised),
		TEST(last_insert_rowid_is_the_requests_own),
		TEST(parameters_must_fit),
		TEST(a_read_only_request_may_not_write),
		TEST_SMALL(too_many_rows_are_cut_and_said),
		TEST(an_answer_too_large_fails_and_undoes_its_request),
		TEST(requests_of_a_batch_fail_alone),
		TEST_SMALL(what_does_not_fit_an_entry_is_told_apart),
		TEST_SLOW(a_write_that_takes_too_long_fails_alone),
		TEST_SLOW(speculative_batches_survive_a_stopped_write),
		TEST(a_table_without_rowids_left_fails_alone),
		TEST_SMALL(statements_are_kept_and_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
