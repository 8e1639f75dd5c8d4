/* The agent's log: one set of segment files, shared by all its groups.
 *
 * The core loop stages changes with wal_stage(): from that moment wal_read()
 * sees them (so that they can be sent to peers at once), but they are not
 * durable. The writer takes all that is staged, writes it with as few system
 * calls as it can, syncs once, and tells what is durable: wal_sync(). In an
 * agent a thread does that in a loop (writer.h); a simulator calls it itself.
 *
 * Entries are blobs shared by reference with the network and the store. The
 * newest stay in memory (the tail, bounded by tail_bytes but never less than
 * what is not yet durable); older ones are read from the segments through a
 * sparse index that recovery rebuilds.
 *
 * File format, and the argument why recovery is right: at the top of segment.c.
 *
 * Recovery's rules (design, "The log on disk"): a bad frame at the very end
 * with nothing valid after it, above the last recorded sync watermark, is a
 * torn write and is cut; any other bad frame is corruption: wal_open fails
 * with ERR_CORRUPT, file, offset and what to do. Never a guess.
 *
 * Errors: an error from write or fdatasync is final. wal_sync returns it, the
 * log is dead from then on (every later call fails with ERR_IO), and the
 * caller must end the process without acknowledging anything more: after a
 * failed fsync the kernel may have dropped the pages.
 *
 * Disk full: a segment is reserved (zero-filled and synced) ahead of use by
 * wal_prepare(). While the next one cannot be had, wal_room() is false: the
 * caller then refuses proposals and appends. What is left of the current
 * segment is enough for hard states and compaction marks. ERR_DISK_FULL is the
 * one error that is not final: nothing is lost, and the call may be repeated.
 *
 * Threads: wal_stage, wal_compact by one thread (the core loop); wal_sync by
 * one thread (the writer); wal_prepare by one thread; all others by any, but
 * what wal_group() lends out is good only on the thread that stages. None but
 * wal_open, wal_free, wal_sync, wal_prepare and wal_read waits for the disk.
 */
#ifndef DROVER_AGENT_WAL_WAL_H
#define DROVER_AGENT_WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/disk.h"
#include "common/err.h"

#define WAL_GROUPS_MAX 64
/* One entry's payload; also at most a quarter of segment_bytes, so that every one fits. */
#define WAL_ENTRY_BYTES_MAX (16u << 20)
#define WAL_META_BYTES_MAX (64u << 10) /* one group's meta record; all: a quarter of a segment */
#define WAL_STAGED_BYTES_MAX (1024u << 20) /* callers keep far below it: wal_staged_bytes() */

struct wal_entry {
	uint64_t index;
	uint64_t term;
	uint8_t kind;	   /* enum raft_entry_kind; opaque here */
	struct blob *data; /* never NULL; may be empty */
};

struct wal_run {
	uint64_t first; /* first index of this run */
	uint64_t term;
};

struct wal_options {
	const char *dir;	    /* exists; the agent's lock protects it */
	const struct disk *disk;    /* the door: disk_real() or a faulty one */
	uint64_t (*random)(void *); /* for the segments' ids; asked in wal_open and wal_sync */
	void *random_ctx;
	uint64_t segment_bytes; /* 0: 64 MiB; tests use small ones; 64 KiB to 1 GiB */
	uint64_t tail_bytes;	/* 0: 16 MiB a log */
};

struct wal;

/* Opens or creates the log in dir, recovers it. ERR_CORRUPT, ERR_IO, ERR_DISK_FULL, ERR_NOMEM. */
int wal_open(struct wal **ret_wal, const struct wal_options *o, struct err *e);

/* Closes the files, in order: what was synced can be told from damage by the next start. Staged
 * changes that were not synced are lost. No other thread may be inside. */
void wal_free(struct wal *w);

/* What is known of a group; all zero for one never written. */
struct wal_group_state {
	uint64_t term; /* hard state */
	uint32_t vote;
	uint64_t first_index; /* the first entry held; last_index + 1 when none is */
	uint64_t last_index;
	uint64_t base_term;    /* term of entry first_index - 1 (compaction mark), 0 at the start */
	uint64_t synced_index; /* durable up to here */
	const struct wal_run *runs; /* terms of first_index..last_index; borrowed until the next
				       wal_stage; meant for start-up */
	size_t runs_n;
	struct slice meta; /* the newest opaque record of wal_stage; same lifetime */
};
void wal_group(struct wal *w, uint32_t group, struct wal_group_state *ret_state);

/* One group's changes, applied in this order and told durable together. After a crash before that
 * a first part of them may be there: a hard state without the entries behind it, some entries. */
struct wal_job {
	uint32_t group;
	uint64_t persist_id; /* handed back by wal_sync; rises within a group */
	bool hard_changed;
	uint64_t term;
	uint32_t vote;
	uint64_t truncate_from; /* not 0: entries >= this are void */
	const struct wal_entry
		*entries; /* contiguous, the first = last_index + 1 after truncation */
	size_t entries_n;
	struct slice meta; /* p not NULL: replaces the group's meta record, e.g. a configuration */
};

/* Takes references to the entries' blobs. ERR_LIMIT for an entry over WAL_ENTRY_BYTES_MAX, a group
 * over WAL_GROUPS_MAX or one of the other bounds above, ERR_IO when the log is dead, ERR_NOMEM. A
 * gap, an index that does not follow, a term that falls, a truncation of compacted entries is a bug
 * and asserts. On an error nothing was staged. */
int wal_stage(struct wal *w, const struct wal_job *job, struct err *e);

/* Bytes staged and not yet durable: the caller's measure for backpressure. */
uint64_t wal_staged_bytes(struct wal *w);

struct wal_synced {
	uint32_t group;
	uint64_t persist_id;
	uint64_t last_index; /* durable up to here (of what was staged then) */
};

/* Writes and syncs all that is staged; fills one row for each group of which a job became durable
 * (ret_rows has room for WAL_GROUPS_MAX), *ret_n = 0 when there was none. Blocks on the disk.
 * Errors are final, see above, but for ERR_DISK_FULL: what is staged did not fit into the current
 * segment and no other can be had; it stays staged, and a later call may have more luck. */
int wal_sync(struct wal *w, struct wal_synced *ret_rows, size_t *ret_n, struct err *e);

/* Makes the next segment ready when there is none; blocks for as long as writing one takes.
 * Deletes the segments that no group needs first. 0 also when there was nothing to do;
 * ERR_DISK_FULL turns wal_room() false until a later call succeeds; other errors are final. */
int wal_prepare(struct wal *w, struct err *e);
bool wal_wants_prepare(struct wal *w);
bool wal_room(struct wal *w);

/* Up to `n` entries from index `from` on, at most max_bytes in all (but always one). Gives
 * references that the caller drops. Fewer, or 0, when the log ends. ERR_NOT_FOUND when `from` is
 * below first_index; ERR_CORRUPT when the disk gives back something else than was written.
 * wal_read_tail never touches the disk: 0 entries when `from` is not in memory. */
int wal_read(struct wal *w, uint32_t group, uint64_t from, size_t n, uint64_t max_bytes,
	     struct wal_entry *ret_entries, size_t *ret_n, struct err *e);
size_t wal_read_tail(struct wal *w, uint32_t group, uint64_t from, size_t n, uint64_t max_bytes,
		     struct wal_entry *ret_entries);
void wal_entries_unref(struct wal_entry *entries, size_t n);

/* Entries up to `index` (whose term is `term`) are no longer needed by this group; staged like
 * everything else, files go away in wal_prepare once synced. An index beyond last_index starts the
 * group's log anew behind it (a snapshot was installed). One that is compacted already is ignored.
 */
int wal_compact(struct wal *w, uint32_t group, uint64_t index, uint64_t term, struct err *e);

/* The oldest segment stays because of this group: it goes once the group (and any other that is
 * then named) is compacted to *ret_index. False when no full segment is held back. */
bool wal_held_by(struct wal *w, uint32_t *ret_group, uint64_t *ret_index);

struct wal_stats {
	uint64_t bytes; /* on disk, reserved ones included */
	uint64_t segments;
	uint64_t syncs;
	uint64_t entries;
	uint64_t written_bytes; /* since open */
	uint64_t sync_us_p50;	/* of the last 1,024 syncs */
	uint64_t sync_us_p99;
	uint64_t torn_bytes; /* cut off by recovery */
	uint64_t recovered_ms;
};
void wal_stats(struct wal *w, struct wal_stats *ret_stats);

#endif
