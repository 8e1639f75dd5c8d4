#include "agent/store/run.h"

#include <stdlib.h>
#include <string.h>

#define FLUSHES_MAX 10000

int run_write_ready(struct run *run, struct err *e)
{
	struct namespace *ns = run->ns;

	if (run->began)
		return 0;
	if (run->r->sql->mode == SQL_READ)
		return err_set(e, ERR_REFUSED, "the request asks to only read, but would write");
	int code = namespace_begin(ns, e);
	if (!code)
		code = namespace_run_watched(ns, SQL_SAVEPOINT, e);
	if (!code)
		run->began = true;
	return code;
}

int run_step_all(struct run *run, sqlite3_stmt *stmt, enum capture_mode mode, struct err *e)
{
	int rc, code = 0;

	run->ns->capture.mode = mode;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		;
	run->ns->capture.mode = CAPTURE_OFF;
	if (rc != SQLITE_DONE)
		code = connection_error(run->c, e);
	sqlite3_reset(stmt);
	return code ? code : capture_settle(&run->ns->capture, e);
}

static int flush_virtual_once(struct run *run, struct err *e)
{
	struct capture *k = &run->ns->capture;

	k->mode = CAPTURE_ROWS;
	int code = connection_exec(run->c, "SAVEPOINT drover_flush", e);
	if (!code)
		code = connection_exec(run->c, "RELEASE drover_flush", e);
	k->mode = CAPTURE_OFF;
	if (!code)
		code = capture_settle(k, e);
	return code ? code : capture_check(k, e);
}

int run_flush_virtual(struct run *run, struct err *e)
{
	struct namespace *ns = run->ns;
	uint64_t before;
	unsigned n = 0;

	if (!run->began || !ns->schema.virtual_tables)
		return 0;
	/* An FTS4 table with automerge does some more of its merging at each savepoint and at the
	 * commit, which is too late for us: until there is none left to do. */
	do {
		before = ns->capture.records;
		int code = flush_virtual_once(run, e);
		if (code)
			return code;
	} while (ns->capture.records != before && ++n < FLUSHES_MAX);
	return n < FLUSHES_MAX ? 0 : err_set(e, ERR_LIMIT, "a full-text table merges without end");
}

void run_schema_changed(struct run *run)
{
	run->schema_changed = run->clear_cache = true;
	capture_forget_tables(&run->ns->capture);
	schema_forget(&run->ns->schema);
	sequences_forget(&run->ns->sequences);
}

static bool brief(const struct run *run)
{
	return run->r->sql->flags & SQL_BRIEF;
}

/* Steps through the rows of a statement that has columns. */
static int step_rows(struct run *run, struct statement *st, struct err *e)
{
	struct buf *b = &run->r->results;
	struct sql_rows_writer w;
	uint64_t n = 0;
	bool truncated = false;
	int rc;

	if (!brief(run)) {
		sql_rows_begin(&w, b, st->columns_n);
		for (uint32_t i = 0; i < st->columns_n; i++)
			sql_rows_column(&w, sqlite3_column_name(st->stmt, (int)i),
					sqlite3_column_decltype(st->stmt, (int)i));
	}
	while ((rc = sqlite3_step(st->stmt)) == SQLITE_ROW) {
		if (brief(run) || truncated)
			continue; /* INSERT … RETURNING must still come to its end */
		if (n == run->rows_max) {
			truncated = true;
			if (st->kind == STATEMENT_READ)
				break;
			continue;
		}
		for (uint32_t i = 0; i < st->columns_n; i++) {
			struct value v = connection_column(st->stmt, (int)i);
			value_put(b, &v);
		}
		n++;
		if (!buf_ok(b))
			return err_set(e, ERR_LIMIT, "the answer is larger than %zu bytes", b->max);
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		return connection_error(run->c, e);
	if (!brief(run)) {
		sql_rows_end(&w, n, truncated);
		run->r->results_n++;
	}
	return 0;
}

static int step_plain(struct run *run, struct statement *st, struct err *e)
{
	if (st->columns_n)
		return step_rows(run, st, e);
	int rc = sqlite3_step(st->stmt);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : connection_error(run->c, e);
}

static void put_done(struct run *run, int64_t changes, int64_t last_rowid)
{
	if (brief(run))
		return;
	sql_result_done(&run->r->results, changes, last_rowid);
	run->r->results_n++;
}

static int run_write(struct run *run, struct statement *st, struct err *e)
{
	struct namespace *ns = run->ns;
	int code = run_write_ready(run, e);

	if (!code && st->sequence)
		code = sequences_before(&ns->sequences, run->c, e);
	if (code)
		return code;
	ns->capture.mode = CAPTURE_ROWS;
	code = step_plain(run, st, e);
	ns->capture.mode = CAPTURE_OFF;
	if (!code && ns->capture.touched_n)
		code = capture_settle(&ns->capture, e);
	if (!code && ns->capture.failed)
		code = capture_check(&ns->capture, e);
	if (code)
		return code;
	int64_t changes = sqlite3_changes64(run->c->db);
	int64_t last_rowid = sqlite3_last_insert_rowid(run->c->db);
	run->changes += changes;
	run->last_rowid = last_rowid;
	if (!st->columns_n)
		put_done(run, changes, last_rowid);
	return 0;
}

static int run_setting(struct run *run, struct statement *st, struct err *e)
{
	int code = run_write_ready(run, e);

	if (!code)
		code = run_step_all(run, st->stmt, CAPTURE_OFF, e);
	if (!code) {
		capture_text(&run->ns->capture, slice_str(sqlite3_sql(st->stmt)));
		put_done(run, 0, 0);
	}
	return code;
}

/* SQLite sets this when it prepares the pragma, not when it runs it: a cached one does nothing. */
static int run_defer(struct run *run, struct statement *st, struct err *e)
{
	char *sql = sqlite3_mprintf("PRAGMA defer_foreign_keys=%Q", st->object);
	int code;

	if (!sql)
		return err_set(e, ERR_NOMEM, "no memory for a pragma");
	run->deferred = true;
	code = run->ns ? run_write_ready(run, e) : 0;
	if (!code)
		code = connection_exec(run->c, sql, e);
	sqlite3_free(sql);
	if (!code)
		put_done(run, 0, 0);
	return code;
}

static int run_statement(struct run *run, struct statement *st, const struct sql_statement *q,
			 struct err *e)
{
	int code;

	connection_start_clock(run->c);
	if ((q->params_n || st->params_n) &&
	    (code = statement_bind(run->c, st, q->params, q->params_n, e)))
		return code;
	switch (st->kind) {
	case STATEMENT_READ:
		code = step_plain(run, st, e);
		if (!code && !st->columns_n)
			put_done(run, 0, 0);
		return code;
	case STATEMENT_WRITE:
	case STATEMENT_SCHEMA:
	case STATEMENT_SETTING:
		if (!run->ns) {
			run->writes = true;
			return 0;
		}
		if (st->kind == STATEMENT_WRITE)
			return run_write(run, st, e);
		if (st->kind == STATEMENT_SETTING)
			return run_setting(run, st, e);
		code = run_schema(run, st, e);
		break;
	case STATEMENT_DEFER:
		return run_defer(run, st, e);
	default:
		code = run_control(run, st, e);
		break;
	}
	if (!code)
		put_done(run, 0, 0);
	return code;
}

/* After a statement that changed the schema, when none is in use. */
static int renew_cache(struct run *run, struct err *e)
{
	if (!run->clear_cache)
		return 0;
	run->clear_cache = false;
	run->last = NULL;
	statement_cache_clear(&run->c->cache);
	return schema_load(&run->ns->schema, e);
}

static int run_text(struct run *run, const struct sql_statement *q, int32_t *ret_offset,
		    struct err *e)
{
	struct statement_script script;
	struct statement *st = NULL;
	int code;

	*ret_offset = -1;
	if (run->last && q->text.p == run->last_text.p && q->text.n == run->last_text.n) {
		code = run_statement(run, run->last, q, e);
		statement_release(run->last);
		return code ? code : renew_cache(run, e);
	}
	run->last = NULL;
	statement_script_init(&script, q->text);
	while (!(code = statement_next(run->c, &script, &st, ret_offset, e)) && st) {
		if (q->params_n && !script.ended)
			code = err_set(e, ERR_INVALID,
				       "parameters go with a text of a single statement");
		else
			code = run_statement(run, st, q, e);
		if (code && *ret_offset < 0) {
			int at = sqlite3_error_offset(run->c->db);
			*ret_offset = at < 0 ? -1 : (int32_t)(script.base + (size_t)at);
		}
		if (st->cached) {
			run->last = st;
			run->last_text = q->text;
		}
		statement_release(st);
		if (!code)
			code = renew_cache(run, e);
		if (code || run->writes)
			break;
	}
	statement_script_done(&script);
	return code;
}

int run_request(struct run *run)
{
	struct store_request *r = run->r;
	struct sql_cursor cursor;
	struct sql_statement q;
	struct err *e = &r->err;
	int got = 0, code = 0;

	r->statement = 0;
	r->offset = -1;
	r->results_n = 0;
	buf_clear(&r->results);
	sql_cursor_init(&cursor, r->sql);
	for (uint32_t i = 0; !code && !run->writes && (got = sql_cursor_next(&cursor, &q)) == 1;
	     i++) {
		r->statement = i;
		code = run_text(run, &q, &r->offset, e);
	}
	if (!code && got < 0)
		code = err_set(e, ERR_INVALID, "the request is malformed");
	if (!code && run->block && !run->writes)
		code = err_set(e, ERR_UNSUPPORTED,
			       "transactions that span requests are not offered yet: COMMIT in the "
			       "request that says BEGIN");
	if (!code && brief(run) && !run->writes) {
		sql_result_done(&r->results, run->changes, run->last_rowid);
		r->results_n = 1;
	}
	/* The caller takes ERR_BUSY for "did not fit". */
	if (code == ERR_BUSY)
		code = e->code = ERR_SQL;
	if (!code && !buf_ok(&r->results))
		code = err_set(e, ERR_LIMIT, "the answer is larger than %zu bytes", r->results.max);
	r->status = code;
	return code;
}

void run_done(struct run *run)
{
	for (uint32_t i = 0; i < run->savepoints_n; i++)
		free(run->savepoints[i].name);
	run->savepoints_n = 0;
	if (run->deferred)
		connection_exec(run->c, "PRAGMA defer_foreign_keys=OFF", NULL);
}
