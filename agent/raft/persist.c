#include "agent/raft/persist.h"

#include <assert.h>

static struct raft_persist *record_at(struct raft *r, unsigned i)
{
	return &r->persist[(r->persist_head + i) % RAFT_PERSIST_MAX];
}

uint64_t raft_persist_next(struct raft *r)
{
	struct raft_persist record = {.id = ++r->persist_id, .last = r->log.last};

	if (r->persist_n == RAFT_PERSIST_MAX)
		r->persist_n--;
	*record_at(r, r->persist_n++) = record;
	return record.id;
}

void raft_persist_cut(struct raft *r)
{
	for (unsigned i = 0; i < r->persist_n; i++) {
		struct raft_persist *record = record_at(r, i);

		if (record->last > r->log.last)
			record->last = r->log.last;
	}
}

bool raft_persist_done(struct raft *r, uint64_t id)
{
	bool was_durable = raft_persist_hard_durable(r);

	assert(id <= r->persist_id);
	while (r->persist_n > 0 && record_at(r, 0)->id <= id) {
		if (record_at(r, 0)->last > r->log.stable)
			r->log.stable = record_at(r, 0)->last;
		r->persist_head = (r->persist_head + 1) % RAFT_PERSIST_MAX;
		r->persist_n--;
	}
	if (id >= r->hard_persist_id)
		r->hard_durable = r->hard;
	return !was_durable && raft_persist_hard_durable(r);
}

bool raft_persist_hard_durable(const struct raft *r)
{
	return r->hard_durable.term == r->hard.term && r->hard_durable.vote == r->hard.vote;
}
