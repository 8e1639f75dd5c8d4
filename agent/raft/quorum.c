#include "agent/raft/quorum.h"

#include <assert.h>
#include <stddef.h>

bool raft_config_sound(const struct raft_config *config)
{
	unsigned voters = 0;

	if (config->n == 0 || config->n > RAFT_PEERS_MAX)
		return false;
	for (unsigned i = 0; i < config->n; i++) {
		const struct raft_member *m = &config->members[i];

		if (m->id == 0 || (m->role != RAFT_VOTER && m->role != RAFT_LEARNER))
			return false;
		for (unsigned j = 0; j < i; j++)
			if (config->members[j].id == m->id)
				return false;
		voters += m->role == RAFT_VOTER;
	}
	return voters > 0;
}

struct raft_peer *raft_peer_find(struct raft *r, raft_id id)
{
	for (unsigned i = 0; i < r->config.n; i++)
		if (r->peers[i].id == id)
			return &r->peers[i];
	return NULL;
}

bool raft_votes(const struct raft *r, raft_id id)
{
	for (unsigned i = 0; i < r->config.n; i++)
		if (r->config.members[i].id == id)
			return r->config.members[i].role == RAFT_VOTER;
	return false;
}

unsigned raft_voters(const struct raft *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->config.n; i++)
		n += r->config.members[i].role == RAFT_VOTER;
	return n;
}

/* `values` of all members; sorts the voters' and returns the one a majority has reached. */
static uint64_t majority(const struct raft *r, const uint64_t *values)
{
	uint64_t sorted[RAFT_PEERS_MAX]; /* highest first */
	unsigned n = 0;

	for (unsigned i = 0; i < r->config.n; i++) {
		unsigned at = n;

		if (r->config.members[i].role != RAFT_VOTER)
			continue;
		for (; at > 0 && sorted[at - 1] < values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
		n++;
	}
	assert(n > 0);
	return sorted[n / 2];
}

uint64_t raft_quorum_match(const struct raft *r)
{
	uint64_t values[RAFT_PEERS_MAX];

	for (unsigned i = 0; i < r->config.n; i++)
		values[i] = r->peers[i].id == r->options.id ? r->log.stable : r->peers[i].match;
	return majority(r, values);
}

uint64_t raft_quorum_round(const struct raft *r)
{
	uint64_t values[RAFT_PEERS_MAX];

	for (unsigned i = 0; i < r->config.n; i++)
		values[i] = r->peers[i].id == r->options.id ? r->round : r->peers[i].round;
	return majority(r, values);
}

uint64_t raft_quorum_heard_ms(const struct raft *r, uint64_t now_ms)
{
	uint64_t values[RAFT_PEERS_MAX];

	for (unsigned i = 0; i < r->config.n; i++)
		values[i] = r->peers[i].id == r->options.id ? now_ms : r->peers[i].heard_ms;
	return majority(r, values);
}

bool raft_quorum_granted(const struct raft *r)
{
	unsigned yes = 0;

	for (unsigned i = 0; i < r->config.n; i++)
		yes += r->config.members[i].role == RAFT_VOTER && r->peers[i].granted;
	return yes > raft_voters(r) / 2;
}

bool raft_quorum_refused(const struct raft *r)
{
	unsigned no = 0, voters = raft_voters(r);

	for (unsigned i = 0; i < r->config.n; i++)
		no += r->config.members[i].role == RAFT_VOTER && r->peers[i].answered &&
		      !r->peers[i].granted;
	return voters - no <= voters / 2;
}
