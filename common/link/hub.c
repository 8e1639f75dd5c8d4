#include "common/link/impl.h"

#include "common/clock.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#define HELLO_MS 3000
#define DIAL_MS 2000
#define SILENCE_MS 10000
#define QUEUE_BYTES_MAX (64u << 20)
#define LINKS_MAX 1024
#define TICKS_OF_SILENCE 8
#define FLUSH_POLL_US 500

static void *reaper_thread(void *arg)
{
	struct hub *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!h->stopping || h->links || h->reap_first) {
		struct link *l = h->reap_first;
		if (!l) {
			pthread_cond_wait(&h->reap_wake, &h->lock);
			continue;
		}
		h->reap_first = l->reap_next;
		if (!h->reap_first)
			h->reap_last = NULL;
		pthread_mutex_unlock(&h->lock);
		link_teardown(l);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void reap_locked(struct hub *h, struct link *l)
{
	l->reap_next = NULL;
	if (h->reap_last)
		h->reap_last->reap_next = l;
	else
		h->reap_first = l;
	h->reap_last = l;
	pthread_cond_signal(&h->reap_wake);
}

void hub_reap(struct hub *h, struct link *l)
{
	pthread_mutex_lock(&h->lock);
	reap_locked(h, l);
	pthread_mutex_unlock(&h->lock);
}

/* Silence is counted in ticks, not in time: a process that was stopped for a while (a debugger, a
 * suspended machine) then hears its peers before it judges them. */
static void hub_ticked(void *arg)
{
	struct hub *h = arg;

	pthread_mutex_lock(&h->lock);
	for (struct link *l = h->links; l; l = l->next) {
		if (link_tick(l)) {
			atomic_fetch_add(&h->silent, 1);
			reap_locked(h, l);
		}
	}
	pthread_mutex_unlock(&h->lock);
	hub_timer_set(&h->timers, &h->tick, clock_mono_us() + h->tick_us);
}

int hub_add(struct hub *h, struct link *l, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&h->lock);
	if (h->stopping) {
		rc = err_set(e, ERR_CLOSED, "this end is closing its links");
	} else {
		l->next = h->links;
		if (l->next)
			l->next->prev = l;
		h->links = l;
		h->links_n++;
		h->accepted_n += l->accepted;
	}
	pthread_mutex_unlock(&h->lock);
	return rc;
}

static void settle_locked(struct hub *h, struct link *l)
{
	if (l->from) {
		l->from->unopened--;
		l->from = NULL;
		pthread_cond_broadcast(&h->changed);
	}
}

void hub_settle(struct hub *h, struct link *l)
{
	pthread_mutex_lock(&h->lock);
	settle_locked(h, l);
	pthread_mutex_unlock(&h->lock);
}

void hub_remove(struct hub *h, struct link *l)
{
	pthread_mutex_lock(&h->lock);
	settle_locked(h, l);
	if (l->prev)
		l->prev->next = l->next;
	else
		h->links = l->next;
	if (l->next)
		l->next->prev = l->prev;
	h->links_n--;
	h->accepted_n -= l->accepted;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static int options_check(const struct hub_options *o, struct err *e)
{
	uint8_t key[LINK_KEY_BYTES];

	if (!o->cluster_id || !o->cluster_id[0] || strlen(o->cluster_id) >= HELLO_CLUSTER_MAX)
		return err_set(e, ERR_INVALID, "a cluster id has 1 to %d characters",
			       HELLO_CLUSTER_MAX - 1);
	if (!o->self.name[0] || strnlen(o->self.name, LINK_NAME_MAX) == LINK_NAME_MAX)
		return err_set(e, ERR_INVALID, "a node's or user's name has 1 to %d characters",
			       LINK_NAME_MAX - 1);
	for (const char *p = o->self.name; *p; p++) {
		if (*p <= 0x20 || *p >= 0x7f)
			return err_set(e, ERR_INVALID,
				       "a node's or user's name is printable ASCII without blanks");
	}
	if (o->self.kind == LINK_NODE ? o->self.node_id == 0
				      : o->self.kind != LINK_USER || o->self.node_id != 0)
		return err_set(e, ERR_INVALID, "a node has an id above 0, a user has none");
	if (!o->trust)
		return err_set(e, ERR_INVALID, "a hub needs a trust callback");
	crypto_sign_ed25519_sk_to_pk(key, o->secret);
	if (memcmp(key, o->self.key, sizeof key) != 0)
		return err_set(e, ERR_INVALID, "the secret key of %s does not fit its public key",
			       o->self.name);
	return 0;
}

static void options_take(struct hub *h, const struct hub_options *o)
{
	strcpy(h->cluster_id, o->cluster_id);
	h->self = o->self;
	memcpy(h->secret, o->secret, sizeof h->secret);
	h->trust = o->trust;
	h->trust_ctx = o->trust_ctx;
	h->hello_ms = o->hello_ms ? o->hello_ms : HELLO_MS;
	h->dial_ms = o->dial_ms ? o->dial_ms : DIAL_MS;
	h->silence_ms = o->silence_ms ? o->silence_ms : SILENCE_MS;
	h->queue_bytes_max = o->queue_bytes_max ? o->queue_bytes_max : QUEUE_BYTES_MAX;
	h->frame_bytes_max = o->frame_bytes_max && o->frame_bytes_max < LINK_FRAME_BYTES_MAX
				     ? o->frame_bytes_max
				     : LINK_FRAME_BYTES_MAX;
	h->links_max = o->links_max ? o->links_max : LINKS_MAX;
	h->tick_us = (uint64_t)h->silence_ms * 1000 / TICKS_OF_SILENCE;
}

/* NNG starts its threads at its first call; they and ours inherit a mask in which nothing gets
 * through, so that signals reach the program's own threads only. */
static int threads_start(struct hub *h, struct err *e)
{
	sigset_t all, before;
	nng_aio *aio;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rv = nng_aio_alloc(&aio, NULL, NULL);
	int rc = rv ? err_set(e, ERR_NOMEM, "NNG does not start: %s", nng_strerror(rv)) : 0;
	if (!rc) {
		nng_aio_free(aio);
		rc = hub_timers_start(&h->timers, e);
	}
	if (!rc) {
		int sys = pthread_create(&h->reaper, NULL, reaper_thread, h);
		if (sys)
			rc = err_sys(e, ERR_NOMEM, sys, "cannot start the links' reaper thread");
		else
			h->reaping = true;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void hub_destroy(struct hub *h)
{
	if (h->reaping) {
		pthread_mutex_lock(&h->lock);
		h->stopping = true;
		pthread_cond_signal(&h->reap_wake);
		pthread_mutex_unlock(&h->lock);
		pthread_join(h->reaper, NULL);
	}
	if (h->timers.started) {
		hub_timer_done(&h->timers, &h->tick);
		hub_timers_stop(&h->timers);
	}
	pthread_cond_destroy(&h->changed);
	pthread_cond_destroy(&h->reap_wake);
	pthread_mutex_destroy(&h->lock);
	sodium_memzero(h->secret, sizeof h->secret);
	free(h);
}

int hub_new(struct hub **ret_hub, const struct hub_options *o, struct err *e)
{
	if (sodium_init() < 0)
		return err_set(e, ERR_IO, "libsodium finds no source of random numbers");
	int rc = options_check(o, e);
	if (rc)
		return rc;
	struct hub *h = calloc(1, sizeof *h);
	if (!h)
		return err_set(e, ERR_NOMEM, "no memory for a hub of links");
	options_take(h, o);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->reap_wake, NULL);
	pthread_cond_init(&h->changed, NULL);
	rc = threads_start(h, e);
	if (!rc)
		rc = hub_timer_init(&h->timers, &h->tick, hub_ticked, h, e);
	if (rc) {
		hub_destroy(h);
		return rc;
	}
	hub_timer_set(&h->timers, &h->tick, clock_mono_us() + h->tick_us);
	*ret_hub = h;
	return 0;
}

void hub_free(struct hub *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	while (h->listeners) {
		struct listener *ln = h->listeners;
		pthread_mutex_unlock(&h->lock);
		listener_free(ln);
		pthread_mutex_lock(&h->lock);
	}
	for (struct link *l = h->links; l;) {
		if (atomic_load(&l->state) >= LINK_CLOSING) {
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
	while (h->links)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
	hub_destroy(h);
}

bool hub_flush(struct hub *h, uint32_t timeout_ms)
{
	uint64_t until_us = clock_mono_us() + (uint64_t)timeout_ms * 1000;

	for (;;) {
		bool waiting = false;
		pthread_mutex_lock(&h->lock);
		for (struct link *l = h->links; l && !waiting; l = l->next) {
			struct link_stats st;
			link_stats(l, &st);
			waiting = atomic_load(&l->state) == LINK_OPEN && st.queued_bytes > 0;
		}
		pthread_mutex_unlock(&h->lock);
		if (!waiting || clock_mono_us() >= until_us)
			return !waiting;
		struct timespec pause = {.tv_nsec = FLUSH_POLL_US * 1000};
		nanosleep(&pause, NULL);
	}
}

void hub_stats(const struct hub *h, struct hub_stats *ret_stats)
{
	struct hub *w = (struct hub *)(uintptr_t)h;

	pthread_mutex_lock(&w->lock);
	*ret_stats = (struct hub_stats){
		.accepted = atomic_load(&w->accepted),
		.refused_hello = atomic_load(&w->refused_hello),
		.refused_trust = atomic_load(&w->refused_trust),
		.bad_frames = atomic_load(&w->bad_frames),
		.silent = atomic_load(&w->silent),
		.links = w->links_n,
	};
	pthread_mutex_unlock(&w->lock);
}

void link_exit(int status)
{
	fflush(NULL);
#ifdef __SANITIZE_ADDRESS__
	/* _exit passes by the leak check, which otherwise runs on the way out. */
	__lsan_do_leak_check();
#endif
	_exit(status);
}
