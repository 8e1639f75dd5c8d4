#include "common/client/impl.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_MS 10000
#define RETRY_MIN_MS 5
#define RETRY_MAX_MS 200
#define CONNECTIONS_MAX 1024
#define HASTEN_MS 10

/* Which node answers at an address is learned from its hello. */
static void on_state(void *ctx, struct rpc_conn *conn, bool up, const struct err *why)
{
	struct node *n = ctx;
	struct link_identity peer;

	(void)why;
	if (up && rpc_conn_peer(conn, &peer) && peer.kind == LINK_NODE)
		atomic_store(&n->id, peer.node_id);
}

static int conn_make(struct node *n, struct rpc_conn **ret_conn, struct err *e)
{
	struct link_identity expect = {.kind = LINK_NODE, .node_id = atomic_load(&n->id)};

	return rpc_conn_new(ret_conn, n->client->hub, n->address, expect.node_id ? &expect : NULL,
			    on_state, n, e);
}

struct rpc_conn *route_conn(struct client *c, unsigned node, unsigned slot)
{
	struct node *n = &c->nodes[node];
	struct rpc_conn *conn = atomic_load(&n->conns[slot]);

	if (conn)
		return conn;
	pthread_mutex_lock(&c->lock);
	conn = atomic_load(&n->conns[slot]);
	if (!conn && !atomic_load(&c->freeing) && conn_make(n, &conn, NULL) == 0)
		atomic_store(&n->conns[slot], conn);
	pthread_mutex_unlock(&c->lock);
	/* The first was made with the client. */
	return conn ? conn : atomic_load(&n->conns[0]);
}

static void conns_free(struct client *c)
{
	for (unsigned i = 0; i < c->nodes_n; i++) {
		for (unsigned k = 0; c->nodes[i].conns && k < c->connections; k++)
			rpc_conn_free(atomic_load(&c->nodes[i].conns[k]));
		free((void *)c->nodes[i].conns);
	}
}

static int nodes_init(struct client *c, const struct client_options *o, struct err *e)
{
	for (size_t i = 0; i < o->nodes_n; i++) {
		struct node *n = &c->nodes[i];
		struct rpc_conn *conn;
		n->client = c;
		atomic_init(&n->id, o->nodes[i].id);
		snprintf(n->address, sizeof n->address, "%s", o->nodes[i].address);
		n->conns = calloc(c->connections, sizeof *n->conns);
		c->nodes_n++;
		if (!n->conns)
			return err_set(e, ERR_NOMEM, "no memory for connections");
		int rc = conn_make(n, &conn, e);
		if (rc)
			return rc;
		atomic_store(&n->conns[0], conn);
	}
	return 0;
}

static void client_destroy(struct client *c)
{
	conns_free(c);
	for (unsigned i = 0; i < SPACE_BUCKETS; i++) {
		while (c->spaces[i]) {
			struct space *s = c->spaces[i];
			c->spaces[i] = s->next;
			free(s);
		}
	}
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int client_new(struct client **ret_client, const struct client_options *o, struct err *e)
{
	pthread_condattr_t attr;

	if (o->nodes_n == 0 || o->nodes_n > CLIENT_NODES_MAX)
		return err_set(e, ERR_INVALID, "a cluster has 1 to %d nodes, not %zu",
			       CLIENT_NODES_MAX, o->nodes_n);
	if (o->connections > CONNECTIONS_MAX)
		return err_set(e, ERR_INVALID, "at most %d connections to a node", CONNECTIONS_MAX);
	struct client *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for a client");
	c->hub = o->hub;
	c->connections = o->connections ? o->connections : 1;
	c->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
	c->retry_min_ms = o->retry_min_ms ? o->retry_min_ms : RETRY_MIN_MS;
	c->retry_max_ms = o->retry_max_ms ? o->retry_max_ms : RETRY_MAX_MS;
	if (c->retry_max_ms < c->retry_min_ms)
		c->retry_max_ms = c->retry_min_ms;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	int rc = nodes_init(c, o, e);
	if (rc) {
		client_destroy(c);
		return rc;
	}
	*ret_client = c;
	return 0;
}

/* Ends the pauses of requests that wait for their next try, until none is under way. */
static void wait_inactive(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->active > 0) {
		struct timespec until;
		for (struct caller *k = c->callers; k; k = k->next)
			hub_timer_hasten(&c->hub->timers, &k->retry);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += HASTEN_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		pthread_cond_timedwait(&c->changed, &c->lock, &until);
	}
	pthread_mutex_unlock(&c->lock);
}

void client_free(struct client *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->freeing, true);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->nodes_n; i++) {
		for (unsigned k = 0; k < c->connections; k++) {
			struct rpc_conn *conn = atomic_load(&c->nodes[i].conns[k]);
			if (conn)
				rpc_conn_stop(conn);
		}
	}
	wait_inactive(c);
	for (struct caller *k = c->callers; k; k = k->next) {
		hub_timer_done(&c->hub->timers, &k->retry);
		k->client = NULL;
	}
	client_destroy(c);
}

bool client_enter(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	bool ok = !atomic_load(&c->freeing);
	c->active += ok;
	pthread_mutex_unlock(&c->lock);
	return ok;
}

void client_leave(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	if (--c->active == 0 && atomic_load(&c->freeing))
		pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

struct space *client_space(struct client *c, struct slice name)
{
	unsigned hash = 2166136261u;

	for (size_t i = 0; i < name.n; i++)
		hash = (hash ^ name.p[i]) * 16777619u;
	pthread_mutex_lock(&c->lock);
	struct space **at = &c->spaces[hash % SPACE_BUCKETS], *s = *at;
	while (s && !slice_eq(slice_str(s->name), name))
		s = s->next;
	if (!s && c->spaces_n < SPACES_MAX && (s = calloc(1, sizeof *s))) {
		memcpy(s->name, name.p, name.n);
		atomic_init(&s->leader, -1);
		s->next = *at;
		*at = s;
		c->spaces_n++;
	}
	pthread_mutex_unlock(&c->lock);
	return s;
}

int client_node_by_id(struct client *c, uint32_t id)
{
	for (unsigned i = 0; id && i < c->nodes_n; i++) {
		if (atomic_load(&c->nodes[i].id) == id)
			return (int)i;
	}
	return -1;
}

struct rpc_conn *client_conn(struct client *c, uint32_t node_id)
{
	int i = client_node_by_id(c, node_id);

	return i < 0 ? NULL : atomic_load(&c->nodes[i].conns[0]);
}

int client_rpc(struct client *c, uint32_t node_id, unsigned method, struct slice body,
	       uint32_t timeout_ms, struct buf *ret_body, struct err *e)
{
	struct rpc_conn *conn = client_conn(c, node_id);

	for (unsigned i = 0; node_id == 0 && i < c->nodes_n; i++) {
		struct rpc_conn *one = atomic_load(&c->nodes[i].conns[0]);
		if (!conn || (rpc_conn_is_up(one) && !rpc_conn_is_up(conn)))
			conn = one;
	}
	if (!conn)
		return err_set(e, ERR_NOT_FOUND, "no node %u is known here", node_id);
	return rpc_wait(conn, method, body, timeout_ms ? timeout_ms : c->timeout_ms, ret_body, e);
}

void client_stats(const struct client *c, struct client_stats *ret_stats)
{
	struct client *w = (struct client *)(uintptr_t)c;

	*ret_stats = (struct client_stats){
		.requests = atomic_load(&w->requests),
		.resends = atomic_load(&w->resends),
		.redirects = atomic_load(&w->redirects),
		.unknown = atomic_load(&w->unknown),
		.failed = atomic_load(&w->failed),
	};
}

int caller_new(struct caller **ret_caller, struct client *c, struct err *e)
{
	struct caller *k = calloc(1, sizeof *k);

	if (!k)
		return err_set(e, ERR_NOMEM, "no memory for a caller");
	int rc = hub_timer_init(&c->hub->timers, &k->retry, request_retry, k, e);
	if (rc) {
		free(k);
		return rc;
	}
	k->client = c;
	while (k->id == 0)
		randombytes_buf(&k->id, sizeof k->id);
	buf_init(&k->body, SQL_REQUEST_BYTES_MAX);
	pthread_mutex_lock(&c->lock);
	k->slot = c->callers_made % c->connections;
	k->home = c->callers_made % c->nodes_n;
	c->callers_made++;
	k->next = c->callers;
	if (k->next)
		k->next->prev = k;
	c->callers = k;
	pthread_mutex_unlock(&c->lock);
	*ret_caller = k;
	return 0;
}

void caller_free(struct caller *k)
{
	if (!k)
		return;
	struct client *c = k->client;
	if (c) {
		hub_timer_done(&c->hub->timers, &k->retry);
		pthread_mutex_lock(&c->lock);
		if (k->prev)
			k->prev->next = k->next;
		else
			c->callers = k->next;
		if (k->next)
			k->next->prev = k->prev;
		pthread_mutex_unlock(&c->lock);
	}
	buf_done(&k->body);
	free(k->seen);
	free(k);
}

uint64_t caller_id(const struct caller *k)
{
	return k->id;
}
