/* The leader's side: one batch of requests, executed, captured and encoded.
 *
 * Each request stands or falls as a whole: it runs under one savepoint, and
 * when it fails SQLite goes back to it and the records are cut back to where
 * it began. When SQLite itself has rolled back the whole transaction, all that
 * was in it is applied again from memory (namespace_replay) and the batch goes
 * on without the culprit.
 *
 * Threads: the store's.
 */
#ifndef DROVER_AGENT_STORE_EXECUTE_H
#define DROVER_AGENT_STORE_EXECUTE_H

#include "agent/store/namespace.h"
#include "agent/store/store.h"

#define EXECUTE_ANSWER_MAX 4096 /* bytes of results remembered for a retry */

int execute_batch(struct namespace *ns, struct store_request *const *requests, size_t n,
		  uint64_t now_us, struct buf *payload, struct err *e);

#endif
