/* One SQL request of a person at a terminal: waits for its answer, but not longer than until ^C.
 *
 * An interrupted request is left to itself: it may still be executed, and its caller stays busy
 * until its answer or deadline comes. The next request therefore goes out under a new caller; at
 * most REQUEST_LEFT_MAX are left behind at once, then the wait cannot be broken off any more.
 *
 * Threads: one.
 */
#ifndef DROVER_CONSOLE_SQL_REQUEST_H
#define DROVER_CONSOLE_SQL_REQUEST_H

#include "common/client.h"

#define REQUEST_LEFT_MAX 16

struct requester;

int requester_new(struct requester **ret_requester, struct client *c, struct err *e);
/* Waits for what was left behind. */
void requester_free(struct requester *q);

/* As client_wait. `interrupted` is asked some times a second; when it says yes the result is
 * ERR_UNKNOWN_OUTCOME and *ret_interrupted is set. */
int requester_run(struct requester *q, const struct client_request *r, bool (*interrupted)(void),
		  struct buf *ret_body, struct sql_answer *ret_answer, bool *ret_interrupted,
		  struct err *e);

#endif
