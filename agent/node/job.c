#include "agent/node/job.h"

#include "agent/node/node.h"
#include "common/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job *job_new(struct node *node, struct rpc_call *call, enum job_kind kind,
		    uint64_t default_ms, uint64_t answer_bytes_max)
{
	struct job *job = calloc(1, sizeof *job);
	int64_t left_ms = rpc_call_left_ms(call);

	if (!job)
		return NULL;
	job->node = node;
	job->call = call;
	job->kind = kind;
	job->deadline_ms = clock_mono_ms() + (left_ms > 0 ? (uint64_t)left_ms : default_ms);
	job->read.deadline_ms = job->deadline_ms;
	buf_init(&job->own, SQL_REQUEST_BYTES_MAX);
	buf_init(&job->request.results, answer_bytes_max);
	job->request.sql = &job->sql;
	job->request.owner = job;
	job->request.offset = -1;
	return job;
}

static void job_free(struct job *job)
{
	buf_done(&job->own);
	buf_done(&job->request.results);
	free(job);
}

/* SQL answers carry their status inside, so that the leader and the place travel with it. */
static void reply_answer(struct job *job, const struct sql_answer *a)
{
	struct buf b;

	buf_init(&b, SQL_ANSWER_BYTES_MAX);
	sql_answer_encode(&b, a);
	if (buf_ok(&b))
		rpc_reply(job->call, 0, buf_slice(&b));
	else
		rpc_reply(job->call, ERR_NOMEM, slice_str("no memory for the answer"));
	buf_done(&b);
	job_free(job);
}

/* CREATE and DROP NAMESPACE are writes to a table that the client never named. */
static void word_namespace_error(struct job *job)
{
	struct store_request *r = &job->request;

	if (r->status == ERR_SQL && strstr(r->err.text, "UNIQUE constraint"))
		r->status = err_set(&r->err, ERR_EXISTS,
				    "namespace '%s' exists already (CREATE NAMESPACE IF NOT "
				    "EXISTS leaves it as it is)",
				    job->name);
}

void job_reply_sql(struct job *job, uint64_t index)
{
	struct store_request *r = &job->request;

	if (job->create_or_drop)
		word_namespace_error(job);
	if (r->status == 0 && !buf_ok(&r->results))
		r->status = err_set(&r->err, ERR_LIMIT,
				    "the answer is larger than answer_mb in agent.ini allows; ask "
				    "for fewer rows with LIMIT");
	struct sql_answer a = {
		.status = r->status,
		.group = job->group,
		.index = index,
		.statement = r->statement,
		.offset = r->offset,
	};
	if (r->status != 0)
		a.message = slice_str(r->err.text);
	else
		a.results = buf_slice(&r->results);
	a.results_n = r->results_n;
	reply_answer(job, &a);
}

void job_reply(struct job *job, struct slice body)
{
	rpc_reply(job->call, 0, body);
	job_free(job);
}

static void fail_text(struct job *job, int status, const char *text)
{
	if (job->kind != JOB_SQL) {
		rpc_reply(job->call, status, slice_str(text));
		job_free(job);
		return;
	}
	struct sql_answer a = {
		.status = status, .message = slice_str(text), .offset = -1, .group = job->group};
	if (status == ERR_NOT_LEADER && job->node->loop) {
		struct core_view v;
		loop_view(job->node->loop, job->group, &v);
		a.leader_id = v.leader;
		for (uint32_t i = 0; i < job->node->conf->peers_n; i++) {
			const struct conf_node *peer = &job->node->conf->peers[i];
			if (peer->id == v.leader)
				a.leader_rpc = slice_str(peer->rpc);
		}
	}
	reply_answer(job, &a);
}

void job_fail(struct job *job, int status, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fail_text(job, status, text);
}

void job_fail_err(struct job *job, const struct err *e)
{
	fail_text(job, e->code, e->text);
}

void job_fail_not_leader(struct job *job)
{
	fail_text(job, ERR_NOT_LEADER, "this node does not lead the namespace's group");
}

void job_list_init(struct job_list *l)
{
	l->first = NULL;
	l->last = &l->first;
	l->n = 0;
}

void job_list_add(struct job_list *l, struct job *job)
{
	job->mail.next = NULL;
	*l->last = job;
	l->last = (struct job **)&job->mail.next;
	l->n++;
}

struct job *job_list_take(struct job_list *l)
{
	struct job *job = l->first;

	if (!job)
		return NULL;
	l->first = (struct job *)job->mail.next;
	if (!l->first)
		l->last = &l->first;
	l->n--;
	return job;
}
