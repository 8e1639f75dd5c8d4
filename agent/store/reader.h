/* Reads beside the writer: read-only connections to a group's namespaces.
 *
 * A reader keeps open connections and prepared statements of the namespaces it
 * has served (bounded, least recently used goes). Each request runs in one read
 * transaction, bounded in time and rows, so that it never holds back
 * checkpoints for long.
 *
 * Threads: a reader belongs to one thread at a time; many readers may work on
 * the same store's files at once.
 */
#ifndef DROVER_AGENT_STORE_READER_H
#define DROVER_AGENT_STORE_READER_H

#include "agent/store/store.h"

struct reader_options {
	const char *vfs;
	uint32_t cache_kib;
	uint64_t mmap_bytes; /* of each file mapped instead of read; 0: none. Spares copies, but an
				unreadable disk then ends the process */
	uint32_t statements_max;
	uint32_t connections_max; /* namespaces kept open */
	uint32_t rows_max;
	uint64_t answer_bytes_max;
	uint32_t statement_ms_max;
};

struct reader;
int reader_new(struct reader **ret_reader, const struct reader_options *o, struct err *e);
void reader_free(struct reader *r);

/* Runs a request on namespace `ns` in folder `dir` (the store's). r->status etc. as for
 * store_execute. *ret_writes is set, and nothing was done, when a statement is not read-only: the
 * request belongs to the leader's writer (one that asks to SQL_READ fails with ERR_REFUSED
 * instead). *ret_applied: the newest entry of this namespace that this read saw; of other
 * namespaces' entries the file knows nothing. A namespace without a file yet reads as empty. */
int reader_execute(struct reader *r, const char *dir, uint64_t ns, struct store_request *request,
		   bool *ret_writes, uint64_t *ret_applied, struct err *e);

/* The same for several requests that share one read transaction: much cheaper when many wait.
 * ret_writes has room for n. */
int reader_execute_many(struct reader *r, const char *dir, uint64_t ns,
			struct store_request *const *requests, size_t n, bool *ret_writes,
			uint64_t *ret_applied, struct err *e);

/* Opens a read transaction now, so that a digest started later is of this state. */
struct reader_snapshot;
int reader_snapshot_open(struct reader *r, const char *dir, uint64_t ns,
			 struct reader_snapshot **ret_snapshot, uint64_t *ret_applied,
			 struct err *e);
/* XXH3-128 over schema, user tables in key order, and the client sessions; works in slices of
 * time so that the caller can interleave: 1 when more is to do, 0 when ret_hex (33 bytes) is set.
 */
int reader_snapshot_digest(struct reader_snapshot *s, uint32_t slice_ms, char *ret_hex,
			   struct err *e);
void reader_snapshot_free(struct reader_snapshot *s);

/* Forgets connections to a dropped namespace. */
void reader_forget(struct reader *r, const char *dir, uint64_t ns);

#endif
