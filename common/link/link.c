#include "common/link/impl.h"

#include "common/clock.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICKS_OF_SILENCE 8
#define TICKS_TO_HEARTBEAT 2
#define OUT_SLACK_BYTES (4u << 20) /* over the queue's bound: heads, and RPC's reserve */
#define DIAL_GRACE_US 500000
#define OUT_IDLE_KEEP_BYTES 4096

static void dial_done(void *arg);

int link_new(struct hub *h, bool accepted, struct link **ret_link, struct err *e)
{
	const nng_iov iov[OUT_IOV_MAX] = {0};
	struct link *l = calloc(1, sizeof *l);

	if (!l)
		return err_set(e, ERR_NOMEM, "no memory for a link");
	l->hub = h;
	l->accepted = accepted;
	l->queue_bytes_max = h->queue_bytes_max;
	atomic_init(&l->refs, 1);
	atomic_init(&l->state, accepted ? LINK_HELLO : LINK_DIALING);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->settled, NULL);
	frame_in_init(&l->in, h->frame_bytes_max);
	uint64_t out_max =
		h->queue_bytes_max > h->frame_bytes_max ? h->queue_bytes_max : h->frame_bytes_max;
	out_init(&l->out[0], out_max + OUT_SLACK_BYTES);
	out_init(&l->out[1], out_max + OUT_SLACK_BYTES);
	l->hello = malloc(sizeof *l->hello);
	/* NNG takes its memory for a write's iovs here, so that no write can fail for want of it.
	 */
	bool ok = l->hello && nng_aio_alloc(&l->recv_aio, link_recv_done, l) == 0 &&
		  nng_aio_alloc(&l->send_aio, link_send_done, l) == 0 &&
		  nng_aio_set_iov(l->send_aio, OUT_IOV_MAX, iov) == 0 &&
		  (accepted || nng_aio_alloc(&l->dial_aio, dial_done, l) == 0) &&
		  hub_timer_init(&h->timers, &l->deadline, link_late, l, NULL) == 0;
	if (!ok) {
		link_discard(l);
		return err_set(e, ERR_NOMEM, "no memory for a link");
	}
	*ret_link = l;
	return 0;
}

/* Frees NNG's side; NULL is fine for its aios. The dial's aio goes before its dialer: freeing it
 * waits for NNG's timer thread, which may be in the middle of timing out the dial and then uses the
 * dialer. */
static void free_nng(struct link *l)
{
	nng_aio_free(l->dial_aio);
	if (l->dialer)
		nng_stream_dialer_free(l->dialer);
	if (l->stream)
		nng_stream_free(l->stream);
	nng_aio_free(l->recv_aio);
	nng_aio_free(l->send_aio);
	l->stream = NULL;
	l->dialer = NULL;
	l->dial_aio = l->recv_aio = l->send_aio = NULL;
}

void link_discard(struct link *l)
{
	hub_timer_done(&l->hub->timers, &l->deadline);
	free_nng(l);
	link_unref(l);
}

struct link *link_ref(struct link *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void link_unref(struct link *l)
{
	if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	out_done(&l->out[0]);
	out_done(&l->out[1]);
	frame_in_done(&l->in);
	if (l->hello)
		hello_done(l->hello);
	free(l->hello);
	pthread_cond_destroy(&l->settled);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

bool link_submit_begin(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	bool ok = atomic_load(&l->state) < LINK_CLOSING;
	l->submitting += ok;
	pthread_mutex_unlock(&l->lock);
	return ok;
}

void link_submit_end(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	if (--l->submitting == 0 && atomic_load(&l->state) >= LINK_CLOSING)
		pthread_cond_signal(&l->settled);
	pthread_mutex_unlock(&l->lock);
}

static bool close_locked(struct link *l, const struct err *why)
{
	if (atomic_load(&l->state) >= LINK_CLOSING)
		return false;
	/* Who was refused is closed for that, however the end comes about. */
	if (atomic_load(&l->state) != LINK_REFUSING)
		l->why = *why;
	atomic_store(&l->state, LINK_CLOSING);
	return true;
}

void link_close_why(struct link *l, const struct err *why)
{
	pthread_mutex_lock(&l->lock);
	bool first = close_locked(l, why);
	pthread_mutex_unlock(&l->lock);
	if (first)
		hub_reap(l->hub, l);
}

void link_fail(struct link *l, int code, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX / 2];
	struct err why = {0};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (l->opened)
		err_set(&why, code, "%s (%s): %s", l->peer.name, l->address, text);
	else
		err_set(&why, code, "%s: %s", l->address, text);
	link_close_why(l, &why);
}

void link_close(struct link *l)
{
	struct err why;

	err_set(&why, ERR_CLOSED, "%s: closed at this end", l->address);
	link_close_why(l, &why);
}

bool link_tick(struct link *l)
{
	bool silent = false, beat = false;

	pthread_mutex_lock(&l->lock);
	if (atomic_load(&l->state) == LINK_OPEN) {
		if (atomic_fetch_add(&l->quiet_ticks, 1) >= TICKS_OF_SILENCE) {
			struct err why;
			err_set(&why, ERR_TIMEOUT, "%s (%s): heard nothing for %u ms", l->peer.name,
				l->address, l->hub->silence_ms);
			silent = close_locked(l, &why);
		} else if (++l->unsent_ticks >= TICKS_TO_HEARTBEAT && l->queued_bytes == 0 &&
			   !l->writing) {
			out_shrink(&l->out[0], OUT_IDLE_KEEP_BYTES);
			out_shrink(&l->out[1], OUT_IDLE_KEEP_BYTES);
			link_heartbeat(l);
			beat = true;
		}
	}
	pthread_mutex_unlock(&l->lock);
	if (beat)
		link_kick(l);
	return silent;
}

/* Only here, on the reaper, are NNG's objects closed, stopped and freed. */
void link_teardown(struct link *l)
{
	struct hub *h = l->hub;

	hub_timer_done(&h->timers, &l->deadline);
	pthread_mutex_lock(&l->lock);
	while (l->submitting > 0)
		pthread_cond_wait(&l->settled, &l->lock);
	pthread_mutex_unlock(&l->lock);

	if (l->dialer) {
		nng_stream_dialer_close(l->dialer);
		nng_aio_stop(l->dial_aio);
	}
	/* A dial that succeeded in the last moment has left its stream by now. */
	if (l->stream)
		nng_stream_close(l->stream);
	nng_aio_stop(l->recv_aio);
	nng_aio_stop(l->send_aio);
	free_nng(l);

	if ((!l->accepted || l->opened) && l->ev.closed)
		l->ev.closed(l->ev.ctx, l, &l->why);
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->state, LINK_CLOSED);
	pthread_mutex_unlock(&l->lock);
	hub_remove(h, l);
	link_unref(l);
}

static void dial_done(void *arg)
{
	struct link *l = arg;
	int rv = nng_aio_result(l->dial_aio);

	if (rv) {
		link_fail(l, rv == NNG_ETIMEDOUT ? ERR_TIMEOUT : ERR_UNREACHABLE,
			  "no connection: %s", nng_strerror(rv));
		return;
	}
	pthread_mutex_lock(&l->lock);
	l->stream = nng_aio_get_output(l->dial_aio, 0);
	bool go_on = atomic_load(&l->state) == LINK_DIALING;
	if (go_on)
		atomic_store(&l->state, LINK_HELLO);
	pthread_mutex_unlock(&l->lock);
	if (go_on)
		link_start_hello(l);
}

int link_dial(struct hub *h, const char *address, enum link_purpose purpose,
	      const struct link_identity *expect, const struct link_events *ev,
	      struct link **ret_link, struct err *e)
{
	char url[LINK_ADDRESS_MAX + 16];
	struct link *l;

	assert(purpose >= LINK_FAST && purpose <= LINK_STREAM);
	int rc = address_url(address, false, url, sizeof url, e);
	if (!rc)
		rc = link_new(h, false, &l, e);
	if (rc)
		return rc;
	snprintf(l->address, sizeof l->address, "%s", address);
	l->purpose = purpose;
	l->ev = *ev;
	if (expect) {
		l->expects = true;
		l->expect = *expect;
	}
	int rv = nng_stream_dialer_alloc(&l->dialer, url);
	/* NNG leaves Nagle's algorithm on: small writes would wait up to 40 ms for an
	 * acknowledgement. */
	if (!rv)
		rv = nng_stream_dialer_set_bool(l->dialer, NNG_OPT_TCP_NODELAY, true);
	if (rv)
		rc = err_set(e, rv == NNG_ENOMEM ? ERR_NOMEM : ERR_INVALID, "%s: %s", address,
			     nng_strerror(rv));
	if (!rc)
		rc = hub_add(h, l, e);
	if (rc) {
		link_discard(l);
		return rc;
	}
	nng_aio_set_timeout(l->dial_aio, (nng_duration)h->dial_ms);
	/* Callbacks may come from here on. */
	*ret_link = link_ref(l);
	/* Ours is only for the case that the wall clock, NNG's, is set back meanwhile. */
	hub_timer_set(&h->timers, &l->deadline,
		      clock_mono_us() + (uint64_t)h->dial_ms * 1000 + DIAL_GRACE_US);
	if (link_submit_begin(l)) {
		nng_stream_dialer_dial(l->dialer, l->dial_aio);
		link_submit_end(l);
	}
	return 0;
}

const struct link_identity *link_peer(const struct link *l)
{
	return &l->peer;
}

enum link_purpose link_purpose_of(const struct link *l)
{
	return l->purpose;
}

const char *link_address(const struct link *l)
{
	return l->address;
}

void *link_user(const struct link *l)
{
	return atomic_load(&((struct link *)(uintptr_t)l)->user);
}

void link_set_user(struct link *l, void *user)
{
	atomic_store(&l->user, user);
}

void link_stats(const struct link *l, struct link_stats *ret_stats)
{
	struct link *w = (struct link *)(uintptr_t)l;

	pthread_mutex_lock(&w->lock);
	*ret_stats = (struct link_stats){
		.sent_frames = w->sent_frames,
		.sent_bytes = w->sent_bytes,
		.received_frames = atomic_load(&w->received_frames),
		.received_bytes = atomic_load(&w->received_bytes),
		.writes = w->writes,
		.dropped = w->dropped,
		.queued_bytes = w->queued_bytes,
		.last_heard_ms = atomic_load(&w->last_heard_ms),
	};
	pthread_mutex_unlock(&w->lock);
}
