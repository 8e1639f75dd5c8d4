/* The power goes at any point, also while the log recovers, and what was not synced is lost in any
 * part: all that was told durable is there, in order, and nothing that was not staged. */
#include "agent/wal/wal.h"

#include "agent/wal/wal_state.h"
#include "tests/unit/disk_faulty.h"
#include "tests/unit/wal_model.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* DROVER_SEED=n runs only seed n, DROVER_SEEDS=n runs seeds 1 to n. */
#define SEEDS 300
#define CRASHES 6

static uint64_t seed; /* of the run at hand, for whoever has to repeat it */

static uint64_t draw(void *ctx)
{
	return model_dice(ctx);
}

static int try_open(struct faulty *d, struct model *m, struct wal **ret_wal, struct err *e)
{
	struct wal_options o = {
		.dir = "/log",
		.disk = faulty_door(d),
		.random = draw,
		.random_ctx = m,
		.segment_bytes = 64 << 10,
		.tail_bytes = 3000,
	};

	return wal_open(ret_wal, &o, e);
}

/* Opens, though the power may go a few times meanwhile. */
static struct wal *open_at_last(struct faulty *d, struct model *m)
{
	struct wal *w;
	struct err e;

	for (int tries = 0;; tries++) {
		if (tries < 3 && model_dice(m) % 3 == 0)
			faulty_cut_power(d, model_dice(m) % 12);
		int rc = try_open(d, m, &w, &e);
		if (rc == 0)
			return w;
		if (rc != ERR_IO || tries == 3)
			fail_msg("DROVER_SEED=%" PRIu64 ": %s", seed, e.text);
		faulty_crash(d);
	}
}

/* Works on until something fails; the model then knows what is durable. */
static void work(struct wal *w, struct model *m, unsigned acts)
{
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct err e = {0};
	size_t n;

	for (unsigned i = 0; i < acts; i++) {
		int rc = model_act(m, w, &e);
		if (rc == 0 && model_dice(m) % 4 == 0) {
			rc = wal_sync(w, rows, &n, &e);
			if (rc == 0)
				model_synced(m);
		}
		/* As the writer does in a quiet moment, without waiting for the disk. */
		if (rc == 0 && model_dice(m) % 8 == 0)
			rc = wal_vouch(w, false, &e);
		if (rc == 0 && model_dice(m) % 40 == 0)
			rc = wal_prepare(w, &e);
		if (rc && rc != ERR_IO)
			fail_msg("DROVER_SEED=%" PRIu64 ": %s", seed, e.text);
		if (rc)
			return;
	}
}

static void run(void)
{
	struct faulty *d = faulty_new(seed);
	struct model *m = model_new(seed, 1 + (unsigned)(seed % 4), seed % 3 ? 1500 : 9000);

	for (int crash = 0; crash < CRASHES; crash++) {
		struct wal *w = open_at_last(d, m);
		if (!model_matches(m, w))
			fail_msg("DROVER_SEED=%" PRIu64 ": wrong after crash %d", seed, crash);
		faulty_cut_power(d, model_dice(m) % (crash % 2 ? 30 : 300));
		work(w, m, 200);
		/* An end in order, or in the middle of things. */
		wal_free(w);
		faulty_crash(d);
	}
	model_free(m);
	faulty_free(d);
}

static void what_was_synced_survives_every_power_cut(void **state)
{
	const char *one = getenv("DROVER_SEED"), *many = getenv("DROVER_SEEDS");
	uint64_t last = many ? strtoull(many, NULL, 0) : SEEDS;

	(void)state;
	seed = one ? strtoull(one, NULL, 0) : 1;
	for (; seed <= last || one; seed++) {
		run();
		if (one)
			break;
	}
}

/* Each operation on the disk in turn is the one during which the power goes. */
static void a_power_cut_at_each_operation_is_survived(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 120; at++) {
		struct faulty *d = faulty_new(at);
		struct model *m = model_new(99, 2, 9000);
		struct wal *w;
		struct err e;
		faulty_cut_power(d, at);
		if (try_open(d, m, &w, &e) == 0) {
			work(w, m, 250);
			wal_free(w);
		}
		faulty_crash(d);
		if (try_open(d, m, &w, &e))
			fail_msg("operation %" PRIu64 ": %s", at, e.text);
		assert_true(model_matches(m, w));
		wal_free(w);
		/* Nothing is left of it. */
		struct wal_stats stats;
		assert_int_equal(try_open(d, m, &w, &e), 0);
		wal_stats(w, &stats);
		assert_int_equal(stats.torn_bytes, 0);
		assert_true(model_matches(m, w));
		wal_free(w);
		model_free(m);
		faulty_free(d);
	}
}

/* Killed, not cut off: all that was written is there, synced or not. */
static void a_killed_process_loses_nothing_written(void **state)
{
	(void)state;
	for (seed = 0; seed < 30; seed++) {
		struct faulty *d = faulty_new(seed);
		struct model *m = model_new(seed, 3, 3000);
		struct wal *w;
		struct err e;
		for (int kill = 0; kill < 4; kill++) {
			if (try_open(d, m, &w, &e))
				fail_msg("seed %" PRIu64 ": %s", seed, e.text);
			assert_true(model_matches(m, w));
			faulty_fail(d, (enum faulty_op)(FAULTY_WRITE + seed % 2),
				    (unsigned)(model_dice(m) % 40), EIO);
			work(w, m, 100);
			wal_free(w);
			faulty_heal(d);
		}
		model_free(m);
		faulty_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_synced_survives_every_power_cut),
		cmocka_unit_test(a_power_cut_at_each_operation_is_survived),
		cmocka_unit_test(a_killed_process_loses_nothing_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
