/* The loop: the thread that owns the core.
 *
 * Everything that happens to the groups' consensus arrives here as mail; the
 * loop feeds it to the core in order, then lets collected reads begin, and
 * sleeps until the core's deadline. A node that lost its data first asks its
 * peers for their terms (rejoin.h).
 *
 * Threads: the posting functions are for any; they only enqueue.
 */
#ifndef DROVER_AGENT_NODE_LOOP_H
#define DROVER_AGENT_NODE_LOOP_H

#include "agent/net/message.h"
#include "agent/node/core.h"
#include "agent/node/job.h"

struct loop;

/* Starts the thread; applied[g] as for core_new. */
int loop_start(struct loop **ret_loop, struct node *node, const uint64_t *applied, struct err *e);
/* Ends the thread: nothing is sent, staged or told after it returns. */
void loop_stop(struct loop *l);

void loop_receive(struct loop *l, struct message *take_message); /* dropped when too many wait */
void loop_persisted(struct loop *l, const struct wal_synced *rows, size_t n);
void loop_propose(struct loop *l, uint32_t group, struct blob *take_data, void *token);
void loop_read(struct loop *l, struct job *take_job); /* job->group */
void loop_transfer(struct loop *l, struct job *take_job);
void loop_unreachable(struct loop *l, uint32_t peer);
void loop_terms(struct loop *l, uint32_t peer, struct slice terms);

/* This node cannot go on leading the group: somebody else should. */
void loop_step_aside(struct loop *l, uint32_t group);

/* Hands over leadership of every group led here, and takes none over any more; returns at once. */
void loop_retire(struct loop *l);

/* Of any group; all zero while the node is still rejoining. */
void loop_view(struct loop *l, uint32_t group, struct core_view *ret_view);
bool loop_ready(struct loop *l); /* false: rejoining */

#endif
