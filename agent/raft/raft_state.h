/* The state of one group's consensus, in plain fields.
 *
 * For agent/raft/ itself, for tests and for simulators, which build, copy,
 * compare and print it; everybody else uses raft.h. The only pointer is
 * log.runs, the caller's array: who copies a struct raft copies that too.
 *
 * Fields are grouped by the one who moves them: the log and what of it is
 * durable (runs.h, persist.h), the election (election.h), the follower's view
 * of its leader (follow.h), the leader's view of its peers (lead.h, peer.h),
 * and reads (read.h).
 */
#ifndef DROVER_AGENT_RAFT_RAFT_STATE_H
#define DROVER_AGENT_RAFT_RAFT_STATE_H

#include "agent/raft/raft.h"

#define RAFT_PERSIST_MAX 64 /* persist records told apart; beyond that the newest two merge */

enum raft_peer_state {
	RAFT_PEER_PROBE,    /* where its log meets ours is unknown: one append at a time */
	RAFT_PEER_PIPELINE, /* known: appends follow one another up to the window */
	RAFT_PEER_SNAPSHOT, /* needs entries that we can no longer describe */
};

/* An append on its way: entries up to `last`. */
struct raft_inflight {
	uint64_t last;
	uint64_t size_bytes;
};

/* The newest read that a follower asked for, per round of heartbeats that it waits for. */
struct raft_remote_read {
	uint64_t id;	/* 0: none */
	uint64_t round; /* done when a quorum has answered this round */
	uint64_t index; /* 0: not known before the leader is ready */
};

/* One member; peers[i] belongs to config.members[i]. This node has one too. */
struct raft_peer {
	raft_id id;

	/* Election. */
	bool vote_owed; /* asked for a vote that may be answered once term and vote are durable */
	bool answered;	/* to the campaign under way */
	bool granted;

	/* Leader. */
	enum raft_peer_state state;
	bool paused;	      /* PROBE: an answer, or the next heartbeat, is waited for */
	bool heartbeat_due;   /* an empty append goes out at the end of this step */
	uint64_t match;	      /* durable there and the same as here */
	uint64_t match_round; /* the round when match was last raised */
	uint64_t next;	      /* the first entry not yet sent */
	uint64_t round;	      /* the newest round it answered */
	uint64_t heard_ms;
	uint64_t progress_ms; /* match rose, or something to wait for left */
	uint64_t commit_told;
	struct raft_inflight inflight[RAFT_INFLIGHT_MAX]; /* ring */
	unsigned inflight_head;
	unsigned inflight_n;
	uint64_t inflight_bytes;
	struct raft_remote_read reading; /* waits for the oldest round */
	struct raft_remote_read reading_later;

	/* An APPEND with entries is in the caller's hands; outlives leadership. */
	bool sent_awaited;
	bool sent_void; /* it was of no use any more before SENT came */
	uint64_t sent_prev;
	uint32_t sent_count;
};

struct raft_log {
	struct raft_run *runs; /* the caller's array, oldest first */
	size_t cap;
	size_t n;
	uint64_t snapshot_index;
	uint64_t snapshot_term;
	uint64_t last;	 /* index of the newest entry */
	uint64_t stable; /* entries up to here are durable on this node */
};

/* Entries up to `last` are durable once the update `id` is. */
struct raft_persist {
	uint64_t id;
	uint64_t last;
};

enum raft_owed { RAFT_OWED_NONE, RAFT_OWED_ACCEPT, RAFT_OWED_REFUSE };

/* What a follower knows of its leader; begins anew with each term. */
struct raft_following {
	uint64_t verified; /* our log is the leader's up to here */
	uint64_t acked;	   /* the highest match told to it */
	uint64_t round;	   /* the newest round seen */
	uint64_t heard_ms;
	bool link_down; /* the caller reported the link to it as broken since */
	/* An answer that waits for the term to be durable. */
	enum raft_owed owed;
	uint64_t refused_prev;
	uint64_t hint_index;
	uint64_t hint_term;
};

/* A read of this node's caller. */
struct raft_read {
	uint64_t read_id;
	uint64_t round; /* leader: the round it waits for; follower: its id towards the leader */
	uint64_t index; /* leader: 0 until ready */
};

struct raft {
	struct raft_options options;
	struct raft_config config;
	struct raft_peer peers[RAFT_PEERS_MAX];

	struct raft_hard_state hard;
	struct raft_hard_state hard_durable;
	uint64_t hard_persist_id; /* the update that carried `hard` */

	struct raft_log log;
	struct raft_persist persist[RAFT_PERSIST_MAX]; /* ring, oldest first */
	unsigned persist_head;
	unsigned persist_n;
	uint64_t persist_id; /* the newest given out */

	uint64_t commit;
	uint64_t applied;

	enum raft_role role;
	raft_id leader;
	bool started; /* the first event has come */
	bool abstain; /* options.abstain, until caught up */
	bool retired; /* raft_retire */

	/* Election. */
	uint64_t election_ms; /* campaign then, unless a leader is heard before */
	uint64_t resend_ms;   /* campaign: ask those who have not answered once more */
	bool campaign_asked;  /* CANDIDATE: the own vote is durable and VOTE went out */
	bool campaign_transfer;

	struct raft_following following;

	/* Leader. */
	uint64_t term_start; /* index of this term's first entry */
	uint64_t heartbeat_ms;
	uint64_t round;	     /* the newest begun */
	uint64_t read_round; /* the newest begun for reads */
	raft_id transfer_to; /* 0: none */
	uint64_t transfer_ms;
	bool transfer_asked; /* TIMEOUT_NOW went out since the last heartbeat */

	/* Reads. */
	struct raft_read reads[RAFT_READS_MAX];
	unsigned reads_n;
	uint64_t read_base; /* ids towards the leader are read_base + 1 .. read_seq */
	uint64_t read_seq;
	uint64_t read_retry_ms;
};

#endif
