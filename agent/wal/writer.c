#include "agent/wal/writer.h"

#include "agent/wal/wal_state.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FULL_RETRY_MS 1000
#define IDLE_MS 200 /* of quiet, after which the log vouches for its last batch */

struct wal_writer {
	struct wal *wal;
	void (*on_synced)(void *ctx, const struct wal_synced *rows, size_t n);
	void (*on_failed)(void *ctx, const struct err *e);
	void *ctx;

	pthread_t append_thread;
	pthread_t reserve_thread;
	pthread_mutex_t lock;
	pthread_mutex_t telling; /* one callback at a time, and none after a failure was told */
	pthread_cond_t append_wake;
	pthread_cond_t reserve_wake;
	/* Set without the lock by a kick; the first kick after it was cleared wakes the thread. */
	atomic_bool kicked;
	atomic_bool failed;
	bool reserve_wanted;
	bool stop;	   /* the append thread: sync what is staged and end */
	bool stop_reserve; /* when it has ended */
};

static void fail(struct wal_writer *wr, const struct err *e)
{
	pthread_mutex_lock(&wr->telling);
	if (!atomic_exchange(&wr->failed, true))
		wr->on_failed(wr->ctx, e);
	pthread_mutex_unlock(&wr->telling);
}

static void tell_synced(struct wal_writer *wr, const struct wal_synced *rows, size_t n)
{
	pthread_mutex_lock(&wr->telling);
	if (!atomic_load(&wr->failed))
		wr->on_synced(wr->ctx, rows, n);
	pthread_mutex_unlock(&wr->telling);
}

static void deadline_in(uint64_t ms, struct timespec *ret_when)
{
	clock_gettime(CLOCK_MONOTONIC, ret_when);
	ret_when->tv_sec += (time_t)(ms / 1000);
	ret_when->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ret_when->tv_nsec >= 1000000000) {
		ret_when->tv_sec++;
		ret_when->tv_nsec -= 1000000000;
	}
}

void wal_writer_kick(struct wal_writer *wr)
{
	if (atomic_exchange(&wr->kicked, true))
		return;
	pthread_mutex_lock(&wr->lock);
	pthread_cond_signal(&wr->append_wake);
	pthread_mutex_unlock(&wr->lock);
}

static void want_reserve(struct wal_writer *wr)
{
	pthread_mutex_lock(&wr->lock);
	wr->reserve_wanted = true;
	pthread_cond_signal(&wr->reserve_wake);
	pthread_mutex_unlock(&wr->lock);
}

/* Waits for a kick or the end; false after a quiet time, when `idle` asks for being told so. */
static bool wait_kick(struct wal_writer *wr, bool idle, bool *ret_stop)
{
	struct timespec when;
	int timed_out = 0;

	deadline_in(IDLE_MS, &when);
	pthread_mutex_lock(&wr->lock);
	while (!atomic_load(&wr->kicked) && !wr->stop && !timed_out) {
		if (idle)
			timed_out = pthread_cond_timedwait(&wr->append_wake, &wr->lock, &when);
		else
			pthread_cond_wait(&wr->append_wake, &wr->lock);
	}
	*ret_stop = wr->stop;
	pthread_mutex_unlock(&wr->lock);
	/* Before wal_sync takes what is staged: a kick after that must count again. */
	bool kicked = atomic_exchange(&wr->kicked, false);
	return kicked || *ret_stop;
}

static void *append_main(void *arg)
{
	struct wal_writer *wr = arg;
	struct wal_synced rows[WAL_GROUPS_MAX];
	bool stop = false, idle = false;

	while (!stop && !atomic_load(&wr->failed)) {
		struct err e;
		size_t n = 0;
		int rc;
		if (wait_kick(wr, idle, &stop)) {
			rc = wal_sync(wr->wal, rows, &n, &e);
			idle = rc == 0;
		} else {
			rc = wal_vouch(wr->wal, false, &e);
			idle = false;
		}
		/* A full disk is the reserve thread's to watch; it kicks when there is room. */
		if (rc && rc != ERR_DISK_FULL) {
			fail(wr, &e);
			break;
		}
		if (n > 0)
			tell_synced(wr, rows, n);
		if (wal_wants_prepare(wr->wal))
			want_reserve(wr);
	}
	return NULL;
}

/* Waits until there is something to do; false at the end. */
static bool wait_wanted(struct wal_writer *wr, bool full)
{
	struct timespec when;
	int timed_out = 0;

	deadline_in(FULL_RETRY_MS, &when);
	pthread_mutex_lock(&wr->lock);
	while (!wr->stop_reserve && !timed_out && (full || !wr->reserve_wanted)) {
		if (full)
			timed_out = pthread_cond_timedwait(&wr->reserve_wake, &wr->lock, &when);
		else
			pthread_cond_wait(&wr->reserve_wake, &wr->lock);
	}
	wr->reserve_wanted = false;
	bool go = !wr->stop_reserve;
	pthread_mutex_unlock(&wr->lock);
	return go && !atomic_load(&wr->failed);
}

static void *reserve_main(void *arg)
{
	struct wal_writer *wr = arg;
	bool full = false;

	while (wait_wanted(wr, full)) {
		struct err e;
		int rc = wal_prepare(wr->wal, &e);
		if (rc == 0 && full)
			wal_writer_kick(wr);
		full = rc == ERR_DISK_FULL;
		if (rc && rc != ERR_DISK_FULL && rc != ERR_CLOSED) {
			fail(wr, &e);
			break;
		}
	}
	return NULL;
}

static int start_threads(struct wal_writer *wr, struct err *e)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int sys = pthread_create(&wr->append_thread, NULL, append_main, wr);
	if (sys == 0) {
		sys = pthread_create(&wr->reserve_thread, NULL, reserve_main, wr);
		if (sys) {
			pthread_mutex_lock(&wr->lock);
			wr->stop = true;
			pthread_cond_signal(&wr->append_wake);
			pthread_mutex_unlock(&wr->lock);
			pthread_join(wr->append_thread, NULL);
		} else {
			pthread_setname_np(wr->append_thread, "wal-append");
			pthread_setname_np(wr->reserve_thread, "wal-reserve");
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return sys ? err_sys(e, ERR_IO, sys, "cannot start the log's threads") : 0;
}

static void writer_free(struct wal_writer *wr)
{
	pthread_cond_destroy(&wr->append_wake);
	pthread_cond_destroy(&wr->reserve_wake);
	pthread_mutex_destroy(&wr->telling);
	pthread_mutex_destroy(&wr->lock);
	free(wr);
}

int wal_writer_start(struct wal_writer **ret_writer, struct wal *w,
		     void (*on_synced)(void *ctx, const struct wal_synced *rows, size_t n),
		     void (*on_failed)(void *ctx, const struct err *e), void *ctx, struct err *e)
{
	struct wal_writer *wr = calloc(1, sizeof *wr);
	pthread_condattr_t attr;

	if (!wr)
		return err_set(e, ERR_NOMEM, "no memory for the log's writer");
	wr->wal = w;
	wr->on_synced = on_synced;
	wr->on_failed = on_failed;
	wr->ctx = ctx;
	/* What was staged before counts as a kick, and the first spare is wanted at once. */
	wr->kicked = true;
	wr->reserve_wanted = wal_wants_prepare(w);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&wr->append_wake, &attr);
	pthread_cond_init(&wr->reserve_wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&wr->lock, NULL);
	pthread_mutex_init(&wr->telling, NULL);
	int rc = start_threads(wr, e);
	if (rc) {
		writer_free(wr);
		return rc;
	}
	*ret_writer = wr;
	return 0;
}

void wal_writer_stop(struct wal_writer *wr)
{
	if (!wr)
		return;
	pthread_mutex_lock(&wr->lock);
	wr->stop = true;
	pthread_cond_signal(&wr->append_wake);
	pthread_mutex_unlock(&wr->lock);
	pthread_join(wr->append_thread, NULL);
	/* Only now: the last sync may have needed the segment being made. */
	atomic_store(&wr->wal->quitting, true);
	pthread_mutex_lock(&wr->lock);
	wr->stop_reserve = true;
	pthread_cond_signal(&wr->reserve_wake);
	pthread_mutex_unlock(&wr->lock);
	pthread_join(wr->reserve_thread, NULL);
	atomic_store(&wr->wal->quitting, false);
	writer_free(wr);
}
