/* The leader: its log, what is committed, and when it must stop.
 *
 * It writes its own log in parallel with replication (10.2.1): its own copy
 * counts for commit only once durable. Only entries of its own term are
 * committed by counting (3.6.2), which is why each term begins with an empty
 * one (6.4). It steps down when no majority answered within an election
 * timeout (6.2, check-quorum).
 *
 * A transfer (3.10) stops proposals, waits until the target has the whole log
 * durable, tells it to campaign at once, and is given up after one election
 * timeout.
 */
#ifndef DROVER_AGENT_RAFT_LEAD_H
#define DROVER_AGENT_RAFT_LEAD_H

#include "agent/raft/raft_state.h"

/* Won the election: appends the term's first entry. */
void raft_lead_begin(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* Forgets what only a leader has. */
void raft_lead_end(struct raft *r);

/* RAFT_EV_PROPOSE and RAFT_EV_TRANSFER. */
void raft_lead_propose(struct raft *r, const struct raft_event *ev, struct raft_update *up);
void raft_lead_transfer(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* Heartbeats, check-quorum, the end of a transfer. */
void raft_lead_tick(struct raft *r, const struct raft_event *ev, struct raft_update *up);
uint64_t raft_lead_deadline_ms(const struct raft *r, uint64_t now_ms);

/* The end of every step of a leader: what the step changed becomes commits, confirmed reads and
 * messages. */
void raft_lead_flush(struct raft *r, const struct raft_event *ev, struct raft_update *up);

#endif
