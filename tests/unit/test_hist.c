#include "common/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static struct hist h, g;

static void assert_near(uint64_t got, double expected)
{
	double off = ((double)got - expected) / (expected > 0 ? expected : 1);

	if (off < -0.01 || off > 0.01)
		fail_msg("%llu is not within 1 %% of %.1f", (unsigned long long)got, expected);
}

static void empty_gives_zero(void **state)
{
	(void)state;
	hist_clear(&h);
	assert_int_equal(hist_percentile(&h, 50), 0);
	assert_int_equal(hist_percentile(&h, 100), 0);
	assert_true(hist_mean(&h) == 0);
}

static void small_values_are_exact(void **state)
{
	(void)state;
	hist_clear(&h);
	for (uint64_t v = 1; v <= 100; v++)
		hist_add(&h, v);
	assert_int_equal(hist_percentile(&h, 0), 1);
	assert_int_equal(hist_percentile(&h, 1), 1);
	assert_int_equal(hist_percentile(&h, 50), 50);
	assert_int_equal(hist_percentile(&h, 99), 99);
	assert_int_equal(hist_percentile(&h, 100), 100);
	assert_true(hist_mean(&h) == 50.5);
}

static void every_value_is_found_within_one_percent(void **state)
{
	(void)state;
	for (uint64_t v = 1; v < UINT64_C(1) << 40; v = v + v / 37 + 1) {
		hist_clear(&h);
		/* Two others, so that the answer does not come from the exact minimum or maximum.
		 */
		hist_add(&h, v);
		hist_add(&h, 0);
		hist_add(&h, UINT64_C(1) << 41);
		assert_near(hist_percentile(&h, 50), (double)v);
	}
}

static void huge_values_keep_count_and_maximum(void **state)
{
	(void)state;
	hist_clear(&h);
	hist_add(&h, 5);
	hist_add(&h, UINT64_MAX / 2);
	assert_int_equal(h.count, 2);
	assert_true(hist_percentile(&h, 100) == UINT64_MAX / 2);
	assert_int_equal(hist_percentile(&h, 50), 5);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void percentiles_match_a_sorted_array_and_merging_changes_nothing(void **state)
{
	(void)state;
	enum { N = 20000 };
	static uint64_t values[N];
	static struct hist parts[4], whole;
	const char *text = getenv("DROVER_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);

	print_message("DROVER_SEED=%u\n", seed);
	srandom(seed);
	hist_clear(&whole);
	for (int i = 0; i < 4; i++)
		hist_clear(&parts[i]);
	for (int i = 0; i < N; i++) {
		values[i] = (uint64_t)random() >> (random() % 30);
		hist_add(&whole, values[i]);
		hist_add(&parts[i % 4], values[i]);
	}
	hist_clear(&g);
	for (int i = 0; i < 4; i++)
		hist_merge(&g, &parts[i]);
	assert_memory_equal(&g, &whole, sizeof g);
	qsort(values, N, sizeof values[0], compare);
	for (double p = 0.5; p <= 99.5; p += 0.5) {
		size_t rank = (size_t)(p / 100 * N + 0.999999);
		assert_near(hist_percentile(&whole, p), (double)values[rank - 1]);
	}
	hist_clear(&h);
	hist_merge(&g, &h);
	assert_memory_equal(&g, &whole, sizeof g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_gives_zero),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(every_value_is_found_within_one_percent),
		cmocka_unit_test(huge_values_keep_count_and_maximum),
		cmocka_unit_test(percentiles_match_a_sorted_array_and_merging_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
