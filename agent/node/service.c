#include "agent/node/service.h"

#include "agent/node/node.h"
#include "common/clock.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void route(struct job *job);

bool service_may_write(const struct job *job)
{
	enum link_role role = rpc_call_peer(job->call)->role;

	return role == LINK_ROLE_ADMIN || role == LINK_ROLE_WRITER || role == LINK_ROLE_NODE;
}

void service_write(struct job *take_job)
{
	struct core_view v;

	if (!service_may_write(take_job)) {
		job_fail(take_job, ERR_AUTH, "user '%s' may only read",
			 rpc_call_peer(take_job->call)->name);
		return;
	}
	loop_view(take_job->node->loop, take_job->group, &v);
	if (v.role != RAFT_LEADER)
		job_fail_not_leader(take_job);
	else
		shard_submit(take_job->node->shards[take_job->group], take_job);
}

static bool is_readable(const struct job *job)
{
	return store_readable(shard_store(job->node->shards[job->group]), job->ns, job->index);
}

/* Run now if all that it must see is visible, else let the shard hold it. */
static void read_at(struct job *job)
{
	if (is_readable(job))
		pool_submit(job->node->pool, job);
	else
		shard_wait(job->node->shards[job->group], job);
}

void service_confirmed(struct job_list *jobs)
{
	struct job_list ready;

	job_list_init(&ready);
	for (struct job *job; (job = job_list_take(jobs));) {
		if (job->next == JOB_TO_RESOLVE)
			shard_wait(job->node->shards[CATALOGUE_META_GROUP], job);
		else if (job->next == JOB_TO_ANSWER)
			job_reply_sql(job, job->index);
		else if (is_readable(job))
			job_list_add(&ready, job);
		else
			shard_wait(job->node->shards[job->group], job);
	}
	if (ready.first)
		pool_submit_list(ready.first->node->pool, ready.first, ready.n);
}

void service_ready(struct job *take_job)
{
	if (take_job->next == JOB_TO_RESOLVE) {
		take_job->next = JOB_TO_POOL;
		take_job->resolved = true;
		route(take_job);
		return;
	}
	pool_submit(take_job->node->pool, take_job);
}

static void route_read(struct job *job)
{
	switch (job->sql.level) {
	case SQL_STALE:
		pool_submit(job->node->pool, job);
		break;
	case SQL_SESSION:
		job->index = job->sql.min_index;
		read_at(job);
		break;
	case SQL_LINEARIZABLE:
		loop_read(job->node->loop, job);
		break;
	}
}

/* A name that is not known here may have been made elsewhere a moment ago: look again in a
 * catalogue that is certainly fresh. */
static void route(struct job *job)
{
	struct catalogue_row row;

	if (!catalogue_find(job->node->catalogue, job->sql.namespace, &row)) {
		if (job->resolved) {
			job_fail(job, ERR_NOT_FOUND,
				 "no namespace '%.*s' (CREATE NAMESPACE makes one, SHOW NAMESPACES "
				 "lists them)",
				 (int)job->sql.namespace.n, (const char *)job->sql.namespace.p);
			return;
		}
		job->next = JOB_TO_RESOLVE;
		job->group = CATALOGUE_META_GROUP;
		loop_read(job->node->loop, job);
		return;
	}
	job->ns = row.id;
	job->group = row.group;
	if (job->sql.mode == SQL_WRITE)
		service_write(job);
	else
		route_read(job);
}

/* Puts another statement in place of the client's, for group 0. */
static bool rewrite(struct job *job, const char *text, const char *name, enum sql_mode mode)
{
	struct sql_request head = job->sql;
	struct sql_writer w;
	struct value param = value_text(slice_str(name));

	head.mode = mode;
	head.level = SQL_LINEARIZABLE;
	head.namespace = slice_str("");
	sql_request_begin(&w, &job->own, &head, 1);
	sql_request_add(&w, slice_str(text), &param, name[0] ? 1 : 0);
	if (!buf_ok(&job->own) || !sql_request_decode(buf_slice(&job->own), &job->sql))
		return false;
	job->group = CATALOGUE_META_GROUP;
	job->ns = CATALOGUE_META_NS;
	return true;
}

static void run_namespace(struct job *job, const struct namespace_statement *s)
{
	struct catalogue_row row;
	bool ok = true;

	snprintf(job->name, sizeof job->name, "%s", s->name);
	switch (s->verb) {
	case NAMESPACE_SHOW:
		ok = rewrite(job, "SELECT name FROM namespaces ORDER BY name", "", SQL_READ);
		if (ok) {
			loop_read(job->node->loop, job);
			return;
		}
		break;
	case NAMESPACE_CREATE:
		ok = rewrite(job,
			     s->if_clause ? "INSERT OR IGNORE INTO namespaces(name) VALUES(?)"
					  : "INSERT INTO namespaces(name) VALUES(?)",
			     s->name, SQL_WRITE);
		break;
	case NAMESPACE_DROP:
		if (strcasecmp(s->name, "main") == 0) {
			job_fail(job, ERR_REFUSED, "namespace 'main' is always there");
			return;
		}
		if (!s->if_clause &&
		    !catalogue_find(job->node->catalogue, slice_str(s->name), &row)) {
			job_fail(job, ERR_NOT_FOUND, "no namespace '%s'", s->name);
			return;
		}
		ok = rewrite(job, "DELETE FROM namespaces WHERE name = ?", s->name, SQL_WRITE);
		break;
	case NAMESPACE_NONE:
		break;
	}
	if (!ok) {
		job_fail(job, ERR_NOMEM, "no memory for the request");
		return;
	}
	job->create_or_drop = true;
	service_write(job);
}

static void call_sql(struct job *job)
{
	struct sql_cursor cursor;
	struct sql_statement first;
	struct namespace_statement ns = {.verb = NAMESPACE_NONE};
	struct err e;
	int rc = 0;

	if (rpc_call_body(job->call).n > job->node->conf->request_bytes) {
		job_fail(job, ERR_LIMIT,
			 "the request is larger than request_mb in agent.ini allows; send it in "
			 "parts");
		return;
	}
	if (!sql_request_decode(rpc_call_body(job->call), &job->sql)) {
		job_fail(job, ERR_PROTOCOL, "the SQL request is malformed");
		return;
	}
	/* Only a request of one statement can be about namespaces. */
	sql_cursor_init(&cursor, &job->sql);
	if (job->sql.statements_n == 1 && sql_cursor_next(&cursor, &first) == 1)
		rc = namespace_parse(first.text, &ns, &e);
	if (rc < 0)
		job_fail_err(job, &e);
	else if (ns.verb != NAMESPACE_NONE)
		run_namespace(job, &ns);
	else
		route(job);
}

static void call_at_index(struct job *job, bool wait_in_body)
{
	struct rd r = rd_of(rpc_call_body(job->call));

	job->group = (uint32_t)rd_varint(&r);
	job->index = rd_varint(&r);
	if (job->kind == JOB_WAL) {
		job->from = job->index;
		job->count = rd_varint(&r);
		job->bytes_max = rd_varint(&r);
	}
	uint64_t wait_ms = wait_in_body ? rd_varint(&r) : 0;
	if (!rd_end(&r) || job->group >= job->node->groups_n) {
		job_fail(job, ERR_INVALID, "malformed request, or no such group");
		return;
	}
	job->deadline_ms = clock_mono_ms() + wait_ms;
	if (shard_applied(job->node->shards[job->group]) >= job->index || wait_ms == 0)
		pool_submit(job->node->pool, job);
	else
		shard_wait(job->node->shards[job->group], job);
}

static void call_control(struct job *job)
{
	struct rd r = rd_of(rpc_call_body(job->call));

	job->group = (uint32_t)rd_varint(&r);
	if (job->kind == JOB_TRANSFER)
		job->target = (uint32_t)rd_varint(&r);
	if (!rd_end(&r) || job->group >= job->node->groups_n)
		job_fail(job, ERR_INVALID, "malformed request, or no such group");
	else if (rpc_call_peer(job->call)->role != LINK_ROLE_ADMIN)
		job_fail(job, ERR_AUTH, "user '%s' is not an admin",
			 rpc_call_peer(job->call)->name);
	else if (job->kind == JOB_MARK)
		shard_submit(job->node->shards[job->group], job);
	else
		loop_transfer(job->node->loop, job);
}

void service_call(void *ctx, struct rpc_call *call)
{
	static const enum job_kind kinds[] = {
		[RPC_SQL] = JOB_SQL,
		[RPC_STATUS] = JOB_STATUS,
		[RPC_WAL] = JOB_WAL,
		[RPC_MARK] = JOB_MARK,
		[RPC_DIGEST] = JOB_DIGEST,
		[RPC_TRANSFER] = JOB_TRANSFER,
		[RPC_NAMESPACES] = JOB_NAMESPACES,
		[RPC_GROUPS] = JOB_GROUPS,
	};
	struct node *n = ctx;
	unsigned method = rpc_call_method(call);

	if (method == 0 || method > RPC_GROUPS || method == RPC_STOP) {
		rpc_reply(call, ERR_UNSUPPORTED, slice_str("this agent does not know the method"));
		return;
	}
	if (atomic_load(&n->stopping) && method != RPC_STATUS) {
		rpc_reply(call, ERR_BUSY, slice_str("this node is stopping"));
		return;
	}
	struct job *job =
		job_new(n, call, kinds[method], n->conf->request_ms, n->conf->answer_bytes);
	if (!job) {
		rpc_reply(call, ERR_NOMEM, slice_str("no memory for the request"));
		return;
	}
	switch (job->kind) {
	case JOB_SQL:
		call_sql(job);
		break;
	case JOB_WAL:
	case JOB_DIGEST:
		call_at_index(job, true);
		break;
	case JOB_MARK:
	case JOB_TRANSFER:
		call_control(job);
		break;
	case JOB_STATUS:
	case JOB_NAMESPACES:
	case JOB_GROUPS:
		pool_submit(n->pool, job);
		break;
	}
}
