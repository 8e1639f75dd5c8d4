#include "agent/raft/read.h"

#include "agent/raft/outbox.h"
#include "agent/raft/persist.h"
#include "agent/raft/quorum.h"

#include <assert.h>

static void done(struct raft_update *up, uint64_t read_id, uint64_t index)
{
	assert(up->reads_n < RAFT_READS_MAX);
	up->reads[up->reads_n++] = (struct raft_read_done){.read_id = read_id, .index = index};
}

/* Follower: the newest id covers all reads that wait. */
static void ask_leader(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	r->read_retry_ms = ev->now_ms + r->options.heartbeat_ms;
	if (raft_persist_hard_durable(r))
		raft_outbox_add(r, up, RAFT_READ, r->leader)->round = r->read_seq;
}

void raft_read_begin(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	struct raft_read read = {.read_id = ev->read_id};

	if (r->leader == 0) {
		up->refused = RAFT_REFUSED_NOT_LEADER;
		return;
	}
	if (r->reads_n == RAFT_READS_MAX) {
		up->refused = RAFT_REFUSED_TOO_MANY;
		return;
	}
	if (r->role == RAFT_LEADER) {
		read.round = r->round + 1;
		read.index = raft_ready(r) ? r->commit : 0;
	} else {
		read.round = ++r->read_seq;
		ask_leader(r, ev, up);
	}
	r->reads[r->reads_n++] = read;
}

static void receive_read(struct raft *r, const struct raft_message *m, struct raft_update *up)
{
	struct raft_remote_read read = {.id = m->round, .round = r->round + 1};
	struct raft_peer *p = raft_peer_find(r, m->from);

	if (r->role != RAFT_LEADER) {
		/* It led this term and gave up: void is better than silence. */
		if (raft_persist_hard_durable(r))
			raft_outbox_add(r, up, RAFT_READ_REPLY, m->from)->round = m->round;
		return;
	}
	if (p->reading.id == m->round || p->reading_later.id == m->round)
		return; /* repeated */
	read.index = raft_ready(r) ? r->commit : 0;
	if (p->reading.id == 0 || p->reading.round == read.round)
		p->reading = read;
	else
		p->reading_later = read;
}

static void receive_reply(struct raft *r, const struct raft_message *m, struct raft_update *up)
{
	unsigned kept = 0;

	if (r->role == RAFT_LEADER || m->from != r->leader)
		return;
	if (m->round <= r->read_base || m->round > r->read_seq)
		return;
	for (unsigned i = 0; i < r->reads_n; i++) {
		if (r->reads[i].round <= m->round)
			done(up, r->reads[i].read_id, m->granted ? m->read_index : 0);
		else
			r->reads[kept++] = r->reads[i];
	}
	r->reads_n = kept;
}

void raft_read_receive(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (ev->message->kind == RAFT_READ)
		receive_read(r, ev->message, up);
	else
		receive_reply(r, ev->message, up);
}

void raft_read_void(struct raft *r, struct raft_update *up)
{
	for (unsigned i = 0; i < r->reads_n; i++)
		done(up, r->reads[i].read_id, 0);
	r->reads_n = 0;
}

/* A read waits for a round that has not begun. */
static bool round_wanted(const struct raft *r)
{
	for (unsigned i = 0; i < r->reads_n; i++)
		if (r->reads[i].round > r->round)
			return true;
	for (unsigned i = 0; i < r->config.n; i++) {
		const struct raft_peer *p = &r->peers[i];

		if (p->reading.round > r->round || p->reading_later.round > r->round)
			return true;
	}
	return false;
}

void raft_read_round(struct raft *r)
{
	bool for_reads = round_wanted(r);

	r->round++;
	if (for_reads)
		r->read_round = r->round;
	for (unsigned i = 0; i < r->config.n; i++)
		if (r->config.members[i].role == RAFT_VOTER)
			r->peers[i].heartbeat_due = true;
}

static void release_local(struct raft *r, uint64_t round, struct raft_update *up)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < r->reads_n; i++) {
		struct raft_read *read = &r->reads[i];

		if (read->round <= round)
			done(up, read->read_id, read->index ? read->index : r->commit);
		else
			r->reads[kept++] = *read;
	}
	r->reads_n = kept;
}

static void release_remote(struct raft *r, struct raft_peer *p, uint64_t round,
			   struct raft_update *up)
{
	while (p->reading.id != 0 && p->reading.round <= round) {
		struct raft_message *m = raft_outbox_add(r, up, RAFT_READ_REPLY, p->id);

		m->round = p->reading.id;
		m->read_index = p->reading.index ? p->reading.index : r->commit;
		m->granted = true;
		p->reading = p->reading_later;
		p->reading_later = (struct raft_remote_read){0};
	}
}

void raft_read_flush(struct raft *r, struct raft_update *up)
{
	uint64_t confirmed = raft_quorum_round(r);

	if (round_wanted(r) && confirmed >= r->read_round) {
		raft_read_round(r);
		confirmed = raft_quorum_round(r);
	}
	if (!raft_ready(r))
		return;
	release_local(r, confirmed, up);
	for (unsigned i = 0; i < r->config.n; i++)
		release_remote(r, &r->peers[i], confirmed, up);
}

void raft_read_tick(struct raft *r, const struct raft_event *ev, struct raft_update *up)
{
	if (ev->now_ms >= raft_read_deadline_ms(r))
		ask_leader(r, ev, up);
}

uint64_t raft_read_deadline_ms(const struct raft *r)
{
	return r->reads_n > 0 && r->role == RAFT_FOLLOWER ? r->read_retry_ms : UINT64_MAX;
}
