/* The cluster client with many callers on few connections. */
#include "tests/unit/fake_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct hub *hub;
static struct client *client;

static void client_open(uint32_t connections)
{
	struct client_node nodes[FAKE_NODES];
	struct client_options o = {
		.nodes = nodes,
		.nodes_n = FAKE_NODES,
		.connections = connections,
		.timeout_ms = FIXTURE_WAIT_MS,
	};

	hub = fixture_hub(LINK_USER, 7);
	o.hub = hub;
	for (unsigned i = 0; i < FAKE_NODES; i++)
		nodes[i] = (struct client_node){i + 1, fake.nodes[i].address};
	assert_int_equal(client_new(&client, &o, NULL), 0);
}

static struct client_stats client_counts(void)
{
	struct client_stats st;

	client_stats(client, &st);
	return st;
}

static struct client_request write_request(void)
{
	static const struct client_statement insert = {
		.text = {(const uint8_t *)"INSERT INTO t VALUES(1)", 23},
	};

	return (struct client_request){.mode = SQL_WRITE, .statements = &insert, .statements_n = 1};
}

#define CALLERS 256
#define EACH 40

struct crowd {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned left;
};

struct one {
	struct crowd *crowd;
	struct caller *caller;
	unsigned left, ok, bad;
};

static void one_done(void *ctx, const struct sql_answer *a)
{
	struct one *o = ctx;
	struct client_request r = write_request();

	o->ok += a->status == 0;
	o->bad += a->status != 0;
	if (--o->left > 0 && client_start(o->caller, &r, one_done, o, NULL) == 0)
		return;
	struct crowd *crowd = o->crowd;
	pthread_mutex_lock(&crowd->lock);
	crowd->left--;
	pthread_cond_signal(&crowd->cond);
	pthread_mutex_unlock(&crowd->lock);
}

static void crowd_start(struct crowd *crowd, struct one *ones, unsigned each)
{
	struct client_request r = write_request();

	pthread_mutex_init(&crowd->lock, NULL);
	pthread_cond_init(&crowd->cond, NULL);
	crowd->left = CALLERS;
	for (unsigned i = 0; i < CALLERS; i++) {
		ones[i] = (struct one){.crowd = crowd, .left = each};
		assert_int_equal(caller_new(&ones[i].caller, client, NULL), 0);
	}
	for (unsigned i = 0; i < CALLERS; i++)
		assert_int_equal(client_start(ones[i].caller, &r, one_done, &ones[i], NULL), 0);
}

static void crowd_wait(struct crowd *crowd)
{
	pthread_mutex_lock(&crowd->lock);
	while (crowd->left > 0)
		pthread_cond_wait(&crowd->cond, &crowd->lock);
	pthread_mutex_unlock(&crowd->lock);
}

static void many_callers_share_few_connections_through_changes_of_leader(void **state)
{
	static struct one ones[CALLERS];
	struct crowd crowd;
	const enum behaviour some[] = {
		SAY_UNKNOWN, EXECUTE_AND_SAY_UNKNOWN, SAY_BUSY,	  SAY_NO_QUORUM, SAY_NOT_LEADER,
		WRONG_HINT,  EXECUTE_AND_SAY_UNKNOWN, RPC_UNKNOWN};

	(void)state;
	fake_start();
	client_open(8);
	crowd_start(&crowd, ones, EACH);
	for (unsigned i = 0; i < 9; i++) {
		fixture_sleep_ms(5);
		fake_script(1 + i % FAKE_NODES, sizeof some / sizeof *some, some);
		fake_lead(1 + (i + 1) % FAKE_NODES);
		if (i % 3 == 2) {
			/* Its links break under way. */
			fake_node_down(&fake.nodes[i % FAKE_NODES]);
			fake_node_up(&fake.nodes[i % FAKE_NODES]);
		}
	}
	crowd_wait(&crowd);
	for (unsigned i = 0; i < CALLERS; i++) {
		assert_int_equal(ones[i].ok, EACH);
		caller_free(ones[i].caller);
	}
	/* Each once, though many were sent more than once. */
	assert_int_equal(fake_writes(), CALLERS * EACH);
	assert_int_equal(client_counts().requests, CALLERS * EACH);
	assert_true(client_counts().resends > 0);
	client_free(client);
	hub_free(hub);
	fake_stop();
}

static void a_client_ends_with_requests_under_way_and_waiting(void **state)
{
	static struct one ones[CALLERS];
	struct crowd crowd;

	(void)state;
	fake_start();
	for (unsigned round = 0; round < 6; round++) {
		client_open(4);
		fake_always(1, round % 2 ? SAY_BUSY : DROP);
		fake_always(2, SAY_NO_QUORUM);
		crowd_start(&crowd, ones, 1);
		fixture_sleep_ms(round * 3);
		client_free(client);
		assert_int_equal(crowd.left, 0);
		for (unsigned i = 0; i < CALLERS; i++) {
			assert_int_equal(ones[i].ok + ones[i].bad, 1);
			caller_free(ones[i].caller);
		}
		hub_free(hub);
	}
	fake_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_callers_share_few_connections_through_changes_of_leader),
		cmocka_unit_test(a_client_ends_with_requests_under_way_and_waiting),
	};
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
