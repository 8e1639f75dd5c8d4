/* Runs one request's statements on a connection and encodes their results: the part that the
 * leader's writer and the readers have in common.
 *
 * With a namespace (the writer), statements that change something do so under
 * the savepoint "drover_request", opened before the first of them; the caller
 * keeps or undoes it (execute.h). Without (a reader), such a statement ends the
 * run with `writes` set.
 *
 * A request is atomic, so BEGIN and COMMIT in it change little: BEGIN … COMMIT
 * must pair inside one request; ROLLBACK takes back what was done since BEGIN;
 * savepoints work, and must be closed too.
 *
 * Threads: the connection's.
 */
#ifndef DROVER_AGENT_STORE_RUN_H
#define DROVER_AGENT_STORE_RUN_H

#include "agent/store/namespace.h"
#include "agent/store/store.h"

#define RUN_SAVEPOINTS_MAX 64

struct run_savepoint {
	char *name;
	struct capture_mark mark;
};

struct run {
	struct connection *c;
	struct namespace *ns; /* NULL: a reader */
	struct store_request *r;
	uint64_t rows_max;
	bool writes;	      /* a reader met a statement that writes: nothing was done */
	bool began;	      /* the savepoint is open */
	bool block, implicit; /* between BEGIN and COMMIT; opened by a SAVEPOINT */
	bool schema_changed;  /* … by this request; clear_cache: since the last statement */
	bool clear_cache;
	bool deferred; /* PRAGMA defer_foreign_keys */
	struct capture_mark start, block_mark;
	struct run_savepoint savepoints[RUN_SAVEPOINTS_MAX];
	uint32_t savepoints_n;
	int64_t changes, last_rowid; /* sums */
	struct slice last_text;	     /* the statement just run, if it is cached */
	struct statement *last;
};

/* Fills r's results; or r->status, err, statement and offset. Returns r->status. */
int run_request(struct run *run);
void run_done(struct run *run);

/* The request is about to change something: opens the transaction and the savepoint. */
int run_write_ready(struct run *run, struct err *e);
/* Steps a statement to its end, with rows captured (mode) or not. */
int run_step_all(struct run *run, sqlite3_stmt *stmt, enum capture_mode mode, struct err *e);
/* Full-text tables write out what they hold in memory. */
int run_flush_virtual(struct run *run, struct err *e);
/* Forgets what was known of tables; statements are dropped when none is in use. */
void run_schema_changed(struct run *run);

/* control.c: BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ROLLBACK TO. */
int run_control(struct run *run, struct statement *st, struct err *e);
/* ddl.c: CREATE, ALTER, DROP, ANALYZE, REINDEX. */
int run_schema(struct run *run, struct statement *st, struct err *e);

#endif
