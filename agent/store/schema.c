#include "agent/store/schema.h"

#include "agent/store/connection.h"
#include "common/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLOTS 256
#define DEFINITION_BYTES_MAX (8u << 20)

/* A column as PRAGMA table_xinfo tells it. */
struct declared {
	char *name;
	bool has_default;
	bool real;  /* SQLite's affinity */
	int pk;	    /* place in the primary key from 1, or 0 */
	int hidden; /* 0, or 2 VIRTUAL, 3 STORED */
};

void schema_init(struct schema *s, struct connection *c)
{
	*s = (struct schema){.connection = c};
}

static void table_free(struct schema_table *t)
{
	if (!t)
		return;
	free(t->name);
	free(t->refusal);
	free(t->columns);
	free(t->keys);
	buf_done(&t->definition);
	free(t);
}

void schema_forget(struct schema *s)
{
	for (uint32_t i = 0; i < s->slots_n; i++) {
		while (s->slots[i]) {
			struct schema_table *t = s->slots[i];
			s->slots[i] = t->chain;
			table_free(t);
		}
	}
	for (size_t i = 0; i < s->autoincrement_n; i++)
		free(s->autoincrement[i]);
	free(s->autoincrement);
	s->autoincrement = NULL;
	s->autoincrement_n = 0;
	s->tables_n = 0;
	s->loaded = s->virtual_tables = s->keeps = s->deferrable = false;
}

void schema_done(struct schema *s)
{
	schema_forget(s);
	free(s->slots);
	s->slots = NULL;
	s->slots_n = 0;
}

bool schema_autoincrements(const struct schema *s, const char *table)
{
	for (size_t i = 0; i < s->autoincrement_n; i++)
		if (strcasecmp(s->autoincrement[i], table) == 0)
			return true;
	return false;
}

static int add_autoincrement(struct schema *s, const char *name, struct err *e)
{
	char **more = realloc(s->autoincrement, (s->autoincrement_n + 1) * sizeof *more);

	if (!more)
		return err_set(e, ERR_NOMEM, "no memory for table names");
	s->autoincrement = more;
	more[s->autoincrement_n] = strdup(name);
	if (!more[s->autoincrement_n])
		return err_set(e, ERR_NOMEM, "no memory for table names");
	s->autoincrement_n++;
	return 0;
}

int schema_load(struct schema *s, struct err *e)
{
	struct connection *c = s->connection;
	bool before = c->internal;
	sqlite3_stmt *stmt = NULL;
	int rc, code;

	if (s->loaded)
		return 0;
	if (!s->slots) {
		s->slots = calloc(SLOTS, sizeof *s->slots);
		if (!s->slots)
			return err_set(e, ERR_NOMEM, "no memory for table descriptions");
		s->slots_n = SLOTS;
	}
	/* The words may stand in a comment or a name: then only some speed is lost. */
	code = connection_prepare(c,
				  "SELECT name, sql LIKE 'create virtual%', "
				  "type='table' AND sql LIKE '%autoincrement%', "
				  "sql LIKE '%fail%', sql LIKE '%defer%' FROM sqlite_schema",
				  &stmt, e);
	if (code)
		return code;
	c->internal = true;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && !code) {
		s->virtual_tables |= sqlite3_column_int(stmt, 1) != 0;
		s->keeps |= sqlite3_column_int(stmt, 3) != 0;
		s->deferrable |= sqlite3_column_int(stmt, 4) != 0;
		if (sqlite3_column_int(stmt, 2))
			code = add_autoincrement(s, (const char *)sqlite3_column_text(stmt, 0), e);
	}
	if (!code && rc != SQLITE_DONE)
		code = connection_error(c, e);
	sqlite3_finalize(stmt);
	c->internal = before;
	s->loaded = code == 0;
	if (code)
		schema_forget(s);
	return code;
}

/* Runs a pragma with a table's name as argument. */
static int pragma_prepare(struct schema *s, const char *pragma, const char *name,
			  sqlite3_stmt **ret_stmt, struct err *e)
{
	char *sql = sqlite3_mprintf("PRAGMA main.%s(%Q)", pragma, name);

	if (!sql)
		return err_set(e, ERR_NOMEM, "no memory for a table description");
	int code = connection_prepare(s->connection, sql, ret_stmt, e);
	sqlite3_free(sql);
	return code;
}

static void declared_free(struct declared *d, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(d[i].name);
	free(d);
}

/* SQLite's rules for a declared type. */
static bool is_real(const char *type)
{
	if (!type || strcasestr(type, "INT") || strcasestr(type, "CHAR") ||
	    strcasestr(type, "CLOB") || strcasestr(type, "TEXT") || strcasestr(type, "BLOB"))
		return false;
	return strcasestr(type, "REAL") || strcasestr(type, "FLOA") || strcasestr(type, "DOUB");
}

static int read_columns(struct schema *s, const char *name, struct declared **ret_columns,
			size_t *ret_n, struct err *e)
{
	struct declared *d = NULL;
	size_t n = 0;
	sqlite3_stmt *stmt;
	int rc, code = pragma_prepare(s, "table_xinfo", name, &stmt, e);

	if (code)
		return code;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct declared *more = realloc(d, (n + 1) * sizeof *d);
		char *column = strdup((const char *)sqlite3_column_text(stmt, 1));
		if (more)
			d = more;
		if (!more || !column) {
			free(column);
			code = err_set(e, ERR_NOMEM, "no memory for the columns of %s", name);
			break;
		}
		d[n++] = (struct declared){
			.name = column,
			.real = is_real((const char *)sqlite3_column_text(stmt, 2)),
			.has_default = sqlite3_column_type(stmt, 4) != SQLITE_NULL,
			.pk = sqlite3_column_int(stmt, 5),
			.hidden = sqlite3_column_int(stmt, 6),
		};
	}
	if (!code && rc != SQLITE_DONE)
		code = connection_error(s->connection, e);
	sqlite3_finalize(stmt);
	if (code) {
		declared_free(d, n);
		return code;
	}
	*ret_columns = d;
	*ret_n = n;
	return 0;
}

/* The name of the index that SQLite keeps for the primary key; NULL when it needs none. */
static int find_key_index(struct schema *s, const char *name, char **ret_index, struct err *e)
{
	sqlite3_stmt *stmt;
	char *index = NULL;
	int rc, code = pragma_prepare(s, "index_list", name, &stmt, e);

	if (code)
		return code;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (strcmp((const char *)sqlite3_column_text(stmt, 3), "pk") == 0 && !index)
			index = strdup((const char *)sqlite3_column_text(stmt, 1));
	}
	if (rc != SQLITE_DONE)
		code = connection_error(s->connection, e);
	sqlite3_finalize(stmt);
	if (code)
		free(index);
	else
		*ret_index = index;
	return code;
}

/* How rows are named. A table whose key's index does not lead to a rowid has none. An INTEGER
 * PRIMARY KEY without an index is the rowid under another name: *ret_alias, else -1. (INTEGER
 * PRIMARY KEY DESC has an index, by an old accident.) */
static int find_naming(struct schema *s, const char *name, const struct declared *d, size_t n,
		       bool *ret_rowid, int *ret_alias, struct err *e)
{
	sqlite3_stmt *stmt;
	char *index = NULL;
	int rc, code = find_key_index(s, name, &index, e);

	if (code)
		return code;
	*ret_alias = -1;
	*ret_rowid = true;
	if (!index) {
		for (size_t i = 0; i < n; i++)
			if (d[i].pk > 0)
				*ret_alias = (int)i;
		return 0;
	}
	code = pragma_prepare(s, "index_xinfo", index, &stmt, e);
	free(index);
	if (code)
		return code;
	*ret_rowid = false;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		if (sqlite3_column_int(stmt, 1) == -1)
			*ret_rowid = true;
	if (rc != SQLITE_DONE)
		code = connection_error(s->connection, e);
	sqlite3_finalize(stmt);
	return code;
}

static const char *rowid_name(const struct declared *d, size_t n, int alias)
{
	static const char *const names[] = {"rowid", "_rowid_", "oid"};

	if (alias >= 0)
		return d[alias].name;
	for (size_t k = 0; k < 3; k++) {
		bool taken = false;
		for (size_t i = 0; i < n; i++)
			taken |= strcasecmp(d[i].name, names[k]) == 0;
		if (!taken)
			return names[k];
	}
	return NULL;
}

static void check_offered(struct schema_table *t, const struct declared *d, int alias,
			  const char *rowid)
{
	if (t->rowid && !rowid)
		t->refusal =
			strdup("its columns hide rowid, oid and _rowid_ all three, so that its "
			       "rows cannot be named: add an INTEGER PRIMARY KEY");
	for (int i = 0; i < alias && !t->refusal; i++)
		if (d[i].hidden == 2)
			t->refusal = strdup("a VIRTUAL column stands before the INTEGER PRIMARY "
					    "KEY: put the key first");
}

/* Where a column stands in the index that holds a table without rowid: the key's columns first,
 * then the other stored ones. */
static size_t place_in_index(const struct declared *d, size_t n, size_t column)
{
	size_t keys = 0, before = 0;

	if (d[column].pk)
		return (size_t)d[column].pk - 1;
	for (size_t i = 0; i < n; i++) {
		keys += d[i].pk > 0;
		before += i < column && !d[i].pk && d[i].hidden != 2;
	}
	return keys + before;
}

/* Sets the table's columns, keys and definition from what was declared. */
static int describe(struct schema_table *t, const struct declared *d, size_t n, int alias,
		    struct err *e)
{
	const char **names = calloc(n + 1, sizeof *names);
	const char *rowid = t->rowid ? rowid_name(d, n, alias) : NULL;
	uint16_t stored = 0;
	int code = 0;

	t->columns = calloc(n + 1, sizeof *t->columns);
	t->keys = calloc(n + 1, sizeof *t->keys);
	if (!names || !t->columns || !t->keys) {
		code = err_set(e, ERR_NOMEM, "no memory for the columns of %s", t->name);
		goto out;
	}
	for (size_t i = 0; i < n; i++) {
		uint16_t at = stored;
		stored = (uint16_t)(stored + (d[i].hidden != 2));
		if (d[i].hidden || (t->rowid && (int)i == alias))
			continue;
		uint32_t column = t->columns_n++;
		size_t stands = t->rowid ? at : place_in_index(d, n, i);
		names[column] = d[i].name;
		t->columns[column] = (struct schema_column){
			.row_at = t->rowid ? at : (uint16_t)i,
			.update_at = at,
			.has_default = d[i].has_default,
			.mistyped = stands != i && stands < n && d[stands].real && !d[i].real,
			.key = !t->rowid && d[i].pk > 0,
		};
		if (!t->rowid && d[i].pk > 0) {
			t->keys[d[i].pk - 1] = column;
			t->keys_n++;
		}
	}
	check_offered(t, d, alias, rowid);
	if (!t->refusal) {
		record_definition_put(&t->definition, t->name, names, t->columns_n, rowid, t->keys,
				      t->keys_n);
		if (!buf_ok(&t->definition))
			code = err_set(e, ERR_NOMEM, "no memory for the columns of %s", t->name);
	}
out:
	free(names);
	return code;
}

static int table_read(struct schema *s, const char *name, struct schema_table **ret_table,
		      struct err *e)
{
	struct declared *d = NULL;
	size_t n = 0;
	int alias = -1;
	bool rowid = true;
	struct schema_table *t = NULL;
	int code = read_columns(s, name, &d, &n, e);

	if (code || n == 0)
		return code;
	code = find_naming(s, name, d, n, &rowid, &alias, e);
	if (code)
		goto out;
	t = calloc(1, sizeof *t);
	if (!t || !(t->name = strdup(name))) {
		code = err_set(e, ERR_NOMEM, "no memory for table %s", name);
		goto out;
	}
	buf_init(&t->definition, DEFINITION_BYTES_MAX);
	t->rowid = rowid;
	t->autoincrement = schema_autoincrements(s, name);
	code = describe(t, d, n, alias, e);
out:
	declared_free(d, n);
	if (code)
		table_free(t);
	else
		*ret_table = t;
	return code;
}

int schema_table(struct schema *s, const char *name, struct schema_table **ret_table, struct err *e)
{
	struct connection *c = s->connection;
	bool before = c->internal;
	uint64_t hash = XXH3_64bits(name, strlen(name));
	struct schema_table **slot, *t = NULL;
	int code = schema_load(s, e);

	if (code)
		return code;
	slot = &s->slots[hash & (s->slots_n - 1)];
	for (t = *slot; t; t = t->chain) {
		if (t->hash == hash && strcmp(t->name, name) == 0) {
			*ret_table = t;
			return 0;
		}
	}
	c->internal = true;
	code = table_read(s, name, &t, e);
	c->internal = before;
	if (code)
		return code;
	if (t) {
		t->hash = hash;
		t->chain = *slot;
		*slot = t;
		s->tables_n++;
	}
	*ret_table = t;
	return 0;
}
