#include "agent/store/classify.h"

#include "agent/store/connection.h"
#include "agent/store/schema.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool classify_reserved(const char *name)
{
	return name && strncasecmp(name, "drover_", 7) == 0;
}

void classify_init(struct classify *k)
{
	*k = (struct classify){.transaction = -1};
}

void classify_done(struct classify *k)
{
	free(k->object);
	k->object = NULL;
}

static int deny(struct connection *c, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int deny(struct connection *c, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->refusal, sizeof c->refusal, fmt, ap);
	va_end(ap);
	c->refusal_code = code;
	return SQLITE_DENY;
}

static int deny_reserved(struct connection *c, const char *name)
{
	return deny(c, ERR_REFUSED, "%s: names that start with drover_ are drover's own", name);
}

static int deny_temp(struct connection *c)
{
	return deny(c, ERR_UNSUPPORTED,
		    "TEMP tables, views, indexes and triggers are not offered: they would live on "
		    "one node only");
}

static bool one_of(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (strcasecmp(name, *list) == 0)
			return true;
	return false;
}

static void note_object(struct classify *k, const char *name)
{
	if (!k->object && name)
		k->object = strdup(name);
}

static int authorize_pragma(struct connection *c, const char *name, const char *argument)
{
	/* Ask only, whether with an argument or not. */
	static const char *const asking[] = {"table_info",
					     "table_xinfo",
					     "table_list",
					     "index_list",
					     "index_info",
					     "index_xinfo",
					     "collation_list",
					     "function_list",
					     "module_list",
					     "pragma_list",
					     "compile_options",
					     "database_list",
					     "foreign_key_list",
					     "foreign_key_check",
					     "integrity_check",
					     "quick_check",
					     NULL};
	/* Ask only without an argument; with one they would set what drover sets itself. */
	static const char *const settings[] = {
		"schema_version", "encoding",	  "page_count",	  "page_size",
		"freelist_count", "data_version", "foreign_keys", "recursive_triggers",
		"journal_mode",	  "synchronous",  "auto_vacuum",  "cache_size",
		"max_page_count", "query_only",	  "busy_timeout", NULL};
	static const char *const stored[] = {"user_version", "application_id", NULL};

	if (one_of(name, asking))
		return SQLITE_OK;
	if (one_of(name, stored)) {
		if (argument && c->collect)
			c->collect->setting = true;
		return SQLITE_OK;
	}
	if (strcasecmp(name, "defer_foreign_keys") == 0) {
		if (argument && c->collect) {
			c->collect->defer = true;
			note_object(c->collect, argument);
		}
		return SQLITE_OK;
	}
	if (one_of(name, settings) && !argument)
		return SQLITE_OK;
	return deny(c, ERR_UNSUPPORTED, "PRAGMA %s%s is not offered: drover sees to it itself",
		    name, argument ? " with a value" : "");
}

static int authorize_vtable(struct connection *c, const char *name, const char *module)
{
	static const char *const offered[] = {"fts3",	   "fts4",  "fts5",	 "fts3tokenize",
					      "fts4aux",   "rtree", "rtree_i32", "geopoly",
					      "fts5vocab", NULL};

	if (!one_of(module, offered))
		return deny(c, ERR_UNSUPPORTED, "virtual table module %s is not offered (%s)",
			    module, name);
	return SQLITE_OK;
}

static int authorize_schema(struct connection *c, int action, const char *a, const char *b)
{
	struct classify *k = c->collect;

	if (classify_reserved(a))
		return deny_reserved(c, a);
	if (action != SQLITE_CREATE_VTABLE && action != SQLITE_DROP_VTABLE && classify_reserved(b))
		return deny_reserved(c, b);
	if (action == SQLITE_CREATE_VTABLE && authorize_vtable(c, a, b) != SQLITE_OK)
		return SQLITE_DENY;
	if (!k)
		return SQLITE_OK;
	k->schema = true;
	switch (action) {
	case SQLITE_CREATE_TABLE:
		/* The first AUTOINCREMENT table also makes sqlite_sequence. */
		if (strncasecmp(a, "sqlite_", 7) != 0) {
			k->create_table = true;
			note_object(k, a);
		}
		break;
	case SQLITE_ALTER_TABLE:
		k->alter = true;
		note_object(k, b);
		break;
	case SQLITE_DROP_TABLE:
		k->drop_table = true;
		note_object(k, a);
		break;
	case SQLITE_ANALYZE:
	case SQLITE_REINDEX:
		k->always = true;
		break;
	default:
		break;
	}
	return SQLITE_OK;
}

static int authorize_row(struct connection *c, int action, const char *table)
{
	struct classify *k = c->collect;

	if (classify_reserved(table))
		return deny_reserved(c, table);
	if (!k)
		return SQLITE_OK;
	if (strncasecmp(table, "sqlite_stat", 11) == 0)
		k->stats = true;
	else if (strcasecmp(table, "sqlite_sequence") == 0)
		k->sequence = true;
	else if (action == SQLITE_INSERT && c->schema && schema_autoincrements(c->schema, table))
		k->sequence = true;
	return SQLITE_OK;
}

static int authorize_transaction(struct connection *c, const char *what)
{
	if (c->collect)
		c->collect->transaction = strcmp(what, "BEGIN") == 0	? STATEMENT_BEGIN
					  : strcmp(what, "COMMIT") == 0 ? STATEMENT_COMMIT
									: STATEMENT_ROLLBACK;
	return SQLITE_OK;
}

static int authorize_savepoint(struct connection *c, const char *what, const char *name)
{
	struct classify *k = c->collect;

	if (classify_reserved(name))
		return deny_reserved(c, name);
	if (k) {
		k->transaction = strcmp(what, "BEGIN") == 0	? STATEMENT_SAVEPOINT
				 : strcmp(what, "RELEASE") == 0 ? STATEMENT_RELEASE
								: STATEMENT_ROLLBACK_TO;
		note_object(k, name);
	}
	return SQLITE_OK;
}

static int authorize_rest(struct connection *c, int action)
{
	switch (action) {
	case SQLITE_CREATE_TEMP_TABLE:
	case SQLITE_CREATE_TEMP_INDEX:
	case SQLITE_CREATE_TEMP_VIEW:
	case SQLITE_CREATE_TEMP_TRIGGER:
	case SQLITE_DROP_TEMP_TABLE:
	case SQLITE_DROP_TEMP_INDEX:
	case SQLITE_DROP_TEMP_VIEW:
	case SQLITE_DROP_TEMP_TRIGGER:
		return deny_temp(c);
	case SQLITE_ATTACH:
	case SQLITE_DETACH:
		return deny(c, ERR_UNSUPPORTED,
			    "ATTACH and DETACH are not offered: use a namespace");
	default:
		return deny(c, ERR_UNSUPPORTED, "this statement is not offered");
	}
}

int classify_authorize(void *ctx, int action, const char *a, const char *b, const char *db,
		       const char *within)
{
	struct connection *c = ctx;

	(void)within;
	/* On every node, for clients and records alike: how full drover's own tables are differs
	 * from node to node, and must not come into the statistics. */
	if (action == SQLITE_ANALYZE && classify_reserved(a))
		return SQLITE_IGNORE;
	if (c->internal)
		return SQLITE_OK;
	switch (action) {
	case SQLITE_SELECT:
		if (c->collect)
			c->collect->select = true;
		return SQLITE_OK;
	case SQLITE_READ:
		if (classify_reserved(a))
			return deny_reserved(c, a);
		if (strcasecmp(a, "sqlite_stmt") == 0)
			return deny(c, ERR_REFUSED, "sqlite_stmt shows other clients' statements");
		return SQLITE_OK;
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
		return authorize_row(c, action, a);
	case SQLITE_FUNCTION:
		if (strcasecmp(b, "load_extension") == 0 || strcasecmp(b, "fts3_tokenizer") == 0)
			return deny(c, ERR_UNSUPPORTED, "%s() is not offered", b);
		return SQLITE_OK;
	case SQLITE_PRAGMA:
		return authorize_pragma(c, a, b);
	case SQLITE_TRANSACTION:
		return authorize_transaction(c, a);
	case SQLITE_SAVEPOINT:
		return authorize_savepoint(c, a, b);
	case SQLITE_CREATE_TABLE:
	case SQLITE_CREATE_INDEX:
	case SQLITE_CREATE_VIEW:
	case SQLITE_CREATE_TRIGGER:
	case SQLITE_CREATE_VTABLE:
	case SQLITE_DROP_TABLE:
	case SQLITE_DROP_INDEX:
	case SQLITE_DROP_VIEW:
	case SQLITE_DROP_TRIGGER:
	case SQLITE_DROP_VTABLE:
	case SQLITE_ALTER_TABLE:
	case SQLITE_REINDEX:
	case SQLITE_ANALYZE:
		/* CREATE TABLE temp.x is no CREATE_TEMP_TABLE. ALTER tells the database first. */
		if (strcasecmp(action == SQLITE_ALTER_TABLE ? a : db ? db : "main", "temp") == 0)
			return deny_temp(c);
		return authorize_schema(c, action, a, b);
	default:
		return authorize_rest(c, action);
	}
}

/* The next word outside strings, quoted names and comments; *at moves behind it. */
static struct slice next_word(const char *text, size_t n, size_t *at)
{
	size_t i = *at;

	while (i < n) {
		char ch = text[i];
		if (isalpha((unsigned char)ch) || ch == '_' || (unsigned char)ch >= 0x80) {
			size_t from = i;
			while (i < n && (isalnum((unsigned char)text[i]) || text[i] == '_' ||
					 text[i] == '$' || (unsigned char)text[i] >= 0x80))
				i++;
			*at = i;
			return slice_of(text + from, i - from);
		}
		if (ch == '\'' || ch == '"' || ch == '`' || ch == '[') {
			char end = ch == '[' ? ']' : ch;
			/* A doubled quote inside reads as two strings in a row: the same to us. */
			for (i++; i < n && text[i] != end; i++)
				;
			i++;
		} else if (ch == '-' && i + 1 < n && text[i + 1] == '-') {
			while (i < n && text[i] != '\n')
				i++;
		} else if (ch == '/' && i + 1 < n && text[i + 1] == '*') {
			for (i += 2; i + 1 < n && !(text[i] == '*' && text[i + 1] == '/'); i++)
				;
			i += 2;
		} else if (isdigit((unsigned char)ch) || ch == '@' || ch == '$' || ch == ':' ||
			   ch == '#') {
			/* Numbers and parameters, whose letters are no words. */
			for (i++; i < n && (isalnum((unsigned char)text[i]) || text[i] == '_'); i++)
				;
		} else {
			i++;
		}
	}
	*at = n;
	return slice_of(NULL, 0);
}

static bool word_is(struct slice w, const char *keyword)
{
	return w.n == strlen(keyword) && strncasecmp((const char *)w.p, keyword, w.n) == 0;
}

bool classify_is_vacuum(const char *text, size_t n)
{
	size_t at = 0;

	return word_is(next_word(text, n, &at), "VACUUM");
}

static int check_keywords(struct statement *st, const char *text, size_t n, struct err *e)
{
	size_t at = 0;
	struct slice w;

	while ((w = next_word(text, n, &at)).p) {
		if (word_is(w, "ROLLBACK"))
			return err_set(e, ERR_UNSUPPORTED,
				       "OR ROLLBACK, ON CONFLICT ROLLBACK and RAISE(ROLLBACK) are "
				       "not offered: use ABORT, which fails the request (a name "
				       "spelled rollback needs quotes)");
		if (word_is(w, "FAIL"))
			st->keeps = true;
	}
	return 0;
}

int classify_statement(struct classify *k, struct statement *st, const char *text, size_t n,
		       struct err *e)
{
	st->params_n = (uint32_t)sqlite3_bind_parameter_count(st->stmt);
	st->columns_n = (uint32_t)sqlite3_column_count(st->stmt);
	if (sqlite3_stmt_isexplain(st->stmt)) {
		st->kind = STATEMENT_READ;
		return 0;
	}
	if (k->transaction >= 0) {
		st->kind = (enum statement_kind)k->transaction;
	} else if (k->schema) {
		st->kind = STATEMENT_SCHEMA;
		st->select = k->create_table && k->select;
		st->drop = k->drop_table;
		st->alter = k->alter;
		st->always = k->always;
	} else if (k->setting) {
		st->kind = STATEMENT_SETTING;
	} else if (k->defer) {
		st->kind = STATEMENT_DEFER;
	} else if (sqlite3_stmt_readonly(st->stmt)) {
		st->kind = STATEMENT_READ;
	} else {
		st->kind = STATEMENT_WRITE;
		st->sequence = k->sequence;
		if (k->stats)
			return err_set(e, ERR_UNSUPPORTED,
				       "SQLite's statistics tables are written by ANALYZE only");
	}
	st->object = k->object;
	k->object = NULL;
	if (st->kind == STATEMENT_WRITE || st->kind == STATEMENT_SCHEMA)
		return check_keywords(st, text, n, e);
	return 0;
}
