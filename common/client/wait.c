#include "common/client.h"

#include <pthread.h>

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over;
	struct buf *body;
};

static void wait_over(void *ctx, const struct sql_answer *answer)
{
	struct waiter *w = ctx;

	pthread_mutex_lock(&w->lock);
	buf_clear(w->body);
	sql_answer_encode(w->body, answer);
	w->over = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

int client_wait(struct caller *k, const struct client_request *r, struct buf *ret_body,
		struct sql_answer *ret_answer, struct err *e)
{
	struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER,
			   .cond = PTHREAD_COND_INITIALIZER,
			   .body = ret_body};
	struct sql_answer a;
	int rc = client_start(k, r, wait_over, &w, e);

	if (rc)
		return rc;
	pthread_mutex_lock(&w.lock);
	while (!w.over)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
	if (!buf_ok(ret_body) || !sql_answer_decode(buf_slice(ret_body), &a))
		return err_set(e, ERR_LIMIT, "the answer is more than there is room for");
	*ret_answer = a;
	if (a.status != 0)
		err_set(e, a.status, "%.*s", (int)(a.message.n < 400 ? a.message.n : 400),
			a.message.n ? (const char *)a.message.p : "");
	return a.status;
}
