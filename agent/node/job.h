/* A request on its way through the node.
 *
 * A job is made when a call arrives and owned by exactly one part at a time:
 * the service routes it, the loop confirms its read, a shard queues, executes
 * or holds it until its index is applied, a worker of the pool reads for it.
 * Whoever has it ends it with job_reply or job_fail, once.
 */
#ifndef DROVER_AGENT_NODE_JOB_H
#define DROVER_AGENT_NODE_JOB_H

#include "agent/node/core.h"
#include "agent/node/mailbox.h"
#include "agent/store/store.h"
#include "common/rpc.h"

enum job_kind {
	JOB_SQL,
	JOB_MARK,
	JOB_DIGEST,
	JOB_WAL,
	JOB_STATUS,
	JOB_NAMESPACES,
	JOB_GROUPS,
	JOB_TRANSFER,
};

/* Where the job goes when what it waits for has come. */
enum job_next {
	JOB_TO_POOL,	/* run by a worker */
	JOB_TO_RESOLVE, /* look its namespace up again */
	JOB_TO_ANSWER,	/* its results are there: reply */
};

struct node;

struct job {
	struct mail mail; /* must be first: the mailbox's and every list's link */
	struct core_read read;
	enum job_kind kind;
	enum job_next next;
	struct rpc_call *call;
	struct node *node;
	uint32_t group;
	uint64_t ns;
	uint64_t index;	      /* must be applied (WAL: committed) before it goes on */
	uint64_t deadline_ms; /* monotonic */
	bool resolved;	      /* the namespace was looked up in a fresh catalogue */
	struct sql_request sql;
	struct buf own;	     /* a rewritten request's bytes; sql points into it */
	bool create_or_drop; /* rewritten CREATE or DROP NAMESPACE: errors are put in its words */
	char name[SQL_NAMESPACE_MAX]; /* of that namespace */
	struct store_request request;
	/* WAL: */
	uint64_t from, count, bytes_max;
	/* TRANSFER: */
	uint32_t target;
};

struct job *job_new(struct node *node, struct rpc_call *call, enum job_kind kind,
		    uint64_t default_ms, uint64_t answer_bytes_max);

/* The results are in job->request: answers with them, as of `index`. Frees the job. */
void job_reply_sql(struct job *job, uint64_t index);
/* Any other answer's body. Frees the job. */
void job_reply(struct job *job, struct slice body);
/* A failure; for NOT_LEADER the answer names the leader if known. Frees the job. */
void job_fail(struct job *job, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void job_fail_err(struct job *job, const struct err *e);
void job_fail_not_leader(struct job *job);

static inline struct job *job_of_mail(struct mail *m)
{
	return (struct job *)m;
}

static inline struct job *job_of_read(struct core_read *r)
{
	return (struct job *)((char *)r - offsetof(struct job, read));
}

/* A queue of jobs, first in first out. */
struct job_list {
	struct job *first;
	struct job **last;
	size_t n;
};
void job_list_init(struct job_list *l);
void job_list_add(struct job_list *l, struct job *job);
struct job *job_list_take(struct job_list *l); /* NULL: empty */

#endif
