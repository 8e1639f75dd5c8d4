#include "tests/unit/raft_lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct raft_config make_config(unsigned voters, unsigned learners)
{
	struct raft_config config = {.n = voters + learners};

	for (unsigned i = 0; i < config.n; i++)
		config.members[i] = (struct raft_member){
			.id = i + 1,
			.role = i < voters ? RAFT_VOTER : RAFT_LEARNER,
		};
	return config;
}

static void start(struct lone *l, const struct raft_restore *from)
{
	if (l->options.id == 0)
		l->options = (struct raft_options){
			.id = 1,
			.heartbeat_ms = 50,
			.election_min_ms = 300,
			.inflight_messages = 4,
			.inflight_bytes = 1000,
			.append_entries_max = 100,
		};
	l->now_ms = 1000;
	assert_true(raft_init(&l->r, &l->options, from, l->runs, LONE_RUNS_MAX));
	lone_wait(l, 0);
}

void lone_start(struct lone *l, unsigned voters, unsigned learners)
{
	struct raft_restore from = {.config = make_config(voters, learners)};

	memset(l, 0, sizeof(*l));
	start(l, &from);
}

void lone_start_with(struct lone *l, unsigned voters, uint64_t term, raft_id vote,
		     const struct raft_run *runs, size_t runs_n, uint64_t last, uint64_t applied)
{
	struct raft_restore from = {
		.config = make_config(voters, 0),
		.hard = {.term = term, .vote = vote},
		.runs = runs,
		.runs_n = runs_n,
		.last_index = last,
		.applied = applied,
	};

	memset(l, 0, sizeof(*l));
	start(l, &from);
}

void lone_step(struct lone *l, struct raft_event ev)
{
	ev.now_ms = l->now_ms;
	ev.random = l->random;
	raft_step(&l->r, &ev, &l->up);
}

void lone_wait(struct lone *l, uint64_t ms)
{
	l->now_ms += ms;
	lone_step(l, (struct raft_event){.kind = RAFT_EV_TICK});
}

void lone_persist(struct lone *l)
{
	lone_step(l, (struct raft_event){
			     .kind = RAFT_EV_PERSISTED,
			     .persist_id = l->r.persist_id,
		     });
}

void lone_propose(struct lone *l, uint32_t count)
{
	lone_step(l, (struct raft_event){
			     .kind = RAFT_EV_PROPOSE,
			     .entry_kind = RAFT_ENTRY_DATA,
			     .count = count,
		     });
}

void lone_read(struct lone *l, uint64_t read_id)
{
	lone_step(l, (struct raft_event){.kind = RAFT_EV_READ, .read_id = read_id});
}

void lone_unreachable(struct lone *l, raft_id peer)
{
	lone_step(l, (struct raft_event){.kind = RAFT_EV_UNREACHABLE, .peer = peer});
}

void lone_sent_only(struct lone *l, raft_id peer, uint32_t count)
{
	const struct raft_peer *p = &l->r.peers[peer - 1];

	assert_true(p->sent_awaited);
	lone_step(l, (struct raft_event){
			     .kind = RAFT_EV_SENT,
			     .peer = peer,
			     .index = p->sent_prev,
			     .count = count,
			     .size_bytes = count * 10,
		     });
}

void lone_sent(struct lone *l, raft_id peer)
{
	lone_sent_only(l, peer, l->r.peers[peer - 1].sent_count);
}

void lone_receive_message(struct lone *l, struct raft_message m)
{
	m.to = l->options.id;
	lone_step(l, (struct raft_event){.kind = RAFT_EV_RECEIVE, .message = &m});
}

void lone_accept(struct lone *l, raft_id from, uint64_t index, uint64_t round)
{
	lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = from, .term = raft_term(&l->r),
		     .granted = true, .match = index, .prev_index = index, .round = round);
}

void lone_append(struct lone *l, raft_id from, uint64_t term, uint64_t prev_index,
		 uint64_t prev_term, uint32_t count, uint64_t entries_term, uint64_t commit)
{
	struct raft_message m = {
		.kind = RAFT_APPEND,
		.from = from,
		.term = term,
		.prev_index = prev_index,
		.prev_term = prev_term,
		.count = count,
		.commit = commit,
		.round = 1,
	};

	if (count > 0) {
		m.runs_n = 1;
		m.runs[0] = (struct raft_run){.first = prev_index + 1, .term = entries_term};
	}
	lone_receive_message(l, m);
}

void lone_win(struct lone *l)
{
	lone_wait(l, 300);
	for (unsigned i = 1; i < l->r.config.n && l->r.role == RAFT_PRE_CANDIDATE; i++)
		lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = i + 1,
			     .term = raft_term(&l->r) + 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_CANDIDATE);
	lone_persist(l);
	for (unsigned i = 1; i < l->r.config.n && l->r.role == RAFT_CANDIDATE; i++)
		lone_receive(l, .kind = RAFT_VOTE_REPLY, .from = i + 1, .term = raft_term(&l->r),
			     .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_LEADER);
}

void lone_lead(struct lone *l)
{
	lone_win(l);
	lone_persist(l);
	for (unsigned i = 1; i < l->r.config.n; i++)
		lone_sent(l, i + 1);
	for (unsigned i = 1; i < l->r.config.n; i++)
		lone_accept(l, i + 1, raft_last_index(&l->r), 0);
	assert_int_equal(raft_commit(&l->r), raft_last_index(&l->r));
}

const struct raft_message *lone_to_nth(const struct lone *l, enum raft_message_kind kind,
				       raft_id to, unsigned n)
{
	for (unsigned i = 0; i < l->up.messages_n; i++) {
		const struct raft_message *m = &l->up.messages[i];

		if (m->kind == kind && m->to == to && n-- == 0)
			return m;
	}
	return NULL;
}

const struct raft_message *lone_to(const struct lone *l, enum raft_message_kind kind, raft_id to)
{
	return lone_to_nth(l, kind, to, 0);
}

unsigned lone_count(const struct lone *l, enum raft_message_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->up.messages_n; i++)
		n += l->up.messages[i].kind == kind;
	return n;
}
