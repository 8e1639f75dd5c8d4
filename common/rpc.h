/* Requests and answers over links, matched by id, many in flight.
 *
 * Server: a handler is called for each request on an NNG thread; it only
 * enqueues, and some thread answers later with rpc_reply. A request whose
 * deadline has passed before a worker gets to it is not worth executing: see
 * rpc_call_left_ms. When the link is gone the reply is dropped.
 *
 * Client: rpc_conn keeps one connection to one address, dials again with
 * back-off after it was lost, and fails what was in flight with ERR_CLOSED (the
 * outcome is then unknown to the caller) and what could not be sent with
 * ERR_UNREACHABLE (certainly not done). rpc_start is asynchronous; requests
 * started together leave in one write.
 *
 * Feeds: a server publishes items to topics; a client's subscription gets them
 * pushed, numbered per subscription so that a gap shows what was dropped when
 * its link was slow.
 *
 * Frames: RPC_REQUEST {u64 id, u16 method, u32 timeout_ms, body},
 * RPC_REPLY {u64 id, svarint status, body or text}, FEED_SUBSCRIBE, FEED_ITEM.
 */
#ifndef DROVER_COMMON_RPC_H
#define DROVER_COMMON_RPC_H

#include "common/link.h"

/* What an agent can be asked. Bodies: drover-protocol(7). "JSON" answers are UTF-8 JSON text. */
enum rpc_method {
	RPC_SQL = 1,	/* sql_request -> sql_answer (status travels inside the answer) */
	RPC_STATUS = 2, /* -> JSON, one element of `drover status -o json`'s nodes */
	RPC_WAL = 3,	/* varint group, from, n, max bytes, wait_ms -> entries (node/ documents) */
	RPC_MARK = 4,	/* varint group -> varint index: a MARK entry, committed */
	RPC_DIGEST = 5, /* varint group, index, wait_ms -> JSON {"namespaces":{"main":"hex"}} */
	RPC_TRANSFER = 6,   /* varint group, target (0: any) */
	RPC_STOP = 7,	    /* orderly end, as SIGTERM */
	RPC_NAMESPACES = 8, /* -> JSON [{"id":1,"name":"main","group":1}] */
	RPC_GROUPS = 9, /* -> JSON [{"group":0,"name":"meta","leader_id":1,"leader_rpc":"…"}] */
};

struct rpc_server;
struct rpc_call; /* one request being served */

typedef void rpc_handler(void *ctx, struct rpc_call *call);
/* Called after the last request of what one read brought; may be NULL. */
typedef void rpc_batch_end(void *ctx);

int rpc_server_new(struct rpc_server **ret_server, struct hub *h, const char *address,
		   rpc_handler *handler, rpc_batch_end *batch_end, void *ctx, struct err *e);
/* Calls still open may be replied to later: dropped. Waits for callbacks: not from one. */
void rpc_server_free(struct rpc_server *s);
uint16_t rpc_server_port(const struct rpc_server *s);

unsigned rpc_call_method(const struct rpc_call *c);
struct slice rpc_call_body(const struct rpc_call *c); /* valid until rpc_reply */
const struct link_identity *rpc_call_peer(const struct rpc_call *c);
int64_t rpc_call_left_ms(const struct rpc_call *c); /* <= 0: the caller has given up */
/* Answers and frees the call. status 0 with a body, or ERR_* with a text as body. Any thread; a
 * thread with many answers puts them between link_hold and link_release. An answer that does not
 * fit into the queue of a slow link becomes ERR_UNKNOWN_OUTCOME, one larger than a frame may be
 * ERR_LIMIT. */
void rpc_reply(struct rpc_call *c, int status, struct slice body);

/* Topics: "stats", "events", "log". Any thread; never blocks; no subscribers: nearly free. */
void rpc_publish(struct rpc_server *s, const char *topic, struct slice item);
bool rpc_has_subscribers(struct rpc_server *s, const char *topic);

struct rpc_conn;

/* A connection's state changes, for status displays; may be NULL. Called on hub threads, once for
 * each change, and once if the very first dial fails. */
typedef void rpc_conn_state(void *ctx, struct rpc_conn *c, bool up, const struct err *why);

int rpc_conn_new(struct rpc_conn **ret_conn, struct hub *h, const char *address,
		 const struct link_identity *expect, rpc_conn_state *state, void *ctx,
		 struct err *e);
void rpc_conn_free(
	struct rpc_conn *c); /* fails what is in flight with ERR_CLOSED, waits for callbacks */
bool rpc_conn_is_up(const struct rpc_conn *c);
const char *rpc_conn_address(const struct rpc_conn *c);
/* Who answers there, as its hello proved; false while no link was ever open. */
bool rpc_conn_peer(const struct rpc_conn *c, struct link_identity *ret_peer);
/* Dial now instead of at the end of the back-off (20 ms, doubled to 1 s, with jitter). */
void rpc_conn_nudge(struct rpc_conn *c);

/* status 0: body is the answer (valid during the call). Otherwise an ERR_* and body is its text.
 * ERR_UNREACHABLE, ERR_BUSY: certainly not sent. ERR_CLOSED, ERR_TIMEOUT: perhaps executed.
 * Called exactly once for each rpc_start that returned 0, on a hub or NNG thread; may start
 * further requests. */
typedef void rpc_done(void *ctx, int status, struct slice body);
/* While the connection is being made a request waits for it, within its timeout; if the dial fails,
 * it fails at once, and so do requests until the next dial: ERR_UNREACHABLE. timeout_ms 0: 10 s.
 * Requests that a callback starts leave together when it returns. */
int rpc_start(struct rpc_conn *c, unsigned method, const struct slice *parts, size_t n,
	      uint32_t timeout_ms, rpc_done *done, void *ctx, struct err *e);

/* The blocking form. *ret_body is appended to. Not to be called from callbacks. */
int rpc_wait(struct rpc_conn *c, unsigned method, struct slice body, uint32_t timeout_ms,
	     struct buf *ret_body, struct err *e);

/* `number` counts this subscription's items from 1, dropped ones included. Subscriptions are
 * renewed after a reconnection (numbers then start again). One per topic and connection. */
typedef void rpc_feed_item(void *ctx, const char *topic, uint64_t number, struct slice item);
int rpc_subscribe(struct rpc_conn *c, const char *topic, rpc_feed_item *item, void *ctx,
		  struct err *e);

#endif
