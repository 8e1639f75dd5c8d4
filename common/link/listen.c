#include "common/link/impl.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_US 20000 /* after an accept that failed, or with too many links */

/* Accepts the next, unless the listener is being closed. Not with hub.lock. */
static void accept_next(struct listener *ln)
{
	struct hub *h = ln->hub;

	pthread_mutex_lock(&h->lock);
	bool go_on = !ln->closing;
	ln->submitting += go_on;
	pthread_mutex_unlock(&h->lock);
	if (!go_on)
		return;
	nng_stream_listener_accept(ln->nng, ln->aio);
	pthread_mutex_lock(&h->lock);
	if (--ln->submitting == 0)
		pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void accept_again(void *arg)
{
	accept_next(arg);
}

static void accept_later(struct listener *ln)
{
	hub_timer_set(&ln->hub->timers, &ln->again, clock_mono_us() + AGAIN_US);
}

static void link_name_peer(struct link *l)
{
	nng_sockaddr sa;

	/* Fails for a peer that is gone already. */
	if (nng_stream_get_addr(l->stream, NNG_OPT_REMADDR, &sa) != 0)
		sa.s_family = NNG_AF_UNSPEC;
	address_of(&sa, l->address, sizeof l->address);
}

/* Makes a link of a stream; false: the hub is full or has no memory, go slower. */
static bool welcome(struct listener *ln, nng_stream *stream)
{
	struct hub *h = ln->hub;
	struct link *l;

	atomic_fetch_add(&h->accepted, 1);
	if (link_new(h, true, &l, NULL) != 0) {
		/* No aio was ever started on it, so it can go right here. */
		nng_stream_close(stream);
		nng_stream_free(stream);
		return false;
	}
	l->stream = stream;
	l->ev = ln->ev;
	link_name_peer(l);
	pthread_mutex_lock(&h->lock);
	bool full = h->accepted_n >= h->links_max, closing = ln->closing;
	if (!closing) {
		l->from = ln;
		ln->unopened++;
	}
	pthread_mutex_unlock(&h->lock);
	/* Its first write may fail and send it to the reaper while it is still being started here.
	 */
	link_ref(l);
	link_submit_begin(l);
	if (closing || hub_add(h, l, NULL) != 0) {
		hub_settle(h, l);
		nng_stream_close(stream);
		link_unref(l);
		link_discard(l);
		return true;
	}
	if (full)
		link_fail(l, ERR_LIMIT, "refused: %u links are open", h->links_max);
	else
		link_start_hello(l);
	link_submit_end(l);
	link_unref(l);
	return !full;
}

static void accept_done(void *arg)
{
	struct listener *ln = arg;
	int rv = nng_aio_result(ln->aio);

	if (rv == 0 && welcome(ln, nng_aio_get_output(ln->aio, 0)))
		accept_next(ln);
	else
		accept_later(ln);
}

static struct listener *listener_alloc(struct hub *h, const char *address, unsigned purposes,
				       const struct link_events *ev)
{
	struct listener *ln = calloc(1, sizeof *ln);

	if (!ln)
		return NULL;
	ln->hub = h;
	ln->purposes = purposes;
	ln->ev = *ev;
	snprintf(ln->address, sizeof ln->address, "%s", address);
	if (nng_aio_alloc(&ln->aio, accept_done, ln) != 0) {
		free(ln);
		return NULL;
	}
	return ln;
}

int link_listen(struct hub *h, const char *address, unsigned purposes, const struct link_events *ev,
		struct listener **ret_listener, struct err *e)
{
	char url[LINK_ADDRESS_MAX + 16];
	int rc = address_url(address, true, url, sizeof url, e);

	if (rc)
		return rc;
	struct listener *ln = listener_alloc(h, address, purposes, ev);
	if (!ln)
		return err_set(e, ERR_NOMEM, "no memory for a listener");
	int rv = nng_stream_listener_alloc(&ln->nng, url);
	if (rv == 0)
		rv = nng_stream_listener_set_bool(ln->nng, NNG_OPT_TCP_NODELAY, true);
	if (rv == 0)
		rv = nng_stream_listener_listen(ln->nng);
	if (rv)
		rc = err_set(e, rv == NNG_ENOMEM ? ERR_NOMEM : ERR_IO, "cannot listen on %s: %s",
			     address, nng_strerror(rv));
	if (!rc)
		rc = hub_timer_init(&h->timers, &ln->again, accept_again, ln, e);
	if (rc) {
		if (ln->nng)
			nng_stream_listener_free(ln->nng);
		nng_aio_free(ln->aio);
		free(ln);
		return rc;
	}
	pthread_mutex_lock(&h->lock);
	ln->next = h->listeners;
	if (ln->next)
		ln->next->prev = ln;
	h->listeners = ln;
	pthread_mutex_unlock(&h->lock);
	*ret_listener = ln;
	accept_next(ln);
	return 0;
}

uint16_t listener_port(const struct listener *ln)
{
	int port = 0;

	if (nng_stream_listener_get_int(ln->nng, NNG_OPT_TCP_BOUND_PORT, &port) != 0)
		return 0;
	return (uint16_t)port;
}

/* Closes the links that are still in their hello and waits until none is left. hub.lock held. */
static void refuse_unopened(struct listener *ln)
{
	struct hub *h = ln->hub;

	for (struct link *l = h->links; l;) {
		if (l->from != ln || atomic_load(&l->state) >= LINK_OPEN) {
			l = l->next;
			continue;
		}
		link_ref(l);
		pthread_mutex_unlock(&h->lock);
		link_close(l);
		link_unref(l);
		pthread_mutex_lock(&h->lock);
		l = h->links;
	}
	while (ln->unopened > 0)
		pthread_cond_wait(&h->changed, &h->lock);
}

void listener_free(struct listener *ln)
{
	if (!ln)
		return;
	struct hub *h = ln->hub;
	pthread_mutex_lock(&h->lock);
	ln->closing = true;
	while (ln->submitting > 0)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
	nng_stream_listener_close(ln->nng);
	nng_aio_stop(ln->aio);
	hub_timer_done(&h->timers, &ln->again);
	pthread_mutex_lock(&h->lock);
	refuse_unopened(ln);
	if (ln->prev)
		ln->prev->next = ln->next;
	else
		h->listeners = ln->next;
	if (ln->next)
		ln->next->prev = ln->prev;
	pthread_mutex_unlock(&h->lock);
	nng_stream_listener_free(ln->nng);
	nng_aio_free(ln->aio);
	free(ln);
}
