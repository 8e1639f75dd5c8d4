/* Prepared statements of one connection: what kind each is, a cache by text, binding.
 *
 * Kinds come from SQLite's authorizer (classify.h), not from the text, so no
 * comment or spelling gets around them. A text may hold several statements;
 * only texts of a single one are cached. A statement stays valid until it is
 * released, or the cache is cleared: the owner clears it when the schema has
 * changed, since a statement's kind belongs to the schema it was prepared for.
 *
 * Threads: as the connection's.
 */
#ifndef DROVER_AGENT_STORE_STATEMENT_H
#define DROVER_AGENT_STORE_STATEMENT_H

#include "common/err.h"
#include "common/sql.h"

#include <sqlite3.h>

struct connection;

enum statement_kind {
	STATEMENT_READ,
	STATEMENT_WRITE,
	STATEMENT_SCHEMA,  /* DDL, ANALYZE, REINDEX: travels as text */
	STATEMENT_SETTING, /* a pragma that changes the file: travels as text */
	STATEMENT_DEFER,   /* PRAGMA defer_foreign_keys: for the request at hand */
	STATEMENT_BEGIN,
	STATEMENT_COMMIT,
	STATEMENT_ROLLBACK,
	STATEMENT_SAVEPOINT,
	STATEMENT_RELEASE,
	STATEMENT_ROLLBACK_TO,
};

struct statement {
	sqlite3_stmt *stmt;
	enum statement_kind kind;
	uint32_t params_n, columns_n;
	bool sequence; /* may change sqlite_sequence */
	bool keeps;    /* says FAIL somewhere: an error may leave earlier rows changed */
	bool select;   /* SCHEMA: CREATE TABLE … AS SELECT */
	bool drop;     /* SCHEMA: drops the table `object` */
	bool alter;
	bool always; /* SCHEMA: does something even if the schema stays: ANALYZE, REINDEX */
	bool cached;
	char *object; /* SCHEMA: the table made, altered or dropped; SAVEPOINT…: its name; DEFER:
			 the value; or NULL */
	char *text;   /* cached ones */
	size_t text_n;
	uint64_t hash;
	struct statement *chain, *newer, *older;
};

struct statement_cache {
	struct statement **slots;
	uint32_t slots_n, used, max;
	struct statement *newest, *oldest;
};

int statement_cache_init(struct statement_cache *cache, uint32_t max, struct err *e);
void statement_cache_clear(struct statement_cache *cache);
void statement_cache_done(struct statement_cache *cache);

/* Walks the statements of one text. */
struct statement_script {
	struct slice text;
	char *copy;  /* NUL-terminated */
	size_t at;   /* where the next statement starts */
	size_t base; /* where the statement at hand starts */
	bool ended;
};
void statement_script_init(struct statement_script *s, struct slice text);
void statement_script_done(struct statement_script *s);

/* *ret_statement is the next statement of the text, or NULL at the end. On failure *ret_offset is
 * the byte in the text, or -1. The caller releases each. */
int statement_next(struct connection *c, struct statement_script *s,
		   struct statement **ret_statement, int32_t *ret_offset, struct err *e);
/* Resets a cached statement, frees any other. */
void statement_release(struct statement *st);

/* Binds params_n encoded values, which must outlive the steps. */
int statement_bind(struct connection *c, struct statement *st, struct rd params, uint32_t params_n,
		   struct err *e);

/* Are there only blanks, semicolons and comments? */
bool statement_blank(const char *text);

#endif
