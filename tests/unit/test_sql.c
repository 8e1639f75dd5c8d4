/* Requests and answers over the wire. */
#include "common/sql.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static void encode_request(struct buf *b)
{
	const struct sql_request head = {
		.namespace = slice_str("main"),
		.mode = SQL_WRITE,
		.level = SQL_LINEARIZABLE,
		.flags = SQL_BRIEF,
		.timeout_ms = 5000,
		.max_rows = 17,
		.client = 0x1122334455667788,
		.sequence = 42,
		.min_index = 99,
	};
	const struct value params[] = {value_int(1), value_text(slice_str("x")), value_null()};
	static const char text[] = "INSERT INTO t VALUES(?,?,?)";
	struct sql_writer w;

	sql_request_begin(&w, b, &head, 5);
	sql_request_add(&w, slice_str(text), params, 3);
	sql_request_add(&w, slice_str(text), params, 3);
	sql_request_add(&w, slice_str("SELECT 1"), NULL, 0);
	sql_request_add(&w, slice_str("SELECT 1"), NULL, 0);
	sql_request_add(&w, slice_of("", 0), NULL, 0);
	assert_true(buf_ok(b));
}

static void a_request_comes_back(void **state)
{
	struct buf b;
	struct sql_request q;
	struct sql_cursor c;
	struct sql_statement s;

	(void)state;
	buf_init(&b, 10000);
	encode_request(&b);
	assert_true(sql_request_decode(buf_slice(&b), &q));
	assert_true(slice_eq(q.namespace, slice_str("main")));
	assert_int_equal(q.mode, SQL_WRITE);
	assert_int_equal(q.level, SQL_LINEARIZABLE);
	assert_int_equal(q.flags, SQL_BRIEF);
	assert_int_equal(q.timeout_ms, 5000);
	assert_int_equal(q.max_rows, 17);
	assert_true(q.client == 0x1122334455667788);
	assert_int_equal(q.sequence, 42);
	assert_int_equal(q.min_index, 99);
	assert_int_equal(q.statements_n, 5);
	sql_cursor_init(&c, &q);
	const uint8_t *text = NULL;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sql_cursor_next(&c, &s), 1);
		assert_true(slice_eq(s.text, slice_str("INSERT INTO t VALUES(?,?,?)")));
		if (i)
			assert_ptr_equal(s.text.p,
					 text); /* the very same bytes: no need to compare */
		text = s.text.p;
		assert_int_equal(s.params_n, 3);
		assert_int_equal(value_get(&s.params).i, 1);
		assert_true(slice_eq(value_get(&s.params).s, slice_str("x")));
		assert_int_equal(value_get(&s.params).type, VALUE_NULL);
		assert_true(rd_end(&s.params));
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sql_cursor_next(&c, &s), 1);
		assert_true(slice_eq(s.text, slice_str("SELECT 1")));
		assert_int_equal(s.params_n, 0);
	}
	assert_int_equal(sql_cursor_next(&c, &s), 1);
	assert_int_equal(s.text.n, 0);
	assert_int_equal(sql_cursor_next(&c, &s), 0);
	assert_int_equal(sql_cursor_next(&c, &s), 0);
	buf_done(&b);
}

/* true: decodes to the end. */
static bool walks(struct slice in)
{
	struct sql_request q;
	struct sql_cursor c;
	struct sql_statement s;
	int got;

	if (!sql_request_decode(in, &q))
		return false;
	sql_cursor_init(&c, &q);
	while ((got = sql_cursor_next(&c, &s)) == 1)
		;
	return got == 0;
}

static void a_request_cut_anywhere_is_refused(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	encode_request(&b);
	assert_true(walks(buf_slice(&b)));
	for (size_t n = 0; n < b.len; n++)
		assert_false(walks(slice_of(b.data, n)));
	wire_u8(&b, 0); /* nor may anything follow */
	assert_false(walks(buf_slice(&b)));
	buf_done(&b);
}

static void heads_out_of_bounds_are_refused(void **state)
{
	struct sql_request head = {.namespace = slice_str("main")}, q;
	struct sql_writer w;
	struct buf b;
	char name[SQL_NAMESPACE_MAX];

	(void)state;
	buf_init(&b, 10000);
	for (int i = 0; i < 5; i++) {
		struct sql_request h = head;
		memset(name, 'n', sizeof name);
		if (i == 1)
			h.mode = (enum sql_mode)3;
		if (i == 2)
			h.level = (enum sql_level)3;
		if (i == 3)
			h.namespace = slice_of(name, sizeof name);
		buf_clear(&b);
		sql_request_begin(&w, &b, &h, 0);
		if (i == 4)
			b.data[0] = 9; /* version */
		assert_int_equal(sql_request_decode(buf_slice(&b), &q), i == 0);
	}
	/* "The same text as before" where there is none before. */
	buf_clear(&b);
	sql_request_begin(&w, &b, &head, 1);
	wire_varint(&b, 0);
	wire_varint(&b, 0);
	assert_false(walks(buf_slice(&b)));
	buf_done(&b);
}

static void an_answer_comes_back(void **state)
{
	struct buf results, b;
	struct sql_rows_writer w;
	struct sql_answer a = {.group = 3, .index = 88}, got;
	struct sql_result_cursor c;
	struct sql_result r;
	struct value v = value_text(slice_str("v"));

	(void)state;
	buf_init(&results, 1000);
	buf_init(&b, 1000);
	sql_result_done(&results, 5, -7);
	sql_rows_begin(&w, &results, 2);
	sql_rows_column(&w, "a", "INT");
	sql_rows_column(&w, "b", NULL);
	for (int i = 0; i < 3; i++) {
		struct value n = value_int(i);
		value_put(&results, &n);
		value_put(&results, &v);
	}
	sql_rows_end(&w, 3, true);
	sql_rows_begin(&w, &results, 1);
	sql_rows_column(&w, "none", NULL);
	sql_rows_end(&w, 0, false);
	a.results_n = 3;
	a.results = buf_slice(&results);
	sql_answer_encode(&b, &a);
	assert_true(sql_answer_decode(buf_slice(&b), &got));
	assert_int_equal(got.status, 0);
	assert_int_equal(got.group, 3);
	assert_int_equal(got.index, 88);
	sql_result_cursor_init(&c, &got);
	assert_int_equal(sql_result_next(&c, &r), 1);
	assert_int_equal(r.kind, SQL_DONE);
	assert_int_equal(r.changes, 5);
	assert_int_equal(r.last_rowid, -7);
	assert_int_equal(sql_result_next(&c, &r), 1);
	assert_int_equal(r.kind, SQL_ROWS);
	assert_int_equal(r.columns_n, 2);
	assert_int_equal(r.rows_n, 3);
	assert_true(r.truncated);
	assert_true(slice_eq(rd_bytes(&r.names), slice_str("a")));
	assert_true(slice_eq(rd_bytes(&r.names), slice_str("INT")));
	assert_int_equal(value_get(&r.values).i, 0);
	assert_int_equal(sql_result_next(&c, &r), 1);
	assert_int_equal(r.rows_n, 0);
	assert_int_equal(sql_result_next(&c, &r), 0);
	for (size_t n = 0; n < b.len; n++) {
		int code = -1;
		if (sql_answer_decode(slice_of(b.data, n), &got)) {
			sql_result_cursor_init(&c, &got);
			while ((code = sql_result_next(&c, &r)) == 1)
				;
		}
		assert_int_equal(code, -1);
	}
	buf_done(&results);
	buf_done(&b);
}

static void a_failure_comes_back(void **state)
{
	struct sql_answer a = {.status = -11,
			       .message = slice_str("no such table: t"),
			       .statement = 4,
			       .offset = -1,
			       .group = 1,
			       .leader_id = 2,
			       .leader_rpc = slice_str("127.0.0.1:7001")},
			  got;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	sql_answer_encode(&b, &a);
	assert_true(sql_answer_decode(buf_slice(&b), &got));
	assert_int_equal(got.status, -11);
	assert_true(slice_eq(got.message, a.message));
	assert_int_equal(got.statement, 4);
	assert_int_equal(got.offset, -1);
	assert_int_equal(got.leader_id, 2);
	assert_true(slice_eq(got.leader_rpc, a.leader_rpc));
	assert_int_equal(got.results_n, 0);
	for (size_t n = 0; n < b.len; n++)
		assert_false(sql_answer_decode(slice_of(b.data, n), &got));
	buf_done(&b);
}

static void rows_that_lie_about_their_number_are_refused(void **state)
{
	struct buf b;
	struct sql_rows_writer w;
	struct sql_answer a;
	struct sql_result_cursor c;
	struct sql_result r;

	(void)state;
	for (int columns = 0; columns < 2; columns++) {
		buf_init(&b, 1000);
		sql_rows_begin(&w, &b, (uint32_t)columns);
		if (columns)
			sql_rows_column(&w, "a", NULL);
		sql_rows_end(&w, UINT64_MAX, false);
		a = (struct sql_answer){.results_n = 1, .results = buf_slice(&b)};
		sql_result_cursor_init(&c, &a);
		assert_int_equal(sql_result_next(&c, &r), -1);
		buf_done(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_comes_back),
		cmocka_unit_test(a_request_cut_anywhere_is_refused),
		cmocka_unit_test(heads_out_of_bounds_are_refused),
		cmocka_unit_test(an_answer_comes_back),
		cmocka_unit_test(a_failure_comes_back),
		cmocka_unit_test(rows_that_lie_about_their_number_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
