#include "tests/unit/fake_cluster.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fake_cluster fake;

static struct executed *executed_find(uint64_t client, uint64_t sequence)
{
	uint32_t at = (uint32_t)((client ^ client >> 32) * 31 + sequence);

	for (;; at++) {
		struct executed *x = &fake.executed[at % FAKE_EXECUTED_MAX];
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
		fake.unsequenced++;
		fake.index++;
		return;
	}
	struct executed *x = executed_find(q->client, q->sequence);
	if (x->times == 0) {
		x->times = 1;
		fake.writes++;
		fake.index++;
	}
}

static void answer_with(struct rpc_call *c, struct sql_answer *a)
{
	struct buf b;

	a->offset = -1;
	a->group = fake.group;
	buf_init(&b, 1 << 16);
	if (a->status == 0) {
		struct buf r;
		buf_init(&r, 1000);
		a->index = fake.index;
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
	bool leads = fake.leader == n->id;

	if (leads || (q->mode == SQL_READ && q->level != SQL_LINEARIZABLE)) {
		execute(q);
	} else {
		a.status = ERR_NOT_LEADER;
		a.leader_id = fake.leader;
		if (fake.leader && !fake.hint_by_id_only)
			a.leader_rpc = slice_str(fake.nodes[fake.leader - 1].address);
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

	pthread_mutex_lock(&fake.lock);
	if (rpc_call_method(c) != RPC_SQL) {
		rpc_reply(c, 0, slice_str(n->options.self.name));
	} else if (!sql_request_decode(rpc_call_body(c), &q)) {
		answer_status(c, ERR_INVALID);
	} else {
		enum behaviour how = n->always;
		n->requests++;
		fake.last = q;
		memcpy(fake.last_namespace, q.namespace.p, q.namespace.n);
		fake.last_namespace[q.namespace.n] = 0;
		if (n->script_at < n->script_n)
			how = n->script[n->script_at++];
		behave(n, c, &q, how);
	}
	pthread_cond_broadcast(&fake.cond);
	pthread_mutex_unlock(&fake.lock);
}

void fake_node_up(struct fake_node *n)
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

void fake_node_down(struct fake_node *n)
{
	if (n->server)
		rpc_server_free(n->server);
	n->server = NULL;
	for (unsigned i = 0; i < n->dropped_n; i++)
		rpc_reply(n->dropped[i], ERR_CLOSED, slice_of(NULL, 0));
	n->dropped_n = 0;
}

void fake_start(void)
{
	memset(&fake, 0, sizeof fake);
	pthread_mutex_init(&fake.lock, NULL);
	pthread_cond_init(&fake.cond, NULL);
	fake.leader = 1;
	fake.group = 1;
	fake.index = 100;
	for (uint32_t i = 0; i < FAKE_NODES; i++) {
		struct fake_node *n = &fake.nodes[i];
		n->id = i + 1;
		fixture_options(&n->options, LINK_NODE, n->id);
		assert_int_equal(hub_new(&n->hub, &n->options, NULL), 0);
		strcpy(n->address, "127.0.0.1:0");
		fake_node_up(n);
	}
}

void fake_stop(void)
{
	for (unsigned i = 0; i < FAKE_NODES; i++) {
		fake_node_down(&fake.nodes[i]);
		hub_free(fake.nodes[i].hub);
	}
}

void fake_script(unsigned node, unsigned n, const enum behaviour *what)
{
	pthread_mutex_lock(&fake.lock);
	struct fake_node *f = &fake.nodes[node - 1];
	memcpy(f->script, what, n * sizeof *what);
	f->script_n = n;
	f->script_at = 0;
	pthread_mutex_unlock(&fake.lock);
}

void fake_always(unsigned node, enum behaviour what)
{
	pthread_mutex_lock(&fake.lock);
	fake.nodes[node - 1].always = what;
	pthread_mutex_unlock(&fake.lock);
}

void fake_lead(uint32_t id)
{
	pthread_mutex_lock(&fake.lock);
	fake.leader = id;
	pthread_mutex_unlock(&fake.lock);
}

unsigned fake_requests(unsigned node)
{
	pthread_mutex_lock(&fake.lock);
	unsigned n = fake.nodes[node - 1].requests;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

unsigned fake_writes(void)
{
	pthread_mutex_lock(&fake.lock);
	unsigned n = fake.writes;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

unsigned fake_unsequenced(void)
{
	pthread_mutex_lock(&fake.lock);
	unsigned n = fake.unsequenced;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

struct sql_request fake_last(void)
{
	pthread_mutex_lock(&fake.lock);
	struct sql_request q = fake.last;
	pthread_mutex_unlock(&fake.lock);
	return q;
}
