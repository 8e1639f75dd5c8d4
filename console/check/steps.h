/* The steps of the correctness run, in three acts: all nodes; only a majority of them; bad luck.
 * Each act has a cluster of its own. A step either shows what its name says or ends the run.
 *
 * Errors: ERR_CORRUPT when something acknowledged is missing or out of order; anything else when
 * the step could not be done.
 */
#ifndef DROVER_CONSOLE_CHECK_STEPS_H
#define DROVER_CONSOLE_CHECK_STEPS_H

#include "console/check/feeder.h"
#include "console/check/testbed.h"

struct check {
	/* As asked for: */
	const struct command *command;
	uint32_t nodes;
	uint64_t entries;
	uint32_t clients;
	uint32_t batch;
	/* The act under way: */
	struct testbed *testbed;
	struct client *client;
	struct feeder *feeder;
	uint32_t mask;	 /* the nodes that run */
	uint32_t leader; /* when last looked */
	uint32_t emptied;
	uint64_t index; /* the last entry, when all were last at one */
	/* Told by the steps: */
	char detail[300];
	double entries_per_s; /* of the first act's writing */
};

struct step {
	const char *name;
	int (*run)(struct check *c, struct err *e);
};

struct act {
	const char *name;
	bool majority_only;	  /* only as many nodes are started as must be */
	const struct step *steps; /* ends with name NULL */
};

extern const struct act acts[]; /* ends with name NULL */

/* Makes the act's cluster, and ends it. */
int check_begin(struct check *c, const struct act *act, struct err *e);
void check_end(struct check *c, bool keep);

#endif
