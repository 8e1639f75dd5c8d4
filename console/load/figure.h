/* A figure that `make bench` prints: several runs, their median, and what it is to be. */
#ifndef DROVER_CONSOLE_LOAD_FIGURE_H
#define DROVER_CONSOLE_LOAD_FIGURE_H

#include <stdbool.h>
#include <stdio.h>

#define FIGURE_RUNS_MAX 100

struct figure {
	const char *name; /* "random_writes" */
	const char *what; /* for people */
	const char *unit;
	double goal;
	bool at_most;	       /* the goal is a ceiling, not a floor */
	double worst_at_most;  /* not 0: no run may be above this */
	const char *reference; /* what others reach, or why this number */
	const char *method;
	unsigned n;
	double runs[FIGURE_RUNS_MAX];
};

/* More than FIGURE_RUNS_MAX are not kept. */
void figure_add(struct figure *f, double value);
double figure_median(const struct figure *f); /* 0 without runs */
double figure_worst(const struct figure *f);
bool figure_met(const struct figure *f);

/* A row of the table, and one line of JSON. */
void figure_row(FILE *out, const struct figure *f);
void figure_json(FILE *out, const struct figure *f);

#endif
