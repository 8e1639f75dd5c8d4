/* The log's terms, as runs: each run is a stretch of entries of one term.
 *
 * This is all that consensus knows of the log. The array is the caller's and
 * of fixed size: when it is full the oldest quarter of the runs is forgotten.
 * Their entries are still in the log but can no longer be described to a
 * peer, so one that needs them needs a snapshot, as if they had been
 * compacted. A run comes to be with each change of leader, so a full array
 * means a thousand elections since the oldest entry.
 *
 * Index 0, before the first entry, has term 0 and is in every log.
 */
#ifndef DROVER_AGENT_RAFT_RUNS_H
#define DROVER_AGENT_RAFT_RUNS_H

#include "agent/raft/raft_state.h"

/* Takes what recovery found; false when it cannot be: terms that fall, a gap, an end that does not
 * fit. All of it counts as durable. */
bool raft_runs_restore(struct raft_log *log, const struct raft_restore *from);

/* The term of entry `index`; false when the log does not know it. */
bool raft_runs_term(const struct raft_log *log, uint64_t index, uint64_t *ret_term);

uint64_t raft_runs_last_term(const struct raft_log *log);

/* Entry `index` can be sent: it is in the log and its run is known. */
bool raft_runs_holds(const struct raft_log *log, uint64_t index);

/* Entries up to and with `last` follow, all of `term`. */
void raft_runs_append(struct raft_log *log, uint64_t last, uint64_t term);

/* Entries from `from` on are void. */
void raft_runs_truncate(struct raft_log *log, uint64_t from);

/* The highest index not above `index` whose term is not above `term`. */
uint64_t raft_runs_floor(const struct raft_log *log, uint64_t index, uint64_t term);

/* Describes `count` entries after m->prev_index in m->runs, fewer when they have too many terms;
 * sets m->count. */
void raft_runs_describe(const struct raft_log *log, uint32_t count, struct raft_message *m);

#endif
