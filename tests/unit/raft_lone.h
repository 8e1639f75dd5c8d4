/* One raft under a microscope: its peers, its disk and its clock are the test.
 *
 * Ids are 1..voters for voters and on from there for learners; the node under
 * test is number 1. Timeouts: heartbeat 50 ms, election 300 ms (and exactly
 * that, as long as `random` stays 0). Nothing is durable before lone_persist().
 */
#ifndef DROVER_TESTS_UNIT_RAFT_LONE_H
#define DROVER_TESTS_UNIT_RAFT_LONE_H

#include "agent/raft/raft.h"
#include "agent/raft/raft_state.h"

#define LONE_RUNS_MAX 1024

struct lone {
	struct raft r;
	struct raft_options options;
	struct raft_run runs[LONE_RUNS_MAX];
	struct raft_update up; /* of the last step */
	uint64_t now_ms;
	uint64_t random;
};

void lone_start(struct lone *l, unsigned voters, unsigned learners);

/* With a log: entries of these terms, ending at the given indexes; term and vote. */
void lone_start_with(struct lone *l, unsigned voters, uint64_t term, raft_id vote,
		     const struct raft_run *runs, size_t runs_n, uint64_t last, uint64_t applied);

/* One event, with now and random filled in. */
void lone_step(struct lone *l, struct raft_event ev);
void lone_wait(struct lone *l, uint64_t ms); /* lets time pass, then ticks */
void lone_persist(struct lone *l);	     /* all that was asked for so far */
void lone_propose(struct lone *l, uint32_t count);
void lone_read(struct lone *l, uint64_t read_id);
void lone_unreachable(struct lone *l, raft_id peer);
/* All that the last append to `peer` was allowed to send was sent; or only `count` entries. */
void lone_sent(struct lone *l, raft_id peer);
void lone_sent_only(struct lone *l, raft_id peer, uint32_t count);

/* lone_receive(l, .kind = RAFT_VOTE, .from = 2, .term = 1, ...) */
void lone_receive_message(struct lone *l, struct raft_message m);
#define lone_receive(l, ...) lone_receive_message(l, (struct raft_message){__VA_ARGS__})

/* Peer `from` accepts: its log is ours up to `index`, all durable; answers `round`. */
void lone_accept(struct lone *l, raft_id from, uint64_t index, uint64_t round);

/* Entries of one term from the leader `from`, as an APPEND. */
void lone_append(struct lone *l, raft_id from, uint64_t term, uint64_t prev_index,
		 uint64_t prev_term, uint32_t count, uint64_t entries_term, uint64_t commit);

/* Campaigns, wins with everybody's vote, and stays with its first entry neither durable nor sent:
 * the update is that of the step that won. */
void lone_win(struct lone *l);

/* The same, and then its log is durable, at all peers too, committed and told to them. */
void lone_lead(struct lone *l);

/* The message of that kind to that peer in the last update; NULL: none. The n-th, from 0. */
const struct raft_message *lone_to(const struct lone *l, enum raft_message_kind kind, raft_id to);
const struct raft_message *lone_to_nth(const struct lone *l, enum raft_message_kind kind,
				       raft_id to, unsigned n);
unsigned lone_count(const struct lone *l, enum raft_message_kind kind);

#endif
