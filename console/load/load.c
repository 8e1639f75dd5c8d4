#include "console/load/load.h"
#include "common/clock.h"
#include "console/load/worker.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_US 1000	      /* the pacing thread looks at parked workers so often */
#define LOOK_IDLE_US 20000    /* and so often when there are none */
#define FILL_GIVE_UP_MS 30000 /* a fill that gets nothing acknowledged for so long has failed */

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static void wait_us(struct load *l, uint64_t us)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(us / 1000000);
	at.tv_nsec += (long)(us % 1000000) * 1000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&l->change, &l->lock, &at);
}

static int check_options(const struct load_options *o, struct err *e)
{
	if (o->workers == 0 || o->workers > LOAD_WORKERS_MAX)
		return err_set(e, ERR_INVALID, "the concurrency is 1 to %d", LOAD_WORKERS_MAX);
	if (o->keys == 0 || o->keys > LEDGER_KEYS_MAX - LOAD_WORKERS_MAX)
		return err_set(e, ERR_INVALID, "the number of keys is 1 to %d",
			       LEDGER_KEYS_MAX - LOAD_WORKERS_MAX);
	if (o->value_bytes > LOAD_VALUE_BYTES_MAX)
		return err_set(e, ERR_INVALID, "a value has at most %u bytes",
			       LOAD_VALUE_BYTES_MAX);
	if (strlen(o->namespace) >= SQL_NAMESPACE_MAX || !o->namespace[0])
		return err_set(e, ERR_INVALID, "a namespace's name has 1 to %d characters",
			       SQL_NAMESPACE_MAX - 1);
	return 0;
}

static void write_statements(struct load *l)
{
	const char *p = l->prefix;

	snprintf(l->sql_write, sizeof l->sql_write,
		 "INSERT INTO %s_keys(key, worker, n, value) VALUES(?1, ?2, ?3, ?4) "
		 "ON CONFLICT(key) DO UPDATE SET worker = ?2, n = ?3, value = ?4",
		 p);
	snprintf(l->sql_hot, sizeof l->sql_hot,
		 "UPDATE %s_hot SET count = count + 1 WHERE key = ?1", p);
	snprintf(l->sql_read, sizeof l->sql_read, "SELECT n, value FROM %s_keys WHERE key = ?1", p);
	snprintf(l->sql_read_hot, sizeof l->sql_read_hot, "SELECT count FROM %s_hot WHERE key = ?1",
		 p);
	snprintf(l->sql_scan, sizeof l->sql_scan,
		 "SELECT key, worker, n, value FROM %s_keys WHERE key > ?1 ORDER BY key LIMIT ?2",
		 p);
	snprintf(l->sql_scan_hot, sizeof l->sql_scan_hot,
		 "SELECT key, count FROM %s_hot ORDER BY key", p);
}

int load_new(struct load **ret_load, const struct load_options *o, struct err *e)
{
	int rc = check_options(o, e);
	struct load *l;

	if (rc)
		return rc;
	l = calloc(1, sizeof *l);
	if (!l)
		return err_set(e, ERR_NOMEM, "no memory for the load");
	pthread_mutex_init(&l->lock, NULL);
	cond_init(&l->change);
	for (int i = 0; i < HIST_STRIPES; i++)
		pthread_mutex_init(&l->stripes[i].lock, NULL);
	l->o = *o;
	snprintf(l->namespace, sizeof l->namespace, "%s", o->namespace);
	snprintf(l->prefix, sizeof l->prefix, "%s", o->prefix);
	write_statements(l);
	l->keys_each = (o->keys + o->workers - 1) / o->workers;
	l->workers = calloc(o->workers, sizeof *l->workers);
	if (!l->workers)
		rc = err_set(e, ERR_NOMEM, "no memory for %u workers", o->workers);
	if (!rc)
		rc = ledger_new(&l->ledger, load_keys(l), o->hot_keys, e);
	while (!rc && l->workers_made < o->workers) {
		uint32_t id = l->workers_made++;
		rc = worker_init(&l->workers[id], l, id, e);
	}
	if (rc) {
		load_free(l);
		return rc;
	}
	*ret_load = l;
	return 0;
}

uint64_t load_keys(const struct load *l)
{
	return l->keys_each * l->o.workers;
}

static void join(struct load *l)
{
	if (l->thread_made)
		pthread_join(l->thread, NULL);
	l->thread_made = false;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	load_stop(l);
	join(l);
	for (uint32_t i = 0; i < l->workers_made; i++)
		worker_done(&l->workers[i]);
	free(l->workers);
	ledger_free(l->ledger);
	for (int i = 0; i < HIST_STRIPES; i++)
		pthread_mutex_destroy(&l->stripes[i].lock);
	pthread_cond_destroy(&l->change);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void load_park(struct load *l, struct worker *w, uint64_t due_us)
{
	pthread_mutex_lock(&l->lock);
	w->parked = true;
	w->due_us = due_us;
	if (l->parked_n++ == 0)
		pthread_cond_broadcast(&l->change);
	pthread_mutex_unlock(&l->lock);
}

void load_worker_ended(struct load *l)
{
	pthread_mutex_lock(&l->lock);
	assert(l->active > 0);
	if (--l->active == 0) {
		l->ended_us = clock_mono_us();
		pthread_cond_broadcast(&l->change);
	}
	pthread_mutex_unlock(&l->lock);
}

void load_note_error(struct load *l, int code, struct slice text)
{
	size_t i = 0;

	pthread_mutex_lock(&l->lock);
	while (i < l->errors_n && l->errors[i].code != code)
		i++;
	if (i < LOAD_ERRORS_MAX) {
		struct load_error *error = &l->errors[i];
		if (i == l->errors_n)
			l->errors_n++;
		error->code = code;
		error->count++;
		snprintf(error->text, sizeof error->text, "%.*s", (int)text.n,
			 text.n ? (const char *)text.p : "");
	}
	pthread_mutex_unlock(&l->lock);
}

void load_violation(struct load *l, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&l->lock);
	violations_add(&l->violations, "%s", text);
	pthread_mutex_unlock(&l->lock);
}

uint64_t load_violations(struct load *l)
{
	pthread_mutex_lock(&l->lock);
	uint64_t n = l->violations.count;
	pthread_mutex_unlock(&l->lock);
	return n;
}

static int by_count(const void *a, const void *b)
{
	const struct load_error *x = a, *y = b;

	return x->count > y->count ? -1 : x->count < y->count;
}

size_t load_errors(struct load *l, struct load_error *ret_errors)
{
	pthread_mutex_lock(&l->lock);
	size_t n = l->errors_n;
	memcpy(ret_errors, l->errors, n * sizeof *ret_errors);
	pthread_mutex_unlock(&l->lock);
	if (n)
		qsort(ret_errors, n, sizeof *ret_errors, by_count);
	return n;
}

/* With the lock held: takes the next parked worker that is due (all are at the end) off the list.
 * *from: where to look on. */
static struct worker *unpark(struct load *l, uint32_t *from, uint64_t now_us)
{
	for (; *from < l->o.workers; (*from)++) {
		struct worker *w = &l->workers[*from];
		if (w->parked && (w->due_us <= now_us || atomic_load(&l->stopping))) {
			w->parked = false;
			l->parked_n--;
			return w;
		}
	}
	return NULL;
}

/* Ends the run at its time and lets parked workers go on when they are due. */
static void *pace(void *arg)
{
	struct load *l = arg;

	pthread_mutex_lock(&l->lock);
	while (l->active > 0) {
		uint64_t now_us = clock_mono_us();
		uint32_t from = 0;
		struct worker *w;

		if (l->ends_us && now_us >= l->ends_us)
			atomic_store(&l->stopping, true);
		while (l->parked_n > 0 && (w = unpark(l, &from, now_us))) {
			pthread_mutex_unlock(&l->lock);
			worker_step(w);
			pthread_mutex_lock(&l->lock);
		}
		if (l->active > 0)
			wait_us(l, l->parked_n ? LOOK_US : LOOK_IDLE_US);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

static void reset_counters(struct load *l)
{
	for (uint32_t i = 0; i < l->o.workers; i++) {
		struct worker *w = &l->workers[i];
		w->ok = w->failed = w->unknown = w->conflicts = 0;
		w->reads = w->writes = w->rows = w->latency_us_sum = 0;
		w->slot_us = 0;
		w->parked = false;
	}
	for (int i = 0; i < HIST_STRIPES; i++)
		hist_clear(&l->stripes[i].hist);
}

static int begin(struct load *l, struct err *e)
{
	uint32_t active = l->mix.active ? l->mix.active : l->o.workers;

	join(l);
	reset_counters(l);
	atomic_store(&l->stopping, false);
	l->started_us = clock_mono_us();
	l->slot_us = l->started_us;
	l->ends_us = l->mix.duration_ms ? l->started_us + l->mix.duration_ms * 1000 : 0;
	l->ended_us = 0;
	l->last_ok_us = l->started_us;
	l->active = active;
	l->parked_n = 0;
	if (pthread_create(&l->thread, NULL, pace, l)) {
		l->active = 0;
		return err_set(e, ERR_NOMEM, "no thread to be had");
	}
	l->thread_made = true;
	for (uint32_t i = 0; i < active; i++)
		worker_step(&l->workers[i]);
	return 0;
}

int load_start(struct load *l, const struct load_mix *mix, struct err *e)
{
	int rc = 0;

	assert(l->active == 0);
	if (mix->batch == 0 || mix->batch > LOAD_BATCH_MAX)
		return err_set(e, ERR_INVALID, "a batch is 1 to %d rows", LOAD_BATCH_MAX);
	for (uint32_t i = 0; i < l->o.workers && !rc; i++)
		rc = worker_reserve(&l->workers[i], mix->batch, e);
	if (rc)
		return rc;
	l->mix = *mix;
	if (l->mix.active > l->o.workers)
		l->mix.active = l->o.workers;
	l->filling = false;
	return begin(l, e);
}

void load_stop(struct load *l)
{
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->stopping, true);
	pthread_cond_broadcast(&l->change);
	pthread_mutex_unlock(&l->lock);
}

bool load_wait(struct load *l, uint64_t ms)
{
	uint64_t until_us = clock_mono_us() + ms * 1000, now_us;
	bool ended;

	pthread_mutex_lock(&l->lock);
	while (l->active > 0 && (now_us = clock_mono_us()) < until_us)
		wait_us(l, until_us - now_us < 100000 ? until_us - now_us : 100000);
	ended = l->active == 0;
	pthread_mutex_unlock(&l->lock);
	if (ended)
		join(l);
	return ended;
}

int load_fill(struct load *l, bool (*interrupted)(void), struct err *e)
{
	bool broken_off = false, stuck = false;
	int rc = 0;

	for (uint32_t i = 0; i < l->o.workers && !rc; i++) {
		rc = worker_reserve(&l->workers[i], LOAD_FILL_BATCH, e);
		l->workers[i].position = 0;
	}
	if (rc)
		return rc;
	l->mix = (struct load_mix){.batch = LOAD_FILL_BATCH};
	l->filling = true;
	rc = begin(l, e);
	while (!rc && !load_wait(l, 100)) {
		broken_off |= interrupted && interrupted();
		stuck |= clock_mono_us() > l->last_ok_us + FILL_GIVE_UP_MS * 1000ull;
		if (broken_off || stuck)
			load_stop(l);
	}
	l->filling = false;
	for (uint32_t i = 0; i < l->o.workers; i++)
		l->workers[i].position = 0;
	if (!rc && broken_off)
		rc = err_set(e, ERR_REFUSED, "interrupted while filling the table");
	if (!rc && stuck) {
		struct load_error errors[LOAD_ERRORS_MAX];
		size_t n = load_errors(l, errors);
		rc = err_set(e, n ? errors[0].code : ERR_TIMEOUT,
			     "filling the table got no answer for %d s: %.300s",
			     FILL_GIVE_UP_MS / 1000, n ? errors[0].text : "");
	}
	return rc;
}

void load_counts(struct load *l, struct load_counts *ret_counts)
{
	struct load_counts c = {0};

	for (uint32_t i = 0; i < l->o.workers; i++) {
		struct worker *w = &l->workers[i];
		c.ok += w->ok;
		c.failed += w->failed;
		c.unknown += w->unknown;
		c.conflicts += w->conflicts;
		c.reads += w->reads;
		c.writes += w->writes;
		c.rows += w->rows;
		c.latency_us_sum += w->latency_us_sum;
	}
	c.ops = c.ok + c.failed;
	c.last_ok_us = l->last_ok_us;
	pthread_mutex_lock(&l->lock);
	c.elapsed_us = (l->ended_us ? l->ended_us : clock_mono_us()) - l->started_us;
	pthread_mutex_unlock(&l->lock);
	*ret_counts = c;
}

void load_latency(struct load *l, struct hist *ret_hist)
{
	hist_clear(ret_hist);
	for (int i = 0; i < HIST_STRIPES; i++) {
		pthread_mutex_lock(&l->stripes[i].lock);
		hist_merge(ret_hist, &l->stripes[i].hist);
		pthread_mutex_unlock(&l->stripes[i].lock);
	}
}
