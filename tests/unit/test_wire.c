/* Buffers and the wire codec. */
#include "common/wire.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void a_buffer_stops_at_its_ceiling(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_string_equal(buf_str(&b), "");
	buf_append(&b, "12345", 5);
	buf_append(&b, "6789012", 7); /* does not fit: nothing of it */
	assert_false(buf_ok(&b));
	assert_int_equal(b.len, 5);
	buf_append(&b, "x", 1); /* fits, but failure stays */
	assert_int_equal(b.len, 5);
	assert_null(buf_reserve(&b, 1));
	buf_clear(&b);
	assert_true(buf_ok(&b));
	buf_append(&b, "1234567890", 10);
	assert_true(buf_ok(&b));
	assert_int_equal(b.len, 10);
	buf_cut(&b, 3);
	assert_string_equal(buf_str(&b), "123");
	buf_append(&b, NULL, 0);
	assert_int_equal(b.len, 3);
	buf_done(&b);
	assert_int_equal(b.len, 0);
	buf_append(&b, "again", 5); /* usable after done, with the same ceiling */
	assert_true(buf_ok(&b));
	buf_done(&b);
}

static void a_buffer_grows_without_losing_anything(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%d,", i);
	assert_true(buf_ok(&b));
	const char *p = buf_str(&b);
	for (int i = 0; i < 10000; i++) {
		int got, n;
		assert_int_equal(sscanf(p, "%d,%n", &got, &n), 1);
		assert_int_equal(got, i);
		p += n;
	}
	assert_int_equal(*p, 0);
	buf_done(&b);
}

static void a_printed_text_fits_with_its_nul_or_not_at_all(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 6);
	buf_printf(&b, "%s", "12345");
	assert_true(buf_ok(&b));
	buf_printf(&b, "%s", "6");
	assert_false(buf_ok(&b));
	assert_int_equal(b.len, 5);
	buf_done(&b);
}

static void numbers_come_back(void **state)
{
	static const uint64_t numbers[] = {
		0,	    1,		127,	    128,	16383,		 16384,
		UINT32_MAX, 1ull << 56, 1ull << 63, UINT64_MAX, (1ull << 63) - 1};
	static const int64_t signed_numbers[] = {0,  -1,	1,	   -64,
						 64, INT64_MIN, INT64_MAX, -123456789};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		wire_varint(&b, numbers[i]);
	for (size_t i = 0; i < sizeof signed_numbers / sizeof *signed_numbers; i++)
		wire_svarint(&b, signed_numbers[i]);
	wire_u8(&b, 0xab);
	wire_u16(&b, 0xabcd);
	wire_u32(&b, 0xabcdef01);
	wire_u64(&b, 0xabcdef0123456789);
	wire_str(&b, "text");
	wire_bytes(&b, slice_of("\0\1", 2));
	wire_bytes(&b, slice_of(NULL, 0));
	assert_true(buf_ok(&b));
	struct rd r = rd_of(buf_slice(&b));
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		assert_true(rd_varint(&r) == numbers[i]);
	for (size_t i = 0; i < sizeof signed_numbers / sizeof *signed_numbers; i++)
		assert_true(rd_svarint(&r) == signed_numbers[i]);
	assert_int_equal(rd_u8(&r), 0xab);
	assert_int_equal(rd_u16(&r), 0xabcd);
	assert_int_equal(rd_u32(&r), 0xabcdef01);
	assert_true(rd_u64(&r) == 0xabcdef0123456789);
	assert_true(slice_eq(rd_bytes(&r), slice_str("text")));
	assert_true(slice_eq(rd_bytes(&r), slice_of("\0\1", 2)));
	assert_int_equal(rd_bytes(&r).n, 0);
	assert_true(rd_end(&r));
	buf_done(&b);
}

static void fixed_numbers_are_little_endian(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	wire_u32(&b, 0x01020304);
	assert_memory_equal(b.data, "\4\3\2\1", 4);
	buf_clear(&b);
	wire_varint(&b, 300);
	assert_memory_equal(b.data, "\xac\x02", 2);
	buf_done(&b);
}

static void only_the_shortest_varint_is_valid(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		bool good;
	} cases[] = {
		{"\x00", 1, true},
		{"\x80\x00", 2, false},
		{"\x80\x01", 2, true},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, true},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, false},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, false},
		{"\x80", 1, false},
		{"", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rd r = rd_of(slice_of(cases[i].bytes, cases[i].n));
		rd_varint(&r);
		assert_int_equal(rd_ok(&r), cases[i].good);
	}
}

static void a_failed_read_stays_failed(void **state)
{
	struct rd r = rd_of(slice_of("\5abc", 4));

	(void)state;
	struct slice s = rd_bytes(&r); /* five bytes are promised, three are there */
	assert_int_equal(s.n, 0);
	assert_false(rd_ok(&r));
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(rd_varint(&r), 0);
	assert_int_equal(rd_u64(&r), 0);
	assert_int_equal(rd_take(&r, 0).n, 0);
	assert_false(rd_end(&r));
	r = rd_of(slice_of("\1\2\3", 3));
	assert_int_equal(rd_u32(&r), 0);
	assert_false(rd_ok(&r));
}

static void a_count_is_not_believed_beyond_the_input(void **state)
{
	struct rd r = rd_of(slice_of("\3abcdef", 7));

	(void)state;
	assert_int_equal(rd_count(&r, 2), 3);
	r = rd_of(slice_of("\4abcdef", 7));
	assert_int_equal(rd_count(&r, 2), 0);
	assert_false(rd_ok(&r));
	r = rd_of(slice_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
	assert_int_equal(rd_count(&r, 0), 0);
	assert_false(rd_ok(&r));
}

static void a_text_must_fit_and_hold_no_nul(void **state)
{
	char text[4];
	struct rd r = rd_of(slice_of("\3abc", 4));

	(void)state;
	rd_text(&r, text, sizeof text);
	assert_true(rd_end(&r));
	assert_string_equal(text, "abc");
	r = rd_of(slice_of("\4abcd", 5));
	rd_text(&r, text, sizeof text);
	assert_false(rd_ok(&r));
	assert_string_equal(text, "");
	r = rd_of(slice_of("\3a\0c", 4));
	rd_text(&r, text, sizeof text);
	assert_false(rd_ok(&r));
}

static void *ref_and_unref(void *blob)
{
	for (int i = 0; i < 10000; i++)
		blob_unref(blob_ref(blob));
	blob_unref(blob);
	return NULL;
}

static void a_blob_is_freed_by_its_last_holder(void **state)
{
	struct blob *b = blob_new("content", 7);
	pthread_t threads[4];

	(void)state;
	assert_true(slice_eq(blob_slice(b), slice_str("content")));
	for (int i = 0; i < 4; i++) {
		blob_ref(b);
		assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, b), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(b->refs, 1);
	blob_unref(b);
	blob_unref(NULL);
	b = blob_new(NULL, 100);
	memset(b->data, 1, 100);
	blob_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_buffer_stops_at_its_ceiling),
		cmocka_unit_test(a_buffer_grows_without_losing_anything),
		cmocka_unit_test(a_printed_text_fits_with_its_nul_or_not_at_all),
		cmocka_unit_test(numbers_come_back),
		cmocka_unit_test(fixed_numbers_are_little_endian),
		cmocka_unit_test(only_the_shortest_varint_is_valid),
		cmocka_unit_test(a_failed_read_stays_failed),
		cmocka_unit_test(a_count_is_not_believed_beyond_the_input),
		cmocka_unit_test(a_text_must_fit_and_hold_no_nul),
		cmocka_unit_test(a_blob_is_freed_by_its_last_holder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
