#include "agent/node/loop.h"

#include "agent/node/node.h"
#include "agent/node/rejoin.h"
#include "agent/node/service.h"
#include "common/clock.h"
#include "common/log.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define RECEIVED_MAX 8192 /* peers' messages waiting; more are dropped, Raft bears it */
#define PEERS_TICK_MS 100
#define ASK_TERMS_MS 200
#define FETCH_ENTRIES 512

enum loop_mail_kind {
	LOOP_RECEIVE,
	LOOP_PERSISTED,
	LOOP_PROPOSE,
	LOOP_READ,
	LOOP_TRANSFER,
	LOOP_SENT,
	LOOP_UNREACHABLE,
	LOOP_TERMS,
	LOOP_STEP_ASIDE,
	LOOP_RETIRE,
	LOOP_STOP,
};

struct loop_mail {
	struct mail mail;
	enum loop_mail_kind kind;
	uint32_t group;
	union {
		struct message message;
		struct {
			size_t rows_n;
			struct wal_synced *rows;
		};
		struct {
			struct blob *data;
			void *token;
		};
		struct job *job;
		struct {
			raft_id peer;
			uint64_t prev_index;
			uint32_t count;
			uint64_t size_bytes;
		};
		struct {
			uint32_t told_peer;
			struct buf terms;
		};
	};
};

/* An append whose entries must come from the disk. */
struct fetch {
	struct mail mail;
	uint32_t group;
	bool stop;
	struct raft_message message;
};

struct loop {
	struct node *node;
	struct core *core;
	struct rejoin rejoin;
	_Atomic(struct core *) shown; /* core, once it is there */
	struct mailbox box;
	struct mailbox fetches;
	pthread_t thread, fetch_thread;
	struct core_options core_options;
	uint64_t applied[CORE_GROUPS_MAX];
	uint64_t random; /* state of the generator */
	uint64_t peers_tick_ms, ask_terms_ms;
	unsigned adopted; /* groups whose adopted term is durable */
	bool founded;
};

static uint64_t next_random(struct loop *l)
{
	/* splitmix64: spreads timeouts, guards nothing */
	uint64_t z = (l->random += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static struct core_now now(struct loop *l)
{
	return (struct core_now){clock_mono_ms(), next_random(l)};
}

static struct loop_mail *mail_new(struct loop *l, enum loop_mail_kind kind, uint32_t group)
{
	struct loop_mail *m = calloc(1, sizeof *m);

	if (!m) {
		struct err e;
		err_set(&e, ERR_NOMEM, "no memory for the loop's mail");
		node_fatal(l->node, "loop", &e);
	}
	m->kind = kind;
	m->group = group;
	return m;
}

void loop_receive(struct loop *l, struct message *take_message)
{
	struct loop_mail *m = mail_new(l, LOOP_RECEIVE, take_message->group);

	m->message = *take_message;
	if (!mailbox_offer(&l->box, &m->mail)) {
		message_done(&m->message);
		free(m);
	}
}

void loop_persisted(struct loop *l, const struct wal_synced *rows, size_t n)
{
	struct loop_mail *m = mail_new(l, LOOP_PERSISTED, 0);

	m->rows = calloc(n, sizeof *rows);
	if (!m->rows) {
		struct err e;
		err_set(&e, ERR_NOMEM, "no memory for what the log has made durable");
		node_fatal(l->node, "loop", &e);
	}
	memcpy(m->rows, rows, n * sizeof *rows);
	m->rows_n = n;
	mailbox_post(&l->box, &m->mail);
}

void loop_propose(struct loop *l, uint32_t group, struct blob *take_data, void *token)
{
	struct loop_mail *m = mail_new(l, LOOP_PROPOSE, group);

	m->data = take_data;
	m->token = token;
	mailbox_post(&l->box, &m->mail);
}

static void post_job(struct loop *l, enum loop_mail_kind kind, struct job *job)
{
	struct loop_mail *m = mail_new(l, kind, job->group);

	m->job = job;
	mailbox_post(&l->box, &m->mail);
}

void loop_read(struct loop *l, struct job *take_job)
{
	post_job(l, LOOP_READ, take_job);
}

void loop_transfer(struct loop *l, struct job *take_job)
{
	post_job(l, LOOP_TRANSFER, take_job);
}

void loop_unreachable(struct loop *l, uint32_t peer)
{
	struct loop_mail *m = mail_new(l, LOOP_UNREACHABLE, 0);

	m->peer = peer;
	mailbox_post(&l->box, &m->mail);
}

void loop_terms(struct loop *l, uint32_t peer, struct slice terms)
{
	struct loop_mail *m = mail_new(l, LOOP_TERMS, 0);

	m->told_peer = peer;
	buf_init(&m->terms, 4096);
	buf_append(&m->terms, terms.p, terms.n);
	mailbox_post(&l->box, &m->mail);
}

void loop_step_aside(struct loop *l, uint32_t group)
{
	mailbox_post(&l->box, &mail_new(l, LOOP_STEP_ASIDE, group)->mail);
}

void loop_retire(struct loop *l)
{
	mailbox_post(&l->box, &mail_new(l, LOOP_RETIRE, 0)->mail);
}

bool loop_ready(struct loop *l)
{
	return atomic_load(&l->shown) != NULL;
}

void loop_view(struct loop *l, uint32_t group, struct core_view *ret_view)
{
	struct core *core = atomic_load(&l->shown);

	memset(ret_view, 0, sizeof *ret_view);
	if (core)
		core_view(core, group, ret_view);
}

/* --- the core's ports --- */

static bool port_send(void *ctx, uint32_t group, const struct raft_message *m,
		      const struct wal_entry *entries, size_t n)
{
	struct loop *l = ctx;

	return peers_send(l->node->peers, group, m, entries, n);
}

static bool port_fetch(void *ctx, uint32_t group, const struct raft_message *m)
{
	struct loop *l = ctx;
	struct fetch *f = calloc(1, sizeof *f);

	if (!f)
		return false;
	f->group = group;
	f->message = *m;
	mailbox_post(&l->fetches, &f->mail);
	return true;
}

static void port_kick_log(void *ctx)
{
	struct loop *l = ctx;

	wal_writer_kick(l->node->writer);
}

static void port_commit(void *ctx, uint32_t group, uint64_t index)
{
	struct loop *l = ctx;

	shard_commit(l->node->shards[group], index);
}

static void port_role(void *ctx, uint32_t group, enum raft_role role, uint64_t term, raft_id leader)
{
	struct loop *l = ctx;
	char name[32];

	core_group_name(group, name, sizeof name);
	if (leader != 0)
		log_info("raft", "%s: %s in term %llu, leader is node %u", name,
			 raft_role_name(role), (unsigned long long)term, leader);
	else
		log_info("raft", "%s: %s in term %llu, no leader", name, raft_role_name(role),
			 (unsigned long long)term);
	shard_role(l->node->shards[group], role == RAFT_LEADER, term);
	node_event(l->node, group, role, term, leader);
}

static void port_proposed(void *ctx, uint32_t group, void *token, uint64_t index, uint64_t term)
{
	struct loop *l = ctx;

	shard_proposed(l->node->shards[group], token, index, term);
}

static void port_reads(void *ctx, uint32_t group, struct core_read *list, uint64_t index)
{
	struct job_list confirmed;

	(void)ctx;
	(void)group;
	job_list_init(&confirmed);
	while (list) {
		struct job *job = job_of_read(list);
		list = list->next;
		job->index = index;
		if (index != 0)
			job_list_add(&confirmed, job);
		else if (clock_mono_ms() >= job->deadline_ms)
			job_fail(job, ERR_NO_QUORUM,
				 "no majority of the voters confirmed the read before its "
				 "deadline");
		else
			job_fail_not_leader(job);
	}
	service_confirmed(&confirmed);
}

/* --- the thread that reads old entries for slow peers --- */

/* The log may have been truncated since the core asked: only entries that still have the terms that
 * the message says may be sent with it. */
static size_t same_terms(const struct raft_message *m, const struct wal_entry *entries, size_t n)
{
	uint32_t run = 0;

	for (size_t i = 0; i < n; i++) {
		while (run + 1 < m->runs_n && m->runs[run + 1].first <= entries[i].index)
			run++;
		if (m->runs_n == 0 || entries[i].term != m->runs[run].term)
			return i;
	}
	return n;
}

static void fetch_one(struct loop *l, struct fetch *f)
{
	struct wal_entry entries[FETCH_ENTRIES];
	struct raft_message *m = &f->message;
	struct loop_mail *sent = mail_new(l, LOOP_SENT, f->group);
	size_t n = 0, want = m->count < FETCH_ENTRIES ? m->count : FETCH_ENTRIES;
	struct err e;
	uint64_t left_out;
	static struct log_limit limit;

	sent->peer = m->to;
	sent->prev_index = m->prev_index;
	int rc = wal_read(l->node->wal, f->group, m->prev_index + 1, want,
			  l->core_options.append_bytes, entries, &n, &e);
	if (rc < 0 && log_allowed(&limit, &left_out))
		log_error("log", "cannot read entries for node %u: %s", m->to, e.text);
	size_t same = rc == 0 ? same_terms(m, entries, n) : 0;
	if (same > 0) {
		m->count = (uint32_t)same;
		if (peers_send(l->node->peers, f->group, m, entries, same)) {
			sent->count = (uint32_t)same;
			for (size_t i = 0; i < same; i++)
				sent->size_bytes += entries[i].data->size_bytes;
		}
	}
	if (rc == 0)
		wal_entries_unref(entries, n);
	mailbox_post(&l->box, &sent->mail);
}

static void *fetch_run(void *arg)
{
	struct loop *l = arg;

	for (;;) {
		struct mail *list = mailbox_take(&l->fetches, UINT64_MAX);
		while (list) {
			struct fetch *f = (struct fetch *)list;
			list = list->next;
			bool stop = f->stop;
			if (!stop)
				fetch_one(l, f);
			free(f);
			if (stop)
				return NULL;
		}
	}
}

/* --- the loop itself --- */

static int start_core(struct loop *l, struct err *e)
{
	int rc = core_new(&l->core, &l->core_options, l->applied, now(l), e);

	if (rc == 0)
		atomic_store(&l->shown, l->core);
	return rc;
}

/* Steps 1 and 2 of rejoin.h; false while messages must not be taken. */
static int rejoin_mail(struct loop *l, struct loop_mail *m, struct err *e)
{
	int rc = 0;

	if (m->kind == LOOP_TERMS && l->rejoin.asking &&
	    rejoin_told(&l->rejoin, m->told_peer, buf_slice(&m->terms))) {
		log_info("raft", "all voters have told their terms, following them now");
		rc = rejoin_stage(&l->rejoin, l->node->wal, e);
		wal_writer_kick(l->node->writer);
	} else if (m->kind == LOOP_PERSISTED) {
		l->adopted += (unsigned)m->rows_n;
		if (l->adopted >= l->node->groups_n)
			rc = start_core(l, e);
	} else if (m->kind == LOOP_READ || m->kind == LOOP_TRANSFER) {
		job_fail(m->job, ERR_NOT_LEADER, "this node is rejoining the cluster");
	} else if (m->kind == LOOP_PROPOSE) {
		blob_unref(m->data);
		shard_proposed(l->node->shards[m->group], m->token, 0, 0);
	}
	return rc;
}

static int persisted(struct loop *l, struct loop_mail *m, struct err *e)
{
	if (!l->founded) {
		l->founded = true;
		int rc = rejoin_founded(l->node->conf, e);
		if (rc < 0)
			return rc;
	}
	return core_persisted(l->core, now(l), m->rows, m->rows_n, e);
}

static void transfer(struct loop *l, struct job *job, struct err *e)
{
	enum raft_refusal refused = RAFT_REFUSED_NOT;

	if (core_transfer(l->core, now(l), job->group, job->target, &refused, e) < 0)
		job_fail_err(job, e);
	else if (refused == RAFT_REFUSED_NOT)
		job_reply(job, slice_str(""));
	else if (refused == RAFT_REFUSED_NO_TARGET)
		job_fail(job, ERR_REFUSED, "node %u is not another voter of this group",
			 job->target);
	else if (refused == RAFT_REFUSED_TRANSFERRING)
		job_fail(job, ERR_BUSY, "leadership is being handed over already");
	else
		job_fail(job, ERR_NOT_LEADER, "this node does not lead the group");
}

static int core_mail(struct loop *l, struct loop_mail *m, struct err *e)
{
	switch (m->kind) {
	case LOOP_RECEIVE:
		return core_receive(l->core, now(l), m->group, &m->message.raft, m->message.entries,
				    e);
	case LOOP_PERSISTED:
		return persisted(l, m, e);
	case LOOP_PROPOSE: {
		int rc = core_propose(l->core, now(l), m->group, m->data, m->token, e);
		blob_unref(m->data);
		return rc;
	}
	case LOOP_READ:
		core_read(l->core, m->group, &m->job->read);
		return 0;
	case LOOP_TRANSFER:
		transfer(l, m->job, e);
		return 0;
	case LOOP_SENT:
		return core_sent(l->core, now(l), m->group, m->peer, m->prev_index, m->count,
				 m->size_bytes, e);
	case LOOP_UNREACHABLE:
		return core_unreachable(l->core, now(l), m->peer, e);
	case LOOP_STEP_ASIDE:
		return core_transfer(l->core, now(l), m->group, 0, NULL, e);
	case LOOP_RETIRE:
		return core_retire(l->core, now(l), e);
	case LOOP_TERMS:
	case LOOP_STOP:
		return 0;
	}
	return 0;
}

static void mail_free(struct loop_mail *m)
{
	if (m->kind == LOOP_RECEIVE)
		message_done(&m->message);
	else if (m->kind == LOOP_PERSISTED)
		free(m->rows);
	else if (m->kind == LOOP_TERMS)
		buf_done(&m->terms);
	free(m);
}

/* What is due by the clock; returns when to wake. */
static uint64_t tick(struct loop *l, struct err *e)
{
	uint64_t now_ms = clock_mono_ms(), deadline = UINT64_MAX;
	char missing[256];

	if (now_ms >= l->peers_tick_ms) {
		l->peers_tick_ms = now_ms + PEERS_TICK_MS;
		peers_tick(l->node->peers, now_ms);
	}
	if (l->rejoin.asking && now_ms >= l->ask_terms_ms) {
		static struct log_limit limit;
		uint64_t left_out;
		l->ask_terms_ms = now_ms + ASK_TERMS_MS;
		peers_ask_terms(l->node->peers);
		rejoin_missing(&l->rejoin, missing, sizeof missing);
		if (log_allowed(&limit, &left_out))
			log_info("raft",
				 "the data folder was empty: waiting to hear from %s "
				 "before taking part again",
				 missing);
	}
	if (l->core) {
		int rc = core_tick(l->core, now(l), &deadline, e);
		if (rc == 0 && l->rejoin.abstaining && !core_abstaining(l->core)) {
			log_info("raft", "caught up: this node votes again");
			rc = rejoin_done(&l->rejoin, e);
		}
		if (rc < 0)
			node_fatal(l->node, "raft", e);
	}
	return deadline < l->peers_tick_ms ? deadline : l->peers_tick_ms;
}

static void *loop_run(void *arg)
{
	struct loop *l = arg;
	uint64_t wake_ms = 0;
	struct err e = {0};
	bool go_on = true;

	while (go_on) {
		struct mail *list = mailbox_take(&l->box, wake_ms * 1000);
		size_t offered = 0;
		/* What one round sends to a peer leaves in one write. */
		link_hold();
		while (list) {
			struct loop_mail *m = (struct loop_mail *)list;
			list = list->next;
			offered += m->kind == LOOP_RECEIVE;
			go_on &= m->kind != LOOP_STOP;
			int rc = l->core ? core_mail(l, m, &e) : rejoin_mail(l, m, &e);
			if (rc < 0)
				node_fatal(l->node, "raft", &e);
			mail_free(m);
		}
		if (offered)
			mailbox_taken(&l->box, offered);
		if (l->core && core_reads_begin(l->core, now(l), &e) < 0)
			node_fatal(l->node, "raft", &e);
		wake_ms = tick(l, &e);
		link_release();
	}
	return NULL;
}

static void core_options_init(struct loop *l)
{
	const struct agent_conf *conf = l->node->conf;
	struct core_options *o = &l->core_options;

	*o = (struct core_options){
		.raft = {.id = conf->id,
			 .heartbeat_ms = conf->heartbeat_ms,
			 .election_min_ms = conf->election_ms,
			 .inflight_messages = conf->inflight_messages,
			 .inflight_bytes = conf->inflight_bytes,
			 .append_entries_max = FETCH_ENTRIES,
			 .abstain = l->rejoin.abstaining},
		.groups_n = l->node->groups_n,
		.append_bytes = conf->append_bytes,
		.read_retry_ms = conf->election_ms,
		.wal = l->node->wal,
		.ports = {.ctx = l,
			  .send = port_send,
			  .fetch = port_fetch,
			  .kick_log = port_kick_log,
			  .commit = port_commit,
			  .role = port_role,
			  .proposed = port_proposed,
			  .reads = port_reads},
	};
	for (uint32_t i = 0; i < conf->peers_n; i++) {
		if (conf->peers[i].role == CONF_REPLICA)
			continue;
		assert(o->members.n < RAFT_PEERS_MAX);
		o->members.members[o->members.n++] = (struct raft_member){
			.id = conf->peers[i].id,
			.role = conf->peers[i].role == CONF_VOTER ? RAFT_VOTER : RAFT_LEARNER};
	}
}

static bool log_is_empty(struct loop *l)
{
	struct wal_group_state ws;

	for (uint32_t g = 0; g < l->node->groups_n; g++) {
		wal_group(l->node->wal, g, &ws);
		if (ws.term != 0 || ws.last_index != 0)
			return false;
	}
	return true;
}

int loop_start(struct loop **ret_loop, struct node *node, const uint64_t *applied, struct err *e)
{
	struct loop *l = calloc(1, sizeof *l);

	if (!l)
		return err_set(e, ERR_NOMEM, "no memory for the loop");
	l->node = node;
	memcpy(l->applied, applied, node->groups_n * sizeof *applied);
	mailbox_init(&l->box, RECEIVED_MAX);
	mailbox_init(&l->fetches, 0);
	randombytes_buf(&l->random, sizeof l->random);
	int rc = rejoin_init(&l->rejoin, node->conf, node->groups_n, log_is_empty(l), e);
	core_options_init(l);
	/* Parts that the core tells things at once find the loop in its place. */
	*ret_loop = l;
	if (rc == 0 && !l->rejoin.asking)
		rc = start_core(l, e);
	if (rc < 0)
		return rc;
	rc = pthread_create(&l->thread, NULL, loop_run, l);
	if (rc == 0)
		rc = pthread_create(&l->fetch_thread, NULL, fetch_run, l);
	if (rc == 0) {
		pthread_setname_np(l->thread, "loop");
		pthread_setname_np(l->fetch_thread, "fetch");
	}
	return rc == 0 ? 0 : err_sys(e, ERR_IO, rc, "cannot start the loop's threads");
}

void loop_stop(struct loop *l)
{
	struct fetch *f = calloc(1, sizeof *f);

	mailbox_post(&l->box, &mail_new(l, LOOP_STOP, 0)->mail);
	pthread_join(l->thread, NULL);
	if (f) {
		f->stop = true;
		mailbox_post(&l->fetches, &f->mail);
		pthread_join(l->fetch_thread, NULL);
	}
}
