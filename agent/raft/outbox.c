#include "agent/raft/outbox.h"

#include <assert.h>

_Static_assert((RAFT_PEERS_MAX - 1) * 5 <= RAFT_MESSAGES_MAX, "outbox.h counts five to a peer");

struct raft_message *raft_outbox_add(const struct raft *r, struct raft_update *up,
				     enum raft_message_kind kind, raft_id to)
{
	struct raft_message *m;

	assert(up->messages_n < RAFT_MESSAGES_MAX);
	assert(to != 0 && to != r->options.id);
	m = &up->messages[up->messages_n++];
	*m = (struct raft_message){
		.kind = kind,
		.from = r->options.id,
		.to = to,
		.term = r->hard.term,
	};
	return m;
}
