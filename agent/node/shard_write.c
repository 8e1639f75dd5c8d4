#include "agent/node/shard_state.h"

#include "agent/node/node.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"

#include <assert.h>
#include <stdlib.h>

#define BATCH_MAX 512

static size_t batch_max(const struct shard *s)
{
	size_t max = s->node->conf->batch_requests;

	return max < BATCH_MAX ? max : BATCH_MAX;
}

/* Group 0 has one entry under way at a time, so that the catalogue never shows speculation. */
static bool may_begin(const struct shard *s)
{
	unsigned max = s->group == CATALOGUE_META_GROUP ? 1 : s->node->conf->batches_inflight;

	return s->ready && s->queue.first && s->stalled_until_ms == 0 && !s->proposing &&
	       !s->want_flush && !s->fence && !s->taken_back && s->inflight_n < max;
}

static struct batch *batch_new(void)
{
	struct batch *b = calloc(1, sizeof *b);

	if (b) {
		job_list_init(&b->writes);
		job_list_init(&b->others);
	}
	return b;
}

/* Takes the first job's namespace and all its jobs that are queued, up to the bound; the others
 * keep their order. */
static size_t take_batch(struct shard *s, struct job_list *ret_jobs)
{
	struct job_list rest;
	struct job *first = s->queue.first;
	size_t max = batch_max(s);
	uint64_t now = clock_mono_ms();

	job_list_init(&rest);
	job_list_init(ret_jobs);
	for (struct job *job; (job = job_list_take(&s->queue));) {
		bool barrier = job->kind != JOB_SQL;
		if (ret_jobs->n == max || (barrier && job != first) || job->ns != first->ns ||
		    job->kind != first->kind) {
			job_list_add(&rest, job);
			/* Nothing overtakes a MARK. */
			if (barrier || ret_jobs->n == max)
				break;
			continue;
		}
		if (now >= job->deadline_ms) {
			bool was_first = job == first;
			job_fail(job, ERR_TIMEOUT, "waited for its turn until its deadline");
			if (was_first)
				break;
			continue;
		}
		job_list_add(ret_jobs, job);
		if (barrier)
			break;
	}
	for (struct job *job; (job = job_list_take(&s->queue));)
		job_list_add(&rest, job);
	s->queue = rest;
	if (!s->queue.first)
		job_list_init(&s->queue);
	return ret_jobs->n;
}

static void propose(struct shard *s, struct batch *b)
{
	struct blob *data = blob_new(s->payload.data, (uint32_t)s->payload.len);
	struct err e;

	if (!data) {
		err_set(&e, ERR_NOMEM, "no memory for a log entry of %zu bytes", s->payload.len);
		node_fatal(s->node, "store", &e);
	}
	s->proposing = b;
	s->proposing_void = false;
	loop_propose(s->node->loop, s->group, data, b);
}

/* What changed nothing is answered when the newest batch that it may have seen is committed, or,
 * with none under way, when leadership is confirmed. */
static void settle_other(struct shard *s, struct job *job, struct batch *own)
{
	struct batch *newest = own;

	for (struct batch *b = s->inflight; !newest && b; b = b->next) {
		if (!b->next)
			newest = b;
	}
	if (newest) {
		job_list_add(&newest->others, job);
		return;
	}
	job->next = JOB_TO_ANSWER;
	loop_read(s->node->loop, job);
}

/* Puts jobs back in front of the queue, in their order. */
static void queue_first(struct shard *s, struct job_list *jobs)
{
	for (struct job *job; (job = job_list_take(&s->queue));)
		job_list_add(jobs, job);
	s->queue = *jobs;
	if (!s->queue.first)
		job_list_init(&s->queue);
}

/* Runs the jobs on the writer connection. The batch to propose, or NULL: nothing changed. */
static void execute(struct shard *s, struct job_list *jobs)
{
	struct batch *b = batch_new();
	struct job *list[BATCH_MAX];
	size_t n = 0;
	struct err e;

	if (!b) {
		err_set(&e, ERR_NOMEM, "no memory for a batch");
		node_fatal(s->node, "store", &e);
	}
	uint64_t ns = jobs->first->ns;
	for (struct job *job; (job = job_list_take(jobs)); n++) {
		list[n] = job;
		buf_clear(&job->request.results);
		s->requests[n] = &job->request;
	}
	buf_clear(&s->payload);
	int rc = store_execute(s->store, ns, s->requests, n, clock_wall_us(), &s->payload, &e);
	if (rc < 0) {
		/* SQLite gave up on the transaction: start again from what is committed. */
		if (rc != ERR_NOT_FOUND)
			shard_store_failed(s, &e);
		for (size_t i = 0; i < n; i++)
			job_fail_err(list[i], &e);
		free(b);
		return;
	}
	bool wrote = s->payload.len > 0;
	struct job_list later;
	job_list_init(&later);
	for (size_t i = 0; i < n; i++) {
		if (list[i]->request.status == ERR_BUSY)
			job_list_add(&later, list[i]); /* the entry is full */
		else if (list[i]->request.wrote)
			job_list_add(&b->writes, list[i]);
		else
			settle_other(s, list[i], wrote ? b : NULL);
	}
	queue_first(s, &later);
	if (wrote)
		propose(s, b);
	else
		free(b);
}

static void mark(struct shard *s, struct job *job)
{
	struct batch *b = batch_new();

	if (!b) {
		job_fail(job, ERR_NOMEM, "no memory for a mark");
		return;
	}
	b->mark = true;
	job_list_add(&b->writes, job);
	buf_clear(&s->payload);
	wire_u8(&s->payload, RECORD_FORM_MARK);
	wire_varint(&s->payload, clock_wall_us());
	s->fence = true;
	propose(s, b);
}

bool shard_may_begin(const struct shard *s)
{
	return s->leader && may_begin(s);
}

static void fail_queue_full(struct shard *s)
{
	for (struct job *job; (job = job_list_take(&s->queue));)
		job_fail(job, ERR_DISK_FULL, "node %s has no space left for the data; free some",
			 s->node->conf->name);
}

void shard_begin_batches(struct shard *s)
{
	struct job_list jobs;

	if (!s->leader) {
		for (struct job *job; (job = job_list_take(&s->queue));)
			job_fail_not_leader(job);
		return;
	}
	if (s->stalled_until_ms != 0)
		fail_queue_full(s);
	while (may_begin(s)) {
		if (take_batch(s, &jobs) == 0)
			continue;
		if (jobs.first->kind == JOB_MARK)
			mark(s, jobs.first);
		else
			execute(s, &jobs);
	}
}

void shard_on_proposed(struct shard *s, struct batch *b, uint64_t index, uint64_t term)
{
	bool is_void = s->proposing_void;

	assert(b == s->proposing);
	s->proposing = NULL;
	s->proposing_void = false;
	if (index != 0 && s->leader && term == s->term) {
		/* Taken back meanwhile: the log will bring it again. */
		b->index = index;
		b->term = term;
		if (!b->mark && !is_void)
			store_proposed(s->store, index, term);
		*s->inflight_last = b;
		s->inflight_last = &b->next;
		s->inflight_n++;
		return;
	}
	if (!is_void)
		shard_take_back(s);
	if (shard_idle(s))
		s->taken_back = false;
	if (b->mark)
		s->fence = false;
	bool full = index == 0 && s->leader && !wal_room(s->node->wal);
	for (struct job *job; (job = job_list_take(&b->writes));) {
		if (full)
			job_fail(job, ERR_DISK_FULL,
				 "node %s has no space left for its log; free some",
				 s->node->conf->name);
		else if (index == 0)
			job_fail_not_leader(job);
		else
			job_fail(job, ERR_UNKNOWN_OUTCOME,
				 "leadership was lost with this write under way");
	}
	for (struct job *job; (job = job_list_take(&b->others));)
		job_fail_not_leader(job);
	shard_free_batch(b);
}

static void answer_mark(struct job *job, uint64_t index)
{
	struct buf b;

	buf_init(&b, 16);
	wire_varint(&b, index);
	job_reply(job, buf_slice(&b));
	buf_done(&b);
}

void shard_answer_batch(struct shard *s, struct batch *b)
{
	atomic_fetch_add(&s->node->writes, b->mark ? 0 : b->writes.n);
	for (struct job *job; (job = job_list_take(&b->writes));) {
		if (b->mark)
			answer_mark(job, b->index);
		else
			job_reply_sql(job, b->index);
	}
	for (struct job *job; (job = job_list_take(&b->others));)
		job_reply_sql(job, b->index);
	shard_free_batch(b);
}

/* The store goes back to what is flushed; what was committed since is applied again from the log,
 * and so is what is under way, once it is committed. */
void shard_take_back(struct shard *s)
{
	struct err e;

	if (store_rewind(s->store, &e) < 0)
		node_fatal(s->node, "store", &e);
	s->applied = store_applied(s->store);
	s->proposing_void = s->proposing != NULL;
	s->taken_back = s->inflight != NULL || s->proposing != NULL;
}

void shard_lose_leadership(struct shard *s)
{
	bool any = !shard_idle(s);

	s->leader = false;
	s->ready = false;
	s->fence = false;
	if (any)
		shard_take_back(s);
	while (s->inflight) {
		struct batch *b = s->inflight;
		s->inflight = b->next;
		for (struct job *job; (job = job_list_take(&b->writes));)
			job_fail(job, ERR_UNKNOWN_OUTCOME,
				 "leadership was lost with this write under way; it may yet be "
				 "committed");
		for (struct job *job; (job = job_list_take(&b->others));)
			job_fail_not_leader(job);
		shard_free_batch(b);
	}
	s->inflight_last = &s->inflight;
	s->inflight_n = 0;
	s->taken_back = s->proposing != NULL;
	for (struct job *job; (job = job_list_take(&s->queue));)
		job_fail_not_leader(job);
}
