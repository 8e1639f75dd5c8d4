#include "common/rpc.h"

#include "common/clock.h"
#include "common/link/impl.h"
#include "common/rpc/frames.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 16384			/* open at once on one link */
#define CALLS_BYTES_MAX (256u << 20)	/* of their bodies */
#define REPLY_RESERVE_BYTES (1u << 20)	/* over the queue's bound, for short answers */
#define FEED_QUEUE_BYTES_MAX (4u << 20) /* a link with more queued gets no items */
#define TOPICS_MAX 8			/* of one link */
#define PUBLISH_AT_ONCE 32

/* One link to a caller. Its references: the link's life, and each open call. */
struct session {
	struct rpc_server *server; /* only while the link is open */
	struct link *link;
	atomic_uint refs;
	atomic_uint calls;
	uint64_t _Atomic calls_bytes;
	bool requests;		     /* this read brought some */
	struct session *prev, *next; /* server.lock, also for the topics */
	unsigned topics_n;
	struct {
		char name[RPC_TOPIC_MAX];
		uint64_t number;
	} topics[TOPICS_MAX];
};

struct rpc_server {
	struct hub *hub;
	struct listener *listener;
	rpc_handler *handler;
	rpc_batch_end *batch_end;
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct session *sessions;
	atomic_uint subscriptions;
};

struct rpc_call {
	struct session *session;
	uint64_t id;
	uint64_t due_ms;
	uint16_t method;
	uint32_t body_n;
	uint8_t body[];
};

static void session_unref(struct session *s)
{
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	link_unref(s->link);
	free(s);
}

static void on_opened(void *ctx, struct link *l)
{
	struct rpc_server *sv = ctx;
	struct session *s = calloc(1, sizeof *s);

	if (!s) {
		link_close(l);
		return;
	}
	s->server = sv;
	s->link = link_ref(l);
	atomic_init(&s->refs, 1);
	link_set_user(l, s);
	pthread_mutex_lock(&sv->lock);
	s->next = sv->sessions;
	if (s->next)
		s->next->prev = s;
	sv->sessions = s;
	pthread_mutex_unlock(&sv->lock);
}

static void on_closed(void *ctx, struct link *l, const struct err *why)
{
	struct rpc_server *sv = ctx;
	struct session *s = link_user(l);

	(void)why;
	if (!s)
		return;
	pthread_mutex_lock(&sv->lock);
	if (s->prev)
		s->prev->next = s->next;
	else
		sv->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	atomic_fetch_sub(&sv->subscriptions, s->topics_n);
	pthread_cond_broadcast(&sv->changed);
	pthread_mutex_unlock(&sv->lock);
	session_unref(s);
}

static void answer(struct link *l, uint64_t id, int status, struct slice body)
{
	struct rpc_head head = rpc_reply_head(id, status);
	struct slice prefix = slice_of(head.data, head.n);
	int rc = link_enqueue(l, RPC_FRAME_REPLY, prefix, &body, 1, l->queue_bytes_max);

	if (rc == ERR_BUSY || rc == ERR_LIMIT) {
		/* What was asked for has been done, so the caller must not take it for undone. */
		const char *text = rc == ERR_LIMIT ? "the answer is larger than a frame may be"
						   : "the link was too slow to take the answer";
		int code = status ? status : rc == ERR_LIMIT ? ERR_LIMIT : ERR_UNKNOWN_OUTCOME;
		head = rpc_reply_head(id, code);
		prefix.n = head.n;
		body = slice_str(text);
		rc = link_enqueue(l, RPC_FRAME_REPLY, prefix, &body, 1,
				  l->queue_bytes_max + REPLY_RESERVE_BYTES);
	}
	if (rc == 0)
		link_kick(l);
	else
		link_close(l);
}

static void on_request(struct rpc_server *sv, struct session *s, struct slice frame)
{
	struct rpc_request_frame f;

	if (!rpc_request_decode(frame, &f)) {
		link_close(s->link);
		return;
	}
	if (atomic_load(&s->calls) >= CALLS_MAX ||
	    atomic_load(&s->calls_bytes) + f.body.n > CALLS_BYTES_MAX) {
		answer(s->link, f.id, ERR_BUSY, slice_str("too many requests on one link"));
		return;
	}
	struct rpc_call *c = malloc(sizeof *c + f.body.n);
	if (!c) {
		answer(s->link, f.id, ERR_BUSY, slice_str("no memory for the request"));
		return;
	}
	c->session = s;
	c->id = f.id;
	c->due_ms = clock_mono_ms() + f.timeout_ms;
	c->method = f.method;
	c->body_n = (uint32_t)f.body.n;
	memcpy(c->body, f.body.p, f.body.n);
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	atomic_fetch_add(&s->calls, 1);
	atomic_fetch_add(&s->calls_bytes, c->body_n);
	s->requests = true;
	sv->handler(sv->ctx, c);
}

static void on_subscribe(struct rpc_server *sv, struct session *s, struct slice frame)
{
	char topic[RPC_TOPIC_MAX];

	if (!rpc_subscribe_decode(frame, topic)) {
		link_close(s->link);
		return;
	}
	pthread_mutex_lock(&sv->lock);
	unsigned i = 0;
	while (i < s->topics_n && strcmp(s->topics[i].name, topic) != 0)
		i++;
	bool ok = i < TOPICS_MAX;
	if (ok && i == s->topics_n) {
		s->topics_n++;
		atomic_fetch_add(&sv->subscriptions, 1);
	}
	if (ok) {
		memcpy(s->topics[i].name, topic, sizeof topic);
		s->topics[i].number = 0;
	}
	pthread_mutex_unlock(&sv->lock);
	if (!ok)
		link_close(s->link);
}

static void on_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	struct rpc_server *sv = ctx;
	struct session *s = link_user(l);

	if (!s)
		return;
	if (type == RPC_FRAME_REQUEST)
		on_request(sv, s, body);
	else if (type == RPC_FRAME_SUBSCRIBE)
		on_subscribe(sv, s, body);
	else
		link_close(l);
}

static void on_batch_end(void *ctx, struct link *l)
{
	struct rpc_server *sv = ctx;
	struct session *s = link_user(l);

	if (s && s->requests) {
		s->requests = false;
		if (sv->batch_end)
			sv->batch_end(sv->ctx);
	}
}

int rpc_server_new(struct rpc_server **ret_server, struct hub *h, const char *address,
		   rpc_handler *handler, rpc_batch_end *batch_end, void *ctx, struct err *e)
{
	struct rpc_server *sv = calloc(1, sizeof *sv);
	struct link_events ev = {on_opened, on_frame, on_batch_end, on_closed, sv};

	if (!sv)
		return err_set(e, ERR_NOMEM, "no memory for an RPC server");
	sv->hub = h;
	sv->handler = handler;
	sv->batch_end = batch_end;
	sv->ctx = ctx;
	pthread_mutex_init(&sv->lock, NULL);
	pthread_cond_init(&sv->changed, NULL);
	int rc = link_listen(h, address, 1u << LINK_RPC, &ev, &sv->listener, e);
	if (rc) {
		pthread_cond_destroy(&sv->changed);
		pthread_mutex_destroy(&sv->lock);
		free(sv);
		return rc;
	}
	*ret_server = sv;
	return 0;
}

uint16_t rpc_server_port(const struct rpc_server *sv)
{
	return listener_port(sv->listener);
}

void rpc_server_free(struct rpc_server *sv)
{
	if (!sv)
		return;
	/* After this nobody calls on_opened any more. */
	listener_free(sv->listener);
	pthread_mutex_lock(&sv->lock);
	for (struct session *s = sv->sessions; s; s = s->next)
		link_close(s->link);
	while (sv->sessions)
		pthread_cond_wait(&sv->changed, &sv->lock);
	pthread_mutex_unlock(&sv->lock);
	pthread_cond_destroy(&sv->changed);
	pthread_mutex_destroy(&sv->lock);
	free(sv);
}

unsigned rpc_call_method(const struct rpc_call *c)
{
	return c->method;
}

struct slice rpc_call_body(const struct rpc_call *c)
{
	return slice_of(c->body, c->body_n);
}

const struct link_identity *rpc_call_peer(const struct rpc_call *c)
{
	return link_peer(c->session->link);
}

int64_t rpc_call_left_ms(const struct rpc_call *c)
{
	return (int64_t)(c->due_ms - clock_mono_ms());
}

void rpc_reply(struct rpc_call *c, int status, struct slice body)
{
	struct session *s = c->session;

	answer(s->link, c->id, status, body);
	atomic_fetch_sub(&s->calls, 1);
	atomic_fetch_sub(&s->calls_bytes, c->body_n);
	free(c);
	session_unref(s);
}

bool rpc_has_subscribers(struct rpc_server *sv, const char *topic)
{
	bool found = false;

	if (atomic_load_explicit(&sv->subscriptions, memory_order_relaxed) == 0)
		return false;
	pthread_mutex_lock(&sv->lock);
	for (struct session *s = sv->sessions; s && !found; s = s->next) {
		for (unsigned i = 0; i < s->topics_n && !found; i++)
			found = strcmp(s->topics[i].name, topic) == 0;
	}
	pthread_mutex_unlock(&sv->lock);
	return found;
}

/* Queues the item for one subscriber; true: its link is to be kicked. server.lock is held, so that
 * numbers go out in order. */
static bool publish_to(struct session *s, const char *topic, struct slice item)
{
	uint64_t limit = FEED_QUEUE_BYTES_MAX;

	for (unsigned i = 0; i < s->topics_n; i++) {
		if (strcmp(s->topics[i].name, topic) != 0)
			continue;
		struct rpc_head head = rpc_item_head(topic, ++s->topics[i].number);
		if (limit > s->link->queue_bytes_max / 2)
			limit = s->link->queue_bytes_max / 2;
		return link_enqueue(s->link, RPC_FRAME_ITEM, slice_of(head.data, head.n), &item, 1,
				    limit) == 0;
	}
	return false;
}

void rpc_publish(struct rpc_server *sv, const char *topic, struct slice item)
{
	struct link *kick[PUBLISH_AT_ONCE];
	unsigned n = 0;

	if (atomic_load_explicit(&sv->subscriptions, memory_order_relaxed) == 0)
		return;
	pthread_mutex_lock(&sv->lock);
	for (struct session *s = sv->sessions; s; s = s->next) {
		if (!publish_to(s, topic, item))
			continue;
		if (n < PUBLISH_AT_ONCE)
			kick[n++] = link_ref(s->link);
		else
			link_kick(s->link);
	}
	pthread_mutex_unlock(&sv->lock);
	for (unsigned i = 0; i < n; i++) {
		link_kick(kick[i]);
		link_unref(kick[i]);
	}
}
