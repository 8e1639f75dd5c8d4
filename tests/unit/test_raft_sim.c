/* Random days of a cluster: see raft_sim.h.
 *
 * DROVER_SEEDS says how many days (500), DROVER_SEED that only this one is
 * tried, with its events printed when DROVER_TRACE is set as well. */
#include "tests/unit/raft_sim.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char running[64];

/* An assert inside raft_step must name its seed too. */
static void on_abort(int signo)
{
	ssize_t ignored = write(2, running, strlen(running));

	(void)ignored;
	signal(signo, SIG_DFL);
	raise(signo);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 10) : otherwise;
}

static void run(const struct raft_sim_options *o, struct raft_sim_report *report)
{
	snprintf(running, sizeof(running), "DROVER_SEED=%lu\n", o->seed);
	if (!raft_sim_run(o, report))
		fail_msg("%s (DROVER_SEED=%lu)", report->failure, o->seed);
}

static void the_rules_hold_on_random_bad_days(void **state)
{
	uint64_t only = from_environment("DROVER_SEED", 0);
	uint64_t seeds = only ? 1 : from_environment("DROVER_SEEDS", 500);
	struct raft_sim_report report, sum = {0};

	(void)state;
	for (uint64_t i = 0; i < seeds; i++) {
		struct raft_sim_options o = {.seed = only ? only : i + 1};

		o.trace = only && getenv("DROVER_TRACE");
		run(&o, &report);
		sum.events += report.events;
		sum.messages += report.messages;
		sum.leaders += report.leaders;
		sum.committed += report.committed;
		sum.reads += report.reads;
		sum.reads_void += report.reads_void;
		sum.crashes += report.crashes;
		sum.lost_entries += report.lost_entries;
		sum.truncations += report.truncations;
		sum.transfers += report.transfers;
		sum.now_ms += report.now_ms;
		if (report.healed_ms > sum.healed_ms)
			sum.healed_ms = report.healed_ms;
	}
	print_message("seeds 1..%lu: %lu events, %lu messages, %lu elections won, %lu entries "
		      "committed, %lu reads (%lu void), %lu crashes that lost %lu entries, %lu "
		      "truncations, %lu transfers, %lu s, healed in %lu ms at most\n",
		      seeds, sum.events, sum.messages, sum.leaders, sum.committed, sum.reads,
		      sum.reads_void, sum.crashes, sum.lost_entries, sum.truncations, sum.transfers,
		      sum.now_ms / 1000, sum.healed_ms);
	if (seeds < 100)
		return;
	/* Days on which nothing happens show nothing. */
	assert_true(sum.leaders > 2 * seeds);
	assert_true(sum.committed > 20 * seeds);
	assert_true(sum.reads > 10 * seeds);
	assert_true(sum.crashes > seeds);
	assert_true(sum.lost_entries > seeds);
	assert_true(sum.truncations > 0);
	assert_true(sum.transfers > 0);
}

static void the_same_seed_gives_the_same_day(void **state)
{
	struct raft_sim_options o = {.seed = from_environment("DROVER_SEED", 7)};
	struct raft_sim_report first, second;

	(void)state;
	run(&o, &first);
	run(&o, &second);
	assert_memory_equal(&first, &second, sizeof(first));
	o.seed++;
	run(&o, &second);
	assert_true(first.hash != second.hash);
}

static void every_size_of_cluster_gets_through(void **state)
{
	uint64_t seed = from_environment("DROVER_SEED", 1000);

	(void)state;
	for (unsigned voters = 1; voters <= 9; voters++)
		for (unsigned learners = 0; voters + learners <= 9 && learners <= 2; learners++) {
			struct raft_sim_options o = {
				.seed = seed,
				.voters = voters,
				.learners = learners,
				.events = 8000,
			};
			struct raft_sim_report report;

			run(&o, &report);
			seed++;
			assert_int_equal(report.voters, voters);
			assert_int_equal(report.learners, learners);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rules_hold_on_random_bad_days),
		cmocka_unit_test(the_same_seed_gives_the_same_day),
		cmocka_unit_test(every_size_of_cluster_gets_through),
	};

	signal(SIGABRT, on_abort);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
