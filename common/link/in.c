#include "common/link/impl.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define REFUSED_LINGER_US 1000000
#define FRAMES_BETWEEN_RELEASES                                          \
	64 /* what a callback sends in answer waits no longer than these \
	    */

static void receive_next(struct link *l)
{
	nng_iov iov;
	size_t n;

	iov.iov_buf = frame_in_room(&l->in, &n);
	if (!iov.iov_buf) {
		link_fail(l, ERR_NOMEM, "no memory to receive");
		return;
	}
	iov.iov_len = n;
	nng_aio_set_iov(l->recv_aio, 1, &iov);
	if (!link_submit_begin(l))
		return;
	nng_stream_recv(l->stream, l->recv_aio);
	link_submit_end(l);
}

void link_start_hello(struct link *l)
{
	struct hub *h = l->hub;

	hub_timer_set(&h->timers, &l->deadline, clock_mono_us() + (uint64_t)h->hello_ms * 1000);
	hello_init(l->hello, &h->self, h->secret, h->cluster_id, !l->accepted, l->purpose);
	link_send_raw(l, l->hello->mine, HELLO_GREETING_BYTES, LINK_HELLO);
	receive_next(l);
}

void link_late(void *arg)
{
	struct link *l = arg;

	int state = atomic_load(&l->state);

	if (state == LINK_DIALING) {
		link_fail(l, ERR_TIMEOUT, "no connection within %u ms", l->hub->dial_ms);
	} else if (state < LINK_OPEN) {
		if (state == LINK_HELLO)
			atomic_fetch_add(&l->hub->refused_hello, 1);
		link_fail(l, ERR_TIMEOUT, "the hello was not over within %u ms", l->hub->hello_ms);
	}
}

static bool is_expected(const struct link *l)
{
	const struct link_identity *want = &l->expect, *is = &l->hello->peer;

	if (!l->expects)
		return true;
	if (want->kind != is->kind)
		return false;
	if (want->kind == LINK_NODE && want->node_id != 0)
		return want->node_id == is->node_id;
	return strncmp(want->name, is->name, LINK_NAME_MAX) == 0;
}

static enum hello_verdict judge(struct link *l)
{
	struct hub *h = l->hub;
	struct hello *hello = l->hello;
	unsigned purposes = 0;

	if (l->accepted) {
		/* from is only cleared by this thread, and the listener outlives that. */
		pthread_mutex_lock(&h->lock);
		purposes = l->from ? l->from->purposes : 0;
		pthread_mutex_unlock(&h->lock);
		if (!(purposes & 1u << hello->purpose))
			return HELLO_NO_PURPOSE;
	}
	if (!is_expected(l))
		return HELLO_NOT_YOU;
	hello->peer.role = 0;
	return h->trust(h->trust_ctx, &hello->peer, hello->purpose) ? HELLO_WELCOME
								    : HELLO_UNTRUSTED;
}

static const char *verdict_text(enum hello_verdict v)
{
	switch (v) {
	case HELLO_UNTRUSTED:
		return "its key is not trusted for this";
	case HELLO_NO_PURPOSE:
		return "links of its purpose are not served here";
	default:
		return "it is not the one that was to answer there";
	}
}

/* A refused peer is told, and then left to close the link itself: closing with bytes of its unread
 * would reset the connection, and the verdict could be lost on the way. */
static void give_verdict(struct link *l)
{
	struct hub *h = l->hub;
	struct link_identity *peer = &l->hello->peer;
	enum hello_verdict v = judge(l);
	uint8_t byte = (uint8_t)v;

	if (v == HELLO_WELCOME) {
		l->peer = *peer;
		l->purpose = l->hello->purpose;
		link_send_raw(l, &byte, 1, LINK_HELLO);
		return;
	}
	atomic_fetch_add(&h->refused_trust, 1);
	pthread_mutex_lock(&l->lock);
	if (atomic_load(&l->state) < LINK_CLOSING)
		err_set(&l->why, ERR_AUTH, "%s: %s says it is %s: %s", l->address,
			peer->kind == LINK_NODE ? "a node" : "a user", peer->name, verdict_text(v));
	pthread_mutex_unlock(&l->lock);
	link_send_raw(l, &byte, 1, LINK_REFUSING);
	hub_timer_set(&h->timers, &l->deadline, clock_mono_us() + REFUSED_LINGER_US);
}

static void open_link(struct link *l)
{
	struct hub *h = l->hub;

	hub_timer_clear(&h->timers, &l->deadline);
	hello_done(l->hello);
	free(l->hello);
	l->hello = NULL;
	pthread_mutex_lock(&l->lock);
	bool ok = atomic_load(&l->state) == LINK_HELLO;
	if (ok)
		atomic_store(&l->state, LINK_OPEN);
	pthread_mutex_unlock(&l->lock);
	if (!ok)
		return;
	l->opened = true;
	if (l->ev.opened)
		l->ev.opened(l->ev.ctx, l);
	if (l->accepted)
		hub_settle(h, l);
}

/* false: no more to be read from this link. */
static bool take_hello(struct link *l)
{
	struct hello *h = l->hello;
	struct err e = {0};
	int rc = 0;

	while (h->step != HELLO_OVER) {
		struct slice in = frame_in_peek(&l->in);
		size_t needs = hello_needs(h);
		if (h->step == HELLO_GREETING && !hello_plausible(in)) {
			rc = err_set(&e, ERR_PROTOCOL, "what it sent is not drover's hello");
			break;
		}
		if (in.n < needs)
			return true;
		if (h->step == HELLO_GREETING) {
			uint8_t proof[HELLO_PROOF_BYTES];
			rc = hello_take_greeting(h, in.p, proof, &e);
			if (!rc)
				link_send_raw(l, proof, sizeof proof, LINK_HELLO);
		} else if (h->step == HELLO_PROOF) {
			rc = hello_take_proof(h, in.p, &e);
			if (!rc)
				give_verdict(l);
			if (atomic_load(&l->state) == LINK_REFUSING)
				return true;
		} else {
			rc = hello_take_verdict(h, in.p, &e);
		}
		if (rc)
			break;
		frame_in_skip(&l->in, needs);
	}
	if (rc) {
		atomic_fetch_add(&l->hub->refused_hello, 1);
		link_fail(l, rc, "%s", e.text);
		return false;
	}
	open_link(l);
	return true;
}

static bool is_open(struct link *l)
{
	return atomic_load_explicit(&l->state, memory_order_relaxed) == LINK_OPEN;
}

/* false: no more to be read from this link. */
static bool take_frames(struct link *l)
{
	struct slice body;
	struct err e = {0};
	uint64_t frames = 0, told = 0;
	uint8_t type;
	int rc = 0;

	while (is_open(l) && (rc = frame_in_next(&l->in, &type, &body, &e)) > 0) {
		frames++;
		if (type < FRAME_TYPE_OWN) {
			l->ev.frame(l->ev.ctx, l, type, body);
			if (++told % FRAMES_BETWEEN_RELEASES == 0) {
				link_release();
				link_hold();
			}
		} else if (type != FRAME_HEARTBEAT) {
			rc = err_set(&e, ERR_PROTOCOL, "a frame of unknown type %u", type);
			break;
		}
	}
	atomic_fetch_add_explicit(&l->received_frames, frames, memory_order_relaxed);
	if (told > 0 && l->ev.batch_end)
		l->ev.batch_end(l->ev.ctx, l);
	if (rc < 0) {
		atomic_fetch_add(&l->hub->bad_frames, 1);
		link_fail(l, rc, "it sent %s", e.text);
	}
	return rc >= 0 && is_open(l);
}

void link_recv_done(void *arg)
{
	struct link *l = arg;
	int rv = nng_aio_result(l->recv_aio);
	bool go_on = true;

	if (rv) {
		bool gone = rv == NNG_ECLOSED || rv == NNG_ECONNSHUT || rv == NNG_ECONNRESET;
		link_fail(l, ERR_CLOSED, "%s%s",
			  gone ? "the other end closed the link" : nng_strerror(rv),
			  l->opened ? "" : " during the hello");
		return;
	}
	size_t n = nng_aio_count(l->recv_aio);
	frame_in_add(&l->in, n);
	atomic_store_explicit(&l->quiet_ticks, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->received_bytes, n, memory_order_relaxed);
	atomic_store_explicit(&l->last_heard_ms, clock_mono_ms(), memory_order_relaxed);

	link_hold();
	if (atomic_load(&l->state) == LINK_REFUSING)
		frame_in_skip(&l->in, frame_in_peek(&l->in).n);
	else if (!l->opened)
		go_on = take_hello(l);
	if (go_on && l->opened)
		go_on = take_frames(l);
	link_release();
	if (go_on)
		receive_next(l);
}
