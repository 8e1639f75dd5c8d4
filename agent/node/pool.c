#include "agent/node/pool.h"

#include "agent/node/node.h"
#include "agent/node/service.h"
#include "agent/node/status.h"
#include "agent/store/reader.h"
#include "common/clock.h"
#include "common/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 64
#define READS_TOGETHER 64

struct pool {
	struct node *node;
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct job_list jobs;
	unsigned idle;
	bool stop;
	unsigned workers_n;
	pthread_t workers[WORKERS_MAX];
};

void pool_submit_list(struct pool *p, struct job *take_list, size_t n)
{
	struct job_list refused;

	job_list_init(&refused);
	pthread_mutex_lock(&p->lock);
	while (take_list) {
		struct job *job = take_list;
		take_list = (struct job *)job->mail.next;
		if (p->jobs.n >= p->node->conf->queued_requests || p->stop)
			job_list_add(&refused, job);
		else
			job_list_add(&p->jobs, job);
	}
	unsigned idle = p->idle;
	pthread_mutex_unlock(&p->lock);
	if (idle > 0 && n > READS_TOGETHER)
		pthread_cond_broadcast(&p->filled);
	else if (idle > 0)
		pthread_cond_signal(&p->filled);
	for (struct job *job; (job = job_list_take(&refused));)
		job_fail(job, ERR_BUSY, "too many reads are waiting on this node; try again");
}

void pool_submit(struct pool *p, struct job *take_job)
{
	take_job->mail.next = NULL;
	pool_submit_list(p, take_job, 1);
}

static bool share(const struct job *a, const struct job *b)
{
	return b->kind == JOB_SQL && b->sql.mode == SQL_READ && a->group == b->group &&
	       a->ns == b->ns;
}

/* The next job, and with a read all reads of the same namespace right behind it. */
static size_t take(struct pool *p, struct job **ret_jobs)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->jobs.first && !p->stop) {
		p->idle++;
		pthread_cond_wait(&p->filled, &p->lock);
		p->idle--;
	}
	struct job *job = job_list_take(&p->jobs);
	if (job) {
		ret_jobs[n++] = job;
		if (share(job, job)) {
			while (n < READS_TOGETHER && p->jobs.first && share(job, p->jobs.first))
				ret_jobs[n++] = job_list_take(&p->jobs);
		}
	}
	bool more = p->jobs.first && p->idle > 0;
	pthread_mutex_unlock(&p->lock);
	if (more)
		pthread_cond_signal(&p->filled);
	return n;
}

static const char *store_dir(const struct job *job, char *ret_dir, size_t size)
{
	snprintf(ret_dir, size, "%s/group-%u", job->node->conf->data, job->group);
	return ret_dir;
}

/* The client left the mode open and it turned out to be a write. */
static void turn_to_write(struct job *job)
{
	if (job->sql.mode == SQL_READ) {
		job_fail(job, ERR_REFUSED, "the statement would write, but was sent as a read");
		return;
	}
	buf_clear(&job->request.results);
	job->request.results_n = 0;
	service_write(job);
}

/* An error may only mean that this node has not seen a table, a column or a row yet that others
 * have: then whoever can write has the last word. What cannot be parsed will not parse there
 * either. */
static bool may_be_behind(const struct job *job)
{
	const struct store_request *r = &job->request;

	return r->status == ERR_SQL && job->sql.mode == SQL_AUTO && job->sql.level == SQL_SESSION &&
	       !strstr(r->err.text, "syntax error") && !strstr(r->err.text, "incomplete input") &&
	       !strstr(r->err.text, "unrecognized token") && service_may_write(job);
}

static void run_reads(struct reader *reader, struct job **jobs, size_t n)
{
	struct store_request *requests[READS_TOGETHER];
	char dir[CONF_PATH_MAX + 32];
	uint64_t applied = 0;
	bool writes[READS_TOGETHER] = {false};
	struct err e;

	for (size_t i = 0; i < n; i++)
		requests[i] = &jobs[i]->request;
	store_dir(jobs[0], dir, sizeof dir);
	int rc =
		n == 1 ? reader_execute(reader, dir, jobs[0]->ns, requests[0], writes, &applied, &e)
		       : reader_execute_many(reader, dir, jobs[0]->ns, requests, n, writes,
					     &applied, &e);
	if (rc == 0 && n == 1 && (writes[0] || may_be_behind(jobs[0]))) {
		turn_to_write(jobs[0]);
		return;
	}
	if (rc == 0)
		atomic_fetch_add(&jobs[0]->node->reads, n);
	link_hold();
	for (size_t i = 0; i < n; i++) {
		/* The read saw at least what it waited for, even if the namespace was quiet. */
		uint64_t index = applied > jobs[i]->index ? applied : jobs[i]->index;
		if (rc < 0)
			job_fail_err(jobs[i], &e);
		else
			job_reply_sql(jobs[i], index);
	}
	link_release();
}

static void run(struct pool *p, struct reader *reader, struct job **jobs, size_t n)
{
	struct job *job = jobs[0];

	switch (job->kind) {
	case JOB_SQL:
		run_reads(reader, jobs, n);
		break;
	case JOB_STATUS:
		status_answer(p->node, job);
		break;
	case JOB_NAMESPACES:
		status_answer_namespaces(p->node, job);
		break;
	case JOB_GROUPS:
		status_answer_groups(p->node, job);
		break;
	case JOB_WAL:
		status_answer_wal(p->node, job);
		break;
	case JOB_DIGEST:
		status_answer_digest(p->node, job);
		break;
	case JOB_MARK:
	case JOB_TRANSFER:
		job_fail(job, ERR_INVALID, "not a job for readers");
		break;
	}
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	const struct agent_conf *conf = p->node->conf;
	struct reader_options o = {
		.cache_kib = conf->reader_cache_kib,
		.statements_max = conf->statements,
		.connections_max = 64,
		.rows_max = conf->rows,
		.answer_bytes_max = conf->answer_bytes,
		.statement_ms_max = conf->statement_ms,
	};
	struct job *jobs[READS_TOGETHER];
	struct reader *reader;
	struct err e;
	size_t n;

	if (reader_new(&reader, &o, &e) < 0)
		node_fatal(p->node, "read", &e);
	while ((n = take(p, jobs)) > 0)
		run(p, reader, jobs, n);
	reader_free(reader);
	return NULL;
}

int pool_start(struct pool **ret_pool, struct node *node, struct err *e)
{
	struct pool *p = calloc(1, sizeof *p);

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for the readers");
	p->node = node;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->filled, NULL);
	job_list_init(&p->jobs);
	for (uint32_t i = 0; i < node->conf->readers && i < WORKERS_MAX; i++) {
		int rc = pthread_create(&p->workers[i], NULL, worker, p);
		if (rc != 0) {
			pool_stop(p);
			return err_sys(e, ERR_IO, rc, "cannot start a reader thread");
		}
		pthread_setname_np(p->workers[i], "reader");
		p->workers_n++;
	}
	*ret_pool = p;
	return 0;
}

void pool_stop(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_mutex_unlock(&p->lock);
	pthread_cond_broadcast(&p->filled);
	for (unsigned i = 0; i < p->workers_n; i++)
		pthread_join(p->workers[i], NULL);
	p->workers_n = 0;
}
