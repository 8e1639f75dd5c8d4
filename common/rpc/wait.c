#include "common/rpc.h"

#include <pthread.h>

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over;
	int status;
	struct buf *body;
	struct err *e;
};

static void wait_over(void *ctx, int status, struct slice body)
{
	struct waiter *w = ctx;

	pthread_mutex_lock(&w->lock);
	w->status = status;
	if (status != 0) {
		err_set(w->e, status, "%.*s", (int)(body.n < ERR_TEXT_MAX ? body.n : ERR_TEXT_MAX),
			(const char *)body.p);
	} else if (w->body) {
		buf_append(w->body, body.p, body.n);
		if (!buf_ok(w->body))
			w->status = err_set(w->e, ERR_LIMIT,
					    "an answer of %zu bytes is more than there is room for",
					    body.n);
	}
	w->over = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

int rpc_wait(struct rpc_conn *c, unsigned method, struct slice body, uint32_t timeout_ms,
	     struct buf *ret_body, struct err *e)
{
	struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER,
			   .cond = PTHREAD_COND_INITIALIZER,
			   .body = ret_body,
			   .e = e};
	int rc = rpc_start(c, method, &body, 1, timeout_ms, wait_over, &w, e);

	if (rc)
		return rc;
	/* It always ends: by an answer, its deadline, or the connection's end. */
	pthread_mutex_lock(&w.lock);
	while (!w.over)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
	return w.status;
}
