#include "agent/raft/election.h"

#include "agent/raft/lead.h"
#include "agent/raft/outbox.h"
#include "agent/raft/persist.h"
#include "agent/raft/quorum.h"
#include "agent/raft/read.h"
#include "agent/raft/runs.h"

#include <assert.h>

void raft_election_rewind(struct raft *r, const struct raft_event *ev)
{
	r->election_ms =
		ev->now_ms + r->options.election_min_ms + ev->random % r->options.election_min_ms;
}

void raft_election_new_term(struct raft *r, const struct raft_event *ev, struct raft_update *up,
			    uint64_t term, raft_id vote)
{
	assert(term > r->hard.term);
	if (r->role != RAFT_FOLLOWER)
		raft_election_step_down(r, ev, up);
	raft_read_void(r, up);
	r->hard.term = term;
	r->hard.vote = vote;
	r->leader = 0;
	/* What is committed here is in the log of every later leader (3.6.3). */
	r->following = (struct raft_following){.verified = r->commit};
	for (unsigned i = 0; i < r->config.n; i++)
		r->peers[i].vote_owed = false;
}

void raft_election_step_down(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (r->role == RAFT_LEADER) {
		raft_read_void(r, up);
		raft_lead_end(r);
		raft_election_rewind(r, ev);
		r->leader = 0;
	}
	r->role = RAFT_FOLLOWER;
}

static void campaign_ask(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	bool pre = r->role == RAFT_PRE_CANDIDATE;

	for (unsigned i = 0; i < r->config.n; i++) {
		const struct raft_peer *p = &r->peers[i];
		struct raft_message *m;

		if (p->id == r->options.id || p->answered || !raft_votes(r, p->id))
			continue;
		m = raft_outbox_add(r, up, pre ? RAFT_PRE_VOTE : RAFT_VOTE, p->id);
		m->term = r->hard.term + pre;
		m->prev_index = r->log.last;
		m->prev_term = raft_runs_last_term(&r->log);
		m->transfer = r->campaign_transfer;
	}
	r->resend_ms = ev->now_ms + r->options.heartbeat_ms;
}

static void campaign_begin(struct raft *r, const struct raft_event *ev, enum raft_role role)
{
	for (unsigned i = 0; i < r->config.n; i++) {
		r->peers[i].answered = false;
		r->peers[i].granted = false;
	}
	r->role = role;
	r->leader = 0;
	r->campaign_asked = false;
	raft_election_rewind(r, ev);
}

/* 3.4: a new term and the own vote, which must be durable before anybody is asked for theirs. */
static void campaign_vote(struct raft *r, const struct raft_event *ev, struct raft_update *up,
			  bool transfer)
{
	raft_election_new_term(r, ev, up, r->hard.term + 1, r->options.id);
	campaign_begin(r, ev, RAFT_CANDIDATE);
	r->campaign_transfer = transfer;
	r->resend_ms = UINT64_MAX;
}

static void campaign_won(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (r->role == RAFT_PRE_CANDIDATE)
		campaign_vote(r, ev, up, false);
	else
		raft_lead_begin(r, ev, up);
}

/* 9.6: first ask whether a campaign could be won. */
static void campaign_pre_vote(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	raft_read_void(r, up);
	campaign_begin(r, ev, RAFT_PRE_CANDIDATE);
	r->campaign_transfer = false;
	raft_peer_find(r, r->options.id)->granted = true;
	if (raft_quorum_granted(r))
		campaign_won(r, ev, up);
	else
		campaign_ask(r, ev, up);
}

static bool may_campaign(const struct raft *r)
{
	return raft_votes(r, r->options.id) && !r->abstain && !r->retired;
}

void raft_election_tick(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (!may_campaign(r))
		return;
	if (ev->now_ms >= r->election_ms)
		campaign_pre_vote(r, ev, up);
	else if (r->role != RAFT_FOLLOWER && ev->now_ms >= r->resend_ms)
		campaign_ask(r, ev, up);
}

void raft_election_transfer(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (may_campaign(r))
		campaign_vote(r, ev, up, true);
}

void raft_election_durable(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	for (unsigned i = 0; i < r->config.n; i++) {
		struct raft_peer *p = &r->peers[i];

		if (!p->vote_owed)
			continue;
		p->vote_owed = false;
		raft_outbox_add(r, up, RAFT_VOTE_REPLY, p->id)->granted = r->hard.vote == p->id;
	}
	if (r->role != RAFT_CANDIDATE || r->campaign_asked)
		return;
	r->campaign_asked = true;
	raft_peer_find(r, r->options.id)->granted = true;
	if (raft_quorum_granted(r))
		campaign_won(r, ev, up);
	else
		campaign_ask(r, ev, up);
}

void raft_election_link_down(struct raft *r, const struct raft_event *ev, raft_id peer)
{
	uint64_t soon_ms;

	if (r->role != RAFT_FOLLOWER || peer != r->leader)
		return;
	/* Most likely the leader's process died. Pre-vote makes it harmless when only this link
	 * did: the others, who still hear it, say no. */
	r->following.link_down = true;
	soon_ms = ev->now_ms + r->options.heartbeat_ms +
		  ev->random % (r->options.election_min_ms - r->options.heartbeat_ms);
	if (soon_ms < r->election_ms)
		r->election_ms = soon_ms;
}

/* 4.2.3, 9.6: does a leader live, as far as this node can tell? */
static bool leader_lives(const struct raft *r, uint64_t now_ms)
{
	if (r->role == RAFT_LEADER)
		return true;
	return r->leader != 0 && !r->following.link_down &&
	       now_ms < r->following.heard_ms + r->options.election_min_ms;
}

/* 3.6.1: a vote only for a log that is at least as complete as ours. */
static bool up_to_date(const struct raft *r, const struct raft_message *m)
{
	uint64_t last_term = raft_runs_last_term(&r->log);

	if (m->prev_term != last_term)
		return m->prev_term > last_term;
	return m->prev_index >= r->log.last;
}

static void receive_pre_vote(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	const struct raft_message *m = ev->message;
	struct raft_message *reply;
	bool grant = !r->abstain && m->term > r->hard.term && up_to_date(r, m) &&
		     (m->transfer || !leader_lives(r, ev->now_ms));

	if (!grant && !raft_persist_hard_durable(r))
		return;
	reply = raft_outbox_add(r, up, RAFT_PRE_VOTE_REPLY, m->from);
	reply->granted = grant;
	if (grant)
		reply->term = m->term;
}

static void receive_vote(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	const struct raft_message *m = ev->message;

	if (m->term > r->hard.term) {
		if (!m->transfer && leader_lives(r, ev->now_ms))
			return;
		raft_election_new_term(r, ev, up, m->term, 0);
	}
	if (!r->abstain && m->term == r->hard.term && r->hard.vote == 0 && r->leader == 0 &&
	    up_to_date(r, m)) {
		raft_election_step_down(r, ev, up);
		r->hard.vote = m->from;
		raft_election_rewind(r, ev);
	}
	if (!raft_persist_hard_durable(r)) {
		if (m->term == r->hard.term)
			raft_peer_find(r, m->from)->vote_owed = true;
		return;
	}
	raft_outbox_add(r, up, RAFT_VOTE_REPLY, m->from)->granted =
		m->term == r->hard.term && r->hard.vote == m->from;
}

/* An answer to the campaign under way. */
static void receive_answer(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	struct raft_peer *p = raft_peer_find(r, ev->message->from);

	p->answered = true;
	p->granted = p->granted || ev->message->granted;
	if (raft_quorum_granted(r))
		campaign_won(r, ev, up);
	else if (raft_quorum_refused(r))
		raft_election_step_down(r, ev, up);
}

void raft_election_receive(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	const struct raft_message *m = ev->message;

	switch (m->kind) {
	case RAFT_PRE_VOTE:
		receive_pre_vote(r, ev, up);
		break;
	case RAFT_VOTE:
		receive_vote(r, ev, up);
		break;
	case RAFT_PRE_VOTE_REPLY:
		if (!m->granted && m->term > r->hard.term)
			raft_election_new_term(r, ev, up, m->term, 0);
		else if (r->role == RAFT_PRE_CANDIDATE &&
			 (!m->granted || m->term == r->hard.term + 1))
			receive_answer(r, ev, up);
		break;
	case RAFT_VOTE_REPLY:
		if (m->term > r->hard.term)
			raft_election_new_term(r, ev, up, m->term, 0);
		else if (r->role == RAFT_CANDIDATE && r->campaign_asked && m->term == r->hard.term)
			receive_answer(r, ev, up);
		break;
	default:
		assert(false);
	}
}

uint64_t raft_election_deadline_ms(const struct raft *r)
{
	if (r->role == RAFT_LEADER || !may_campaign(r))
		return UINT64_MAX;
	if (r->role == RAFT_FOLLOWER || r->election_ms < r->resend_ms)
		return r->election_ms;
	return r->resend_ms;
}
