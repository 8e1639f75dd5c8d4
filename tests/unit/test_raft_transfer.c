/* Handing leadership over. */
#include "tests/unit/raft_lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct lone lone, *const l = &lone;

static void transfer(raft_id peer)
{
	lone_step(l, (struct raft_event){.kind = RAFT_EV_TRANSFER, .peer = peer});
}

static void a_target_that_has_everything_is_told_at_once(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	transfer(3);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT);
	assert_int_equal(lone_count(l, RAFT_TIMEOUT_NOW), 1);
	assert_non_null(lone_to(l, RAFT_TIMEOUT_NOW, 3));
}

static void a_target_is_brought_up_to_date_first(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 2);
	lone_sent_only(l, 3, 1);
	transfer(3);
	assert_int_equal(lone_count(l, RAFT_TIMEOUT_NOW), 0);
	lone_accept(l, 3, 2, 0);
	assert_int_equal(lone_count(l, RAFT_TIMEOUT_NOW), 0);
	lone_sent(l, 3);
	lone_accept(l, 3, 3, 0);
	assert_int_equal(lone_count(l, RAFT_TIMEOUT_NOW), 1);
}

static void proposals_are_refused_meanwhile_and_taken_again_after_a_timeout(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	transfer(3);
	lone_propose(l, 1);
	assert_int_equal(l->up.refused, RAFT_REFUSED_TRANSFERRING);
	assert_int_equal(l->up.append_last, 0);
	transfer(2);
	assert_int_equal(l->up.refused, RAFT_REFUSED_TRANSFERRING);
	for (int i = 0; i < 5; i++) {
		lone_wait(l, 50);
		assert_int_equal(lone_count(l, RAFT_TIMEOUT_NOW), 1); /* may have been lost */
		lone_accept(l, 2, 1, l->r.round);
	}
	lone_propose(l, 1);
	assert_int_equal(l->up.refused, RAFT_REFUSED_TRANSFERRING);
	lone_wait(l, 50);
	assert_int_equal(raft_role(&l->r), RAFT_LEADER);
	lone_propose(l, 1);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT);
}

static void without_a_name_the_voter_that_has_most_is_taken(void **state)
{
	(void)state;
	lone_start(l, 3, 2);
	lone_lead(l);
	lone_propose(l, 1);
	lone_accept(l, 4, 2, 0); /* a learner has more */
	lone_sent(l, 3);
	lone_accept(l, 3, 2, 0);
	transfer(0);
	assert_non_null(lone_to(l, RAFT_TIMEOUT_NOW, 3));
}

static void only_another_voter_can_be_a_target(void **state)
{
	(void)state;
	lone_start(l, 3, 1);
	transfer(2);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT_LEADER);
	lone_lead(l);
	transfer(1);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NO_TARGET);
	transfer(4);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NO_TARGET);
	transfer(77);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NO_TARGET);
	lone_propose(l, 1);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT);

	lone_start(l, 1, 1);
	lone_persist(l);
	transfer(0);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NO_TARGET);
}

static void the_target_campaigns_at_once_and_says_why(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_append(l, 2, 1, 0, 0, 1, 1, 0);
	lone_persist(l);
	lone_receive(l, .kind = RAFT_TIMEOUT_NOW, .from = 3, .term = 1); /* not its leader */
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	lone_receive(l, .kind = RAFT_TIMEOUT_NOW, .from = 2, .term = 1);
	assert_int_equal(raft_role(&l->r), RAFT_CANDIDATE);
	assert_int_equal(l->up.hard.term, 2);
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	assert_int_equal(lone_count(l, RAFT_VOTE), 2);
	assert_true(lone_to(l, RAFT_VOTE, 2)->transfer);
	lone_receive(l, .kind = RAFT_TIMEOUT_NOW, .from = 2, .term = 1); /* again, from then */
	assert_int_equal(raft_term(&l->r), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_target_that_has_everything_is_told_at_once),
		cmocka_unit_test(a_target_is_brought_up_to_date_first),
		cmocka_unit_test(proposals_are_refused_meanwhile_and_taken_again_after_a_timeout),
		cmocka_unit_test(without_a_name_the_voter_that_has_most_is_taken),
		cmocka_unit_test(only_another_voter_can_be_a_target),
		cmocka_unit_test(the_target_campaigns_at_once_and_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
