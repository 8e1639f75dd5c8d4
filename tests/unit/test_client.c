/* The cluster client against a scripted cluster: where requests go, and which outcomes are told. */
#include "tests/unit/fake_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct hub *hub;
static struct client *client;
static struct caller *caller;

static void client_open(bool with_ids, uint32_t connections)
{
	struct client_node nodes[FAKE_NODES];
	struct client_options o = {
		.nodes = nodes,
		.nodes_n = FAKE_NODES,
		.connections = connections,
		.timeout_ms = FIXTURE_WAIT_MS,
	};
	struct err e;

	hub = fixture_hub(LINK_USER, 7);
	o.hub = hub;
	for (unsigned i = 0; i < FAKE_NODES; i++)
		nodes[i] = (struct client_node){with_ids ? i + 1 : 0, fake.nodes[i].address};
	assert_int_equal(client_new(&client, &o, &e), 0);
	assert_int_equal(caller_new(&caller, client, &e), 0);
	/* So that "the first node asked" is the same one in each run. */
	for (unsigned i = 0; i < FAKE_NODES; i++) {
		for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && fake.nodes[i].server; ms++) {
			if (client_conn(client, i + 1) &&
			    rpc_conn_is_up(client_conn(client, i + 1)))
				break;
			fixture_sleep_ms(1);
		}
	}
}

static void client_close(void)
{
	caller_free(caller);
	client_free(client);
	hub_free(hub);
}

static struct client_stats client_counts(void)
{
	struct client_stats st;

	client_stats(client, &st);
	return st;
}

static const struct client_statement insert = {
	.text = {(const uint8_t *)"INSERT INTO t VALUES(1)", 23},
};

static struct client_request write_request(void)
{
	return (struct client_request){.mode = SQL_WRITE, .statements = &insert, .statements_n = 1};
}

static struct client_request read_request(enum sql_level level)
{
	return (struct client_request){
		.mode = SQL_READ, .level = level, .statements = &insert, .statements_n = 1};
}

static int run(const struct client_request *r)
{
	struct sql_answer a;
	struct buf body;
	struct err e = {0};

	buf_init(&body, 1 << 20);
	int rc = client_wait(caller, r, &body, &a, &e);
	if (rc)
		assert_true(e.code == rc && e.text[0]);
	buf_done(&body);
	return rc;
}

static int run_write(void)
{
	struct client_request r = write_request();

	return run(&r);
}

/* A request of the caller's on a thread of its own. */
struct background {
	struct client_request r;
	int rc;
	pthread_t thread;
};

static void *background_run(void *arg)
{
	struct background *b = arg;

	b->rc = run(&b->r);
	return NULL;
}

static void background_start(struct background *b)
{
	pthread_create(&b->thread, NULL, background_run, b);
}

static void a_write_finds_the_leader_and_remembers_it(void **state)
{
	(void)state;
	fake_start();
	fake_lead(3);
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_requests(3), 1);
	assert_int_equal(client_counts().redirects, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_requests(3), 3);
	assert_int_equal(fake_requests(1) + fake_requests(2), 1);
	assert_int_equal(client_counts().redirects, 1);
	/* It moves: one hint is enough. */
	fake_lead(2);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_requests(2), 1);
	assert_int_equal(client_counts().redirects, 2);
	assert_int_equal(fake_writes(), 4);
	client_close();
	fake_stop();
}

static void a_hint_by_id_is_followed_though_only_addresses_were_given(void **state)
{
	(void)state;
	fake_start();
	fake_lead(3);
	fake.hint_by_id_only = true;
	client_open(false, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(client_counts().redirects, 1);
	assert_int_equal(fake_requests(3), 1);
	client_close();
	fake_stop();
}

static void a_hint_to_nowhere_is_ignored(void **state)
{
	const enum behaviour wrong[] = {WRONG_HINT, WRONG_HINT};

	(void)state;
	fake_start();
	for (unsigned i = 1; i <= FAKE_NODES; i++)
		fake_script(i, 2, wrong);
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_writes(), 1);
	client_close();
	fake_stop();
}

static void what_was_certainly_not_done_is_sent_again(void **state)
{
	const enum behaviour bad[] = {SAY_BUSY,	      SAY_BUSY,	     SAY_NO_QUORUM,
				      SAY_NOT_LEADER, SAY_NO_QUORUM, SAY_BUSY};

	(void)state;
	fake_start();
	client_open(true, 1);
	fake_script(1, sizeof bad / sizeof *bad, bad);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_writes(), 1);
	assert_int_equal(client_counts().unknown, 0);
	/* The same for one that may be sent only once. */
	fake_script(1, sizeof bad / sizeof *bad, bad);
	struct client_request r = write_request();
	r.no_sequence = true;
	assert_int_equal(run(&r), 0);
	assert_int_equal(fake_unsequenced(), 1);
	client_close();
	fake_stop();
}

static void an_unknown_outcome_is_asked_for_again_with_the_same_sequence(void **state)
{
	const enum behaviour bad[] = {EXECUTE_AND_SAY_UNKNOWN, SAY_UNKNOWN, RPC_UNKNOWN};

	(void)state;
	fake_start();
	client_open(true, 1);
	for (unsigned i = 0; i < 10; i++) {
		fake_script(1, 3, bad);
		assert_int_equal(run_write(), 0);
	}
	assert_int_equal(fake_writes(), 10);
	assert_int_equal(fake_last().sequence, 10);
	assert_true(fake_last().client == caller_id(caller));
	assert_int_equal(client_counts().resends, 30);
	assert_int_equal(client_counts().failed, 0);
	client_close();
	fake_stop();
}

static void without_a_sequence_an_unknown_outcome_is_told(void **state)
{
	const enum behaviour unknown[] = {SAY_UNKNOWN};
	struct client_request r = write_request();

	(void)state;
	fake_start();
	client_open(true, 1);
	r.no_sequence = true;
	fake_script(1, 1, unknown);
	assert_int_equal(run(&r), ERR_UNKNOWN_OUTCOME);
	assert_int_equal(fake_last().client, 0);
	assert_int_equal(fake_last().sequence, 0);
	assert_int_equal(client_counts().unknown, 1);
	assert_int_equal(client_counts().resends, 0);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_last().sequence, 1);
	client_close();
	fake_stop();
}

static void a_write_that_is_never_answered_is_unknown_at_its_deadline(void **state)
{
	struct client_request r = write_request();

	(void)state;
	fake_start();
	client_open(true, 1);
	fake_always(1, EXECUTE_AND_DROP);
	r.timeout_ms = 200;
	assert_int_equal(run(&r), ERR_UNKNOWN_OUTCOME);
	r.no_sequence = true;
	assert_int_equal(run(&r), ERR_UNKNOWN_OUTCOME);
	assert_int_equal(fake_unsequenced(), 1);
	struct client_request q = read_request(SQL_LINEARIZABLE);
	q.timeout_ms = 200;
	assert_int_equal(run(&q), ERR_TIMEOUT);
	client_close();
	fake_stop();
}

static void at_the_deadline_the_last_failure_is_told_if_nothing_was_done(void **state)
{
	struct client_request r = write_request();

	(void)state;
	fake_start();
	client_open(true, 1);
	r.timeout_ms = 150;
	fake_always(1, SAY_BUSY);
	assert_int_equal(run(&r), ERR_BUSY);
	fake_always(1, SAY_NO_QUORUM);
	fake_always(2, SAY_NO_QUORUM);
	fake_always(3, SAY_NO_QUORUM);
	assert_int_equal(run(&r), ERR_NO_QUORUM);
	for (unsigned i = 0; i < FAKE_NODES; i++)
		fake_node_down(&fake.nodes[i]);
	/* The first may still have caught a link on its way down: then it was sent. */
	int rc = run(&r);
	assert_true(rc == ERR_UNREACHABLE || rc == ERR_UNKNOWN_OUTCOME);
	assert_int_equal(run(&r), ERR_UNREACHABLE);
	assert_int_equal(fake_writes(), 0);
	client_close();
	fake_stop();
}

static void answers_about_the_statement_are_final(void **state)
{
	static const struct {
		enum behaviour how;
		int status;
	} cases[] = {{SAY_CONFLICT, ERR_CONFLICT},
		     {SAY_TIMEOUT, ERR_TIMEOUT},
		     {RPC_REFUSED, ERR_AUTH},
		     {NONSENSE, ERR_UNKNOWN_OUTCOME}};

	(void)state;
	fake_start();
	client_open(true, 1);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		unsigned before = fake_requests(1);
		fake_script(1, 1, &cases[i].how);
		assert_int_equal(run_write(), cases[i].status);
		assert_int_equal(fake_requests(1), before + 1);
	}
	fake_script(1, 1, &cases[3].how);
	struct client_request q = read_request(SQL_LINEARIZABLE);
	assert_int_equal(run(&q), ERR_PROTOCOL);
	client_close();
	fake_stop();
}

static void a_failure_after_a_try_that_may_have_worked_stays_unknown(void **state)
{
	const enum behaviour bad[] = {EXECUTE_AND_SAY_UNKNOWN, SAY_TIMEOUT};

	(void)state;
	fake_start();
	client_open(true, 1);
	fake_script(1, 2, bad);
	assert_int_equal(run_write(), ERR_UNKNOWN_OUTCOME);
	client_close();
	fake_stop();
}

static void a_leader_that_dies_is_replaced_and_nothing_is_done_twice(void **state)
{
	(void)state;
	fake_start();
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	for (uint32_t round = 0; round < 6; round++) {
		unsigned old = round % FAKE_NODES, new = (round + 1) % FAKE_NODES;
		fake_lead(old + 1);
		assert_int_equal(run_write(), 0);
		/* It executes the next one, and dies before it can answer. */
		fake_always(old + 1, EXECUTE_AND_DROP);
		struct background b = {.r = write_request()};
		unsigned before = fake_requests(old + 1);
		background_start(&b);
		while (fake_requests(old + 1) == before)
			fixture_sleep_ms(1);
		fake_node_down(&fake.nodes[old]);
		fake_lead(new + 1);
		pthread_join(b.thread, NULL);
		assert_int_equal(b.rc, 0);
		/* And the client goes on without it. */
		assert_int_equal(run_write(), 0);
		fake_always(old + 1, PROPER);
		fake_node_up(&fake.nodes[old]);
	}
	assert_int_equal(fake_writes(), 1 + 6 * 3);
	assert_int_equal(fake_last().sequence, 1 + 6 * 3);
	client_close();
	fake_stop();
}

static void a_leader_that_hangs_does_not_take_the_whole_deadline(void **state)
{
	(void)state;
	fake_start();
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	fake_always(1, DROP);
	fake_lead(2);
	/* Deadline 30 s; the try at node 1 ends before. */
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake_requests(2), 1);
	assert_int_equal(fake_writes(), 2);
	client_close();
	fake_stop();
}

static void a_link_lost_without_a_sequence_is_an_unknown_outcome(void **state)
{
	struct background b = {.r = write_request()};

	(void)state;
	fake_start();
	client_open(true, 1);
	fake_always(1, EXECUTE_AND_DROP);
	b.r.no_sequence = true;
	background_start(&b);
	while (fake_requests(1) == 0)
		fixture_sleep_ms(1);
	fake_lead(2);
	fake_node_down(&fake.nodes[0]);
	pthread_join(b.thread, NULL);
	assert_int_equal(b.rc, ERR_UNKNOWN_OUTCOME);
	assert_int_equal(fake_unsequenced(), 1);
	assert_int_equal(fake_requests(2), 0);
	client_close();
	fake_stop();
}

static void session_reads_ask_for_what_was_seen(void **state)
{
	struct client_request q = read_request(SQL_SESSION);

	(void)state;
	fake_start();
	client_open(true, 1);
	assert_int_equal(run(&q), 0);
	assert_int_equal(fake_last().min_index, 0);
	assert_int_equal(fake_last().client, 0);
	assert_int_equal(run_write(), 0);
	assert_int_equal(fake.index, 101);
	assert_int_equal(run(&q), 0);
	assert_int_equal(fake_last().min_index, 101);
	/* Another namespace of another group has an index of its own. */
	fake.group = 2;
	fake.index = 5;
	q.namespace = "other";
	assert_int_equal(run(&q), 0);
	assert_int_equal(fake_last().min_index, 0);
	assert_string_equal(fake.last_namespace, "other");
	assert_int_equal(run(&q), 0);
	assert_int_equal(fake_last().min_index, 5);
	/* An answer from further behind takes nothing away. */
	fake.index = 3;
	assert_int_equal(run(&q), 0);
	assert_int_equal(run(&q), 0);
	assert_int_equal(fake_last().min_index, 5);
	q.level = SQL_STALE;
	assert_int_equal(run(&q), 0);
	assert_int_equal(fake_last().min_index, 0);
	client_close();
	fake_stop();
}

static void a_read_stays_at_the_node_it_was_asked_of(void **state)
{
	struct client_request q = read_request(SQL_STALE);
	const enum behaviour busy[] = {SAY_BUSY, SAY_NOT_LEADER};

	(void)state;
	fake_start();
	client_open(true, 1);
	q.node = 2;
	fake_script(2, 2, busy);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(run(&q), 0);
	assert_int_equal(fake_requests(2), 7);
	assert_int_equal(fake_requests(1) + fake_requests(3), 0);
	q.node = 9;
	assert_int_equal(run(&q), ERR_NOT_FOUND);
	/* A write goes to the leader all the same, also one that only turns out to be one. */
	struct client_request w = write_request();
	w.node = 2;
	assert_int_equal(run(&w), 0);
	w.mode = SQL_AUTO;
	assert_int_equal(run(&w), 0);
	assert_int_equal(fake_writes(), 2);
	assert_true(fake_requests(1) >= 2);
	client_close();
	fake_stop();
}

static void reads_of_many_callers_spread_over_the_nodes(void **state)
{
	struct caller *many[9];
	struct client_request q = read_request(SQL_STALE);

	(void)state;
	fake_start();
	client_open(true, 1);
	struct caller *mine = caller;
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(caller_new(&many[i], client, NULL), 0);
		caller = many[i];
		assert_int_equal(run(&q), 0);
	}
	for (unsigned i = 1; i <= FAKE_NODES; i++)
		assert_int_equal(fake_requests(i), 3);
	for (unsigned i = 0; i < 9; i++)
		caller_free(many[i]);
	caller = mine;
	client_close();
	fake_stop();
}

static void ignore_answer(void *ctx, const struct sql_answer *a)
{
	unsigned *done = ctx;

	(void)a;
	__atomic_fetch_add(done, 1, __ATOMIC_SEQ_CST);
}

static void what_cannot_be_sent_is_refused_at_once(void **state)
{
	struct client_request r = write_request();
	struct client_statement big = insert;
	unsigned done = 0;
	struct err e;

	(void)state;
	fake_start();
	client_open(true, 1);
	fake_always(1, DROP);
	assert_int_equal(client_start(caller, &r, ignore_answer, &done, &e), 0);
	assert_int_equal(client_start(caller, &r, ignore_answer, &done, &e), ERR_BUSY);
	/* The caller is free again only when the first is over. */
	client_free(client);
	assert_int_equal(done, 1);
	assert_int_equal(client_start(caller, &r, ignore_answer, &done, &e), ERR_CLOSED);
	caller_free(caller);
	hub_free(hub);

	client_open(true, 1);
	big.text.n = SQL_REQUEST_BYTES_MAX;
	big.text.p = calloc(1, big.text.n);
	r.statements = &big;
	assert_int_equal(client_start(caller, &r, ignore_answer, &done, &e), ERR_LIMIT);
	free((void *)(uintptr_t)big.text.p);
	r = write_request();
	r.statements_n = 0;
	assert_int_equal(client_start(caller, &r, ignore_answer, &done, &e), ERR_INVALID);
	r = write_request();
	r.namespace = "a name that is longer than any name of a namespace may ever be, by far";
	assert_int_equal(client_start(caller, &r, ignore_answer, &done, &e), ERR_INVALID);
	fake_always(1, PROPER);
	assert_int_equal(run_write(), 0);
	client_close();
	fake_stop();
}

static void control_reaches_the_node_that_is_named(void **state)
{
	struct buf body;
	struct err e;

	(void)state;
	fake_start();
	client_open(false, 1);
	buf_init(&body, 1000);
	for (uint32_t i = 1; i <= FAKE_NODES; i++) {
		char name[8];
		snprintf(name, sizeof name, "n%u", i);
		buf_clear(&body);
		assert_int_equal(client_rpc(client, i, RPC_STATUS, slice_of(NULL, 0), 0, &body, &e),
				 0);
		assert_string_equal(buf_str(&body), name);
	}
	assert_int_equal(client_rpc(client, 0, RPC_STATUS, slice_of(NULL, 0), 0, &body, &e), 0);
	assert_int_equal(client_rpc(client, 9, RPC_STATUS, slice_of(NULL, 0), 0, &body, &e),
			 ERR_NOT_FOUND);
	fake_node_down(&fake.nodes[1]);
	int rc = client_rpc(client, 2, RPC_STATUS, slice_of(NULL, 0), 0, &body, &e);
	assert_true(rc == ERR_UNREACHABLE || rc == ERR_CLOSED);
	buf_done(&body);
	client_close();
	fake_stop();
}

static void addresses_and_numbers_that_cannot_be_are_refused(void **state)
{
	struct client_node node = {1, "nowhere"};
	struct client_options o = {.nodes = &node, .nodes_n = 1};
	struct client *c;
	struct err e;

	(void)state;
	hub = fixture_hub(LINK_USER, 7);
	o.hub = hub;
	assert_int_equal(client_new(&c, &o, &e), ERR_INVALID);
	o.nodes_n = 0;
	assert_int_equal(client_new(&c, &o, &e), ERR_INVALID);
	hub_free(hub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_finds_the_leader_and_remembers_it),
		cmocka_unit_test(a_hint_by_id_is_followed_though_only_addresses_were_given),
		cmocka_unit_test(a_hint_to_nowhere_is_ignored),
		cmocka_unit_test(what_was_certainly_not_done_is_sent_again),
		cmocka_unit_test(an_unknown_outcome_is_asked_for_again_with_the_same_sequence),
		cmocka_unit_test(without_a_sequence_an_unknown_outcome_is_told),
		cmocka_unit_test(a_write_that_is_never_answered_is_unknown_at_its_deadline),
		cmocka_unit_test(at_the_deadline_the_last_failure_is_told_if_nothing_was_done),
		cmocka_unit_test(answers_about_the_statement_are_final),
		cmocka_unit_test(a_failure_after_a_try_that_may_have_worked_stays_unknown),
		cmocka_unit_test(a_leader_that_dies_is_replaced_and_nothing_is_done_twice),
		cmocka_unit_test(a_leader_that_hangs_does_not_take_the_whole_deadline),
		cmocka_unit_test(a_link_lost_without_a_sequence_is_an_unknown_outcome),
		cmocka_unit_test(session_reads_ask_for_what_was_seen),
		cmocka_unit_test(a_read_stays_at_the_node_it_was_asked_of),
		cmocka_unit_test(reads_of_many_callers_spread_over_the_nodes),
		cmocka_unit_test(what_cannot_be_sent_is_refused_at_once),
		cmocka_unit_test(control_reaches_the_node_that_is_named),
		cmocka_unit_test(addresses_and_numbers_that_cannot_be_are_refused),
	};
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
