/* The words and numbers in which a load's course and result are told. */
#ifndef DROVER_CONSOLE_LOAD_REPORT_H
#define DROVER_CONSOLE_LOAD_REPORT_H

#include "console/load/load.h"

#include <stdio.h>

/* One interval's line: what happened since `before`. */
void report_interval(FILE *f, const struct load_counts *before, const struct load_counts *now);

struct report {
	struct load_counts counts;
	struct hist latency; /* microseconds */
	struct load_error errors[LOAD_ERRORS_MAX];
	size_t errors_n;
	uint32_t workers;
	uint64_t keys;
	uint32_t hot_keys;
	bool checked; /* the data was compared with what was acknowledged */
	struct violations violations;
	char unchecked_why[ERR_TEXT_MAX]; /* not checked: why */
};

void report_text(FILE *f, const struct report *r);
/* One line; "verified" is null when the data was not compared. */
void report_json(FILE *f, const struct report *r);

#endif
