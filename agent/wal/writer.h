/* The log's two threads.
 *
 * The append thread sleeps until it is kicked, calls wal_sync() and tells what
 * became durable; kicks that come meanwhile are one kick. The reserve thread
 * calls wal_prepare(): it fills the next segment and deletes old ones beside
 * the appends, which wait for it only when the current segment is full and the
 * next not yet there. On a full disk it tries again every second.
 *
 * Callbacks: on_synced runs on the append thread, on_failed once on either;
 * both may only put into a mailbox, and not call wal_writer_stop. After
 * on_failed nothing more is written and no on_synced comes: the process must
 * end without acknowledging anything that was not told as synced.
 *
 * Threads: kick by any; start and stop by the owner.
 */
#ifndef DROVER_AGENT_WAL_WRITER_H
#define DROVER_AGENT_WAL_WRITER_H

#include "agent/wal/wal.h"

struct wal_writer;

/* `w` stays the caller's and outlives the writer. Signals are blocked in both threads. */
int wal_writer_start(struct wal_writer **ret_writer, struct wal *w,
		     void (*on_synced)(void *ctx, const struct wal_synced *rows, size_t n),
		     void (*on_failed)(void *ctx, const struct err *e), void *ctx, struct err *e);

/* After wal_stage or wal_compact. Cheap, never blocks on the disk. */
void wal_writer_kick(struct wal_writer *wr);

/* Syncs what is staged, ends both threads, frees. NULL is fine. */
void wal_writer_stop(struct wal_writer *wr);

#endif
