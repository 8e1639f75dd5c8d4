#include "common/link/timer.h"

#include "common/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

static void place(struct hub_timers *ts, size_t at, struct hub_timer *t)
{
	ts->heap[at] = t;
	t->at = at;
}

static void sift_up(struct hub_timers *ts, size_t at)
{
	struct hub_timer *t = ts->heap[at];

	while (at > 1 && t->due_us < ts->heap[at / 2]->due_us) {
		place(ts, at, ts->heap[at / 2]);
		at /= 2;
	}
	place(ts, at, t);
}

static void sift_down(struct hub_timers *ts, size_t at)
{
	struct hub_timer *t = ts->heap[at];

	for (size_t child; (child = 2 * at) <= ts->n; at = child) {
		if (child < ts->n && ts->heap[child + 1]->due_us < ts->heap[child]->due_us)
			child++;
		if (t->due_us <= ts->heap[child]->due_us)
			break;
		place(ts, at, ts->heap[child]);
	}
	place(ts, at, t);
}

static void take_out(struct hub_timers *ts, struct hub_timer *t)
{
	size_t at = t->at;
	struct hub_timer *last = ts->heap[ts->n--];

	t->at = 0;
	if (last == t)
		return;
	place(ts, at, last);
	sift_up(ts, at);
	sift_down(ts, last->at);
}

static void put_in(struct hub_timers *ts, struct hub_timer *t, uint64_t due_us)
{
	if (t->at)
		take_out(ts, t);
	t->due_us = due_us;
	assert(ts->n < ts->reserved);
	place(ts, ++ts->n, t);
	sift_up(ts, ts->n);
	if (t->at == 1)
		pthread_cond_signal(&ts->wake);
}

static void *timer_thread(void *arg)
{
	struct hub_timers *ts = arg;

	pthread_mutex_lock(&ts->lock);
	while (!ts->stop) {
		if (ts->n == 0) {
			pthread_cond_wait(&ts->wake, &ts->lock);
			continue;
		}
		struct hub_timer *t = ts->heap[1];
		if (t->due_us > clock_mono_us()) {
			struct timespec until = {.tv_sec = (time_t)(t->due_us / 1000000),
						 .tv_nsec = (long)(t->due_us % 1000000 * 1000)};
			pthread_cond_timedwait(&ts->wake, &ts->lock, &until);
			continue;
		}
		take_out(ts, t);
		ts->running = t;
		pthread_mutex_unlock(&ts->lock);
		t->fire(t->ctx);
		pthread_mutex_lock(&ts->lock);
		ts->running = NULL;
		pthread_cond_broadcast(&ts->ran);
	}
	pthread_mutex_unlock(&ts->lock);
	return NULL;
}

int hub_timers_start(struct hub_timers *ts, struct err *e)
{
	pthread_condattr_t attr;

	*ts = (struct hub_timers){0};
	pthread_mutex_init(&ts->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ts->wake, &attr);
	pthread_cond_init(&ts->ran, NULL);
	pthread_condattr_destroy(&attr);
	int rc = pthread_create(&ts->thread, NULL, timer_thread, ts);
	if (rc)
		return err_sys(e, ERR_NOMEM, rc, "cannot start the timer thread");
	ts->started = true;
	return 0;
}

void hub_timers_stop(struct hub_timers *ts)
{
	if (ts->started) {
		pthread_mutex_lock(&ts->lock);
		ts->stop = true;
		pthread_cond_signal(&ts->wake);
		pthread_mutex_unlock(&ts->lock);
		pthread_join(ts->thread, NULL);
	}
	pthread_cond_destroy(&ts->ran);
	pthread_cond_destroy(&ts->wake);
	pthread_mutex_destroy(&ts->lock);
	free(ts->heap);
}

int hub_timer_init(struct hub_timers *ts, struct hub_timer *t, void (*fire)(void *ctx), void *ctx,
		   struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&ts->lock);
	if (ts->reserved + 1 >= ts->cap) {
		size_t cap = ts->cap ? ts->cap * 2 : 32;
		struct hub_timer **heap = realloc(ts->heap, cap * sizeof(struct hub_timer *));
		if (heap) {
			ts->heap = heap;
			ts->cap = cap;
		} else {
			rc = err_set(e, ERR_NOMEM, "no memory for a timer");
		}
	}
	if (!rc) {
		ts->reserved++;
		*t = (struct hub_timer){.fire = fire, .ctx = ctx};
	}
	pthread_mutex_unlock(&ts->lock);
	return rc;
}

void hub_timer_done(struct hub_timers *ts, struct hub_timer *t)
{
	if (!t->fire)
		return;
	pthread_mutex_lock(&ts->lock);
	for (;;) {
		if (t->at)
			take_out(ts, t);
		if (ts->running != t || pthread_equal(ts->thread, pthread_self()))
			break;
		pthread_cond_wait(&ts->ran, &ts->lock);
	}
	t->fire = NULL;
	ts->reserved--;
	pthread_mutex_unlock(&ts->lock);
}

void hub_timer_set(struct hub_timers *ts, struct hub_timer *t, uint64_t due_us)
{
	pthread_mutex_lock(&ts->lock);
	put_in(ts, t, due_us);
	pthread_mutex_unlock(&ts->lock);
}

void hub_timer_hasten(struct hub_timers *ts, struct hub_timer *t)
{
	pthread_mutex_lock(&ts->lock);
	if (t->at)
		put_in(ts, t, 0);
	pthread_mutex_unlock(&ts->lock);
}

void hub_timer_clear(struct hub_timers *ts, struct hub_timer *t)
{
	pthread_mutex_lock(&ts->lock);
	if (t->at)
		take_out(ts, t);
	pthread_mutex_unlock(&ts->lock);
}
