#include "tests/unit/raft_sim_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void job_add(struct sim_node *n, const struct raft_update *up)
{
	struct sim_disk *d = &n->disk;
	struct sim_job *job;
	size_t count = up->append_last ? up->append_last - up->append_first + 1 : 0;

	if (d->jobs_n == d->jobs_cap) {
		d->jobs_cap = d->jobs_cap ? d->jobs_cap * 2 : 64;
		d->jobs = realloc(d->jobs, d->jobs_cap * sizeof(d->jobs[0]));
		assert(d->jobs);
	}
	if (d->staged_n + count > d->staged_cap) {
		d->staged_cap = (d->staged_n + count) * 2;
		d->staged = realloc(d->staged, d->staged_cap * sizeof(d->staged[0]));
		assert(d->staged);
	}
	job = &d->jobs[d->jobs_n++];
	*job = (struct sim_job){
		.persist_id = up->persist_id,
		.hard_changed = up->hard_changed,
		.hard = up->hard,
		.truncate_from = up->truncate_from,
		.first = up->append_first,
		.last = up->append_last,
		.entries_at = d->staged_n,
	};
	if (count > 0)
		memcpy(&d->staged[d->staged_n], &n->log[up->append_first],
		       count * sizeof(d->staged[0]));
	d->staged_n += count;
}

static void jobs_apply(struct sim *s, struct sim_node *n, size_t jobs)
{
	struct sim_disk *d = &n->disk;

	if (jobs == 0)
		return;
	for (size_t i = 0; i < jobs; i++) {
		const struct sim_job *job = &d->jobs[i];

		if (job->hard_changed)
			d->hard = job->hard;
		if (job->truncate_from != 0) {
			d->last = job->truncate_from - 1;
		}
		if (job->last == 0)
			continue;
		assert(job->first == d->last + 1);
		memcpy(&d->log[job->first], &d->staged[job->entries_at],
		       (job->last - job->first + 1) * sizeof(d->log[0]));
		d->last = job->last;
		if (job->truncate_from != 0)
			sim_check_cut(s, n, job->truncate_from);
	}
	memmove(d->jobs, d->jobs + jobs, (d->jobs_n - jobs) * sizeof(d->jobs[0]));
	d->jobs_n -= jobs;
	if (d->jobs_n == 0)
		d->staged_n = 0;
}

static void sync_begin(struct sim *s, struct sim_node *n)
{
	struct sim_disk *d = &n->disk;
	uint64_t us = s->weather.disk_us / 2 + sim_below(s, s->weather.disk_us + 1);

	if (d->syncing != 0 || d->jobs_n == 0)
		return;
	if (!s->healed && sim_chance(s, s->weather.disk_stall))
		us = sim_below(s, s->weather.disk_stall_us + 1);
	d->syncing = d->jobs[d->jobs_n - 1].persist_id;
	sim_schedule(s, SIM_SYNCED, sim_position(s, n->id), us);
}

void sim_node_synced(struct sim *s, struct sim_node *n)
{
	struct sim_disk *d = &n->disk;
	uint64_t id = d->syncing;
	size_t jobs = 0;

	while (jobs < d->jobs_n && d->jobs[jobs].persist_id <= id)
		jobs++;
	jobs_apply(s, n, jobs);
	d->syncing = 0;
	sim_schedule(s, SIM_PERSISTED, sim_position(s, n->id), sim_below(s, 200))->a = id;
	sync_begin(s, n);
}

/* Everybody has this on disk and nobody will ever need to be sent it. */
static uint64_t common_prefix(const struct sim *s)
{
	uint64_t common = UINT64_MAX;

	for (unsigned i = 0; i < s->nodes_n; i++) {
		const struct sim_disk *d = &s->nodes[i].disk;
		uint64_t at = d->last < s->commit ? d->last : s->commit;

		while (at > 0 && d->log[at].value != s->committed[at].entry.value)
			at--;
		while (at > 0 && d->log[at].term != s->committed[at].entry.term)
			at--;
		common = at < common ? at : common;
	}
	return common;
}

bool sim_node_start(struct sim *s, struct sim_node *n)
{
	struct raft_run *runs = calloc(SIM_LOG_MAX, sizeof(*runs));
	struct raft_options options = s->raft_options;
	struct raft_restore restore = {
		.hard = n->disk.hard,
		.config = s->config,
		.last_index = n->disk.last,
		.applied = n->applied_durable,
		.runs = runs,
	};
	uint64_t first = 1;
	bool sound;

	assert(runs);
	options.id = n->id;
	if (sim_chance(s, 500)) {
		uint64_t common = common_prefix(s);

		restore.snapshot_index = common < n->applied_durable ? common : n->applied_durable;
		restore.snapshot_term = n->disk.log[restore.snapshot_index].term;
		first = restore.snapshot_index + 1;
		if (first > 1) /* the log may reach back behind the snapshot */
			first -= sim_below(s, first);
	}
	for (uint64_t i = first; i <= n->disk.last; i++)
		if (i == first || n->disk.log[i].term != n->disk.log[i - 1].term)
			runs[restore.runs_n++] = (struct raft_run){i, n->disk.log[i].term};
	n->snapshot_index = restore.snapshot_index;
	sound = raft_init(&n->raft, &options, &restore, n->runs, SIM_RUNS_MAX);
	free(runs);
	if (!sound) {
		sim_fail(s, n, "cannot start from what it left on disk");
		return false;
	}
	memcpy(n->log, n->disk.log, (n->disk.last + 1) * sizeof(n->log[0]));
	n->last = n->disk.last;
	n->applied = n->applied_durable;
	n->seen_commit = raft_commit(&n->raft);
	n->may_apply = n->seen_commit;
	n->seen_hard = n->disk.hard;
	n->was_leader = false;
	memset(n->fetching, 0, sizeof(n->fetching));
	n->up = true;
	n->still_until_us = 0;
	n->deadline_us = s->now_us;
	return true;
}

void sim_node_crash(struct sim *s, struct sim_node *n)
{
	struct sim_disk *d = &n->disk;

	/* What was being written may or may not have arrived. */
	jobs_apply(s, n, sim_below(s, d->jobs_n + 1));
	for (size_t i = 0; i < d->jobs_n; i++)
		if (d->jobs[i].last != 0)
			s->report->lost_entries += d->jobs[i].last - d->jobs[i].first + 1;
	d->jobs_n = 0;
	d->staged_n = 0;
	d->syncing = 0;
	n->applied_durable += sim_below(s, n->applied - n->applied_durable + 1);
	n->up = false;
	n->life++;
	for (unsigned i = 0; i < SIM_READS_MAX; i++)
		if (s->reads[i].id != 0 && &s->nodes[s->reads[i].node] == n)
			s->reads[i].id = 0;
	s->report->crashes++;
}

void sim_node_done(struct sim_node *n)
{
	free(n->disk.jobs);
	free(n->disk.staged);
}

static void log_change(struct sim *s, struct sim_node *n, const struct raft_event *ev,
		       const struct raft_update *up, const uint64_t *values)
{
	const struct raft_message *m = ev->kind == RAFT_EV_RECEIVE ? ev->message : NULL;

	if (up->truncate_from != 0) {
		if (up->truncate_from > n->last || up->truncate_from <= n->snapshot_index)
			sim_fail(s, n, "truncates from %lu", up->truncate_from);
		n->last = up->truncate_from - 1;
		s->report->truncations++;
	}
	if (up->append_last == 0)
		return;
	if (up->append_first != n->last + 1 || up->append_last < up->append_first ||
	    up->append_last >= SIM_LOG_MAX) {
		sim_fail(s, n, "appends %lu..%lu after %lu", up->append_first, up->append_last,
			 n->last);
		return;
	}
	for (uint64_t i = up->append_first; i <= up->append_last; i++) {
		struct sim_entry *e = &n->log[i];

		*e = (struct sim_entry){.term = raft_term(&n->raft)};
		if (ev->kind == RAFT_EV_PROPOSE) {
			e->value = values[i - up->append_first];
		} else if (m && m->kind == RAFT_APPEND) {
			assert(i > m->prev_index && i <= m->prev_index + m->count);
			e->value = values[i - m->prev_index - 1];
			for (uint32_t k = 0; k < m->runs_n && m->runs[k].first <= i; k++)
				e->term = m->runs[k].term;
		}
	}
	n->last = up->append_last;
	sim_check_append(s, n, up->append_first, up->append_last);
}

static void send_messages(struct sim *s, struct sim_node *n, const struct raft_update *up)
{
	for (unsigned i = 0; i < up->messages_n; i++) {
		struct sim_message *m = sim_message_new(s, &up->messages[i]);
		struct sim_event *e;
		unsigned to = sim_position(s, m->m.to);

		sim_check_message(s, n, &m->m);
		if (m->m.kind != RAFT_APPEND || m->m.count == 0) {
			sim_transmit(s, m);
			continue;
		}
		if (n->fetching[to])
			sim_fail(s, n, "sends entries to %u before SENT", m->m.to);
		n->fetching[to] = true;
		e = sim_schedule(s, SIM_FETCH, sim_position(s, n->id),
				 sim_chance(s, 800) ? 0 : sim_below(s, 2000));
		e->message = m;
	}
}

/* The entries as they are in the log by now; fewer, or none when they are others. */
void sim_node_fetch(struct sim *s, struct sim_node *n, struct sim_message *take_m)
{
	struct raft_message *m = &take_m->m;
	uint32_t count = m->count, got = 0, run = 0;
	struct sim_event *e;

	if (!s->healed && sim_chance(s, s->weather.trim))
		count = 1 + (uint32_t)sim_below(s, count);
	if (!s->healed && sim_chance(s, s->weather.send_fails))
		count = 0;
	for (; got < count && m->prev_index + got + 1 <= n->last; got++) {
		uint64_t index = m->prev_index + got + 1;

		while (run + 1 < m->runs_n && m->runs[run + 1].first <= index)
			run++;
		if (n->log[index].term != m->runs[run].term || index <= n->snapshot_index)
			break;
		take_m->values[got] = n->log[index].value;
	}
	if (got < count)
		got = 0;
	e = sim_schedule(s, SIM_SENT, sim_position(s, n->id),
			 sim_chance(s, 500) ? 0 : sim_below(s, 3000));
	e->peer = (uint8_t)sim_position(s, m->to);
	e->a = m->prev_index;
	e->b = got;
	e->c = got * 100;
	if (got == 0) {
		sim_message_free(s, take_m);
		return;
	}
	raft_message_trim(m, got);
	sim_transmit(s, take_m);
}

enum raft_refusal sim_node_step(struct sim *s, struct sim_node *n, struct raft_event *ev,
				const uint64_t *values)
{
	struct raft_update *up = &s->update;
	struct sim_event *e;

	ev->now_ms = s->now_us / 1000;
	ev->random = sim_random(s);
	raft_step(&n->raft, ev, up);

	log_change(s, n, ev, up, values);
	if (sim_failed(s))
		return up->refused;
	sim_check_step(s, n, ev, up);
	if (up->persist_id != 0) {
		job_add(n, up);
		sync_begin(s, n);
	}
	send_messages(s, n, up);
	if (up->commit > n->applied && up->commit_changed) {
		e = sim_schedule(s, SIM_APPLIED, sim_position(s, n->id), sim_below(s, 5000));
		e->a = up->commit;
	}
	for (unsigned i = 0; i < up->reads_n; i++)
		sim_check_read(s, n, &up->reads[i]);
	n->deadline_us = up->deadline_ms > UINT64_MAX / 2000 ? UINT64_MAX : up->deadline_ms * 1000;
	return up->refused;
}
