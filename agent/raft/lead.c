#include "agent/raft/lead.h"

#include "agent/raft/election.h"
#include "agent/raft/outbox.h"
#include "agent/raft/peer.h"
#include "agent/raft/quorum.h"
#include "agent/raft/read.h"
#include "agent/raft/runs.h"

#include <assert.h>

static void append(struct raft *r, struct raft_update *up, uint32_t count)
{
	assert(up->append_last == 0);
	up->append_first = r->log.last + 1;
	up->append_last = r->log.last + count;
	raft_runs_append(&r->log, up->append_last, r->hard.term);
}

void raft_lead_begin(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	r->role = RAFT_LEADER;
	r->leader = r->options.id;
	r->round = 0;
	r->read_round = 0;
	r->transfer_to = 0;
	for (unsigned i = 0; i < r->config.n; i++)
		raft_peer_begin(r, &r->peers[i], ev->now_ms);
	append(r, up, 1);
	r->term_start = r->log.last;
	r->heartbeat_ms = ev->now_ms + r->options.heartbeat_ms;
}

void raft_lead_end(struct raft *r)
{
	r->transfer_to = 0;
	for (unsigned i = 0; i < r->config.n; i++) {
		r->peers[i].reading = (struct raft_remote_read){0};
		r->peers[i].reading_later = (struct raft_remote_read){0};
	}
}

void raft_lead_propose(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	assert(ev->count > 0);
	if (ev->entry_kind == RAFT_ENTRY_CONFIG)
		up->refused = RAFT_REFUSED_UNSUPPORTED;
	else if (r->role != RAFT_LEADER)
		up->refused = RAFT_REFUSED_NOT_LEADER;
	else if (r->transfer_to != 0)
		up->refused = RAFT_REFUSED_TRANSFERRING;
	else
		append(r, up, ev->count);
}

/* The voter that needs least to catch up; of equals the one heard last. */
static raft_id best_target(const struct raft *r)
{
	const struct raft_peer *best = NULL;

	for (unsigned i = 0; i < r->config.n; i++) {
		const struct raft_peer *p = &r->peers[i];

		if (p->id == r->options.id || !raft_votes(r, p->id))
			continue;
		if (!best || p->match > best->match ||
		    (p->match == best->match && p->heard_ms > best->heard_ms))
			best = p;
	}
	return best ? best->id : 0;
}

void raft_lead_transfer(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	raft_id to = ev->peer;

	if (r->role != RAFT_LEADER) {
		up->refused = RAFT_REFUSED_NOT_LEADER;
		return;
	}
	if (to == 0)
		to = best_target(r);
	if (to == 0 || to == r->options.id || !raft_votes(r, to)) {
		up->refused = RAFT_REFUSED_NO_TARGET;
		return;
	}
	if (r->transfer_to != 0) {
		up->refused = RAFT_REFUSED_TRANSFERRING;
		return;
	}
	r->transfer_to = to;
	r->transfer_ms = ev->now_ms + r->options.election_min_ms;
	r->transfer_asked = false;
}

/* 6.2: how long ago a majority was last heard of decides. */
static uint64_t quorum_deadline_ms(const struct raft *r, uint64_t now_ms)
{
	return raft_quorum_heard_ms(r, now_ms) + r->options.election_min_ms;
}

void raft_lead_tick(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (ev->now_ms >= quorum_deadline_ms(r, ev->now_ms)) {
		raft_election_step_down(r, ev, up);
		return;
	}
	if (r->transfer_to != 0 && ev->now_ms >= r->transfer_ms)
		r->transfer_to = 0;
	if (ev->now_ms < r->heartbeat_ms)
		return;
	r->heartbeat_ms = ev->now_ms + r->options.heartbeat_ms;
	r->transfer_asked = false;
	raft_read_round(r);
	for (unsigned i = 0; i < r->config.n; i++)
		r->peers[i].heartbeat_due = true;
}

uint64_t raft_lead_deadline_ms(const struct raft *r, uint64_t now_ms)
{
	uint64_t at_ms = quorum_deadline_ms(r, now_ms);

	if (r->heartbeat_ms < at_ms)
		at_ms = r->heartbeat_ms;
	if (r->transfer_to != 0 && r->transfer_ms < at_ms)
		at_ms = r->transfer_ms;
	return at_ms;
}

/* 3.6.2: an entry of this term that a majority holds is committed, and all before it. */
static void advance_commit(struct raft *r)
{
	uint64_t match = raft_quorum_match(r);
	uint64_t term;

	if (match <= r->commit)
		return;
	if (raft_runs_term(&r->log, match, &term) && term == r->hard.term)
		r->commit = match;
}

/* 3.10: the target has all there is; it may campaign without waiting for its timeout. */
static void transfer_ask(struct raft *r, struct raft_update *up)
{
	if (r->transfer_to == 0 || r->transfer_asked ||
	    raft_peer_find(r, r->transfer_to)->match != r->log.last)
		return;
	raft_outbox_add(r, up, RAFT_TIMEOUT_NOW, r->transfer_to);
	r->transfer_asked = true;
}

void raft_lead_flush(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	advance_commit(r);
	raft_read_flush(r, up);
	for (unsigned i = 0; i < r->config.n; i++)
		if (r->peers[i].id != r->options.id)
			raft_peer_send(r, &r->peers[i], up, ev->now_ms);
	transfer_ask(r, up);
}
