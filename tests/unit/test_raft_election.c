/* Terms, votes, campaigns, and when a leader gives up. */
#include "tests/unit/raft_lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct lone lone, *const l = &lone;

static void hear_leader(raft_id leader, uint64_t term)
{
	lone_append(l, leader, term, 0, 0, 0, 0, 0);
	lone_persist(l);
	assert_int_equal(raft_leader(&l->r), leader);
}

static void ask_vote(raft_id from, uint64_t term, uint64_t last_index, uint64_t last_term)
{
	lone_receive(l, .kind = RAFT_VOTE, .from = from, .term = term, .prev_index = last_index,
		     .prev_term = last_term);
}

static void ask_pre_vote(raft_id from, uint64_t term, uint64_t last_index, uint64_t last_term)
{
	lone_receive(l, .kind = RAFT_PRE_VOTE, .from = from, .term = term, .prev_index = last_index,
		     .prev_term = last_term);
}

static void a_single_voter_leads_as_soon_as_its_vote_is_durable(void **state)
{
	(void)state;
	lone_start(l, 1, 0);
	assert_int_equal(raft_role(&l->r), RAFT_CANDIDATE);
	assert_true(l->up.hard_changed);
	assert_int_equal(l->up.hard.term, 1);
	assert_int_equal(l->up.hard.vote, 1);
	lone_persist(l);
	assert_int_equal(raft_role(&l->r), RAFT_LEADER);
	assert_int_equal(l->up.append_first, 1);
	assert_int_equal(l->up.append_last, 1);
	assert_int_equal(l->up.commit, 0);
	lone_persist(l);
	assert_true(l->up.commit_changed);
	assert_int_equal(l->up.commit, 1);
	assert_true(raft_ready(&l->r));
	assert_int_equal(l->up.messages_n, 0);
}

static void a_follower_without_leader_asks_for_pre_votes_in_its_old_term(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	assert_int_equal(l->up.deadline_ms, l->now_ms + 300);
	lone_wait(l, 299);
	assert_int_equal(l->up.messages_n, 0);
	lone_wait(l, 1);
	assert_int_equal(raft_role(&l->r), RAFT_PRE_CANDIDATE);
	assert_int_equal(raft_term(&l->r), 0);
	assert_int_equal(l->up.persist_id, 0);
	assert_int_equal(lone_count(l, RAFT_PRE_VOTE), 2);
	assert_int_equal(lone_to(l, RAFT_PRE_VOTE, 3)->term, 1);
}

static void the_timeout_is_drawn_from_min_to_twice_min(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	l->random = 299 + 300 * 7u;
	lone_append(l, 2, 1, 0, 0, 0, 0, 0);
	assert_int_equal(l->up.deadline_ms, l->now_ms + 599);
	l->random = 300;
	lone_append(l, 2, 1, 0, 0, 0, 0, 0);
	assert_int_equal(l->up.deadline_ms, l->now_ms + 300);
}

static void requests_that_nobody_answers_are_repeated_to_those_who_did_not(void **state)
{
	(void)state;
	lone_start(l, 5, 0);
	lone_wait(l, 300);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 1, .granted = true);
	assert_int_equal(l->up.deadline_ms, l->now_ms + 50);
	lone_wait(l, 50);
	assert_int_equal(lone_count(l, RAFT_PRE_VOTE), 3);
	assert_null(lone_to(l, RAFT_PRE_VOTE, 2));
}

static void votes_are_asked_for_only_when_the_own_vote_is_durable(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_wait(l, 300);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_CANDIDATE);
	assert_true(l->up.hard_changed);
	assert_int_equal(l->up.hard.vote, 1);
	assert_int_equal(l->up.messages_n, 0);
	lone_wait(l, 100);
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	assert_int_equal(lone_count(l, RAFT_VOTE), 2);
	assert_int_equal(lone_to(l, RAFT_VOTE, 2)->term, 1);
}

static void a_vote_is_given_only_when_it_is_durable(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	ask_vote(2, 4, 0, 0);
	assert_true(l->up.hard_changed);
	assert_int_equal(l->up.hard.term, 4);
	assert_int_equal(l->up.hard.vote, 2);
	assert_int_equal(l->up.messages_n, 0);
	ask_vote(2, 4, 0, 0); /* repeated before the disk is done */
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	assert_int_equal(lone_count(l, RAFT_VOTE_REPLY), 1);
	assert_true(lone_to(l, RAFT_VOTE_REPLY, 2)->granted);
	ask_vote(2, 4, 0, 0);
	assert_true(lone_to(l, RAFT_VOTE_REPLY, 2)->granted);
}

static void a_vote_whose_term_has_passed_meanwhile_is_not_given(void **state)
{
	uint64_t first;

	(void)state;
	lone_start(l, 3, 0);
	ask_vote(2, 4, 0, 0);
	first = l->up.persist_id;
	ask_vote(3, 5, 0, 0);
	lone_step(l, (struct raft_event){.kind = RAFT_EV_PERSISTED, .persist_id = first});
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	assert_int_equal(l->up.messages_n, 1);
	assert_int_equal(lone_to(l, RAFT_VOTE_REPLY, 3)->term, 5);
}

static void there_is_one_vote_a_term(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	ask_vote(2, 4, 0, 0);
	ask_vote(3, 4, 9, 3);
	lone_persist(l);
	assert_true(lone_to(l, RAFT_VOTE_REPLY, 2)->granted);
	assert_false(lone_to(l, RAFT_VOTE_REPLY, 3)->granted);
}

static void a_vote_is_remembered_over_a_restart(void **state)
{
	(void)state;
	lone_start_with(l, 3, 4, 2, NULL, 0, 0, 0);
	ask_vote(3, 4, 0, 0);
	assert_false(lone_to(l, RAFT_VOTE_REPLY, 3)->granted);
	ask_vote(2, 4, 0, 0);
	assert_true(lone_to(l, RAFT_VOTE_REPLY, 2)->granted);
}

static void a_candidate_whose_log_is_behind_gets_neither_vote_nor_pre_vote(void **state)
{
	static const struct raft_run runs[] = {{1, 1}, {4, 3}};

	(void)state;
	lone_start_with(l, 3, 3, 0, runs, 2, 6, 0);
	ask_pre_vote(2, 9, 100, 2); /* longer, but of an older term */
	assert_false(lone_to(l, RAFT_PRE_VOTE_REPLY, 2)->granted);
	ask_pre_vote(2, 9, 5, 3); /* same term, shorter */
	assert_false(lone_to(l, RAFT_PRE_VOTE_REPLY, 2)->granted);
	ask_pre_vote(2, 9, 6, 3);
	assert_true(lone_to(l, RAFT_PRE_VOTE_REPLY, 2)->granted);
	assert_int_equal(lone_to(l, RAFT_PRE_VOTE_REPLY, 2)->term, 9);
	assert_int_equal(raft_term(&l->r), 3);
	ask_vote(2, 9, 5, 3);
	lone_persist(l);
	assert_false(lone_to(l, RAFT_VOTE_REPLY, 2)->granted);
	ask_vote(3, 9, 1, 4);
	lone_persist(l);
	assert_true(lone_to(l, RAFT_VOTE_REPLY, 3)->granted);
}

static void who_hears_a_leader_ignores_votes_and_refuses_pre_votes(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	hear_leader(2, 1);
	l->now_ms += 299;
	ask_vote(3, 7, 0, 0);
	assert_int_equal(l->up.messages_n, 0);
	assert_int_equal(raft_term(&l->r), 1);
	ask_pre_vote(3, 7, 0, 0);
	assert_false(lone_to(l, RAFT_PRE_VOTE_REPLY, 3)->granted);
	l->now_ms += 1; /* silence for an election timeout */
	ask_pre_vote(3, 7, 0, 0);
	assert_true(lone_to(l, RAFT_PRE_VOTE_REPLY, 3)->granted);
	ask_vote(3, 7, 0, 0);
	assert_int_equal(l->up.hard.vote, 3);
}

static void a_leader_ignores_votes_unless_it_handed_leadership_over(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	ask_vote(3, 7, 9, 1);
	assert_int_equal(raft_role(&l->r), RAFT_LEADER);
	lone_receive(l, .kind = RAFT_VOTE, .from = 3, .term = 7, .prev_index = 9, .prev_term = 1,
		     .transfer = true);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_int_equal(l->up.hard.vote, 3);
}

static void a_broken_link_to_the_leader_brings_the_election_forward(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	hear_leader(2, 1);
	l->random = 100;
	lone_unreachable(l, 3); /* not the leader */
	assert_int_equal(l->up.deadline_ms, l->now_ms + 300);
	lone_unreachable(l, 2);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_int_equal(l->up.messages_n, 0);
	assert_int_equal(l->up.deadline_ms, l->now_ms + 150);
	l->random = 249 + 250;
	lone_unreachable(l, 2); /* later than what was drawn before: that stays */
	assert_int_equal(l->up.deadline_ms, l->now_ms + 150);
	lone_wait(l, 150);
	assert_int_equal(lone_count(l, RAFT_PRE_VOTE), 2);
}

static void who_lost_the_link_to_the_leader_votes_until_it_is_heard_again(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	hear_leader(2, 1);
	lone_unreachable(l, 2);
	ask_pre_vote(3, 2, 0, 0);
	assert_true(lone_to(l, RAFT_PRE_VOTE_REPLY, 3)->granted);
	hear_leader(2, 1);
	ask_pre_vote(3, 2, 0, 0);
	assert_false(lone_to(l, RAFT_PRE_VOTE_REPLY, 3)->granted);
	lone_unreachable(l, 2);
	ask_vote(3, 2, 0, 0);
	assert_int_equal(l->up.hard.vote, 3);
}

static void learners_neither_campaign_nor_count(void **state)
{
	(void)state;
	lone_start(l, 2, 2);
	lone_wait(l, 300);
	assert_int_equal(lone_count(l, RAFT_PRE_VOTE), 1);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 3, .term = 1, .granted = true);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 4, .term = 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_PRE_CANDIDATE);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_CANDIDATE);

	lone_start(l, 2, 1);
	l->r.config.members[0].role = RAFT_LEARNER;
	l->r.config.members[2].role = RAFT_VOTER;
	lone_wait(l, 100000);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_true(l->up.deadline_ms == UINT64_MAX);
}

static void half_of_an_even_number_is_no_majority(void **state)
{
	(void)state;
	lone_start(l, 4, 0);
	lone_wait(l, 300);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_PRE_CANDIDATE);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_PRE_CANDIDATE);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 3, .term = 1, .granted = true);
	assert_int_equal(raft_role(&l->r), RAFT_CANDIDATE);
}

static void a_campaign_that_a_majority_refuses_ends(void **state)
{
	(void)state;
	lone_start_with(l, 3, 3, 0, NULL, 0, 0, 0);
	lone_wait(l, 300);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 3, .granted = false);
	assert_int_equal(raft_role(&l->r), RAFT_PRE_CANDIDATE);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 3, .term = 2, .granted = false);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_int_equal(raft_term(&l->r), 3);
}

static void a_refusal_from_a_higher_term_is_followed(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_wait(l, 300);
	lone_receive(l, .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 8, .granted = false);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_int_equal(l->up.hard.term, 8);
	assert_int_equal(l->up.hard.vote, 0);
}

static void a_leader_without_a_majority_steps_down_within_an_election_timeout(void **state)
{
	(void)state;
	lone_start(l, 5, 0);
	lone_lead(l);
	for (int i = 0; i < 20; i++) {
		lone_wait(l, 50);
		assert_int_equal(raft_role(&l->r), RAFT_LEADER);
		lone_accept(l, 2, 1, l->r.round);
		lone_accept(l, 3, 1, l->r.round);
	}
	for (int i = 0; i < 5; i++) {
		lone_wait(l, 50);
		lone_accept(l, 2, 1, l->r.round); /* one more is no majority of five */
		assert_int_equal(raft_role(&l->r), RAFT_LEADER);
	}
	lone_wait(l, 50);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_int_equal(raft_leader(&l->r), 0);
	assert_int_equal(raft_term(&l->r), 1);
	assert_true(l->up.role_changed);
	assert_int_equal(l->up.deadline_ms, l->now_ms + 300);
}

static void an_old_leader_learns_of_the_new_term_once_that_is_durable(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	ask_vote(3, 5, 0, 0);
	lone_append(l, 2, 4, 0, 0, 0, 0, 0);
	assert_int_equal(l->up.messages_n, 0);
	lone_persist(l);
	lone_append(l, 2, 4, 0, 0, 0, 0, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND_REPLY, 2)->term, 5);
	assert_false(lone_to(l, RAFT_APPEND_REPLY, 2)->granted);
}

static void a_leader_follows_a_higher_term(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = 2, .term = 6);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	assert_int_equal(l->up.hard.term, 6);
	assert_int_equal(l->up.hard.vote, 0);
	lone_propose(l, 1);
	assert_int_equal(l->up.refused, RAFT_REFUSED_NOT_LEADER);
	assert_int_equal(l->up.append_last, 0);
}

static void strangers_and_nonsense_are_ignored(void **state)
{
	struct raft before;

	(void)state;
	lone_start(l, 3, 0);
	before = l->r;
	ask_vote(4, 5, 9, 9);
	ask_vote(1, 5, 9, 9);
	lone_receive(l, .kind = 77, .from = 2, .term = 5);
	lone_receive(l, .kind = 0, .from = 2, .term = 5);
	lone_append(l, 2, 5, 3, 9, 0, 0, 0); /* a term above the sender's */
	lone_append(l, 2, 5, 0, 0, 3, 6, 0);
	assert_int_equal(l->up.messages_n, 0);
	assert_memory_equal(&before, &l->r, sizeof(before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_single_voter_leads_as_soon_as_its_vote_is_durable),
		cmocka_unit_test(a_follower_without_leader_asks_for_pre_votes_in_its_old_term),
		cmocka_unit_test(the_timeout_is_drawn_from_min_to_twice_min),
		cmocka_unit_test(requests_that_nobody_answers_are_repeated_to_those_who_did_not),
		cmocka_unit_test(votes_are_asked_for_only_when_the_own_vote_is_durable),
		cmocka_unit_test(a_vote_is_given_only_when_it_is_durable),
		cmocka_unit_test(a_vote_whose_term_has_passed_meanwhile_is_not_given),
		cmocka_unit_test(there_is_one_vote_a_term),
		cmocka_unit_test(a_vote_is_remembered_over_a_restart),
		cmocka_unit_test(a_candidate_whose_log_is_behind_gets_neither_vote_nor_pre_vote),
		cmocka_unit_test(who_hears_a_leader_ignores_votes_and_refuses_pre_votes),
		cmocka_unit_test(a_leader_ignores_votes_unless_it_handed_leadership_over),
		cmocka_unit_test(a_broken_link_to_the_leader_brings_the_election_forward),
		cmocka_unit_test(who_lost_the_link_to_the_leader_votes_until_it_is_heard_again),
		cmocka_unit_test(learners_neither_campaign_nor_count),
		cmocka_unit_test(half_of_an_even_number_is_no_majority),
		cmocka_unit_test(a_campaign_that_a_majority_refuses_ends),
		cmocka_unit_test(a_refusal_from_a_higher_term_is_followed),
		cmocka_unit_test(a_leader_without_a_majority_steps_down_within_an_election_timeout),
		cmocka_unit_test(an_old_leader_learns_of_the_new_term_once_that_is_durable),
		cmocka_unit_test(a_leader_follows_a_higher_term),
		cmocka_unit_test(strangers_and_nonsense_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
