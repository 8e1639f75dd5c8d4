#include "agent/store/execute.h"

#include "agent/store/run.h"
#include "agent/store/state.h"

#include <string.h>

struct batch {
	struct namespace *ns;
	struct buf *payload;
	struct buf answer; /* scratch */
	uint64_t now_us;
	uint32_t ordinal; /* of the next transaction in the entry */
};

/* The answer that a request got when it was first executed. */
static int answer_again(struct store_request *r, const struct session *k)
{
	struct record_results a;

	if (!record_answer_decode(slice_of(k->answer, k->answer_n), &a))
		return r->status = err_set(&r->err, ERR_CORRUPT, "a remembered answer is damaged");
	buf_clear(&r->results);
	if (a.kind == RECORD_ANSWER_RESULTS) {
		buf_append(&r->results, a.results.p, a.results.n);
		r->results_n = a.results_n;
	} else {
		sql_result_done(&r->results, a.changes, a.last_rowid);
		r->results_n = 1;
	}
	if (!buf_ok(&r->results))
		return r->status = err_set(&r->err, ERR_LIMIT, "no room for the answer");
	/* In the same batch the first one's entry is also this one's. */
	r->wrote = k->index == SESSION_UNPROPOSED;
	r->duplicate_of = r->wrote ? 0 : k->index;
	return r->status = 0;
}

/* true: the request has its answer already, or must not be executed any more. */
static bool seen_before(struct batch *b, struct store_request *r)
{
	const struct sql_request *q = r->sql;

	if (q->client == 0 || q->sequence == 0)
		return false;
	const struct session *k = sessions_find(&b->ns->sessions, q->client);
	if (!k || q->sequence > k->sequence)
		return false;
	if (q->sequence == k->sequence)
		answer_again(r, k);
	else
		r->status = err_set(
			&r->err, ERR_REFUSED, "sequence %llu of this client was overtaken by %llu",
			(unsigned long long)q->sequence, (unsigned long long)k->sequence);
	pthread_mutex_lock(&b->ns->store->lock);
	b->ns->store->stats.duplicates++;
	pthread_mutex_unlock(&b->ns->store->lock);
	return true;
}

/* Takes back what the request did. Fails only when nothing more can be done on this connection. */
static int undo(struct batch *b, struct run *run, struct err *e)
{
	struct namespace *ns = b->ns;
	size_t batch_n = run->start.len - ns->capture.start;
	int code = 0;

	ns->capture.mode = CAPTURE_OFF;
	capture_cut(&ns->capture, run->start);
	sequences_forget(&ns->sequences);
	if (ns->in_transaction && sqlite3_get_autocommit(ns->connection.db)) {
		struct slice batch = {b->payload->data + ns->capture.start, batch_n};
		code = namespace_replay(ns, batch, e);
		if (!code)
			code = schema_load(&ns->schema, e);
		return code;
	}
	if (run->began) {
		code = namespace_run(ns, SQL_ROLLBACK_TO, e);
		if (!code)
			code = namespace_run(ns, SQL_RELEASE, e);
	}
	if (!code && run->schema_changed) {
		namespace_schema_changed(ns);
		code = schema_load(&ns->schema, e);
	}
	if (code)
		ns->broken = true;
	return code;
}

/* Everything that can still fail in a request whose statements went well. */
static int conclude(struct batch *b, struct run *run, struct err *e)
{
	struct namespace *ns = b->ns;
	struct store_request *r = run->r;
	int unresolved = 0, high = 0;
	int code = run_flush_virtual(run, e);

	if (!code)
		code = sequences_after(&ns->sequences, &ns->capture, e);
	if (code)
		return code;
	sqlite3_db_status(ns->connection.db, SQLITE_DBSTATUS_DEFERRED_FKS, &unresolved, &high, 0);
	if (unresolved)
		return err_set(e, ERR_SQL, "FOREIGN KEY constraint failed");
	if (ns->capture.records == run->start.records)
		return 0;
	buf_clear(&b->answer);
	if (r->sql->client == 0 || r->sql->sequence == 0)
		wire_u8(&b->answer, RECORD_ANSWER_NONE);
	else if (r->results.len <= EXECUTE_ANSWER_MAX)
		record_answer_results(&b->answer, r->results_n, buf_slice(&r->results));
	else
		record_answer_sums(&b->answer, run->changes, run->last_rowid);
	if (!buf_ok(&b->answer))
		return err_set(e, ERR_NOMEM, "no memory for an answer");
	capture_end(&ns->capture, buf_slice(&b->answer));
	return capture_check(&ns->capture, e);
}

static int keep(struct batch *b, struct run *run, struct err *e)
{
	struct namespace *ns = b->ns;
	struct store_request *r = run->r;
	uint64_t records = ns->capture.records;
	int code = 0;

	if (run->began)
		code = namespace_run_watched(ns, SQL_RELEASE, e);
	if (code)
		return code;
	r->wrote = records != run->start.records;
	if (!r->wrote) {
		capture_cut(&ns->capture, run->start);
		return 0;
	}
	if (r->sql->client && r->sql->sequence)
		code = sessions_put(&ns->sessions, r->sql->client, r->sql->sequence,
				    SESSION_UNPROPOSED, b->ordinal, buf_slice(&b->answer), e);
	b->ordinal++;
	ns->changed = true;
	ns->rows += records - run->start.records;
	return code;
}

/* A request that did not fit behind others may well fit alone. */
static int refuse_full(struct batch *b, struct run *run)
{
	struct store_request *r = run->r;

	if (r->status == ERR_LIMIT && b->ns->capture.failed == ERR_LIMIT &&
	    run->start.len > b->ns->capture.start)
		return err_set(&r->err, ERR_BUSY, "the log entry is full: for the next one");
	return r->status;
}

static int execute_request(struct batch *b, struct store_request *r, struct err *e)
{
	struct namespace *ns = b->ns;
	struct store *s = ns->store;
	struct run run = {.c = &ns->connection, .ns = ns, .r = r, .rows_max = s->o.rows_max};
	int code;

	r->status = 0;
	r->wrote = false;
	r->duplicate_of = 0;
	r->results_n = 0;
	if (seen_before(b, r))
		return 0;
	if (r->sql->max_rows && r->sql->max_rows < run.rows_max)
		run.rows_max = r->sql->max_rows;
	run.start = capture_mark(&ns->capture);
	sqlite3_set_last_insert_rowid(ns->connection.db, 0);
	ns->hlc_us = s->hlc_us = b->now_us > s->hlc_us ? b->now_us : s->hlc_us + 1;
	capture_begin(&ns->capture, s->hlc_us, r->sql->client, r->sql->sequence);
	ns->connection.internal = false;
	code = run_request(&run);
	ns->connection.internal = true;
	if (!code)
		code = r->status = conclude(b, &run, &r->err);
	if (!code) {
		code = keep(b, &run, e);
		run_done(&run);
		if (code)
			ns->broken = true;
		return code;
	}
	r->status = refuse_full(b, &run);
	r->results_n = 0;
	buf_clear(&r->results);
	code = undo(b, &run, e);
	run_done(&run);
	/* SQLITE_FULL is also how SQLite says that a table has no rowid left. When what was in the
	 * transaction could be kept, it is this request's trouble; a disk that is really full shows
	 * at the next commit at the latest. */
	if (!code && r->status == ERR_DISK_FULL)
		r->status = r->err.code = ERR_SQL;
	if (!code && (r->status == ERR_IO || r->status == ERR_CORRUPT)) {
		*e = r->err;
		code = r->status;
	}
	return code;
}

int execute_batch(struct namespace *ns, struct store_request *const *requests, size_t n,
		  uint64_t now_us, struct buf *payload, struct err *e)
{
	struct store *s = ns->store;
	struct batch b = {.ns = ns, .payload = payload, .now_us = now_us};
	uint64_t failed = 0, records = 0;
	size_t start = payload->len;
	int code = namespace_set_mode(ns, MODE_EXECUTE, e);

	if (!code)
		code = schema_load(&ns->schema, e);
	if (!code)
		code = sessions_load(&ns->sessions, &ns->connection, e);
	if (code)
		return code;
	buf_init(&b.answer, EXECUTE_ANSWER_MAX + 64);
	capture_start(&ns->capture, payload, ns->id, s->o.entry_bytes_max);
	for (size_t i = 0; i < n && !code; i++) {
		code = execute_request(&b, requests[i], e);
		failed += requests[i]->status != 0;
	}
	buf_done(&b.answer);
	records = ns->capture.records;
	if (code)
		buf_cut(payload, start);
	else if (payload->len > start)
		namespace_retain(ns, slice_of(payload->data + start, payload->len - start));
	pthread_mutex_lock(&s->lock);
	s->stats.requests += n;
	s->stats.failed += failed;
	s->stats.rows_captured += records;
	pthread_mutex_unlock(&s->lock);
	return code;
}
