/* The follower's side of replication: what is taken, and what is acknowledged when. */
#include "tests/unit/raft_lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static struct lone lone, *const l = &lone;

static void entries_are_acknowledged_only_when_durable_heartbeats_at_once(void **state)
{
	const struct raft_message *m;

	(void)state;
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 0, 0, 0);
	lone_persist(l);
	lone_append(l, 2, 1, 0, 0, 3, 1, 0);
	assert_int_equal(l->up.append_first, 1);
	assert_int_equal(l->up.append_last, 3);
	assert_int_equal(l->up.messages_n, 0);
	lone_append(l, 2, 1, 3, 1, 0, 0, 0);
	m = lone_to(l, RAFT_APPEND_REPLY, 2);
	assert_true(m->granted);
	assert_int_equal(m->match, 0);
	assert_int_equal(m->prev_index, 3);
	lone_persist(l);
	m = lone_to(l, RAFT_APPEND_REPLY, 2);
	assert_int_equal(m->match, 3);
	lone_persist(l);
	assert_int_equal(l->up.messages_n, 0);
}

static void the_answer_to_a_new_leader_waits_until_its_term_is_durable(void **state)
{
	static const struct raft_run runs[] = {{1, 1}};

	(void)state;
	lone_start_with(l, 3, 1, 0, runs, 1, 5, 0);
	lone_append(l, 2, 4, 5, 1, 0, 0, 0);
	assert_true(l->up.hard_changed);
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 5);

	lone_start_with(l, 3, 1, 0, runs, 1, 5, 0);
	lone_append(l, 2, 4, 9, 3, 0, 0, 0); /* a refusal waits as well */
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	assert_false(lone_to(l, RAFT_APPEND_REPLY, 2)->granted);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->prev_index, 9);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_index, 5);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_term, 1);
}

static void a_refusal_says_where_terms_could_meet(void **state)
{
	static const struct raft_run runs[] = {{1, 1}, {11, 2}, {41, 7}};

	(void)state;
	lone_start_with(l, 3, 7, 0, runs, 3, 60, 0);
	lone_append(l, 2, 7, 50, 6, 0, 0, 0); /* all of term 7 here cannot be the leader's there */
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_index, 40);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_term, 2);
	lone_append(l, 2, 7, 40, 6, 0, 0, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_index, 39);
	lone_append(l, 2, 7, 99, 7, 0, 0, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_index, 60);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->hint_term, 7);
}

static void a_conflicting_tail_is_replaced(void **state)
{
	static const struct raft_run runs[] = {{1, 1}, {4, 2}};

	(void)state;
	lone_start_with(l, 3, 3, 0, runs, 2, 8, 3);
	lone_append(l, 2, 3, 3, 1, 2, 3, 0);
	assert_int_equal(l->up.truncate_from, 4);
	assert_int_equal(l->up.append_first, 4);
	assert_int_equal(l->up.append_last, 5);
	assert_int_equal(raft_last_index(&l->r), 5);
	assert_int_equal(raft_term_at(&l->r, 4), 3);
	lone_persist(l);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 5);
}

static void late_and_repeated_appends_never_truncate(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 4, 1, 0);
	lone_append(l, 2, 1, 4, 1, 4, 1, 0);
	lone_persist(l);
	lone_append(l, 2, 1, 0, 0, 4, 1, 0);
	assert_int_equal(l->up.truncate_from, 0);
	assert_int_equal(l->up.append_last, 0);
	assert_int_equal(raft_last_index(&l->r), 8);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 8);
	lone_append(l, 2, 1, 2, 1, 8, 1, 0); /* half old, half new: only the new half */
	assert_int_equal(l->up.truncate_from, 0);
	assert_int_equal(l->up.append_first, 9);
	assert_int_equal(l->up.append_last, 10);
}

static void a_tail_not_verified_is_neither_acknowledged_nor_committed(void **state)
{
	static const struct raft_run runs[] = {{1, 1}};

	(void)state;
	lone_start_with(l, 3, 2, 0, runs, 1, 9, 2);
	lone_append(l, 2, 2, 5, 1, 0, 0, 9);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 5);
	assert_int_equal(l->up.commit, 5);
	lone_append(l, 2, 2, 9, 1, 0, 0, 9);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 9);
	assert_int_equal(l->up.commit, 9);
}

static void what_one_leader_verified_is_no_word_of_the_next(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 6, 1, 0);
	lone_persist(l);
	lone_append(l, 3, 2, 2, 1, 0, 0, 6);
	lone_persist(l);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 3)->match, 2);
	assert_int_equal(raft_commit(&l->r), 2);
}

static void news_of_a_commit_need_no_answer(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 1, 1, 0);
	lone_persist(l);
	lone_receive(l, .kind = RAFT_APPEND, .from = 2, .term = 1, .prev_index = 1, .prev_term = 1,
		     .commit = 1);
	assert_int_equal(l->up.commit, 1);
	assert_int_equal(l->up.messages_n, 0);
	lone_receive(l, .kind = RAFT_APPEND, .from = 2, .term = 1, .prev_index = 2, .prev_term = 1,
		     .commit = 2); /* but a hole shows */
	assert_false(lone_to(l, RAFT_APPEND_REPLY, 2)->granted);
}

static void what_is_truncated_on_its_way_to_the_disk_does_not_count(void **state)
{
	uint64_t first;

	(void)state;
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 6, 1, 0);
	first = l->up.persist_id;
	lone_append(l, 3, 2, 2, 1, 2, 2, 0);
	assert_int_equal(l->up.truncate_from, 3);
	lone_step(l, (struct raft_event){.kind = RAFT_EV_PERSISTED, .persist_id = first});
	assert_int_equal(l->up.messages_n, 0);
	assert_int_equal(l->r.log.stable, 2);
	lone_persist(l);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 3)->match, 4);
}

static void more_persists_than_can_be_told_apart_are_acknowledged_later(void **state)
{
	uint64_t ids[RAFT_PERSIST_MAX + 10];
	unsigned n = RAFT_PERSIST_MAX + 10;

	(void)state;
	lone_start(l, 3, 0);
	for (unsigned i = 0; i < n; i++) {
		lone_append(l, 2, 1, i, i > 0, 1, 1, 0);
		ids[i] = l->up.persist_id;
	}
	lone_step(l, (struct raft_event){.kind = RAFT_EV_PERSISTED, .persist_id = ids[62]});
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 63);
	lone_step(l, (struct raft_event){.kind = RAFT_EV_PERSISTED, .persist_id = ids[70]});
	assert_int_equal(l->up.messages_n, 0);
	lone_step(l, (struct raft_event){.kind = RAFT_EV_PERSISTED, .persist_id = ids[n - 1]});
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, n);
}

static void a_log_that_begins_after_a_snapshot_goes_on(void **state)
{
	struct raft_run runs[] = {{101, 7}};
	struct raft_restore from = {
		.hard = {.term = 7},
		.config = {.n = 3, .members = {{1, RAFT_VOTER}, {2, RAFT_VOTER}, {3, RAFT_VOTER}}},
		.snapshot_index = 100,
		.snapshot_term = 5,
		.last_index = 104,
		.runs = runs,
		.runs_n = 1,
	};

	(void)state;
	lone_start(l, 3, 0);
	assert_true(raft_init(&l->r, &l->options, &from, l->runs, LONE_RUNS_MAX));
	assert_int_equal(raft_commit(&l->r), 100);
	assert_int_equal(raft_term_at(&l->r, 100), 5);
	assert_int_equal(raft_term_at(&l->r, 99), 0);
	lone_append(l, 2, 7, 90, 4, 10, 5, 100); /* all of it in the snapshot */
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->match, 100);
	lone_append(l, 2, 7, 100, 5, 6, 7, 100);
	assert_int_equal(l->up.append_first, 105);
	assert_int_equal(l->up.append_last, 106);
}

static void committed_entries_are_never_replaced(void **state)
{
	static const struct raft_run runs[] = {{1, 1}};
	struct raft_log before;

	(void)state;
	lone_start_with(l, 3, 1, 0, runs, 1, 5, 5);
	before = l->r.log;
	lone_append(l, 2, 9, 0, 0, 1, 9, 0); /* a leader with an emptied disk */
	assert_int_equal(l->up.truncate_from, 0);
	assert_int_equal(l->up.append_last, 0);
	lone_append(l, 2, 9, 3, 9, 4, 9, 0);
	assert_int_equal(l->up.append_last, 0);
	assert_memory_equal(&before, &l->r.log, sizeof(before));
}

static uint64_t random_state;

static uint64_t below(uint64_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % n;
}

/* Near what could be right, so that much of it is looked at closely. */
static struct raft_message random_message(void)
{
	uint64_t term = raft_term(&l->r), last = raft_last_index(&l->r);
	struct raft_message m = {
		.kind = (enum raft_message_kind)below(13),
		.from = (raft_id)below(7),
		.term = term + below(3) - (term > 0 && below(8) == 0),
		.prev_index = below(10) ? last + 2 - below(last + 3) : below(UINT64_MAX),
		.count = (uint32_t)below(4),
		.runs_n = (uint32_t)below(3),
		.commit = below(last + 3),
		.match = below(last + 2),
		.hint_index = below(last + 2),
		.hint_term = below(term + 2),
		.round = below(l->r.round + 3),
		.granted = below(3) > 0,
		.transfer = below(2) > 0,
	};

	m.prev_term = below(3) ? raft_term_at(&l->r, m.prev_index) : below(term + 2);
	for (unsigned i = 0; i < m.runs_n; i++)
		m.runs[i] = (struct raft_run){m.prev_index + 1 + i, below(term + 2)};
	return m;
}

static void random_event(uint64_t id)
{
	switch (below(8)) {
	case 0:
	case 1:
		lone_persist(l);
		break;
	case 2:
		lone_wait(l, below(100));
		break;
	case 3:
		lone_propose(l, 1 + (uint32_t)below(3));
		break;
	case 4:
		lone_read(l, id);
		break;
	case 5:
		lone_step(l, (struct raft_event){
				     .kind = RAFT_EV_TRANSFER,
				     .peer = (raft_id)below(6),
			     });
		break;
	case 6:
		lone_unreachable(l, (raft_id)below(7));
		break;
	default:
		for (unsigned i = 0; i < l->r.config.n; i++)
			if (l->r.peers[i].sent_awaited && below(2))
				lone_sent_only(l, i + 1,
					       (uint32_t)below(l->r.peers[i].sent_count + 1));
	}
}

static void no_message_trips_an_assert(void **state)
{
	const char *seed = getenv("DROVER_SEED");
	unsigned led = 0, truncated = 0;

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 10) : 1;
	print_message("DROVER_SEED=%lu\n", random_state);
	for (unsigned i = 0; i < 400000; i++) {
		if (i % 2000 == 0)
			lone_start(l, 1 + (unsigned)below(5), 0);
		l->random = below(1000);
		l->now_ms += below(20);
		lone_receive_message(l, random_message());
		truncated += l->up.truncate_from != 0;
		random_event(i + 1);
		led += raft_role(&l->r) == RAFT_LEADER;
	}
	assert_true(led > 1000);
	assert_true(truncated > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_acknowledged_only_when_durable_heartbeats_at_once),
		cmocka_unit_test(the_answer_to_a_new_leader_waits_until_its_term_is_durable),
		cmocka_unit_test(a_refusal_says_where_terms_could_meet),
		cmocka_unit_test(a_conflicting_tail_is_replaced),
		cmocka_unit_test(late_and_repeated_appends_never_truncate),
		cmocka_unit_test(a_tail_not_verified_is_neither_acknowledged_nor_committed),
		cmocka_unit_test(what_one_leader_verified_is_no_word_of_the_next),
		cmocka_unit_test(news_of_a_commit_need_no_answer),
		cmocka_unit_test(what_is_truncated_on_its_way_to_the_disk_does_not_count),
		cmocka_unit_test(more_persists_than_can_be_told_apart_are_acknowledged_later),
		cmocka_unit_test(a_log_that_begins_after_a_snapshot_goes_on),
		cmocka_unit_test(committed_entries_are_never_replaced),
		cmocka_unit_test(no_message_trips_an_assert),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
