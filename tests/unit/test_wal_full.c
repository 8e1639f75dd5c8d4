/* A full disk, and errors that are final. */
#include "agent/wal/wal.h"

#include "tests/unit/disk_faulty.h"
#include "tests/unit/wal_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENT_BYTES (64u << 10)

static uint64_t dice = 1;

static uint64_t draw(void *ctx)
{
	(void)ctx;
	return dice++ * 0x9e3779b97f4a7c15u;
}

static int try_open(struct faulty *d, struct wal **ret_wal, struct err *e)
{
	struct wal_options o = {
		.dir = "/log",
		.disk = faulty_door(d),
		.random = draw,
		.segment_bytes = SEGMENT_BYTES,
		.tail_bytes = 2048,
	};

	return wal_open(ret_wal, &o, e);
}

static struct wal *open_log(struct faulty *d)
{
	struct wal *w;
	struct err e;

	if (try_open(d, &w, &e))
		fail_msg("%s", e.text);
	return w;
}

static int sync_log(struct wal *w, struct err *e)
{
	struct wal_synced rows[WAL_GROUPS_MAX];
	size_t n = 0;

	return wal_sync(w, rows, &n, e);
}

static void the_first_segment_needs_space(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w;
	struct err e;

	(void)state;
	faulty_set_room(d, 30000);
	assert_int_equal(try_open(d, &w, &e), ERR_DISK_FULL);
	assert_non_null(strstr(e.text, "spare.tmp"));
	assert_int_equal(faulty_count(d), 0);
	faulty_set_room(d, SEGMENT_BYTES);
	w = open_log(d);
	wal_free(w);
	faulty_free(d);
}

static void without_a_spare_there_is_no_room_but_hard_states_are_kept(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(4, 3, 1000);
	struct err e;

	(void)state;
	faulty_set_room(d, SEGMENT_BYTES + 50000);
	assert_true(wal_room(w));
	assert_int_equal(wal_prepare(w, &e), ERR_DISK_FULL);
	assert_non_null(strstr(e.text, "next segment"));
	assert_int_equal(e.sys_errno, ENOSPC);
	assert_false(wal_room(w));
	assert_true(wal_wants_prepare(w));
	assert_int_equal(faulty_count(d), 1); /* what was begun is given back */
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(model_hard(m, w, i % 3, &e), 0);
		assert_int_equal(sync_log(w, &e), 0);
	}
	model_synced(m);
	assert_int_equal(wal_prepare(w, &e), ERR_DISK_FULL);
	wal_free(w);
	w = open_log(d);
	assert_true(model_matches(m, w));
	faulty_set_room(d, 0);
	assert_int_equal(wal_prepare(w, &e), 0);
	assert_true(wal_room(w));
	assert_false(wal_wants_prepare(w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

static void what_does_not_fit_waits_until_there_is_space(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(4, 3, 1000);
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct wal_group_state s;
	struct err e;
	size_t n = 0;

	(void)state;
	faulty_set_room(d, SEGMENT_BYTES + 50000);
	for (int i = 0; i < 20; i++)
		assert_int_equal(model_append(m, w, 0, 50, &e), 0);
	/* The first part is written and told. */
	assert_int_equal(wal_sync(w, rows, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_true(rows[0].last_index > 100 && rows[0].last_index < 1000);
	wal_group(w, 0, &s);
	assert_true(s.synced_index >= rows[0].last_index && s.synced_index < 1000);
	uint64_t staged = wal_staged_bytes(w);
	assert_true(staged > 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(wal_sync(w, rows, &n, &e), ERR_DISK_FULL);
		assert_int_equal(wal_staged_bytes(w), staged);
		assert_false(wal_room(w));
	}
	assert_int_equal(model_append(m, w, 1, 5, &e), 0);
	assert_int_equal(wal_sync(w, rows, &n, &e), ERR_DISK_FULL);
	faulty_set_room(d, 0);
	assert_int_equal(wal_sync(w, rows, &n, &e), 0);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].last_index, 1000);
	assert_int_equal(wal_staged_bytes(w), 0);
	assert_true(wal_room(w));
	model_synced(m);
	wal_free(w);
	faulty_crash(d);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

static void compaction_on_a_full_disk_makes_space(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(4, 2, 1000);
	struct wal_stats stats;
	struct err e;

	(void)state;
	faulty_set_room(d, 4 * SEGMENT_BYTES);
	do {
		assert_int_equal(wal_prepare(w, &e) == 0 || e.code == ERR_DISK_FULL, true);
		assert_int_equal(model_append(m, w, 0, 10, &e), 0);
		assert_int_equal(sync_log(w, &e), 0);
		wal_stats(w, &stats);
	} while (stats.segments < 4);
	assert_int_equal(wal_prepare(w, &e), ERR_DISK_FULL);
	assert_false(wal_room(w));
	assert_int_equal(model_compact(m, w, 0, model_last(m, 0), &e), 0);
	assert_int_equal(sync_log(w, &e), 0);
	assert_int_equal(wal_prepare(w, &e), 0);
	assert_true(wal_room(w));
	wal_stats(w, &stats);
	assert_int_equal(stats.segments, 1);
	model_synced(m);
	assert_true(model_matches(m, w));
	wal_free(w);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

/* The power went between a seal and the next segment's name; the disk is full meanwhile. */
static void a_rolling_that_was_cut_short_needs_no_more_space(void **state)
{
	unsigned sealed = 0;

	(void)state;
	for (uint64_t at = 0; at < 40; at++) {
		struct faulty *d = faulty_new(at);
		struct wal *w = open_log(d);
		struct model *m = model_new(4, 2, 1000);
		struct wal_stats stats;
		struct err e;
		assert_int_equal(wal_prepare(w, &e), 0);
		for (int i = 0; i < 10; i++)
			assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		assert_int_equal(sync_log(w, &e), 0);
		model_synced(m);
		for (int i = 0; i < 12; i++)
			assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		faulty_cut_power(d, at);
		sync_log(w, &e);
		wal_free(w);
		faulty_crash(d);
		faulty_set_room(d, faulty_count(d) * SEGMENT_BYTES);
		w = open_log(d);
		wal_stats(w, &stats);
		sealed += stats.segments == 2;
		assert_true(model_matches(m, w));
		wal_free(w);
		model_free(m);
		faulty_free(d);
	}
	assert_true(sealed > 0);
}

static void dead(struct wal *w, struct model *m)
{
	struct wal_entry entry;
	struct err e;
	size_t n;

	assert_int_equal(sync_log(w, &e), ERR_IO);
	assert_int_equal(model_append(m, w, 0, 1, &e), ERR_IO);
	assert_int_equal(wal_compact(w, 0, 1, 1, &e), ERR_IO);
	assert_int_equal(wal_prepare(w, &e), ERR_IO);
	assert_int_equal(wal_read(w, 0, 1, 1, 1, &entry, &n, &e), ERR_IO);
	assert_int_equal(wal_read_tail(w, 0, 1, 1, 1, &entry), 0);
	assert_false(wal_room(w));
	assert_false(wal_wants_prepare(w));
}

static void a_failed_write_or_sync_is_final(void **state)
{
	static const struct {
		enum faulty_op op;
		int sys_errno;
	} faults[] = {
		{FAULTY_WRITE, EIO},
		{FAULTY_WRITE, ENOSPC}, /* the place was reserved: this is no longer "full" */
		{FAULTY_SYNC, EIO},
		{FAULTY_SYNC, ENOSPC},
	};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		struct faulty *d = faulty_new(i);
		struct wal *w = open_log(d);
		struct model *m = model_new(4, 2, 1000);
		struct err e;
		assert_int_equal(model_append(m, w, 0, 5, &e), 0);
		assert_int_equal(sync_log(w, &e), 0);
		model_synced(m);
		assert_int_equal(model_append(m, w, 0, 5, &e), 0);
		faulty_fail(d, faults[i].op, 0, faults[i].sys_errno);
		assert_int_equal(sync_log(w, &e), ERR_IO);
		assert_int_equal(e.code, ERR_IO);
		assert_non_null(strstr(e.text, "must end"));
		assert_non_null(strstr(e.text, "0000000000000001.seg"));
		dead(w, m);
		uint64_t changes = faulty_changes(d);
		wal_free(w);
		assert_int_equal(faulty_changes(d), changes);
		faulty_crash(d);
		w = open_log(d);
		assert_true(model_matches(m, w));
		wal_free(w);
		model_free(m);
		faulty_free(d);
	}
}

static void a_failure_while_rolling_is_final_and_recovered(void **state)
{
	(void)state;
	for (enum faulty_op op = FAULTY_WRITE; op < FAULTY_UNLINK; op++) {
		for (unsigned after = 0; after < 4; after++) {
			struct faulty *d = faulty_new(after);
			struct wal *w = open_log(d);
			struct model *m = model_new(4, 2, 1000);
			struct err e;
			assert_int_equal(wal_prepare(w, &e), 0);
			for (int i = 0; i < 20; i++)
				assert_int_equal(model_append(m, w, 0, 50, &e), 0);
			faulty_fail(d, op, after, EIO);
			int rc = sync_log(w, &e);
			assert_true(rc == 0 || rc == ERR_IO);
			if (rc == ERR_IO)
				dead(w, m);
			else
				model_synced(m);
			wal_free(w);
			faulty_heal(d);
			w = open_log(d);
			assert_true(model_matches(m, w));
			wal_free(w);
			model_free(m);
			faulty_free(d);
		}
	}
}

static void a_failure_to_reserve_or_delete_is_final(void **state)
{
	static const enum faulty_op ops[] = {FAULTY_OPEN,   FAULTY_WRITE,    FAULTY_SYNC,
					     FAULTY_RENAME, FAULTY_SYNC_DIR, FAULTY_UNLINK};

	(void)state;
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
		struct faulty *d = faulty_new(i);
		struct wal *w = open_log(d);
		struct model *m = model_new(4, 2, 1000);
		struct err e;
		for (int k = 0; k < 20; k++)
			assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		assert_int_equal(model_compact(m, w, 0, 1000, &e), 0);
		assert_int_equal(sync_log(w, &e), 0);
		model_synced(m);
		faulty_fail(d, ops[i], 0, EIO);
		assert_int_equal(wal_prepare(w, &e), ERR_IO);
		dead(w, m);
		wal_free(w);
		faulty_crash(d);
		w = open_log(d);
		assert_true(model_matches(m, w));
		assert_int_equal(wal_prepare(w, &e), 0);
		wal_free(w);
		model_free(m);
		faulty_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_segment_needs_space),
		cmocka_unit_test(without_a_spare_there_is_no_room_but_hard_states_are_kept),
		cmocka_unit_test(what_does_not_fit_waits_until_there_is_space),
		cmocka_unit_test(compaction_on_a_full_disk_makes_space),
		cmocka_unit_test(a_rolling_that_was_cut_short_needs_no_more_space),
		cmocka_unit_test(a_failed_write_or_sync_is_final),
		cmocka_unit_test(a_failure_while_rolling_is_final_and_recovered),
		cmocka_unit_test(a_failure_to_reserve_or_delete_is_final),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
