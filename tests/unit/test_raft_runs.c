/* Term runs against a plain array of terms, and what raft_init refuses. */
#include "agent/raft/raft_state.h"
#include "agent/raft/runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TERMS_MAX 2000

static uint64_t random_state;

static uint64_t below(uint64_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % n;
}

static void check_all(const struct raft_log *log, const uint64_t *terms)
{
	uint64_t term;

	for (uint64_t i = 0; i <= log->last; i++) {
		assert_true(raft_runs_term(log, i, &term));
		assert_int_equal(term, terms[i]);
	}
	assert_false(raft_runs_term(log, log->last + 1, &term));
	assert_int_equal(raft_runs_last_term(log), terms[log->last]);
	for (unsigned n = 0; n < 20; n++) {
		uint64_t index = below(log->last + 3), want = below(terms[log->last] + 2);
		uint64_t floor = index < log->last ? index : log->last;

		while (terms[floor] > want)
			floor--;
		assert_int_equal(raft_runs_floor(log, index, want), floor);
	}
}

static void check_describe(const struct raft_log *log, const uint64_t *terms)
{
	struct raft_message m = {.kind = RAFT_APPEND};
	uint32_t want, run = 0;

	if (log->last == 0)
		return;
	m.prev_index = below(log->last);
	want = 1 + (uint32_t)below(log->last - m.prev_index);
	raft_runs_describe(log, want, &m);
	assert_true(m.count > 0 && m.count <= want);
	assert_true(m.count == want || m.runs_n == RAFT_APPEND_RUNS_MAX);
	assert_int_equal(m.runs[0].first, m.prev_index + 1);
	for (uint64_t i = m.prev_index + 1; i <= m.prev_index + m.count; i++) {
		while (run + 1 < m.runs_n && m.runs[run + 1].first <= i)
			run++;
		assert_int_equal(m.runs[run].term, terms[i]);
	}
}

static void runs_say_what_a_plain_array_says(void **state)
{
	static struct raft_run runs[TERMS_MAX];
	static uint64_t terms[TERMS_MAX];
	const char *seed = getenv("DROVER_SEED");

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 10) : 1;
	print_message("DROVER_SEED=%lu\n", random_state);
	for (unsigned round = 0; round < 50; round++) {
		struct raft_log log = {.runs = runs, .cap = TERMS_MAX};
		uint64_t term = 1;

		for (unsigned n = 0; n < 60; n++) {
			if (below(4) == 0 && log.last > 0) {
				raft_runs_truncate(&log, 1 + below(log.last));
			} else {
				uint64_t last = log.last + 1 + below(8);

				term += below(3);
				if (term < terms[log.last])
					term = terms[log.last];
				for (uint64_t i = log.last + 1; i <= last; i++)
					terms[i] = term;
				raft_runs_append(&log, last, term);
			}
			check_all(&log, terms);
			check_describe(&log, terms);
		}
	}
}

static void a_full_array_forgets_its_oldest_quarter(void **state)
{
	struct raft_run runs[1024];
	struct raft_log log = {.runs = runs, .cap = 1024};
	uint64_t term;

	(void)state;
	for (uint64_t i = 1; i <= 1024; i++)
		raft_runs_append(&log, i, i);
	assert_true(raft_runs_holds(&log, 1));
	raft_runs_append(&log, 1025, 1025);
	assert_false(raft_runs_holds(&log, 256));
	assert_false(raft_runs_term(&log, 256, &term));
	assert_true(raft_runs_holds(&log, 257));
	assert_true(raft_runs_term(&log, 257, &term));
	assert_int_equal(term, 257);
	assert_true(raft_runs_term(&log, 1025, &term));
	assert_int_equal(term, 1025);
}

static const struct raft_restore sound = {
	.hard = {.term = 9, .vote = 2},
	.config = {.n = 3, .members = {{1, RAFT_VOTER}, {2, RAFT_VOTER}, {3, RAFT_LEARNER}}},
	.snapshot_index = 10,
	.snapshot_term = 3,
	.last_index = 30,
	.applied = 20,
};

static bool starts(const struct raft_restore *from)
{
	static const struct raft_options options = {
		.id = 1,
		.heartbeat_ms = 50,
		.election_min_ms = 300,
		.inflight_messages = 8,
		.inflight_bytes = 1000,
		.append_entries_max = 10,
	};
	static struct raft_run runs[1024];
	static struct raft r;

	return raft_init(&r, &options, from, runs, 1024);
}

static void a_state_that_raft_left_behind_is_taken(void **state)
{
	struct raft_run usual[] = {{11, 3}, {20, 5}}, overlap[] = {{8, 2}, {9, 3}, {20, 5}};
	struct raft_restore from = sound;

	(void)state;
	from.runs = usual;
	from.runs_n = 2;
	assert_true(starts(&from));
	from.runs = overlap; /* the log reaches back behind the snapshot */
	from.runs_n = 3;
	assert_true(starts(&from));
	from.runs_n = 0; /* nothing after the snapshot */
	from.last_index = 10;
	from.applied = 0;
	assert_true(starts(&from));
	from = (struct raft_restore){.config = sound.config};
	assert_true(starts(&from));
}

static void a_state_that_raft_cannot_have_left_behind_is_refused(void **state)
{
	struct raft_run falls[] = {{11, 5}, {20, 3}}, gap[] = {{12, 3}}, future[] = {{11, 10}};
	struct raft_run beyond[] = {{11, 3}, {31, 4}}, back[] = {{11, 3}, {11, 4}};
	struct raft_run below_snapshot[] = {{11, 2}}, differs[] = {{9, 2}}, zero[] = {{0, 3}};
	struct {
		struct raft_run *runs;
		size_t n;
	} wrong[] = {{falls, 2},	  {gap, 1},	{future, 1}, {beyond, 2}, {back, 2},
		     {below_snapshot, 1}, {differs, 1}, {zero, 1}};
	struct raft_run usual[] = {{11, 3}};
	struct raft_restore from;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		from = sound;
		from.runs = wrong[i].runs;
		from.runs_n = wrong[i].n;
		assert_false(starts(&from));
	}
	from = sound; /* entries without terms */
	assert_false(starts(&from));
	from = sound;
	from.runs = usual;
	from.runs_n = 1;
	from.applied = 31; /* beyond the log */
	assert_false(starts(&from));
	from.applied = 30;
	assert_true(starts(&from));
	from.last_index = 9;
	assert_false(starts(&from));
	from = (struct raft_restore){.config = sound.config, .hard = {.vote = 2}};
	assert_false(starts(&from));
	from = (struct raft_restore){.config = sound.config};
	from.config.n = 0;
	assert_false(starts(&from));
	from.config.n = 10;
	assert_false(starts(&from));
	from.config = sound.config;
	from.config.members[1].id = 1;
	assert_false(starts(&from));
	from.config.members[1].id = 0;
	assert_false(starts(&from));
	from.config = sound.config;
	from.config.members[0].role = from.config.members[1].role = RAFT_LEARNER;
	assert_false(starts(&from));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_say_what_a_plain_array_says),
		cmocka_unit_test(a_full_array_forgets_its_oldest_quarter),
		cmocka_unit_test(a_state_that_raft_left_behind_is_taken),
		cmocka_unit_test(a_state_that_raft_cannot_have_left_behind_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
