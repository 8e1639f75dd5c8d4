/* What the log keeps in memory for one group.
 *
 * Three views of the same group, each a little behind the one before:
 *   - as staged: what the caller of wal_stage knows; changes at once;
 *   - as encoded: up to which staged item the writer has made frames; only the
 *     thread in wal_sync touches it (it becomes the STATE frames of a new
 *     segment);
 *   - as durable: after the sync; what readers of the disk and the deletion of
 *     segments go by.
 * All but "as encoded" is guarded by the log's lock.
 *
 * The tail is a ring of the entries tail_first..last_index in memory; entries
 * that are not durable are always in it. Entries below tail_first are on disk
 * and found through points: the place of one entry about every
 * WAL_POINT_STEP bytes; from there on the group's entries follow in order in
 * the same segment, up to the next point. A truncation makes a point due, so a
 * stretch between two points never holds a void entry below a live one's index.
 */
#ifndef DROVER_AGENT_WAL_GROUP_H
#define DROVER_AGENT_WAL_GROUP_H

#include "agent/wal/wal.h"

#define WAL_POINT_STEP (64u << 10)
#define WAL_TAIL_COST 64u /* memory of an entry in the tail beside its payload */

struct segment;

struct tail_slot {
	uint64_t term;
	uint64_t order; /* counts staged entries of all groups, so that the oldest can be found */
	struct blob *data;
	uint8_t kind;
};

struct wal_point {
	uint64_t index;
	struct segment *segment;
	uint32_t offset;
};

struct group {
	uint32_t id;
	unsigned slot; /* place in the log's array of groups */

	/* as staged */
	uint64_t term;
	uint32_t vote;
	uint64_t first_index;
	uint64_t last_index;
	uint64_t base_term;
	struct wal_run *runs;
	size_t runs_n;
	size_t runs_cap;
	struct blob *meta;
	struct tail_slot *tail;
	size_t tail_cap; /* 0 or a power of two; entry i lies at i % tail_cap */
	uint64_t tail_first;
	unsigned truncations_waiting; /* staged, not yet durable */
	uint64_t truncated_low;	      /* the lowest of them; UINT64_MAX: none */

	/* as durable */
	uint64_t disk_last;
	uint64_t disk_compacted;
	struct wal_point *points;
	size_t points_n;
	size_t points_cap;
	bool point_due;

	/* as encoded */
	bool encoded; /* any frame of it is in the log */
	uint64_t enc_term;
	uint32_t enc_vote;
	uint64_t enc_compact_index;
	uint64_t enc_compact_term;
	uint64_t enc_last;
	struct blob *enc_meta;
};

struct group *group_new(uint32_t id, unsigned slot);
void group_free(struct group *g);

/* Up to where entries are durable as the caller knows them. */
uint64_t group_durable(const struct group *g);

/* Term runs. group_runs_reserve first: adding cannot fail then. */
bool group_runs_reserve(struct group *g, size_t more);
void group_runs_add(struct group *g, uint64_t index, uint64_t term);
void group_runs_cut(struct group *g, uint64_t from);	       /* forgets entries >= from */
void group_runs_drop(struct group *g, uint64_t first);	       /* forgets entries < first */
uint64_t group_term_at(const struct group *g, uint64_t index); /* 0: not known */

/* The tail. Bytes are payload and WAL_TAIL_COST of each entry. */
static inline struct tail_slot *group_tail_at(const struct group *g, uint64_t index)
{
	return &g->tail[index & (g->tail_cap - 1)];
}
bool group_tail_reserve(struct group *g, uint64_t more);
/* Makes entries from..last_index leave (at its end), or tail_first..until (at its front); hands
 * their blobs back one by one. */
struct blob *group_tail_pop_last(struct group *g);
struct blob *group_tail_pop_first(struct group *g);

/* Points, in the order of the log. */
bool group_points_reserve(struct group *g, size_t more);
void group_points_note(struct group *g, uint64_t index, struct segment *s, uint32_t offset);
void group_points_cut(struct group *g, uint64_t from);
void group_points_drop(struct group *g, const struct segment *s); /* the oldest segment goes */
/* The last point at or below index; a place in g->points. */
size_t group_points_find(const struct group *g, uint64_t index);

#endif
