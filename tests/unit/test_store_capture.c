/* What the leader executes reaches the follower unchanged, or is refused with the reason: one test
 * for each way in which SQLite's hook alone would mislead. */
#include "tests/unit/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

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

static void plain_rows_arrive(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT)");
	rig_must(g, "INSERT INTO t VALUES(1,2,'x'),(5,NULL,''),(-3,1.5,x'00ff')");
	rig_must(g, "UPDATE t SET a=7 WHERE id=1");
	rig_must(g, "UPDATE t SET id=9 WHERE id=5");
	rig_must(g, "UPDATE t SET id=id+100, b=b||'y'");
	rig_must(g, "DELETE FROM t WHERE id=101");
	rig_same(g);
	rig_must(g, "DELETE FROM t");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM t"), 0);
}

static void an_update_that_changes_nothing_makes_no_entry(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "INSERT INTO t VALUES(1)");
	size_t before = g->log_n;
	rig_must(g, "UPDATE t SET a=1");
	rig_must(g, "UPDATE t SET a=2 WHERE a=5");
	assert_int_equal(g->log_n, before);
	assert_false(g->request.wrote);
}

static void half_failed_statements_leave_nothing(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE p(id INTEGER PRIMARY KEY)");
	rig_must(g, "CREATE TABLE t(a UNIQUE, b CHECK(b<10), c NOT NULL, d REFERENCES p(id))");
	rig_must(g, "INSERT INTO t VALUES(3,1,1,NULL)");
	rig_refused(g, "INSERT INTO t VALUES(1,1,1,NULL),(3,1,1,NULL)", ERR_SQL, "UNIQUE");
	rig_refused(g, "INSERT INTO t VALUES(1,1,1,NULL),(4,11,1,NULL)", ERR_SQL, "CHECK");
	rig_refused(g, "INSERT INTO t VALUES(1,1,1,NULL),(4,1,NULL,NULL)", ERR_SQL, "NOT NULL");
	rig_refused(g, "INSERT INTO t VALUES(1,1,1,NULL),(4,1,1,99)", ERR_SQL, "FOREIGN KEY");
	rig_refused(g, "INSERT OR FAIL INTO t VALUES(1,1,1,NULL),(3,1,1,NULL)", ERR_SQL, "UNIQUE");
	rig_must(g, "INSERT OR IGNORE INTO t VALUES(1,1,1,NULL),(3,1,1,NULL)");
	rig_must(g, "INSERT OR REPLACE INTO t VALUES(1,2,2,NULL),(3,2,2,NULL)");
	rig_same(g);
	assert_int_equal(rig_look(g->leader_dir, RIG_NS, "SELECT count(*) FROM t"), 2);
}

static void a_request_is_all_or_nothing(void **state)
{
	struct rig *g = *state;
	const char *texts[] = {"INSERT INTO t VALUES(2)", "CREATE TABLE u(x)",
			       "INSERT INTO u VALUES(1)", "INSERT INTO t VALUES(1)", NULL};

	rig_must(g, "CREATE TABLE t(a UNIQUE)");
	rig_must(g, "INSERT INTO t VALUES(1)");
	size_t before = g->log_n;
	rig_prepare(g, texts);
	assert_int_equal(rig_execute(g), ERR_SQL);
	assert_int_equal(g->request.statement, 3);
	assert_int_equal(g->log_n, before);
	rig_refused(g, "SELECT * FROM u", ERR_SQL, "no such table");
	rig_must(g, "CREATE TABLE u(y)");
	rig_must(g, "INSERT INTO u VALUES(5)");
	rig_same(g);
}

static void autoincrement_follows(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE)");
	rig_must(g, "INSERT INTO t(a) VALUES(1)");
	rig_must(g, "INSERT OR IGNORE INTO t VALUES(50,1)");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT seq FROM sqlite_sequence"), 50);
	rig_must(g, "INSERT INTO t(a) VALUES(2)");
	rig_must(g, "DELETE FROM t WHERE id=51");
	rig_must(g, "UPDATE sqlite_sequence SET seq=7 WHERE name='t'");
	rig_same(g);
	rig_must(g, "INSERT INTO t(id, a) VALUES(3, 9); DELETE FROM sqlite_sequence");
	rig_same(g);
	rig_must(g, "INSERT INTO sqlite_sequence VALUES('t', 1000)");
	rig_must(g, "INSERT INTO t(a) VALUES(77)");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT max(id) FROM t"), 1001);
	rig_refused(g, "INSERT INTO sqlite_sequence VALUES('t', 5)", ERR_UNSUPPORTED,
		    "sqlite_sequence");
	rig_refused(g, "UPDATE sqlite_sequence SET seq='x'", ERR_UNSUPPORTED, "sqlite_sequence");
	rig_must(g, "SAVEPOINT a; INSERT INTO t(a) VALUES(5000); ROLLBACK TO a; "
		    "INSERT OR IGNORE INTO t VALUES(6000, 77); SAVEPOINT b; "
		    "CREATE TABLE z(q); ROLLBACK TO b; RELEASE a");
	rig_same(g);
	rig_must(g, "ALTER TABLE t RENAME TO t2");
	rig_must(g, "INSERT INTO t2(a) VALUES(78)");
	rig_same(g);
	rig_must(g, "DROP TABLE t2");
	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE)");
	rig_must(g, "INSERT INTO t(a) VALUES(78)");
	rig_same(g);
}

static void rows_older_than_a_column_keep_its_default(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a, b)");
	rig_must(g, "CREATE TABLE w(a PRIMARY KEY, b) WITHOUT ROWID");
	rig_must(g, "INSERT INTO t VALUES(1,2),(3,4),(5,6); INSERT INTO w VALUES(1,2),(3,4),(5,6)");
	rig_must(g, "ALTER TABLE t ADD COLUMN c DEFAULT 5; ALTER TABLE w ADD COLUMN c DEFAULT 5");
	rig_must(g, "ALTER TABLE t ADD COLUMN d; ALTER TABLE w ADD COLUMN d");
	rig_must(g, "ALTER TABLE t ADD COLUMN e TEXT DEFAULT 'x'; "
		    "ALTER TABLE w ADD COLUMN e TEXT DEFAULT 'x'");
	rig_must(g, "UPDATE t SET c=NULL WHERE a=1; UPDATE w SET c=NULL WHERE a=1");
	rig_must(g, "UPDATE t SET b=9 WHERE a=3; UPDATE w SET b=9 WHERE a=3");
	rig_same(g);
	rig_must(g, "CREATE TABLE t2(a, b, c DEFAULT 5, d, e TEXT DEFAULT 'x')");
	rig_must(g, "CREATE TABLE w2(a PRIMARY KEY, b, c DEFAULT 5, d, e TEXT DEFAULT 'x') "
		    "WITHOUT ROWID");
	rig_must(g, "INSERT INTO t2 SELECT * FROM t; INSERT INTO w2 SELECT * FROM w");
	rig_same(g);
	assert_int_equal(
		rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM t2 WHERE c=5 AND e='x'"),
		2);
	assert_int_equal(
		rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM w2 WHERE c=5 AND e='x'"),
		2);
}

static void full_text_and_rtree_arrive_by_their_shadow_tables(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE VIRTUAL TABLE f5 USING fts5(a, b)");
	rig_must(g, "CREATE VIRTUAL TABLE f4 USING fts4(a)");
	rig_must(g, "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)");
	for (int i = 0; i < 50; i++) {
		rig_must(g, "INSERT INTO f5 VALUES('some words here','and more of them')");
		rig_must(g, "INSERT INTO f4 VALUES('other words there')");
		rig_must(g, "INSERT INTO r(x0,x1) SELECT count(*), count(*)+5 FROM r");
	}
	rig_must(g, "UPDATE f5 SET a='changed' WHERE rowid%7=0; DELETE FROM f4 WHERE docid%5=0");
	rig_must(g, "DELETE FROM r WHERE id%3=0; UPDATE r SET x1=x1+1 WHERE id%2=0");
	rig_must(g, "INSERT INTO f5(f5) VALUES('optimize'); INSERT INTO f4(f4) VALUES('optimize')");
	rig_same(g);
	/* The follower takes over: its connection must not work from a stale picture. */
	struct store *old = g->leader;
	char dir[80];
	g->leader = g->follower;
	g->follower = old;
	memcpy(dir, g->leader_dir, sizeof dir);
	memcpy(g->leader_dir, g->follower_dir, sizeof dir);
	memcpy(g->follower_dir, dir, sizeof dir);
	rig_must(g, "INSERT INTO f5 VALUES('after the change','of leaders')");
	rig_must(g, "INSERT INTO f4 VALUES('after'); DELETE FROM r WHERE id=1");
	rig_must(g, "SELECT count(*) FROM f5 WHERE f5 MATCH 'words'");
	assert_int_equal(rig_value(g).i, 43);
	rig_must(g, "INSERT INTO f5(f5) VALUES('integrity-check')");
	rig_must(g, "ALTER TABLE f5 RENAME TO g5; INSERT INTO g5 VALUES('x','y')");
	rig_must(g, "INSERT INTO g5 VALUES('k','l'); DROP TABLE g5; DROP TABLE f4");
	rig_same(g);
}

static void a_failed_full_text_request_is_forgotten(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE VIRTUAL TABLE f USING fts5(a); CREATE TABLE t(a UNIQUE)");
	rig_must(g, "INSERT INTO t VALUES(1); INSERT INTO f VALUES('kept')");
	rig_refused(g, "INSERT INTO f VALUES('gone'); INSERT INTO t VALUES(1)", ERR_SQL, "UNIQUE");
	rig_must(g, "BEGIN; INSERT INTO f VALUES('gone'); ROLLBACK");
	rig_must(g, "SAVEPOINT a; INSERT INTO f VALUES('gone'); ROLLBACK TO a; "
		    "INSERT INTO f VALUES('also kept'); RELEASE a");
	rig_must(g, "SELECT count(*) FROM f WHERE f MATCH 'gone'");
	assert_int_equal(rig_value(g).i, 0);
	rig_must(g, "INSERT INTO f(f) VALUES('integrity-check')");
	rig_same(g);
}

static void full_text_tables_that_merge_by_themselves_arrive(void **state)
{
	struct rig *g = *state;
	struct err e;

	rig_must(g, "CREATE VIRTUAL TABLE f5 USING fts5(a); CREATE VIRTUAL TABLE f4 USING fts4(a)");
	rig_must(g, "INSERT INTO f4(f4) VALUES('automerge=2'); "
		    "INSERT INTO f5(f5, rank) VALUES('automerge', 2), ('crisismerge', 2), ('pgsz', "
		    "64)");
	for (int i = 0; i < 120; i++) {
		rig_must(g, "INSERT INTO f4 SELECT hex(randomblob(2000)) FROM (VALUES(1),(2),(3)); "
			    "INSERT INTO f5 SELECT hex(randomblob(2000))");
		if (i % 10 == 0)
			assert_int_equal(store_flush(g->leader, 0, &e), 0);
	}
	rig_must(g, "INSERT INTO f4(f4) VALUES('merge=50,2'); INSERT INTO f5(f5, rank) "
		    "VALUES('merge', 50)");
	rig_same(g);
}

static void created_as_select_sends_what_came_out(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t AS SELECT random() AS r, datetime('now') AS n, 'x' AS \"a b\"");
	rig_must(g, "CREATE TABLE IF NOT EXISTS t AS SELECT 1");
	rig_must(g,
		 "CREATE TABLE u AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c "
		 "WHERE x<100) SELECT x, abs(random()%10) AS rowid FROM c");
	rig_must(g, "INSERT INTO t SELECT random(), strftime('%f','now'), randomblob(5) FROM u");
	rig_same(g);
}

static void settings_of_the_file_travel(void **state)
{
	struct rig *g = *state;

	rig_must(g, "PRAGMA user_version=42");
	rig_must(g, "PRAGMA application_id=-7");
	rig_must(g, "PRAGMA user_version");
	assert_int_equal(rig_value(g).i, 42);
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "PRAGMA user_version"), 42);
}

static void statistics_travel_as_text(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a); CREATE INDEX i ON t(a)");
	rig_must(g, "INSERT INTO t VALUES(1),(2),(2)");
	rig_must(g, "ANALYZE");
	rig_must(g, "INSERT INTO t VALUES(1),(2),(2)");
	rig_must(g, "ANALYZE t");
	rig_must(g, "REINDEX");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM sqlite_stat1"), 1);
	rig_refused(g, "DELETE FROM sqlite_stat1", ERR_UNSUPPORTED, "ANALYZE");
}

static void drop_table_with_foreign_keys_sends_only_its_cascades(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE p(id INTEGER PRIMARY KEY)");
	rig_must(g, "CREATE TABLE c(a, p REFERENCES p(id) ON DELETE CASCADE)");
	rig_must(g, "CREATE TABLE n(a, p REFERENCES p(id) ON DELETE SET NULL)");
	rig_must(g, "INSERT INTO p VALUES(1),(2); INSERT INTO c VALUES(1,1),(2,2),(3,NULL); "
		    "INSERT INTO n VALUES(1,1),(2,NULL)");
	rig_must(g, "DROP TABLE p");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM c"), 1);
}

static void delete_without_where_is_told_row_by_row(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a)");
	rig_must(g, "INSERT INTO t VALUES(1),(2),(3)");
	rig_must(g, "DELETE FROM t");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM t"), 0);
}

static void unique_values_that_change_places_arrive(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a INTEGER PRIMARY KEY, u UNIQUE)");
	rig_must(g, "INSERT INTO t VALUES(1,10),(2,20),(3,30)");
	rig_must(g, "UPDATE t SET u=-1 WHERE a=1; UPDATE t SET u=10 WHERE a=2; "
		    "UPDATE t SET u=20 WHERE a=1");
	rig_must(g, "UPDATE t SET a=-a; UPDATE t SET a=4+a");
	rig_must(g, "UPDATE OR REPLACE t SET u=20");
	rig_same(g);
}

static void generated_columns_are_computed_anew(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a, v AS (a+1) VIRTUAL, b REAL, s AS (b*2) STORED, c)");
	rig_must(g, "CREATE TABLE w(a, v AS (a+1) VIRTUAL, b, s AS (b||'') STORED, c, "
		    "PRIMARY KEY(c, a)) WITHOUT ROWID");
	rig_must(g, "INSERT INTO t(a,b,c) VALUES(1,2,3),(4,5.5,'x')");
	rig_must(g, "INSERT INTO w(a,b,c) VALUES(1,2,3),(4,5.5,'x')");
	rig_must(g, "UPDATE t SET b=7; UPDATE w SET b=7 WHERE a=1; UPDATE w SET a=a+1");
	rig_must(g, "CREATE INDEX i ON t(v); UPDATE t SET a=a*2; DELETE FROM w WHERE v=6");
	rig_same(g);
	rig_refused(g, "CREATE TABLE x(v AS (1) VIRTUAL, id INTEGER PRIMARY KEY, b)",
		    ERR_UNSUPPORTED, "VIRTUAL");
	rig_must(g, "CREATE TABLE x(id INTEGER PRIMARY KEY, v AS (id) VIRTUAL, b)");
	rig_must(g, "INSERT INTO x(b) VALUES(5); UPDATE x SET b=6, id=9");
	rig_same(g);
}

static void deferred_foreign_keys_are_checked_at_the_requests_end(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE p(id INTEGER PRIMARY KEY)");
	rig_must(g, "CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)");
	rig_must(g, "INSERT INTO c VALUES(1); INSERT INTO p VALUES(1)");
	rig_refused(g, "INSERT INTO c VALUES(2)", ERR_SQL, "FOREIGN KEY");
	rig_must(g, "INSERT INTO c VALUES(1)");
	rig_must(g, "CREATE TABLE d(p REFERENCES p(id))");
	rig_refused(g, "INSERT INTO d VALUES(5); INSERT INTO p VALUES(5)", ERR_SQL, "FOREIGN KEY");
	for (int i = 0; i < 2; i++) {
		rig_must(g, "PRAGMA defer_foreign_keys=ON; INSERT INTO d VALUES(5); "
			    "INSERT INTO p VALUES(5)");
		rig_refused(g, "INSERT INTO d VALUES(6); INSERT INTO p VALUES(6)", ERR_SQL,
			    "FOREIGN KEY");
		rig_must(g, "DELETE FROM d; DELETE FROM p WHERE id=5");
	}
	rig_refused(g, "PRAGMA defer_foreign_keys=1; INSERT INTO d VALUES(5)", ERR_SQL,
		    "FOREIGN KEY");
	rig_same(g);
}

static void tables_whose_rows_have_no_name_are_refused(void **state)
{
	struct rig *g = *state;

	rig_refused(g, "CREATE TABLE t(rowid, oid, _rowid_)", ERR_UNSUPPORTED, "hide");
	rig_must(g, "CREATE TABLE t(rowid, oid)");
	rig_refused(g, "ALTER TABLE t ADD COLUMN _rowid_", ERR_UNSUPPORTED, "hide");
	rig_must(g, "CREATE TABLE k(rowid, oid, _rowid_ INTEGER PRIMARY KEY)");
	rig_must(g, "CREATE TABLE w(rowid, oid, _rowid_, PRIMARY KEY(oid)) WITHOUT ROWID");
	rig_must(g, "INSERT INTO t VALUES(1,2),(3,4); INSERT INTO k VALUES(5,6,7); "
		    "INSERT INTO w VALUES(1,2,3)");
	rig_must(g, "UPDATE t SET rowid=9; UPDATE k SET _rowid_=1; UPDATE w SET oid=4, rowid=0");
	rig_must(g, "DELETE FROM t WHERE oid=2");
	rig_same(g);
}

static void keys_beyond_exact_reals_arrive(void **state)
{
	struct rig *g = *state;

	rig_must(g,
		 "CREATE TABLE w(k REAL, n NUMERIC, t TEXT, PRIMARY KEY(k, n, t)) WITHOUT ROWID");
	rig_must(g, "INSERT INTO w VALUES(9007199254740993, 9007199254740993, 1),"
		    "(9223372036854775807, 1e300, 2),(1, 1.0, 3.0),(-0.0, '12abc', x'00'),"
		    "(140737488355329, '1e3', ''),(4503599627370497, -9223372036854775808, 'a')");
	rig_must(g, "UPDATE w SET k=k+1; UPDATE w SET n=n+1; UPDATE w SET t=t||'z'");
	rig_must(g, "DELETE FROM w WHERE t LIKE '2%'");
	/* SQLite's hook takes r's type for k's here. */
	rig_must(g, "CREATE TABLE x(r REAL, k INTEGER PRIMARY KEY) WITHOUT ROWID");
	rig_must(g, "INSERT INTO x VALUES(1.5, 9007199254740993),(2.5, 5),(3, 6)");
	rig_must(g, "UPDATE x SET r=9, k=k+10 WHERE k<10; DELETE FROM x WHERE k=16");
	rig_refused(g, "UPDATE x SET r=9", ERR_UNSUPPORTED, "2^53");
	rig_refused(g, "DELETE FROM x", ERR_UNSUPPORTED, "2^53");
	rig_must(g, "CREATE TABLE y(k INTEGER PRIMARY KEY, r REAL, n) WITHOUT ROWID");
	rig_must(g, "INSERT INTO y VALUES(9007199254740993, 1, 1),(9007199254740995, 2, 2)");
	rig_must(g, "UPDATE y SET r=r+1, k=k-20; DELETE FROM y WHERE r=2");
	/* The same confusion, by a VIRTUAL column, in what an update compares. */
	rig_must(g, "CREATE TABLE z(a, v AS (a) VIRTUAL, n, r REAL, m)");
	rig_must(g, "INSERT INTO z(n, m) VALUES(9007199254740993, 9007199254740993)");
	rig_must(g, "UPDATE z SET n=9007199254740992.0, m=9007199254740992.0");
	rig_same(g);
}

static void odd_values_arrive(void **state)
{
	struct rig *g = *state;
	char *big = malloc(10 << 20);

	memset(big, 'b', 10 << 20);
	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	const struct value values[] = {
		value_real(0.0 / 0.0),
		value_real(1.0 / 0.0),
		value_real(-0.0),
		value_int(INT64_MIN),
		value_text(slice_of("a\0b", 3)),
		value_text(slice_of("\xff\xfe", 2)),
		value_blob(slice_of("", 0)),
		value_text(slice_of("", 0)),
		value_blob(slice_of(big, 10 << 20)),
		value_text(slice_of(big, 1 << 20)),
		value_null(),
	};
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		rig_prepare_one(g, "INSERT INTO t(v) VALUES(?)", &values[i], 1);
		assert_int_equal(rig_execute(g), 0);
	}
	rig_must(g, "UPDATE t SET v=v||'' WHERE id=5; UPDATE t SET v=zeroblob(1000) WHERE id=7");
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT length(v) FROM t WHERE id=9"),
			 10 << 20);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS,
				  "SELECT count(*) FROM t WHERE id=6 AND hex(v)='FFFE'"),
			 1);
	free(big);
}

static void triggers_upserts_and_views_arrive_as_rows(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, n DEFAULT 0)");
	rig_must(g, "CREATE TABLE log(x)");
	rig_must(g, "CREATE TRIGGER a1 AFTER INSERT ON t BEGIN INSERT INTO log VALUES(random()); "
		    "UPDATE t SET n=n+1 WHERE id=new.id; END");
	rig_must(g,
		 "CREATE TRIGGER b1 BEFORE DELETE ON t BEGIN INSERT INTO log VALUES(old.a); END");
	rig_must(g, "CREATE VIEW v AS SELECT id, a FROM t");
	rig_must(g, "CREATE TRIGGER v1 INSTEAD OF INSERT ON v BEGIN INSERT INTO t(a) "
		    "VALUES(new.a||'!'); END");
	rig_must(g, "INSERT INTO t(a) VALUES('x'),('y')");
	rig_must(g, "INSERT INTO t(a) VALUES('x') ON CONFLICT(a) DO UPDATE SET n=n+100");
	rig_must(g, "INSERT INTO v(a) VALUES('z')");
	rig_must(g, "REPLACE INTO t(id, a) VALUES(1, 'q'); DELETE FROM t WHERE a='y'");
	rig_must(g, "DELETE FROM t RETURNING a, n");
	assert_int_equal(rig_result(g, 0).rows_n, 2);
	rig_same(g);
}

static void check_constraints_hold_on_the_leader_only(void **state)
{
	struct rig *g = *state;

	/* RAISE and CHECK decide on the leader; followers bring in what was decided. */
	rig_must(g, "CREATE TABLE t(a CHECK(a>0), b STRICT_ TEXT)");
	rig_must(g, "CREATE TABLE s(a INT, b TEXT, c ANY) STRICT");
	rig_refused(g, "INSERT INTO t VALUES(0, 1)", ERR_SQL, "CHECK");
	rig_refused(g, "INSERT INTO s VALUES('x', 1, 1)", ERR_SQL, "INT");
	rig_must(g, "INSERT INTO t VALUES(1, 1); INSERT INTO s VALUES('5', 1, x'aa')");
	rig_same(g);
}

static void columns_and_tables_change_their_names(void **state)
{
	struct rig *g = *state;

	rig_must(g, "CREATE TABLE t(a, b, c); INSERT INTO t VALUES(1,2,3)");
	rig_must(g, "ALTER TABLE t RENAME COLUMN b TO \"b \"\"x\"; INSERT INTO t VALUES(4,5,6); "
		    "ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES(7,8); "
		    "ALTER TABLE t RENAME TO \"select\"; INSERT INTO \"select\" VALUES(9,10)");
	rig_must(g, "UPDATE \"select\" SET c=c+1; DELETE FROM \"select\" WHERE c=7");
	rig_must(g, "DROP TABLE \"select\"; CREATE TABLE t(c); INSERT INTO t VALUES(1)");
	rig_same(g);
	rig_refused(g, "ALTER TABLE t RENAME TO drover_x", ERR_REFUSED, "drover_");
	rig_refused(g, "ALTER TABLE t RENAME TO DROVER_x", ERR_REFUSED, "drover_");
	rig_same(g);
}

static void many_tables_in_one_request_get_numbers_anew(void **state)
{
	struct rig *g = *state;
	struct buf sql;

	buf_init(&sql, 1 << 20);
	for (int i = 0; i < 400; i++)
		buf_printf(&sql, "CREATE TABLE t%d(a);", i);
	rig_must(g, buf_str(&sql));
	buf_clear(&sql);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 400; i++)
			buf_printf(&sql, "INSERT INTO t%d VALUES(%d);", i, i);
		buf_printf(&sql, "SAVEPOINT a;");
		for (int i = 0; i < 400; i++)
			buf_printf(&sql, "INSERT INTO t%d VALUES('gone');", i);
		buf_printf(&sql, "ROLLBACK TO a; RELEASE a; INSERT INTO t3 VALUES('again');");
	}
	rig_must(g, buf_str(&sql));
	rig_same(g);
	assert_int_equal(rig_look(g->follower_dir, RIG_NS, "SELECT count(*) FROM t3"), 4);
	buf_done(&sql);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(plain_rows_arrive),
		TEST(an_update_that_changes_nothing_makes_no_entry),
		TEST(half_failed_statements_leave_nothing),
		TEST(a_request_is_all_or_nothing),
		TEST(autoincrement_follows),
		TEST(rows_older_than_a_column_keep_its_default),
		TEST(full_text_and_rtree_arrive_by_their_shadow_tables),
		TEST(a_failed_full_text_request_is_forgotten),
		TEST(full_text_tables_that_merge_by_themselves_arrive),
		TEST(created_as_select_sends_what_came_out),
		TEST(settings_of_the_file_travel),
		TEST(statistics_travel_as_text),
		TEST(drop_table_with_foreign_keys_sends_only_its_cascades),
		TEST(delete_without_where_is_told_row_by_row),
		TEST(unique_values_that_change_places_arrive),
		TEST(generated_columns_are_computed_anew),
		TEST(deferred_foreign_keys_are_checked_at_the_requests_end),
		TEST(tables_whose_rows_have_no_name_are_refused),
		TEST(keys_beyond_exact_reals_arrive),
		TEST(odd_values_arrive),
		TEST(triggers_upserts_and_views_arrive_as_rows),
		TEST(check_constraints_hold_on_the_leader_only),
		TEST(columns_and_tables_change_their_names),
		TEST(many_tables_in_one_request_get_numbers_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
