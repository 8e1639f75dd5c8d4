#include "agent/store/capture.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void capture_init(struct capture *k, struct connection *c, struct schema *schema)
{
	memset(k, 0, sizeof *k);
	k->connection = c;
	k->schema = schema;
}

int capture_attach(struct capture *k, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	int code = connection_prepare(k->connection, "SELECT 1", &stmt, e);

	if (code)
		return code;
	k->absent = sqlite3_column_value(stmt, 1); /* there is no second column */
	sqlite3_finalize(stmt);
	return 0;
}

static void fail(struct capture *k, int code, const char *what, const char *table)
{
	if (!k->failed)
		k->failed = err_set(&k->err, code, "%s (table %s)", what, table);
}

/* Gives the table a number in this payload, with its definition in front of the first use. */
static uint8_t table_number(struct capture *k, struct schema_table *t)
{
	if (t->number_batch == k->batch && k->numbered[t->number] == t)
		return t->number;
	uint8_t number = (uint8_t)(k->numbers_n++ % RECORD_TABLES_MAX);
	k->numbered[number] = t;
	t->number = number;
	t->number_batch = k->batch;
	record_put_table(k->out, number, buf_slice(&t->definition));
	return number;
}

static void put_rowid(struct buf *b, int64_t rowid)
{
	wire_svarint(b, rowid);
}

static bool get_new(struct capture *k, sqlite3 *db, int at, sqlite3_value **ret_value)
{
	if (sqlite3_preupdate_new(db, at, ret_value) == SQLITE_OK)
		return true;
	fail(k, ERR_NOMEM, "a changed row could not be read", "?");
	return false;
}

static bool get_old(struct capture *k, sqlite3 *db, int at, sqlite3_value **ret_value)
{
	if (sqlite3_preupdate_old(db, at, ret_value) == SQLITE_OK)
		return true;
	fail(k, ERR_NOMEM, "a changed row could not be read", "?");
	return false;
}

/* The bits of a mask, in the payload, since its bytes may move while values are put. */
static void mask_set(struct buf *b, size_t mask_at, uint32_t column)
{
	if (buf_ok(b))
		b->data[mask_at + column / 8] |= (uint8_t)(1u << (column % 8));
}

static size_t mask_begin(struct buf *b, uint32_t columns_n)
{
	size_t n = (columns_n + 7) / 8, at = b->len;
	uint8_t *to = buf_reserve(b, n);

	if (to && n) {
		memset(to, 0, n);
		b->len += n;
	}
	return at;
}

/* Does the new row lack columns that have a default? Then it was copied as it is stored from a
 * row that is older than the column. */
static bool lacks_columns(struct capture *k, sqlite3 *db, const struct schema_table *t)
{
	for (uint32_t i = t->columns_n; i-- > 0;) {
		sqlite3_value *v;
		if (!t->columns[i].has_default)
			continue;
		if (!get_new(k, db, t->columns[i].row_at, &v))
			return false;
		if (v == k->absent)
			return true;
	}
	return false;
}

static void put_insert(struct capture *k, sqlite3 *db, struct schema_table *t, int64_t rowid)
{
	struct buf *b = k->out;
	uint8_t number = table_number(k, t);
	bool some = lacks_columns(k, db, t);
	size_t mask_at = 0;

	record_put_row(b, RECORD_INSERT | (some ? RECORD_SOME : 0), number);
	if (t->rowid)
		put_rowid(b, rowid);
	if (some)
		mask_at = mask_begin(b, t->columns_n);
	for (uint32_t i = 0; i < t->columns_n; i++) {
		sqlite3_value *v;
		if (!get_new(k, db, t->columns[i].row_at, &v))
			return;
		if (some) {
			if (v == k->absent && t->columns[i].has_default)
				continue;
			mask_set(b, mask_at, i);
		}
		struct value value = connection_value(v);
		value_put(b, &value);
	}
	if (t->autoincrement) {
		if (t->inserted_request != k->request || rowid > t->inserted_max)
			t->inserted_max = rowid;
		t->inserted_request = k->request;
	}
}

/* Is the value perhaps an integer that went through a real and lost digits? */
static bool lost_digits(const struct schema_column *column, const struct value *v)
{
	return column->mistyped && v->type == VALUE_REAL && fabs(v->r) >= 9007199254740992.0 &&
	       fabs(v->r) <= 9223372036854775808.0;
}

static void put_key(struct capture *k, sqlite3 *db, struct schema_table *t, int64_t rowid)
{
	if (t->rowid) {
		put_rowid(k->out, rowid);
		return;
	}
	for (uint32_t i = 0; i < t->keys_n; i++) {
		const struct schema_column *column = &t->columns[t->keys[i]];
		sqlite3_value *v;
		if (!get_old(k, db, column->row_at, &v))
			return;
		struct value value = connection_value(v);
		if (lost_digits(column, &value))
			fail(k, ERR_UNSUPPORTED,
			     "a row whose key holds an integer above 2^53 cannot be changed here: "
			     "put the key's columns first in the table, or use a rowid",
			     t->name);
		value_put(k->out, &value);
	}
}

static void put_update(struct capture *k, sqlite3 *db, struct schema_table *t, int64_t rowid,
		       int64_t new_rowid)
{
	struct buf *b = k->out;
	uint8_t number = table_number(k, t);
	size_t before = b->len;
	bool moved = t->rowid && rowid != new_rowid, any = moved;

	record_put_row(b, RECORD_UPDATE | (moved ? RECORD_MOVED : 0), number);
	put_key(k, db, t, rowid);
	if (moved)
		put_rowid(b, new_rowid);
	size_t mask_at = mask_begin(b, t->columns_n);
	for (uint32_t i = 0; i < t->columns_n; i++) {
		const struct schema_column *column = &t->columns[i];
		sqlite3_value *old, *new;
		if (!get_old(k, db, column->row_at, &old) ||
		    !get_new(k, db, column->update_at, &new))
			return;
		struct value was = connection_value(old), is = connection_value(new);
		bool unknown = (was.type == VALUE_NULL && column->has_default) ||
			       lost_digits(column, &was);
		if (!unknown && value_eq(&was, &is))
			continue;
		mask_set(b, mask_at, i);
		value_put(b, &is);
		any = true;
	}
	if (!any && buf_ok(b)) {
		buf_cut(b, before);
		k->records--;
	}
}

static void touch(struct capture *k, struct schema_table *t, int64_t rowid)
{
	for (uint32_t i = 0; i < k->touched_n; i++)
		if (k->touched[i].table == t && k->touched[i].rowid == rowid)
			return;
	if (k->touched_n == CAPTURE_TOUCHED_MAX)
		fail(k, ERR_UNSUPPORTED, "a statement writes into too many blobs in place",
		     t->name);
	else
		k->touched[k->touched_n++] = (struct capture_touched){t, rowid};
}

static bool of_interest(const struct capture *k, const char *db_name, const char *name)
{
	if (k->mode == CAPTURE_OFF || k->failed || strcmp(db_name, "main") != 0)
		return false;
	if ((name[0] == 's' && strncmp(name, "sqlite_", 7) == 0) ||
	    (name[0] == 'd' && strncmp(name, "drover_", 7) == 0))
		return false;
	return k->mode != CAPTURE_CASCADES || strcmp(name, k->dropped) != 0;
}

static struct schema_table *find_table(struct capture *k, const char *name)
{
	struct schema_table *t = k->last;

	if (t && strcmp(t->name, name) == 0)
		return t;
	if (schema_table(k->schema, name, &t, &k->err)) {
		k->failed = k->err.code;
		return NULL;
	}
	if (!t || t->refusal) {
		fail(k, ERR_UNSUPPORTED, t ? t->refusal : "unknown to the schema", name);
		return NULL;
	}
	k->last = t;
	return t;
}

static void on_change(void *ctx, sqlite3 *db, int op, const char *db_name, const char *name,
		      sqlite3_int64 rowid, sqlite3_int64 new_rowid)
{
	struct capture *k = ctx;

	if (!of_interest(k, db_name, name))
		return;
	if (k->mode == CAPTURE_WATCH) {
		k->stray++;
		return;
	}
	struct schema_table *t = find_table(k, name);
	if (!t)
		return;
	if (sqlite3_preupdate_blobwrite(db) >= 0) {
		touch(k, t, rowid);
		return;
	}
	k->records++;
	switch (op) {
	case SQLITE_INSERT:
		put_insert(k, db, t, new_rowid);
		break;
	case SQLITE_UPDATE:
		put_update(k, db, t, rowid, new_rowid);
		break;
	default:
		record_put_row(k->out, RECORD_DELETE, table_number(k, t));
		put_key(k, db, t, rowid);
		break;
	}
	if (!buf_ok(k->out) || k->out->len > k->len_max)
		fail(k, ERR_LIMIT, "the request changes more than one log entry can hold", name);
}

void capture_hook(struct capture *k, bool on)
{
	sqlite3_preupdate_hook(k->connection->db, on ? on_change : NULL, on ? k : NULL);
}

void capture_forget_tables(struct capture *k)
{
	memset(k->numbered, 0, sizeof k->numbered);
	k->last = NULL;
	k->touched_n = 0;
}

void capture_start(struct capture *k, struct buf *out, uint64_t namespace, size_t payload_max)
{
	k->out = out;
	k->start = out->len;
	k->len_max = out->len + payload_max;
	k->namespace = namespace;
	k->batch++;
	k->records = 0;
	k->numbers_n = 0;
	k->touched_n = 0;
	k->failed = 0;
	memset(k->numbered, 0, sizeof k->numbered);
}

void capture_begin(struct capture *k, uint64_t hlc_us, uint64_t client, uint64_t sequence)
{
	k->request++;
	if (k->out->len == k->start) {
		k->hlc_us = hlc_us;
		record_put_batch(k->out, k->namespace, hlc_us);
	}
	assert(hlc_us >= k->hlc_us);
	record_put_begin(k->out, hlc_us - k->hlc_us, client, sequence);
}

void capture_text(struct capture *k, struct slice sql)
{
	record_put_text(k->out, sql);
	k->records++;
}

void capture_end(struct capture *k, struct slice answer)
{
	record_put_end(k->out, answer);
}

struct capture_mark capture_mark(const struct capture *k)
{
	return (struct capture_mark){k->out->len, k->records, k->numbers_n};
}

void capture_cut(struct capture *k, struct capture_mark mark)
{
	while (k->numbers_n > mark.numbers_n) {
		uint32_t number = --k->numbers_n % RECORD_TABLES_MAX;
		k->numbered[number] = NULL;
	}
	buf_cut(k->out, mark.len);
	k->out->failed = false;
	k->records = mark.records;
	k->touched_n = 0;
	k->failed = 0;
}

int capture_check(struct capture *k, struct err *e)
{
	if (!k->failed && (!buf_ok(k->out) || k->out->len > k->len_max))
		k->failed = err_set(&k->err, ERR_LIMIT,
				    "the request changes more than one log entry can hold");
	if (k->failed && e)
		*e = k->err;
	return k->failed;
}

/* "SELECT rowid, a, b FROM t" for the columns that records carry; `one`: of the row ?1. */
static char *rows_sql(const struct schema_table *t, bool one)
{
	struct record_table def;
	sqlite3_str *sql = sqlite3_str_new(NULL);
	bool sound = record_table_decode(buf_slice(&t->definition), &def);

	assert(sound);
	sqlite3_str_appendall(sql, "SELECT ");
	connection_append_name(sql, def.rowid_name);
	for (uint32_t i = 0; i < def.columns_n; i++) {
		sqlite3_str_appendall(sql, ",");
		connection_append_name(sql, rd_bytes(&def.columns));
	}
	sqlite3_str_appendf(sql, " FROM main.\"%w\"", t->name);
	if (one) {
		sqlite3_str_appendall(sql, " WHERE ");
		connection_append_name(sql, def.rowid_name);
		sqlite3_str_appendall(sql, "=?1");
	}
	return sqlite3_str_finish(sql);
}

static int rows_prepare(struct capture *k, const struct schema_table *t, bool one,
			sqlite3_stmt **ret_stmt, struct err *e)
{
	char *sql = rows_sql(t, one);

	if (!sql)
		return err_set(e, ERR_NOMEM, "no memory to read %s", t->name);
	int code = connection_prepare(k->connection, sql, ret_stmt, e);
	sqlite3_free(sql);
	return code;
}

/* The row that a statement of rows_sql() stands on. */
static int put_read(struct capture *k, struct schema_table *t, sqlite3_stmt *stmt, uint8_t kind,
		    struct err *e)
{
	struct buf *b = k->out;

	record_put_row(b, kind, table_number(k, t));
	put_rowid(b, sqlite3_column_int64(stmt, 0));
	size_t mask_at = kind == RECORD_UPDATE ? mask_begin(b, t->columns_n) : 0;
	for (uint32_t i = 0; i < t->columns_n; i++) {
		struct value v = connection_column(stmt, (int)i + 1);
		if (kind == RECORD_UPDATE)
			mask_set(b, mask_at, i);
		value_put(b, &v);
	}
	k->records++;
	return capture_check(k, e);
}

int capture_settle(struct capture *k, struct err *e)
{
	struct connection *c = k->connection;
	bool before = c->internal;
	int code = 0;

	while (k->touched_n && !code) {
		struct capture_touched row = k->touched[--k->touched_n];
		sqlite3_stmt *stmt = NULL;
		code = rows_prepare(k, row.table, true, &stmt, e);
		if (code)
			break;
		c->internal = true;
		sqlite3_bind_int64(stmt, 1, row.rowid);
		int rc = sqlite3_step(stmt);
		/* Without a row it was deleted afterwards, and the records say so. */
		if (rc == SQLITE_ROW)
			code = put_read(k, row.table, stmt, RECORD_UPDATE, e);
		else if (rc != SQLITE_DONE)
			code = connection_error(c, e);
		sqlite3_finalize(stmt);
		c->internal = before;
	}
	return code;
}

int capture_table_rows(struct capture *k, const char *table, struct err *e)
{
	struct connection *c = k->connection;
	struct schema_table *t;
	sqlite3_stmt *stmt = NULL;
	bool before = c->internal;
	int rc, code = schema_table(k->schema, table, &t, e);

	if (code)
		return code;
	if (!t || !t->rowid || t->refusal)
		return err_set(e, ERR_UNSUPPORTED, "table %s: %s", table,
			       t && t->refusal ? t->refusal : "its rows cannot be read");
	code = rows_prepare(k, t, false, &stmt, e);
	if (code)
		return code;
	c->internal = true;
	while (!code && (rc = sqlite3_step(stmt)) != SQLITE_DONE)
		code = rc == SQLITE_ROW ? put_read(k, t, stmt, RECORD_INSERT, e)
					: connection_error(c, e);
	sqlite3_finalize(stmt);
	c->internal = before;
	return code;
}
