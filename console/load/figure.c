#include "console/load/figure.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void figure_add(struct figure *f, double value)
{
	if (f->n < FIGURE_RUNS_MAX)
		f->runs[f->n++] = value;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void sorted(const struct figure *f, double *ret_runs)
{
	memcpy(ret_runs, f->runs, f->n * sizeof *ret_runs);
	if (f->n)
		qsort(ret_runs, f->n, sizeof *ret_runs, by_value);
}

double figure_median(const struct figure *f)
{
	double runs[FIGURE_RUNS_MAX];

	sorted(f, runs);
	if (f->n == 0)
		return 0;
	return f->n % 2 ? runs[f->n / 2] : (runs[f->n / 2 - 1] + runs[f->n / 2]) / 2;
}

double figure_worst(const struct figure *f)
{
	double runs[FIGURE_RUNS_MAX];

	sorted(f, runs);
	if (f->n == 0)
		return 0;
	return runs[f->at_most ? f->n - 1 : 0];
}

bool figure_met(const struct figure *f)
{
	double median = figure_median(f);

	if (f->n == 0 || (f->worst_at_most > 0 && figure_worst(f) > f->worst_at_most))
		return false;
	return f->at_most ? median <= f->goal : median >= f->goal;
}

static const char *number(double value, char *text, size_t size)
{
	snprintf(text, size, value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.3f", value);
	return text;
}

void figure_row(FILE *out, const struct figure *f)
{
	char median[32], worst[32], goal[32];

	fprintf(out, "%-62s %10s %-7s worst %10s  %s %s  %s\n", f->what,
		number(figure_median(f), median, sizeof median), f->unit,
		number(figure_worst(f), worst, sizeof worst), f->at_most ? "at most" : "at least",
		number(f->goal, goal, sizeof goal), figure_met(f) ? "met" : "MISSED");
	if (f->reference)
		fprintf(out, "    %s\n", f->reference);
	fflush(out);
}

void figure_json(FILE *out, const struct figure *f)
{
	json_t *runs = json_array();

	for (unsigned i = 0; i < f->n; i++)
		json_array_append_new(runs, json_real(round(f->runs[i] * 1000) / 1000));
	json_t *root = json_pack("{s:s,s:s,s:s,s:f,s:f,s:f,s:s,s:b,s:o,s:s?,s:s?}", "name", f->name,
				 "what", f->what, "unit", f->unit, "median",
				 round(figure_median(f) * 1000) / 1000, "worst",
				 round(figure_worst(f) * 1000) / 1000, "goal", f->goal, "goal_is",
				 f->at_most ? "at_most" : "at_least", "met", figure_met(f), "runs",
				 runs, "reference", f->reference, "method", f->method);
	json_dumpf(root, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
	fputs("\n", out);
	fflush(out);
	json_decref(root);
}
