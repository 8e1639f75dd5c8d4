/* Which client's write was executed last, and its answer: what makes a retried request happen once.
 *
 * One entry a client, in the order of the log: when there are more than `max`,
 * the one whose last write is oldest goes, so that all nodes forget the same
 * ones (they must agree on `max`). Changes are kept in memory and written to
 * the namespace's table drover_sessions with its next flush, in the same
 * SQLite transaction as the rows.
 *
 * Threads: the store's.
 */
#ifndef DROVER_AGENT_STORE_SESSION_H
#define DROVER_AGENT_STORE_SESSION_H

#include "agent/store/connection.h"

#define SESSION_UNPROPOSED UINT64_MAX /* index of what no entry holds yet */

struct session {
	uint64_t client, sequence;
	uint64_t index;	  /* of the entry that holds the write */
	uint32_t ordinal; /* of the write in it */
	uint32_t answer_n, answer_cap;
	uint8_t *answer; /* record.h's END answer */
	bool dirty;
	struct session *chain, *newer, *older;
};

struct sessions {
	struct session **slots;
	uint32_t slots_n, used, max;
	struct session *newest, *oldest;
	uint64_t *gone; /* clients whose rows the next flush deletes */
	size_t gone_n, gone_cap;
	size_t dirty_n;
	bool loaded;
};

void sessions_init(struct sessions *s, uint32_t max);
void sessions_done(struct sessions *s);
/* Forgets what is in memory; the next use reads the file again. */
void sessions_forget(struct sessions *s);

int sessions_load(struct sessions *s, struct connection *c, struct err *e);
/* NULL: not known. Loaded only. */
struct session *sessions_find(struct sessions *s, uint64_t client);
/* Remembers a client's newest write. */
int sessions_put(struct sessions *s, uint64_t client, uint64_t sequence, uint64_t index,
		 uint32_t ordinal, struct slice answer, struct err *e);
/* What was put as SESSION_UNPROPOSED is entry `index`. */
void sessions_proposed(struct sessions *s, uint64_t index);
/* Writes what has changed into drover_sessions. */
int sessions_flush(struct sessions *s, struct connection *c, struct err *e);

#endif
