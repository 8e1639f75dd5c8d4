#include "console/load/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct ledger *l;
static struct violations v;

static int open_ledger(void **state)
{
	(void)state;
	memset(&v, 0, sizeof v);
	return ledger_new(&l, 10, 2, NULL);
}

static int close_ledger(void **state)
{
	(void)state;
	ledger_free(l);
	return 0;
}

enum outcome { ACKNOWLEDGED, FAILED, UNKNOWN };

/* Worker 0 writes its nth write to up to three keys (-1: none) and a hot key. */
static void write_(uint32_t n, int64_t hot, int a, int b, int c, enum outcome outcome)
{
	uint64_t keys[3];
	struct ledger_write w = {.n = n, .hot = hot, .keys = keys};
	const int all[] = {a, b, c};

	for (int i = 0; i < 3; i++) {
		if (all[i] >= 0)
			keys[w.keys_n++] = (uint64_t)all[i];
	}
	ledger_sent(l, &w);
	if (outcome == ACKNOWLEDGED)
		ledger_acknowledged(l, &w);
	else if (outcome == UNKNOWN)
		assert_int_equal(ledger_unknown(l, &w, NULL), 0);
}

/* rows: n at each of the ten keys, 0: no row. */
static void check(const uint32_t *rows, uint64_t hot0, uint64_t hot1)
{
	assert_int_equal(ledger_check_begin(l, &v, NULL), 0);
	for (uint64_t key = 0; key < 10; key++) {
		if (rows[key])
			ledger_check_row(l, key, rows[key]);
	}
	ledger_check_hot(l, 0, hot0);
	ledger_check_hot(l, 1, hot1);
	ledger_check_end(l);
}

static void what_was_acknowledged_and_nothing_else_passes(void **state)
{
	(void)state;
	write_(1, -1, 0, 1, 9, ACKNOWLEDGED);
	write_(2, 1, 0, -1, -1, ACKNOWLEDGED);
	write_(3, 0, 5, -1, -1, FAILED);
	check((uint32_t[10]){2, 1, [9] = 1}, 0, 1);
	assert_int_equal(v.count, 0);
	assert_int_equal(ledger_key(l, 0), 2);
	assert_int_equal(ledger_hot(l, 0), 0);
	assert_int_equal(ledger_hot_sent(l, 0), 1);
}

static void a_missing_acknowledged_write_is_found(void **state)
{
	(void)state;
	write_(1, -1, 4, 9, -1, ACKNOWLEDGED);
	check((uint32_t[10]){[4] = 1}, 0, 0);
	assert_int_equal(v.count, 1);
	assert_string_equal(v.texts[0], "key 9 is missing; its write 1 was acknowledged");
}

static void an_older_write_in_place_of_a_later_one_is_found(void **state)
{
	(void)state;
	write_(1, -1, 4, -1, -1, ACKNOWLEDGED);
	write_(2, -1, 4, -1, -1, ACKNOWLEDGED);
	check((uint32_t[10]){[4] = 1}, 0, 0);
	assert_int_equal(v.count, 1);
	assert_non_null(strstr(v.texts[0], "later write 2 was acknowledged"));
}

static void a_failed_write_that_is_there_is_found(void **state)
{
	(void)state;
	write_(1, -1, 4, -1, -1, FAILED);
	check((uint32_t[10]){[4] = 1}, 0, 0);
	assert_int_equal(v.count, 1);
	assert_non_null(strstr(v.texts[0], "answered as failed or never sent"));
}

static void an_unknown_write_may_be_there_or_not(void **state)
{
	(void)state;
	write_(1, -1, 4, 5, -1, ACKNOWLEDGED);
	write_(2, 0, 4, -1, -1, UNKNOWN);
	write_(3, 0, 5, -1, -1, UNKNOWN);
	check((uint32_t[10]){[4] = 2, [5] = 1}, 1, 0);
	assert_int_equal(v.count, 0);
}

static void an_unknown_write_that_comes_after_a_later_one_is_found(void **state)
{
	(void)state;
	write_(1, -1, 4, -1, -1, UNKNOWN);
	write_(2, -1, 4, -1, -1, ACKNOWLEDGED);
	check((uint32_t[10]){[4] = 1}, 0, 0);
	assert_int_equal(v.count, 1);
}

static void half_a_transaction_of_unknown_outcome_is_found(void **state)
{
	(void)state;
	write_(1, -1, 4, 5, 6, UNKNOWN);
	check((uint32_t[10]){[4] = 1, [6] = 1}, 0, 0);
	assert_int_equal(v.count, 1);
	assert_non_null(strstr(v.texts[0], "write 1 of worker 0 was done in part"));
}

static void a_row_overwritten_later_tells_nothing_about_atomicity(void **state)
{
	(void)state;
	write_(1, -1, 4, 5, 6, UNKNOWN);
	write_(2, -1, 5, 6, -1, ACKNOWLEDGED);
	check((uint32_t[10]){[4] = 1, [5] = 2, [6] = 2}, 0, 0);
	assert_int_equal(v.count, 0);
}

static void counters_must_end_between_acknowledged_and_possible(void **state)
{
	(void)state;
	write_(1, 0, -1, -1, -1, ACKNOWLEDGED);
	write_(2, 0, -1, -1, -1, ACKNOWLEDGED);
	write_(3, 0, -1, -1, -1, UNKNOWN);
	write_(4, 1, -1, -1, -1, ACKNOWLEDGED);
	check((uint32_t[10]){0}, 3, 1);
	assert_int_equal(v.count, 0);
	check((uint32_t[10]){0}, 4, 0);
	assert_int_equal(v.count, 2);
	assert_non_null(strstr(v.texts[0], "hot key 0 counted to 4, but only 3"));
	assert_non_null(strstr(v.texts[1], "hot key 1 counted to 0, but 1"));
}

static void rows_and_counters_from_nowhere_are_found(void **state)
{
	(void)state;
	assert_int_equal(ledger_check_begin(l, &v, NULL), 0);
	ledger_check_row(l, 3, 7);
	ledger_check_row(l, UINT64_MAX, 1);
	ledger_check_hot(l, 0, 0);
	ledger_check_hot(l, 2, 0);
	ledger_check_end(l);
	assert_int_equal(v.count, 4);
	assert_non_null(strstr(v.texts[3], "hot key 1 is missing"));
}

static void only_the_first_contradictions_are_kept_in_words(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		violations_add(&v, "number %d", i);
	assert_int_equal(v.count, 100);
	assert_string_equal(v.texts[VIOLATIONS_SHOWN - 1], "number 19");
}

static void too_much_unknown_ends_the_account(void **state)
{
	struct err e = {0};
	static uint64_t keys[1000];
	struct ledger_write w = {.n = 1, .hot = -1, .keys = keys, .keys_n = 1000};
	int rc = 0, i;

	(void)state;
	for (i = 0; i < 1002 && rc == 0; i++)
		rc = ledger_unknown(l, &w, &e);
	assert_int_equal(rc, ERR_LIMIT);
	assert_int_equal(i, 1001);
	assert_int_equal(ledger_check_begin(l, &v, &e), ERR_LIMIT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_ledger, close_ledger)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_acknowledged_and_nothing_else_passes),
		T(a_missing_acknowledged_write_is_found),
		T(an_older_write_in_place_of_a_later_one_is_found),
		T(a_failed_write_that_is_there_is_found),
		T(an_unknown_write_may_be_there_or_not),
		T(an_unknown_write_that_comes_after_a_later_one_is_found),
		T(half_a_transaction_of_unknown_outcome_is_found),
		T(a_row_overwritten_later_tells_nothing_about_atomicity),
		T(counters_must_end_between_acknowledged_and_possible),
		T(rows_and_counters_from_nowhere_are_found),
		T(only_the_first_contradictions_are_kept_in_words),
		T(too_much_unknown_ends_the_account),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
