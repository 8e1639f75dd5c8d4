/* The log's everyday behaviour, on a disk in memory and on a real one. */
#include "agent/wal/wal.h"

#include "tests/unit/disk_faulty.h"
#include "tests/unit/wal_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t dice = 1;

static uint64_t draw(void *ctx)
{
	(void)ctx;
	return dice++ * 0x9e3779b97f4a7c15u;
}

static struct wal *open_on(const struct disk *disk, const char *dir, uint64_t tail_bytes)
{
	struct wal_options o = {
		.dir = dir,
		.disk = disk,
		.random = draw,
		.segment_bytes = 64 << 10,
		.tail_bytes = tail_bytes,
	};
	struct wal *w = NULL;
	struct err e = {0};

	if (wal_open(&w, &o, &e))
		fail_msg("%s", e.text);
	return w;
}

static struct wal *open_log(struct faulty *d)
{
	return open_on(faulty_door(d), "/log", 4096);
}

static void sync_all(struct wal *w, struct model *m)
{
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct err e;
	size_t n;

	if (wal_sync(w, rows, &n, &e))
		fail_msg("%s", e.text);
	if (m)
		model_synced(m);
}

static struct blob *text(const char *s)
{
	return blob_new(s, (uint32_t)strlen(s));
}

static void a_new_log_is_empty(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct wal_group_state s;
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct wal_entry entry;
	struct wal_stats stats;
	struct err e;
	size_t n = 7;

	(void)state;
	wal_group(w, 3, &s);
	assert_int_equal(s.first_index, 0);
	assert_int_equal(s.last_index, 0);
	assert_null(s.meta.p);
	assert_int_equal(wal_sync(w, rows, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(wal_read(w, 3, 1, 1, 100, &entry, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_true(wal_room(w));
	assert_true(wal_wants_prepare(w));
	assert_int_equal(wal_prepare(w, &e), 0);
	assert_false(wal_wants_prepare(w));
	wal_stats(w, &stats);
	assert_int_equal(stats.segments, 1);
	assert_int_equal(stats.bytes, 128 << 10);
	assert_int_equal(stats.entries, 0);
	wal_free(w);
	faulty_free(d);
}

static void a_staged_job_is_read_at_once_and_durable_after_the_sync(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct wal_group_state s;
	struct err e;
	size_t n;
	struct wal_entry in[3] = {
		{1, 4, 2, text("one")}, {2, 4, 1, text("")}, {3, 5, 3, text("three")}};
	struct wal_entry out[5];
	struct wal_job job = {
		.group = 9,
		.persist_id = 77,
		.hard_changed = true,
		.term = 5,
		.vote = 2,
		.entries = in,
		.entries_n = 3,
		.meta = slice_str("config"),
	};

	(void)state;
	assert_int_equal(wal_stage(w, &job, &e), 0);
	assert_true(wal_staged_bytes(w) > 0);
	wal_group(w, 9, &s);
	assert_int_equal(s.last_index, 3);
	assert_int_equal(s.synced_index, 0);
	assert_int_equal(wal_read_tail(w, 9, 2, 5, 1000, out), 2);
	assert_int_equal(out[1].index, 3);
	assert_ptr_equal(out[1].data, in[2].data);
	wal_entries_unref(out, 2);

	assert_int_equal(wal_sync(w, rows, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].group, 9);
	assert_int_equal(rows[0].persist_id, 77);
	assert_int_equal(rows[0].last_index, 3);
	assert_int_equal(wal_staged_bytes(w), 0);
	for (int i = 0; i < 3; i++)
		blob_unref(in[i].data);
	wal_free(w);

	faulty_crash(d);
	w = open_log(d);
	wal_group(w, 9, &s);
	assert_int_equal(s.term, 5);
	assert_int_equal(s.vote, 2);
	assert_int_equal(s.first_index, 1);
	assert_int_equal(s.last_index, 3);
	assert_int_equal(s.synced_index, 3);
	assert_int_equal(s.runs_n, 2);
	assert_int_equal(s.runs[1].first, 3);
	assert_int_equal(s.runs[1].term, 5);
	assert_true(slice_eq(s.meta, slice_str("config")));
	assert_int_equal(wal_read_tail(w, 9, 1, 5, 1000, out), 0);
	assert_int_equal(wal_read(w, 9, 1, 5, 1000, out, &n, &e), 0);
	assert_int_equal(n, 3);
	assert_true(slice_eq(blob_slice(out[0].data), slice_str("one")));
	assert_int_equal(out[1].data->size_bytes, 0);
	assert_int_equal(out[2].kind, 3);
	wal_entries_unref(out, n);
	wal_free(w);
	faulty_free(d);
}

static void a_read_keeps_to_its_bounds_but_gives_one_entry(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(5, 1, 2000);
	struct wal_entry out[100];
	struct err e;
	size_t n;

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_int_equal(model_append(m, w, 0, 50, &e), 0);
	sync_all(w, m);
	for (uint64_t from = 1; from <= 1000; from += 13) {
		assert_int_equal(wal_read(w, 0, from, 100, 0, out, &n, &e), 0);
		assert_int_equal(n, 1);
		assert_int_equal(out[0].index, from);
		wal_entries_unref(out, n);
		assert_int_equal(wal_read(w, 0, from, 100, 3000, out, &n, &e), 0);
		uint64_t bytes = 0;
		for (size_t i = 0; i < n; i++) {
			bytes += out[i].data->size_bytes;
			assert_true(model_entry_right(m, 0, &out[i]));
		}
		assert_true(n == 1 || bytes <= 3000);
		wal_entries_unref(out, n);
		assert_int_equal(wal_read(w, 0, from, 7, UINT64_MAX, out, &n, &e), 0);
		assert_int_equal(n, from > 994 ? 1001 - from : 7);
		wal_entries_unref(out, n);
	}
	assert_int_equal(wal_read(w, 0, 1001, 7, 100, out, &n, &e), 0);
	assert_int_equal(n, 0);
	model_free(m);
	wal_free(w);
	faulty_free(d);
}

static void entries_that_are_not_durable_never_leave_memory(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(5, 2, 2000);
	struct wal_entry out[64];
	struct err e;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(model_append(m, w, 0, 50, &e), 0);
	assert_int_equal(wal_read_tail(w, 0, 1, 64, UINT64_MAX, out), 64);
	wal_entries_unref(out, 64);
	sync_all(w, m);
	assert_int_equal(wal_read_tail(w, 0, 1, 64, UINT64_MAX, out), 0);
	size_t n = wal_read_tail(w, 0, 490, 64, UINT64_MAX, out);
	assert_int_equal(n, 11);
	wal_entries_unref(out, n);
	model_free(m);
	wal_free(w);
	faulty_free(d);
}

static void a_truncation_voids_and_what_is_appended_then_counts(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(11, 2, 500);
	struct err e;

	(void)state;
	for (int i = 0; i < 8; i++) {
		assert_int_equal(model_append(m, w, 0, 30, &e), 0);
		assert_int_equal(model_append(m, w, 1, 3, &e), 0);
		/* Into what is staged, what is durable, and across both. */
		if (i % 2 == 0)
			sync_all(w, m);
		uint64_t back = (uint64_t)(1 + i * 7);
		assert_int_equal(model_truncate(m, w, 0, model_last(m, 0) + 1 - back, 5, &e), 0);
		if (i % 3 == 0)
			sync_all(w, m);
	}
	sync_all(w, m);
	assert_true(model_matches(m, w));
	wal_free(w);
	faulty_crash(d);
	w = open_log(d);
	assert_true(model_matches(m, w));
	/* Nothing follows a truncation: synced all the same. */
	struct wal_group_state s;
	assert_int_equal(model_truncate(m, w, 0, model_last(m, 0) - 2, 0, &e), 0);
	sync_all(w, m);
	wal_group(w, 0, &s);
	assert_int_equal(s.synced_index, s.last_index);
	wal_free(w);
	w = open_log(d);
	assert_true(model_matches(m, w));
	model_free(m);
	wal_free(w);
	faulty_free(d);
}

static void a_log_runs_over_many_segments(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(3, 5, 4000);
	struct wal_stats stats;
	struct err e;

	(void)state;
	for (int i = 0; i < 600; i++) {
		assert_int_equal(model_act(m, w, &e), 0);
		if (i % 7 == 0)
			sync_all(w, m);
		if (i % 50 == 0)
			assert_int_equal(wal_prepare(w, &e), 0);
	}
	sync_all(w, m);
	assert_true(model_matches(m, w));
	wal_stats(w, &stats);
	assert_true(stats.segments > 1);
	assert_true(stats.syncs > 80);
	wal_free(w);
	for (int i = 0; i < 3; i++) {
		w = open_log(d);
		assert_true(model_matches(m, w));
		wal_stats(w, &stats);
		assert_int_equal(stats.torn_bytes, 0);
		assert_int_equal(model_append(m, w, 1, 20, &e), 0);
		sync_all(w, m);
		wal_free(w);
	}
	model_free(m);
	faulty_free(d);
}

/* One sync of more than two segments hold. */
static void a_sync_may_fill_several_segments(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(3, 2, 16000);
	struct wal_stats stats;
	struct err e;

	(void)state;
	for (int i = 0; i < 200; i++)
		assert_int_equal(model_append(m, w, (uint32_t)i % 2, 10, &e), 0);
	sync_all(w, m);
	wal_stats(w, &stats);
	assert_true(stats.segments > 5);
	assert_true(model_matches(m, w));
	wal_free(w);
	faulty_crash(d);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

/* A disk on which other things happen while it syncs. */
static struct {
	struct disk door;
	const struct disk *under;
	void (*meanwhile)(void);
} busy;
static struct wal *busy_log;
static struct model *busy_model;
static unsigned busy_turn;

static int busy_sync(struct disk_file *f, struct err *e)
{
	if (busy.meanwhile)
		busy.meanwhile();
	return busy.under->sync(f, e);
}

static void truncate_meanwhile(void)
{
	struct wal_group_state s;
	struct err e;

	busy.meanwhile = NULL;
	/* What is on its way to the disk becomes void, and the same indexes come again. */
	uint64_t from = model_last(busy_model, 0) - 10;
	if (busy_turn % 2 == 0)
		assert_int_equal(model_truncate(busy_model, busy_log, 0, from, 20, &e), 0);
	else
		assert_int_equal(model_compact(busy_model, busy_log, 0, from + 20, &e), 0);
	if (busy_turn % 3 == 0)
		assert_int_equal(model_append(busy_model, busy_log, 0, 20, &e), 0);
	wal_group(busy_log, 0, &s);
	assert_true(s.synced_index < from || busy_turn % 2);
}

static void what_is_staged_during_a_sync_is_not_taken_for_durable(void **state)
{
	struct faulty *d = faulty_new(1);

	(void)state;
	busy.under = faulty_door(d);
	busy.door = *busy.under;
	busy.door.sync = busy_sync;
	busy_log = open_on(&busy.door, "/log", 1000);
	busy_model = model_new(5, 2, 300);
	for (busy_turn = 0; busy_turn < 24; busy_turn++) {
		struct wal_group_state s;
		struct wal_synced rows[WAL_GROUPS_MAX];
		struct err e;
		size_t n;
		assert_int_equal(model_append(busy_model, busy_log, 0, 30, &e), 0);
		busy.meanwhile = truncate_meanwhile;
		assert_int_equal(wal_sync(busy_log, rows, &n, &e), 0);
		assert_null(busy.meanwhile);
		wal_group(busy_log, 0, &s);
		if (busy_turn % 2 == 0) {
			/* Only what was there before the truncation is. */
			assert_int_equal(s.synced_index,
					 s.last_index - (busy_turn % 3 == 0 ? 40 : 20));
			assert_int_equal(rows[0].last_index, s.synced_index);
		}
		struct model *copy = model_copy(busy_model);
		assert_true(model_matches(copy, busy_log));
		model_free(copy);
		sync_all(busy_log, busy_model);
		wal_group(busy_log, 0, &s);
		assert_int_equal(s.synced_index, s.last_index);
		assert_true(model_matches(busy_model, busy_log));
	}
	wal_free(busy_log);
	busy_log = open_log(d);
	assert_true(model_matches(busy_model, busy_log));
	wal_free(busy_log);
	model_free(busy_model);
	faulty_free(d);
}

static void compacted_segments_are_deleted_and_the_rest_opens(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(8, 3, 1000);
	struct wal_stats before, after;
	struct wal_entry entry;
	struct err e;
	uint32_t group;
	uint64_t index;
	size_t n;

	(void)state;
	assert_int_equal(model_meta(m, w, 2, 50, &e), 0);
	assert_int_equal(model_append(m, w, 2, 5, &e), 0);
	assert_int_equal(model_hard(m, w, 1, &e), 0);
	for (int i = 0; i < 60; i++) {
		assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		sync_all(w, m);
	}
	wal_stats(w, &before);
	assert_true(before.segments > 3);
	/* Staged only: nothing goes. */
	assert_int_equal(model_compact(m, w, 0, model_last(m, 0) - 100, &e), 0);
	assert_int_equal(wal_prepare(w, &e), 0);
	wal_stats(w, &after);
	assert_int_equal(after.segments, before.segments);
	sync_all(w, m);
	/* The quiet group holds the oldest back. */
	assert_int_equal(wal_prepare(w, &e), 0);
	wal_stats(w, &after);
	assert_int_equal(after.segments, before.segments);
	assert_true(wal_held_by(w, &group, &index));
	assert_int_equal(group, 2);
	assert_int_equal(index, 5);
	assert_int_equal(model_compact(m, w, 2, 5, &e), 0);
	sync_all(w, m);
	assert_true(wal_wants_prepare(w));
	assert_int_equal(wal_prepare(w, &e), 0);
	wal_stats(w, &after);
	assert_true(after.segments < 3);
	assert_int_equal(wal_read(w, 0, 1, 1, 1, &entry, &n, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "compacted"));
	assert_true(model_matches(m, w));
	for (int i = 0; i < 3; i++) {
		wal_free(w);
		faulty_crash(d);
		w = open_log(d);
		assert_true(model_matches(m, w));
		assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		sync_all(w, m);
	}
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

static void a_compaction_beyond_the_end_starts_a_group_anew(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(8, 2, 300);
	struct wal_group_state s;
	struct err e;

	(void)state;
	assert_int_equal(model_append(m, w, 0, 20, &e), 0);
	sync_all(w, m);
	assert_int_equal(model_append(m, w, 0, 20, &e), 0);
	assert_int_equal(model_compact(m, w, 0, 1000, &e), 0);
	wal_group(w, 0, &s);
	assert_int_equal(s.first_index, 1001);
	assert_int_equal(s.last_index, 1000);
	assert_int_equal(s.runs_n, 0);
	assert_int_equal(model_append(m, w, 0, 5, &e), 0);
	assert_true(model_matches(m, w));
	assert_int_equal(model_append(m, w, 0, 5, &e), 0);
	sync_all(w, m);
	assert_true(model_matches(m, w));
	assert_int_equal(model_compact(m, w, 1, 7, &e), 0); /* a group never seen before */
	sync_all(w, m);
	wal_free(w);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

static void bounds_are_refused_and_change_nothing(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct wal_entry entry = {1, 1, 1, blob_new(NULL, (16 << 10) + 1)};
	struct wal_job job = {.group = 0, .entries = &entry, .entries_n = 1, .hard_changed = true};
	struct wal_group_state s;
	struct wal_options o = {.dir = "/log", .disk = faulty_door(d), .random = draw};
	struct err e;

	(void)state;
	memset(entry.data->data, 1, entry.data->size_bytes);
	assert_int_equal(wal_stage(w, &job, &e), ERR_LIMIT);
	wal_group(w, 0, &s);
	assert_int_equal(s.last_index, 0);
	assert_int_equal(wal_staged_bytes(w), 0);
	job = (struct wal_job){.group = 0, .meta = blob_slice(entry.data)};
	assert_int_equal(wal_stage(w, &job, &e), ERR_LIMIT);
	job = (struct wal_job){.hard_changed = true, .term = 1};
	for (job.group = 1; job.group < WAL_GROUPS_MAX; job.group++)
		assert_int_equal(wal_stage(w, &job, &e), 0);
	job.group = 64;
	assert_int_equal(wal_stage(w, &job, &e), ERR_LIMIT);
	assert_int_equal(wal_compact(w, 65, 1, 1, &e), ERR_LIMIT);
	blob_unref(entry.data);
	wal_free(w);
	o.segment_bytes = 1000;
	assert_int_equal(wal_open(&w, &o, &e), ERR_INVALID);
	faulty_free(d);
}

static void meta_records_of_all_groups_fit_into_a_segment(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(8, 64, 16000);
	struct err e;
	unsigned refused = 0;

	(void)state;
	for (int turn = 0; turn < 5; turn++) {
		for (uint32_t g = 0; g < 64; g++) {
			int rc = model_meta(m, w, g, (uint32_t)(model_dice(m) % 600), &e);
			assert_true(rc == 0 || rc == ERR_LIMIT);
			refused += rc != 0;
			assert_int_equal(model_append(m, w, g, 6, &e), 0);
		}
		sync_all(w, m);
	}
	assert_true(refused > 0);
	assert_true(model_matches(m, w));
	wal_free(w);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

static void segments_of_another_size_are_read_and_continued(void **state)
{
	struct faulty *d = faulty_new(1);
	struct wal *w = open_log(d);
	struct model *m = model_new(8, 3, 3000);
	struct err e;

	(void)state;
	for (unsigned turn = 0; turn < 6; turn++) {
		struct wal_options o = {
			.dir = "/log",
			.disk = faulty_door(d),
			.random = draw,
			.segment_bytes = (uint64_t)(64 + turn % 3 * 50) << 10,
		};
		for (int i = 0; i < 60; i++) {
			assert_int_equal(model_act(m, w, &e), 0);
			sync_all(w, m);
		}
		wal_free(w);
		assert_int_equal(wal_open(&w, &o, &e), 0);
		assert_true(model_matches(m, w));
		assert_int_equal(wal_prepare(w, &e), 0);
	}
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

static int remove_found(void *ctx, const char *name, struct err *e)
{
	char path[512];

	snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
	return disk_real()->unlink(NULL, path, e);
}

static void the_real_disk_keeps_it_too(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char dir[256];
	struct model *m = model_new(8, 3, 16000);
	struct err e;

	(void)state;
	snprintf(dir, sizeof dir, "%s/drover-wal-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	for (int turn = 0; turn < 4; turn++) {
		struct wal *w = open_on(disk_real(), dir, 20000);
		assert_true(model_matches(m, w));
		for (int i = 0; i < 60; i++) {
			assert_int_equal(model_act(m, w, &e), 0);
			if (i % 5 == 0)
				sync_all(w, m);
		}
		sync_all(w, m);
		assert_int_equal(wal_prepare(w, &e), 0);
		wal_free(w);
	}
	disk_real()->list(NULL, dir, remove_found, dir, NULL);
	assert_int_equal(rmdir(dir), 0);
	model_free(m);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
	struct wal_options o = {.dir = "/no/such", .disk = disk_real(), .random = draw};
	struct wal *w;
	struct err e;

	(void)state;
	assert_int_equal(wal_open(&w, &o, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "/no/such"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_log_is_empty),
		cmocka_unit_test(a_staged_job_is_read_at_once_and_durable_after_the_sync),
		cmocka_unit_test(a_read_keeps_to_its_bounds_but_gives_one_entry),
		cmocka_unit_test(entries_that_are_not_durable_never_leave_memory),
		cmocka_unit_test(a_truncation_voids_and_what_is_appended_then_counts),
		cmocka_unit_test(a_log_runs_over_many_segments),
		cmocka_unit_test(a_sync_may_fill_several_segments),
		cmocka_unit_test(what_is_staged_during_a_sync_is_not_taken_for_durable),
		cmocka_unit_test(compacted_segments_are_deleted_and_the_rest_opens),
		cmocka_unit_test(a_compaction_beyond_the_end_starts_a_group_anew),
		cmocka_unit_test(bounds_are_refused_and_change_nothing),
		cmocka_unit_test(meta_records_of_all_groups_fit_into_a_segment),
		cmocka_unit_test(segments_of_another_size_are_read_and_continued),
		cmocka_unit_test(the_real_disk_keeps_it_too),
		cmocka_unit_test(a_folder_that_is_not_there_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
