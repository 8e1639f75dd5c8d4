/* The leader's side of replication: what is sent when, and what is committed when. */
#include "tests/unit/raft_lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct lone lone, *const l = &lone;

static void refuse(raft_id from, uint64_t prev_index, uint64_t hint_index, uint64_t hint_term,
		   uint64_t round)
{
	lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = from, .term = raft_term(&l->r),
		     .prev_index = prev_index, .hint_index = hint_index, .hint_term = hint_term,
		     .round = round);
}

static void a_new_leader_begins_its_term_with_an_entry_sent_at_once(void **state)
{
	static const struct raft_run runs[] = {{1, 2}};
	const struct raft_message *m;

	(void)state;
	lone_start_with(l, 3, 2, 0, runs, 1, 7, 7);
	lone_win(l);
	assert_int_equal(l->up.append_first, 8);
	assert_int_equal(l->up.append_last, 8);
	assert_int_equal(lone_count(l, RAFT_APPEND), 2);
	m = lone_to(l, RAFT_APPEND, 3);
	assert_int_equal(m->prev_index, 7);
	assert_int_equal(m->prev_term, 2);
	assert_int_equal(m->count, 1);
	assert_int_equal(m->runs_n, 1);
	assert_int_equal(m->runs[0].first, 8);
	assert_int_equal(m->runs[0].term, 3);
}

static void a_proposal_goes_to_those_who_answered_in_the_same_step(void **state)
{
	const struct raft_message *m;

	(void)state;
	lone_start(l, 3, 1);
	lone_lead(l);
	lone_propose(l, 3);
	assert_int_equal(l->up.append_first, 2);
	assert_int_equal(l->up.append_last, 4);
	assert_int_not_equal(l->up.persist_id, 0);
	for (raft_id id = 2; id <= 4; id++) {
		m = lone_to(l, RAFT_APPEND, id);
		assert_non_null(m);
		assert_int_equal(m->prev_index, 1);
		assert_int_equal(m->count, 3);
	}
}

static void configurations_are_refused_for_now(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_step(l, (struct raft_event){
			     .kind = RAFT_EV_PROPOSE,
			     .entry_kind = RAFT_ENTRY_CONFIG,
			     .count = 1,
		     });
	assert_int_equal(l->up.refused, RAFT_REFUSED_UNSUPPORTED);
	assert_int_equal(l->up.append_last, 0);
	lone_step(l, (struct raft_event){.kind = RAFT_EV_CHANGE_CONFIG});
	assert_int_equal(l->up.refused, RAFT_REFUSED_UNSUPPORTED);
}

static void no_more_entries_leave_before_sent_and_the_rest_right_after(void **state)
{
	const struct raft_message *m;

	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 5);
	lone_propose(l, 1);
	assert_int_equal(l->up.messages_n, 0);
	lone_sent_only(l, 2, 2); /* the caller had room for two */
	assert_int_equal(l->up.messages_n, 1);
	m = lone_to(l, RAFT_APPEND, 2);
	assert_int_equal(m->prev_index, 3);
	assert_int_equal(m->count, 4);
	lone_sent(l, 2);
	assert_int_equal(l->up.messages_n, 0);
}

static void the_window_of_messages_closes_and_opens(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	for (unsigned i = 0; i < 4; i++) {
		lone_propose(l, 1);
		assert_non_null(lone_to(l, RAFT_APPEND, 2));
		lone_sent(l, 2);
	}
	lone_propose(l, 1);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_accept(l, 2, 3, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 5);
}

static void the_window_of_bytes_closes_and_opens(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 100);
	lone_sent(l, 2); /* 10 bytes each: the window is full */
	lone_propose(l, 1);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_accept(l, 2, 101, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 101);
}

static void an_answer_may_overtake_the_news_that_its_append_was_sent(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 2);
	lone_propose(l, 1);
	lone_accept(l, 2, 3, 0);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_sent(l, 2);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 3);
	assert_int_equal(l->r.peers[1].inflight_n, 0);
}

static void commit_counts_durable_copies_of_a_majority(void **state)
{
	(void)state;
	lone_start(l, 5, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_sent(l, 2);
	lone_sent(l, 3);
	lone_accept(l, 2, 2, 0);
	lone_accept(l, 3, 2, 0);
	assert_int_equal(raft_commit(&l->r), 1); /* two of five, and the leader's not yet */
	lone_persist(l);
	assert_int_equal(raft_commit(&l->r), 2);
	assert_int_equal(l->up.commit, 2);
}

static void what_others_commit_is_applied_only_once_durable_here(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_sent(l, 2);
	lone_sent(l, 3);
	lone_accept(l, 2, 2, 0);
	lone_accept(l, 3, 2, 0);
	assert_int_equal(raft_commit(&l->r), 2);
	assert_int_equal(l->up.commit, 1);
	assert_false(l->up.commit_changed);
	lone_persist(l);
	assert_int_equal(l->up.commit, 2);
	assert_true(l->up.commit_changed);
}

static void entries_of_older_terms_are_not_committed_by_counting(void **state)
{
	static const struct raft_run runs[] = {{1, 1}};

	(void)state;
	lone_start_with(l, 3, 1, 0, runs, 1, 3, 0);
	lone_win(l);
	lone_accept(l, 2, 3, 0);
	lone_accept(l, 3, 3, 0);
	assert_int_equal(raft_commit(&l->r), 0);
	lone_accept(l, 2, 4, 0);
	lone_accept(l, 3, 4, 0);
	assert_int_equal(raft_commit(&l->r), 4);
}

static void learners_do_not_count_for_commit(void **state)
{
	(void)state;
	lone_start(l, 3, 2);
	lone_lead(l);
	lone_propose(l, 1);
	lone_persist(l);
	lone_accept(l, 4, 2, 0);
	lone_accept(l, 5, 2, 0);
	assert_int_equal(raft_commit(&l->r), 1);
	lone_accept(l, 2, 2, 0);
	assert_int_equal(raft_commit(&l->r), 2);
	assert_int_equal(raft_match(&l->r, 4), 2);
}

static void idle_peers_hear_of_a_commit_at_once(void **state)
{
	const struct raft_message *m;

	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_persist(l);
	lone_sent(l, 2);
	lone_sent(l, 3);
	lone_accept(l, 2, 2, 0);
	assert_int_equal(l->up.messages_n, 1); /* not to 3, which has to answer still */
	m = lone_to(l, RAFT_APPEND, 2);
	assert_int_equal(m->count, 0);
	assert_int_equal(m->commit, 2);
	assert_int_equal(m->round, 0);
	lone_accept(l, 3, 2, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 3)->commit, 2);
	lone_accept(l, 3, 2, 0);
	assert_int_equal(l->up.messages_n, 0);
}

static void a_refusal_skips_whole_terms(void **state)
{
	static const struct raft_run runs[] = {{1, 1}, {11, 4}, {31, 6}};

	(void)state;
	lone_start_with(l, 3, 6, 0, runs, 3, 40, 0);
	lone_win(l);
	lone_sent(l, 2);
	refuse(2, 40, 39, 2, 0); /* it has term 2 where this log has 4 and 6 */
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 10);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_term, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 31);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->runs_n, 3);
}

static void late_refusals_change_nothing(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 5);
	lone_sent(l, 2);
	lone_accept(l, 2, 6, 0);
	refuse(2, 4, 2, 1, 0);
	assert_int_equal(l->up.messages_n, 0);
	assert_int_equal(raft_match(&l->r, 2), 6);
	lone_propose(l, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 6);
}

static void late_acceptances_never_lower_what_is_known(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 5);
	lone_sent(l, 2);
	lone_accept(l, 2, 6, 0);
	lone_accept(l, 2, 3, 0);
	assert_int_equal(raft_match(&l->r, 2), 6);
	lone_propose(l, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 6);
}

static void a_lost_append_is_sent_again_when_the_next_is_refused(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_sent(l, 2); /* lost */
	lone_propose(l, 1);
	lone_sent(l, 2);
	lone_propose(l, 1);
	lone_sent(l, 2);
	refuse(2, 2, 1, 1, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 3);
	refuse(2, 3, 1, 1, 0); /* the third was refused for the same reason */
	assert_int_equal(l->up.messages_n, 0);
}

static void a_lost_last_append_is_found_by_a_heartbeat(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_sent(l, 2); /* lost */
	for (int i = 0; i < 2; i++) {
		lone_wait(l, 50); /* asks about what is surely there: appends may be under way */
		assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
		lone_accept(l, 2, 1, l->r.round);
		lone_accept(l, 3, 1, l->r.round);
	}
	lone_wait(l, 50);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 2);
	refuse(2, 2, 1, 1, l->r.round);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 1);
}

static void entries_lost_in_a_crash_before_their_sync_are_found_by_a_heartbeat(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_win(l);
	lone_sent(l, 2);
	lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = 2, .term = 1, .granted = true,
		     .match = 0, .prev_index = 1); /* has it, and then loses it */
	for (int i = 0; i < 2; i++) {
		lone_wait(l, 50);
		assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 0);
		lone_accept(l, 2, 0, l->r.round);
	}
	lone_wait(l, 50);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
	refuse(2, 1, 0, 0, l->r.round);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 1);
}

static void a_slow_disk_is_not_taken_for_a_loss(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_sent(l, 2);
	for (int i = 0; i < 10; i++) {
		lone_wait(l, 50);
		lone_accept(l, 3, 1, l->r.round);
		lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = 2, .term = 1, .granted = true,
			     .match = 1, .prev_index = 2, .round = l->r.round);
		assert_null(lone_to(l, RAFT_APPEND, 2));
	}
}

static void what_the_caller_could_not_send_waits_for_the_next_heartbeat(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 1);
	lone_sent_only(l, 2, 0);
	assert_int_equal(l->up.messages_n, 0);
	lone_propose(l, 1);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_wait(l, 50);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
	lone_accept(l, 2, 1, l->r.round);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 2);
}

static void after_a_broken_link_the_peer_is_probed_before_entries_flow(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_propose(l, 2);
	lone_sent(l, 2);
	lone_propose(l, 1);
	assert_non_null(lone_to(l, RAFT_APPEND, 2));
	lone_unreachable(l, 2); /* with an append in the caller's hands */
	lone_propose(l, 1);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_sent(l, 2); /* of no use any more */
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_wait(l, 50);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 3);
	refuse(2, 3, 1, 1, l->r.round);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 4);
}

static void sent_may_come_after_a_whole_other_leadership(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_win(l);
	lone_sent(l, 3);
	lone_receive(l, .kind = RAFT_APPEND_REPLY, .from = 3, .term = 4);
	assert_int_equal(raft_role(&l->r), RAFT_FOLLOWER);
	lone_persist(l);
	lone_win(l);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	assert_non_null(lone_to(l, RAFT_APPEND, 3));
	lone_sent(l, 2);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 1);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 1);
}

static void a_peer_that_lost_its_disk_is_started_afresh(void **state)
{
	(void)state;
	lone_start(l, 3, 0);
	lone_lead(l);
	lone_wait(l, 50);
	lone_accept(l, 2, 1, l->r.round);
	lone_propose(l, 5);
	lone_sent(l, 2);
	lone_accept(l, 2, 6, l->r.round);
	refuse(2, 6, 0, 0, l->r.round); /* may be older than what it acknowledged */
	assert_int_equal(raft_match(&l->r, 2), 6);
	lone_wait(l, 50);
	refuse(2, 6, 0, 0, l->r.round); /* cannot be */
	assert_int_equal(raft_match(&l->r, 2), 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 6);
}

static void a_peer_that_needs_entries_of_forgotten_terms_gets_none(void **state)
{
	static struct raft_run runs[LONE_RUNS_MAX + 10];
	size_t n = sizeof(runs) / sizeof(runs[0]);

	(void)state;
	for (size_t i = 0; i < n; i++)
		runs[i] = (struct raft_run){i + 1, i + 1};
	lone_start_with(l, 3, n, 0, runs, n, n, n);
	assert_int_equal(raft_term_at(&l->r, 1), 0);
	assert_int_equal(raft_term_at(&l->r, n), n);
	lone_win(l);
	lone_sent(l, 2);
	refuse(2, n, 5, 5, 0);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	assert_int_equal(l->r.peers[1].state, RAFT_PEER_SNAPSHOT);
	lone_wait(l, 50); /* heartbeats go on, so that it stays a follower */
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, 0);
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->count, 0);
	lone_accept(l, 2, 5, l->r.round);
	assert_null(lone_to(l, RAFT_APPEND, 2));
	lone_accept(l, 2, n, l->r.round); /* it came by them in another way */
	assert_int_equal(lone_to(l, RAFT_APPEND, 2)->prev_index, n);
}

static void an_append_holds_no_more_terms_than_a_message_can_tell(void **state)
{
	struct raft_run runs[40];
	const struct raft_message *m;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		runs[i] = (struct raft_run){i * 2 + 1, i + 1};
	lone_start_with(l, 3, 40, 0, runs, 40, 80, 0);
	lone_win(l);
	lone_sent(l, 2);
	refuse(2, 80, 0, 0, 0);
	m = lone_to(l, RAFT_APPEND, 2);
	assert_int_equal(m->runs_n, RAFT_APPEND_RUNS_MAX);
	assert_int_equal(m->count, RAFT_APPEND_RUNS_MAX * 2);
}

static void a_message_can_be_cut_to_fewer_entries(void **state)
{
	struct raft_message m = {
		.kind = RAFT_APPEND,
		.prev_index = 10,
		.count = 9,
		.runs_n = 3,
		.runs = {{11, 1}, {14, 2}, {17, 3}},
	};

	(void)state;
	raft_message_trim(&m, 6);
	assert_int_equal(m.count, 6);
	assert_int_equal(m.runs_n, 2);
	raft_message_trim(&m, 4);
	assert_int_equal(m.runs_n, 2);
	raft_message_trim(&m, 3);
	assert_int_equal(m.runs_n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_leader_begins_its_term_with_an_entry_sent_at_once),
		cmocka_unit_test(a_proposal_goes_to_those_who_answered_in_the_same_step),
		cmocka_unit_test(configurations_are_refused_for_now),
		cmocka_unit_test(no_more_entries_leave_before_sent_and_the_rest_right_after),
		cmocka_unit_test(the_window_of_messages_closes_and_opens),
		cmocka_unit_test(the_window_of_bytes_closes_and_opens),
		cmocka_unit_test(an_answer_may_overtake_the_news_that_its_append_was_sent),
		cmocka_unit_test(commit_counts_durable_copies_of_a_majority),
		cmocka_unit_test(what_others_commit_is_applied_only_once_durable_here),
		cmocka_unit_test(entries_of_older_terms_are_not_committed_by_counting),
		cmocka_unit_test(learners_do_not_count_for_commit),
		cmocka_unit_test(idle_peers_hear_of_a_commit_at_once),
		cmocka_unit_test(a_refusal_skips_whole_terms),
		cmocka_unit_test(late_refusals_change_nothing),
		cmocka_unit_test(late_acceptances_never_lower_what_is_known),
		cmocka_unit_test(a_lost_append_is_sent_again_when_the_next_is_refused),
		cmocka_unit_test(a_lost_last_append_is_found_by_a_heartbeat),
		cmocka_unit_test(
			entries_lost_in_a_crash_before_their_sync_are_found_by_a_heartbeat),
		cmocka_unit_test(a_slow_disk_is_not_taken_for_a_loss),
		cmocka_unit_test(what_the_caller_could_not_send_waits_for_the_next_heartbeat),
		cmocka_unit_test(after_a_broken_link_the_peer_is_probed_before_entries_flow),
		cmocka_unit_test(sent_may_come_after_a_whole_other_leadership),
		cmocka_unit_test(a_peer_that_lost_its_disk_is_started_afresh),
		cmocka_unit_test(a_peer_that_needs_entries_of_forgotten_terms_gets_none),
		cmocka_unit_test(an_append_holds_no_more_terms_than_a_message_can_tell),
		cmocka_unit_test(a_message_can_be_cut_to_fewer_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
