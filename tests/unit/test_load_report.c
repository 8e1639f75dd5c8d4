#include "console/load/figure.h"
#include "console/load/report.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void the_interval_line_has_its_shape(void **state)
{
	struct load_counts before = {.ops = 7, .ok = 7, .reads = 7, .latency_us_sum = 1};
	struct load_counts now = {.ops = 460,
				  .ok = 452,
				  .failed = 8,
				  .reads = 98,
				  .writes = 362,
				  .latency_us_sum = 1 + 453 * 12340,
				  .elapsed_us = 5000000};
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	report_interval(f, &before, &now);
	fclose(f);
	assert_string_equal(text, "[   5.0s] Ops: 453 (90.6/s) | Success: 445 (98.2%) | Failed: 8 "
				  "| Conflicts: 0 | Reads: 91 | Writes: 362 | Avg Latency: "
				  "12.34ms\n");
	free(text);
}

static void the_json_report_has_the_promised_fields(void **state)
{
	static const char *const fields[] = {"duration_s", "ops",	"ops_per_s", "ok",
					     "failed",	   "unknown",	"conflicts", "reads",
					     "writes",	   "latency_ms"};
	struct report r = {.checked = true, .workers = 3};
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	r.counts = (struct load_counts){.ops = 10, .ok = 9, .failed = 1, .elapsed_us = 1000000};
	for (unsigned i = 0; i < 10; i++)
		hist_add(&r.latency, 1000);
	r.errors[r.errors_n++] = (struct load_error){ERR_TIMEOUT, 1, "slow"};
	report_json(f, &r);
	fclose(f);
	json_t *root = json_loads(text, 0, NULL);
	assert_non_null(root);
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		assert_non_null(json_object_get(root, fields[i]));
	assert_true(json_is_true(json_object_get(root, "verified")));
	assert_true(json_number_value(
			    json_object_get(json_object_get(root, "latency_ms"), "p99")) == 1.0);
	assert_true(json_number_value(json_object_get(root, "ops_per_s")) == 10.0);
	json_decref(root);
	assert_null(strchr(text, '\n')[1] ? text : NULL);
	free(text);
}

static void the_report_says_what_is_wrong(void **state)
{
	struct report r = {.checked = true};
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	for (int i = 0; i < 25; i++)
		violations_add(&r.violations, "contradiction %d", i);
	r.errors[r.errors_n++] = (struct load_error){ERR_TIMEOUT, 3, "slow"};
	report_text(f, &r);
	r.checked = false;
	strcpy(r.unchecked_why, "nobody answers");
	report_text(f, &r);
	report_json(f, &r);
	fclose(f);
	assert_non_null(strstr(text, "VIOLATED: 25 contradictions"));
	assert_non_null(strstr(text, "contradiction 19\n"));
	assert_null(strstr(text, "contradiction 20\n"));
	assert_non_null(strstr(text, "and 5 more"));
	assert_non_null(strstr(text, "3 × TIMEOUT: slow"));
	assert_non_null(strstr(text, "Verified:   no: nobody answers"));
	assert_non_null(strstr(text, "\"verified\":null"));
	free(text);
}

static void a_figure_is_its_median(void **state)
{
	struct figure f = {.name = "f", .what = "w", .unit = "ms", .goal = 5, .at_most = true};
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	assert_false(figure_met(&f));
	figure_add(&f, 9);
	figure_add(&f, 4);
	figure_add(&f, 5);
	assert_true(figure_median(&f) == 5);
	assert_true(figure_worst(&f) == 9);
	assert_true(figure_met(&f));
	f.worst_at_most = 8;
	assert_false(figure_met(&f));
	f.worst_at_most = 0;
	figure_add(&f, 6);
	assert_true(figure_median(&f) == 5.5);
	assert_false(figure_met(&f));
	f.at_most = false;
	assert_true(figure_met(&f));
	assert_true(figure_worst(&f) == 4);
	figure_json(out, &f);
	fclose(out);
	json_t *root = json_loads(text, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(root, "runs")), 4);
	assert_true(json_is_null(json_object_get(root, "reference")));
	json_decref(root);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_interval_line_has_its_shape),
		cmocka_unit_test(the_json_report_has_the_promised_fields),
		cmocka_unit_test(the_report_says_what_is_wrong),
		cmocka_unit_test(a_figure_is_its_median),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
