/* Consensus of one group: events in, updates out, nothing else.
 *
 * `raft_step(raft, event, update)` is the whole of Raft. It never allocates,
 * reads a clock, draws a random number, logs, locks or does I/O; the caller
 * (node/) brings time, randomness and results of its I/O in as events and
 * carries out what the update says. State is one plain struct without
 * pointers except the array of term runs, which the caller provides, so a
 * simulator can copy, compare and print it.
 *
 * Raft holds no payloads: an entry is its (index, term, kind), and the log's
 * terms are kept as runs. Where an update says "append entries a..b" the bytes
 * are those of the proposal or of the message just given to raft_step; where a
 * message says "send entries a..b" the caller fetches them from the log.
 *
 * Source: D. Ongaro, "Consensus: Bridging Theory and Practice" (the
 * dissertation), chapters 3, 4, 6.4 (ReadIndex), 9.6 (pre-vote), 10.2.1
 * (leader writes its log in parallel with replication), 3.10 (transfer).
 *
 * Order that never breaks:
 *   - term and vote are durable before any message that depends on them
 *     leaves: such messages come out of the step that is given PERSISTED for
 *     the update that carried the hard state;
 *   - an append is acknowledged, and the leader's own copy counted, only
 *     after PERSISTED for that term and index;
 *   - only entries of the leader's own term are committed by counting;
 *   - commit never passes the prefix verified against this term's leader, and
 *     nothing is applied here before it is durable here;
 *   - a configuration takes effect when appended and rolls back with
 *     truncation; nothing at or below commit is ever truncated;
 *   - a read is confirmed only by a leader that has committed an entry of its
 *     term, with a heartbeat round begun after the read came in; read ids are
 *     fresh and void when the term changes.
 *
 * Threads: none; one caller at a time.
 */
#ifndef DROVER_AGENT_RAFT_RAFT_H
#define DROVER_AGENT_RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAFT_PEERS_MAX 9	/* members of a configuration, this node included */
#define RAFT_MESSAGES_MAX 64	/* messages one step can bring forth */
#define RAFT_READS_MAX 8	/* read ids under way at once; the caller batches reads under one */
#define RAFT_APPEND_RUNS_MAX 16 /* changes of term inside one append message */
#define RAFT_INFLIGHT_MAX 64	/* appends on their way to one peer */

/* Node ids are 1..65535; 0 is "none". */
typedef uint32_t raft_id;

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

enum raft_member_role { RAFT_VOTER = 1, RAFT_LEARNER = 2 };

struct raft_member {
	raft_id id;
	enum raft_member_role role;
};

struct raft_config {
	uint64_t index; /* of the entry that holds it; 0: the one the cluster was made with */
	unsigned n;
	struct raft_member members[RAFT_PEERS_MAX];
};

/* What must be on disk before anything that depends on it leaves. */
struct raft_hard_state {
	uint64_t term;
	raft_id vote;
};

enum raft_entry_kind {
	RAFT_ENTRY_NOOP = 1,   /* a new leader's first entry */
	RAFT_ENTRY_DATA = 2,   /* opaque to consensus */
	RAFT_ENTRY_CONFIG = 3, /* a configuration */
};

/* A stretch of the log in one term: entries first..(next run's first - 1). */
struct raft_run {
	uint64_t first;
	uint64_t term;
};

enum raft_message_kind {
	RAFT_PRE_VOTE = 1,
	RAFT_PRE_VOTE_REPLY,
	RAFT_VOTE,
	RAFT_VOTE_REPLY,
	RAFT_APPEND, /* with entries, or without: a heartbeat or probe */
	RAFT_APPEND_REPLY,
	RAFT_READ, /* a follower asks the leader for a read index */
	RAFT_READ_REPLY,
	RAFT_TIMEOUT_NOW, /* leadership transfer */
	RAFT_SNAPSHOT,	  /* place kept: the follower needs a snapshot */
	RAFT_SNAPSHOT_REPLY,
	RAFT_MESSAGE_KINDS
};

/* One flat struct for all kinds; which fields a kind uses is written at each.
 * The codec in net/ puts only those on the wire (drover-protocol(7)). */
struct raft_message {
	enum raft_message_kind kind;
	raft_id from;
	raft_id to;
	uint64_t term; /* the sender's; PRE_VOTE: the term it would have; a granted PRE_VOTE_REPLY:
			  that term, echoed */
	/* APPEND: the entry before the first one carried.
	 * VOTE, PRE_VOTE: the candidate's last entry.
	 * APPEND_REPLY (prev_index only): accepted: the log is the leader's up to here, durable or
	 * not; rejected: the prev_index that was refused. */
	uint64_t prev_index;
	uint64_t prev_term;
	/* APPEND: number of entries carried, (prev_index+1 .. prev_index+count); in an update the
	 * most that may be sent: the caller may send fewer, and says so with SENT. */
	uint32_t count;
	uint32_t runs_n; /* APPEND: terms of the entries carried */
	struct raft_run runs[RAFT_APPEND_RUNS_MAX];
	uint64_t commit; /* APPEND: the leader's commit index */
	/* APPEND_REPLY: accepted: the highest index known to match and be synced here.
	 * rejected: hint where to probe next (hint_index, hint_term). */
	uint64_t match;
	uint64_t hint_index;
	uint64_t hint_term;
	/* APPEND, APPEND_REPLY: the heartbeat round, for ReadIndex and check-quorum. An APPEND
	 * without entries and of round 0 only tells the commit index: no answer when accepted.
	 * READ, READ_REPLY: the follower's own id of the read, echoed: not the caller's read_id. */
	uint64_t round;
	uint64_t read_index; /* READ_REPLY: the index, when granted */
	bool granted;	     /* *_VOTE_REPLY, APPEND_REPLY, READ_REPLY */
	bool transfer; /* VOTE, PRE_VOTE: part of a transfer, ignore the leader's stickiness */
};

enum raft_event_kind {
	/* Time passed. Also the first event after raft_init. Only this one fires timers, so a
	 * caller that was held up hands in the messages that are waiting before it. */
	RAFT_EV_TICK,
	/* `message` arrived; an APPEND's entries are appended as the update says. */
	RAFT_EV_RECEIVE,
	/* Everything up to the update with this persist_id is durable. */
	RAFT_EV_PERSISTED,
	/* The state machine has applied up to `index`. */
	RAFT_EV_APPLIED,
	/* Append `count` entries of `entry_kind` (leader only: see update.refused). */
	RAFT_EV_PROPOSE,
	/* Confirm that a read begun now sees all that was acknowledged. `read_id` is the caller's,
	 * never reused within a process's life. */
	RAFT_EV_READ,
	/* Hand leadership to `peer` (0: the most up to date voter). */
	RAFT_EV_TRANSFER,
	/* The caller put `count` entries after `index` of an APPEND into the link to `peer`,
	 * `size_bytes` in all; count 0: it sent none (they could not be read, or the link is down),
	 * and the peer is probed again later. Exactly one for each APPEND with count > 0 in an
	 * update; until it comes no further entries go to that peer. Who fetches the entries later
	 * than at once compares their terms with the message's runs: the log may have been
	 * truncated meanwhile. If they differ, or are gone, it sends none. */
	RAFT_EV_SENT,
	/* The link to `peer` went down: appends on their way may be lost. */
	RAFT_EV_UNREACHABLE,
	/* Places kept for membership and snapshots; refused for now. */
	RAFT_EV_CHANGE_CONFIG,
	RAFT_EV_SNAPSHOT_MADE,
	RAFT_EV_SNAPSHOT_INSTALLED,
};

struct raft_event {
	enum raft_event_kind kind;
	uint64_t now_ms;		    /* monotonic; in every event; never goes back */
	uint64_t random;		    /* fresh and uniform; in every event */
	const struct raft_message *message; /* RECEIVE */
	uint64_t persist_id;		    /* PERSISTED */
	uint64_t index;			    /* APPLIED, SENT (prev_index of the message) */
	uint32_t count;			    /* PROPOSE, SENT */
	enum raft_entry_kind entry_kind;    /* PROPOSE */
	uint64_t read_id;		    /* READ */
	raft_id peer;			    /* TRANSFER, SENT, UNREACHABLE */
	uint64_t size_bytes;		    /* SENT */
};

enum raft_refusal {
	RAFT_REFUSED_NOT = 0,
	RAFT_REFUSED_NOT_LEADER,
	RAFT_REFUSED_TRANSFERRING, /* leadership is being handed over: ask the next leader */
	RAFT_REFUSED_TOO_MANY,	   /* READ: RAFT_READS_MAX are under way; wait for one */
	RAFT_REFUSED_NO_TARGET,	   /* TRANSFER: not a voter, or this node itself */
	RAFT_REFUSED_UNSUPPORTED,
};

struct raft_read_done {
	uint64_t read_id;
	/* Read once this is applied; 0: void (the term changed, the leader is lost): ask again. */
	uint64_t index;
};

/* What to do, in this order: persist (hard state, truncation, entries, as one unit), send the
 * messages (they may leave at once: none depends on what this update persists), apply up to
 * commit, release reads, come back at deadline_ms at the latest. */
struct raft_update {
	/* Not 0 when something below must be made durable; give it back with PERSISTED. Ids rise;
	 * persisting id n implies all before it. */
	uint64_t persist_id;
	bool hard_changed;
	struct raft_hard_state hard;
	uint64_t truncate_from; /* not 0: entries with index >= this are void */
	/* Append entries append_first..append_last (0: none); their terms are in the log runs. On
	 * PROPOSE they are the proposal; on RECEIVE of an APPEND the message's entries from
	 * append_first on; otherwise this node has just become leader: one NOOP without bytes. */
	uint64_t append_first;
	uint64_t append_last;

	unsigned messages_n;
	struct raft_message messages[RAFT_MESSAGES_MAX];

	/* Apply up to here: committed, and durable on this node as well. Others may commit what
	 * this node has not synced yet; were that applied, a crash could leave the state machine
	 * ahead of a log whose tail is still another, and nothing could tell. raft_commit() is not
	 * held back. */
	uint64_t commit;
	bool commit_changed;

	unsigned reads_n;
	struct raft_read_done reads[RAFT_READS_MAX];

	enum raft_refusal refused; /* of PROPOSE, READ, TRANSFER: nothing was done */

	bool role_changed; /* role, term or leader differ from before the step */
	uint64_t deadline_ms;
};

struct raft_options {
	raft_id id;
	uint32_t heartbeat_ms;	    /* leader's interval; default 50 */
	uint32_t election_min_ms;   /* timeout is drawn from [min, 2*min); default 300 */
	uint32_t inflight_messages; /* window of appends per peer, <= RAFT_INFLIGHT_MAX */
	uint64_t inflight_bytes;
	uint32_t append_entries_max; /* entries in one message */
	/* This node has forgotten what it promised (its disk was emptied): it neither votes nor
	 * campaigns until it holds, durably, all that a leader has committed in its own term. */
	bool abstain;
};

struct raft; /* its fields: raft_state.h, for tests and simulators */

/* What recovery found; runs describe entries first_index..last_index. */
struct raft_restore {
	struct raft_hard_state hard;
	struct raft_config config; /* the newest in the log, else the cluster's first */
	uint64_t snapshot_index;   /* all at or below is in the snapshot; 0: none */
	uint64_t snapshot_term;
	uint64_t last_index;
	uint64_t applied; /* the state machine has durably applied (and so is committed) to here;
			     never beyond last_index: see update.commit */
	const struct raft_run *runs;
	size_t runs_n;
};

/* Makes a follower. `runs` (capacity runs_cap >= 1024) is the caller's memory for the log's term
 * runs and lives as long as *r; when it is full the oldest are forgotten, and a peer that needs
 * entries of theirs needs a snapshot. Returns false when `from` is not a state that Raft can have
 * left behind (terms that fall, a gap, applied beyond the log): the caller reports a corrupt log.
 */
bool raft_init(struct raft *r, const struct raft_options *o, const struct raft_restore *from,
	       struct raft_run *runs, size_t runs_cap);

/* One event. *up is wholly overwritten. A message that is not of this group's members, of this
 * version or of sound content is ignored. */
void raft_step(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* This node is about to end: it votes, but campaigns no more and takes no leadership over. */
void raft_retire(struct raft *r);

/* Looking in. */
enum raft_role raft_role(const struct raft *r);
const char *raft_role_name(enum raft_role role); /* "leader", "follower", "candidate" */
uint64_t raft_term(const struct raft *r);
raft_id raft_leader(const struct raft *r); /* 0: not known */
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_commit(const struct raft *r); /* known to be committed; see update.commit */
/* A leader that has committed something of its own term: reads are confirmed and configuration
 * changes may go on. */
bool raft_ready(const struct raft *r);
/* Term of an entry; 0 when it is not in the log (any more). */
uint64_t raft_term_at(const struct raft *r, uint64_t index);
/* Leader: up to where a peer's log is known to be durable and the same; 0 otherwise. */
uint64_t raft_match(const struct raft *r, raft_id peer);

/* Makes an APPEND one of its first `count` entries, for a caller that sends fewer than it may. */
void raft_message_trim(struct raft_message *m, uint32_t count);

#endif
