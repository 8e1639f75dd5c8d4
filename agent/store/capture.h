/* Turns what statements change into row records: SQLite's preupdate hook, written straight into
 * the payload of the log entry.
 *
 * What the hook alone would get wrong, and what is done about it:
 *   - it also tells what is undone later: the owner marks the payload at
 *     statements, savepoints and requests, and cuts back to the mark;
 *   - generated columns shift its column numbers: schema.h maps them, and
 *     generated values are never sent;
 *   - rows from before ADD COLUMN … DEFAULT lack the column: an insert copied
 *     from such a row leaves the column out, so that the follower's default
 *     fills it too; an update sends such columns always;
 *   - DROP TABLE with foreign keys deletes row by row: only what cascades to
 *     other tables is kept (CAPTURE_CASCADES);
 *   - sqlite_sequence, sqlite_stat1 and drover's own tables are left out: see
 *     sequence.h and schema statements.
 *   - an incremental write into a blob (full-text tables do it) is told as a
 *     delete: such a row is read again, and sent whole, after the statement.
 * Shadow tables of virtual tables are tables like any other here. Full-text
 * tables write them at the next savepoint or commit: so the store sets a
 * savepoint before it ends a request, and watches that nothing comes later.
 *
 * The hook must be registered before any statement is prepared: SQLite would
 * else drop a table's rows without telling (DELETE without WHERE).
 */
#ifndef DROVER_AGENT_STORE_CAPTURE_H
#define DROVER_AGENT_STORE_CAPTURE_H

#include "agent/store/connection.h"
#include "agent/store/schema.h"
#include "common/record.h"

enum capture_mode {
	CAPTURE_OFF,
	CAPTURE_ROWS,
	CAPTURE_CASCADES,
	CAPTURE_WATCH, /* nothing may change now: what does is counted in `stray` */
};

#define CAPTURE_TOUCHED_MAX 64

struct capture_touched {
	struct schema_table *table;
	int64_t rowid;
};

struct capture {
	struct connection *connection;
	struct schema *schema;
	enum capture_mode mode;
	const char *dropped; /* CASCADES: the table whose own rows are not told */
	struct buf *out;
	size_t start;	/* of the payload in out */
	size_t len_max; /* of out */
	uint64_t namespace;
	uint64_t hlc_us; /* the payload's first */
	uint64_t batch;	 /* counts payloads, so that tables' numbers grow stale */
	uint64_t request;
	uint64_t records; /* of this payload */
	uint64_t stray;
	uint32_t numbers_n; /* tables numbered in this payload; numbers go round */
	struct schema_table *numbered[RECORD_TABLES_MAX];
	struct schema_table *last;
	struct capture_touched touched[CAPTURE_TOUCHED_MAX]; /* rows to read again */
	uint32_t touched_n;
	const sqlite3_value *absent; /* how SQLite gives a column that a stored row lacks */
	int failed;
	struct err err;
};

void capture_init(struct capture *k, struct connection *c, struct schema *schema);
/* After (re)opening the connection: finds out `absent`. */
int capture_attach(struct capture *k, struct err *e);
/* Sets or clears the hook. */
void capture_hook(struct capture *k, bool on);
/* The schema's tables have been freed. */
void capture_forget_tables(struct capture *k);

/* A payload begins at out->len. */
void capture_start(struct capture *k, struct buf *out, uint64_t namespace, size_t payload_max);
/* A transaction begins. */
void capture_begin(struct capture *k, uint64_t hlc_us, uint64_t client, uint64_t sequence);
void capture_text(struct capture *k, struct slice sql);
void capture_end(struct capture *k, struct slice answer);

struct capture_mark {
	size_t len;
	uint64_t records;
	uint32_t numbers_n;
};
struct capture_mark capture_mark(const struct capture *k);
void capture_cut(struct capture *k, struct capture_mark mark);
/* After a statement: sends the rows that must be read again. */
int capture_settle(struct capture *k, struct err *e);
/* Failed, or past the payload's ceiling? Fills *e. */
int capture_check(struct capture *k, struct err *e);

/* For rows that the hook does not tell (CREATE TABLE AS): all rows of a table, read by SQL. */
int capture_table_rows(struct capture *k, const char *table, struct err *e);

#endif
