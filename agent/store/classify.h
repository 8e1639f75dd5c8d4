/* What a statement may do, and what it is: the authorizer, and a look at the text's keywords.
 *
 * Everything is refused that is not known to be captured right or harmless:
 *   - ATTACH, DETACH, VACUUM, TEMP objects (they belong to a connection, not
 *     to the data), extensions, tokenizer pointers, other virtual table modules
 *     than the full-text and R-tree ones;
 *   - pragmas outside a list of harmless ones: many take effect while SQLite
 *     merely prepares them;
 *   - tables whose names start with drover_, and writing SQLite's statistics;
 *   - OR ROLLBACK, ON CONFLICT ROLLBACK, RAISE(ROLLBACK): they would undo other
 *     clients' work in the same SQLite transaction. The authorizer does not
 *     tell these, so the text's keywords do.
 */
#ifndef DROVER_AGENT_STORE_CLASSIFY_H
#define DROVER_AGENT_STORE_CLASSIFY_H

#include "agent/store/statement.h"

/* What the authorizer has seen while one statement was prepared. */
struct classify {
	bool schema, create_table, select, drop_table, alter, always, stats, sequence;
	bool setting, defer;
	int transaction; /* a STATEMENT_* of transaction control, or -1 */
	char *object;	 /* freed by whoever takes it */
};
void classify_init(struct classify *k);
void classify_done(struct classify *k);

/* sqlite3_set_authorizer's callback; ctx is the connection. */
int classify_authorize(void *ctx, int action, const char *a, const char *b, const char *db,
		       const char *within);

/* Fills kind and flags of a statement just prepared from `text` (n bytes of it), or refuses it. */
int classify_statement(struct classify *k, struct statement *st, const char *text, size_t n,
		       struct err *e);

/* Does a text hold VACUUM as first keyword? To be asked before preparing it. */
bool classify_is_vacuum(const char *text, size_t n);

/* Names starting with drover_, in any case. */
bool classify_reserved(const char *name);

#endif
