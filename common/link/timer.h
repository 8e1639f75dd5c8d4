/* Timers on the monotonic clock, fired on one thread of their own.
 *
 * NNG's timers follow the realtime clock and are not used for anything that
 * must not jump. A timer is embedded in what it is for. hub_timer_init takes
 * its place in the heap beforehand, so setting never fails.
 *
 * Threads: any, also from a timer's own `fire`. `fire` runs without locks and
 * must not block. hub_timer_done waits for a `fire` that is running, except on
 * the timer thread itself; so do not call it with a lock that `fire` takes.
 */
#ifndef DROVER_COMMON_LINK_TIMER_H
#define DROVER_COMMON_LINK_TIMER_H

#include "common/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub_timer {
	void (*fire)(void *ctx);
	void *ctx;
	uint64_t due_us;
	size_t at; /* place in the heap from 1; 0: not set */
};

struct hub_timers {
	pthread_mutex_t lock;
	pthread_cond_t wake; /* for the thread: an earlier timer, or stop */
	pthread_cond_t ran;  /* for hub_timer_done: `running` has changed */
	pthread_t thread;
	struct hub_timer **heap; /* from 1 */
	size_t n, reserved, cap;
	struct hub_timer *running;
	bool stop, started;
};

int hub_timers_start(struct hub_timers *ts, struct err *e);
void hub_timers_stop(struct hub_timers *ts);

int hub_timer_init(struct hub_timers *ts, struct hub_timer *t, void (*fire)(void *ctx), void *ctx,
		   struct err *e);
void hub_timer_done(struct hub_timers *ts, struct hub_timer *t);

/* In clock_mono_us() time; replaces an earlier setting. */
void hub_timer_set(struct hub_timers *ts, struct hub_timer *t, uint64_t due_us);
/* If it is set: fire now. */
void hub_timer_hasten(struct hub_timers *ts, struct hub_timer *t);
void hub_timer_clear(struct hub_timers *ts, struct hub_timer *t); /* may still be running */

#endif
