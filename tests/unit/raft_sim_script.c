#include "tests/unit/raft_sim_state.h"

#include <string.h>

static void tell_unreachable(struct sim *s, unsigned node, unsigned peer)
{
	if (!sim_chance(s, s->weather.lose_link_news))
		sim_schedule(s, SIM_UNREACHABLE, node, sim_below(s, 5000))->peer = (uint8_t)peer;
}

static void set_cut(struct sim *s, unsigned from, unsigned to, bool cut)
{
	if (cut && !s->cut[from][to]) {
		tell_unreachable(s, from, to);
		tell_unreachable(s, to, from);
	}
	s->cut[from][to] = cut;
}

static void crash(struct sim *s, unsigned i)
{
	if (!s->nodes[i].up)
		return;
	sim_node_crash(s, &s->nodes[i]);
	for (unsigned j = 0; j < s->nodes_n; j++)
		if (j != i && s->nodes[j].up)
			tell_unreachable(s, j, i);
	sim_schedule(s, SIM_RESTART, i, 1000 + sim_below(s, sim_chance(s, 700) ? 20000 : 1500000));
}

void sim_heal_network(struct sim *s)
{
	memset(s->cut, 0, sizeof(s->cut));
}

/* Anybody, but a leader more often. */
static unsigned victim(struct sim *s)
{
	unsigned i = (unsigned)sim_below(s, s->nodes_n);

	for (unsigned j = 0; j < s->nodes_n && sim_chance(s, 500); j++)
		if (s->nodes[j].up && raft_role(&s->nodes[j].raft) == RAFT_LEADER)
			i = j;
	return i;
}

static void chaos_network(struct sim *s)
{
	unsigned side = (unsigned)sim_below(s, 1u << s->nodes_n);
	unsigned a = victim(s), b = (unsigned)sim_below(s, s->nodes_n);

	switch (sim_below(s, 5)) {
	case 0: /* in two */
		for (unsigned i = 0; i < s->nodes_n; i++)
			for (unsigned j = 0; j < s->nodes_n; j++)
				if (i != j)
					set_cut(s, i, j, ((side >> i) & 1) != ((side >> j) & 1));
		break;
	case 1: /* one alone */
		for (unsigned j = 0; j < s->nodes_n; j++) {
			if (j == a)
				continue;
			set_cut(s, a, j, true);
			set_cut(s, j, a, true);
		}
		break;
	case 2: /* one way only */
		if (a != b)
			set_cut(s, a, b, true);
		break;
	default:
		sim_heal_network(s);
	}
}

void sim_chaos(struct sim *s)
{
	unsigned i = victim(s);
	struct sim_node *n = &s->nodes[i];

	if (sim_chance(s, s->weather.crash))
		crash(s, i);
	switch (sim_below(s, 8)) {
	case 0: /* the power is cut, for some */
		for (unsigned j = 0; j < s->nodes_n && sim_chance(s, s->weather.crash); j++)
			if (sim_chance(s, 500))
				crash(s, j);
		break;
	case 1: /* a stopped process; its timers come late, its messages wait */
		n->still_until_us = s->now_us + sim_below(s, 1000000);
		break;
	case 2: /* news of a broken link that is not */
		if (n->up)
			sim_schedule(s, SIM_UNREACHABLE, i, 0)->peer =
				(uint8_t)sim_below(s, s->nodes_n);
		break;
	case 3:
		if (n->up && raft_role(&n->raft) == RAFT_LEADER) {
			struct raft_event ev = {.kind = RAFT_EV_TRANSFER};

			ev.peer = (raft_id)sim_below(s, s->nodes_n + 1);
			if (sim_node_step(s, n, &ev, NULL) == RAFT_REFUSED_NOT)
				s->report->transfers++;
		}
		break;
	default:
		chaos_network(s);
	}
	sim_schedule(s, SIM_CHAOS, 0, sim_below(s, 2 * s->weather.chaos_us));
}

bool sim_propose(struct sim *s, struct sim_node *n, uint32_t count)
{
	uint64_t values[SIM_APPEND_MAX];
	struct raft_event ev = {
		.kind = RAFT_EV_PROPOSE,
		.count = count,
		.entry_kind = RAFT_ENTRY_DATA,
	};

	if (n->last + count + 100 > SIM_LOG_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++)
		values[i] = ++s->values;
	return sim_node_step(s, n, &ev, values) == RAFT_REFUSED_NOT;
}

void sim_read(struct sim *s, struct sim_node *n)
{
	struct raft_event ev = {.kind = RAFT_EV_READ, .read_id = ++s->read_ids};
	struct sim_read *read = &s->reads[ev.read_id % SIM_READS_MAX];

	if (read->id != 0)
		return;
	*read = (struct sim_read){ev.read_id, sim_position(s, n->id), s->now_us, s->commit};
	if (sim_node_step(s, n, &ev, NULL) != RAFT_REFUSED_NOT)
		read->id = 0;
}

void sim_client(struct sim *s)
{
	struct sim_node *n = &s->nodes[sim_below(s, s->nodes_n)];

	/* Whoever believes to lead is asked, the deposed too. */
	for (unsigned i = 0; i < s->nodes_n; i++) {
		struct sim_node *l = &s->nodes[i];

		if (l->up && s->now_us >= l->still_until_us && raft_role(&l->raft) == RAFT_LEADER)
			sim_propose(s, l, 1 + (uint32_t)sim_below(s, sim_chance(s, 900) ? 3 : 20));
	}
	if (n->up && s->now_us >= n->still_until_us && sim_chance(s, 500))
		sim_read(s, n);
	if (!s->healed)
		sim_schedule(s, SIM_CLIENT, 0, sim_below(s, 2 * s->weather.client_us));
}
