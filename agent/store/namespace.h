/* One namespace: its SQLite file and the store's only writer connection to it.
 *
 * The connection works in one of two modes. EXECUTE runs clients' statements:
 * hook set, triggers and foreign keys on, shadow tables protected. APPLY
 * brings records in: all these off. Full-text and R-tree tables keep state in
 * the connection that rows written behind their back make stale, so where
 * there are such tables a change of mode commits and opens the file anew.
 *
 * SQLite's transaction stays open over many entries (store.h). Payloads that
 * this node executed since the last commit are retained: when SQLite rolls
 * back the whole transaction under one request (out of time in the midst of a
 * write, a full disk), they are applied again and only that request fails. Up
 * to RETAINED_BYTES_MAX; past that such a failure takes a store_rewind().
 *
 * Threads: the store's; fields under "shared" are guarded by the store's lock.
 */
#ifndef DROVER_AGENT_STORE_NAMESPACE_H
#define DROVER_AGENT_STORE_NAMESPACE_H

#include "agent/store/apply.h"
#include "agent/store/capture.h"
#include "agent/store/connection.h"
#include "agent/store/schema.h"
#include "agent/store/sequence.h"
#include "agent/store/session.h"

#define RETAINED_BYTES_MAX (256u << 20)

struct store;

enum namespace_mode { MODE_NONE, MODE_EXECUTE, MODE_APPLY };

/* The writer's own prepared statements. */
enum namespace_sql {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_SAVEPOINT, /* around a request */
	SQL_RELEASE,
	SQL_ROLLBACK_TO,
	SQL_META,
	SQL_SCHEMA_VERSION,
	SQL_N
};

struct retained {
	struct retained *next;
	size_t n;
	uint8_t bytes[];
};

struct namespace
{
	uint64_t id;
	struct store *store;
	bool open;
	struct connection connection;
	struct schema schema;
	struct capture capture;
	struct applier applier;
	struct sessions sessions;
	struct sequences sequences;
	sqlite3_stmt *sql[SQL_N];
	enum namespace_mode mode;
	bool in_transaction;
	bool broken;  /* an entry is half applied, or unflushed entries are lost: rewind first */
	bool changed; /* the open transaction holds something */
	uint64_t applied, term; /* newest entry that touched it, speculative ones too */
	uint64_t flushed;	/* the same, of what is committed in SQLite */
	uint64_t hlc_us;
	size_t speculative; /* batches, with the one not proposed yet */
	struct retained *retained, **retained_end;
	size_t retained_bytes;
	bool not_retained;	 /* some batch could not be retained */
	uint64_t rows, since_us; /* unflushed */
	uint64_t used;		 /* the store's clock of uses, for closing the least used */
	/* Shared. */
	bool has_file, dropped, gate;
	uint64_t dirty_from;	  /* first unflushed entry; UINT64_MAX: none */
	uint64_t flushes, synced; /* commits so far; commits that are durable */
	uint64_t wal_bytes, data_bytes;
};

void namespace_init(struct namespace *ns, struct store *s, uint64_t id);
void namespace_done(struct namespace *ns);
/* Folder's file name of a namespace into ret_path. */
void namespace_path(const char *dir, uint64_t id, char *ret_path, size_t size);

int namespace_open(struct namespace *ns, struct err *e);
void namespace_close(struct namespace *ns); /* rolls back what is open */
int namespace_run(struct namespace *ns, enum namespace_sql which, struct err *e);
/* The same where no row may change; ERR_CORRUPT if one did: it is in no entry. */
int namespace_run_watched(struct namespace *ns, enum namespace_sql which, struct err *e);

int namespace_set_mode(struct namespace *ns, enum namespace_mode mode, struct err *e);
/* Opens the transaction unless it is. */
int namespace_begin(struct namespace *ns, struct err *e);
/* The schema has changed, or a change of it was taken back. */
void namespace_schema_changed(struct namespace *ns);

int namespace_flush(struct namespace *ns, struct err *e);
/* Gives up the open transaction and everything known from it. */
void namespace_rollback(struct namespace *ns);

/* Keeps a copy of a payload just executed. */
void namespace_retain(struct namespace *ns, struct slice payload);
/* SQLite has rolled back the whole transaction: brings back what it held, and `batch` (the payload
 * being written, if it has transactions already). */
int namespace_replay(struct namespace *ns, struct slice batch, struct err *e);

#endif
