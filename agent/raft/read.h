/* Linearizable reads by ReadIndex (6.4), asked for here or by a follower.
 *
 * The leader notes its commit index when a read comes in (or when it becomes
 * ready, if that is later) and releases the read once a majority has answered
 * a round of heartbeats that began after. One round serves all reads that wait
 * for it: the first read begins one at once; those that come while it is under
 * way wait for the next, which begins when it is complete, or with the next
 * heartbeat.
 *
 * A follower asks its leader with READ and an id of its own. Ids rise from a
 * random start, so that an answer to a former life of this process is never
 * taken for one to this, and an answer to one is an answer to all before it:
 * the leader keeps the newest per follower and round, and a lost READ is made
 * good by repeating only the newest.
 *
 * Reads are void when the term changes or the leader is lost.
 */
#ifndef DROVER_AGENT_RAFT_READ_H
#define DROVER_AGENT_RAFT_READ_H

#include "agent/raft/raft_state.h"

/* RAFT_EV_READ. */
void raft_read_begin(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* READ and READ_REPLY of the current term. */
void raft_read_receive(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* Ends all reads of this node without an answer. */
void raft_read_void(struct raft *r, struct raft_update *up);

/* Leader: begins a round of heartbeats. */
void raft_read_round(struct raft *r);

/* Leader: releases what a completed round confirms; begins a round when one is wanted. */
void raft_read_flush(struct raft *r, struct raft_update *up);

/* Follower: asks again when it is time. */
void raft_read_tick(struct raft *r, const struct raft_event *ev, struct raft_update *up);
uint64_t raft_read_deadline_ms(const struct raft *r);

#endif
