/* The cluster client against a scripted cluster: three RPC servers that answer as told and keep
 * count of what they executed. */
#include "link_fixture.h"

#include "common/client.h"
#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES 3
#define EXECUTED_MAX (1u << 16)

enum behaviour {
	PROPER, /* the leader executes, the others say who leads */
	SAY_BUSY,
	SAY_NO_QUORUM,
	SAY_NOT_LEADER, /* without a hint */
	WRONG_HINT,	/* to an address nobody has */
	SAY_UNKNOWN,	/* without having executed it */
	EXECUTE_AND_SAY_UNKNOWN,
	EXECUTE_AND_DROP, /* never answers */
	DROP,
	NONSENSE,
	SAY_CONFLICT,
	SAY_TIMEOUT,
	RPC_REFUSED, /* the RPC itself fails */
	RPC_UNKNOWN,
};

struct executed {
	uint64_t client, sequence;
	unsigned times;
};

struct fake_node {
	struct fake_cluster *cluster;
	struct hub *hub;
	struct rpc_server *server;
	struct hub_options options;
	char address[64];
	uint32_t id;
	enum behaviour script[64]; /* of the next requests; then PROPER */
	unsigned script_n, script_at;
	enum behaviour always; /* after the script */
	unsigned requests;
	struct rpc_call *dropped[4096];
	unsigned dropped_n;
};

static struct fake_cluster {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct fake_node nodes[NODES];
	uint32_t leader;
	bool hint_by_id_only;
	struct executed executed[EXECUTED_MAX];
	uint64_t index, group;
	unsigned writes; /* executed, duplicates not counted */
	unsigned twice;	 /* executed a second time: must never be */
	struct sql_request last;
	char last_namespace[SQL_NAMESPACE_MAX];
	unsigned unsequenced;
} cluster;

static struct executed *executed_find(uint64_t client, uint64_t sequence)
{
	uint32_t at = (uint32_t)((client ^ client >> 32) * 31 + sequence);

	for (;; at++) {
		struct executed *x = &cluster.executed[at % EXECUTED_MAX];
		if ((x->client == client && x->sequence == sequence) || x->times == 0) {
			x->client = client;
			x->sequence = sequence;
			return x;
		}
	}
}

/* Exactly once, as the agent does it: a known (client, sequence) only repeats its answer. */
static void execute(const struct sql_request *q)
{
	if (q->mode == SQL_READ)
		return;
	if (q->client == 0) {
		cluster.unsequenced++;
		cluster.index++;
		return;
	}
	struct executed *x = executed_find(q->client, q->sequence);
	if (x->times == 0) {
		x->times = 1;
		cluster.writes++;
		cluster.index++;
	}
}

static void answer_with(struct rpc_call *c, struct sql_answer *a)
{
	struct buf b;

	a->offset = -1;
	a->group = cluster.group;
	buf_init(&b, 1 << 16);
	if (a->status == 0) {
		struct buf r;
		buf_init(&r, 1000);
		a->index = cluster.index;
		sql_result_done(&r, 1, 7);
		a->results_n = 1;
		a->results = buf_slice(&r);
		sql_answer_encode(&b, a);
		buf_done(&r);
	} else {
		if (!a->message.n)
			a->message = slice_str(err_name(a->status));
		sql_answer_encode(&b, a);
	}
	rpc_reply(c, 0, buf_slice(&b));
	buf_done(&b);
}

static void answer_status(struct rpc_call *c, int status)
{
	struct sql_answer a = {.status = status};

	answer_with(c, &a);
}

static void answer_properly(struct fake_node *n, struct rpc_call *c, const struct sql_request *q)
{
	struct sql_answer a = {0};
	bool leads = cluster.leader == n->id;

	if (leads || (q->mode == SQL_READ && q->level != SQL_LINEARIZABLE)) {
		execute(q);
	} else {
		a.status = ERR_NOT_LEADER;
		a.leader_id = cluster.leader;
		if (cluster.leader && !cluster.hint_by_id_only)
			a.leader_rpc = slice_str(cluster.nodes[cluster.leader - 1].address);
	}
	answer_with(c, &a);
}

static void behave(struct fake_node *n, struct rpc_call *c, const struct sql_request *q,
		   enum behaviour how)
{
	struct sql_answer a = {0};

	switch (how) {
	case PROPER:
		answer_properly(n, c, q);
		break;
	case SAY_BUSY:
		answer_status(c, ERR_BUSY);
		break;
	case SAY_NO_QUORUM:
		answer_status(c, ERR_NO_QUORUM);
		break;
	case SAY_NOT_LEADER:
		answer_status(c, ERR_NOT_LEADER);
		break;
	case WRONG_HINT:
		a.status = ERR_NOT_LEADER;
		a.leader_id = 99;
		a.leader_rpc = slice_str("10.9.9.9:1");
		answer_with(c, &a);
		break;
	case EXECUTE_AND_SAY_UNKNOWN:
		execute(q);
		answer_status(c, ERR_UNKNOWN_OUTCOME);
		break;
	case SAY_UNKNOWN:
		answer_status(c, ERR_UNKNOWN_OUTCOME);
		break;
	case EXECUTE_AND_DROP:
		execute(q);
		n->dropped[n->dropped_n++] = c;
		break;
	case DROP:
		n->dropped[n->dropped_n++] = c;
		break;
	case NONSENSE:
		rpc_reply(c, 0, slice_str("this is no answer"));
		break;
	case SAY_CONFLICT:
		answer_status(c, ERR_CONFLICT);
		break;
	case SAY_TIMEOUT:
		answer_status(c, ERR_TIMEOUT);
		break;
	case RPC_REFUSED:
		rpc_reply(c, ERR_AUTH, slice_str("you may not"));
		break;
	case RPC_UNKNOWN:
		execute(q);
		rpc_reply(c, ERR_UNKNOWN_OUTCOME, slice_str("the link was too slow"));
		break;
	}
}

static void handle(void *ctx, struct rpc_call *c)
{
	struct fake_node *n = ctx;
	struct sql_request q;

	pthread_mutex_lock(&cluster.lock);
	if (rpc_call_method(c) != RPC_SQL) {
		rpc_reply(c, 0, slice_str(n->options.self.name));
	} else if (!sql_request_decode(rpc_call_body(c), &q)) {
		answer_status(c, ERR_INVALID);
	} else {
		enum behaviour how = n->always;
		n->requests++;
		cluster.last = q;
		memcpy(cluster.last_namespace, q.namespace.p, q.namespace.n);
		cluster.last_namespace[q.namespace.n] = 0;
		if (n->script_at < n->script_n)
			how = n->script[n->script_at++];
		behave(n, c, &q, how);
	}
	pthread_cond_broadcast(&cluster.cond);
	pthread_mutex_unlock(&cluster.lock);
}

static void node_up(struct fake_node *n)
{
	struct err e = {0};
	int rc = -1;

	if (n->server)
		return;
	for (unsigned i = 0; i < 1000 && rc; i++) {
		rc = rpc_server_new(&n->server, n->hub, n->address, handle, NULL, n, &e);
		if (rc)
			fixture_sleep_ms(5);
	}
	assert_int_equal(rc, 0);
	fixture_address(rpc_server_port(n->server), n->address, sizeof n->address);
}

static void node_down(struct fake_node *n)
{
	if (n->server)
		rpc_server_free(n->server);
	n->server = NULL;
	for (unsigned i = 0; i < n->dropped_n; i++)
		rpc_reply(n->dropped[i], ERR_CLOSED, slice_of(NULL, 0));
	n->dropped_n = 0;
}

static void cluster_start(void)
{
	memset(&cluster, 0, sizeof cluster);
	pthread_mutex_init(&cluster.lock, NULL);
	pthread_cond_init(&cluster.cond, NULL);
	cluster.leader = 1;
	cluster.group = 1;
	cluster.index = 100;
	for (uint32_t i = 0; i < NODES; i++) {
		struct fake_node *n = &cluster.nodes[i];
		n->id = i + 1;
		fixture_options(&n->options, LINK_NODE, n->id);
		assert_int_equal(hub_new(&n->hub, &n->options, NULL), 0);
		strcpy(n->address, "127.0.0.1:0");
		node_up(n);
	}
}

static void cluster_stop(void)
{
	for (unsigned i = 0; i < NODES; i++) {
		node_down(&cluster.nodes[i]);
		hub_free(cluster.nodes[i].hub);
	}
}

static void script(unsigned node, unsigned n, const enum behaviour *what)
{
	pthread_mutex_lock(&cluster.lock);
	struct fake_node *f = &cluster.nodes[node - 1];
	memcpy(f->script, what, n * sizeof *what);
	f->script_n = n;
	f->script_at = 0;
	pthread_mutex_unlock(&cluster.lock);
}

static void always(unsigned node, enum behaviour what)
{
	pthread_mutex_lock(&cluster.lock);
	cluster.nodes[node - 1].always = what;
	pthread_mutex_unlock(&cluster.lock);
}

static void set_leader(uint32_t id)
{
	pthread_mutex_lock(&cluster.lock);
	cluster.leader = id;
	pthread_mutex_unlock(&cluster.lock);
}

static unsigned requests_of(unsigned node)
{
	pthread_mutex_lock(&cluster.lock);
	unsigned n = cluster.nodes[node - 1].requests;
	pthread_mutex_unlock(&cluster.lock);
	return n;
}

static unsigned writes(void)
{
	pthread_mutex_lock(&cluster.lock);
	unsigned n = cluster.writes;
	pthread_mutex_unlock(&cluster.lock);
	return n;
}

static unsigned unsequenced(void)
{
	pthread_mutex_lock(&cluster.lock);
	unsigned n = cluster.unsequenced;
	pthread_mutex_unlock(&cluster.lock);
	return n;
}

static struct sql_request last_request(void)
{
	pthread_mutex_lock(&cluster.lock);
	struct sql_request q = cluster.last;
	pthread_mutex_unlock(&cluster.lock);
	return q;
}

static struct hub *hub;
static struct client *client;
static struct caller *caller;

static void client_open(bool with_ids, uint32_t connections)
{
	struct client_node nodes[NODES];
	struct client_options o = {
		.nodes = nodes,
		.nodes_n = NODES,
		.connections = connections,
		.timeout_ms = FIXTURE_WAIT_MS,
	};
	struct err e;

	hub = fixture_hub(LINK_USER, 7);
	o.hub = hub;
	for (unsigned i = 0; i < NODES; i++)
		nodes[i] = (struct client_node){with_ids ? i + 1 : 0, cluster.nodes[i].address};
	assert_int_equal(client_new(&client, &o, &e), 0);
	assert_int_equal(caller_new(&caller, client, &e), 0);
	/* So that "the first node asked" is the same one in each run. */
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && cluster.nodes[i].server; ms++) {
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
	cluster_start();
	set_leader(3);
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(requests_of(3), 1);
	assert_int_equal(client_counts().redirects, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(run_write(), 0);
	assert_int_equal(requests_of(3), 3);
	assert_int_equal(requests_of(1) + requests_of(2), 1);
	assert_int_equal(client_counts().redirects, 1);
	/* It moves: one hint is enough. */
	set_leader(2);
	assert_int_equal(run_write(), 0);
	assert_int_equal(requests_of(2), 1);
	assert_int_equal(client_counts().redirects, 2);
	assert_int_equal(writes(), 4);
	client_close();
	cluster_stop();
}

static void a_hint_by_id_is_followed_though_only_addresses_were_given(void **state)
{
	(void)state;
	cluster_start();
	set_leader(3);
	cluster.hint_by_id_only = true;
	client_open(false, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(client_counts().redirects, 1);
	assert_int_equal(requests_of(3), 1);
	client_close();
	cluster_stop();
}

static void a_hint_to_nowhere_is_ignored(void **state)
{
	const enum behaviour wrong[] = {WRONG_HINT, WRONG_HINT};

	(void)state;
	cluster_start();
	for (unsigned i = 1; i <= NODES; i++)
		script(i, 2, wrong);
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	assert_int_equal(writes(), 1);
	client_close();
	cluster_stop();
}

static void what_was_certainly_not_done_is_sent_again(void **state)
{
	const enum behaviour bad[] = {SAY_BUSY,	      SAY_BUSY,	     SAY_NO_QUORUM,
				      SAY_NOT_LEADER, SAY_NO_QUORUM, SAY_BUSY};

	(void)state;
	cluster_start();
	client_open(true, 1);
	script(1, sizeof bad / sizeof *bad, bad);
	assert_int_equal(run_write(), 0);
	assert_int_equal(writes(), 1);
	assert_int_equal(client_counts().unknown, 0);
	/* The same for one that may be sent only once. */
	script(1, sizeof bad / sizeof *bad, bad);
	struct client_request r = write_request();
	r.no_sequence = true;
	assert_int_equal(run(&r), 0);
	assert_int_equal(unsequenced(), 1);
	client_close();
	cluster_stop();
}

static void an_unknown_outcome_is_asked_for_again_with_the_same_sequence(void **state)
{
	const enum behaviour bad[] = {EXECUTE_AND_SAY_UNKNOWN, SAY_UNKNOWN, RPC_UNKNOWN};

	(void)state;
	cluster_start();
	client_open(true, 1);
	for (unsigned i = 0; i < 10; i++) {
		script(1, 3, bad);
		assert_int_equal(run_write(), 0);
	}
	assert_int_equal(writes(), 10);
	assert_int_equal(last_request().sequence, 10);
	assert_true(last_request().client == caller_id(caller));
	assert_int_equal(client_counts().resends, 30);
	assert_int_equal(client_counts().failed, 0);
	client_close();
	cluster_stop();
}

static void without_a_sequence_an_unknown_outcome_is_told(void **state)
{
	const enum behaviour unknown[] = {SAY_UNKNOWN};
	struct client_request r = write_request();

	(void)state;
	cluster_start();
	client_open(true, 1);
	r.no_sequence = true;
	script(1, 1, unknown);
	assert_int_equal(run(&r), ERR_UNKNOWN_OUTCOME);
	assert_int_equal(last_request().client, 0);
	assert_int_equal(last_request().sequence, 0);
	assert_int_equal(client_counts().unknown, 1);
	assert_int_equal(client_counts().resends, 0);
	assert_int_equal(run_write(), 0);
	assert_int_equal(last_request().sequence, 1);
	client_close();
	cluster_stop();
}

static void a_write_that_is_never_answered_is_unknown_at_its_deadline(void **state)
{
	struct client_request r = write_request();

	(void)state;
	cluster_start();
	client_open(true, 1);
	always(1, EXECUTE_AND_DROP);
	r.timeout_ms = 200;
	assert_int_equal(run(&r), ERR_UNKNOWN_OUTCOME);
	r.no_sequence = true;
	assert_int_equal(run(&r), ERR_UNKNOWN_OUTCOME);
	assert_int_equal(unsequenced(), 1);
	struct client_request q = read_request(SQL_LINEARIZABLE);
	q.timeout_ms = 200;
	assert_int_equal(run(&q), ERR_TIMEOUT);
	client_close();
	cluster_stop();
}

static void at_the_deadline_the_last_failure_is_told_if_nothing_was_done(void **state)
{
	struct client_request r = write_request();

	(void)state;
	cluster_start();
	client_open(true, 1);
	r.timeout_ms = 150;
	always(1, SAY_BUSY);
	assert_int_equal(run(&r), ERR_BUSY);
	always(1, SAY_NO_QUORUM);
	always(2, SAY_NO_QUORUM);
	always(3, SAY_NO_QUORUM);
	assert_int_equal(run(&r), ERR_NO_QUORUM);
	for (unsigned i = 0; i < NODES; i++)
		node_down(&cluster.nodes[i]);
	/* The first may still have caught a link on its way down: then it was sent. */
	int rc = run(&r);
	assert_true(rc == ERR_UNREACHABLE || rc == ERR_UNKNOWN_OUTCOME);
	assert_int_equal(run(&r), ERR_UNREACHABLE);
	assert_int_equal(writes(), 0);
	client_close();
	cluster_stop();
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
	cluster_start();
	client_open(true, 1);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		unsigned before = requests_of(1);
		script(1, 1, &cases[i].how);
		assert_int_equal(run_write(), cases[i].status);
		assert_int_equal(requests_of(1), before + 1);
	}
	script(1, 1, &cases[3].how);
	struct client_request q = read_request(SQL_LINEARIZABLE);
	assert_int_equal(run(&q), ERR_PROTOCOL);
	client_close();
	cluster_stop();
}

static void a_failure_after_a_try_that_may_have_worked_stays_unknown(void **state)
{
	const enum behaviour bad[] = {EXECUTE_AND_SAY_UNKNOWN, SAY_TIMEOUT};

	(void)state;
	cluster_start();
	client_open(true, 1);
	script(1, 2, bad);
	assert_int_equal(run_write(), ERR_UNKNOWN_OUTCOME);
	client_close();
	cluster_stop();
}

static void a_leader_that_dies_is_replaced_and_nothing_is_done_twice(void **state)
{
	(void)state;
	cluster_start();
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	for (uint32_t round = 0; round < 6; round++) {
		unsigned old = round % NODES, new = (round + 1) % NODES;
		set_leader(old + 1);
		assert_int_equal(run_write(), 0);
		/* It executes the next one, and dies before it can answer. */
		always(old + 1, EXECUTE_AND_DROP);
		struct background b = {.r = write_request()};
		unsigned before = requests_of(old + 1);
		background_start(&b);
		while (requests_of(old + 1) == before)
			fixture_sleep_ms(1);
		node_down(&cluster.nodes[old]);
		set_leader(new + 1);
		pthread_join(b.thread, NULL);
		assert_int_equal(b.rc, 0);
		/* And the client goes on without it. */
		assert_int_equal(run_write(), 0);
		always(old + 1, PROPER);
		node_up(&cluster.nodes[old]);
	}
	assert_int_equal(writes(), 1 + 6 * 3);
	assert_int_equal(last_request().sequence, 1 + 6 * 3);
	client_close();
	cluster_stop();
}

static void a_leader_that_hangs_does_not_take_the_whole_deadline(void **state)
{
	(void)state;
	cluster_start();
	client_open(true, 1);
	assert_int_equal(run_write(), 0);
	always(1, DROP);
	set_leader(2);
	/* Deadline 30 s; the try at node 1 ends before. */
	assert_int_equal(run_write(), 0);
	assert_int_equal(requests_of(2), 1);
	assert_int_equal(writes(), 2);
	client_close();
	cluster_stop();
}

static void a_link_lost_without_a_sequence_is_an_unknown_outcome(void **state)
{
	struct background b = {.r = write_request()};

	(void)state;
	cluster_start();
	client_open(true, 1);
	always(1, EXECUTE_AND_DROP);
	b.r.no_sequence = true;
	background_start(&b);
	while (requests_of(1) == 0)
		fixture_sleep_ms(1);
	set_leader(2);
	node_down(&cluster.nodes[0]);
	pthread_join(b.thread, NULL);
	assert_int_equal(b.rc, ERR_UNKNOWN_OUTCOME);
	assert_int_equal(unsequenced(), 1);
	assert_int_equal(requests_of(2), 0);
	client_close();
	cluster_stop();
}

static void session_reads_ask_for_what_was_seen(void **state)
{
	struct client_request q = read_request(SQL_SESSION);

	(void)state;
	cluster_start();
	client_open(true, 1);
	assert_int_equal(run(&q), 0);
	assert_int_equal(last_request().min_index, 0);
	assert_int_equal(last_request().client, 0);
	assert_int_equal(run_write(), 0);
	assert_int_equal(cluster.index, 101);
	assert_int_equal(run(&q), 0);
	assert_int_equal(last_request().min_index, 101);
	/* Another namespace of another group has an index of its own. */
	cluster.group = 2;
	cluster.index = 5;
	q.namespace = "other";
	assert_int_equal(run(&q), 0);
	assert_int_equal(last_request().min_index, 0);
	assert_string_equal(cluster.last_namespace, "other");
	assert_int_equal(run(&q), 0);
	assert_int_equal(last_request().min_index, 5);
	/* An answer from further behind takes nothing away. */
	cluster.index = 3;
	assert_int_equal(run(&q), 0);
	assert_int_equal(run(&q), 0);
	assert_int_equal(last_request().min_index, 5);
	q.level = SQL_STALE;
	assert_int_equal(run(&q), 0);
	assert_int_equal(last_request().min_index, 0);
	client_close();
	cluster_stop();
}

static void a_read_stays_at_the_node_it_was_asked_of(void **state)
{
	struct client_request q = read_request(SQL_STALE);
	const enum behaviour busy[] = {SAY_BUSY, SAY_NOT_LEADER};

	(void)state;
	cluster_start();
	client_open(true, 1);
	q.node = 2;
	script(2, 2, busy);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(run(&q), 0);
	assert_int_equal(requests_of(2), 7);
	assert_int_equal(requests_of(1) + requests_of(3), 0);
	q.node = 9;
	assert_int_equal(run(&q), ERR_NOT_FOUND);
	/* A write goes to the leader all the same, also one that only turns out to be one. */
	struct client_request w = write_request();
	w.node = 2;
	assert_int_equal(run(&w), 0);
	w.mode = SQL_AUTO;
	assert_int_equal(run(&w), 0);
	assert_int_equal(writes(), 2);
	assert_true(requests_of(1) >= 2);
	client_close();
	cluster_stop();
}

static void reads_of_many_callers_spread_over_the_nodes(void **state)
{
	struct caller *many[9];
	struct client_request q = read_request(SQL_STALE);

	(void)state;
	cluster_start();
	client_open(true, 1);
	struct caller *mine = caller;
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(caller_new(&many[i], client, NULL), 0);
		caller = many[i];
		assert_int_equal(run(&q), 0);
	}
	for (unsigned i = 1; i <= NODES; i++)
		assert_int_equal(requests_of(i), 3);
	for (unsigned i = 0; i < 9; i++)
		caller_free(many[i]);
	caller = mine;
	client_close();
	cluster_stop();
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
	cluster_start();
	client_open(true, 1);
	always(1, DROP);
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
	always(1, PROPER);
	assert_int_equal(run_write(), 0);
	client_close();
	cluster_stop();
}

static void control_reaches_the_node_that_is_named(void **state)
{
	struct buf body;
	struct err e;

	(void)state;
	cluster_start();
	client_open(false, 1);
	buf_init(&body, 1000);
	for (uint32_t i = 1; i <= NODES; i++) {
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
	node_down(&cluster.nodes[1]);
	int rc = client_rpc(client, 2, RPC_STATUS, slice_of(NULL, 0), 0, &body, &e);
	assert_true(rc == ERR_UNREACHABLE || rc == ERR_CLOSED);
	buf_done(&body);
	client_close();
	cluster_stop();
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
	cluster_start();
	client_open(true, 8);
	crowd_start(&crowd, ones, EACH);
	for (unsigned i = 0; i < 9; i++) {
		fixture_sleep_ms(5);
		script(1 + i % NODES, sizeof some / sizeof *some, some);
		set_leader(1 + (i + 1) % NODES);
		if (i % 3 == 2) {
			/* Its links break under way. */
			node_down(&cluster.nodes[i % NODES]);
			node_up(&cluster.nodes[i % NODES]);
		}
	}
	crowd_wait(&crowd);
	for (unsigned i = 0; i < CALLERS; i++) {
		assert_int_equal(ones[i].ok, EACH);
		caller_free(ones[i].caller);
	}
	/* Each once, though many were sent more than once. */
	assert_int_equal(writes(), CALLERS * EACH);
	assert_int_equal(client_counts().requests, CALLERS * EACH);
	assert_true(client_counts().resends > 0);
	client_close();
	cluster_stop();
}

static void a_client_ends_with_requests_under_way_and_waiting(void **state)
{
	static struct one ones[CALLERS];
	struct crowd crowd;

	(void)state;
	cluster_start();
	for (unsigned round = 0; round < 6; round++) {
		client_open(true, 4);
		always(1, round % 2 ? SAY_BUSY : DROP);
		always(2, SAY_NO_QUORUM);
		crowd_start(&crowd, ones, 1);
		fixture_sleep_ms(round * 3);
		client_free(client);
		assert_int_equal(crowd.left, 0);
		for (unsigned i = 0; i < CALLERS; i++) {
			assert_int_equal(ones[i].ok + ones[i].bad, 1);
			caller_free(ones[i].caller);
		}
		caller_free(caller);
		hub_free(hub);
	}
	cluster_stop();
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
		cmocka_unit_test(many_callers_share_few_connections_through_changes_of_leader),
		cmocka_unit_test(a_client_ends_with_requests_under_way_and_waiting),
		cmocka_unit_test(addresses_and_numbers_that_cannot_be_are_refused),
	};
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
