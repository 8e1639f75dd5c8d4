#include "agent/raft/peer.h"

#include "agent/raft/outbox.h"
#include "agent/raft/runs.h"

#include <assert.h>

static void window_clear(struct raft_peer *p)
{
	p->inflight_head = 0;
	p->inflight_n = 0;
	p->inflight_bytes = 0;
}

static bool window_full(const struct raft *r, const struct raft_peer *p)
{
	return p->inflight_n >= r->options.inflight_messages ||
	       (p->inflight_n > 0 && p->inflight_bytes >= r->options.inflight_bytes);
}

static void window_add(struct raft_peer *p, uint64_t last, uint64_t size_bytes)
{
	unsigned at = (p->inflight_head + p->inflight_n) % RAFT_INFLIGHT_MAX;

	assert(p->inflight_n < RAFT_INFLIGHT_MAX);
	p->inflight[at] = (struct raft_inflight){.last = last, .size_bytes = size_bytes};
	p->inflight_n++;
	p->inflight_bytes += size_bytes;
}

static void window_free(struct raft_peer *p)
{
	while (p->inflight_n > 0 && p->inflight[p->inflight_head].last <= p->match) {
		p->inflight_bytes -= p->inflight[p->inflight_head].size_bytes;
		p->inflight_head = (p->inflight_head + 1) % RAFT_INFLIGHT_MAX;
		p->inflight_n--;
	}
}

/* Back to probing, from entry `next` on. */
static void probe(struct raft_peer *p, uint64_t next, bool paused)
{
	assert(next > p->match);
	p->state = RAFT_PEER_PROBE;
	p->next = next;
	p->paused = paused;
	p->sent_void = p->sent_awaited;
	window_clear(p);
}

void raft_peer_begin(const struct raft *r, struct raft_peer *p, uint64_t now_ms)
{
	p->match = 0;
	p->match_round = 0;
	p->round = 0;
	p->heard_ms = now_ms;
	p->progress_ms = now_ms;
	p->commit_told = 0;
	p->heartbeat_due = false;
	p->reading = (struct raft_remote_read){0};
	p->reading_later = (struct raft_remote_read){0};
	probe(p, r->log.last + 1, false);
}

static void accepted(struct raft_peer *p, const struct raft_message *m, uint64_t round,
		     uint64_t now_ms)
{
	if (m->match > p->match) {
		p->match = m->match;
		p->match_round = round;
		p->progress_ms = now_ms;
		window_free(p);
	}
	/* An acceptance of less than what is being tried is an old one. */
	if (p->state == RAFT_PEER_PROBE && m->prev_index + 1 < p->next)
		return;
	if (p->state != RAFT_PEER_PIPELINE) {
		p->state = RAFT_PEER_PIPELINE;
		p->next = m->prev_index + 1;
		p->paused = false;
		p->progress_ms = now_ms;
	}
	if (p->next <= m->prev_index)
		p->next = m->prev_index + 1;
}

/* 3.5, last paragraphs: skip whole terms where the logs must differ. Everything above the floor
 * has, in one of the two logs, a term that the other cannot have there. */
static void refused(const struct raft *r, struct raft_peer *p, const struct raft_message *m)
{
	uint64_t next = raft_runs_floor(&r->log, m->hint_index, m->hint_term) + 1;

	if (m->prev_index <= p->match) {
		if (m->round <= p->match_round)
			return; /* an old one */
		p->match = 0;	/* its disk is gone */
	} else if (p->state == RAFT_PEER_SNAPSHOT || m->prev_index >= p->next) {
		return;
	} else if (p->state == RAFT_PEER_PROBE && m->prev_index + 1 != p->next) {
		return;
	}
	if (next <= p->match)
		next = p->match + 1;
	probe(p, next, false);
}

void raft_peer_reply(const struct raft *r, struct raft_peer *p, const struct raft_message *m,
		     uint64_t now_ms)
{
	if (m->round > r->round || m->prev_index > r->log.last)
		return;
	if (m->granted ? m->match > m->prev_index : m->hint_index >= m->prev_index)
		return;
	p->heard_ms = now_ms;
	if (m->round > p->round)
		p->round = m->round;
	if (m->granted)
		accepted(p, m, r->round, now_ms);
	else
		refused(r, p, m);
}

void raft_peer_sent(const struct raft *r, struct raft_peer *p, const struct raft_event *ev)
{
	uint64_t last = ev->index + ev->count;
	bool is_void = p->sent_void;

	assert(p->sent_awaited && ev->index == p->sent_prev && ev->count <= p->sent_count);
	p->sent_awaited = false;
	p->sent_void = false;
	if (is_void || r->role != RAFT_LEADER)
		return;
	if (ev->count == 0) {
		raft_peer_unreachable(p);
		return;
	}
	/* The answer may have come before the event. */
	if (p->state != RAFT_PEER_PIPELINE || last <= p->match)
		return;
	if (p->next == p->match + 1)
		p->progress_ms = ev->now_ms;
	window_add(p, last, ev->size_bytes);
	if (p->next <= last)
		p->next = last + 1;
}

void raft_peer_unreachable(struct raft_peer *p)
{
	if (p->state == RAFT_PEER_SNAPSHOT)
		return;
	probe(p, p->next, true);
}

static struct raft_message *add_append(const struct raft *r, struct raft_peer *p,
				       struct raft_update *up, uint64_t prev)
{
	struct raft_message *m = raft_outbox_add(r, up, RAFT_APPEND, p->id);

	/* Every log holds the empty prefix: with that a heartbeat is always accepted. */
	if (raft_runs_term(&r->log, prev, &m->prev_term))
		m->prev_index = prev;
	m->commit = r->commit;
	p->commit_told = r->commit;
	return m;
}

/* Not about next - 1 as a rule: it may overtake the appends before it. */
static uint64_t heartbeat_prev(const struct raft *r, const struct raft_peer *p, uint64_t now_ms)
{
	if (p->state == RAFT_PEER_SNAPSHOT)
		return 0;
	if (p->state == RAFT_PEER_PROBE)
		return p->next - 1;
	/* Also what it said it had is asked about: a crash may have taken it before the sync. */
	if (p->next > p->match + 1 && now_ms >= p->progress_ms + r->options.election_min_ms / 2)
		return p->next - 1;
	return p->match;
}

static void send_entries(const struct raft *r, struct raft_peer *p, struct raft_update *up)
{
	uint64_t left = r->log.last + 1 - p->next;
	struct raft_message *m;
	uint64_t prev_term;

	if (!raft_runs_holds(&r->log, p->next) ||
	    !raft_runs_term(&r->log, p->next - 1, &prev_term)) {
		p->state = RAFT_PEER_SNAPSHOT;
		window_clear(p);
		return;
	}
	if (left > r->options.append_entries_max)
		left = r->options.append_entries_max;
	m = add_append(r, p, up, p->next - 1);
	m->round = r->round;
	raft_runs_describe(&r->log, (uint32_t)left, m);
	p->paused = p->state == RAFT_PEER_PROBE;
	p->sent_awaited = true;
	p->sent_void = false;
	p->sent_prev = m->prev_index;
	p->sent_count = m->count;
}

static bool may_send_entries(const struct raft *r, const struct raft_peer *p)
{
	if (p->sent_awaited || p->next > r->log.last)
		return false;
	if (p->state == RAFT_PEER_PROBE)
		return !p->paused;
	return p->state == RAFT_PEER_PIPELINE && !window_full(r, p);
}

void raft_peer_send(const struct raft *r, struct raft_peer *p, struct raft_update *up,
		    uint64_t now_ms)
{
	if (p->heartbeat_due) {
		p->heartbeat_due = false;
		add_append(r, p, up, heartbeat_prev(r, p, now_ms))->round = r->round;
	}
	if (may_send_entries(r, p))
		send_entries(r, p, up);
	if (p->state == RAFT_PEER_PIPELINE && p->match == r->log.last && p->commit_told < r->commit)
		add_append(r, p, up, p->match); /* round 0: no answer is needed */
}
