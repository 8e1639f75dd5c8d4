/* Writes: batches from one client, single rows from many, and one caller's latency. */
#include "tests/bench/bench.h"
#include "common/clock.h"
#include "console/check/feeder.h"

#define BATCH_ROWS 8000
#define BATCHES 50 /* in a run */
#define KEYS 1000000
#define VALUE_BYTES 100
#define CALLERS 256
#define CONNECTIONS 8

static int batches(struct bench *b)
{
	struct figure f = {
		.name = "batch_insert",
		.what = "rows/s, batches of 8,000 one-row inserts, 1 client",
		.unit = "rows/s",
		.goal = 100000,
		.reference = "a Go teaching Raft with an in-memory map: 11,600 (measured earlier)",
		.method = "one client, one transaction of 8,000 INSERT statements under way at a "
			  "time, 50 a run",
	};
	struct feeder *feeder;
	int rc = bench_open(b, 1);

	if (!rc)
		rc = testbed_sql(b->testbed, FEEDER_SCHEMA, 10000, &b->err);
	if (!rc)
		rc = feeder_new(&feeder, b->client, 1, BATCH_ROWS, 30000, &b->err);
	if (rc)
		return rc;
	/* The first run warms caches and is not counted. */
	for (unsigned i = 0; !rc && i <= b->runs && !cli_interrupted(); i++) {
		uint64_t start_us = clock_mono_us();
		rc = feeder_start(feeder, BATCH_ROWS * BATCHES, &b->err);
		if (!rc)
			rc = feeder_join(feeder, &b->err);
		double seconds = (double)(clock_mono_us() - start_us) / 1e6;
		if (i > 0)
			figure_add(&f, BATCH_ROWS * BATCHES / seconds);
	}
	feeder_free(feeder);
	bench_close(b);
	if (!rc)
		bench_tell(&f);
	return rc;
}

static int random_writes(struct bench *b, struct load *l)
{
	struct figure f = {
		.name = "random_writes",
		.what = "writes/s, one row each, random keys over 1 M, 100 B, 256 callers",
		.unit = "writes/s",
		.goal = 25000,
		.reference = "etcd 3.4, 256 callers: 7,800 (measured earlier)",
		.method =
			"256 callers over 8 connections, each with one upsert under way; 1 M keys "
			"preloaded; all data compared with what was acknowledged afterwards",
	};
	struct load_mix mix = {.batch = 1, .duration_ms = b->seconds * 1000ull};
	struct load_counts c;
	int rc = 0;

	for (unsigned i = 0; !rc && i <= b->runs; i++) {
		rc = bench_run_load(b, l, &mix, &c);
		if (i > 0)
			figure_add(&f, (double)c.ok * 1e6 / (double)c.elapsed_us);
	}
	if (!rc)
		bench_tell(&f);
	return rc;
}

static int latency(struct bench *b, struct load *l)
{
	struct figure f = {
		.name = "write_latency",
		.what = "p50 latency of one caller's single-row write",
		.unit = "ms",
		.goal = 0.75,
		.at_most = true,
		.reference = "etcd 3.4, one caller: 1.70 (measured earlier)",
		.method =
			"one caller, one upsert under way, 1 M keys preloaded; the median of each "
			"run's requests",
	};
	struct load_mix mix = {.batch = 1, .active = 1, .duration_ms = b->seconds * 1000ull};
	static struct hist h;
	struct load_counts c;
	int rc = 0;

	for (unsigned i = 0; !rc && i <= b->runs; i++) {
		rc = bench_run_load(b, l, &mix, &c);
		load_latency(l, &h);
		if (i > 0)
			figure_add(&f, (double)hist_percentile(&h, 50) / 1000);
	}
	if (!rc)
		bench_tell(&f);
	return rc;
}

static int singles(struct bench *b)
{
	struct load_options o = {
		.namespace = "main",
		.prefix = "bench",
		.workers = CALLERS,
		.keys = KEYS,
		.value_bytes = VALUE_BYTES,
		.timeout_ms = 10000,
		.seed = 1,
	};
	struct load *l = NULL;
	int rc = bench_open(b, CONNECTIONS);

	o.client = b->client;
	if (!rc)
		rc = load_new(&l, &o, &b->err);
	if (!rc)
		rc = load_setup(l, &b->err);
	if (!rc)
		rc = load_fill(l, cli_interrupted, &b->err);
	if (!rc && bench_wants(b, "random_writes"))
		rc = random_writes(b, l);
	if (!rc && bench_wants(b, "write_latency"))
		rc = latency(b, l);
	if (!rc)
		rc = bench_verify(b, l);
	load_free(l);
	bench_close(b);
	return rc;
}

static int run(struct bench *b)
{
	int rc = 0;

	if (bench_wants(b, "batch_insert"))
		rc = batches(b);
	if (!rc && (bench_wants(b, "random_writes") || bench_wants(b, "write_latency")))
		rc = singles(b);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b = {.command = {.name = "bench_writes"}, .runs = 5, .seconds = 5};

	return bench_main(&b, argc, argv, run);
}
