#include "agent/node/shard_state.h"

#include "agent/node/node.h"
#include "agent/node/service.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SWEEP_MS 50
#define STALL_MS 1000

static void post(struct shard *s, const struct shard_mail *m)
{
	struct shard_mail *copy = malloc(sizeof *copy);
	struct err e;

	if (!copy) {
		err_set(&e, ERR_NOMEM, "no memory for what consensus told %s", s->name);
		node_fatal(s->node, "store", &e);
	}
	*copy = *m;
	mailbox_post(&s->box, &copy->mail);
}

void shard_submit(struct shard *s, struct job *take_job)
{
	struct shard_mail *m = malloc(sizeof *m);

	if (m) {
		*m = (struct shard_mail){.kind = SHARD_SUBMIT, .job = take_job};
		if (mailbox_offer(&s->box, &m->mail))
			return;
	}
	free(m);
	job_fail(take_job, ERR_BUSY, "too many writes are waiting on this node; try again");
}

void shard_wait(struct shard *s, struct job *take_job)
{
	struct shard_mail *m = malloc(sizeof *m);

	if (m) {
		*m = (struct shard_mail){.kind = SHARD_WAIT, .job = take_job};
		if (mailbox_offer(&s->box, &m->mail))
			return;
	}
	free(m);
	job_fail(take_job, ERR_BUSY, "too many reads are waiting on this node; try again");
}

void shard_commit(struct shard *s, uint64_t index)
{
	post(s,
	     &(struct shard_mail){.kind = SHARD_COMMIT, .index = index, .at_us = clock_mono_us()});
}

void shard_role(struct shard *s, bool leader, uint64_t term)
{
	post(s, &(struct shard_mail){.kind = SHARD_ROLE, .leader = leader, .term = term});
}

void shard_proposed(struct shard *s, void *token, uint64_t index, uint64_t term)
{
	post(s, &(struct shard_mail){
			.kind = SHARD_PROPOSED, .token = token, .index = index, .term = term});
}

void shard_drop(struct shard *s, uint64_t ns)
{
	post(s, &(struct shard_mail){.kind = SHARD_DROP, .index = ns});
}

struct store *shard_store(struct shard *s)
{
	return s->store;
}

uint64_t shard_applied(struct shard *s)
{
	return atomic_load(&s->applied_shown);
}

uint64_t shard_flushed(struct shard *s)
{
	return atomic_load(&s->flushed_shown);
}

uint64_t shard_lag_us(struct shard *s)
{
	uint64_t since = atomic_load(&s->behind_since_us);
	uint64_t now = clock_mono_us();

	return since != 0 && now > since ? now - since : 0;
}

void shard_free_batch(struct batch *b)
{
	free(b);
}

bool shard_idle(const struct shard *s)
{
	return !s->proposing && !s->inflight;
}

void shard_store_failed(struct shard *s, const struct err *e)
{
	static struct log_limit limit;
	uint64_t left_out;

	if (e->code != ERR_DISK_FULL && e->code != ERR_NOMEM)
		node_fatal(s->node, "store", e);
	if (log_allowed(&limit, &left_out))
		log_error("store", "%s: %s; writes wait, trying again every second", s->name,
			  e->text);
	shard_take_back(s);
	s->stalled_until_ms = clock_mono_ms() + STALL_MS;
	if (s->leader)
		loop_step_aside(s->node->loop, s->group);
}

/* Commits SQLite's transactions if nothing speculative lies in them; otherwise no new batch begins
 * until that is so. */
void shard_flush_now(struct shard *s)
{
	struct err e;

	if (!shard_idle(s) && !s->taken_back) {
		s->want_flush = true;
		return;
	}
	int rc = store_flush(s->store, 0, &e);
	if (rc < 0 && rc != ERR_BUSY)
		shard_store_failed(s, &e);
	s->want_flush = rc == ERR_BUSY;
	if (rc == 0)
		atomic_store(&s->flushed_shown, s->applied);
}

/* Lets jobs go whose index is applied and visible; wants a flush for those that only lack that. */
static void serve_waiting(struct shard *s)
{
	struct job_list still;
	uint64_t now = clock_mono_ms();
	bool sweep = now >= s->sweep_ms + SWEEP_MS;

	if (!s->waiting.first)
		return;
	if (sweep)
		s->sweep_ms = now;
	job_list_init(&still);
	for (struct job *job; (job = job_list_take(&s->waiting));) {
		bool sql = job->kind == JOB_SQL && job->next == JOB_TO_POOL;
		bool done = job->index <= s->applied;
		if (done && sql && !store_readable(s->store, job->ns, job->index)) {
			shard_flush_now(s);
			done = store_readable(s->store, job->ns, job->index);
		}
		if (done)
			service_ready(job);
		else if (!sweep || now < job->deadline_ms)
			job_list_add(&still, job);
		else if (job->kind == JOB_WAL || job->kind == JOB_DIGEST)
			service_ready(job);
		else
			job_fail(job, ERR_TIMEOUT,
				 "this node has applied %s up to %llu, the read needs %llu, and "
				 "the deadline passed",
				 s->name, (unsigned long long)s->applied,
				 (unsigned long long)job->index);
	}
	s->waiting = still;
	if (!s->waiting.first)
		job_list_init(&s->waiting);
}

/* SQLite's commit is lazy, but bounded. Returns when to look again. */
static uint64_t flush_if_due(struct shard *s)
{
	struct store_pending p;
	const struct agent_conf *conf = s->node->conf;
	uint64_t now = clock_wall_us();

	store_pending(s->store, &p);
	if (p.since_us == 0) {
		s->want_flush = false;
		atomic_store(&s->flushed_shown, s->applied);
		return UINT64_MAX;
	}
	uint64_t due = p.since_us + (uint64_t)conf->flush_ms * 1000;
	if (s->want_flush || p.rows >= conf->flush_rows || now >= due) {
		shard_flush_now(s);
		return s->want_flush ? UINT64_MAX : clock_mono_us() + conf->flush_ms * 1000u;
	}
	return clock_mono_us() + (due - now);
}

static void drop(struct shard *s, uint64_t ns)
{
	struct err e;

	/* Batches under way may be for it; take everything back, the log brings the rest again. */
	if (!shard_idle(s))
		shard_take_back(s);
	if (store_drop(s->store, ns, &e) < 0)
		log_warn("store", "%s: files of a dropped namespace stay behind: %s", s->name,
			 e.text);
}

/* false: stop */
static bool handle(struct shard *s, struct shard_mail *m)
{
	switch (m->kind) {
	case SHARD_SUBMIT:
		job_list_add(&s->queue, m->job);
		break;
	case SHARD_WAIT:
		job_list_add(&s->waiting, m->job);
		break;
	case SHARD_COMMIT:
		if (m->index > s->commit) {
			if (s->applied == s->commit)
				atomic_store(&s->behind_since_us, m->at_us);
			s->commit = m->index;
		}
		break;
	case SHARD_ROLE:
		/* What was committed before the change is settled first. */
		shard_apply_committed(s);
		if (s->leader && (!m->leader || m->term != s->term))
			shard_lose_leadership(s);
		if (!s->leader || m->term != s->term)
			s->ready = false;
		s->leader = m->leader;
		s->term = m->term;
		break;
	case SHARD_PROPOSED:
		shard_on_proposed(s, m->token, m->index, m->term);
		break;
	case SHARD_DROP:
		drop(s, m->index);
		break;
	case SHARD_STOP:
		return false;
	}
	return true;
}

static void fail_all(struct job_list *l)
{
	for (struct job *job; (job = job_list_take(l));)
		job_fail(job, ERR_NOT_LEADER, "this node is stopping");
}

static void *run(void *arg)
{
	struct shard *s = arg;
	uint64_t wake_us = 0;
	bool go_on = true;

	while (go_on) {
		struct mail *list = mailbox_take(&s->box, wake_us);
		size_t offered = 0;
		while (list) {
			struct shard_mail *m = (struct shard_mail *)list;
			list = list->next;
			offered += m->kind == SHARD_SUBMIT || m->kind == SHARD_WAIT;
			go_on &= handle(s, m);
			free(m);
		}
		/* Answers to one client leave in one write. */
		link_hold();
		shard_apply_committed(s);
		link_release();
		serve_waiting(s);
		shard_begin_batches(s);
		wake_us = flush_if_due(s);
		serve_waiting(s);
		if (s->waiting.first && clock_mono_us() + SWEEP_MS * 1000u < wake_us)
			wake_us = clock_mono_us() + SWEEP_MS * 1000u;
		if (s->stalled_until_ms != 0 && s->stalled_until_ms * 1000 < wake_us)
			wake_us = s->stalled_until_ms * 1000;
		/* Work that was held back by a flush goes on at once. */
		if (shard_may_begin(s))
			wake_us = 0;
		if (offered)
			mailbox_taken(&s->box, offered);
	}
	shard_lose_leadership(s);
	shard_apply_committed(s);
	shard_flush_now(s);
	fail_all(&s->queue);
	fail_all(&s->waiting);
	return NULL;
}

static int make_folder(const char *path, struct err *e)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, ERR_IO, errno, "cannot make folder %s", path);
	return 0;
}

int shard_new(struct shard **ret_shard, struct node *node, uint32_t group, struct err *e)
{
	const struct agent_conf *conf = node->conf;
	struct shard *s = calloc(1, sizeof *s);
	char dir[CONF_PATH_MAX + 32];

	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for a group");
	s->node = node;
	s->group = group;
	core_group_name(group, s->name, sizeof s->name);
	mailbox_init(&s->box, conf->queued_requests);
	job_list_init(&s->queue);
	job_list_init(&s->waiting);
	s->inflight_last = &s->inflight;
	pthread_mutex_init(&s->digest_lock, NULL);
	for (unsigned i = 0; i < DIGESTS_KEPT; i++)
		buf_init(&s->digests[i].json, 1u << 20);
	buf_init(&s->payload, WAL_ENTRY_BYTES_MAX);
	s->requests = calloc(conf->batch_requests, sizeof(void *));
	snprintf(dir, sizeof dir, "%s/group-%u", conf->data, group);
	struct store_options o = {
		.dir = dir,
		.group = group,
		.first_schema = group == CATALOGUE_META_GROUP ? CATALOGUE_SCHEMA : NULL,
		.first_schema_ns = CATALOGUE_META_NS,
		.cache_kib = conf->cache_kib,
		.statements_max = conf->statements,
		.sessions_max = conf->sessions,
		.statement_ms_max = conf->statement_ms,
		.rows_max = conf->rows,
		.answer_bytes_max = conf->answer_bytes,
		.entry_bytes_max = WAL_ENTRY_BYTES_MAX,
	};
	int rc = s->requests ? make_folder(dir, e) : err_set(e, ERR_NOMEM, "no memory for a batch");
	if (rc == 0)
		rc = store_open(&s->store, &o, e);
	if (rc < 0) {
		free(s->requests);
		free(s);
		return rc;
	}
	/* What the files have is committed; what of it a dead machine might have lost is applied
	 * again. */
	s->applied = store_replay_from(s->store) - 1;
	s->commit = store_applied(s->store);
	atomic_store(&s->applied_shown, s->applied);
	atomic_store(&s->flushed_shown, s->applied);
	*ret_shard = s;
	return 0;
}

int shard_run(struct shard *s, struct err *e)
{
	int rc = pthread_create(&s->thread, NULL, run, s);

	if (rc != 0)
		return err_sys(e, ERR_IO, rc, "cannot start the thread of group %s", s->name);
	s->running = true;
	pthread_setname_np(s->thread, s->name);
	return 0;
}

void shard_stop(struct shard *s)
{
	if (!s->running)
		return;
	post(s, &(struct shard_mail){.kind = SHARD_STOP});
	pthread_join(s->thread, NULL);
	s->running = false;
}
