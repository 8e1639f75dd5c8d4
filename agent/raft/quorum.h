/* Who counts: the members, the voters, and what a majority of them has reached.
 *
 * A quorum is a majority of the voters of the configuration in force, this
 * node included when it is one. Learners count for nothing.
 */
#ifndef DROVER_AGENT_RAFT_QUORUM_H
#define DROVER_AGENT_RAFT_QUORUM_H

#include "agent/raft/raft_state.h"

/* A configuration that can be: ids that differ, roles that exist, at least one voter. */
bool raft_config_sound(const struct raft_config *config);

/* The peer of that id, this node included; NULL when it is no member. */
struct raft_peer *raft_peer_find(struct raft *r, raft_id id);

bool raft_votes(const struct raft *r, raft_id id);
unsigned raft_voters(const struct raft *r);

/* The highest value that a majority of the voters has reached. */
uint64_t raft_quorum_match(const struct raft *r); /* durable up to here */
uint64_t raft_quorum_round(const struct raft *r); /* answered this round of heartbeats */
uint64_t raft_quorum_heard_ms(const struct raft *r, uint64_t now_ms);

/* The campaign under way: a majority said yes; no majority can any more. */
bool raft_quorum_granted(const struct raft *r);
bool raft_quorum_refused(const struct raft *r);

#endif
