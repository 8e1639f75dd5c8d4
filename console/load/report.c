#include "console/load/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>

static double per_second(uint64_t n, uint64_t us)
{
	return us ? (double)n * 1e6 / (double)us : 0;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

void report_interval(FILE *f, const struct load_counts *before, const struct load_counts *now)
{
	uint64_t ops = now->ops - before->ops, ok = now->ok - before->ok,
		 unknown = now->unknown - before->unknown;
	uint64_t latency_us = now->latency_us_sum - before->latency_us_sum;

	fprintf(f,
		"[%6.1fs] Ops: %" PRIu64 " (%.1f/s) | Success: %" PRIu64 " (%.1f%%) | Failed: "
		"%" PRIu64 " | Conflicts: %" PRIu64 " | Reads: %" PRIu64 " | Writes: %" PRIu64
		" | Avg Latency: %.2fms",
		(double)now->elapsed_us / 1e6, ops,
		per_second(ops, now->elapsed_us - before->elapsed_us), ok, percent(ok, ops),
		now->failed - before->failed, now->conflicts - before->conflicts,
		now->reads - before->reads, now->writes - before->writes,
		ops ? (double)latency_us / (double)ops / 1000 : 0);
	if (unknown)
		fprintf(f, " | Unknown: %" PRIu64, unknown);
	fputs("\n", f);
	fflush(f);
}

static double ms(uint64_t us)
{
	return round((double)us) / 1000;
}

static void verdict_text(FILE *f, const struct report *r)
{
	if (!r->checked) {
		fprintf(f, "Verified:   no: %s\n", r->unchecked_why);
		return;
	}
	if (r->violations.count == 0) {
		fprintf(f,
			"Verified:   yes: %" PRIu64 " keys and %u counters compared; all that was "
			"acknowledged is there, and nothing else\n",
			r->keys, r->hot_keys);
		return;
	}
	fprintf(f, "Verified:   VIOLATED: %" PRIu64 " contradictions between answers and data\n",
		r->violations.count);
	for (uint64_t i = 0; i < r->violations.count && i < VIOLATIONS_SHOWN; i++)
		fprintf(f, "            %s\n", r->violations.texts[i]);
	if (r->violations.count > VIOLATIONS_SHOWN)
		fprintf(f, "            … and %" PRIu64 " more\n",
			r->violations.count - VIOLATIONS_SHOWN);
}

void report_text(FILE *f, const struct report *r)
{
	const struct load_counts *c = &r->counts;
	const struct hist *h = &r->latency;

	fprintf(f, "\nDuration:   %.1f s with %u workers\n", (double)c->elapsed_us / 1e6,
		r->workers);
	fprintf(f, "Operations: %" PRIu64 " (%.1f/s): %" PRIu64 " reads, %" PRIu64 " writes\n",
		c->ops, per_second(c->ops, c->elapsed_us), c->reads, c->writes);
	fprintf(f, "Rows:       %" PRIu64 " written (%.1f/s)\n", c->rows,
		per_second(c->rows, c->elapsed_us));
	fprintf(f, "Success:    %" PRIu64 " (%.2f%%)\n", c->ok, percent(c->ok, c->ops));
	fprintf(f,
		"Failed:     %" PRIu64 ", of these %" PRIu64 " conflicts and %" PRIu64
		" with unknown outcome\n",
		c->failed, c->conflicts, c->unknown);
	fprintf(f, "Latency:    mean %.2f ms, p50 %.2f, p90 %.2f, p99 %.2f, p99.9 %.2f, max %.2f\n",
		hist_mean(h) / 1000, ms(hist_percentile(h, 50)), ms(hist_percentile(h, 90)),
		ms(hist_percentile(h, 99)), ms(hist_percentile(h, 99.9)), ms(h->max));
	for (size_t i = 0; i < r->errors_n; i++)
		fprintf(f, "Error:      %" PRIu64 " × %s: %s\n", r->errors[i].count,
			err_name(r->errors[i].code), r->errors[i].text);
	verdict_text(f, r);
}

static double rounded(double value, double steps)
{
	return round(value * steps) / steps;
}

static json_t *errors_json(const struct report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->errors_n; i++)
		json_array_append_new(list, json_pack("{s:s,s:I,s:s}", "code",
						      err_name(r->errors[i].code), "count",
						      (json_int_t)r->errors[i].count, "text",
						      r->errors[i].text));
	return list;
}

static json_t *violations_json(const struct report *r)
{
	json_t *list = json_array();

	for (uint64_t i = 0; i < r->violations.count && i < VIOLATIONS_SHOWN; i++)
		json_array_append_new(list, json_string(r->violations.texts[i]));
	return list;
}

void report_json(FILE *f, const struct report *r)
{
	const struct load_counts *c = &r->counts;
	const struct hist *h = &r->latency;
	json_t *latency =
		json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "mean", rounded(hist_mean(h) / 1000, 1000),
			  "p50", ms(hist_percentile(h, 50)), "p90", ms(hist_percentile(h, 90)),
			  "p99", ms(hist_percentile(h, 99)), "p999", ms(hist_percentile(h, 99.9)),
			  "max", ms(h->max));
	json_t *root = json_pack(
		"{s:f,s:I,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:o,s:o,s:o}", "duration_s",
		rounded((double)c->elapsed_us / 1e6, 1000), "ops", (json_int_t)c->ops, "ops_per_s",
		rounded(per_second(c->ops, c->elapsed_us), 10), "ok", (json_int_t)c->ok, "failed",
		(json_int_t)c->failed, "unknown", (json_int_t)c->unknown, "conflicts",
		(json_int_t)c->conflicts, "reads", (json_int_t)c->reads, "writes",
		(json_int_t)c->writes, "rows", (json_int_t)c->rows, "rows_per_s",
		rounded(per_second(c->rows, c->elapsed_us), 10), "latency_ms", latency, "verified",
		!r->checked ? json_null() : json_boolean(r->violations.count == 0), "violations",
		violations_json(r), "errors", errors_json(r));

	if (!root || json_dumpf(root, f, JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0)
		fputs("null", f);
	fputs("\n", f);
	json_decref(root);
}
