/* The log's insides, shared by its own files: log.c (life, staging, questions), sync.c (writing),
 * reserve.c (spare segment, deletion), read.c, recovery.c. Not for others.
 *
 * `lock` guards all that is not marked otherwise. It is never held over disk I/O.
 *
 * Staged changes are a list of items, one a frame. wal_sync takes the whole list and works
 * through it in rounds: a round writes items into the current segment, seals it and goes on in
 * the next if they do not fit, syncs, and then publishes: makes durable in memory what is on disk.
 */
#ifndef DROVER_AGENT_WAL_WAL_STATE_H
#define DROVER_AGENT_WAL_WAL_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/wal/group.h"
#include "agent/wal/segment.h"
#include "agent/wal/wal.h"

#define WAL_PATH_MAX 1024
#define WAL_SYNC_SAMPLES 1024

struct segment {
	uint64_t sequence;
	uint64_t bytes;
	uint8_t id[SEGMENT_ID_BYTES];
	unsigned pins; /* readers inside */
	/* For each group slot the last entry in here that is not void, 0: none. */
	uint64_t last_live[WAL_GROUPS_MAX];
};

struct item {
	uint8_t kind; /* enum frame_kind; 0: no frame, only a job's end */
	uint8_t entry_kind;
	uint8_t slot;
	bool job_end;
	uint32_t offset; /* where it was written, by the writer */
	uint64_t index;
	uint64_t term;
	uint64_t persist_id;
	struct blob *data; /* a reference; NULL without payload */
	struct segment *segment;
};

/* Bytes that it takes in the log. */
static inline uint32_t wal_item_bytes(const struct item *it)
{
	return it->kind ? frame_bytes(it->data ? it->data->size_bytes : 0) : 0;
}

struct items {
	struct item *row;
	size_t n;
	size_t cap;
};

struct wal {
	/* fixed after wal_open */
	const struct disk *disk;
	char dir[WAL_PATH_MAX];
	uint64_t (*random)(void *);
	void *random_ctx;
	uint64_t segment_bytes;
	uint64_t entry_bytes_max;
	uint64_t state_bytes_max;
	uint64_t tail_bytes_max;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* of spare, reserving, rolling */

	atomic_bool dead;
	atomic_bool quitting; /* a reservation under way is given up */

	struct group *groups[WAL_GROUPS_MAX];
	unsigned groups_n;
	uint64_t state_bytes; /* of the STATE frames of as many groups as there may be */
	uint64_t tail_bytes;
	uint64_t order;

	struct items staged;
	uint64_t staged_bytes;

	struct segment **segments; /* oldest first; the last is the current one */
	size_t segments_n;
	size_t segments_cap;
	bool deletable; /* the oldest may be needed by no group */

	bool spare;	/* spare.seg is there, filled with zeros and synced */
	bool reserving; /* somebody makes a spare */
	bool rolling;	/* spare.seg is about to get its name */
	bool full;	/* the last try to reserve found no space */

	uint64_t syncs;
	uint64_t written_bytes;
	uint32_t sync_us[WAL_SYNC_SAMPLES];
	uint64_t torn_bytes;
	uint64_t recovered_ms;

	/* the writer's own: touched by wal_open, wal_sync and wal_free only */
	struct items taking;
	size_t taking_at;
	struct disk_file *file; /* of the current segment */
	struct segment *segment;
	struct segment_out out; /* out.offset: the segment's end */
	uint32_t vouched;	/* a frame in the segment says synced up to here */
	uint8_t page[SEGMENT_HEADER_BYTES];
};

void wal_lock(struct wal *w);
void wal_unlock(struct wal *w);

/* ERR_IO when the log is dead. */
int wal_alive(struct wal *w, struct err *e);
/* Kills the log and makes *e the final error. */
int wal_die(struct wal *w, struct err *e);

/* Lock held. NULL: not known. */
struct group *wal_group_find(struct wal *w, uint32_t id);
/* The same, made when it is new. ERR_LIMIT, ERR_NOMEM. */
int wal_group_get(struct wal *w, uint32_t id, struct group **ret_group, struct err *e);

void wal_path(const struct wal *w, const char *name, char ret_path[WAL_PATH_MAX + 32]);
void wal_segment_path(const struct wal *w, uint64_t sequence, char ret_path[WAL_PATH_MAX + 32]);
#define WAL_SPARE_NAME "spare.seg"
#define WAL_SPARE_TEMP_NAME "spare.tmp"

/* Bytes of a group's STATE frame. */
uint32_t wal_state_frame_bytes(const struct blob *meta);

/* Lock held (or recovery): what becomes durable, in the order of the log. Points are reserved. */
void wal_note_entry(struct group *g, struct segment *s, uint64_t index, uint32_t offset);
void wal_note_truncate(struct wal *w, struct group *g, uint64_t from);
void wal_note_compact(struct group *g, uint64_t index);

/* Lock held: takes up to `max` entries out of the tail that are durable, oldest first, while it
 * is over its bound. The caller drops them outside the lock. */
size_t wal_tail_evict(struct wal *w, struct blob **ret_blobs, size_t max);

/* reserve.c: the spare for a new segment; waits for it or makes it. `rolling` is then set until
 * wal_rolled(). ERR_DISK_FULL (not final), others are. */
int wal_take_spare(struct wal *w, struct err *e);
void wal_rolled(struct wal *w);
/* Fills an open file with zeros from `from` to `to` and syncs it. `may_quit`: gives up with
 * ERR_CLOSED when the log is to be closed. */
int wal_fill_zero(struct wal *w, struct disk_file *f, uint64_t from, uint64_t to, bool may_quit,
		  struct err *e);
/* Recovery found a spare. Keep it when nobody wrote to it, else remove it; or fill it with zeros
 * again when a crash may have left it partly written. */
int wal_keep_spare(struct wal *w, struct err *e);
int wal_clean_spare(struct wal *w, struct err *e);
/* Lock held: whether the oldest segment is full and needed by no group. */
bool wal_oldest_unneeded(struct wal *w);

/* sync.c: makes the spare, which was taken, the segment behind `prev` (NULL: the first one):
 * header, STATE frames, then as many items from taking_at on as fit; synced and named. */
int wal_roll(struct wal *w, const struct segment *prev, struct err *e);
/* Vouches for the last batch, see segment.c; `sync` waits for the disk. Nothing to do is 0. */
int wal_vouch(struct wal *w, bool sync, struct err *e);

/* recovery.c: reads what is in the folder into a fresh log, and makes it ready to append. */
int wal_recover(struct wal *w, struct err *e);

#endif
