/* Terms, votes and campaigns.
 *
 * follower -> pre-candidate -> candidate -> leader. A pre-candidate asks
 * whether a majority would vote for it without touching its term (9.6), so a
 * node that comes back from a partition disturbs nobody. A node that hears a
 * leader grants neither pre-votes nor votes (4.2.3), except in a transfer or
 * after its own link to that leader was reported broken.
 *
 * A vote, given or asked for, leaves only after it is durable: the request
 * and the answers come out of the step that reports it (raft_election_durable).
 */
#ifndef DROVER_AGENT_RAFT_ELECTION_H
#define DROVER_AGENT_RAFT_ELECTION_H

#include "agent/raft/raft_state.h"

/* A new term begins for this node, as follower of nobody yet: votes, reads and what was known of
 * the last leader are void. `vote` is 0 or who it votes for at once. */
void raft_election_new_term(struct raft *r, const struct raft_event *ev, struct raft_update *up,
			    uint64_t term, raft_id vote);

/* Gives up leadership or a campaign within the term. */
void raft_election_step_down(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* The election timeout starts over, drawn from [min, 2 * min). */
void raft_election_rewind(struct raft *r, const struct raft_event *ev);

/* Starts a campaign, or repeats its requests, when it is time. Not for leaders. */
void raft_election_tick(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* Campaigns at once because the leader asked to (3.10). */
void raft_election_transfer(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* Term and vote have become durable. */
void raft_election_durable(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* The link to `peer` broke; when it is the leader an election may come sooner. */
void raft_election_link_down(struct raft *r, const struct raft_event *ev, raft_id peer);

/* PRE_VOTE, PRE_VOTE_REPLY, VOTE, VOTE_REPLY. A term above ours has not been taken over yet. */
void raft_election_receive(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* When raft_election_tick has something to do; UINT64_MAX: never (learners, leaders). */
uint64_t raft_election_deadline_ms(const struct raft *r);

#endif
