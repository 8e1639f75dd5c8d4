/* What the writer must know of a namespace's tables to name rows and columns in records.
 *
 * Filled table by table at first use, from SQLite's own pragmas, and thrown
 * away whenever the schema changes or a change of it is rolled back. Filling
 * runs SQL on the connection; the preupdate hook may ask for a table in the
 * midst of a client's statement.
 *
 * A table whose rows the hook cannot tell is refused when it is made:
 *   - a VIRTUAL column before the INTEGER PRIMARY KEY: SQLite then reports the
 *     key in another column's place;
 *   - columns named rowid, oid and _rowid_ all three, without an INTEGER
 *     PRIMARY KEY: no name is left to reach the rowid by.
 * A row is refused when it is changed whose key in a table without rowid is an
 * integer above 2^53 that the hook reports as a real (see `mistyped`).
 *
 * Threads: as the connection's.
 */
#ifndef DROVER_AGENT_STORE_SCHEMA_H
#define DROVER_AGENT_STORE_SCHEMA_H

#include "common/buf.h"
#include "common/err.h"

#include <sqlite3.h>

struct connection;

struct schema_column {
	/* Where the hook keeps it: sqlite3_preupdate_old and, for inserts, _new count a table
	 * without rowid by declared columns, all else by stored columns. */
	uint16_t row_at;
	uint16_t update_at; /* sqlite3_preupdate_new of an update */
	bool has_default;   /* a row from before ADD COLUMN reads as NULL, but is not */
	bool mistyped;	    /* the hook takes another column's type, REAL, for its own: old integers
			       come as reals, and above 2^53 are no more what they were */
	bool key;	    /* of a table without rowid */
};

struct schema_table {
	char *name;
	uint64_t hash;
	struct schema_table *chain;
	bool rowid;
	bool autoincrement;
	char *refusal;	    /* why its rows cannot be captured, or NULL */
	uint32_t columns_n; /* those that records carry */
	struct schema_column *columns;
	uint32_t keys_n;
	uint32_t *keys;	       /* columns, in key order */
	struct buf definition; /* record.h's */
	/* The capture's own: its number in the payload being written. */
	uint64_t number_batch;
	uint8_t number;
	/* The largest rowid inserted in the request at hand, for sqlite_sequence. */
	uint64_t inserted_request;
	int64_t inserted_max;
};

struct schema {
	struct connection *connection;
	bool loaded;
	bool virtual_tables;  /* there are some: they keep writes in memory until a savepoint */
	bool keeps;	      /* the schema says FAIL somewhere */
	bool deferrable;      /* … DEFERRABLE or DEFERRED */
	char **autoincrement; /* names */
	size_t autoincrement_n;
	struct schema_table **slots;
	uint32_t slots_n, tables_n;
};

void schema_init(struct schema *s, struct connection *c);
void schema_done(struct schema *s);
/* Forgets everything; pointers to tables die. */
void schema_forget(struct schema *s);
/* Reads what concerns the whole schema, if it is not known. */
int schema_load(struct schema *s, struct err *e);
/* *ret_table is NULL when there is no such table. Not for views and virtual tables. */
int schema_table(struct schema *s, const char *name, struct schema_table **ret_table,
		 struct err *e);
bool schema_autoincrements(const struct schema *s, const char *table);

#endif
