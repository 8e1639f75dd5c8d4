/* The cluster client's inside, shared by the files of common/client.
 *
 * A request has one owner at a time: the thread in client_start, then whoever
 * rpc_start hands it to (the thread that calls `done`), or the timer thread
 * while it waits for its next try. The hand-over is by rpc_start or
 * hub_timer_set, so the fields of a caller's request need no lock; after either
 * the caller must not be touched. `done` of the user's is only ever called from
 * rpc's `done` or from the timer, never inside client_start.
 *
 * Locks: client.lock guards the lists, `active` and the making of connections;
 * no callback is called with it.
 */
#ifndef DROVER_COMMON_CLIENT_IMPL_H
#define DROVER_COMMON_CLIENT_IMPL_H

#include "common/client.h"
#include "common/link/impl.h"
#include "common/rpc/conn.h"

#define SPACE_BUCKETS 256
#define SPACES_MAX 65536
#define SEEN_MAX 256 /* groups a caller remembers an index of */

struct node {
	struct client *client;
	char address[LINK_ADDRESS_MAX];
	uint32_t _Atomic id; /* 0: not known; learned from its hello */
	struct rpc_conn *_Atomic
		*conns; /* client.connections of them; all but the first made when used */
};

/* What is known of a namespace. Never freed before the client. */
struct space {
	struct space *next;
	char name[SQL_NAMESPACE_MAX];
	atomic_int leader; /* index of a node, -1: not known */
	uint64_t _Atomic group;
	atomic_bool group_known;
};

struct client {
	struct hub *hub;
	struct node nodes[CLIENT_NODES_MAX];
	unsigned nodes_n;
	uint32_t connections, timeout_ms, retry_min_ms, retry_max_ms;
	atomic_bool freeing;
	uint64_t _Atomic requests, resends, redirects, unknown, failed;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct space *spaces[SPACE_BUCKETS];
	size_t spaces_n;
	struct caller *callers;
	unsigned callers_made;
	uint64_t active; /* requests under way */
};

struct seen {
	uint64_t group, index;
};

struct caller {
	struct client *client; /* NULL after client_free */
	struct caller *prev, *next;
	uint64_t id, sequence;
	unsigned slot; /* which of a node's connections */
	unsigned home; /* the node asked first when it does not matter */
	struct seen *seen;
	size_t seen_n;
	atomic_bool busy;

	/* the request under way */
	struct space *space;
	struct buf body;
	enum sql_mode mode;
	bool wants_leader;
	bool pinned; /* to `target` */
	bool resendable;
	bool maybe_done; /* an earlier try may have been executed */
	bool given_up;	 /* it only waits for the timer thread to say so */
	unsigned target; /* index of the node of this try */
	unsigned turn;	 /* counts nodes given up on, so that each try asks another */
	unsigned hops;	 /* tries since the last pause */
	uint32_t timeout_ms, backoff_ms;
	uint64_t deadline_us;
	int last_status; /* of the last failure */
	char last_text[ERR_TEXT_MAX];
	client_done *done;
	void *ctx;
	struct hub_timer retry;
};

/* client.c */
struct space *client_space(struct client *c, struct slice name); /* NULL: no memory, too many */
int client_node_by_id(struct client *c, uint32_t id);		 /* -1: none */
bool client_enter(struct client *c); /* counts a request; false: the client is being freed */
void client_leave(struct client *c);

/* route.c */
unsigned route_pick(struct caller *k); /* an index */
struct rpc_conn *route_conn(struct client *c, unsigned node, unsigned slot);
/* Who leads according to a NOT_LEADER answer; -1: not said, or not one of ours. */
int route_hint(struct client *c, const struct sql_answer *a);
void route_forget(struct caller *k); /* the target does not lead, or is gone */

/* request.c */
void request_retry(void *ctx); /* the timer's */
void request_try(struct caller *k);

#endif
