#include "agent/net/peers.h"

#include "common/clock.h"
#include "common/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define HEAD_BYTES_MAX (1u << 20)
/* Blobs of one append: as many as one message may have entries. */
#define BLOBS_MAX 512

struct peer;

/* One of a peer's two outgoing links. */
struct lane {
	struct peer *peer;
	enum link_purpose purpose;
	struct link *link; /* a reference; NULL: to be dialed */
	bool up;
	uint64_t dial_at_ms;
	uint32_t backoff_ms;
};

struct peer {
	struct peers *all;
	struct conf_node node;
	struct lane fast, bulk;
};

struct peers {
	struct hub *hub;
	struct peers_events ev;
	uint32_t self;
	const char *address; /* the conf's */
	struct listener *listener;
	pthread_mutex_t lock; /* guards the lanes */
	uint32_t n;
	struct log_limit bad_limit;
	struct peer peers[];
};

static void lane_opened(void *ctx, struct link *l)
{
	struct lane *lane = ctx;
	struct peers *p = lane->peer->all;

	(void)l;
	pthread_mutex_lock(&p->lock);
	lane->up = true;
	lane->backoff_ms = BACKOFF_MIN_MS;
	pthread_mutex_unlock(&p->lock);
	if (lane->purpose == LINK_FAST)
		log_info("net", "connected to %s (%s)", lane->peer->node.name,
			 lane->peer->node.peer);
}

/* A peer only answers on the links that it dials itself. */
static void lane_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	(void)ctx;
	(void)type;
	(void)body;
	link_close(l);
}

static void lane_closed(void *ctx, struct link *l, const struct err *why)
{
	struct lane *lane = ctx;
	struct peers *p = lane->peer->all;

	(void)l;
	pthread_mutex_lock(&p->lock);
	bool was_up = lane->up;
	struct link *gone = lane->link;
	lane->link = NULL;
	lane->up = false;
	lane->dial_at_ms = clock_mono_ms() + lane->backoff_ms;
	if (lane->backoff_ms < BACKOFF_MAX_MS)
		lane->backoff_ms *= 2;
	pthread_mutex_unlock(&p->lock);
	link_unref(gone);
	if (!was_up)
		return;
	if (lane->purpose == LINK_FAST)
		log_warn("net", "connection to %s (%s) lost: %s", lane->peer->node.name,
			 lane->peer->node.peer, why->text);
	p->ev.down(p->ev.ctx, lane->peer->node.id);
}

static void lane_dial(struct lane *lane, uint64_t now_ms)
{
	struct peer *peer = lane->peer;
	struct peers *p = peer->all;
	struct link_events ev = {
		.opened = lane_opened, .frame = lane_frame, .closed = lane_closed, .ctx = lane};
	struct link_identity expect = {.kind = LINK_NODE, .node_id = peer->node.id};
	struct link *l = NULL;
	struct err e;

	memcpy(expect.key, peer->node.key, sizeof expect.key);
	memcpy(expect.name, peer->node.name, sizeof expect.name);
	/* The lock is held, so that lane_closed cannot run before lane->link is set. */
	pthread_mutex_lock(&p->lock);
	if (!lane->link && now_ms >= lane->dial_at_ms) {
		if (link_dial(p->hub, peer->node.peer, lane->purpose, &expect, &ev, &l, &e) == 0)
			lane->link = l;
		else
			lane->dial_at_ms = now_ms + BACKOFF_MAX_MS;
	}
	pthread_mutex_unlock(&p->lock);
}

void peers_tick(struct peers *p, uint64_t now_ms)
{
	for (uint32_t i = 0; i < p->n; i++) {
		lane_dial(&p->peers[i].fast, now_ms);
		lane_dial(&p->peers[i].bulk, now_ms);
	}
}

static struct peer *find(struct peers *p, uint32_t id)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (p->peers[i].node.id == id)
			return &p->peers[i];
	}
	return NULL;
}

static struct link *lane_link(struct peers *p, struct lane *lane)
{
	struct link *l = NULL;

	pthread_mutex_lock(&p->lock);
	if (lane->up && lane->link)
		l = link_ref(lane->link);
	pthread_mutex_unlock(&p->lock);
	return l;
}

bool peers_up(struct peers *p, uint32_t peer)
{
	struct peer *to = find(p, peer);
	bool up;

	if (!to)
		return false;
	pthread_mutex_lock(&p->lock);
	up = to->fast.up;
	pthread_mutex_unlock(&p->lock);
	return up;
}

bool peers_send(struct peers *p, uint32_t group, const struct raft_message *m,
		const struct wal_entry *entries, size_t n)
{
	struct peer *to = find(p, m->to);
	struct blob *blobs[BLOBS_MAX];
	struct buf head;
	int rc = ERR_LIMIT;

	if (!to || n > BLOBS_MAX)
		return false;
	struct link *l = lane_link(p, n > 0 ? &to->bulk : &to->fast);
	if (!l)
		return false;
	buf_init(&head, HEAD_BYTES_MAX);
	message_put(&head, group, m, entries, n);
	for (size_t i = 0; i < n; i++)
		blobs[i] = entries[i].data;
	if (buf_ok(&head))
		rc = n > 0 ? link_send_blobs(l, PEER_RAFT, buf_slice(&head), blobs, n)
			   : link_send(l, PEER_RAFT, &(struct slice){head.data, head.len}, 1);
	buf_done(&head);
	link_unref(l);
	return rc == 0;
}

void peers_ask_terms(struct peers *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		struct link *l = lane_link(p, &p->peers[i].fast);
		if (l)
			link_send(l, PEER_TERMS_ASK, NULL, 0);
		link_unref(l);
	}
}

static void answer_terms(struct peers *p, uint32_t peer)
{
	struct peer *to = find(p, peer);
	struct link *l = to ? lane_link(p, &to->fast) : NULL;
	struct buf b;

	if (!l)
		return;
	buf_init(&b, 4096);
	if (p->ev.terms(p->ev.ctx, &b) && buf_ok(&b))
		link_send(l, PEER_TERMS_TELL, &(struct slice){b.data, b.len}, 1);
	buf_done(&b);
	link_unref(l);
}

static void in_opened(void *ctx, struct link *l)
{
	(void)ctx;
	(void)l;
}

static void in_raft(struct peers *p, struct link *l, struct slice body)
{
	const struct link_identity *from = link_peer(l);
	struct message m;
	struct err e;
	uint64_t left_out;

	int rc = message_get(&m, body, &e);
	if (rc == 0 && m.raft.from == from->node_id && m.raft.to == p->self) {
		p->ev.receive(p->ev.ctx, &m);
		return;
	}
	if (rc == 0) {
		message_done(&m);
		err_set(&e, ERR_PROTOCOL, "a message from %u to %u", m.raft.from, m.raft.to);
	}
	if (log_allowed(&p->bad_limit, &left_out))
		log_warn("net", "dropped a message from %s: %s (%llu more like it)", from->name,
			 e.text, (unsigned long long)left_out);
}

static void in_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	struct peers *p = ctx;

	switch (type) {
	case PEER_RAFT:
		in_raft(p, l, body);
		break;
	case PEER_TERMS_ASK:
		answer_terms(p, link_peer(l)->node_id);
		break;
	case PEER_TERMS_TELL:
		p->ev.told(p->ev.ctx, link_peer(l)->node_id, body);
		break;
	default:
		link_close(l);
	}
}

static void in_closed(void *ctx, struct link *l, const struct err *why)
{
	(void)ctx;
	(void)l;
	(void)why;
}

int peers_new(struct peers **ret_peers, struct hub *h, const struct agent_conf *conf,
	      const struct peers_events *ev, struct err *e)
{
	struct peers *p = calloc(1, sizeof *p + conf->peers_n * sizeof p->peers[0]);

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for the peers' links");
	p->hub = h;
	p->ev = *ev;
	p->self = conf->id;
	p->address = conf->peer;
	pthread_mutex_init(&p->lock, NULL);
	for (uint32_t i = 0; i < conf->peers_n; i++) {
		if (conf->peers[i].id == conf->id)
			continue;
		struct peer *peer = &p->peers[p->n++];
		peer->all = p;
		peer->node = conf->peers[i];
		peer->fast = (struct lane){
			.peer = peer, .purpose = LINK_FAST, .backoff_ms = BACKOFF_MIN_MS};
		peer->bulk = (struct lane){
			.peer = peer, .purpose = LINK_BULK, .backoff_ms = BACKOFF_MIN_MS};
	}
	*ret_peers = p;
	return 0;
}

int peers_listen(struct peers *p, struct err *e)
{
	struct link_events in = {
		.opened = in_opened, .frame = in_frame, .closed = in_closed, .ctx = p};

	return link_listen(p->hub, p->address, 1u << LINK_FAST | 1u << LINK_BULK, &in, &p->listener,
			   e);
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	listener_free(p->listener);
	for (uint32_t i = 0; i < p->n; i++) {
		link_unref(p->peers[i].fast.link);
		link_unref(p->peers[i].bulk.link);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}
