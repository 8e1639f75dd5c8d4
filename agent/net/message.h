/* Peers' messages on the wire (drover-protocol(7), "Peers").
 *
 * A frame carries one Raft message of one group; an append's entries follow its
 * head: for each its kind and size, then all payloads one after another, so
 * that sending needs no copy of them. Fields that a kind does not use are not
 * sent.
 */
#ifndef DROVER_AGENT_NET_MESSAGE_H
#define DROVER_AGENT_NET_MESSAGE_H

#include "agent/raft/raft.h"
#include "agent/wal/wal.h"
#include "common/wire.h"

enum peer_frame {
	PEER_RAFT = 1,
	PEER_TERMS_ASK = 2,  /* empty: what are your terms? */
	PEER_TERMS_TELL = 3, /* varint count, then the current term of each group from 0 */
};

#define MESSAGE_ENTRIES_MAX 4096

/* Appends everything but the payloads. */
void message_put(struct buf *b, uint32_t group, const struct raft_message *m,
		 const struct wal_entry *entries, size_t n);

struct message {
	uint32_t group;
	struct raft_message raft;
	struct wal_entry *entries; /* raft.count of them; NULL when none */
};

/* Takes a frame's body apart; payloads are copied into blobs. ERR_PROTOCOL, ERR_NOMEM. On success
 * the caller ends with message_done. */
int message_get(struct message *ret_message, struct slice body, struct err *e);
void message_done(struct message *m);

#endif
