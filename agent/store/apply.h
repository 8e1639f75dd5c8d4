/* Brings row records into SQLite: what followers do with entries, and the leader when SQLite has
 * rolled back more than one request.
 *
 * Records are applied in the order of execution, one by one, with a prepared
 * statement for each (table, operation, set of columns). Triggers, foreign
 * keys and CHECKs are off meanwhile (namespace.h): their effects are in the
 * records. A row that is not where the record expects it means that this
 * node's data differs from the log: ERR_CORRUPT, never ignored.
 *
 * Statements are kept by the table's definition as the payload spells it, so a
 * changed schema never meets a statement made for another one.
 */
#ifndef DROVER_AGENT_STORE_APPLY_H
#define DROVER_AGENT_STORE_APPLY_H

#include "agent/store/connection.h"
#include "agent/store/session.h"
#include "common/record.h"

struct apply_table;

struct applier {
	struct connection *connection;
	uint32_t statements_max, statements_n;
	struct apply_table **slots;
	uint32_t tables_n;
	struct apply_table *numbered[RECORD_TABLES_MAX];
	sqlite3_stmt *sequence_delete, *sequence_insert;
	struct record_iter iter;
	bool schema_changed; /* a statement carried as text was run; the owner clears it */
};

int applier_init(struct applier *a, struct connection *c, uint32_t statements_max, struct err *e);
/* Finalizes all statements; before the connection is closed. */
void applier_forget(struct applier *a);
void applier_done(struct applier *a);

struct applied {
	uint64_t rows;
	uint64_t hlc_us; /* the latest */
};

/* Applies a BATCH, or the first transactions of one. sessions NULL: clients' sessions know
 * already. */
int applier_run(struct applier *a, struct slice payload, uint64_t index, struct sessions *sessions,
		struct applied *ret_applied, struct err *e);

#endif
