#include "common/rpc/conn.h"

#include "common/clock.h"
#include "common/link/impl.h"
#include "common/rpc/frames.h"
#include "common/rpc/pending.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 1000
#define GOOD_LINK_US 1000000 /* one that lived this long starts the back-off over */
#define WAITING_MAX 65536
#define WAITING_BYTES_MAX (64u << 20)
#define TIMEOUT_MS 10000
#define DEADLINE_STEP_US 4000 /* requests that are due this close together end together */

enum conn_state {
	CONN_DIALING, /* requests wait */
	CONN_UP,
	CONN_RESTING, /* until the next dial; requests fail */
	CONN_STOPPED,
};

struct feed {
	struct feed *next;
	char topic[RPC_TOPIC_MAX];
	rpc_feed_item *item;
	void *ctx;
};

/* Its references: the owner's, and that of a link until its `closed` has returned. */
struct rpc_conn {
	struct hub *hub;
	char address[LINK_ADDRESS_MAX];
	bool expects;
	struct link_identity expect;
	rpc_conn_state *told;
	void *told_ctx;
	atomic_uint refs;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	atomic_int state; /* written under lock */
	struct link *link;
	bool linked;	/* from the dial until `closed` has done its work */
	bool said_down; /* the owner knows */
	bool known;
	struct link_identity peer;
	struct err why; /* of the last end or failed dial */
	struct pending_table table;
	struct pending *waiting, **waiting_end;
	size_t waiting_n, waiting_bytes;
	uint64_t next_id;
	struct hub_timer deadline, redial;
	uint64_t deadline_us; /* set to; UINT64_MAX: not set */
	uint64_t dialed_us, opened_us;
	uint32_t backoff_ms;
	struct feed *feeds;
};

static void conn_unref(struct rpc_conn *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	while (c->feeds) {
		struct feed *f = c->feeds;
		c->feeds = f->next;
		free(f);
	}
	pending_done(&c->table);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Ends a list of requests that are in no table any more. Not with the lock. */
static void finish_all(struct rpc_conn *c, struct pending *list, int status, const char *text)
{
	while (list) {
		struct pending *p = list;
		list = p->next;
		p->done(p->ctx, status, slice_str(text));
		blob_unref(p->body);
		free(p);
	}
	(void)c;
}

/* The lock is held for all of the following until said otherwise. */

static struct pending *take_waiting(struct rpc_conn *c, uint64_t now_us, uint64_t *ret_next_us)
{
	struct pending *due = NULL, **due_end = &due;
	uint64_t next_us = UINT64_MAX;

	for (struct pending **at = &c->waiting; *at;) {
		struct pending *p = *at;
		if (p->due_us > now_us) {
			next_us = p->due_us < next_us ? p->due_us : next_us;
			at = &p->next;
			continue;
		}
		*at = p->next;
		p->next = NULL;
		*due_end = p;
		due_end = &p->next;
		c->waiting_n--;
		c->waiting_bytes -= p->body->size_bytes;
	}
	c->waiting_end = &c->waiting;
	while (*c->waiting_end)
		c->waiting_end = &(*c->waiting_end)->next;
	*ret_next_us = next_us;
	return due;
}

static void deadline_set(struct rpc_conn *c, uint64_t due_us)
{
	if (due_us >= c->deadline_us)
		return;
	c->deadline_us = due_us;
	hub_timer_set(&c->hub->timers, &c->deadline, due_us);
}

static void rest(struct rpc_conn *c)
{
	uint64_t now_us = clock_mono_us();
	uint64_t pause_us = (uint64_t)c->backoff_ms * 1000;

	atomic_store(&c->state, CONN_RESTING);
	pause_us = pause_us / 2 + randombytes_uniform((uint32_t)pause_us);
	c->backoff_ms = c->backoff_ms * 2 < BACKOFF_MAX_MS ? c->backoff_ms * 2 : BACKOFF_MAX_MS;
	hub_timer_set(&c->hub->timers, &c->redial, now_us + pause_us);
}

static const struct link_events *conn_events(struct rpc_conn *c, struct link_events *ret_events);

static void dial(struct rpc_conn *c)
{
	struct link_events ev;

	atomic_store(&c->state, CONN_DIALING);
	c->dialed_us = clock_mono_us();
	c->linked = true;
	atomic_fetch_add(&c->refs, 1);
	/* Its callbacks take the lock, so none of them comes before this is done. */
	if (link_dial(c->hub, c->address, LINK_RPC, c->expects ? &c->expect : NULL,
		      conn_events(c, &ev), &c->link, &c->why) != 0) {
		atomic_fetch_sub(&c->refs, 1);
		c->linked = false;
		rest(c);
	}
}

/* From here on functions take the lock themselves. */

static void redial(void *ctx)
{
	struct rpc_conn *c = ctx;

	pthread_mutex_lock(&c->lock);
	if (atomic_load(&c->state) == CONN_RESTING && !c->linked)
		dial(c);
	pthread_mutex_unlock(&c->lock);
}

static void deadline(void *ctx)
{
	struct rpc_conn *c = ctx;
	uint64_t next_us, next_waiting_us;

	pthread_mutex_lock(&c->lock);
	uint64_t now_us = clock_mono_us();
	struct pending *sent = pending_take_due(&c->table, now_us, &next_us);
	struct pending *unsent = take_waiting(c, now_us, &next_waiting_us);
	if (next_waiting_us < next_us)
		next_us = next_waiting_us;
	c->deadline_us = UINT64_MAX;
	if (next_us < now_us + DEADLINE_STEP_US)
		next_us = now_us + DEADLINE_STEP_US;
	deadline_set(c, next_us);
	pthread_mutex_unlock(&c->lock);
	finish_all(c, sent, ERR_TIMEOUT, "no answer in time");
	finish_all(c, unsent, ERR_UNREACHABLE, "no connection in time");
}

/* Sends what waited for the connection; returns those that found no room. The lock is held. */
static struct pending *send_waiting(struct rpc_conn *c)
{
	struct pending *list = c->waiting, *refused = NULL;
	uint64_t now_us = clock_mono_us();

	c->waiting = NULL;
	c->waiting_end = &c->waiting;
	c->waiting_n = c->waiting_bytes = 0;
	while (list) {
		struct pending *p = list;
		list = p->next;
		uint64_t left_ms = p->due_us > now_us ? (p->due_us - now_us) / 1000 : 0;
		struct rpc_head head = rpc_request_head(p->id, p->method, (uint32_t)left_ms);
		struct slice body = blob_slice(p->body);
		if (pending_put(&c->table, p)) {
			if (link_enqueue(c->link, RPC_FRAME_REQUEST, slice_of(head.data, head.n),
					 &body, 1, c->link->queue_bytes_max) == 0) {
				blob_unref(p->body);
				p->body = NULL;
				continue;
			}
			pending_take(&c->table, p->id);
		}
		p->next = refused;
		refused = p;
	}
	return refused;
}

static void on_opened(void *ctx, struct link *l)
{
	struct rpc_conn *c = ctx;
	struct pending *refused = NULL;

	pthread_mutex_lock(&c->lock);
	bool go_on = atomic_load(&c->state) == CONN_DIALING;
	if (go_on) {
		atomic_store(&c->state, CONN_UP);
		c->opened_us = clock_mono_us();
		c->peer = *link_peer(l);
		c->known = true;
		c->said_down = false;
		for (struct feed *f = c->feeds; f; f = f->next) {
			struct rpc_head head = rpc_subscribe_head(f->topic);
			link_enqueue(l, RPC_FRAME_SUBSCRIBE, slice_of(head.data, head.n), NULL, 0,
				     l->queue_bytes_max);
		}
		refused = send_waiting(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (!go_on)
		return;
	link_kick(l);
	finish_all(c, refused, ERR_BUSY, "too much is waiting for this connection");
	if (c->told)
		c->told(c->told_ctx, c, true, NULL);
}

static void on_reply(struct rpc_conn *c, struct slice frame)
{
	struct rpc_reply_frame f;

	if (!rpc_reply_decode(frame, &f)) {
		link_close(c->link);
		return;
	}
	pthread_mutex_lock(&c->lock);
	struct pending *p = pending_take(&c->table, f.id);
	rpc_done *done = p ? p->done : NULL;
	void *ctx = p ? p->ctx : NULL;
	if (p)
		pending_release(&c->table, p);
	pthread_mutex_unlock(&c->lock);
	/* Unknown: its caller has given up already. */
	if (done)
		done(ctx, f.status, f.body);
}

static void on_item(struct rpc_conn *c, struct slice frame)
{
	struct rpc_item_frame f;
	rpc_feed_item *item = NULL;
	void *ctx = NULL;

	if (!rpc_item_decode(frame, &f)) {
		link_close(c->link);
		return;
	}
	pthread_mutex_lock(&c->lock);
	for (struct feed *feed = c->feeds; feed && !item; feed = feed->next) {
		if (strcmp(feed->topic, f.topic) == 0) {
			item = feed->item;
			ctx = feed->ctx;
		}
	}
	pthread_mutex_unlock(&c->lock);
	if (item)
		item(ctx, f.topic, f.number, f.item);
}

static void on_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	if (type == RPC_FRAME_REPLY)
		on_reply(ctx, body);
	else if (type == RPC_FRAME_ITEM)
		on_item(ctx, body);
	else
		link_close(l);
}

static void on_closed(void *ctx, struct link *l, const struct err *why)
{
	struct rpc_conn *c = ctx;
	uint64_t never;

	pthread_mutex_lock(&c->lock);
	bool was_up = c->opened_us >= c->dialed_us && atomic_load(&c->state) != CONN_DIALING;
	struct pending *sent = pending_take_due(&c->table, UINT64_MAX, &never);
	struct pending *unsent = take_waiting(c, UINT64_MAX, &never);
	bool tell = was_up || !c->said_down;
	c->said_down = true;
	c->why = *why;
	c->link = NULL;
	if (was_up && clock_mono_us() - c->opened_us >= GOOD_LINK_US)
		c->backoff_ms = BACKOFF_MIN_MS;
	if (atomic_load(&c->state) != CONN_STOPPED)
		atomic_store(&c->state, CONN_RESTING);
	pthread_mutex_unlock(&c->lock);

	finish_all(c, sent, ERR_CLOSED, why->text);
	finish_all(c, unsent, ERR_UNREACHABLE, why->text);
	if (tell && c->told)
		c->told(c->told_ctx, c, false, why);

	pthread_mutex_lock(&c->lock);
	c->linked = false;
	if (atomic_load(&c->state) != CONN_STOPPED)
		rest(c);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	link_unref(l); /* link_dial's */
	conn_unref(c);
}

static const struct link_events *conn_events(struct rpc_conn *c, struct link_events *ret_events)
{
	*ret_events = (struct link_events){on_opened, on_frame, NULL, on_closed, c};
	return ret_events;
}

int rpc_conn_new(struct rpc_conn **ret_conn, struct hub *h, const char *address,
		 const struct link_identity *expect, rpc_conn_state *state, void *ctx,
		 struct err *e)
{
	char url[LINK_ADDRESS_MAX + 16];
	int rc = address_url(address, false, url, sizeof url, e);

	if (rc)
		return rc;
	struct rpc_conn *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for a connection");
	c->hub = h;
	snprintf(c->address, sizeof c->address, "%s", address);
	if (expect) {
		c->expects = true;
		c->expect = *expect;
	}
	c->told = state;
	c->told_ctx = ctx;
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	pending_init(&c->table);
	c->waiting_end = &c->waiting;
	c->deadline_us = UINT64_MAX;
	c->backoff_ms = BACKOFF_MIN_MS;
	rc = hub_timer_init(&h->timers, &c->deadline, deadline, c, e);
	if (!rc)
		rc = hub_timer_init(&h->timers, &c->redial, redial, c, e);
	if (rc) {
		hub_timer_done(&h->timers, &c->deadline);
		conn_unref(c);
		return rc;
	}
	*ret_conn = c;
	pthread_mutex_lock(&c->lock);
	dial(c);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

void rpc_conn_stop(struct rpc_conn *c)
{
	struct link *l = NULL;
	uint64_t never;

	pthread_mutex_lock(&c->lock);
	atomic_store(&c->state, CONN_STOPPED);
	struct pending *unsent = take_waiting(c, UINT64_MAX, &never);
	if (c->link)
		l = link_ref(c->link);
	pthread_mutex_unlock(&c->lock);
	hub_timer_done(&c->hub->timers, &c->redial);
	hub_timer_done(&c->hub->timers, &c->deadline);
	if (l) {
		link_close(l);
		link_unref(l);
	}
	finish_all(c, unsent, ERR_UNREACHABLE, "the connection is being closed at this end");
	pthread_mutex_lock(&c->lock);
	while (c->linked)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void rpc_conn_free(struct rpc_conn *c)
{
	if (!c)
		return;
	rpc_conn_stop(c);
	conn_unref(c);
}

bool rpc_conn_is_up(const struct rpc_conn *c)
{
	return atomic_load(&((struct rpc_conn *)(uintptr_t)c)->state) == CONN_UP;
}

const char *rpc_conn_address(const struct rpc_conn *c)
{
	return c->address;
}

bool rpc_conn_peer(const struct rpc_conn *c, struct link_identity *ret_peer)
{
	struct rpc_conn *w = (struct rpc_conn *)(uintptr_t)c;

	pthread_mutex_lock(&w->lock);
	bool known = w->known;
	if (known)
		*ret_peer = w->peer;
	pthread_mutex_unlock(&w->lock);
	return known;
}

void rpc_conn_nudge(struct rpc_conn *c)
{
	pthread_mutex_lock(&c->lock);
	if (atomic_load(&c->state) == CONN_RESTING && !c->linked)
		/* Many callers may nudge at once; the least pause stays. */
		hub_timer_set(&c->hub->timers, &c->redial, c->dialed_us + BACKOFF_MIN_MS * 1000);
	pthread_mutex_unlock(&c->lock);
}

/* Keeps a copy of the request until the link opens. The lock is held. */
static int wait_for_link(struct rpc_conn *c, struct pending *p, const struct slice *parts, size_t n,
			 size_t size, struct err *e)
{
	if (c->waiting_n >= WAITING_MAX || c->waiting_bytes + size > WAITING_BYTES_MAX)
		return err_set(e, ERR_BUSY, "%s: too much is waiting for the connection",
			       c->address);
	p->body = blob_new(NULL, (uint32_t)size);
	if (!p->body)
		return err_set(e, ERR_NOMEM, "no memory for a request");
	uint8_t *to = p->body->data;
	for (size_t i = 0; i < n; i++) {
		if (parts[i].n)
			memcpy(to, parts[i].p, parts[i].n);
		to += parts[i].n;
	}
	*c->waiting_end = p;
	c->waiting_end = &p->next;
	c->waiting_n++;
	c->waiting_bytes += size;
	return 0;
}

/* Puts the request on the link's queue. The lock is held. */
static int send_now(struct rpc_conn *c, struct pending *p, const struct slice *parts, size_t n,
		    uint32_t timeout_ms, struct err *e)
{
	struct rpc_head head = rpc_request_head(p->id, p->method, timeout_ms);

	if (!pending_put(&c->table, p))
		return err_set(e, ERR_BUSY, "%s: too many requests are under way", c->address);
	int rc = link_enqueue(c->link, RPC_FRAME_REQUEST, slice_of(head.data, head.n), parts, n,
			      c->link->queue_bytes_max);
	if (!rc)
		return 0;
	pending_take(&c->table, p->id);
	switch (rc) {
	case ERR_CLOSED:
		return err_set(e, ERR_UNREACHABLE, "%s: the connection was just lost", c->address);
	case ERR_LIMIT:
		return err_set(e, rc, "the request is larger than a frame may be");
	default:
		return err_set(e, rc, "%s: too much is queued for the connection", c->address);
	}
}

int rpc_start(struct rpc_conn *c, unsigned method, const struct slice *parts, size_t n,
	      uint32_t timeout_ms, rpc_done *done, void *ctx, struct err *e)
{
	struct link *l = NULL;
	size_t size = 0;
	int rc;

	for (size_t i = 0; i < n; i++)
		size += parts[i].n;
	if (size > LINK_FRAME_BYTES_MAX - RPC_HEAD_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "a request of %zu bytes is larger than a frame may be",
			       size);
	if (timeout_ms == 0)
		timeout_ms = TIMEOUT_MS;
	pthread_mutex_lock(&c->lock);
	struct pending *p = pending_alloc(&c->table);
	if (!p) {
		pthread_mutex_unlock(&c->lock);
		return err_set(e, ERR_NOMEM, "no memory for a request");
	}
	*p = (struct pending){.id = ++c->next_id,
			      .due_us = clock_mono_us() + (uint64_t)timeout_ms * 1000,
			      .done = done,
			      .ctx = ctx,
			      .method = (uint16_t)method};
	uint64_t due_us = p->due_us;
	switch (atomic_load(&c->state)) {
	case CONN_UP:
		rc = send_now(c, p, parts, n, timeout_ms, e);
		if (!rc)
			l = link_ref(c->link);
		break;
	case CONN_DIALING:
		rc = wait_for_link(c, p, parts, n, size, e);
		break;
	case CONN_RESTING:
		rc = err_set(e, ERR_UNREACHABLE, "%s", c->why.text);
		break;
	default:
		rc = err_set(e, ERR_UNREACHABLE, "%s: closed at this end", c->address);
	}
	if (rc)
		pending_release(&c->table, p);
	else
		deadline_set(c, due_us);
	pthread_mutex_unlock(&c->lock);
	if (l) {
		link_kick(l);
		link_unref(l);
	}
	return rc;
}

int rpc_subscribe(struct rpc_conn *c, const char *topic, rpc_feed_item *item, void *ctx,
		  struct err *e)
{
	struct link *l = NULL;

	if (!topic[0] || strlen(topic) >= RPC_TOPIC_MAX)
		return err_set(e, ERR_INVALID, "a topic has 1 to %d characters", RPC_TOPIC_MAX - 1);
	struct feed *f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, ERR_NOMEM, "no memory for a subscription");
	snprintf(f->topic, sizeof f->topic, "%s", topic);
	f->item = item;
	f->ctx = ctx;
	pthread_mutex_lock(&c->lock);
	for (struct feed *old = c->feeds; old; old = old->next) {
		if (strcmp(old->topic, topic) == 0) {
			pthread_mutex_unlock(&c->lock);
			free(f);
			return err_set(e, ERR_EXISTS, "%s is subscribed to already", topic);
		}
	}
	f->next = c->feeds;
	c->feeds = f;
	if (atomic_load(&c->state) == CONN_UP) {
		struct rpc_head head = rpc_subscribe_head(topic);
		l = link_ref(c->link);
		link_enqueue(l, RPC_FRAME_SUBSCRIBE, slice_of(head.data, head.n), NULL, 0,
			     l->queue_bytes_max);
	}
	pthread_mutex_unlock(&c->lock);
	if (l) {
		link_kick(l);
		link_unref(l);
	}
	return 0;
}
