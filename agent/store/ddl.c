#include "agent/store/run.h"

#include <string.h>

/* CREATE TABLE … AS SELECT: the SELECT may hold random numbers or the time, so what travels is the
 * table as it came to be, and its rows. */
static int send_created(struct run *run, const char *table, struct err *e)
{
	struct connection *c = run->c;
	sqlite3_stmt *stmt = NULL;
	struct value name = value_text(slice_str(table));
	bool before = c->internal;
	int code = connection_prepare(
		c, "SELECT sql FROM sqlite_schema WHERE type='table' AND name=?1", &stmt, e);

	if (code)
		return code;
	c->internal = true;
	connection_bind(stmt, 1, &name);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		capture_text(&run->ns->capture,
			     slice_str((const char *)sqlite3_column_text(stmt, 0)));
	else
		code = connection_error(c, e);
	sqlite3_finalize(stmt);
	c->internal = before;
	return code ? code : capture_table_rows(&run->ns->capture, table, e);
}

/* May the table's rows be captured from now on? */
static int check_table(struct run *run, const char *name, struct err *e)
{
	struct schema_table *t = NULL;
	int code = schema_table(&run->ns->schema, name, &t, e);

	if (!code && t && t->refusal)
		code = err_set(e, ERR_UNSUPPORTED, "table %s: %s", name, t->refusal);
	return code;
}

/* What the authorizer was not told: the new name in ALTER TABLE … RENAME, and that CREATE TRIGGER
 * temp.x makes a TEMP trigger. */
static int check_names(struct run *run, struct err *e)
{
	int64_t own = 0, temp = 0;
	int code = connection_int(run->c,
				  "SELECT count(*) FROM sqlite_schema WHERE name LIKE "
				  "'drover\\_%' ESCAPE '\\'",
				  0, &own, e);

	if (!code)
		code = connection_int(run->c, "SELECT count(*) FROM sqlite_temp_schema", 0, &temp,
				      e);
	if (!code && own != 2)
		code = err_set(e, ERR_REFUSED, "names that start with drover_ are drover's own");
	if (!code && temp)
		code = err_set(e, ERR_UNSUPPORTED, "TEMP triggers are not offered");
	return code;
}

static int schema_version(struct run *run, int64_t *ret_version, struct err *e)
{
	struct connection *c = run->c;
	sqlite3_stmt *stmt = run->ns->sql[SQL_SCHEMA_VERSION];
	bool before = c->internal;
	int code = 0;

	c->internal = true;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*ret_version = sqlite3_column_int64(stmt, 0);
	else
		code = connection_error(c, e);
	sqlite3_reset(stmt);
	c->internal = before;
	return code;
}

static int send(struct run *run, struct statement *st, struct err *e)
{
	int code = 0;

	if (st->select)
		code = send_created(run, st->object, e);
	else
		capture_text(&run->ns->capture, slice_str(sqlite3_sql(st->stmt)));
	if (!code && st->object && !st->drop)
		code = check_table(run, st->object, e);
	return code ? code : capture_check(&run->ns->capture, e);
}

int run_schema(struct run *run, struct statement *st, struct err *e)
{
	struct capture *k = &run->ns->capture;
	int64_t before = 0, after = 0;
	int code = run_write_ready(run, e);

	/* Everything that came before must stand in the records before the statement does. */
	if (!code)
		code = run_flush_virtual(run, e);
	if (!code)
		code = sequences_after(&run->ns->sequences, k, e);
	if (!code)
		code = schema_version(run, &before, e);
	if (code)
		return code;
	k->dropped = st->object ? st->object : "";
	code = run_step_all(run, st->stmt, st->drop ? CAPTURE_CASCADES : CAPTURE_OFF, e);
	if (!code)
		code = capture_check(k, e);
	if (!code)
		code = schema_version(run, &after, e);
	if (!code)
		code = check_names(run, e);
	/* Also after a failure, which may have come half-way. */
	run_schema_changed(run);
	if (code || (before == after && !st->always))
		return code;
	return send(run, st, e);
}
