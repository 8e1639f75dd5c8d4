/* The tables of a load, and their comparison with the ledger at the end. */
#include "console/load/load.h"
#include "common/clock.h"
#include "console/load/worker.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SCAN_BYTES (1u << 20) /* about so much in one answer */
#define SETUP_MS 5000	      /* a request itself is tried again for its whole timeout */
#define PAUSE_MS 50

/* Sends until it is acknowledged or certainly wrong, at most until deadline_ms. For requests that
 * may be done twice. */
static int insist(struct load *l, const struct client_request *r, uint64_t deadline_ms,
		  struct buf *body, struct sql_answer *ret_answer, struct err *e)
{
	for (;;) {
		buf_clear(body);
		int rc = client_wait(l->workers[0].caller, r, body, ret_answer, e);
		if (rc == 0 || rc == ERR_SQL || rc == ERR_AUTH || rc == ERR_INVALID ||
		    rc == ERR_UNSUPPORTED || rc == ERR_PROTOCOL)
			return rc;
		if (clock_mono_ms() >= deadline_ms)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
	}
}

static int insist_text(struct load *l, const char *namespace, const char *text, struct err *e)
{
	struct client_statement st = {.text = slice_str(text)};
	struct client_request r = {.namespace = namespace,
				   .timeout_ms = l->o.timeout_ms,
				   .statements = &st,
				   .statements_n = 1};
	struct sql_answer answer;
	struct buf body;

	buf_init(&body, SQL_ANSWER_BYTES_MAX);
	int rc = insist(l, &r, clock_mono_ms() + SETUP_MS, &body, &answer, e);
	buf_done(&body);
	return rc;
}

int load_setup(struct load *l, struct err *e)
{
	char text[400];
	int rc = 0;

	if (strcmp(l->namespace, "main") != 0) {
		snprintf(text, sizeof text, "CREATE NAMESPACE IF NOT EXISTS %s", l->namespace);
		rc = insist_text(l, "main", text, e);
	}
	if (rc)
		return rc;
	snprintf(text, sizeof text,
		 "CREATE TABLE IF NOT EXISTS %s_keys(key INTEGER PRIMARY KEY, worker INTEGER NOT "
		 "NULL, n INTEGER NOT NULL, value TEXT NOT NULL)",
		 l->prefix);
	rc = insist_text(l, l->namespace, text, e);
	if (rc)
		return rc;
	snprintf(text, sizeof text,
		 "CREATE TABLE IF NOT EXISTS %s_hot(key INTEGER PRIMARY KEY, count INTEGER NOT "
		 "NULL)",
		 l->prefix);
	rc = insist_text(l, l->namespace, text, e);
	if (rc || l->o.hot_keys == 0)
		return rc;
	snprintf(text, sizeof text,
		 "WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i + 1 < %u) "
		 "INSERT OR IGNORE INTO %s_hot SELECT i, 0 FROM k",
		 l->o.hot_keys, l->prefix);
	return insist_text(l, l->namespace, text, e);
}

int load_drop_tables(struct load *l, struct err *e)
{
	char text[200];

	snprintf(text, sizeof text, "DROP TABLE IF EXISTS %s_keys", l->prefix);
	int rc = insist_text(l, l->namespace, text, e);
	if (rc)
		return rc;
	snprintf(text, sizeof text, "DROP TABLE IF EXISTS %s_hot", l->prefix);
	return insist_text(l, l->namespace, text, e);
}

/* A worker's unknown write could still be on its way. Once a later one of the same worker is done
 * it never will be: a client's older sequence numbers are not executed any more. */
static int settle(struct load *l, struct worker *w, uint64_t deadline_ms, struct err *e)
{
	int rc = 0;

	while (w->last_unknown) {
		struct client_request r;
		struct sql_answer answer;
		struct buf body;

		buf_init(&body, SQL_ANSWER_BYTES_MAX);
		w->reading = false;
		worker_request(w, worker_compose(w, 1, -1), SQL_WRITE, &r);
		rc = client_wait(w->caller, &r, &body, &answer, e);
		buf_done(&body);
		worker_settle_write(w, rc);
		if (w->last_unknown && clock_mono_ms() >= deadline_ms) {
			struct err why = *e;
			return err_set(e, rc ? rc : ERR_TIMEOUT,
				       "worker %u cannot find out what became of its last write: "
				       "%.300s",
				       w->id, why.text);
		}
		if (w->last_unknown)
			nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
	}
	(void)l;
	return 0;
}

static int check_row(struct load *l, struct rd *values, int64_t *ret_key, struct err *e)
{
	struct value key = value_get(values), worker = value_get(values), n = value_get(values),
		     value = value_get(values);

	if (!rd_ok(values) || key.type != VALUE_INT || key.i <= *ret_key)
		return err_set(e, ERR_PROTOCOL, "the rows of %s_keys do not decode", l->prefix);
	*ret_key = key.i;
	if (n.type != VALUE_INT || n.i < 0 || n.i > UINT32_MAX) {
		violations_add(&l->violations, "key %" PRId64 " holds no number of a write", key.i);
		return 0;
	}
	ledger_check_row(l->ledger, (uint64_t)key.i, (uint32_t)n.i);
	if (worker.type != VALUE_INT || (uint64_t)worker.i != (uint64_t)key.i % l->o.workers)
		violations_add(&l->violations,
			       "key %" PRId64 " holds the name of a worker that "
			       "never writes it",
			       key.i);
	if (value.type != VALUE_TEXT ||
	    !load_value_holds((uint64_t)key.i, (uint32_t)n.i, value.s, l->o.value_bytes))
		violations_add(&l->violations,
			       "key %" PRId64 " holds another value than write %" PRId64 " wrote",
			       key.i, n.i);
	return 0;
}

static int first_result(const struct sql_answer *answer, uint32_t columns,
			struct sql_result *ret_result, struct err *e)
{
	struct sql_result_cursor cursor;

	sql_result_cursor_init(&cursor, answer);
	if (sql_result_next(&cursor, ret_result) != 1 || ret_result->kind != SQL_ROWS ||
	    ret_result->columns_n != columns)
		return err_set(e, ERR_PROTOCOL, "the answer has not the columns asked for");
	return 0;
}

static int scan_keys(struct load *l, uint64_t deadline_ms, struct buf *body, struct err *e)
{
	int64_t limit = SCAN_BYTES / (l->o.value_bytes + 20) + 1, key = -1;
	struct value params[2];
	struct client_statement st = {
		.text = slice_str(l->sql_scan), .params = params, .params_n = 2};
	struct client_request r = {.namespace = l->namespace,
				   .mode = SQL_READ,
				   .level = SQL_LINEARIZABLE,
				   .timeout_ms = l->o.timeout_ms,
				   .statements = &st,
				   .statements_n = 1};
	struct sql_answer answer;
	struct sql_result result;

	if (limit > 10000)
		limit = 10000;
	/* Keys below 0 were never written: let the first page find them. */
	key = INT64_MIN;
	do {
		params[0] = value_int(key);
		params[1] = value_int(limit);
		int rc = insist(l, &r, deadline_ms, body, &answer, e);
		if (!rc)
			rc = first_result(&answer, 4, &result, e);
		for (uint64_t i = 0; !rc && i < result.rows_n; i++)
			rc = check_row(l, &result.values, &key, e);
		if (rc)
			return rc;
	} while (result.rows_n > 0);
	return 0;
}

static int scan_hot(struct load *l, uint64_t deadline_ms, struct buf *body, struct err *e)
{
	struct client_statement st = {.text = slice_str(l->sql_scan_hot)};
	struct client_request r = {.namespace = l->namespace,
				   .mode = SQL_READ,
				   .level = SQL_LINEARIZABLE,
				   .timeout_ms = l->o.timeout_ms,
				   .statements = &st,
				   .statements_n = 1};
	struct sql_answer answer;
	struct sql_result result;

	int rc = insist(l, &r, deadline_ms, body, &answer, e);
	if (!rc)
		rc = first_result(&answer, 2, &result, e);
	for (uint64_t i = 0; !rc && i < result.rows_n; i++) {
		struct value key = value_get(&result.values), count = value_get(&result.values);
		if (key.type != VALUE_INT || count.type != VALUE_INT || key.i < 0 || count.i < 0)
			violations_add(&l->violations, "%s_hot holds something else than counters",
				       l->prefix);
		else
			ledger_check_hot(l->ledger, (uint64_t)key.i, (uint64_t)count.i);
	}
	return rc;
}

int load_verify(struct load *l, uint32_t timeout_ms, struct violations *ret_violations,
		struct err *e)
{
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	struct buf body;
	int rc = 0;

	assert(l->active == 0);
	atomic_store(&l->stopping, false);
	buf_init(&body, SQL_ANSWER_BYTES_MAX);
	for (uint32_t i = 0; !rc && i < l->o.workers; i++)
		rc = settle(l, &l->workers[i], deadline_ms, e);
	if (!rc)
		rc = ledger_check_begin(l->ledger, &l->violations, e);
	if (!rc)
		rc = scan_keys(l, deadline_ms, &body, e);
	if (!rc)
		rc = scan_hot(l, deadline_ms, &body, e);
	if (!rc) {
		ledger_check_end(l->ledger);
		*ret_violations = l->violations;
	}
	buf_done(&body);
	return rc;
}
