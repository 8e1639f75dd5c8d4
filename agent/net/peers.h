/* The links between this node and its peers.
 *
 * To every peer this node keeps two links that it dials itself and only sends
 * on: fast (everything small) and bulk (appends with entries), so that a
 * heartbeat never waits behind megabytes. It receives on the links that the
 * peers dial. While a link is down its frames are dropped: Raft bears loss.
 * Lost links are dialed again with back-off.
 *
 * All messages of all groups pass through peers_send() and the receiver given
 * here: the place of the fault filter.
 *
 * Threads: peers_send and peers_up: any. peers_tick: one. The receiver is
 * called on link threads and must only enqueue; so must `down`, called when the
 * links to a peer have gone.
 */
#ifndef DROVER_AGENT_NET_PEERS_H
#define DROVER_AGENT_NET_PEERS_H

#include "agent/net/message.h"
#include "common/conf.h"
#include "common/link.h"

struct peers;

struct peers_events {
	/* Owns the message from then on. */
	void (*receive)(void *ctx, struct message *take_message);
	/* A peer asks for this node's terms: the answer into *b as PEER_TERMS_TELL's body; false:
	 * this node cannot tell. */
	bool (*terms)(void *ctx, struct buf *b);
	void (*told)(void *ctx, uint32_t peer, struct slice terms);
	void (*down)(void *ctx, uint32_t peer);
	void *ctx;
};

/* Dials at the first peers_tick, listens on conf->peer from peers_listen on: callbacks may come
 * from then on. */
int peers_new(struct peers **ret_peers, struct hub *h, const struct agent_conf *conf,
	      const struct peers_events *ev, struct err *e);
int peers_listen(struct peers *p, struct err *e);
/* Stops dialing and listening; the hub's end closes the links. */
void peers_free(struct peers *p);

bool peers_send(struct peers *p, uint32_t group, const struct raft_message *m,
		const struct wal_entry *entries, size_t n);
void peers_ask_terms(struct peers *p);

/* Dials what is down and due; call about ten times a second. */
void peers_tick(struct peers *p, uint64_t now_ms);

/* Is the fast link to this peer up? */
bool peers_up(struct peers *p, uint32_t peer);

#endif
