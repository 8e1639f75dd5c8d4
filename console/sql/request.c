#include "console/sql/request.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 50 /* between two looks at `interrupted` */

/* A request under way, shared by the one who waits and the callback. */
struct pending {
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	struct caller *caller;
	bool done;
	struct buf answer; /* encoded again: the callback's is gone when it returns */
};

struct requester {
	struct client *client;
	struct pending *current;
	struct pending *left[REQUEST_LEFT_MAX];
	size_t left_n;
};

static void pending_free(struct pending *p)
{
	if (!p)
		return;
	caller_free(p->caller);
	buf_done(&p->answer);
	pthread_cond_destroy(&p->done_cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static int pending_new(struct pending **ret_pending, struct client *c, struct err *e)
{
	struct pending *p = calloc(1, sizeof *p);
	pthread_condattr_t attr;
	int rc;

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for a request");
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->done_cond, &attr);
	pthread_condattr_destroy(&attr);
	buf_init(&p->answer, SQL_ANSWER_BYTES_MAX + 4096);
	rc = caller_new(&p->caller, c, e);
	if (rc) {
		pending_free(p);
		return rc;
	}
	*ret_pending = p;
	return 0;
}

int requester_new(struct requester **ret_requester, struct client *c, struct err *e)
{
	struct requester *q = calloc(1, sizeof *q);
	int rc;

	if (!q)
		return err_set(e, ERR_NOMEM, "no memory for a session");
	q->client = c;
	rc = pending_new(&q->current, c, e);
	if (rc) {
		free(q);
		return rc;
	}
	*ret_requester = q;
	return 0;
}

static void on_answer(void *ctx, const struct sql_answer *answer)
{
	struct pending *p = ctx;

	pthread_mutex_lock(&p->lock);
	buf_clear(&p->answer);
	sql_answer_encode(&p->answer, answer);
	p->done = true;
	pthread_cond_signal(&p->done_cond);
	pthread_mutex_unlock(&p->lock);
}

static void deadline_after(unsigned ms, struct timespec *ret_at)
{
	clock_gettime(CLOCK_MONOTONIC, ret_at);
	ret_at->tv_nsec += (long)ms * 1000000;
	ret_at->tv_sec += ret_at->tv_nsec / 1000000000;
	ret_at->tv_nsec %= 1000000000;
}

/* true: the answer came. */
static bool wait_for_answer(struct pending *p, bool (*interrupted)(void), bool may_leave)
{
	bool done;

	pthread_mutex_lock(&p->lock);
	while (!p->done && !(may_leave && interrupted())) {
		struct timespec at;

		deadline_after(LOOK_MS, &at);
		pthread_cond_timedwait(&p->done_cond, &p->lock, &at);
	}
	done = p->done;
	pthread_mutex_unlock(&p->lock);
	return done;
}

static bool never(void)
{
	return false;
}

void requester_free(struct requester *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->left_n; i++) {
		wait_for_answer(q->left[i], never, false);
		pending_free(q->left[i]);
	}
	pending_free(q->current);
	free(q);
}

/* Frees the left ones whose answer has come meanwhile. */
static void reap(struct requester *q)
{
	size_t kept = 0;

	for (size_t i = 0; i < q->left_n; i++) {
		struct pending *p = q->left[i];

		pthread_mutex_lock(&p->lock);
		bool done = p->done;
		pthread_mutex_unlock(&p->lock);
		if (done)
			pending_free(p);
		else
			q->left[kept++] = p;
	}
	q->left_n = kept;
}

static int take_answer(struct pending *p, struct buf *ret_body, struct sql_answer *ret_answer,
		       struct err *e)
{
	buf_append(ret_body, p->answer.data, p->answer.len);
	if (!buf_ok(&p->answer) || !buf_ok(ret_body))
		return err_set(e, ERR_NOMEM, "no memory for the answer");
	if (!sql_answer_decode(buf_slice(ret_body), ret_answer))
		return err_set(e, ERR_PROTOCOL, "the agent's answer does not decode");
	if (ret_answer->status == 0)
		return 0;
	if (ret_answer->message.n == 0)
		return err_set(e, ret_answer->status, "%s", err_meaning(ret_answer->status));
	return err_set(e, ret_answer->status, "%.*s", (int)ret_answer->message.n,
		       (const char *)ret_answer->message.p);
}

int requester_run(struct requester *q, const struct client_request *r, bool (*interrupted)(void),
		  struct buf *ret_body, struct sql_answer *ret_answer, bool *ret_interrupted,
		  struct err *e)
{
	struct pending *p = q->current, *fresh;
	int rc;

	reap(q);
	p->done = false;
	rc = client_start(p->caller, r, on_answer, p, e);
	if (rc)
		return rc;
	if (wait_for_answer(p, interrupted, q->left_n < REQUEST_LEFT_MAX))
		return take_answer(p, ret_body, ret_answer, e);
	*ret_interrupted = true;
	rc = pending_new(&fresh, q->client, e);
	if (rc) { /* no other caller to be had: this one must be waited for after all */
		wait_for_answer(p, never, false);
		return take_answer(p, ret_body, ret_answer, e);
	}
	q->left[q->left_n++] = p;
	q->current = fresh;
	return err_set(e, ERR_UNKNOWN_OUTCOME, "interrupted while waiting for the answer");
}
