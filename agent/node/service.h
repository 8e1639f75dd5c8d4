/* The service: what a node does with a call that arrives.
 *
 * service_call is the RPC server's handler: it runs on NNG's threads and only
 * decodes the head, checks the caller's role, and passes the job on. SQL goes
 * to the pool at once when what it must see is visible here, to the loop when
 * leadership must be confirmed first, to its shard when it writes or must wait.
 */
#ifndef DROVER_AGENT_NODE_SERVICE_H
#define DROVER_AGENT_NODE_SERVICE_H

#include "agent/node/job.h"

void service_call(void *ctx, struct rpc_call *call); /* ctx: struct node */

/* A job's namespace is known: send it on its way. */
void service_write(struct job *take_job);
/* Does the caller's role allow it? */
bool service_may_write(const struct job *job);
/* What jobs waited for has come: their index is known (loop); it is applied and visible (shard). */
void service_confirmed(struct job_list *take_jobs);
void service_ready(struct job *take_job);

#endif
