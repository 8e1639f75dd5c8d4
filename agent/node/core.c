#include "agent/node/core.h"

#include "agent/raft/raft_state.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 4096
#define ENTRIES_PER_APPEND 512
#define READS_RUNNING_MAX 1

struct running_read {
	uint64_t id; /* 0: free */
	uint64_t begun_ms;
	struct core_read *list;
};

struct group {
	struct raft raft;
	struct raft_run *runs;
	uint64_t synced;
	uint64_t deadline_ms;
	enum raft_role role; /* as last told */
	uint64_t term;
	raft_id leader;
	struct core_read *reads; /* collected, newest first */
	struct running_read running[READS_RUNNING_MAX];
	struct core_view view; /* under core.lock */
};

struct core {
	struct core_options o;
	pthread_mutex_t lock; /* guards the groups' views */
	uint64_t next_read_id;
	struct raft_update update;
	struct wal_entry entries[ENTRIES_PER_APPEND];
	struct group groups[];
};

/* An append that was put into a link and about which Raft has not heard yet. */
struct sent {
	raft_id peer;
	uint64_t prev_index;
	uint32_t count;
	uint64_t size_bytes;
};

const char *core_group_name(uint32_t group, char *ret_name, size_t size)
{
	if (group == 0)
		snprintf(ret_name, size, "meta");
	else
		snprintf(ret_name, size, "shard-%u", group);
	return ret_name;
}

uint32_t core_groups(const struct core *c)
{
	return c->o.groups_n;
}

bool core_abstaining(const struct core *c)
{
	for (uint32_t i = 0; i < c->o.groups_n; i++) {
		if (c->groups[i].raft.abstain)
			return true;
	}
	return false;
}

static void publish(struct core *c, struct group *g, uint64_t now_ms, bool changed)
{
	const struct raft_config *config = &g->raft.config;

	pthread_mutex_lock(&c->lock);
	struct core_view *v = &g->view;
	v->role = raft_role(&g->raft);
	v->term = raft_term(&g->raft);
	v->leader = raft_leader(&g->raft);
	v->last_index = raft_last_index(&g->raft);
	v->commit = raft_commit(&g->raft);
	v->synced = g->synced;
	v->ready = raft_ready(&g->raft);
	if (changed)
		v->since_ms = now_ms;
	v->members_n = config->n;
	for (unsigned i = 0; i < config->n; i++) {
		raft_id id = config->members[i].id;
		v->members[i] = id;
		v->match[i] = id == c->o.raft.id ? g->synced : raft_match(&g->raft, id);
	}
	pthread_mutex_unlock(&c->lock);
}

void core_view(struct core *c, uint32_t group, struct core_view *ret_view)
{
	pthread_mutex_lock(&c->lock);
	*ret_view = c->groups[group].view;
	pthread_mutex_unlock(&c->lock);
}

/* Stages an update's hard state, truncation and entries as one unit. `in` holds the entries that
 * came with the message or proposal, the first of them at index in_first; NULL: the entry is the
 * one that a new leader makes itself. */
static int stage(struct core *c, uint32_t group, const struct raft_update *up,
		 const struct wal_entry *in, uint64_t in_first, struct err *e)
{
	struct wal_entry noop;
	struct blob *empty = NULL;
	struct wal_job job = {
		.group = group,
		.persist_id = up->persist_id,
		.hard_changed = up->hard_changed,
		.term = up->hard.term,
		.vote = up->hard.vote,
		.truncate_from = up->truncate_from,
	};

	if (up->append_first != 0) {
		job.entries_n = (size_t)(up->append_last - up->append_first + 1);
		if (in) {
			assert(up->append_first >= in_first);
			job.entries = in + (up->append_first - in_first);
		} else {
			assert(job.entries_n == 1);
			empty = blob_new(NULL, 0);
			if (!empty)
				return err_set(e, ERR_NOMEM, "no memory for a log entry");
			noop = (struct wal_entry){.index = up->append_first,
						  .term = raft_term(&c->groups[group].raft),
						  .kind = RAFT_ENTRY_NOOP,
						  .data = empty};
			job.entries = &noop;
		}
	}
	int rc = wal_stage(c->o.wal, &job, e);
	blob_unref(empty);
	return rc;
}

/* Sends one append with the entries that are in memory. *ret_pending: core_sent() comes later. */
static struct sent send_append(struct core *c, uint32_t group, struct raft_message *m,
			       bool *ret_pending)
{
	struct sent s = {.peer = m->to, .prev_index = m->prev_index};
	size_t want = m->count < ENTRIES_PER_APPEND ? m->count : ENTRIES_PER_APPEND;
	size_t n = wal_read_tail(c->o.wal, group, m->prev_index + 1, want, c->o.append_bytes,
				 c->entries);

	*ret_pending = false;
	if (n == 0) {
		*ret_pending = c->o.ports.fetch(c->o.ports.ctx, group, m);
		return s;
	}
	m->count = (uint32_t)n;
	if (c->o.ports.send(c->o.ports.ctx, group, m, c->entries, n)) {
		s.count = (uint32_t)n;
		for (size_t i = 0; i < n; i++)
			s.size_bytes += c->entries[i].data->size_bytes;
	}
	wal_entries_unref(c->entries, n);
	return s;
}

static void finish_read(struct core *c, uint32_t group, const struct raft_read_done *done)
{
	struct group *g = &c->groups[group];

	for (unsigned i = 0; i < READS_RUNNING_MAX; i++) {
		struct running_read *r = &g->running[i];
		if (r->id != done->read_id)
			continue;
		struct core_read *list = r->list;
		*r = (struct running_read){0};
		c->o.ports.reads(c->o.ports.ctx, group, list, done->index);
		return;
	}
}

static bool tell_role(struct core *c, uint32_t group)
{
	struct group *g = &c->groups[group];
	enum raft_role role = raft_role(&g->raft);
	uint64_t term = raft_term(&g->raft);
	raft_id leader = raft_leader(&g->raft);

	if (role == g->role && term == g->term && leader == g->leader)
		return false;
	g->role = role;
	g->term = term;
	g->leader = leader;
	c->o.ports.role(c->o.ports.ctx, group, role, term, leader);
	return true;
}

/* Sends an update's messages; appends put into links are added to todo. */
static unsigned send_messages(struct core *c, uint32_t group, struct raft_update *up,
			      struct sent *todo, unsigned todo_n)
{
	for (unsigned i = 0; i < up->messages_n; i++) {
		struct raft_message *m = &up->messages[i];
		bool pending;
		if (m->kind != RAFT_APPEND || m->count == 0) {
			c->o.ports.send(c->o.ports.ctx, group, m, NULL, 0);
			continue;
		}
		struct sent s = send_append(c, group, m, &pending);
		if (!pending) {
			assert(todo_n < RAFT_MESSAGES_MAX);
			todo[todo_n++] = s;
		}
	}
	return todo_n;
}

/* Steps a group's Raft and carries the update out, and again for every append sent, since each
 * may let the next one go. */
static int step(struct core *c, uint32_t group, struct raft_event ev, const struct wal_entry *in,
		uint64_t in_first, enum raft_refusal *ret_refused, struct err *e)
{
	struct group *g = &c->groups[group];
	struct raft_update *up = &c->update;
	struct sent todo[RAFT_MESSAGES_MAX];
	unsigned todo_n = 0;
	bool changed = false;

	raft_step(&g->raft, &ev, up);
	if (ret_refused)
		*ret_refused = up->refused;
	for (;;) {
		g->deadline_ms = up->deadline_ms;
		if (up->persist_id != 0) {
			int rc = stage(c, group, up, in, in_first, e);
			if (rc < 0)
				return rc;
			c->o.ports.kick_log(c->o.ports.ctx);
		}
		todo_n = send_messages(c, group, up, todo, todo_n);
		if (up->commit_changed)
			c->o.ports.commit(c->o.ports.ctx, group, up->commit);
		changed |= tell_role(c, group);
		for (unsigned i = 0; i < up->reads_n; i++)
			finish_read(c, group, &up->reads[i]);
		if (todo_n == 0)
			break;
		struct sent s = todo[--todo_n];
		ev.kind = RAFT_EV_SENT;
		ev.peer = s.peer;
		ev.index = s.prev_index;
		ev.count = s.count;
		ev.size_bytes = s.size_bytes;
		in = NULL;
		raft_step(&g->raft, &ev, up);
	}
	publish(c, g, ev.now_ms, changed);
	return 0;
}

static struct raft_event event(struct core_now t, enum raft_event_kind kind)
{
	return (struct raft_event){.kind = kind, .now_ms = t.now_ms, .random = t.random};
}

int core_receive(struct core *c, struct core_now t, uint32_t group, const struct raft_message *m,
		 const struct wal_entry *entries, struct err *e)
{
	struct raft_event ev = event(t, RAFT_EV_RECEIVE);

	if (group >= c->o.groups_n)
		return 0;
	if (m->kind == RAFT_APPEND && m->count > 0 && !wal_room(c->o.wal))
		return 0;
	ev.message = m;
	return step(c, group, ev, entries, m->prev_index + 1, NULL, e);
}

int core_persisted(struct core *c, struct core_now t, const struct wal_synced *rows, size_t n,
		   struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct raft_event ev = event(t, RAFT_EV_PERSISTED);
		ev.persist_id = rows[i].persist_id;
		c->groups[rows[i].group].synced = rows[i].last_index;
		int rc = step(c, rows[i].group, ev, NULL, 0, NULL, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int core_propose(struct core *c, struct core_now t, uint32_t group, struct blob *data, void *token,
		 struct err *e)
{
	struct group *g = &c->groups[group];
	struct raft_event ev = event(t, RAFT_EV_PROPOSE);
	enum raft_refusal refused = RAFT_REFUSED_NOT_LEADER;
	struct wal_entry entry = {.index = raft_last_index(&g->raft) + 1,
				  .term = raft_term(&g->raft),
				  .kind = RAFT_ENTRY_DATA,
				  .data = data};

	ev.count = 1;
	ev.entry_kind = RAFT_ENTRY_DATA;
	if (wal_room(c->o.wal)) {
		int rc = step(c, group, ev, &entry, entry.index, &refused, e);
		if (rc < 0)
			return rc;
	}
	c->o.ports.proposed(c->o.ports.ctx, group, token,
			    refused == RAFT_REFUSED_NOT ? entry.index : 0, entry.term);
	return 0;
}

void core_read(struct core *c, uint32_t group, struct core_read *read)
{
	struct group *g = &c->groups[group];

	read->next = g->reads;
	g->reads = read;
}

/* One confirmation for all that was collected; while some are under way the rest keeps
 * collecting, so that the more reads come, the more share one. */
static int group_reads_begin(struct core *c, struct core_now t, uint32_t group, struct err *e)
{
	struct group *g = &c->groups[group];
	struct running_read *slot = NULL;
	enum raft_refusal refused;

	for (unsigned i = 0; i < READS_RUNNING_MAX; i++) {
		if (g->running[i].id == 0)
			slot = &g->running[i];
	}
	if (!g->reads || !slot)
		return 0;
	uint64_t id = ++c->next_read_id;
	*slot = (struct running_read){id, t.now_ms, g->reads};
	g->reads = NULL;

	struct raft_event ev = event(t, RAFT_EV_READ);
	ev.read_id = id;
	int rc = step(c, group, ev, NULL, 0, &refused, e);
	if (rc == 0 && refused != RAFT_REFUSED_NOT)
		finish_read(c, group, &(struct raft_read_done){.read_id = id});
	return rc;
}

int core_reads_begin(struct core *c, struct core_now t, struct err *e)
{
	for (uint32_t i = 0; i < c->o.groups_n; i++) {
		int rc = group_reads_begin(c, t, i, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int core_transfer(struct core *c, struct core_now t, uint32_t group, raft_id target,
		  enum raft_refusal *ret_refused, struct err *e)
{
	struct raft_event ev = event(t, RAFT_EV_TRANSFER);

	ev.peer = target;
	return step(c, group, ev, NULL, 0, ret_refused, e);
}

int core_retire(struct core *c, struct core_now t, struct err *e)
{
	int rc = 0;

	for (uint32_t i = 0; i < c->o.groups_n && rc == 0; i++) {
		raft_retire(&c->groups[i].raft);
		if (c->groups[i].role == RAFT_LEADER)
			rc = core_transfer(c, t, i, 0, NULL, e);
	}
	return rc;
}

int core_sent(struct core *c, struct core_now t, uint32_t group, raft_id peer, uint64_t prev_index,
	      uint32_t count, uint64_t size_bytes, struct err *e)
{
	struct raft_event ev = event(t, RAFT_EV_SENT);

	ev.peer = peer;
	ev.index = prev_index;
	ev.count = count;
	ev.size_bytes = size_bytes;
	return step(c, group, ev, NULL, 0, NULL, e);
}

int core_unreachable(struct core *c, struct core_now t, raft_id peer, struct err *e)
{
	for (uint32_t i = 0; i < c->o.groups_n; i++) {
		struct raft_event ev = event(t, RAFT_EV_UNREACHABLE);
		ev.peer = peer;
		int rc = step(c, i, ev, NULL, 0, NULL, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Reads whose confirmation was lost on the way are collected again, under a fresh id; those whose
 * caller has given up are let go. */
static void reads_expire(struct core *c, uint32_t group, uint64_t now_ms)
{
	struct group *g = &c->groups[group];
	struct core_read *dead = NULL;

	for (unsigned i = 0; i < READS_RUNNING_MAX; i++) {
		struct running_read *r = &g->running[i];
		if (r->id == 0 || now_ms < r->begun_ms + c->o.read_retry_ms)
			continue;
		struct core_read **end = &g->reads;
		while (*end)
			end = &(*end)->next;
		*end = r->list;
		*r = (struct running_read){0};
	}
	for (struct core_read **at = &g->reads; *at;) {
		struct core_read *read = *at;
		if (now_ms < read->deadline_ms) {
			at = &read->next;
			continue;
		}
		*at = read->next;
		read->next = dead;
		dead = read;
	}
	if (dead)
		c->o.ports.reads(c->o.ports.ctx, group, dead, 0);
}

/* When reads wait, the core must wake to ask again or to let them go. */
static uint64_t reads_deadline(const struct core *c, const struct group *g)
{
	uint64_t deadline = UINT64_MAX;

	for (unsigned i = 0; i < READS_RUNNING_MAX; i++) {
		const struct running_read *r = &g->running[i];
		if (r->id != 0 && r->begun_ms + c->o.read_retry_ms < deadline)
			deadline = r->begun_ms + c->o.read_retry_ms;
	}
	for (const struct core_read *r = g->reads; r; r = r->next) {
		if (r->deadline_ms < deadline)
			deadline = r->deadline_ms;
	}
	return deadline;
}

int core_tick(struct core *c, struct core_now t, uint64_t *ret_deadline_ms, struct err *e)
{
	uint64_t deadline = UINT64_MAX;

	for (uint32_t i = 0; i < c->o.groups_n; i++) {
		struct group *g = &c->groups[i];
		int rc = 0;
		reads_expire(c, i, t.now_ms);
		if (t.now_ms >= g->deadline_ms) {
			rc = step(c, i, event(t, RAFT_EV_TICK), NULL, 0, NULL, e);
			/* On a full disk somebody else should lead. */
			if (rc == 0 && g->role == RAFT_LEADER && !wal_room(c->o.wal))
				rc = core_transfer(c, t, i, 0, NULL, e);
		}
		if (rc == 0)
			rc = group_reads_begin(c, t, i, e);
		if (rc < 0)
			return rc;
		uint64_t reads = reads_deadline(c, g);
		if (g->deadline_ms < deadline)
			deadline = g->deadline_ms;
		if (reads < deadline)
			deadline = reads;
	}
	*ret_deadline_ms = deadline;
	return 0;
}

static int group_init(struct core *c, uint32_t id, uint64_t applied, struct core_now t,
		      struct err *e)
{
	struct group *g = &c->groups[id];
	struct wal_group_state ws;
	char name[32];

	core_group_name(id, name, sizeof name);
	wal_group(c->o.wal, id, &ws);
	if (applied > ws.last_index)
		return err_set(e, ERR_CORRUPT,
			       "group %s: the data holds log entry %llu, but the log ends at %llu: "
			       "log files are missing or were put back from an older copy; to let "
			       "this node recover from the others, remove its whole data folder",
			       name, (unsigned long long)applied,
			       (unsigned long long)ws.last_index);
	g->runs = calloc(RUNS_MAX, sizeof *g->runs);
	struct raft_run *runs = calloc(ws.runs_n + 1, sizeof *runs);
	if (!g->runs || !runs) {
		free(runs);
		return err_set(e, ERR_NOMEM, "no memory for group %s", name);
	}
	for (size_t i = 0; i < ws.runs_n; i++)
		runs[i] = (struct raft_run){.first = ws.runs[i].first, .term = ws.runs[i].term};
	struct raft_restore from = {
		.hard = {.term = ws.term, .vote = ws.vote},
		.config = c->o.members,
		.snapshot_index = ws.first_index > 1 ? ws.first_index - 1 : 0,
		.snapshot_term = ws.base_term,
		.last_index = ws.last_index,
		.applied = applied,
		.runs = runs,
		.runs_n = ws.runs_n,
	};
	bool ok = raft_init(&g->raft, &c->o.raft, &from, g->runs, RUNS_MAX);
	free(runs);
	if (!ok)
		return err_set(e, ERR_CORRUPT,
			       "group %s: the terms in the log are not in order; to let this node "
			       "recover from the others, remove its whole data folder",
			       name);
	g->synced = ws.last_index;
	g->role = RAFT_FOLLOWER;
	g->term = ws.term;
	return step(c, id, event(t, RAFT_EV_TICK), NULL, 0, NULL, e);
}

int core_new(struct core **ret_core, const struct core_options *o, const uint64_t *applied,
	     struct core_now t, struct err *e)
{
	struct core *c = calloc(1, sizeof *c + o->groups_n * sizeof c->groups[0]);

	assert(o->groups_n >= 1 && o->groups_n <= CORE_GROUPS_MAX);
	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for the core");
	c->o = *o;
	pthread_mutex_init(&c->lock, NULL);
	for (uint32_t i = 0; i < o->groups_n; i++) {
		/* The groups of one node must not all time out in step. */
		struct core_now own = {t.now_ms, t.random ^ (i * 0x9e3779b97f4a7c15u)};
		int rc = group_init(c, i, applied[i], own, e);
		if (rc < 0) {
			core_free(c);
			return rc;
		}
	}
	*ret_core = c;
	return 0;
}

void core_free(struct core *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->o.groups_n; i++)
		free(c->groups[i].runs);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
