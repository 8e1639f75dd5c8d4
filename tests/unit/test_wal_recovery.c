/* What recovery makes of every kind of damage: the right first part of the log, or a refusal that
 * names file and place; never something else. */
#include "agent/wal/wal.h"

#include "agent/wal/segment.h"
#include "common/crc32c.h"
#include "tests/unit/disk_faulty.h"
#include "tests/unit/wal_model.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENT_BYTES (64u << 10)
#define FIRST "/log/0000000000000001.seg"

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

	*ret_wal = NULL;
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

static void sync_all(struct wal *w)
{
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct err e;
	size_t n;

	if (wal_sync(w, rows, &n, &e))
		fail_msg("%s", e.text);
}

/* Behind the last byte of a file that is not zero. */
static uint32_t end_of(struct faulty *d, const char *path)
{
	static uint8_t bytes[SEGMENT_BYTES];
	uint32_t end = SEGMENT_BYTES;

	assert_true(faulty_peek(d, path, 0, bytes, sizeof bytes));
	while (end > 0 && bytes[end - 1] == 0)
		end--;
	return (end + 7) / 8 * 8;
}

static void segment_path(uint64_t sequence, char path[64])
{
	snprintf(path, 64, "/log/%016" PRIx64 ".seg", sequence);
}

static void flip(struct faulty *d, const char *path, uint64_t at, uint8_t bits)
{
	uint8_t byte;

	assert_true(faulty_peek(d, path, at, &byte, 1));
	byte ^= bits;
	assert_true(faulty_poke(d, path, at, &byte, 1));
}

/* A small log: its image while the last batch is unvouched, and after an orderly end. */
struct small {
	struct faulty *killed;
	struct faulty *closed;
	struct model *before_last; /* durable: all but the last batch; staged: that */
	uint32_t last_at;	   /* where the last batch begins */
	uint32_t end;		   /* of it */
	const char *path;	   /* of the newest segment */
	char path_text[64];
};

/* With `acts` changes in batches, after `segments` segments were filled. */
static void make_small(struct small *s, unsigned segments, unsigned acts)
{
	struct faulty *d = faulty_new(5);
	struct wal *w = open_log(d);
	struct model *m = model_new(17 + acts, 3, 40);
	struct wal_stats stats;
	struct err e;

	do {
		if (segments > 0)
			assert_int_equal(model_append(m, w, (uint32_t)(model_dice(m) % 3), 60, &e),
					 0);
		sync_all(w);
		wal_stats(w, &stats);
	} while (stats.segments <= segments);
	segment_path(stats.segments, s->path_text);
	s->path = s->path_text;
	for (unsigned i = 0; i < acts; i++) {
		assert_int_equal(model_act(m, w, &e), 0);
		if (i % 3 == 0)
			sync_all(w);
	}
	sync_all(w);
	model_synced(m);
	s->last_at = end_of(d, s->path);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(model_act(m, w, &e), 0);
	sync_all(w);
	s->end = end_of(d, s->path);
	s->before_last = m;
	s->killed = faulty_copy(d);
	wal_free(w);
	s->closed = faulty_copy(d);
	faulty_free(d);
}

static void done_small(struct small *s)
{
	faulty_free(s->killed);
	faulty_free(s->closed);
	model_free(s->before_last);
}

/* The log opens, holds a first part, goes on, and opens again. */
static size_t check_goes_on(struct faulty *d, const struct model *from)
{
	struct model *m = model_copy(from);
	struct wal *w = open_log(d);
	size_t staged = model_staged(m);
	struct err e;

	assert_true(model_matches(m, w));
	staged -= model_staged(m);
	assert_int_equal(model_act(m, w, &e), 0);
	assert_int_equal(model_append(m, w, 1, 3, &e), 0);
	sync_all(w);
	model_synced(m);
	wal_free(w);
	w = open_log(d);
	assert_true(model_matches(m, w));
	wal_free(w);
	model_free(m);
	return staged;
}

static void refused(struct faulty *d, const char *path)
{
	uint64_t changes = faulty_changes(d);
	struct wal *w;
	struct err e = {0};

	assert_int_equal(try_open(d, &w, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(e.text, "nothing was changed"));
	assert_true(strlen(e.text) < ERR_TEXT_MAX - 1);
	assert_int_equal(faulty_changes(d), changes);
}

static void a_batch_cut_at_any_byte_leaves_a_first_part(void **state)
{
	struct small s;

	(void)state;
	for (unsigned segments = 0; segments < 2; segments++) {
		make_small(&s, segments, 10);
		for (uint32_t at = s.last_at; at <= s.end; at++) {
			struct faulty *d = faulty_copy(s.killed);
			uint8_t zeros[SEGMENT_BYTES] = {0};
			assert_true(faulty_poke(d, s.path, at, zeros, s.end - at));
			check_goes_on(d, s.before_last);
			faulty_free(d);
		}
		done_small(&s);
	}
}

/* Zeros from anywhere on cannot be told from never written: always a first part. */
static void a_log_cut_at_any_byte_is_a_first_part_of_it(void **state)
{
	struct faulty *d = faulty_new(5);
	struct wal *w = open_log(d);
	struct model *m = model_new(3, 3, 100);
	struct err e;

	(void)state;
	for (int i = 0; i < 16; i++) {
		assert_int_equal(model_act(m, w, &e), 0);
		sync_all(w);
	}
	wal_free(w);
	uint32_t end = end_of(d, FIRST);
	for (uint32_t at = end; at >= SEGMENT_HEADER_BYTES; at--) {
		uint8_t zero = 0;
		struct faulty *copy;
		assert_true(faulty_poke(d, FIRST, at, &zero, 1));
		copy = faulty_copy(d);
		struct model *part = model_copy(m);
		w = open_log(copy);
		assert_true(model_matches(part, w));
		wal_free(w);
		model_free(part);
		faulty_free(copy);
	}
	model_free(m);
	faulty_free(d);
}

static void any_flipped_byte_that_was_vouched_for_is_refused(void **state)
{
	struct small s;

	(void)state;
	for (unsigned segments = 0; segments < 2; segments++) {
		make_small(&s, segments, 8);
		for (uint32_t at = 0; at < s.end; at++) {
			struct faulty *d = faulty_copy(s.closed);
			flip(d, s.path, at, (uint8_t)(1 << at % 8));
			refused(d, s.path);
			faulty_free(d);
		}
		/* The voucher itself, and the zeros behind it: all that was written is there. */
		model_synced(s.before_last);
		for (uint32_t at = s.end; at < s.end + 60; at++) {
			struct faulty *d = faulty_copy(s.closed);
			flip(d, s.path, at, 0x81);
			check_goes_on(d, s.before_last);
			faulty_free(d);
		}
		done_small(&s);
	}
}

static void a_flipped_byte_in_the_last_batch_cuts_there(void **state)
{
	struct small s;

	(void)state;
	make_small(&s, 0, 8);
	for (uint32_t at = 0; at < s.last_at; at += 3) {
		struct faulty *d = faulty_copy(s.killed);
		flip(d, s.path, at, 0x10);
		refused(d, s.path);
		faulty_free(d);
	}
	for (uint32_t at = s.last_at; at < s.end; at++) {
		struct faulty *d = faulty_copy(s.killed);
		struct wal_stats stats;
		flip(d, s.path, at, 0x10);
		struct wal *w = open_log(d);
		wal_stats(w, &stats);
		assert_true(stats.torn_bytes > 0);
		wal_free(w);
		faulty_free(d);

		d = faulty_copy(s.killed);
		flip(d, s.path, at, 0x10);
		check_goes_on(d, s.before_last);
		faulty_free(d);
	}
	done_small(&s);
}

static void a_lost_batch_with_a_later_one_behind_it_is_refused(void **state)
{
	struct faulty *d = faulty_new(5);
	struct wal *w = open_log(d);
	struct model *m = model_new(3, 3, 100);
	uint32_t at[4];
	uint8_t zeros[4096] = {0};
	struct err e;

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(model_append(m, w, 0, 3, &e), 0);
		sync_all(w);
		at[i] = end_of(d, FIRST);
	}
	struct faulty *copy = faulty_copy(d);
	assert_true(faulty_poke(copy, FIRST, at[0], zeros, at[1] - at[0]));
	refused(copy, FIRST);
	faulty_free(copy);
	/* All but the middle of the last batch is a torn write. */
	assert_true(faulty_poke(d, FIRST, at[2], zeros, 8));
	model_cut(m, 9);
	model_synced(m);
	wal_free(w);
	uint32_t end = end_of(d, FIRST);
	assert_true(faulty_poke(d, FIRST, at[3], zeros, end - at[3]));
	check_goes_on(d, m);
	model_free(m);
	faulty_free(d);
}

/* Two entries behind what is there, in one batch; returns where the second one's frame begins. */
static uint32_t append_two(struct faulty *d, uint64_t term, uint8_t fill)
{
	struct wal *w = open_log(d);
	struct blob *b = blob_new(NULL, 64);
	struct err e;

	memset(b->data, fill, 64);
	struct wal_entry entries[2] = {{3, term, 1, b}, {4, term, 1, b}};
	struct wal_job job = {.group = 0, .entries = entries, .entries_n = 2};
	assert_int_equal(wal_stage(w, &job, &e), 0);
	sync_all(w);
	blob_unref(b);
	uint32_t end = end_of(d, FIRST);
	uint8_t zeros[FRAME_HEADER_BYTES] = {0};
	assert_int_equal(frame_bytes(64), 104);
	wal_free(w);
	/* As after a kill: nothing vouches for them. */
	assert_true(faulty_poke(d, FIRST, end, zeros, sizeof zeros));
	return end - frame_bytes(64);
}

static void a_sound_frame_that_followed_another_one_does_not_count(void **state)
{
	struct faulty *old = faulty_new(5);
	struct wal *w = open_log(old);
	struct model *m = model_new(3, 1, 100);
	uint8_t frame[104];
	struct wal_group_state s;
	struct err e;

	(void)state;
	assert_int_equal(model_append(m, w, 0, 2, &e), 0);
	sync_all(w);
	wal_free(w);
	struct faulty *d = faulty_copy(old);
	uint32_t at = append_two(old, 7, 1);
	assert_int_equal(append_two(d, 7, 2), at);
	/* As if the disk had lost the second write of that place: what it held before is sound. */
	assert_true(faulty_peek(old, FIRST, at, frame, sizeof frame));
	assert_true(faulty_poke(d, FIRST, at, frame, sizeof frame));
	w = open_log(d);
	wal_group(w, 0, &s);
	assert_int_equal(s.last_index, 3);
	wal_free(w);
	model_free(m);
	faulty_free(old);
	faulty_free(d);
}

static void damage_in_a_sealed_segment_is_refused(void **state)
{
	struct small s;

	(void)state;
	make_small(&s, 3, 3);
	for (uint32_t at = 0; at < SEGMENT_BYTES - 400; at += 97) {
		struct faulty *d = faulty_copy(s.killed);
		flip(d, "/log/0000000000000002.seg", at, 4);
		refused(d, "0000000000000002.seg");
		faulty_free(d);
	}
	/* The seal alone. */
	uint32_t end = end_of(s.killed, FIRST);
	for (uint32_t at = end - 48; at < end; at++) {
		struct faulty *d = faulty_copy(s.killed);
		flip(d, FIRST, at, 1);
		refused(d, "0000000000000001.seg");
		faulty_free(d);
	}
	done_small(&s);
}

static void a_missing_doubled_or_short_segment_is_refused(void **state)
{
	struct small s;
	static uint8_t bytes[SEGMENT_BYTES];
	struct wal *w;
	struct err e;

	(void)state;
	make_small(&s, 3, 3);
	struct faulty *d = faulty_copy(s.killed);
	assert_true(faulty_remove(d, "/log/0000000000000002.seg"));
	refused(d, "0000000000000002");
	faulty_free(d);

	d = faulty_copy(s.killed);
	assert_true(faulty_remove(d, FIRST));
	refused(d, "0000000000000002");
	faulty_free(d);

	/* The newest: the spare of a crash is not there either. */
	d = faulty_copy(s.killed);
	faulty_remove(d, "/log/spare.seg");
	assert_true(faulty_remove(d, s.path));
	refused(d, "0000000000000003.seg");
	faulty_free(d);

	d = faulty_copy(s.killed);
	assert_true(faulty_peek(d, FIRST, 0, bytes, sizeof bytes));
	assert_true(faulty_poke(d, "/log/0000000000000002.seg", 0, bytes, sizeof bytes));
	refused(d, "0000000000000002.seg");
	faulty_free(d);

	for (uint32_t size = 0; size < SEGMENT_BYTES; size += 4096 - 100) {
		d = faulty_copy(s.killed);
		assert_true(faulty_set_size(d, s.path, size));
		refused(d, s.path);
		faulty_free(d);
	}
	d = faulty_copy(s.killed);
	assert_true(faulty_set_size(d, s.path, SEGMENT_BYTES + 1));
	refused(d, s.path);
	faulty_free(d);

	/* A segment of another log, of the same sequence and sound in itself. */
	struct small other;
	make_small(&other, 3, 4);
	d = faulty_copy(s.killed);
	assert_true(faulty_peek(other.killed, other.path, 0, bytes, sizeof bytes));
	assert_true(faulty_poke(d, s.path, 0, bytes, sizeof bytes));
	refused(d, s.path);
	faulty_free(d);
	done_small(&other);

	d = faulty_copy(s.killed);
	faulty_fail(d, FAULTY_READ, 3, EIO);
	assert_int_equal(try_open(d, &w, &e), ERR_IO);
	faulty_free(d);
	done_small(&s);
}

static void another_version_is_not_called_damage(void **state)
{
	struct small s;
	uint8_t page[SEGMENT_HEADER_BYTES];
	struct wal *w;
	struct err e;

	(void)state;
	make_small(&s, 0, 3);
	assert_true(faulty_peek(s.closed, s.path, 0, page, sizeof page));
	page[8] = 2;
	memset(page + 12, 0, 4);
	uint32_t crc = crc32c(0, page, sizeof page);
	for (int i = 0; i < 4; i++)
		page[12 + i] = (uint8_t)(crc >> 8 * i);
	assert_true(faulty_poke(s.closed, s.path, 0, page, sizeof page));
	assert_int_equal(try_open(s.closed, &w, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, s.path));
	done_small(&s);
}

static void garbage_behind_the_end_is_cut_off(void **state)
{
	struct small s;
	static uint8_t bytes[SEGMENT_BYTES];

	(void)state;
	make_small(&s, 1, 5);
	model_synced(s.before_last);
	uint32_t end = end_of(s.closed, s.path);
	/* Dice; and the sealed segment's frames, sound once, at their own places. */
	for (int kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)(draw(NULL) >> 40);
		if (kind == 1)
			assert_true(faulty_peek(s.closed, FIRST, 0, bytes, sizeof bytes));
		for (uint32_t gap = 0; gap < 3; gap++) {
			struct faulty *d = faulty_copy(s.closed);
			struct wal_stats stats;
			uint32_t at = end + gap * 5000;
			assert_true(faulty_poke(d, s.path, at, bytes + at, 9000));
			struct wal *w = open_log(d);
			wal_stats(w, &stats);
			assert_true(stats.torn_bytes >= 8000 && stats.torn_bytes <= 20000);
			wal_free(w);
			check_goes_on(d, s.before_last);
			w = open_log(d);
			wal_stats(w, &stats);
			assert_int_equal(stats.torn_bytes, 0);
			wal_free(w);
			faulty_free(d);
		}
	}
	done_small(&s);
}

static void foreign_files_in_the_folder_are_left_alone(void **state)
{
	struct small s;
	struct disk_file *f;
	uint64_t size;
	struct err e;
	static const char *const names[] = {
		"/log/0000000000000001.seg.bak",
		"/log/000000000000000A.seg",
		"/log/0000000000000000.seg",
		"/log/1.seg",
		"/log/notes",
	};

	(void)state;
	make_small(&s, 1, 5);
	const struct disk *door = faulty_door(s.closed);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		assert_int_equal(door->open(door->ctx, names[i], DISK_CREATE, &f, &e), 0);
		door->close(f);
	}
	check_goes_on(s.closed, s.before_last);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_true(faulty_size(s.closed, names[i], &size));
	done_small(&s);
}

static void a_spoilt_spare_is_made_anew(void **state)
{
	struct small s;
	struct wal *w;
	struct err e;

	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		make_small(&s, 1, 5);
		w = open_log(s.closed);
		assert_int_equal(wal_prepare(w, &e), 0);
		wal_free(w);
		if (kind == 0)
			flip(s.closed, "/log/spare.seg", 100, 1);
		else
			faulty_set_size(s.closed, "/log/spare.seg", kind == 1 ? 0 : 200000);
		struct model *m = model_copy(s.before_last);
		w = open_log(s.closed);
		assert_true(model_matches(m, w));
		for (int i = 0; i < 20; i++)
			assert_int_equal(model_append(m, w, 0, 50, &e), 0);
		sync_all(w);
		model_synced(m);
		wal_free(w);
		check_goes_on(s.closed, m);
		model_free(m);
		done_small(&s);
	}
}

/* The system says that a sync failed and forgets the bytes, but still shows them; the next process
 * finds them. If it keeps them, they must survive a power cut. */
static void what_a_failed_sync_left_in_memory_is_written_again(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 20; at++) {
		struct faulty *d = faulty_new(at);
		struct wal *w = open_log(d);
		struct model *m = model_new(at, 3, 2000);
		struct wal_synced rows[WAL_GROUPS_MAX];
		struct err e;
		size_t n;
		bool failed = false;
		faulty_fail(d, FAULTY_SYNC, at, EIO);
		while (!failed) {
			assert_int_equal(model_act(m, w, &e), 0);
			failed = wal_sync(w, rows, &n, &e) != 0;
			if (!failed)
				model_synced(m);
		}
		assert_int_equal(e.code, ERR_IO);
		wal_free(w);
		w = open_log(d);
		assert_true(model_matches(m, w));
		faulty_cut_power(d, 0);
		wal_free(w);
		faulty_crash(d);
		w = open_log(d);
		assert_true(model_matches(m, w));
		wal_free(w);
		model_free(m);
		faulty_free(d);
	}
}

static void a_read_tells_damage_that_came_after_the_start(void **state)
{
	struct faulty *d = faulty_new(5);
	struct wal *w = open_log(d);
	struct model *m = model_new(3, 1, 1000);
	struct wal_entry out[64];
	struct err e;
	size_t n;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(model_append(m, w, 0, 30, &e), 0);
	sync_all(w);
	unsigned told = 0;
	for (uint32_t at = SEGMENT_HEADER_BYTES; at < SEGMENT_BYTES / 3; at += 91) {
		flip(d, FIRST, at, 8);
		for (uint64_t from = 1; from < 200; from += 50) {
			int rc = wal_read(w, 0, from, 50, UINT64_MAX, out, &n, &e);
			assert_true(rc == 0 || rc == ERR_CORRUPT);
			if (rc == 0) {
				assert_int_equal(n, 50);
				for (size_t i = 0; i < n; i++)
					assert_true(model_entry_right(m, 0, &out[i]));
				wal_entries_unref(out, n);
			} else {
				assert_non_null(strstr(e.text, FIRST));
				told++;
			}
		}
		flip(d, FIRST, at, 8);
	}
	assert_true(told > 50);
	assert_true(faulty_remove(d, FIRST));
	assert_int_equal(wal_read(w, 0, 1, 1, 1, out, &n, &e), ERR_CORRUPT);
	wal_free(w);
	model_free(m);
	faulty_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_cut_at_any_byte_leaves_a_first_part),
		cmocka_unit_test(a_log_cut_at_any_byte_is_a_first_part_of_it),
		cmocka_unit_test(any_flipped_byte_that_was_vouched_for_is_refused),
		cmocka_unit_test(a_flipped_byte_in_the_last_batch_cuts_there),
		cmocka_unit_test(a_lost_batch_with_a_later_one_behind_it_is_refused),
		cmocka_unit_test(a_sound_frame_that_followed_another_one_does_not_count),
		cmocka_unit_test(damage_in_a_sealed_segment_is_refused),
		cmocka_unit_test(a_missing_doubled_or_short_segment_is_refused),
		cmocka_unit_test(another_version_is_not_called_damage),
		cmocka_unit_test(garbage_behind_the_end_is_cut_off),
		cmocka_unit_test(foreign_files_in_the_folder_are_left_alone),
		cmocka_unit_test(a_spoilt_spare_is_made_anew),
		cmocka_unit_test(what_a_failed_sync_left_in_memory_is_written_again),
		cmocka_unit_test(a_read_tells_damage_that_came_after_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
