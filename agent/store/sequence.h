/* AUTOINCREMENT: SQLite's hook does not tell changes of sqlite_sequence, and an insert that was
 * ignored, or a client's own write, changes it without any row of the table.
 *
 * So the table is read before and after: a request that may change it ends by
 * sending each table's value that differs from what a follower reaches by
 * itself when it inserts the same rows, the larger of the old value and the
 * largest rowid inserted.
 */
#ifndef DROVER_AGENT_STORE_SEQUENCE_H
#define DROVER_AGENT_STORE_SEQUENCE_H

#include "agent/store/capture.h"

struct sequence_row {
	char *table;
	int64_t value;
};

struct sequences {
	bool known;		   /* rows are what followers have */
	bool used;		   /* the request at hand may have changed some */
	struct sequence_row *rows; /* by name */
	size_t rows_n;
};

void sequences_done(struct sequences *q);
/* What was done since the last sequences_after() is undone, or the table may have changed
 * otherwise. */
void sequences_forget(struct sequences *q);
/* To be called before a statement that may change the table. */
int sequences_before(struct sequences *q, struct connection *c, struct err *e);
/* Sends what has changed since. */
int sequences_after(struct sequences *q, struct capture *k, struct err *e);

#endif
