/* Linearizable point reads. */
#include "tests/bench/bench.h"

#define KEYS 100000
#define CALLERS 64
#define CONNECTIONS 4

static int run(struct bench *b)
{
	struct figure f = {
		.name = "linearizable_reads",
		.what = "linearizable point reads/s, 64 callers",
		.unit = "reads/s",
		.goal = 50000,
		.method = "64 callers over 4 connections, each with one SELECT by key "
			  "under way, 100,000 keys of 100 B; every answer compared with what must "
			  "be seen",
	};
	struct load_options o = {
		.namespace = "main",
		.prefix = "bench",
		.workers = CALLERS,
		.keys = KEYS,
		.value_bytes = 100,
		.timeout_ms = 10000,
		.seed = 1,
	};
	struct load_mix mix = {.batch = 1, .read_ratio = 1, .level = SQL_LINEARIZABLE};
	struct load_counts c;
	struct load *l = NULL;
	int rc;

	if (!bench_wants(b, f.name))
		return 0;
	rc = bench_open(b, CONNECTIONS);
	o.client = b->client;
	if (!rc)
		rc = load_new(&l, &o, &b->err);
	if (!rc)
		rc = load_setup(l, &b->err);
	if (!rc)
		rc = load_fill(l, cli_interrupted, &b->err);
	mix.duration_ms = b->seconds * 1000ull;
	for (unsigned i = 0; !rc && i <= b->runs; i++) {
		rc = bench_run_load(b, l, &mix, &c);
		if (i > 0)
			figure_add(&f, (double)c.ok * 1e6 / (double)c.elapsed_us);
	}
	load_free(l);
	if (!rc)
		bench_tell(&f);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b = {.command = {.name = "bench_reads"}, .runs = 5, .seconds = 5};

	return bench_main(&b, argc, argv, run);
}
