/* From kill -9 of the leader to the next acknowledged write. */
#include "tests/bench/bench.h"
#include "common/clock.h"
#include "console/check/feeder.h"

#define CLIENTS 4

/* One kill; *ret_ms: until something was acknowledged again. */
static int once(struct bench *b, struct feeder *feeder, double *ret_ms)
{
	uint32_t leader;
	int rc = testbed_leader(b->testbed, 30000, &leader, &b->err);

	if (!rc)
		rc = testbed_settle(b->testbed, testbed_all(b->testbed), 30000, NULL, &b->err);
	if (!rc)
		rc = feeder_start(feeder, UINT32_MAX, &b->err);
	if (rc)
		return rc;
	cli_sleep_ms(300);
	uint64_t killed_us = clock_mono_us();
	rc = testbed_kill(b->testbed, 1u << leader, &b->err);
	/* What it acknowledged with its last breath has arrived; nobody can be elected yet. */
	cli_sleep_ms(2);
	uint64_t rows = feeder_rows(feeder);
	while (!rc && feeder_rows(feeder) == rows && !cli_interrupted() &&
	       clock_mono_us() < killed_us + 30000000)
		usleep(200);
	*ret_ms = (double)(feeder_last_ok_us(feeder) - killed_us) / 1000;
	if (!rc && feeder_rows(feeder) == rows)
		rc = err_set(&b->err, ERR_TIMEOUT, "no write was acknowledged for 30 s");
	feeder_stop(feeder);
	int joined = feeder_join(feeder, rc ? NULL : &b->err);
	rc = rc ? rc : joined;
	return rc ? rc : testbed_start(b->testbed, 1u << leader, &b->err);
}

static int run(struct bench *b)
{
	struct figure f = {
		.name = "failover",
		.what = "kill -9 of the leader to the next acknowledged write",
		.unit = "ms",
		.goal = 600,
		.at_most = true,
		.worst_at_most = 2000,
		.method =
			"4 clients write single rows; the leader is killed; the time until one of "
			"them gets its next acknowledgement",
	};
	struct feeder *feeder = NULL;
	double ms;
	int rc;

	if (!bench_wants(b, f.name))
		return 0;
	rc = bench_open(b, 1);
	if (!rc)
		rc = testbed_sql(b->testbed, FEEDER_SCHEMA, 10000, &b->err);
	if (!rc)
		rc = feeder_new(&feeder, b->client, CLIENTS, 1, 30000, &b->err);
	for (unsigned i = 0; !rc && i < b->runs; i++) {
		rc = once(b, feeder, &ms);
		if (!rc)
			figure_add(&f, ms);
	}
	feeder_free(feeder);
	if (!rc)
		bench_tell(&f);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b = {.command = {.name = "bench_failover"}, .runs = 20};

	return bench_main(&b, argc, argv, run);
}
