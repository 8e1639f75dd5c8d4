/* Requests, answers and feeds over real links of one process. */
#include "tests/unit/link_fixture.h"

#include "common/clock.h"
#include "common/rpc/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ECHO = 100, KEEP, FAIL, LATER, BIG };

/* A server whose handler answers by method. Kept calls are answered by keeper_answer. */
struct keeper {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct rpc_server *server;
	struct hub *hub;
	char address[64];
	unsigned calls, batches;
	struct rpc_call *kept[20000];
	unsigned kept_n;
	int64_t left_ms;
	char peer[LINK_NAME_MAX];
};

static void handle(void *ctx, struct rpc_call *c)
{
	static uint8_t big[300000];
	struct keeper *k = ctx;
	unsigned method = rpc_call_method(c);

	pthread_mutex_lock(&k->lock);
	k->calls++;
	k->left_ms = rpc_call_left_ms(c);
	strcpy(k->peer, rpc_call_peer(c)->name);
	if (method == KEEP || method == LATER)
		k->kept[k->kept_n++] = c;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
	if (method == ECHO)
		rpc_reply(c, 0, rpc_call_body(c));
	else if (method == FAIL)
		rpc_reply(c, ERR_CONFLICT, slice_str("somebody was first"));
	else if (method == BIG)
		rpc_reply(c, 0, slice_of(big, sizeof big));
}

static void count_batch(void *ctx)
{
	struct keeper *k = ctx;

	pthread_mutex_lock(&k->lock);
	k->batches++;
	pthread_mutex_unlock(&k->lock);
}

static void keeper_start_at(struct keeper *k, const char *address, const struct hub_options *o)
{
	struct err e = {0};

	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->cond, NULL);
	k->calls = k->batches = k->kept_n = 0;
	assert_int_equal(hub_new(&k->hub, o, &e), 0);
	/* The port may take a moment to be free again. */
	int rc = -1;
	for (unsigned i = 0; i < 1000 && rc; i++) {
		rc = rpc_server_new(&k->server, k->hub, address, handle, count_batch, k, &e);
		if (rc)
			fixture_sleep_ms(10);
	}
	assert_int_equal(rc, 0);
	fixture_address(rpc_server_port(k->server), k->address, sizeof k->address);
}

static void keeper_start(struct keeper *k)
{
	struct hub_options o;

	fixture_options(&o, LINK_NODE, 1);
	keeper_start_at(k, "127.0.0.1:0", &o);
}

static void keeper_wait(struct keeper *k, unsigned kept)
{
	pthread_mutex_lock(&k->lock);
	while (k->kept_n < kept)
		pthread_cond_wait(&k->cond, &k->lock);
	pthread_mutex_unlock(&k->lock);
}

static unsigned keeper_batches(struct keeper *k)
{
	pthread_mutex_lock(&k->lock);
	unsigned n = k->batches;
	pthread_mutex_unlock(&k->lock);
	return n;
}

static void keeper_answer(struct keeper *k)
{
	for (unsigned i = 0; i < k->kept_n; i++)
		rpc_reply(k->kept[i], 0, rpc_call_body(k->kept[i]));
	k->kept_n = 0;
}

static void keeper_stop(struct keeper *k)
{
	rpc_server_free(k->server);
	keeper_answer(k);
	hub_free(k->hub);
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->lock);
}

/* What `done` callbacks were told. */
struct tally {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned done, ok, closed, timeout, unreachable, other, wrong;
	unsigned ups, downs;
	int why_code;
	struct rpc_conn *conn;
	unsigned again; /* a done starts this many more */
	/* of a feed */
	unsigned items, gaps;
	uint64_t last_number;
	char last_item[32];
};

static void tally_init(struct tally *t)
{
	*t = (struct tally){0};
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->cond, NULL);
}

static void tally_done(void *ctx, int status, struct slice body)
{
	struct tally *t = ctx;
	bool again;

	pthread_mutex_lock(&t->lock);
	t->ok += status == 0;
	t->closed += status == ERR_CLOSED;
	t->timeout += status == ERR_TIMEOUT;
	t->unreachable += status == ERR_UNREACHABLE;
	t->other += status != 0 && status != ERR_CLOSED && status != ERR_TIMEOUT &&
		    status != ERR_UNREACHABLE;
	t->wrong += status == 0 && body.n != 8;
	again = t->again > 0;
	t->again -= again;
	pthread_mutex_unlock(&t->lock);
	if (again) {
		uint64_t x = 1;
		struct slice part = slice_of(&x, sizeof x);
		rpc_start(t->conn, ECHO, &part, 1, FIXTURE_WAIT_MS, tally_done, t, NULL);
	}
	pthread_mutex_lock(&t->lock);
	t->done++;
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static void tally_state(void *ctx, struct rpc_conn *c, bool up, const struct err *why)
{
	struct tally *t = ctx;

	(void)c;
	pthread_mutex_lock(&t->lock);
	t->ups += up;
	t->downs += !up;
	if (why)
		t->why_code = why->code;
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static void tally_wait(struct tally *t, const unsigned *what, unsigned n)
{
	pthread_mutex_lock(&t->lock);
	while (*what < n)
		pthread_cond_wait(&t->cond, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

static unsigned tally_count(struct tally *t, const unsigned *what)
{
	pthread_mutex_lock(&t->lock);
	unsigned n = *what;
	pthread_mutex_unlock(&t->lock);
	return n;
}

struct client_end {
	struct hub *hub;
	struct rpc_conn *conn;
	struct tally t;
};

static void client_start_at(struct client_end *c, const char *address)
{
	struct link_identity expect = {.kind = LINK_NODE, .node_id = 1};

	tally_init(&c->t);
	c->hub = fixture_hub(LINK_USER, 7);
	assert_int_equal(rpc_conn_new(&c->conn, c->hub, address, &expect, tally_state, &c->t, NULL),
			 0);
	c->t.conn = c->conn;
}

static void client_stop(struct client_end *c)
{
	rpc_conn_free(c->conn);
	hub_free(c->hub);
}

static int start_one(struct client_end *c, unsigned method, uint32_t timeout_ms)
{
	uint64_t x = 42;
	struct slice part = slice_of(&x, sizeof x);

	return rpc_start(c->conn, method, &part, 1, timeout_ms, tally_done, &c->t, NULL);
}

static void an_answer_comes_back_to_who_asked(void **state)
{
	struct keeper k;
	struct client_end c;
	struct buf body;
	struct link_identity peer;
	struct err e;

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	buf_init(&body, 1 << 20);
	assert_int_equal(rpc_wait(c.conn, ECHO, slice_str("hello"), 20000, &body, &e), 0);
	assert_string_equal(buf_str(&body), "hello");
	assert_true(k.left_ms > 0 && k.left_ms <= 20000);
	assert_string_equal(k.peer, "u7");
	assert_int_equal(rpc_wait(c.conn, FAIL, slice_str("x"), 20000, &body, &e), ERR_CONFLICT);
	assert_string_equal(e.text, "somebody was first");
	assert_true(rpc_conn_is_up(c.conn));
	assert_true(rpc_conn_peer(c.conn, &peer));
	assert_int_equal(peer.node_id, 1);
	assert_string_equal(rpc_conn_address(c.conn), k.address);
	body.max = 100;
	buf_done(&body);
	assert_int_equal(rpc_wait(c.conn, BIG, slice_str("x"), 20000, &body, &e), ERR_LIMIT);
	buf_done(&body);
	client_stop(&c);
	keeper_stop(&k);
}

static void many_requests_are_under_way_at_once(void **state)
{
	struct keeper k;
	struct client_end c;

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(start_one(&c, KEEP, FIXTURE_WAIT_MS), 0);
	keeper_wait(&k, 5000);
	assert_int_equal(tally_count(&c.t, &c.t.done), 0);
	assert_true(keeper_batches(&k) < 5000);
	link_hold();
	keeper_answer(&k);
	link_release();
	tally_wait(&c.t, &c.t.done, 5000);
	assert_int_equal(c.t.ok, 5000);
	assert_int_equal(c.t.wrong, 0);
	client_stop(&c);
	keeper_stop(&k);
}

static void callbacks_may_start_the_next_request(void **state)
{
	struct keeper k;
	struct client_end c;

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	c.t.again = 20000;
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(start_one(&c, ECHO, FIXTURE_WAIT_MS), 0);
	tally_wait(&c.t, &c.t.done, 20064);
	assert_int_equal(c.t.ok, 20064);
	/* Started together, they leave and arrive together. */
	assert_true(keeper_batches(&k) < 20064 / 2);
	client_stop(&c);
	keeper_stop(&k);
}

static void a_request_without_an_answer_ends_at_its_deadline(void **state)
{
	struct keeper k;
	struct client_end c;

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(start_one(&c, KEEP, 20 + i * 10), 0);
	assert_int_equal(start_one(&c, KEEP, 3600000), 0);
	tally_wait(&c.t, &c.t.done, 20);
	assert_int_equal(c.t.timeout, 20);
	/* Late answers are for nobody. */
	keeper_wait(&k, 21);
	keeper_answer(&k);
	tally_wait(&c.t, &c.t.done, 21);
	assert_int_equal(c.t.ok, 1);
	client_stop(&c);
	keeper_stop(&k);
}

static void requests_under_way_fail_as_closed_when_the_link_is_lost(void **state)
{
	struct keeper k;
	struct client_end c;

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(start_one(&c, KEEP, 3600000), 0);
	keeper_wait(&k, 100);
	rpc_server_free(k.server);
	tally_wait(&c.t, &c.t.done, 100);
	assert_int_equal(c.t.closed, 100);
	tally_wait(&c.t, &c.t.downs, 1);
	assert_int_equal(c.t.why_code, ERR_CLOSED);
	/* Answers after the server's end go nowhere. */
	keeper_answer(&k);
	hub_free(k.hub);
	client_stop(&c);
}

static void a_connection_comes_back_when_the_server_does(void **state)
{
	struct keeper k;
	struct client_end c;
	struct hub_options o;
	char address[64];
	struct err e;

	(void)state;
	fixture_options(&o, LINK_NODE, 1);
	keeper_start_at(&k, "127.0.0.1:0", &o);
	strcpy(address, k.address);
	client_start_at(&c, address);
	for (unsigned round = 0; round < 5; round++) {
		tally_wait(&c.t, &c.t.ups, round + 1);
		assert_int_equal(rpc_wait(c.conn, ECHO, slice_str("x"), 20000, NULL, &e), 0);
		keeper_stop(&k);
		tally_wait(&c.t, &c.t.downs, round + 1);
		/* Not up: refused at once or after a dial that fails; certainly not done. */
		assert_int_equal(rpc_wait(c.conn, ECHO, slice_str("x"), 20000, NULL, &e),
				 ERR_UNREACHABLE);
		keeper_start_at(&k, address, &o);
		rpc_conn_nudge(c.conn);
	}
	tally_wait(&c.t, &c.t.ups, 6);
	client_stop(&c);
	keeper_stop(&k);
	assert_int_equal(c.t.ups, 6);
}

static void a_request_waits_for_a_connection_being_made(void **state)
{
	struct keeper k;
	struct client_end c;

	(void)state;
	keeper_start(&k);
	/* Started right after rpc_conn_new, before any link is open. */
	client_start_at(&c, k.address);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(start_one(&c, ECHO, FIXTURE_WAIT_MS), 0);
	tally_wait(&c.t, &c.t.done, 50);
	assert_int_equal(c.t.ok, 50);
	client_stop(&c);
	keeper_stop(&k);
}

static void nobody_there_is_unreachable(void **state)
{
	struct client_end c;
	char address[64];

	(void)state;
	fixture_address(fixture_free_port(), address, sizeof address);
	client_start_at(&c, address);
	unsigned started = 0;
	for (unsigned i = 0; i < 10; i++) {
		int rc = start_one(&c, ECHO, FIXTURE_WAIT_MS);
		assert_true(rc == 0 || rc == ERR_UNREACHABLE);
		started += rc == 0;
	}
	tally_wait(&c.t, &c.t.done, started);
	assert_int_equal(c.t.unreachable, started);
	tally_wait(&c.t, &c.t.downs, 1);
	assert_int_equal(c.t.why_code, ERR_UNREACHABLE);
	assert_false(rpc_conn_is_up(c.conn));
	client_stop(&c);
	/* Told once, however many dials failed. */
	assert_int_equal(c.t.downs, 1);
}

static void another_node_at_the_address_is_not_talked_to(void **state)
{
	struct keeper k;
	struct client_end c;
	struct hub_options o;

	(void)state;
	fixture_options(&o, LINK_NODE, 2);
	keeper_start_at(&k, "127.0.0.1:0", &o);
	client_start_at(&c, k.address);
	int rc = start_one(&c, ECHO, FIXTURE_WAIT_MS);
	if (rc == 0)
		tally_wait(&c.t, &c.t.unreachable, 1);
	else
		assert_int_equal(rc, ERR_UNREACHABLE);
	tally_wait(&c.t, &c.t.downs, 1);
	assert_int_equal(c.t.why_code, ERR_AUTH);
	assert_int_equal(k.calls, 0);
	client_stop(&c);
	keeper_stop(&k);
}

static void freeing_a_connection_ends_what_is_under_way(void **state)
{
	struct keeper k;
	struct client_end c;

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(start_one(&c, KEEP, 3600000), 0);
	keeper_wait(&k, 200);
	client_stop(&c);
	assert_int_equal(c.t.done, 200);
	assert_int_equal(c.t.closed, 200);
	keeper_stop(&k);
}

static void an_answer_too_large_for_a_frame_is_told_as_such(void **state)
{
	struct keeper k;
	struct client_end c;
	struct hub_options o;
	struct err e;

	(void)state;
	fixture_options(&o, LINK_NODE, 1);
	o.frame_bytes_max = 200000;
	keeper_start_at(&k, "127.0.0.1:0", &o);
	client_start_at(&c, k.address);
	assert_int_equal(rpc_wait(c.conn, BIG, slice_str("x"), 20000, NULL, &e), ERR_LIMIT);
	client_stop(&c);
	keeper_stop(&k);
}

static void answers_that_pile_up_are_of_unknown_outcome(void **state)
{
	static struct keeper k;
	struct client_end c;
	struct hub_options o;

	(void)state;
	fixture_options(&o, LINK_NODE, 1);
	o.queue_bytes_max = 1000000;
	keeper_start_at(&k, "127.0.0.1:0", &o);
	client_start_at(&c, k.address);
	/* Nothing is written while the thread holds, so the answers must pile up. */
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(start_one(&c, KEEP, FIXTURE_WAIT_MS), 0);
	keeper_wait(&k, 200);
	uint8_t *big = calloc(1, 100000);
	link_hold();
	pthread_mutex_lock(&c.t.lock); /* the client stops reading once it has the first answer */
	for (unsigned i = 0; i < 200; i++)
		rpc_reply(k.kept[i], 0, slice_of(big, 100000));
	k.kept_n = 0;
	pthread_mutex_unlock(&c.t.lock);
	link_release();
	free(big);
	tally_wait(&c.t, &c.t.done, 200);
	/* All were answered; those that did not fit say so. */
	assert_int_equal(c.t.ok + c.t.other, 200);
	assert_true(c.t.ok > 0);
	assert_true(c.t.other > 0);
	client_stop(&c);
	keeper_stop(&k);
}

static void on_item(void *ctx, const char *topic, uint64_t number, struct slice item)
{
	struct tally *t = ctx;

	(void)topic;
	pthread_mutex_lock(&t->lock);
	t->items++;
	t->gaps += number != t->last_number + 1;
	t->last_number = number;
	snprintf(t->last_item, sizeof t->last_item, "%.*s", (int)item.n, (const char *)item.p);
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static void wait_for_subscriber(struct keeper *k, const char *topic)
{
	while (!rpc_has_subscribers(k->server, topic))
		fixture_sleep_ms(1);
}

static void a_feed_is_numbered_and_renewed_after_a_reconnection(void **state)
{
	struct keeper k;
	struct client_end c;
	struct hub_options o;
	char address[64], long_topic[64];
	struct err e;

	(void)state;
	fixture_options(&o, LINK_NODE, 1);
	keeper_start_at(&k, "127.0.0.1:0", &o);
	strcpy(address, k.address);
	client_start_at(&c, address);
	assert_false(rpc_has_subscribers(k.server, "events"));
	rpc_publish(k.server, "events", slice_str("nobody hears this"));
	assert_int_equal(rpc_subscribe(c.conn, "events", on_item, &c.t, &e), 0);
	assert_int_equal(rpc_subscribe(c.conn, "events", on_item, &c.t, &e), ERR_EXISTS);
	memset(long_topic, 'x', sizeof long_topic);
	long_topic[63] = 0;
	assert_int_equal(rpc_subscribe(c.conn, long_topic, on_item, &c.t, &e), ERR_INVALID);
	wait_for_subscriber(&k, "events");
	assert_false(rpc_has_subscribers(k.server, "log"));
	rpc_publish(k.server, "log", slice_str("not asked for"));
	for (unsigned i = 0; i < 1000; i++)
		rpc_publish(k.server, "events", slice_str(i < 999 ? "item" : "last"));
	tally_wait(&c.t, &c.t.items, 1000);
	assert_int_equal(c.t.gaps, 0);
	assert_int_equal(c.t.last_number, 1000);
	assert_string_equal(c.t.last_item, "last");

	keeper_stop(&k);
	tally_wait(&c.t, &c.t.downs, 1);
	keeper_start_at(&k, address, &o);
	rpc_conn_nudge(c.conn);
	wait_for_subscriber(&k, "events");
	rpc_publish(k.server, "events", slice_str("again"));
	tally_wait(&c.t, &c.t.items, 1001);
	assert_int_equal(c.t.last_number, 1);
	assert_string_equal(c.t.last_item, "again");
	client_stop(&c);
	keeper_stop(&k);
}

static void a_slow_subscriber_sees_a_gap_and_holds_up_nobody(void **state)
{
	struct keeper k;
	struct client_end c;
	uint8_t *item = calloc(1, 100000);

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	assert_int_equal(rpc_subscribe(c.conn, "stats", on_item, &c.t, NULL), 0);
	wait_for_subscriber(&k, "stats");
	/* Its callback waits for this lock, so it reads no further. */
	pthread_mutex_lock(&c.t.lock);
	for (unsigned i = 0; i < 400; i++)
		rpc_publish(k.server, "stats", slice_of(item, 100000));
	pthread_mutex_unlock(&c.t.lock);
	/* When it reads again, what is published next follows the gap. */
	assert_true(hub_flush(k.hub, FIXTURE_WAIT_MS));
	rpc_publish(k.server, "stats", slice_str("after"));
	pthread_mutex_lock(&c.t.lock);
	while (strcmp(c.t.last_item, "after") != 0)
		pthread_cond_wait(&c.t.cond, &c.t.lock);
	assert_int_equal(c.t.last_number, 401);
	assert_true(c.t.items < 401);
	assert_true(c.t.gaps >= 1);
	pthread_mutex_unlock(&c.t.lock);
	free(item);
	client_stop(&c);
	keeper_stop(&k);
}

static void unknown_frames_cost_the_peer_its_link_only(void **state)
{
	struct keeper k;
	struct client_end c;
	struct hub *h = fixture_hub(LINK_USER, 8);
	struct recorder r;
	struct link *l;
	const uint8_t types[] = {0x01, RPC_FRAME_REPLY, RPC_FRAME_ITEM, RPC_FRAME_REQUEST,
				 RPC_FRAME_SUBSCRIBE};

	(void)state;
	keeper_start(&k);
	client_start_at(&c, k.address);
	for (unsigned i = 0; i < sizeof types; i++) {
		struct slice body = slice_of("junk!", 5);
		recorder_init(&r);
		struct link_events ev = recorder_events(&r);
		assert_int_equal(link_dial(h, k.address, LINK_RPC, NULL, &ev, &l, NULL), 0);
		assert_true(recorder_wait(&r, &r.opened, 1));
		assert_int_equal(link_send(l, types[i], &body, 1), 0);
		assert_true(recorder_wait(&r, &r.closed, 1));
		link_unref(l);
		recorder_done(&r);
	}
	assert_int_equal(start_one(&c, ECHO, FIXTURE_WAIT_MS), 0);
	tally_wait(&c.t, &c.t.ok, 1);
	hub_free(h);
	client_stop(&c);
	keeper_stop(&k);
}

#define STORM_CONNS 6

static void servers_and_connections_end_under_load_in_any_order(void **state)
{
	struct keeper k;
	struct client_end c[STORM_CONNS];
	uint64_t seed = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 15; round++) {
		unsigned left = STORM_CONNS;
		keeper_start(&k);
		for (unsigned i = 0; i < STORM_CONNS; i++) {
			client_start_at(&c[i], k.address);
			c[i].t.again = 1000000;
			for (unsigned n = 0; n < 20; n++)
				start_one(&c[i], n % 10 ? ECHO : KEEP, 3600000);
		}
		fixture_sleep_ms(fixture_random(&seed) % 20);
		for (; left > STORM_CONNS / 2; left--)
			client_stop(&c[left - 1]);
		keeper_stop(&k);
		for (; left > 0; left--)
			client_stop(&c[left - 1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_comes_back_to_who_asked),
		cmocka_unit_test(many_requests_are_under_way_at_once),
		cmocka_unit_test(callbacks_may_start_the_next_request),
		cmocka_unit_test(a_request_without_an_answer_ends_at_its_deadline),
		cmocka_unit_test(requests_under_way_fail_as_closed_when_the_link_is_lost),
		cmocka_unit_test(a_connection_comes_back_when_the_server_does),
		cmocka_unit_test(a_request_waits_for_a_connection_being_made),
		cmocka_unit_test(nobody_there_is_unreachable),
		cmocka_unit_test(another_node_at_the_address_is_not_talked_to),
		cmocka_unit_test(freeing_a_connection_ends_what_is_under_way),
		cmocka_unit_test(an_answer_too_large_for_a_frame_is_told_as_such),
		cmocka_unit_test(answers_that_pile_up_are_of_unknown_outcome),
		cmocka_unit_test(a_feed_is_numbered_and_renewed_after_a_reconnection),
		cmocka_unit_test(a_slow_subscriber_sees_a_gap_and_holds_up_nobody),
		cmocka_unit_test(unknown_frames_cost_the_peer_its_link_only),
		cmocka_unit_test(servers_and_connections_end_under_load_in_any_order),
	};
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
