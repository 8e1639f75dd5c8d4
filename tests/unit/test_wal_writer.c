/* The log's threads: many stage and read while one writes and one reserves. */
#include "agent/wal/writer.h"

#include "tests/unit/disk_faulty.h"
#include "tests/unit/wal_model.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GROUPS 3

static uint64_t draw(void *ctx)
{
	(void)ctx;
	return (uint64_t)rand() << 32 | (uint64_t)rand();
}

static struct wal *open_log(struct faulty *d)
{
	struct wal_options o = {
		.dir = "/log",
		.disk = faulty_door(d),
		.random = draw,
		.segment_bytes = 128 << 10,
		.tail_bytes = 8000,
	};
	struct wal *w = NULL;
	struct err e;

	if (wal_open(&w, &o, &e))
		fail_msg("%s", e.text);
	return w;
}

/* What the callbacks saw. */
struct seen {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t persisted[GROUPS];
	uint64_t last[GROUPS];
	unsigned failures;
	int code;
	unsigned synced_after_failure;
};

static void seen_init(struct seen *s)
{
	memset(s, 0, sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
}

static void seen_done(struct seen *s)
{
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}

static void on_synced(void *ctx, const struct wal_synced *rows, size_t n)
{
	struct seen *s = ctx;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		assert_true(rows[i].persist_id > s->persisted[rows[i].group]);
		s->persisted[rows[i].group] = rows[i].persist_id;
		s->last[rows[i].group] = rows[i].last_index;
	}
	s->synced_after_failure += s->failures;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void on_failed(void *ctx, const struct err *e)
{
	struct seen *s = ctx;

	pthread_mutex_lock(&s->lock);
	s->failures++;
	s->code = e->code;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void wait_last(struct seen *s, uint32_t group, uint64_t index)
{
	pthread_mutex_lock(&s->lock);
	while (s->last[group] < index && !s->failures)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

struct reader {
	struct wal *w;
	struct model *m; /* only its seed is used: what an entry's payload must be */
	atomic_bool *stop;
	uint64_t _Atomic *first; /* of each group: below is compacted */
	uint64_t _Atomic *last;	 /* of each group: staged and never truncated */
	uint64_t read;
	uint64_t compacted;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	uint64_t dice = (uint64_t)(uintptr_t)r;

	while (!atomic_load(r->stop)) {
		struct wal_entry rows[40];
		struct wal_stats stats;
		struct err e;
		dice = dice * 6364136223846793005u + 1442695040888963407u;
		uint32_t group = (uint32_t)(dice >> 33) % GROUPS;
		uint64_t last = atomic_load(&r->last[group]), first = atomic_load(&r->first[group]);
		if (last < first)
			continue;
		uint64_t from = first + (dice >> 40) % (last - first + 1);
		size_t n = 0;
		int rc = wal_read(r->w, group, from, 40, 10000, rows, &n, &e);
		if (rc == ERR_NOT_FOUND) {
			assert_true(atomic_load(&r->first[group]) > from);
			r->compacted++;
			continue;
		}
		if (rc)
			fail_msg("%s", e.text);
		assert_true(n > 0);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(rows[i].index, from + i);
			assert_true(model_entry_right(r->m, group, &rows[i]));
		}
		r->read += n;
		wal_entries_unref(rows, n);
		n = wal_read_tail(r->w, group, last, 40, 10000, rows);
		wal_entries_unref(rows, n);
		wal_stats(r->w, &stats);
		wal_room(r->w);
		wal_held_by(r->w, &group, &from);
	}
	return NULL;
}

static void readers_see_right_entries_while_the_log_is_written(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(7, GROUPS, 2000);
	struct seen s;
	struct wal_writer *wr;
	atomic_bool stop = false;
	uint64_t _Atomic first[GROUPS], last[GROUPS];
	struct reader readers[3];
	pthread_t threads[3];
	struct err e;

	(void)state;
	seen_init(&s);
	for (int g = 0; g < GROUPS; g++) {
		atomic_init(&first[g], 1);
		atomic_init(&last[g], 0);
	}
	assert_int_equal(wal_writer_start(&wr, w, on_synced, on_failed, &s, &e), 0);
	for (int i = 0; i < 3; i++) {
		readers[i] = (struct reader){w, m, &stop, first, last, 0, 0};
		pthread_create(&threads[i], NULL, reader_main, &readers[i]);
	}
	for (unsigned turn = 0; turn < 1500; turn++) {
		uint32_t g = turn % GROUPS;
		assert_int_equal(model_append(m, w, g, 1 + turn % 7, &e), 0);
		wal_writer_kick(wr);
		atomic_store(&last[g], model_last(m, g));
		if (turn % 100 == 50) {
			/* Void at once what nobody was told of. */
			assert_int_equal(model_append(m, w, g, 3, &e), 0);
			wal_writer_kick(wr);
			assert_int_equal(model_truncate(m, w, g, atomic_load(&last[g]) + 1, 2, &e),
					 0);
			wal_writer_kick(wr);
		}
		if (turn % 200 == 199) {
			for (uint32_t k = 0; k < GROUPS; k++) {
				atomic_store(&first[k], model_last(m, k) - 99);
				assert_int_equal(model_compact(m, w, k, model_last(m, k) - 100, &e),
						 0);
			}
			wal_writer_kick(wr);
			wait_last(&s, g, atomic_load(&last[g]));
		}
		if (turn % 16 == 0)
			wait_last(&s, g, atomic_load(&last[g]));
	}
	wal_writer_kick(wr);
	for (uint32_t g = 0; g < GROUPS; g++)
		wait_last(&s, g, model_last(m, g));
	atomic_store(&stop, true);
	uint64_t read = 0;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		read += readers[i].read;
	}
	assert_true(read > 0);
	wal_writer_stop(wr);
	assert_int_equal(s.failures, 0);
	model_synced(m);
	assert_true(model_matches(m, w));
	wal_free(w);
	faulty_crash(d);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
	seen_done(&s);
}

static void stopping_syncs_what_is_staged(void **state)
{
	(void)state;
	for (int turn = 0; turn < 20; turn++) {
		struct faulty *d = faulty_new(1);
		struct wal *w = open_log(d);
		struct model *m = model_new(7, GROUPS, 2000);
		struct wal_writer *wr;
		struct seen s;
		struct err e;
		seen_init(&s);
		assert_int_equal(model_append(m, w, 1, 5, &e), 0); /* before the start */
		assert_int_equal(wal_writer_start(&wr, w, on_synced, on_failed, &s, &e), 0);
		for (int i = 0; i < turn; i++)
			assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		if (turn % 2)
			wal_writer_kick(wr);
		wal_writer_stop(wr);
		assert_int_equal(s.failures, 0);
		assert_int_equal(s.last[1], 5);
		assert_int_equal(s.last[0], turn * 50);
		model_synced(m);
		wal_free(w);
		faulty_crash(d);
		w = open_log(d);
		assert_true(model_matches(m, w));
		wal_free(w);
		model_free(m);
		faulty_free(d);
		seen_done(&s);
	}
	wal_writer_stop(NULL);
}

static void a_failure_is_told_once_and_nothing_synced_after_it(void **state)
{
	static const enum faulty_op ops[] = {FAULTY_WRITE, FAULTY_SYNC, FAULTY_RENAME};

	(void)state;
	for (unsigned turn = 0; turn < 24; turn++) {
		struct faulty *d = faulty_new(1);
		struct wal *w = open_log(d);
		struct model *m = model_new(7, GROUPS, 2000);
		struct wal_writer *wr;
		struct seen s;
		struct err e = {0};
		seen_init(&s);
		faulty_fail(d, ops[turn % 3], turn % 3 == 2 ? turn % 2 : turn, EIO);
		assert_int_equal(wal_writer_start(&wr, w, on_synced, on_failed, &s, &e), 0);
		/* On the append thread or, for a rename, the reserve thread. */
		for (;;) {
			int rc = model_append(m, w, 0, 5, &e);
			if (rc) {
				assert_int_equal(rc, ERR_IO);
				break;
			}
			wal_writer_kick(wr);
			wait_last(&s, 0, model_last(m, 0));
		}
		pthread_mutex_lock(&s.lock);
		while (!s.failures)
			pthread_cond_wait(&s.changed, &s.lock);
		pthread_mutex_unlock(&s.lock);
		wal_writer_kick(wr);
		wal_writer_stop(wr);
		assert_int_equal(s.failures, 1);
		assert_int_equal(s.code, ERR_IO);
		assert_int_equal(s.synced_after_failure, 0);
		wal_free(w);
		faulty_crash(d);
		w = open_log(d);
		struct wal_group_state gs;
		wal_group(w, 0, &gs);
		assert_true(gs.last_index >= s.last[0]);
		wal_free(w);
		model_free(m);
		faulty_free(d);
		seen_done(&s);
	}
}

static void a_full_disk_is_waited_out(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(7, GROUPS, 2000);
	struct wal_writer *wr;
	struct seen s;
	struct err e;

	(void)state;
	seen_init(&s);
	faulty_set_room(d, (128 << 10) + 1000);
	assert_int_equal(wal_writer_start(&wr, w, on_synced, on_failed, &s, &e), 0);
	while (wal_room(w))
		usleep(1000);
	/* More than the current segment holds. */
	for (int i = 0; i < 60; i++)
		assert_int_equal(model_append(m, w, 0, 50, &e), 0);
	wal_writer_kick(wr);
	wait_last(&s, 0, 1);
	assert_false(wal_room(w));
	faulty_set_room(d, 0);
	wait_last(&s, 0, 3000);
	assert_int_equal(s.failures, 0);
	wal_writer_stop(wr);
	assert_true(wal_room(w));
	model_synced(m);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
	seen_done(&s);
}

/* Quiet for a while, the log vouches for its last batch: damage to it is then known as such. */
static void an_idle_log_vouches_for_its_last_batch(void **state)
{
	static const char path[] = "/log/0000000000000001.seg";
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(7, GROUPS, 2000);
	struct wal_options o = {.dir = "/log", .random = draw, .segment_bytes = 128 << 10};
	struct wal_writer *wr;
	struct seen s;
	struct err e;
	uint8_t zero[64] = {0};

	(void)state;
	seen_init(&s);
	assert_int_equal(wal_writer_start(&wr, w, on_synced, on_failed, &s, &e), 0);
	assert_int_equal(model_append(m, w, 0, 5, &e), 0);
	wal_writer_kick(wr);
	wait_last(&s, 0, 5);
	for (int code = 0; code != ERR_CORRUPT;) {
		struct faulty *copy = faulty_copy(d);
		struct wal *again;
		usleep(10000);
		assert_true(faulty_poke(copy, path, 4096, zero, sizeof zero));
		o.disk = faulty_door(copy);
		code = wal_open(&again, &o, &e);
		if (code == 0)
			wal_free(again);
		faulty_free(copy);
	}
	wal_writer_stop(wr);
	wal_free(w);
	model_free(m);
	faulty_free(d);
	seen_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_see_right_entries_while_the_log_is_written),
		cmocka_unit_test(stopping_syncs_what_is_staged),
		cmocka_unit_test(a_failure_is_told_once_and_nothing_synced_after_it),
		cmocka_unit_test(a_full_disk_is_waited_out),
		cmocka_unit_test(an_idle_log_vouches_for_its_last_batch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
