#include "agent/raft/follow.h"

#include "agent/raft/election.h"
#include "agent/raft/outbox.h"
#include "agent/raft/persist.h"
#include "agent/raft/runs.h"

#include <assert.h>

bool raft_follow_sound(const struct raft_message *m)
{
	if (m->prev_term > m->term || (m->prev_index == 0) != (m->prev_term == 0))
		return false;
	if (m->prev_index > UINT64_MAX / 2)
		return false;
	if (m->count == 0)
		return m->runs_n == 0;
	if (m->runs_n == 0 || m->runs_n > RAFT_APPEND_RUNS_MAX ||
	    m->runs[0].first != m->prev_index + 1 || m->runs[0].term < m->prev_term)
		return false;
	for (uint32_t i = 0; i < m->runs_n; i++) {
		const struct raft_run *run = &m->runs[i];

		if (run->term == 0 || run->term > m->term)
			return false;
		if (i > 0 && (run->first <= run[-1].first || run->term <= run[-1].term))
			return false;
	}
	return m->runs[m->runs_n - 1].first <= m->prev_index + m->count;
}

static void reply(struct raft *r, struct raft_update *up)
{
	struct raft_following *f = &r->following;
	struct raft_message *m;

	if (!raft_persist_hard_durable(r)) {
		f->owed = RAFT_OWED_ACCEPT;
		return;
	}
	f->owed = RAFT_OWED_NONE;
	f->acked = f->verified < r->log.stable ? f->verified : r->log.stable;
	m = raft_outbox_add(r, up, RAFT_APPEND_REPLY, r->leader);
	m->granted = true;
	m->match = f->acked;
	m->prev_index = f->verified;
	m->round = f->round;
}

static void reply_refused(struct raft *r, struct raft_update *up)
{
	struct raft_following *f = &r->following;
	struct raft_message *m;

	if (!raft_persist_hard_durable(r)) {
		f->owed = RAFT_OWED_REFUSE;
		return;
	}
	f->owed = RAFT_OWED_NONE;
	m = raft_outbox_add(r, up, RAFT_APPEND_REPLY, r->leader);
	m->prev_index = f->refused_prev;
	m->hint_index = f->hint_index;
	m->hint_term = f->hint_term;
	m->round = f->round;
}

/* 3.5: is the entry before the append the same here? What is committed is, even where its term is
 * not known any more. */
static bool prev_matches(const struct raft *r, const struct raft_message *m)
{
	uint64_t term;

	if (!raft_runs_term(&r->log, m->prev_index, &term))
		return m->prev_index <= r->commit;
	return term == m->prev_term;
}

static void refuse(struct raft *r, const struct raft_message *m, struct raft_update *up)
{
	struct raft_following *f = &r->following;

	/* Entries here whose term is above prev_term cannot be in the leader's log before prev. */
	f->refused_prev = m->prev_index;
	f->hint_index = raft_runs_floor(&r->log, m->prev_index - 1, m->prev_term);
	if (!raft_runs_term(&r->log, f->hint_index, &f->hint_term))
		f->hint_term = 0;
	reply_refused(r, up);
}

/* The first entry of the append that is not here, or here with another term; one past its last
 * when there is none. */
static uint64_t first_difference(const struct raft *r, const struct raft_message *m)
{
	uint64_t last = m->prev_index + m->count;

	for (uint32_t i = 0; i < m->runs_n; i++) {
		uint64_t run_last = i + 1 < m->runs_n ? m->runs[i + 1].first - 1 : last;
		uint64_t first = m->runs[i].first;
		uint64_t term, same;

		if (!raft_runs_term(&r->log, first, &term) && first <= r->commit) {
			first = r->commit + 1;
			if (first > run_last)
				continue;
		}
		if (!raft_runs_term(&r->log, first, &term) || term != m->runs[i].term)
			return first;
		/* Terms never fall along a log, so from the first on all are the same up to here.
		 */
		same = raft_runs_floor(&r->log, run_last, term);
		if (same < run_last)
			return same + 1;
	}
	return last + 1;
}

/* Appends the entries of the message from `from` on. */
static void take_entries(struct raft *r, const struct raft_message *m, uint64_t from,
			 struct raft_update *up)
{
	uint64_t last = m->prev_index + m->count;

	if (from <= r->log.last) {
		raft_runs_truncate(&r->log, from);
		raft_persist_cut(r);
		up->truncate_from = from;
	}
	up->append_first = from;
	up->append_last = last;
	for (uint32_t i = 0; i < m->runs_n; i++) {
		uint64_t run_last = i + 1 < m->runs_n ? m->runs[i + 1].first - 1 : last;

		if (run_last >= from)
			raft_runs_append(&r->log, run_last, m->runs[i].term);
	}
	assert(r->log.last == last);
}

/* No leader that keeps the rules asks to replace what is committed or what it has itself shown to
 * be the same, or sends terms that fall. One that does, because its disk was emptied perhaps, is
 * not obeyed. */
static bool may_take(const struct raft *r, const struct raft_message *m, uint64_t from)
{
	uint64_t before, term = 0;

	for (uint32_t i = 0; i < m->runs_n && m->runs[i].first <= from; i++)
		term = m->runs[i].term;
	return from > r->commit && from > r->following.verified &&
	       raft_runs_term(&r->log, from - 1, &before) && before <= term;
}

/* Does this node hold, durably, all that its leader has committed? Only what is committed in the
 * leader's own term tells: before, its commit index may lie behind what others acknowledged. */
static bool caught_up(const struct raft *r, const struct raft_message *m)
{
	uint64_t term;

	return m->commit > 0 && m->commit <= r->following.verified && m->commit <= r->log.stable &&
	       raft_runs_term(&r->log, m->commit, &term) && term == r->hard.term;
}

void raft_follow_append(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	const struct raft_message *m = ev->message;
	struct raft_following *f = &r->following;
	uint64_t last = m->prev_index + m->count;
	uint64_t from;

	if (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != m->from))
		return; /* a second leader in one term is no leader */
	raft_election_step_down(r, ev, up);
	raft_election_rewind(r, ev);
	r->leader = m->from;
	f->heard_ms = ev->now_ms;
	f->link_down = false;
	if (m->round > f->round)
		f->round = m->round;

	if (!prev_matches(r, m)) {
		if (m->prev_index > r->commit)
			refuse(r, m, up);
		return;
	}
	from = first_difference(r, m);
	if (from <= last) {
		if (!may_take(r, m, from))
			return;
		take_entries(r, m, from, up);
	}
	if (last > f->verified)
		f->verified = last;
	if (m->commit > r->commit) /* 3.5: but no further than what is known to be the same */
		r->commit = m->commit < f->verified ? m->commit : f->verified;
	if (r->abstain && caught_up(r, m))
		r->abstain = false;
	if (from > last && (m->count > 0 || m->round > 0))
		reply(r, up);
}

void raft_follow_stale(struct raft *r, const struct raft_message *m, struct raft_update *up)
{
	if (raft_persist_hard_durable(r))
		raft_outbox_add(r, up, RAFT_APPEND_REPLY, m->from)->prev_index = m->prev_index;
}

void raft_follow_persisted(struct raft *r, struct raft_update *up)
{
	const struct raft_following *f = &r->following;
	uint64_t match = f->verified < r->log.stable ? f->verified : r->log.stable;

	if (r->role == RAFT_LEADER || r->leader == 0 || !raft_persist_hard_durable(r))
		return;
	if (f->owed == RAFT_OWED_REFUSE)
		reply_refused(r, up);
	else if (f->owed == RAFT_OWED_ACCEPT || match > f->acked)
		reply(r, up);
}
