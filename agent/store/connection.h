/* One SQLite connection as the store uses them: settings, limits, errors, time limit.
 *
 * `internal` opens the authorizer for the store's own statements; it is off
 * while a client's statement is prepared or stepped.
 *
 * Threads: one at a time.
 */
#ifndef DROVER_AGENT_STORE_CONNECTION_H
#define DROVER_AGENT_STORE_CONNECTION_H

#include "agent/store/statement.h"

struct classify;
struct schema;

struct connection_options {
	const char *path;
	const char *vfs;
	bool readonly;
	bool existing;	    /* fails when there is no such file */
	uint32_t cache_kib; /* 0: SQLite's default */
	uint64_t mmap_bytes;
	uint32_t statements_max;
	uint32_t statement_ms_max; /* of a client's statement; 0: none */
	uint64_t length_max;	   /* bytes of one value or row */
};

struct connection {
	sqlite3 *db;
	struct statement_cache cache;
	const struct schema *schema; /* writers: for the authorizer's eyes; else NULL */
	bool internal;
	struct classify *collect; /* the statement being prepared, or NULL */
	int refusal_code;	  /* why the authorizer said no; 0: it did not */
	char refusal[256];
	uint32_t statement_ms_max;
	uint64_t deadline_us; /* of the statement that runs; 0: the first check sets it */
	bool timed_out;
};

int connection_open(struct connection *c, const struct connection_options *o, struct err *e);
void connection_close(struct connection *c);

/* The last failed call as an error: SQLite's own text. */
int connection_error(struct connection *c, struct err *e);

/* The store's own SQL. */
int connection_exec(struct connection *c, const char *sql, struct err *e);
int connection_prepare(struct connection *c, const char *sql, sqlite3_stmt **ret_stmt,
		       struct err *e);
/* Steps a statement without rows to its end and resets it. */
int connection_finish(struct connection *c, sqlite3_stmt *stmt, struct err *e);
/* One integer from a statement of one row and column; `none` when it has no row. */
int connection_int(struct connection *c, const char *sql, int64_t none, int64_t *ret_value,
		   struct err *e);

/* A column's name, quoted; rowid's own three names stay bare: quoted, they could be strings. */
void connection_append_name(sqlite3_str *sql, struct slice name);

/* A statement of a client begins: its time counts from the first look at the clock. */
static inline void connection_start_clock(struct connection *c)
{
	c->deadline_us = 0;
	c->timed_out = false;
	c->refusal_code = 0;
}

/* One of SQLite's values; text and blobs are borrowed. */
static inline struct value connection_value(sqlite3_value *v)
{
	switch (sqlite3_value_type(v)) {
	case SQLITE_INTEGER:
		return value_int(sqlite3_value_int64(v));
	case SQLITE_FLOAT:
		return value_real(sqlite3_value_double(v));
	case SQLITE_TEXT: {
		/* Not sqlite3_value_text(), which copies the text to end it with a NUL. */
		const void *p = sqlite3_value_blob(v);
		return value_text(slice_of(p, (size_t)sqlite3_value_bytes(v)));
	}
	case SQLITE_BLOB: {
		const void *p = sqlite3_value_blob(v);
		return value_blob(slice_of(p, (size_t)sqlite3_value_bytes(v)));
	}
	default:
		return value_null();
	}
}

/* The same of a result's column. */
static inline struct value connection_column(sqlite3_stmt *stmt, int at)
{
	const void *p;

	switch (sqlite3_column_type(stmt, at)) {
	case SQLITE_INTEGER:
		return value_int(sqlite3_column_int64(stmt, at));
	case SQLITE_FLOAT:
		return value_real(sqlite3_column_double(stmt, at));
	case SQLITE_TEXT:
		p = sqlite3_column_blob(stmt, at);
		return value_text(slice_of(p, (size_t)sqlite3_column_bytes(stmt, at)));
	case SQLITE_BLOB:
		p = sqlite3_column_blob(stmt, at);
		return value_blob(slice_of(p, (size_t)sqlite3_column_bytes(stmt, at)));
	default:
		return value_null();
	}
}

int connection_bind(sqlite3_stmt *stmt, int at, const struct value *v);

#endif
