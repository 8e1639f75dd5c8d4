#include "common/client/impl.h"

#include "common/clock.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_KEEP_BYTES (64u << 10)
#define HOPS_MAX 3 /* redirects followed without a pause */
#define TRY_MIN_MS 1000
#define TRY_MAX_MS 5000

static uint64_t *seen_index(struct caller *k, uint64_t group)
{
	for (size_t i = 0; i < k->seen_n; i++) {
		if (k->seen[i].group == group)
			return &k->seen[i].index;
	}
	return NULL;
}

/* What this answer has seen is what the next session read must see. */
static void learn(struct caller *k, const struct sql_answer *a)
{
	atomic_store(&k->space->group, a->group);
	atomic_store(&k->space->group_known, true);
	uint64_t *index = seen_index(k, a->group);
	if (!index) {
		struct seen *more = NULL;
		if (k->seen_n < SEEN_MAX)
			more = realloc(k->seen, (k->seen_n + 1) * sizeof *more);
		if (!more)
			return;
		k->seen = more;
		k->seen[k->seen_n] = (struct seen){a->group, 0};
		index = &k->seen[k->seen_n++].index;
	}
	if (a->index > *index)
		*index = a->index;
}

/* Hands the outcome to the user; the caller is free for its next request, or to be freed. */
static void finish(struct caller *k, const struct sql_answer *a)
{
	struct client *c = k->client;
	client_done *done = k->done;
	void *ctx = k->ctx;

	if (a->status != 0)
		atomic_fetch_add_explicit(&c->failed, 1, memory_order_relaxed);
	if (a->status == ERR_UNKNOWN_OUTCOME)
		atomic_fetch_add_explicit(&c->unknown, 1, memory_order_relaxed);
	if (k->body.cap > BODY_KEEP_BYTES)
		buf_done(&k->body);
	atomic_store(&k->busy, false);
	done(ctx, a);
	client_leave(c);
}

/* The end without an answer of the cluster's that settles it. */
static void finish_failed(struct caller *k, int status, const char *text)
{
	struct sql_answer a = {.status = status, .offset = -1};
	char message[ERR_TEXT_MAX + 100];

	if (k->maybe_done && status != ERR_UNKNOWN_OUTCOME) {
		a.status = ERR_UNKNOWN_OUTCOME;
		snprintf(message, sizeof message, "it was sent and may have been done; then: %s",
			 text);
	} else {
		snprintf(message, sizeof message, "%s", text);
	}
	a.message = slice_str(message);
	finish(k, &a);
}

static void finish_late(struct caller *k)
{
	char text[ERR_TEXT_MAX + 64];

	snprintf(text, sizeof text, "not done within %u ms: %s", k->timeout_ms,
		 k->last_status ? k->last_text : "no answer");
	finish_failed(k, k->last_status ? k->last_status : ERR_TIMEOUT, text);
}

static void note(struct caller *k, int status, struct slice text)
{
	k->last_status = status;
	snprintf(k->last_text, sizeof k->last_text, "%.*s", (int)(text.n < 400 ? text.n : 400),
		 text.n ? (const char *)text.p : "");
}

/* Tries again after a pause, or at the deadline gives up; the caller is not to be touched after. */
static void later(struct caller *k)
{
	struct client *c = k->client;
	uint64_t now_us = clock_mono_us();
	uint64_t pause_us = (uint64_t)k->backoff_ms * 1000;

	pause_us = pause_us / 2 + randombytes_uniform((uint32_t)(pause_us / 2 + 1));
	k->backoff_ms = k->backoff_ms * 2 < c->retry_max_ms ? k->backoff_ms * 2 : c->retry_max_ms;
	k->hops = 0;
	uint64_t due_us = now_us + pause_us < k->deadline_us ? now_us + pause_us : k->deadline_us;
	if (k->given_up || atomic_load(&c->freeing))
		due_us = now_us;
	hub_timer_set(&c->hub->timers, &k->retry, due_us);
}

void request_retry(void *ctx)
{
	struct caller *k = ctx;

	if (atomic_load(&k->client->freeing))
		finish_failed(k, ERR_CLOSED, "the client is being closed");
	else if (k->given_up)
		finish_failed(k, k->last_status, k->last_text);
	else if (clock_mono_us() >= k->deadline_us)
		finish_late(k);
	else
		request_try(k);
}

/* Whether to try again at once, and if so how: what a failure tells about the request. */
enum next { NEXT_NOW, NEXT_LATER, NEXT_GIVE_UP };

static enum next after_failure(struct caller *k, int status, struct slice text)
{
	struct client *c = k->client;
	bool sent = status == ERR_CLOSED || status == ERR_TIMEOUT || status == ERR_UNKNOWN_OUTCOME;

	note(k, status, text);
	if (sent) {
		k->maybe_done = k->maybe_done || k->mode != SQL_READ;
		if (!k->resendable)
			return NEXT_GIVE_UP;
		atomic_fetch_add_explicit(&c->resends, 1, memory_order_relaxed);
		if (status == ERR_UNKNOWN_OUTCOME)
			return NEXT_LATER;
	} else if (status == ERR_BUSY) {
		return NEXT_LATER;
	} else if (status != ERR_UNREACHABLE) {
		return NEXT_GIVE_UP;
	}
	route_forget(k);
	return !k->pinned && k->hops++ < c->nodes_n ? NEXT_NOW : NEXT_LATER;
}

static enum next after_redirect(struct caller *k, const struct sql_answer *a)
{
	struct client *c = k->client;
	int leader = route_hint(c, a);

	if (k->pinned && k->mode == SQL_READ)
		return NEXT_LATER;
	/* It turned out to be a write, or its node has lost its leader. */
	k->pinned = false;
	k->wants_leader = true;
	if (leader < 0 || leader == (int)k->target) {
		route_forget(k);
		return NEXT_LATER;
	}
	atomic_fetch_add_explicit(&c->redirects, 1, memory_order_relaxed);
	atomic_store(&k->space->leader, leader);
	return k->hops++ < HOPS_MAX ? NEXT_NOW : NEXT_LATER;
}

/* What an answer of the cluster's says; false: it settles the request. */
static bool after_answer(struct caller *k, const struct sql_answer *a, enum next *ret_next)
{
	switch (a->status) {
	case ERR_NOT_LEADER:
		note(k, a->status, a->message);
		*ret_next = after_redirect(k, a);
		return true;
	case ERR_BUSY:
		note(k, a->status, a->message);
		*ret_next = NEXT_LATER;
		return true;
	case ERR_NO_QUORUM:
	case ERR_STALE:
	case ERR_DISK_FULL: /* who leads hands over; somebody else may have room */
	case ERR_UNREACHABLE:
		note(k, a->status, a->message);
		route_forget(k);
		*ret_next = NEXT_LATER;
		return true;
	case ERR_UNKNOWN_OUTCOME:
	case ERR_CLOSED:
		note(k, a->status, a->message);
		k->maybe_done = k->maybe_done || k->mode != SQL_READ;
		if (k->resendable) {
			atomic_fetch_add_explicit(&k->client->resends, 1, memory_order_relaxed);
			route_forget(k);
		}
		*ret_next = k->resendable ? NEXT_LATER : NEXT_GIVE_UP;
		return true;
	case ERR_TIMEOUT:
		note(k, a->status, a->message);
		*ret_next = NEXT_GIVE_UP;
		return k->maybe_done;
	default:
		return false;
	}
}

static void go_on(struct caller *k, enum next next)
{
	if (next == NEXT_LATER)
		later(k);
	else if (next == NEXT_GIVE_UP)
		finish_failed(k, k->last_status, k->last_text);
	else if (clock_mono_us() >= k->deadline_us)
		finish_late(k);
	else
		request_try(k);
}

static void on_done(void *ctx, int status, struct slice body)
{
	struct caller *k = ctx;
	struct sql_answer a;
	enum next next;

	if (atomic_load(&k->client->freeing) && status != 0) {
		k->maybe_done = k->maybe_done || (status == ERR_CLOSED && k->mode != SQL_READ);
		finish_failed(k, ERR_CLOSED, "the client is being closed");
		return;
	}
	if (status != 0) {
		go_on(k, after_failure(k, status, body));
		return;
	}
	if (!sql_answer_decode(body, &a)) {
		k->maybe_done = k->maybe_done || k->mode != SQL_READ;
		finish_failed(k, ERR_PROTOCOL, "the node's answer is malformed");
		return;
	}
	if (a.status == 0 || a.index > 0)
		learn(k, &a);
	if (a.status == 0 && k->mode == SQL_WRITE)
		atomic_store(&k->space->leader, (int)k->target);
	if (after_answer(k, &a, &next))
		go_on(k, next);
	else
		finish(k, &a);
}

/* How long one try may take: short enough that a node which hangs does not use up the whole time,
 * where sending again elsewhere is safe. */
static uint32_t try_ms(const struct caller *k)
{
	uint64_t now_us = clock_mono_us();
	uint64_t left_ms = k->deadline_us > now_us ? (k->deadline_us - now_us + 999) / 1000 : 1;
	uint32_t part_ms = k->timeout_ms / 4;

	if (!k->resendable)
		return (uint32_t)left_ms;
	part_ms = part_ms < TRY_MIN_MS ? TRY_MIN_MS : part_ms > TRY_MAX_MS ? TRY_MAX_MS : part_ms;
	return left_ms < part_ms ? (uint32_t)left_ms : part_ms;
}

/* Sends the request to whoever is to be asked next. Failures that show at once are handled here
 * without a pause while there are other nodes, and never end the request on this thread. */
void request_try(struct caller *k)
{
	struct client *c = k->client;
	struct slice body = buf_slice(&k->body);
	enum next next;

	do {
		struct err e = {0};
		k->target = route_pick(k);
		struct rpc_conn *conn = route_conn(c, k->target, k->slot);
		int rc = rpc_start(conn, RPC_SQL, &body, 1, try_ms(k), on_done, k, &e);
		if (rc == 0)
			return; /* k may be in other hands by now */
		if (rc == ERR_UNREACHABLE)
			rpc_conn_nudge(conn);
		next = after_failure(k, rc, slice_str(e.text));
	} while (next == NEXT_NOW);
	k->given_up = next == NEXT_GIVE_UP;
	later(k);
}

static int encode(struct caller *k, const struct client_request *r, struct slice name,
		  struct err *e)
{
	struct sql_request head = {
		.namespace = name,
		.mode = r->mode,
		.level = r->level,
		.flags = r->flags,
		.timeout_ms = k->timeout_ms,
		.max_rows = r->max_rows,
	};
	struct sql_writer w;

	if (r->mode != SQL_READ && !r->no_sequence) {
		head.client = k->id;
		head.sequence = ++k->sequence;
	}
	if (r->level == SQL_SESSION && atomic_load(&k->space->group_known)) {
		uint64_t *index = seen_index(k, atomic_load(&k->space->group));
		head.min_index = index ? *index : 0;
	}
	buf_clear(&k->body);
	sql_request_begin(&w, &k->body, &head, (uint32_t)r->statements_n);
	for (size_t i = 0; i < r->statements_n; i++) {
		const struct client_statement *s = &r->statements[i];
		sql_request_add(&w, s->text, s->params, s->params_n);
	}
	if (!buf_ok(&k->body))
		return err_set(e, ERR_LIMIT, "a request has at most %u bytes",
			       SQL_REQUEST_BYTES_MAX);
	return 0;
}

static int prepare(struct caller *k, const struct client_request *r, struct err *e)
{
	struct client *c = k->client;
	struct slice name = slice_str(r->namespace ? r->namespace : "main");
	int node = r->node ? client_node_by_id(c, r->node) : -1;

	if (name.n == 0 || name.n >= SQL_NAMESPACE_MAX)
		return err_set(e, ERR_INVALID, "a namespace's name has 1 to %d bytes",
			       SQL_NAMESPACE_MAX - 1);
	if (r->statements_n == 0 || r->statements_n > UINT32_MAX)
		return err_set(e, ERR_INVALID, "a request has at least one statement");
	for (size_t i = 0; i < r->statements_n; i++) {
		if (r->statements[i].params_n > SQL_PARAMS_MAX)
			return err_set(e, ERR_LIMIT, "a statement has at most %d parameters",
				       SQL_PARAMS_MAX);
	}
	if (r->node && node < 0)
		return err_set(e, ERR_NOT_FOUND, "no node %u is known here", r->node);
	k->space = client_space(c, name);
	if (!k->space)
		return err_set(e, ERR_LIMIT, "too many namespaces, or no memory");
	k->mode = r->mode;
	k->pinned = r->node && r->mode != SQL_WRITE;
	k->target = k->pinned ? (unsigned)node : 0;
	k->wants_leader = !k->pinned && (r->mode != SQL_READ || r->level == SQL_LINEARIZABLE);
	k->resendable = r->mode == SQL_READ || !r->no_sequence;
	k->maybe_done = k->given_up = false;
	k->turn = k->hops = 0;
	k->timeout_ms = r->timeout_ms ? r->timeout_ms : c->timeout_ms;
	k->backoff_ms = c->retry_min_ms;
	k->deadline_us = clock_mono_us() + (uint64_t)k->timeout_ms * 1000;
	k->last_status = 0;
	return encode(k, r, name, e);
}

int client_start(struct caller *k, const struct client_request *r, client_done *done, void *ctx,
		 struct err *e)
{
	if (atomic_exchange(&k->busy, true))
		return err_set(e, ERR_BUSY, "this caller has a request under way");
	struct client *c = k->client;
	if (!c || !client_enter(c)) {
		atomic_store(&k->busy, false);
		return err_set(e, ERR_CLOSED, "the client is closed");
	}
	int rc = prepare(k, r, e);
	if (rc) {
		atomic_store(&k->busy, false);
		client_leave(c);
		return rc;
	}
	k->done = done;
	k->ctx = ctx;
	atomic_fetch_add_explicit(&c->requests, 1, memory_order_relaxed);
	request_try(k);
	return 0;
}
