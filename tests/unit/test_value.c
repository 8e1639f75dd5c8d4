/* SQL values and their encoding. */
#include "common/value.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

static void values_come_back(void **state)
{
	const struct value values[] = {
		value_null(),
		value_int(0),
		value_int(-1),
		value_int(INT64_MIN),
		value_int(INT64_MAX),
		value_real(0.0),
		value_real(-0.0),
		value_real(1.5e300),
		value_real(INFINITY),
		value_real(NAN),
		value_text(slice_of("a\0b", 3)),
		value_text(slice_of("", 0)),
		value_blob(slice_of("\xff\0", 2)),
		value_blob(slice_of("", 0)),
	};
	const size_t n = sizeof values / sizeof *values;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < n; i++)
		value_put(&b, &values[i]);
	assert_true(buf_ok(&b));
	struct rd r = rd_of(buf_slice(&b));
	for (size_t i = 0; i < n; i++) {
		struct value v = value_get(&r);
		assert_true(value_eq(&v, &values[i]));
		for (size_t k = 0; k < n; k++)
			assert_int_equal(value_eq(&v, &values[k]), k == i);
	}
	assert_true(rd_end(&r));
	/* Cut anywhere, the rest is told to be bad. */
	for (size_t cut = 0; cut < b.len; cut++) {
		r = rd_of(slice_of(b.data, cut));
		for (size_t i = 0; i < n; i++)
			value_get(&r);
		assert_false(rd_ok(&r));
	}
	buf_done(&b);
}

static void an_unknown_type_is_bad_and_null(void **state)
{
	struct rd r = rd_of(slice_of("\5\1", 2));
	struct value v = value_get(&r);

	(void)state;
	assert_false(rd_ok(&r));
	assert_int_equal(v.type, VALUE_NULL);
}

static void a_value_that_does_not_fit_leaves_no_half(void **state)
{
	struct value v = value_text(slice_of("0123456789", 10));
	struct buf b;

	(void)state;
	buf_init(&b, 8);
	value_put(&b, &v);
	assert_false(buf_ok(&b));
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_back),
		cmocka_unit_test(an_unknown_type_is_bad_and_null),
		cmocka_unit_test(a_value_that_does_not_fit_leaves_no_half),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
