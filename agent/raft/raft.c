#include "agent/raft/raft.h"

#include "agent/raft/election.h"
#include "agent/raft/follow.h"
#include "agent/raft/lead.h"
#include "agent/raft/peer.h"
#include "agent/raft/persist.h"
#include "agent/raft/quorum.h"
#include "agent/raft/raft_state.h"
#include "agent/raft/read.h"
#include "agent/raft/runs.h"

#include <assert.h>
#include <string.h>

bool raft_init(struct raft *r, const struct raft_options *o, const struct raft_restore *from,
	       struct raft_run *runs, size_t runs_cap)
{
	assert(o->id != 0 && runs_cap >= 1024);
	assert(o->heartbeat_ms > 0 && o->heartbeat_ms < o->election_min_ms);
	assert(o->inflight_messages > 0 && o->inflight_messages <= RAFT_INFLIGHT_MAX);
	assert(o->append_entries_max > 0);

	memset(r, 0, sizeof(*r));
	r->options = *o;
	r->abstain = o->abstain;
	if (!raft_config_sound(&from->config))
		return false;
	r->config = from->config;
	for (unsigned i = 0; i < r->config.n; i++)
		r->peers[i].id = r->config.members[i].id;
	if (from->hard.term == 0 && from->hard.vote != 0)
		return false;
	r->hard = from->hard;
	r->hard_durable = from->hard;

	r->log.runs = runs;
	r->log.cap = runs_cap;
	if (!raft_runs_restore(&r->log, from))
		return false;
	r->commit = from->applied > from->snapshot_index ? from->applied : from->snapshot_index;
	r->applied = r->commit;
	if (r->commit > r->log.last)
		return false;
	r->following.verified = r->commit;
	r->role = RAFT_FOLLOWER;
	return true;
}

/* Timers and ids that need the caller's clock and randomness. */
static void start(struct raft *r, const struct raft_event *ev)
{
	r->started = true;
	r->read_base = ev->random >> 1;
	r->read_seq = r->read_base;
	raft_election_rewind(r, ev);
	/* Nobody to wait for. */
	if (raft_voters(r) == 1 && raft_votes(r, r->options.id))
		r->election_ms = ev->now_ms;
}

static void tick(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (r->role == RAFT_LEADER) {
		raft_lead_tick(r, ev, up);
	} else {
		raft_election_tick(r, ev, up);
		raft_read_tick(r, ev, up);
	}
}

static void persisted(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (raft_persist_done(r, ev->persist_id))
		raft_election_durable(r, ev, up);
	raft_follow_persisted(r, up);
}

static bool message_sound(struct raft *r, const struct raft_message *m)
{
	if (m->to != r->options.id || m->from == r->options.id || !raft_peer_find(r, m->from))
		return false;
	if (m->kind < RAFT_PRE_VOTE || m->kind >= RAFT_MESSAGE_KINDS)
		return false;
	return m->term > 0 && m->term < UINT64_MAX / 2 &&
	       (m->kind != RAFT_APPEND || raft_follow_sound(m));
}

/* A message of the current term, other than those of elections. */
static void receive_current(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	const struct raft_message *m = ev->message;

	switch (m->kind) {
	case RAFT_APPEND:
		raft_follow_append(r, ev, up);
		break;
	case RAFT_APPEND_REPLY:
		if (r->role == RAFT_LEADER)
			raft_peer_reply(r, raft_peer_find(r, m->from), m, ev->now_ms);
		break;
	case RAFT_READ:
	case RAFT_READ_REPLY:
		raft_read_receive(r, ev, up);
		break;
	case RAFT_TIMEOUT_NOW:
		if (r->role == RAFT_FOLLOWER && m->from == r->leader)
			raft_election_transfer(r, ev, up);
		break;
	default: /* snapshots have no meaning yet */
		break;
	}
}

static void receive(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	const struct raft_message *m = ev->message;

	if (!message_sound(r, m))
		return;
	switch (m->kind) {
	case RAFT_PRE_VOTE:
	case RAFT_PRE_VOTE_REPLY:
	case RAFT_VOTE:
	case RAFT_VOTE_REPLY:
		raft_election_receive(r, ev, up);
		return;
	default:
		break;
	}
	/* 3.3: a higher term is taken over; a lower one is not listened to. */
	if (m->term > r->hard.term)
		raft_election_new_term(r, ev, up, m->term, 0);
	if (m->term == r->hard.term)
		receive_current(r, ev, up);
	else if (m->kind == RAFT_APPEND)
		raft_follow_stale(r, m, up);
}

static void sent(struct raft *r, const struct raft_event *ev)
{
	struct raft_peer *p = raft_peer_find(r, ev->peer);

	assert(p);
	raft_peer_sent(r, p, ev);
}

static void unreachable(struct raft *r, const struct raft_event *ev)
{
	struct raft_peer *p = raft_peer_find(r, ev->peer);

	if (!p || p->id == r->options.id)
		return;
	if (r->role == RAFT_LEADER)
		raft_peer_unreachable(p);
	else
		raft_election_link_down(r, ev, ev->peer);
}

static void dispatch(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	switch (ev->kind) {
	case RAFT_EV_TICK:
		tick(r, ev, up);
		break;
	case RAFT_EV_RECEIVE:
		receive(r, ev, up);
		break;
	case RAFT_EV_PERSISTED:
		persisted(r, ev, up);
		break;
	case RAFT_EV_APPLIED:
		assert(ev->index <= r->commit);
		if (ev->index > r->applied)
			r->applied = ev->index;
		break;
	case RAFT_EV_PROPOSE:
		raft_lead_propose(r, ev, up);
		break;
	case RAFT_EV_READ:
		raft_read_begin(r, ev, up);
		break;
	case RAFT_EV_TRANSFER:
		raft_lead_transfer(r, ev, up);
		break;
	case RAFT_EV_SENT:
		sent(r, ev);
		break;
	case RAFT_EV_UNREACHABLE:
		unreachable(r, ev);
		break;
	case RAFT_EV_CHANGE_CONFIG:
	case RAFT_EV_SNAPSHOT_MADE:
	case RAFT_EV_SNAPSHOT_INSTALLED:
		up->refused = RAFT_REFUSED_UNSUPPORTED;
		break;
	}
}

/* What may be applied: see update.commit. Never falls: nothing committed is truncated. */
static uint64_t commit_here(const struct raft *r)
{
	return r->commit < r->log.stable ? r->commit : r->log.stable;
}

/* All but the arrays, which their counts make empty. */
static void update_clear(struct raft_update *up)
{
	up->persist_id = 0;
	up->hard_changed = false;
	up->truncate_from = 0;
	up->append_first = 0;
	up->append_last = 0;
	up->messages_n = 0;
	up->commit_changed = false;
	up->reads_n = 0;
	up->refused = RAFT_REFUSED_NOT;
	up->role_changed = false;
}

static uint64_t deadline_ms(const struct raft *r, uint64_t now_ms)
{
	uint64_t election_ms, read_ms;

	if (r->role == RAFT_LEADER)
		return raft_lead_deadline_ms(r, now_ms);
	election_ms = raft_election_deadline_ms(r);
	read_ms = raft_read_deadline_ms(r);
	return election_ms < read_ms ? election_ms : read_ms;
}

void raft_step(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	struct raft_hard_state hard = r->hard;
	enum raft_role role = r->role;
	raft_id leader = r->leader;
	uint64_t commit = commit_here(r);

	update_clear(up);
	if (!r->started)
		start(r, ev);
	dispatch(r, ev, up);
	if (r->role == RAFT_LEADER)
		raft_lead_flush(r, ev, up);

	up->hard = r->hard;
	up->hard_changed = r->hard.term != hard.term || r->hard.vote != hard.vote;
	if (up->hard_changed || up->append_last != 0) {
		up->persist_id = raft_persist_next(r);
		if (up->hard_changed)
			r->hard_persist_id = up->persist_id;
	}
	up->commit = commit_here(r);
	up->commit_changed = up->commit != commit;
	assert(up->commit >= commit && r->commit <= r->log.last);
	up->role_changed = r->role != role || r->leader != leader || r->hard.term != hard.term;
	up->deadline_ms = deadline_ms(r, ev->now_ms);
}

void raft_retire(struct raft *r)
{
	r->retired = true;
}

enum raft_role raft_role(const struct raft *r)
{
	return r->role;
}

const char *raft_role_name(enum raft_role role)
{
	switch (role) {
	case RAFT_LEADER:
		return "leader";
	case RAFT_FOLLOWER:
		return "follower";
	default:
		return "candidate";
	}
}

uint64_t raft_term(const struct raft *r)
{
	return r->hard.term;
}

raft_id raft_leader(const struct raft *r)
{
	return r->leader;
}

uint64_t raft_last_index(const struct raft *r)
{
	return r->log.last;
}

uint64_t raft_commit(const struct raft *r)
{
	return r->commit;
}

bool raft_ready(const struct raft *r)
{
	return r->role == RAFT_LEADER && r->commit >= r->term_start;
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
	uint64_t term;

	return raft_runs_term(&r->log, index, &term) ? term : 0;
}

uint64_t raft_match(const struct raft *r, raft_id peer)
{
	if (r->role != RAFT_LEADER)
		return 0;
	if (peer == r->options.id)
		return r->log.stable;
	for (unsigned i = 0; i < r->config.n; i++)
		if (r->peers[i].id == peer)
			return r->peers[i].match;
	return 0;
}

void raft_message_trim(struct raft_message *m, uint32_t count)
{
	assert(m->kind == RAFT_APPEND && count <= m->count);
	m->count = count;
	while (m->runs_n > 0 && m->runs[m->runs_n - 1].first > m->prev_index + count)
		m->runs_n--;
}
