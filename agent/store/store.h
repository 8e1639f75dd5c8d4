/* The state machine of one group: its namespaces, each one SQLite file.
 *
 * On the leader, store_execute() runs a batch of requests of one namespace on
 * its only writer connection, captures the rows that they change, and gives
 * the bytes of the log entry. The batch is then speculative: it lies in the
 * open SQLite transaction, waiting for consensus. store_committed() makes it
 * final; store_rewind() takes back every speculative batch when leadership is
 * lost. On followers (and after a rewind or restart, for entries that the
 * files lack) store_apply() applies committed entries' row records.
 *
 * SQLite's own commit is lazy: store_flush() does it, when a reader needs it
 * or after a bound. It is possible only while a namespace has no speculative
 * batch, since SQLite cannot commit half of a transaction. What is flushed
 * survives a killed process; what store_checkpoint() has synced survives a
 * dead machine. The log covers the rest: after open, the caller applies again
 * all committed entries from store_replay_from() on.
 *
 * Rewind works by rolling back the whole open transaction of the namespaces
 * that hold speculative batches; committed but unflushed entries go with it:
 * store_applied() steps back, and the caller applies again all committed
 * entries from store_applied() + 1 on. Entries that a namespace has already are
 * skipped, so applying too much does no harm.
 *
 * A request that SQLite stops by rolling back the whole transaction (a write
 * that runs too long) fails alone: the store brings back the rest by itself,
 * from the payloads of unflushed batches, which it keeps in memory.
 *
 * Files in dir: ns-<id>.db for each namespace, group.db for the group's own
 * marks. Each namespace's file also holds, in tables whose names start with
 * "drover_" (listed in sqlite_schema, but refused to clients), its applied
 * index and the last executed sequence, with its answer, of each client. At
 * most sessions_max clients are remembered; the one longest unused in log order
 * goes first, so that all nodes forget the same ones, given the same
 * sessions_max. Results of more than 4 KiB are not kept: a retry of such a
 * request gets one DONE result with the sums of changes and the last rowid.
 *
 * Which SQL is offered, and how each feature is captured or why it is refused:
 * classify.h, capture.h, schema.h, sequence.h, run.h. A statement that fails
 * fails its request, also with OR FAIL: nothing of it stays.
 *
 * Threads: a store belongs to one thread (its group's store thread); only
 * store_readable(), store_applied(), store_durable(), store_namespaces() and
 * store_stats() may be called by others. Readers
 * (reader.h) have connections of their own and need no lock.
 */
#ifndef DROVER_AGENT_STORE_STORE_H
#define DROVER_AGENT_STORE_STORE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/sql.h"

struct store_options {
	const char *dir; /* exists */
	uint32_t group;
	const char *vfs;	  /* sqlite3_vfs name; NULL: the default. The simulator's door. */
	const char *first_schema; /* NULL, or SQL run when namespace `first_schema_ns` is created:
				     the same on every node, part of the state before entry 1 */
	uint64_t first_schema_ns;
	uint32_t cache_kib;	   /* page cache of a writer connection; grows only as used */
	uint32_t statements_max;   /* prepared statements kept per connection */
	uint32_t sessions_max;	   /* clients remembered per namespace */
	uint32_t statement_ms_max; /* a write statement that runs longer fails (progress check), 0
				      none */
	uint32_t rows_max;	   /* rows in an answer */
	uint64_t answer_bytes_max;
	uint64_t entry_bytes_max; /* a request whose records would not fit into an entry fails */
};

struct store;

int store_open(struct store **ret_store, const struct store_options *o, struct err *e);
/* Rolls back what is not flushed; closes. A caller that ends in order flushes first. */
void store_free(struct store *s);

/* The first log index that some namespace may lack after this machine has died: where the caller
 * begins to apply after open, and below which the log may be cut. */
uint64_t store_replay_from(struct store *s);
/* The same less one: everything up to here is on disk, synced. Any thread. */
uint64_t store_durable(struct store *s);
/* Highest index known applied (flushed or not, not speculative); steps back in a rewind. Any
 * thread. */
uint64_t store_applied(struct store *s);

/* After open: the newest log entry that some namespace's file holds. A log that ends below it is
 * not this store's. Opens every namespace. */
int store_held(struct store *s, uint64_t *ret_index, struct err *e);

/* One request of a batch, in and out. */
struct store_request {
	const struct sql_request *sql; /* borrowed */
	void *owner;		       /* the caller's own */
	/* Out: 0, and `results_n` results (common/sql.h) in `results`; or the error. ERR_BUSY: it
	 * did not fit into this entry behind the others: put it into the next batch. */
	int status;
	struct err err;
	uint32_t statement; /* of the error, from 0 */
	int32_t offset;	    /* of the error in that statement's text, -1 unknown */
	uint32_t results_n;
	struct buf results; /* the caller inits with its ceiling and frees */
	/* Out: true: it changed something and is part of the entry: answer only when that entry
	 * is committed (also when it repeats a request of the same batch). false and status 0: it
	 * read only, or it was executed before, at log index `duplicate_of` (0: it was not): answer
	 * when that is committed. */
	bool wrote;
	uint64_t duplicate_of;
};

/* Executes requests of namespace `ns` (made when it is not there yet) on the writer connection,
 * in order, each all-or-nothing. `now_us` is the wall clock for HLC. Appends the entry's payload
 * to *payload (record.h); payload->len stays when nothing was changed. payload->max should leave
 * room for entry_bytes_max. Requests get their own status; the return value is an error of the
 * whole, and then requests' statuses mean nothing: ERR_NOT_FOUND: the namespace was dropped;
 * ERR_IO, ERR_DISK_FULL, ERR_CORRUPT, ERR_NOMEM: the caller must store_rewind(). A pure read in a
 * batch sees everything before it, speculative batches too: answer it no earlier than those. After
 * a call that gave a payload exactly one of store_proposed() or store_rewind() follows before the
 * next store_execute. */
int store_execute(struct store *s, uint64_t ns, struct store_request *const *requests, size_t n,
		  uint64_t now_us, struct buf *payload, struct err *e);

/* The batch just executed is log entry `index` of `term`: speculative until committed. */
void store_proposed(struct store *s, uint64_t index, uint64_t term);

/* Own speculative batches up to `index` are committed. */
void store_committed(struct store *s, uint64_t index);
size_t store_speculative(struct store *s); /* batches waiting */

/* Takes back all speculative batches (and what is unflushed in their namespaces), also after an
 * error of store_execute, store_apply or store_flush. Cannot fail today. */
int store_rewind(struct store *s, struct err *e);

/* Applies a committed entry that this store did not execute itself (or lost by rewind). Entries
 * must come in order; ones that a namespace has already are skipped. An empty payload (no-op,
 * configuration) only moves the applied index. May not be called while batches are speculative.
 * ERR_CORRUPT: the payload does not decode or does not fit the data: this node's state differs
 * from the log's, and it must stop, naming namespace, table, index. Other errors (disk, memory):
 * store_rewind(), then it may be tried again. */
int store_apply(struct store *s, uint64_t index, uint64_t term, struct slice payload,
		struct err *e);

/* Is all that entries <= index say about `ns` visible to readers? Any thread; never blocks long. */
bool store_readable(struct store *s, uint64_t ns, uint64_t index);

/* Commits SQLite's transaction of `ns` (0: of all namespaces). ERR_BUSY: batches are speculative;
 * all namespaces without such ones have been flushed. */
int store_flush(struct store *s, uint64_t ns, struct err *e);
/* What is unflushed: rows and age, for the caller's lazy-commit bound. */
struct store_pending {
	uint64_t rows;
	uint64_t since_us; /* wall clock of the oldest unflushed change; 0: nothing */
};
void store_pending(struct store *s, struct store_pending *ret_pending);

/* Moves the SQLite WALs into the files and syncs them, then records how far (store_durable).
 * Checkpoints run on connections of their own: store_checkpointer_* may be called by a background
 * thread, e.g. each second; it ends before store_free(). */
struct store_checkpointer; /* one a store; belongs to the background thread */
int store_checkpointer_new(struct store_checkpointer **ret, struct store *s, struct err *e);
/* One round over all namespaces that were flushed since: PASSIVE; where a WAL has passed
 * restart_bytes also RESTART, for which the store's thread is held, for at most about half a
 * second, when it wants to begin its next transaction there. */
int store_checkpoint(struct store_checkpointer *c, uint64_t restart_bytes, struct err *e);
void store_checkpointer_free(struct store_checkpointer *c);

/* A namespace is gone from the catalogue: closes and deletes its files; later entries for this
 * id are skipped, for ever. Not between store_execute() and store_proposed(). */
int store_drop(struct store *s, uint64_t ns, struct err *e);
/* Ids of the namespaces that have files; returns how many there are, fills at most `max`. */
size_t store_namespaces(struct store *s, uint64_t *ret_ids, size_t max);

/* Runs a read on the writer connection in the store's thread (speculative data seen): for the
 * catalogue of group 0. Calls row() with each row's values, at most 64. ERR_NOT_FOUND: there is no
 * such namespace. */
int store_select(struct store *s, uint64_t ns, const char *sql,
		 int (*row)(void *ctx, const struct value *values, unsigned n), void *ctx,
		 struct err *e);

struct store_stats {
	uint64_t requests, rows_captured, rows_applied, flushes, rewinds, duplicates, failed;
	uint64_t sqlite_wal_bytes, data_bytes;
};
void store_stats(struct store *s, struct store_stats *ret_stats);

#endif
