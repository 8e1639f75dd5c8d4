#include "console/sql/display.h"
#include "console/sql/print.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct buf b;
static char *out;
static size_t out_n;

#define LIT(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})

static void begin(struct sql_rows_writer *w, const char *const *names, const char *const *types)
{
	uint32_t n = 0;

	while (names[n])
		n++;
	buf_init(&b, 1 << 20);
	sql_rows_begin(w, &b, n);
	for (uint32_t i = 0; i < n; i++)
		sql_rows_column(w, names[i], types ? types[i] : "");
}

static int print(const struct print_options *options, struct err *e)
{
	struct print_options o = *options;
	struct sql_answer a = {.results_n = 1, .results = buf_slice(&b)};
	struct sql_result_cursor c;
	struct sql_result r;
	int rc;

	free(out);
	out = NULL;
	sql_result_cursor_init(&c, &a);
	assert_int_equal(sql_result_next(&c, &r), 1);
	o.out = open_memstream(&out, &out_n);
	rc = print_result(&o, &r, e);
	fclose(o.out);
	return rc;
}

static void put(struct value v)
{
	value_put(&b, &v);
}

static void make_rows(void)
{
	static const char *const names[] = {"id", "name", "x", NULL};
	static const char *const types[] = {"INTEGER", "TEXT", "", NULL};
	struct sql_rows_writer w;

	begin(&w, names, types);
	put(value_int(1));
	put(value_text(LIT("日本")));
	put(value_null());
	put(value_int(-20));
	put(value_text(LIT("a\tb\\\n")));
	put(value_real(0.1));
	put(value_null());
	put(value_text(LIT("NULL")));
	put(value_blob(LIT("\x00\xff")));
	sql_rows_end(&w, 3, false);
}

static void a_table_is_aligned_by_display_width(void **state)
{
	(void)state;
	make_rows();
	assert_int_equal(print(&(struct print_options){.form = PRINT_TABLE}, NULL), 0);
	assert_string_equal(out, " id      | name    | x\n"
				 " INTEGER | TEXT    | \n"
				 "---------+---------+---------\n"
				 "       1 | 日本    | NULL\n"
				 "     -20 | a\\tb\\\\n |     0.1\n"
				 " NULL    | 'NULL'  | x'00ff'\n"
				 "(3 rows)\n");
	buf_done(&b);
}

static void expanded_is_a_line_a_value(void **state)
{
	(void)state;
	make_rows();
	assert_int_equal(print(&(struct print_options){.form = PRINT_TABLE,
						       .expanded = true,
						       .timing = true,
						       .us = 1500},
			       NULL),
			 0);
	assert_non_null(strstr(out, "-[ row 1 ]-\nid   | 1\nname | 日本\nx    | NULL\n"));
	assert_non_null(strstr(out, "(3 rows, 1.50 ms)\n"));
	buf_done(&b);
}

static void tsv_escapes_what_would_break_its_lines(void **state)
{
	(void)state;
	make_rows();
	assert_int_equal(print(&(struct print_options){.form = PRINT_TSV}, NULL), 0);
	assert_string_equal(out, "id\tname\tx\n1\t日本\t\\N\n-20\ta\\tb\\\\\\n\t0.1\n"
				 "\\N\tNULL\tx'00ff'\n");
	buf_done(&b);
}

static void json_is_an_array_of_objects(void **state)
{
	(void)state;
	make_rows();
	assert_int_equal(print(&(struct print_options){.form = PRINT_JSON}, NULL), 0);
	assert_string_equal(out, "[{\"id\":1,\"name\":\"日本\",\"x\":null},"
				 "{\"id\":-20,\"name\":\"a\\tb\\\\\\n\",\"x\":0.1},"
				 "{\"id\":null,\"name\":\"NULL\",\"x\":{\"hex\":\"00ff\"}}]\n");
	buf_done(&b);
}

static void json_survives_equal_names_bad_text_and_odd_numbers(void **state)
{
	static const char *const names[] = {"a", "a", "a_2", "a", NULL};
	struct sql_rows_writer w;
	json_error_t error;

	(void)state;
	begin(&w, names, NULL);
	put(value_text(LIT("ok\xff\xc0\xaf\xed\xa0\x80 nul\0.")));
	put(value_int(INT64_MIN));
	put(value_real(INFINITY));
	put(value_real(1e300));
	sql_rows_end(&w, 1, false);
	assert_int_equal(print(&(struct print_options){.form = PRINT_JSON}, NULL), 0);
	assert_non_null(strstr(out, "\"a_2\":-9223372036854775808"));
	assert_non_null(strstr(out, "\"a_2_2\":9e999"));
	assert_non_null(strstr(out, "\"a_3\":1e+300"));
	/* Everything but the infinity is what a strict reader takes. */
	memcpy(strstr(out, "9e999"), "90099", 5);
	json_t *array = json_loads(out, JSON_ALLOW_NUL, &error);
	assert_non_null(array);
	json_t *text = json_object_get(json_array_get(array, 0), "a");
	assert_int_equal(json_string_length(text), 2 + 6 * 3 + 4 + 2);
	json_decref(array);
	buf_done(&b);
}

static void nothing_in_a_value_reaches_the_terminal_raw(void **state)
{
	static const char *const names[] = {"c", NULL};
	struct sql_rows_writer w;

	(void)state;
	begin(&w, names, NULL);
	put(value_text(LIT("\033[2J\r\x7f\xc2\x9b\xe2\x80\xae\xff")));
	sql_rows_end(&w, 1, false);
	assert_int_equal(print(&(struct print_options){.form = PRINT_TABLE}, NULL), 0);
	assert_non_null(strstr(out, "\\x1b[2J\\r\\x7f\\u009b\\u202e\\xff\n"));
	buf_done(&b);
}

static void a_very_wide_cell_is_cut(void **state)
{
	static const char *const names[] = {"c", NULL};
	static char text[5000];
	struct sql_rows_writer w;

	(void)state;
	memset(text, 'w', sizeof text);
	begin(&w, names, NULL);
	put(value_text(slice_of(text, sizeof text)));
	sql_rows_end(&w, 1, false);
	assert_int_equal(print(&(struct print_options){.form = PRINT_TABLE}, NULL), 0);
	assert_non_null(strstr(out, "www…\n"));
	assert_true(out_n < 2200);
	assert_int_equal(print(&(struct print_options){.form = PRINT_TSV}, NULL), 0);
	assert_true(out_n > 5000);
	buf_done(&b);
}

static void an_answer_cut_short_is_an_error_not_a_crash(void **state)
{
	struct err e = {0};
	size_t whole;
	int failed = 0;

	(void)state;
	make_rows();
	whole = b.len;
	for (size_t len = 1; len < whole; len++) {
		struct sql_answer a = {.results_n = 1};
		struct sql_result_cursor c;
		struct sql_result r;
		/* A copy of just that size, so that a sanitizer sees reads past its end. */
		uint8_t *copy = malloc(len);

		assert_non_null(copy);
		memcpy(copy, b.data, len);
		a.results = slice_of(copy, len);
		sql_result_cursor_init(&c, &a);
		if (sql_result_next(&c, &r) == 1) {
			struct print_options o = {.form = PRINT_JSON};
			o.out = fopen("/dev/null", "w");
			failed += print_result(&o, &r, &e) != 0;
			fclose(o.out);
		} else {
			failed++;
		}
		free(copy);
	}
	assert_int_equal(failed, whole - 1);
	buf_done(&b);
}

static void reals_print_short_and_read_back_the_same(void **state)
{
	static const double reals[] = {0.1, 1, -0.0, 1e15, 1e16, 123456789.125, 1.0 / 3, 5e-324};
	char text[40];

	(void)state;
	for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
		print_real(reals[i], text, sizeof text);
		assert_true(strtod(text, NULL) == reals[i]);
		assert_non_null(strpbrk(text, ".e"));
	}
	print_real(0.1, text, sizeof text);
	assert_string_equal(text, "0.1");
	print_real(2, text, sizeof text);
	assert_string_equal(text, "2.0");
}

static void utf8_is_read_strictly(void **state)
{
	uint32_t c;

	(void)state;
	assert_int_equal(utf8_next(LIT("\xf0\x9f\x98\x80"), &c), 4);
	assert_int_equal(c, 0x1f600);
	assert_int_equal(utf8_next(LIT("\xc1\x81"), &c), 0);
	assert_int_equal(utf8_next(LIT("\xe0\x80\x81"), &c), 0);
	assert_int_equal(utf8_next(LIT("\xed\xa0\x80"), &c), 0);
	assert_int_equal(utf8_next(LIT("\xf4\x90\x80\x80"), &c), 0);
	assert_int_equal(utf8_next(LIT("\xf8\x88\x80\x80\x80"), &c), 0);
	assert_int_equal(utf8_next(LIT("\xe2\x82"), &c), 0);
	assert_int_equal(display_width(LIT("e\xcc\x81")), 1);
	assert_int_equal(display_width(LIT("😀")), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_aligned_by_display_width),
		cmocka_unit_test(expanded_is_a_line_a_value),
		cmocka_unit_test(tsv_escapes_what_would_break_its_lines),
		cmocka_unit_test(json_is_an_array_of_objects),
		cmocka_unit_test(json_survives_equal_names_bad_text_and_odd_numbers),
		cmocka_unit_test(nothing_in_a_value_reaches_the_terminal_raw),
		cmocka_unit_test(a_very_wide_cell_is_cut),
		cmocka_unit_test(an_answer_cut_short_is_an_error_not_a_crash),
		cmocka_unit_test(reals_print_short_and_read_back_the_same),
		cmocka_unit_test(utf8_is_read_strictly),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(out);
	return failed;
}
