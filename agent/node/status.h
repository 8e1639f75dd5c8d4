/* What a node tells about itself: answers to RPC_STATUS, _NAMESPACES, _GROUPS, _WAL and _DIGEST.
 * Run by the pool's workers. Shapes: drover-protocol(7). */
#ifndef DROVER_AGENT_NODE_STATUS_H
#define DROVER_AGENT_NODE_STATUS_H

#include "agent/node/job.h"

void status_answer(struct node *n, struct job *take_job);
void status_answer_namespaces(struct node *n, struct job *take_job);
void status_answer_groups(struct node *n, struct job *take_job);
void status_answer_wal(struct node *n, struct job *take_job);
void status_answer_digest(struct node *n, struct job *take_job);

/* The status as JSON, appended: for the stats feed. */
void status_json(struct node *n, struct buf *b);

#endif
