/* The pool: threads that read, each with connections of its own.
 *
 * Takes jobs whose index is applied and visible. Reads of one namespace that
 * wait together share a read transaction. Jobs that write turn out here when
 * the client left the mode to the agent; they go on to their shard.
 *
 * Bounded: pool_submit refuses when queued_requests wait (the job is failed
 * with ERR_BUSY).
 */
#ifndef DROVER_AGENT_NODE_POOL_H
#define DROVER_AGENT_NODE_POOL_H

#include "agent/node/job.h"

struct pool;
int pool_start(struct pool **ret_pool, struct node *node, struct err *e);
void pool_stop(struct pool *p);
void pool_submit(struct pool *p, struct job *take_job); /* any thread */
/* Many at once, in one go: a list linked by mail.next. */
void pool_submit_list(struct pool *p, struct job *take_list, size_t n);

#endif
