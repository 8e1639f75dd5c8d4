/* A cluster's SQL client: what `drover sql`, `stress`, `check` and the console use.
 *
 * Knows the addresses of all nodes; finds each namespace's leader by asking and
 * by the hints in NOT_LEADER answers; sends writes and linearizable reads to
 * it, other reads where the caller wants. A request that failed in a way that
 * leaves it certainly undone, or that carries (client, sequence), is sent again,
 * to whoever leads now, until its deadline. When the deadline passes, or the
 * link breaks without a (client, sequence), after it was sent: UNKNOWN_OUTCOME;
 * when it was certainly never executed: the last failure, TIMEOUT or
 * UNREACHABLE. Requests that callers have waiting leave packed together.
 *
 * AUTO requests go to the leader too, unless a node is named. Where a resend is
 * safe, one try lasts at most a quarter of the deadline (1 to 5 s), so that a
 * node that hangs does not use it all up. Sent again after a pause: NOT_LEADER
 * without a usable hint, BUSY, NO_QUORUM, STALE, UNKNOWN_OUTCOME; at once:
 * NOT_LEADER with one, a lost link, UNREACHABLE while other nodes are left. All
 * other statuses are the outcome.
 *
 * A caller (struct caller) is one sequence of requests: it holds the client id,
 * the next sequence, and per group the newest index seen (session reads). One
 * request of a caller is under way at a time; use many callers for concurrency:
 * they are small.
 *
 * Threads: any for different callers. `done` comes on a hub's or NNG's thread,
 * never from inside client_start; it must not block, and may start the caller's
 * next request or free the caller.
 */
#ifndef DROVER_COMMON_CLIENT_H
#define DROVER_COMMON_CLIENT_H

#include "common/rpc.h"
#include "common/sql.h"

#define CLIENT_NODES_MAX 64

struct client;

struct client_node {
	uint32_t id;	     /* 0: not known */
	const char *address; /* RPC, "host:port" */
};

struct client_options {
	struct hub *hub; /* the caller's; outlives the client */
	const struct client_node *nodes;
	size_t nodes_n;
	uint32_t connections;  /* per node; 0: 1 */
	uint32_t timeout_ms;   /* a request's deadline unless it says otherwise; 0: 10000 */
	uint32_t retry_min_ms; /* back-off between tries, doubled up to retry_max_ms; 0: 5 */
	uint32_t retry_max_ms; /* 0: 200 */
};

int client_new(struct client **ret_client, const struct client_options *o, struct err *e);
/* Fails what is under way, waits for callbacks; not from one. */
void client_free(struct client *c);

struct caller;
int caller_new(struct caller **ret_caller, struct client *c, struct err *e); /* random client id */
void caller_free(struct caller *k); /* idle; also after client_free, before hub_free or not */
uint64_t caller_id(const struct caller *k);

struct client_statement {
	struct slice text;
	const struct value *params;
	uint32_t params_n;
};

struct client_request {
	const char *namespace; /* NULL: "main" */
	enum sql_mode mode;
	enum sql_level level;
	uint32_t flags;	     /* SQL_BRIEF */
	uint32_t timeout_ms; /* 0: the client's */
	uint32_t max_rows;
	uint32_t node;	  /* not 0: only this node id, no redirect (reads); a write still goes to
			     the leader */
	bool no_sequence; /* send once only: no (client, sequence), no retry once sent */
	const struct client_statement *statements;
	size_t statements_n;
};

/* *answer is valid during the call. answer->status is the outcome; for failures of the way (not
 * of SQL) message is the client's own text. */
typedef void client_done(void *ctx, const struct sql_answer *answer);

/* The request is encoded before this returns: nothing of it is kept. `done` is called exactly once
 * if this returns 0. ERR_BUSY: this caller has one under way. ERR_LIMIT: too large. */
int client_start(struct caller *k, const struct client_request *r, client_done *done, void *ctx,
		 struct err *e);

/* Blocking: *ret_answer points into *ret_body, which the caller inits and frees. Returns 0 when
 * an answer of status 0 came; else its status, with *e filled. */
int client_wait(struct caller *k, const struct client_request *r, struct buf *ret_body,
		struct sql_answer *ret_answer, struct err *e);

/* Control: one node's RPC (blocking), and which connection that is (for feeds). No redirects, no
 * resends. node_id 0: any node that is up. An id that was not given with the nodes is known once
 * that node has answered a hello; ERR_NOT_FOUND, NULL: no such node (yet). */
int client_rpc(struct client *c, uint32_t node_id, unsigned method, struct slice body,
	       uint32_t timeout_ms, struct buf *ret_body, struct err *e);
struct rpc_conn *client_conn(struct client *c, uint32_t node_id);

struct client_stats {
	uint64_t requests, resends, redirects, unknown, failed;
};
void client_stats(const struct client *c, struct client_stats *ret_stats);

#endif
