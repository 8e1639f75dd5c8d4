/* The core: consensus of every group of this node, tied to the log.
 *
 * One caller at a time (the loop thread, loop.h; or a simulator) feeds it what
 * happened: peers' messages, what the log has made durable, proposals, reads,
 * time. It steps the group's Raft, stages what must be durable in the log,
 * sends messages, and tells its surroundings through the ports below. It does
 * no I/O of its own, keeps no clock and no randomness, and never blocks: every
 * port returns at once.
 *
 * Failure: when the log cannot take what Raft says must be durable (its disk
 * failed, no memory), going on would break promises made; calls then return
 * the error and the caller must end the process.
 *
 * Disk full: while wal_room() is false proposals are refused, appends of peers
 * are dropped as if lost, and leadership is handed over.
 */
#ifndef DROVER_AGENT_NODE_CORE_H
#define DROVER_AGENT_NODE_CORE_H

#include "agent/raft/raft.h"
#include "agent/wal/wal.h"

#define CORE_GROUPS_MAX 33 /* meta and up to 32 data groups */

struct core;

/* A read that waits for its index. The owner embeds it; the core links them in a list. */
struct core_read {
	struct core_read *next;
	uint64_t deadline_ms; /* monotonic: given up (index 0) after it */
};

/* What a group looks like from outside; see core_view(). */
struct core_view {
	enum raft_role role;
	uint64_t term;
	raft_id leader;
	uint64_t last_index;
	uint64_t commit;
	uint64_t synced;
	bool ready;	   /* leader that has committed an entry of its own term */
	uint64_t since_ms; /* monotonic: role, term and leader are so since then */
	unsigned members_n;
	raft_id members[RAFT_PEERS_MAX];
	uint64_t match[RAFT_PEERS_MAX]; /* leader: what each member holds */
};

struct core_ports {
	void *ctx;
	/* Hands a message, with its entries, to the link to m->to. false: it was not taken. */
	bool (*send)(void *ctx, uint32_t group, const struct raft_message *m,
		     const struct wal_entry *entries, size_t entries_n);
	/* The entries of this append are not in memory: somebody else reads them from the log,
	 * sends the message, and reports with core_sent(). false: cannot now. */
	bool (*fetch)(void *ctx, uint32_t group, const struct raft_message *m);
	/* Something was staged: wake the log's writer. */
	void (*kick_log)(void *ctx);
	/* In this order for each group: commit up to, then a change of role, term or leader. */
	void (*commit)(void *ctx, uint32_t group, uint64_t index);
	void (*role)(void *ctx, uint32_t group, enum raft_role role, uint64_t term, raft_id leader);
	/* Every core_propose() is answered by one; index 0: refused, nothing was done. */
	void (*proposed)(void *ctx, uint32_t group, void *token, uint64_t index, uint64_t term);
	/* These reads may run once `index` is applied; 0: leadership is unsure, or the deadline
	 * passed; nothing was confirmed. */
	void (*reads)(void *ctx, uint32_t group, struct core_read *list, uint64_t index);
};

struct core_options {
	struct raft_options raft;   /* for every group */
	struct raft_config members; /* the configuration the cluster was made with */
	uint32_t groups_n;	    /* ids 0..groups_n-1 */
	uint64_t append_bytes;	    /* in one append message */
	uint32_t read_retry_ms;	    /* ask again for a read index that does not come */
	struct wal *wal;
	struct core_ports ports;
};

/* In every call: the monotonic time, never falling, and 64 fresh random bits. */
struct core_now {
	uint64_t now_ms;
	uint64_t random;
};

/* applied[g]: what group g's store has durably applied. ERR_CORRUPT when log and store contradict
 * each other. */
int core_new(struct core **ret_core, const struct core_options *o, const uint64_t *applied,
	     struct core_now t, struct err *e);
void core_free(struct core *c);

/* `entries` belong to an APPEND (m->count of them): borrowed. */
int core_receive(struct core *c, struct core_now t, uint32_t group, const struct raft_message *m,
		 const struct wal_entry *entries, struct err *e);
int core_persisted(struct core *c, struct core_now t, const struct wal_synced *rows, size_t n,
		   struct err *e);
/* Takes a reference to data. */
int core_propose(struct core *c, struct core_now t, uint32_t group, struct blob *data, void *token,
		 struct err *e);
/* Collected; several share one confirmation, asked for by core_reads_begin or core_tick. */
void core_read(struct core *c, uint32_t group, struct core_read *read);
/* Starts confirming what core_read collected: call it when no more input is waiting. */
int core_reads_begin(struct core *c, struct core_now t, struct err *e);
int core_transfer(struct core *c, struct core_now t, uint32_t group, raft_id target,
		  enum raft_refusal *ret_refused, struct err *e);
/* This node is about to end: hands over what it leads, and takes no leadership over. */
int core_retire(struct core *c, struct core_now t, struct err *e);
/* Answer of the `fetch` port. */
int core_sent(struct core *c, struct core_now t, uint32_t group, raft_id peer, uint64_t prev_index,
	      uint32_t count, uint64_t size_bytes, struct err *e);
int core_unreachable(struct core *c, struct core_now t, raft_id peer, struct err *e);
/* *ret_deadline_ms: call again then at the latest. */
int core_tick(struct core *c, struct core_now t, uint64_t *ret_deadline_ms, struct err *e);

/* Any thread; never blocks long. */
void core_view(struct core *c, uint32_t group, struct core_view *ret_view);
/* The core's caller only: does any group still hold back its vote (raft_options.abstain)? */
bool core_abstaining(const struct core *c);
uint32_t core_groups(const struct core *c);
/* "meta", "shard-1" */
const char *core_group_name(uint32_t group, char *ret_name, size_t size);

#endif
