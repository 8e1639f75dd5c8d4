/* Starting, stopping and signalling nodes, for the commands of that name, for `up`, `clean` and
 * `check`. Each function acts on all nodes of a set at once, waits for all, and writes down what
 * came of each; none prints, except that a wait of more than two seconds is told on stderr. */
#ifndef DROVER_CONSOLE_LIFECYCLE_H
#define DROVER_CONSOLE_LIFECYCLE_H

#include "console/cluster.h"

#define OUTCOME_TEXT_MAX 2048

struct outcome {
	const struct conf_node *node;
	int code;	 /* enum exit_code */
	const char *did; /* "started", "already_running", "stopped", … or "failed": for JSON */
	pid_t pid;
	uint64_t ms;
	char text[OUTCOME_TEXT_MAX]; /* "started, pid 4711"; of a failure what to do, perhaps lines
				      */
};

struct outcomes {
	uint32_t n;
	struct outcome items[CONF_NODES_MAX];
};

/* Checks every agent.ini first: when one is wrong nothing starts and e says which. Then starts
 * those that do not run and waits until each answers RPC. A process that ends at once is told with
 * the last lines of its log. */
int life_start(struct cli *cli, const struct node_set *set, uint64_t timeout_ms,
	       struct outcomes *ret_outcomes, struct err *e);
/* SIGTERM, and SIGCONT for paused ones; waits for the processes' end. */
void life_stop(const struct node_set *set, uint64_t timeout_ms, struct outcomes *ret_outcomes);
/* SIGKILL, SIGSTOP or SIGCONT; waits until it shows. */
void life_signal(const struct node_set *set, int number, struct outcomes *ret_outcomes);

/* The first code that is not 0. */
int outcomes_code(const struct outcomes *o);
/* As the command line's output form says; failures of a table go to stderr. */
void outcomes_print(const struct cli *cli, const struct outcomes *o);

/* Would taking these nodes away leave fewer running voters than a majority, where now there are
 * enough? */
bool life_loses_quorum(const struct cluster_conf *conf, const struct node_set *set);
/* "n1, n2" */
void life_names(const struct node_set *set, char *ret_text, size_t size);
/* For commands that take nodes away: true to go on. Otherwise *ret_code is the exit code: of a dry
 * run, which it prints, or of a refusal. verb: "stop". */
bool life_consent(struct cli *cli, const struct node_set *set, const char *verb, int *ret_code);

/* Asks until the cluster is healthy and every node has applied what was committed when this began.
 * The last view is left in ret_view in any case but an error. ERR_TIMEOUT leaves it too. */
int life_wait_healthy(struct cli *cli, uint64_t timeout_ms, struct cluster_view *ret_view,
		      struct err *e);

#endif
