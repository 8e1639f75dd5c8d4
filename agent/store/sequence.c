#include "agent/store/sequence.h"

#include <stdlib.h>
#include <string.h>

static void rows_free(struct sequence_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(rows[i].table);
	free(rows);
}

void sequences_forget(struct sequences *q)
{
	rows_free(q->rows, q->rows_n);
	*q = (struct sequences){0};
}

void sequences_done(struct sequences *q)
{
	sequences_forget(q);
}

static int row_add(struct sequence_row **rows, size_t *n, sqlite3_stmt *stmt, struct err *e)
{
	const char *table = (const char *)sqlite3_column_text(stmt, 0);

	if (!table || sqlite3_column_type(stmt, 0) != SQLITE_TEXT ||
	    sqlite3_column_type(stmt, 1) != SQLITE_INTEGER ||
	    (*n > 0 && strcmp((*rows)[*n - 1].table, table) == 0))
		return err_set(e, ERR_UNSUPPORTED,
			       "sqlite_sequence must hold one row with an integer for each table");
	struct sequence_row *more = realloc(*rows, (*n + 1) * sizeof *more);
	if (!more)
		return err_set(e, ERR_NOMEM, "no memory for sqlite_sequence");
	*rows = more;
	more[*n].table = strdup(table);
	more[*n].value = sqlite3_column_int64(stmt, 1);
	if (!more[*n].table)
		return err_set(e, ERR_NOMEM, "no memory for sqlite_sequence");
	++*n;
	return 0;
}

static int read_rows(struct connection *c, struct sequence_row **ret_rows, size_t *ret_n,
		     struct err *e)
{
	struct sequence_row *rows = NULL;
	size_t n = 0;
	sqlite3_stmt *stmt = NULL;
	bool before = c->internal;
	int rc, code = connection_prepare(
			c,
			"SELECT name, seq FROM main.sqlite_sequence ORDER BY name COLLATE BINARY",
			&stmt, e);

	if (code)
		return code;
	c->internal = true;
	while (!code && (rc = sqlite3_step(stmt)) != SQLITE_DONE)
		code = rc == SQLITE_ROW ? row_add(&rows, &n, stmt, e) : connection_error(c, e);
	sqlite3_finalize(stmt);
	c->internal = before;
	if (code) {
		rows_free(rows, n);
		return code;
	}
	*ret_rows = rows;
	*ret_n = n;
	return 0;
}

int sequences_before(struct sequences *q, struct connection *c, struct err *e)
{
	if (!q->known) {
		int code = read_rows(c, &q->rows, &q->rows_n, e);
		if (code)
			return code;
		q->known = true;
	}
	q->used = true;
	return 0;
}

/* What a follower's sqlite_sequence says after this request's inserts; false: no row. */
static bool follower_value(struct capture *k, const char *table, const struct sequence_row *old,
			   int64_t *ret_value)
{
	struct schema_table *t = NULL;
	struct err ignored;
	bool inserted = schema_table(k->schema, table, &t, &ignored) == 0 && t &&
			t->inserted_request == k->request;
	int64_t value = old ? old->value : 0;

	if (inserted && t->inserted_max > value)
		value = t->inserted_max;
	*ret_value = value;
	return old || inserted;
}

static void send_row(struct capture *k, const struct sequence_row *old,
		     const struct sequence_row *now)
{
	const char *table = (now ? now : old)->table;
	int64_t expected;
	bool there = follower_value(k, table, old, &expected);

	if (now ? there && expected == now->value : !there)
		return;
	struct value v = value_int(now ? now->value : 0);
	record_put_sequence(k->out, slice_str(table), now ? &v : NULL);
	k->records++;
}

int sequences_after(struct sequences *q, struct capture *k, struct err *e)
{
	struct sequence_row *rows = NULL;
	size_t n = 0, i = 0, j = 0;

	if (!q->used)
		return 0;
	int code = read_rows(k->connection, &rows, &n, e);
	if (code)
		return code;
	while (i < q->rows_n || j < n) {
		int order = i == q->rows_n ? 1
			    : j == n	   ? -1
					   : strcmp(q->rows[i].table, rows[j].table);
		send_row(k, order <= 0 ? &q->rows[i] : NULL, order >= 0 ? &rows[j] : NULL);
		i += order <= 0;
		j += order >= 0;
	}
	rows_free(q->rows, q->rows_n);
	*q = (struct sequences){.known = true, .rows = rows, .rows_n = n};
	k->request++; /* what was inserted up to here is accounted for */
	return 0;
}
