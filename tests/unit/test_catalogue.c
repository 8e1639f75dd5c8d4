/* Namespaces: their statements and their table. */
#include "agent/node/catalogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void parse(const char *sql, enum namespace_verb verb, bool if_clause, const char *name)
{
	struct namespace_statement s;
	struct err e;

	assert_int_equal(namespace_parse(slice_str(sql), &s, &e), 0);
	assert_int_equal(s.verb, verb);
	assert_int_equal(s.if_clause, if_clause);
	assert_string_equal(s.name, name);
}

static void namespace_statements_are_told_from_other_sql(void **state)
{
	(void)state;
	parse("CREATE NAMESPACE shop", NAMESPACE_CREATE, false, "shop");
	parse("  create -- a tenant\n namespace\tif NOT exists \"Shop-2\" ;", NAMESPACE_CREATE,
	      true, "Shop-2");
	parse("DROP NAMESPACE IF EXISTS a_1;", NAMESPACE_DROP, true, "a_1");
	parse("show namespaces", NAMESPACE_SHOW, false, "");
	parse("CREATE TABLE namespace(x)", NAMESPACE_NONE, false, "");
	parse("SELECT 'CREATE NAMESPACE x'", NAMESPACE_NONE, false, "");
	parse("", NAMESPACE_NONE, false, "");
}

static void malformed_namespace_statements_are_refused_with_a_reason(void **state)
{
	static const char *const bad[] = {
		"CREATE NAMESPACE",
		"CREATE NAMESPACE 1x",
		"CREATE NAMESPACE a b",
		"CREATE NAMESPACE IF EXISTS a",
		"DROP NAMESPACE IF a",
		"CREATE NAMESPACE \"a b\"",
		"CREATE NAMESPACE a; SELECT 1",
		"CREATE NAMESPACE \"../etc\"",
		"SHOW NAMESPACES LIKE",
		"CREATE NAMESPACE "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct namespace_statement s;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(namespace_parse(slice_str(bad[i]), &s, &e), ERR_INVALID);
		assert_true(strlen(e.text) > 0);
	}
}

static void count_gone(void *ctx, const struct catalogue_row *row)
{
	assert_string_equal(row->name, "shop");
	++*(int *)ctx;
}

static void a_dropped_namespace_is_told_and_remembered_as_dropped(void **state)
{
	struct catalogue_row rows[] = {{1, 1, "main"}, {2, 2, "shop"}}, found;
	struct catalogue *c;
	struct err e;
	int gone = 0;

	(void)state;
	assert_int_equal(catalogue_new(&c, 2, &e), 0);
	assert_int_equal(catalogue_group(c, 1), 1);
	assert_int_equal(catalogue_group(c, 2), 2);
	assert_int_equal(catalogue_group(c, 3), 1);
	assert_int_equal(catalogue_set(c, rows, 2, 5, count_gone, &gone, &e), 0);
	assert_true(catalogue_find(c, slice_str("SHOP"), &found));
	assert_int_equal(found.id, 2);
	assert_true(catalogue_find(c, slice_str(""), &found));
	assert_int_equal(found.id, 1);
	assert_false(catalogue_dropped(c, 2));
	assert_int_equal(catalogue_set(c, rows, 1, 6, count_gone, &gone, &e), 0);
	assert_int_equal(gone, 1);
	assert_false(catalogue_find(c, slice_str("shop"), &found));
	assert_true(catalogue_dropped(c, 2));
	assert_false(catalogue_dropped(c, 3));
	catalogue_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(namespace_statements_are_told_from_other_sql),
		cmocka_unit_test(malformed_namespace_statements_are_refused_with_a_reason),
		cmocka_unit_test(a_dropped_namespace_is_told_and_remembered_as_dropped),
	};
	return cmocka_run_group_tests_name("catalogue", tests, NULL, NULL);
}
