/* Linearizable reads by ReadIndex, at the leader and through followers. */
#include "tests/unit/raft_lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct lone lone, *const l = &lone;

static void answer(raft_id from, uint64_t round)
{
	lone_accept(l, from, raft_last_index(&l->r), round);
}

static void assert_read(unsigned i, uint64_t read_id, uint64_t index)
{
	assert_true(l->up.reads_n > i);
	assert_int_equal(l->up.reads[i].read_id, read_id);
	assert_int_equal(l->up.reads[i].index, index);
}

static void a_single_voter_confirms_reads_in_the_same_step(void **state)
{
	(void)state;
	lone_start(l, 1, 0);
	lone_persist(l);
	lone_persist(l);
	lone_read(l, 5);
	assert_int_equal(l->up.reads_n, 1);
	assert_read(0, 5, 1);
}

static void a_read_waits_for_a_round_begun_after_it(void **state)
{
	uint64_t old;

	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_wait(l, 50);
	old = l->r.round;
	lone_read(l, 5);
	assert_int_equal(lone_count(l, RAFT_APPEND), 2); /* a round begins at once */
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->round, old + 1);
	answer(2, old);
	answer(3, old);
	assert_int_equal(l->up.reads_n, 0);
	answer(2, old + 1);
	assert_int_equal(l->up.reads_n, 1);
	assert_read(0, 5, 1);
	answer(3, old + 1);
	assert_int_equal(l->up.reads_n, 0);
}

static void one_round_serves_all_reads_that_wait_for_it(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_read(l, 1);
	assert_int_equal(lone_count(l, RAFT_APPEND), 2);
	lone_read(l, 2);
	lone_read(l, 3);
	assert_int_equal(l->up.messages_n, 0);
	answer(2, 1);
	assert_int_equal(l->up.reads_n, 1); /* the others came after this round had begun */
	assert_read(0, 1, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->round, 2);
	answer(2, 2);
	assert_int_equal(l->up.reads_n, 2);
	assert_read(0, 2, 1);
	assert_read(1, 3, 1);
	assert_int_equal(l->up.messages_n, 0);
}

static void a_lost_round_is_made_good_by_the_next_heartbeat(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_read(l, 1);
	lone_read(l, 2);
	lone_wait(l, 50);
	answer(2, 2);
	assert_int_equal(l->up.reads_n, 2);
}

static void no_read_before_the_leader_has_committed_in_its_term(void **state)
{
	static const struct raft_run runs[] = {{1, 1}};

	(void)state;
	lone_start_with(l, 3, 1, 0, runs, 1, 5, 3);
	lone_win(l);
	lone_persist(l);
	lone_read(l, 9);
	lone_accept(l, 2, 5, l->r.round);
	assert_int_equal(l->up.reads_n, 0);
	assert_false(raft_ready(&l->r));
	lone_sent(l, 2);
	answer(2, l->r.round);
	assert_true(raft_ready(&l->r));
	assert_read(0, 9, 6); /* not 3, which is what it knew to be committed then */
}

static void reads_are_void_when_leadership_ends(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_read(l, 1);
	lone_read(l, 2);
	lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = 2, .term = 2, .round = 1);
	assert_int_equal(l->up.reads_n, 2);
	assert_read(0, 1, 0);
	assert_read(1, 2, 0);
	lone_read(l, 3);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT_LEADER);
}

static void more_reads_than_places_are_refused(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	for (unsigned i = 1; i <= RAFT_READS_MAX; i++) {
		lone_read(l, i);
		assert_int_equal(l->up.refused, RAFT_REFUSED_NOT);
	}
	lone_read(l, 100);
	assert_int_equal(l->up.refused, RAFT_REFUSED_TOO_MANY);
	answer(2, 1);
	assert_int_equal(l->up.reads_n, 1);
	answer(2, 2);
	assert_int_equal(l->up.reads_n, RAFT_READS_MAX - 1);
	lone_read(l, 101);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT);
}

static void even_clusters_need_more_than_half_for_a_round(void **state)
{
	(void)state;
	lone_start(l, 4, 1);
	lone_lead(l);
	lone_read(l, 1);
	answer(2, 1);
	answer(5, 1); /* a learner */
	assert_int_equal(l->up.reads_n, 0);
	answer(3, 1);
	assert_int_equal(l->up.reads_n, 1);
}

static void a_leader_answers_followers_after_a_round(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_receive(l, .kind = RAFT_READ, .from = 3, .term = 1, .round = 700);
	assert_int_equal(lone_count(l, RAFT_APPEND), 2);
	lone_receive(l, .kind = RAFT_READ, .from = 3, .term = 1, .round = 700); /* repeated */
	lone_receive(l, .kind = RAFT_READ, .from = 3, .term = 1, .round = 701);
	lone_receive(l, .kind = RAFT_READ, .from = 3, .term = 1, .round = 702);
	assert_int_equal(l->up.messages_n, 0);
	answer(2, 1);
	assert_int_equal(lone_count(l, RAFT_READ_REPLY), 1);
	assert_int_equal(lone_to(l, RAFT_READ_REPLY, 3)->round, 700);
	assert_true(lone_to(l, RAFT_READ_REPLY, 3)->granted);
	assert_int_equal(lone_to(l, RAFT_READ_REPLY, 3)->read_index, 1);
	answer(2, 2);
	assert_int_equal(lone_count(l, RAFT_READ_REPLY), 1); /* 702 answers 701 as well */
	assert_int_equal(lone_to(l, RAFT_READ_REPLY, 3)->round, 702);
}

static void follow(void)
{
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 0, 0, 0);
	lone_persist(l);
}

static void reply(raft_id from, uint64_t id, uint64_t index)
{
	lone_receive(l, .kind = RAFT_READ_REPLY, .from = from, .term = 1, .round = id,
		     .read_index = index, .granted = index > 0);
}

static void a_follower_asks_its_leader_and_one_answer_serves_all_before(void **state)
{
	uint64_t first, third;

	(void)state;
	follow();
	lone_read(l, 1);
	first = lone_to(l, RAFT_READ, 2)->round;
	lone_read(l, 2);
	lone_read(l, 3);
	third = lone_to(l, RAFT_READ, 2)->round;
	lone_read(l, 4);
	reply(3, third, 40); /* not the leader */
	assert_int_equal(l->up.reads_n, 0);
	reply(2, first - 1, 40); /* none of ours */
	assert_int_equal(l->up.reads_n, 0);
	reply(2, third, 40);
	assert_int_equal(l->up.reads_n, 3);
	assert_read(0, 1, 40);
	assert_read(2, 3, 40);
	reply(2, third, 50); /* again */
	assert_int_equal(l->up.reads_n, 0);
	reply(2, third + 1, 0); /* it leads no more */
	assert_read(0, 4, 0);
}

static void a_follower_repeats_its_newest_question(void **state)
{
	uint64_t second;

	(void)state;
	follow();
	lone_read(l, 1);
	lone_read(l, 2);
	second = lone_to(l, RAFT_READ, 2)->round;
	assert_int_equal(l->up.deadline_ms, l->now_ms + 50);
	lone_wait(l, 50);
	assert_int_equal(lone_count(l, RAFT_READ), 1);
	assert_int_equal(lone_to(l, RAFT_READ, 2)->round, second);
}

static void an_answer_to_a_former_life_is_not_taken(void **state)
{
	uint64_t id;

	(void)state;
	follow();
	lone_read(l, 1);
	id = lone_to(l, RAFT_READ, 2)->round;
	lone_start(l, 3, 0);
	l->r.started = false; /* begin again, with other luck */
	l->random = 1ull << 40;
	lone_append(l, 2, 1, 0, 0, 0, 0, 0);
	lone_persist(l);
	lone_read(l, 1);
	assert_int_not_equal(lone_to(l, RAFT_READ, 2)->round, id);
	reply(2, id, 40);
	assert_int_equal(l->up.reads_n, 0);
}

static void a_followers_reads_are_void_when_it_loses_its_leader(void **state)
{
	(void)state;
	follow();
	lone_read(l, 1);
	lone_wait(l, 300);
	assert_int_equal(raft_role(&l->r), RAFT_PRE_CANDIDATE);
	assert_read(0, 1, 0);
	lone_read(l, 2);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT_LEADER);

	follow();
	lone_read(l, 1);
	lone_append(l, 3, 2, 0, 0, 0, 0, 0); /* another leader */
	assert_read(0, 1, 0);
}

static void who_leads_no_more_says_so(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_wait(l, 300);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	lone_receive(l, .kind = RAFT_READ, .from = 3, .term = 1, .round = 700);
	assert_false(lone_to(l, RAFT_READ_REPLY, 3)->granted);
	assert_int_equal(lone_to(l, RAFT_READ_REPLY, 3)->round, 700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_single_voter_confirms_reads_in_the_same_step),
		cmocka_unit_test(a_read_waits_for_a_round_begun_after_it),
		cmocka_unit_test(one_round_serves_all_reads_that_wait_for_it),
		cmocka_unit_test(a_lost_round_is_made_good_by_the_next_heartbeat),
		cmocka_unit_test(no_read_before_the_leader_has_committed_in_its_term),
		cmocka_unit_test(reads_are_void_when_leadership_ends),
		cmocka_unit_test(more_reads_than_places_are_refused),
		cmocka_unit_test(even_clusters_need_more_than_half_for_a_round),
		cmocka_unit_test(a_leader_answers_followers_after_a_round),
		cmocka_unit_test(a_follower_asks_its_leader_and_one_answer_serves_all_before),
		cmocka_unit_test(a_follower_repeats_its_newest_question),
		cmocka_unit_test(an_answer_to_a_former_life_is_not_taken),
		cmocka_unit_test(a_followers_reads_are_void_when_it_loses_its_leader),
		cmocka_unit_test(who_leads_no_more_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
