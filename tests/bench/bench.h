/* What the benchmark programs share: their flags, a cluster of three nodes that is gone in the end,
 * and how a figure is told: a row on stderr, a line of JSON on stdout. */
#ifndef DROVER_TESTS_BENCH_BENCH_H
#define DROVER_TESTS_BENCH_BENCH_H

#include "console/check/janitor.h"
#include "console/check/testbed.h"
#include "console/control/control.h"
#include "console/load/figure.h"
#include "console/load/load.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BENCH_NODES 3

struct bench {
	const struct command command; /* names the temporary folder and the messages */
	unsigned runs;
	unsigned seconds; /* of a run that lasts for a time */
	int argc;	  /* figures asked for; none: all */
	char **argv;
	struct testbed *testbed;
	struct client *client;
	struct err err;
};

static inline bool bench_wants(const struct bench *b, const char *figure)
{
	for (int i = 0; i < b->argc; i++) {
		if (strcmp(b->argv[i], figure) == 0)
			return true;
	}
	return b->argc == 0;
}

/* A fresh cluster with a leader, and a client with so many connections to each node. */
static inline int bench_open(struct bench *b, uint32_t connections)
{
	int rc = testbed_new(&b->testbed, &b->command, BENCH_NODES, NULL, &b->err);

	if (!rc)
		rc = testbed_start(b->testbed, testbed_all(b->testbed), &b->err);
	if (!rc)
		rc = testbed_leader(b->testbed, 30000, NULL, &b->err);
	if (!rc)
		rc = testbed_client(b->testbed, connections, &b->client, &b->err);
	return rc;
}

static inline void bench_close(struct bench *b)
{
	client_free(b->client);
	testbed_free(b->testbed, false);
	b->client = NULL;
	b->testbed = NULL;
}

static inline void bench_tell(const struct figure *f)
{
	figure_row(stderr, f);
	figure_json(stdout, f);
}

/* One run of a load; ERR_REFUSED after ^C, ERR_CORRUPT when a read contradicted an answer. */
static inline int bench_run_load(struct bench *b, struct load *l, const struct load_mix *mix,
				 struct load_counts *ret_counts)
{
	int rc = load_start(l, mix, &b->err);

	while (!rc && !load_wait(l, 100)) {
		if (cli_interrupted())
			load_stop(l);
	}
	load_counts(l, ret_counts);
	if (!rc && cli_interrupted())
		rc = err_set(&b->err, ERR_REFUSED, "interrupted");
	if (!rc && ret_counts->failed > 0)
		fprintf(stderr, "    %llu of %llu requests failed\n",
			(unsigned long long)ret_counts->failed,
			(unsigned long long)ret_counts->ops);
	if (!rc && load_violations(l))
		rc = err_set(&b->err, ERR_CORRUPT, "a read contradicted what was acknowledged");
	return rc;
}

/* All the data against the ledger: a figure of a database that loses writes would be worthless. */
static inline int bench_verify(struct bench *b, struct load *l)
{
	static struct violations v;
	int rc = load_verify(l, 120000, &v, &b->err);

	if (!rc && v.count)
		rc = err_set(&b->err, ERR_CORRUPT, "%s", v.texts[0]);
	return rc;
}

/* --runs N, --seconds N, then figures. `run` measures and tells; the cluster is closed after it. */
static inline int bench_main(struct bench *b, int argc, char **argv, int (*run)(struct bench *))
{
	int rc;

	while (argc > 2 && strncmp(argv[1], "--", 2) == 0) {
		unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
		if (strcmp(argv[1], "--runs") == 0 && n > 0 && n <= FIGURE_RUNS_MAX)
			b->runs = n;
		else if (strcmp(argv[1], "--seconds") == 0 && n > 0)
			b->seconds = n;
		else
			break;
		argc -= 2;
		argv += 2;
	}
	if (argc > 1 && argv[1][0] == '-') {
		fprintf(stderr, "usage: %s [--runs N] [--seconds N] [FIGURE...]\n",
			b->command.name);
		return 2;
	}
	b->argc = argc - 1;
	b->argv = argv + 1;
	cli_catch_interrupt();
	rc = janitor_start(&b->err);
	if (!rc)
		rc = run(b);
	bench_close(b);
	if (rc)
		fprintf(stderr, "%s: %s\n", b->command.name, b->err.text);
	fflush(NULL);
	_exit(rc ? 1 : 0);
}

#endif
