#include "common/client/impl.h"

#include <string.h>

/* From `start` on the first node whose connection is up; without one, `start` itself. */
static unsigned pick_up(struct client *c, unsigned start, unsigned slot)
{
	for (unsigned i = 0; i < c->nodes_n; i++) {
		unsigned at = (start + i) % c->nodes_n;
		struct rpc_conn *own = atomic_load(&c->nodes[at].conns[slot]);
		if (rpc_conn_is_up(own ? own : atomic_load(&c->nodes[at].conns[0])))
			return at;
	}
	return start % c->nodes_n;
}

unsigned route_pick(struct caller *k)
{
	struct client *c = k->client;

	if (k->pinned)
		return k->target;
	if (k->wants_leader) {
		int leader = atomic_load(&k->space->leader);
		if (leader >= 0)
			return (unsigned)leader;
	}
	return pick_up(c, k->home + k->turn, k->slot);
}

int route_hint(struct client *c, const struct sql_answer *a)
{
	for (unsigned i = 0; a->leader_rpc.n && i < c->nodes_n; i++) {
		if (slice_eq(slice_str(c->nodes[i].address), a->leader_rpc))
			return (int)i;
	}
	return client_node_by_id(c, a->leader_id);
}

void route_forget(struct caller *k)
{
	int expected = (int)k->target;

	atomic_compare_exchange_strong(&k->space->leader, &expected, -1);
	k->turn++;
}
