/* A node: every part of the agent tied together.
 *
 * Threads: the loop (core, all groups' consensus), the log's writer, a store
 * thread per group (shard), a pool of readers, a background thread that
 * checkpoints, and NNG's own, whose callbacks only enqueue:
 *
 *   call -> service -> shard: execute -> loop: propose -> log, peers
 *        -> loop: commit -> shard: answer
 *   call -> service -> loop: confirm -> (shard: wait, flush) -> pool: read, answer
 *
 * Parts reach each other through this struct: it is the node's private page,
 * included by node/ only.
 */
#ifndef DROVER_AGENT_NODE_NODE_H
#define DROVER_AGENT_NODE_NODE_H

#include "agent/net/peers.h"
#include "agent/node/catalogue.h"
#include "agent/node/core.h"
#include "agent/node/job.h"
#include "agent/node/loop.h"
#include "agent/node/pool.h"
#include "agent/node/shard.h"
#include "agent/wal/writer.h"
#include "common/conf.h"

struct node {
	const struct agent_conf *conf;
	uint32_t groups_n;
	struct hub *hub;
	struct peers *peers;
	struct rpc_server *_Atomic rpc; /* NULL until clients are served */
	struct wal *wal;
	struct wal_writer *writer;
	struct loop *loop;
	struct catalogue *catalogue;
	struct pool *pool;
	struct shard *shards[CORE_GROUPS_MAX];
	uint64_t started_ms;
	atomic_uint_fast64_t writes; /* requests that changed something, as leader */
	atomic_uint_fast64_t reads;  /* requests answered by reading */
	atomic_bool stopping;
	/* Rates of the last second, by the background thread. */
	_Atomic double writes_per_s, reads_per_s;
};

/* Opens the data, joins the cluster, serves until node_stop. The conf outlives the node. */
int node_start(struct node **ret_node, const struct agent_conf *conf, struct err *e);

/* Orderly end: hands leadership over, finishes what is acknowledged, flushes and syncs. The
 * process should _exit afterwards; a second node cannot be made. */
void node_stop(struct node *n);

/* Tells the events feed of a change of role. */
void node_event(struct node *n, uint32_t group, enum raft_role role, uint64_t term, raft_id leader);

/* Logs and ends the process at once: promises could not be kept otherwise. */
_Noreturn void node_fatal(struct node *n, const char *part, const struct err *e);

#endif
