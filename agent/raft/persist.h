/* What is on its way to the disk: outstanding persist records.
 *
 * Each update that must be made durable gets an id. A record remembers up to
 * which entry the log is durable once that id is. Entries that are truncated
 * while under way do not count when their record comes back: another term's
 * entry stands in their place, and that one has a record of its own.
 *
 * The ring is fixed: when the disk is so far behind that it is full, the
 * newest two records become one, which is durable when the later id is. That
 * only delays acknowledgements.
 */
#ifndef DROVER_AGENT_RAFT_PERSIST_H
#define DROVER_AGENT_RAFT_PERSIST_H

#include "agent/raft/raft_state.h"

/* Takes the next id for an update after which the log ends at log.last. */
uint64_t raft_persist_next(struct raft *r);

/* The log was cut: records under way count only up to log.last. */
void raft_persist_cut(struct raft *r);

/* Everything up to update `id` is durable: raises log.stable. Returns true when the current term
 * and vote have become durable by that. */
bool raft_persist_done(struct raft *r, uint64_t id);

/* The current term and vote are durable: messages that depend on them may leave. */
bool raft_persist_hard_durable(const struct raft *r);

#endif
