/* A shard: one group's store and the thread that owns it.
 *
 * As leader it executes queued writes in batches, speculatively, proposes each
 * as one entry, and answers when it is committed. As follower it applies what
 * is committed. It flushes SQLite when readers wait or after a bound of rows
 * or time, and holds jobs until the index that they wait for is applied and
 * visible.
 *
 * Invariants:
 *   - batches execute only when this node leads, and has applied an entry of
 *     its own term: all that came before is then in the store;
 *   - speculative batches are a suffix of the group's log; when leadership is
 *     lost they are taken back before anything else is applied;
 *   - an answer leaves only after what it saw is committed: a write after its
 *     own entry, anything else after the newest batch it saw, or after its
 *     leader was confirmed;
 *   - while a flush is wanted no new batch begins, so that it comes about.
 *
 * Bounds: queued_requests jobs waiting (more are failed with ERR_BUSY),
 * batches_inflight entries under way, batch_requests jobs in one.
 *
 * Threads: the posting functions are for any.
 */
#ifndef DROVER_AGENT_NODE_SHARD_H
#define DROVER_AGENT_NODE_SHARD_H

#include "agent/node/job.h"

struct shard;

/* Opens the store; the thread starts with shard_run. */
int shard_new(struct shard **ret_shard, struct node *node, uint32_t group, struct err *e);
int shard_run(struct shard *s, struct err *e);
/* Answers what can be, flushes, ends the thread. */
void shard_stop(struct shard *s);

struct store *shard_store(struct shard *s);
/* Group 0, before shard_run: the catalogue as the files have it. */
void shard_catalogue_first(struct shard *s);

void shard_submit(struct shard *s, struct job *take_job); /* a write, or a MARK */
void shard_wait(struct shard *s, struct job *take_job);	  /* until job->index */
void shard_commit(struct shard *s, uint64_t index);
void shard_role(struct shard *s, bool leader, uint64_t term);
void shard_proposed(struct shard *s, void *token, uint64_t index, uint64_t term);
void shard_drop(struct shard *s, uint64_t ns);

/* Any thread: index up to which this node has applied the group's log. */
uint64_t shard_applied(struct shard *s);
uint64_t shard_flushed(struct shard *s);
/* Microseconds since the oldest committed entry that is not applied yet was committed; 0: none. */
uint64_t shard_lag_us(struct shard *s);

/* Digest of every namespace at the index of a MARK: JSON into *b; false: not computed here. */
bool shard_digest(struct shard *s, uint64_t index, struct buf *b);

#endif
