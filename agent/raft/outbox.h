/* Messages of one step.
 *
 * RAFT_MESSAGES_MAX is enough for every step; the most come from a leader,
 * which sends each of its at most eight peers, in one step, one heartbeat, one
 * append with entries, two read replies and one TIMEOUT_NOW. Any other role sends
 * each peer at most one request and one reply.
 */
#ifndef DROVER_AGENT_RAFT_OUTBOX_H
#define DROVER_AGENT_RAFT_OUTBOX_H

#include "agent/raft/raft_state.h"

/* The next message of the update, with kind, from, to and the current term set and the rest 0. */
struct raft_message *raft_outbox_add(const struct raft *r, struct raft_update *up,
				     enum raft_message_kind kind, raft_id to);

#endif
